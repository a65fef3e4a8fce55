//! The seeded simulator: a stream's journal, readers and recovery on a disk that tears, loses and refuses, with crashes at
//! any step, held against a simple model after each.
//!
//! Only this proves durability. A process that is killed leaves the page cache behind, so a test that kills servers can't
//! tell what was synced from what was merely written; here the power fails, and what wasn't synced is kept, torn or lost as
//! chance has it.
//!
//! Three properties carry it: every follower sees exactly the model's events after its cursor, once, in order; after a crash
//! all that was promised is there, and what may be lost is told by a new epoch; memory stays within the limits.
//!
//! A seed that fails is printed with its step. `FANTAIL_SEED=<seed> cargo nextest run -p fantail-engine --test simulator`
//! runs it alone; once the fault is mended, it is added to `seeds.txt`.

mod disk;
mod follower;
mod home;
mod model;
mod random;
mod world;
mod writer;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::{self, AssertUnwindSafe};

use world::{Counts, World};

/// Steps of a seed.
const STEPS: usize = 1_500;
/// New seeds of one run, unless `FANTAIL_SEEDS` says how many.
const SEEDS: usize = 400;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Runs a seed, and says which one it was if it fails.
fn run(seed: u64) -> Counts {
    let mut world = World::new(seed);
    let ended = panic::catch_unwind(AssertUnwindSafe(|| world.run(STEPS)));
    if let Err(cause) = ended {
        world.starts.iter().for_each(|line| eprintln!("{line}"));
        eprintln!("seed {seed} fails at step {}: FANTAIL_SEED={seed} runs it again", world.step);
        panic::resume_unwind(cause);
    }
    world.counts
}

#[test]
fn seeds_that_failed_once() {
    let lines = include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    for line in lines {
        let seed = line.split_whitespace().next().expect("a seed");
        run(seed.parse().expect("a seed is a number"));
    }
}

#[test]
fn new_seeds() {
    if let Some(seed) = number("FANTAIL_SEED") {
        eprintln!("seed {seed}: {:?}", run(seed));
        return;
    }
    let count = number("FANTAIL_SEEDS").map_or(SEEDS, |count| count as usize);
    // New in every run, without a clock.
    let first = RandomState::new().build_hasher().finish();
    eprintln!("{count} new seeds from {first}");
    let mut all = Counts::default();
    for seed in (0..count as u64).map(|at| first.wrapping_add(at)) {
        all.add(run(seed));
    }
    eprintln!("{all:?}");
}
