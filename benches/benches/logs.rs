//! logs.
fn main() {}
