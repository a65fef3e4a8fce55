//! The test kit: a server as a process, an HTTP client that shows bytes exactly, a follower that yields blocks.

mod follower;
mod http;
mod medium;
mod origin;
mod process;
mod server;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) use follower::{Block, Follower};
pub(crate) use http::{Answer, Client, connect_narrow, request, reset};
pub(crate) use medium::Medium;
pub(crate) use origin::{Asked, Origin, Peer};
pub(crate) use process::{Ended, log, refuse};
use serde_json::Value;
pub(crate) use server::Server;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");
pub(crate) const JSON_PATCH: (&str, &str) = ("Content-Type", "application/json-patch+json");
pub(crate) const MERGE_PATCH: (&str, &str) = ("Content-Type", "application/merge-patch+json");
pub(crate) const EVENTS: (&str, &str) = ("Accept", "text/event-stream");

/// Applies the data of one `patch` block.
pub(crate) fn fold(value: &mut Value, data: &str) {
    let patch: json_patch::Patch = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
    json_patch::patch(value, &patch).unwrap_or_else(|error| panic!("{error}: {data} on {value}"));
}

/// Asks until there is an answer.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Splits `k3f9q2-1042`.
pub(crate) fn split(position: &str) -> (&str, u64) {
    let (epoch, sequence) = position.split_once('-').unwrap_or_else(|| panic!("not a position: {position}"));
    (epoch, sequence.parse().unwrap_or_else(|_| panic!("not a position: {position}")))
}

/// A number from the environment: what a script asks of a test.
pub(crate) fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// Numbers that look random, from a seed that is printed (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    /// Seeded by `FANTAIL_SEED`, or by the clock.
    pub(crate) fn seeded() -> Random {
        let seed = match setting("FANTAIL_SEED") {
            Some(seed) => seed,
            None => SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").subsec_nanos().into(),
        };
        println!("FANTAIL_SEED={seed}");
        Random(seed)
    }

    /// Another row of numbers, for a thread of its own.
    pub(crate) fn fork(&mut self) -> Random {
        Random(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
