//! What Fantail's parts cost. The benches are in `benches/`, one file per noun; `scripts/bench` runs them.
//! Programs that need two CPUs stand beside: `floor`, which `scripts/followers` runs, and `history`, which runs by itself.
