//! patches.
fn main() {}
