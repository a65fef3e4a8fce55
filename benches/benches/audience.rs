//! audience.
fn main() {}
