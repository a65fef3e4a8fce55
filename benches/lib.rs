//! What Fantail's parts cost. The benches are in `benches/`, one file per noun; `scripts/bench` runs them.
