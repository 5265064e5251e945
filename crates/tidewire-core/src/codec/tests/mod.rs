//! Every format and binding, out and in.

mod bindings;
mod json;
mod vectors;
