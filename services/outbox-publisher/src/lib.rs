//! The role around the relay.
