//! Real processes, to be killed for real.
