//! requests.
fn main() {}
