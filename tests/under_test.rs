//! The binary as it is, with failpoints compiled in.

fn main() {}
