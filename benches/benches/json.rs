//! json.
fn main() {}
