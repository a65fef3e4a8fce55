//! What Fantail's parts cost. The benches are in `benches/`, one file per noun; `scripts/bench` runs them.
//! Programs that need two CPUs stand beside: `substrate` and `history`, which `scripts/bench` runs too, and `floor`, which
//! `scripts/followers` runs. What they share is here.

pub mod bell;
pub mod cpu;
pub mod fan;
pub mod figures;
