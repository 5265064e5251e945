//! Every promise, as a test.
