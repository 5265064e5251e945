//! The catalogue: every domain event as a Rust type, with its key, version and upcast.
