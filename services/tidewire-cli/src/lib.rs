//! The tidewire binary: every role, the demo and the operators' commands.
