//! What is done to a target: who does it, how many of them, how often, for how long. Read from a scenario file, a member of which
//! the command line overrides; unknown members are refused.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::Failure;
use crate::swarm::{Arrivals, is_number};

/// Users that goose holds: a task, a connection and a descriptor each.
const USERS_MAX: usize = 5_000;

/// A workload.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workload {
    /// Seconds that it is measured for.
    pub(crate) seconds: f64,
    /// Topics that are published to and followed, in turn.
    #[serde(default = "one")]
    pub(crate) topics: usize,
    /// What is published.
    #[serde(default)]
    pub(crate) publish: Publish,
    /// The mass of followers.
    #[serde(default)]
    pub(crate) swarm: Swarm,
    /// Those that create, put, patch and delete documents.
    #[serde(default)]
    pub(crate) writers: Users,
    /// Those that get documents, with and without If-None-Match.
    #[serde(default)]
    pub(crate) readers: Users,
    /// Those that follow, and fold what they receive; their rate means nothing.
    #[serde(default)]
    pub(crate) followers: Users,
    /// Those that follow, drop, and resume with their last id.
    #[serde(default)]
    pub(crate) resumers: Users,
    /// Those that read history, page by page.
    #[serde(default)]
    pub(crate) history: Users,
}

/// The open loop.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Publish {
    /// Writes per second, all topics together.
    pub(crate) rate: f64,
    /// How their moments are spread.
    pub(crate) arrivals: Arrivals,
    /// Writes that share a moment.
    pub(crate) burst: u64,
    /// Connections that write; a topic belongs to one.
    pub(crate) publishers: usize,
}

impl Default for Publish {
    fn default() -> Publish {
        Publish { rate: 20.0, arrivals: Arrivals::Constant, burst: 1, publishers: 1 }
    }
}

/// The followers that the swarm holds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Swarm {
    /// How many.
    pub(crate) connections: usize,
    /// On so many threads.
    pub(crate) threads: usize,
    /// The mean of the seconds after which each comes or goes, if they do.
    pub(crate) churn: Option<f64>,
    /// The share that stops reading until all is published.
    pub(crate) stall: f64,
}

impl Default for Swarm {
    fn default() -> Swarm {
        Swarm { connections: 0, threads: 1, churn: None, stall: 0.0 }
    }
}

/// Users of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Users {
    /// How many: goose's weight.
    pub(crate) users: usize,
    /// Requests per second of each.
    pub(crate) rate: f64,
}

impl Default for Users {
    fn default() -> Users {
        Users { users: 0, rate: 1.0 }
    }
}

fn one() -> usize {
    1
}

impl Workload {
    /// The workload that a run without arguments has.
    pub(crate) fn canonical() -> Workload {
        toml::from_str(include_str!("../../fixtures/scenarios/canonical.toml")).expect("it is right, a test reads it")
    }

    /// Reads a scenario file.
    pub(crate) fn read(path: &Path) -> Result<Workload, Failure> {
        let failed = |why: String| Failure::Usage(format!("--scenario {}: {why}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        toml::from_str(&text).map_err(|error| failed(error.to_string().trim_end().to_owned()))
    }

    /// Users of goose's, all kinds together.
    pub(crate) fn users(&self) -> usize {
        [self.writers, self.readers, self.followers, self.resumers, self.history].iter().map(|kind| kind.users).sum()
    }

    /// Whether anybody follows.
    pub(crate) fn has_followers(&self) -> bool {
        self.swarm.connections + self.followers.users + self.resumers.users > 0
    }

    /// Refuses numbers that make no run.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let usage = |why: String| Err(Failure::Usage(why));
        let kinds = [self.writers, self.readers, self.followers, self.resumers, self.history];
        let rates = kinds.iter().map(|kind| kind.rate);
        if !rates.chain([self.seconds, self.publish.rate]).all(is_number) {
            return usage("seconds and rates must be 0.000001 to 1000000000".to_owned());
        }
        if self.topics == 0 {
            return usage("there must be a topic at least".to_owned());
        }
        match self.users() {
            0 if self.swarm.connections == 0 => {
                usage("nobody does anything: there are neither users nor connections".to_owned())
            }
            ..=USERS_MAX => Ok(()),
            users => usage(format!(
                "{users} users: goose holds {USERS_MAX} at most; more followers are the swarm's, --connections"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_files_are_workloads() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/scenarios");
        let files: Vec<_> = fs::read_dir(folder).expect("the folder").flatten().collect();
        assert!(files.len() >= 4);
        for file in files {
            let workload = Workload::read(&file.path()).expect("a workload");
            workload.check().expect("a run");
        }
        assert_eq!(Workload::canonical().seconds, 30.0);
    }

    #[test]
    fn unknown_members_and_nonsense_are_refused() {
        for text in [
            "seconds = 1\nsecond = 2",
            "seconds = 1\n[writers]\nuser = 3",
            "[writers]\nusers = 3",
            "seconds = 1\n[publish]\narrivals = \"often\"",
        ] {
            assert!(toml::from_str::<Workload>(text).is_err(), "{text}");
        }
        for text in [
            "seconds = 1",
            "seconds = 0\n[readers]\nusers = 1",
            "seconds = 1\n[readers]\nusers = 9999",
            "seconds = 1\n[readers]\nusers = 1\nrate = 0",
            "seconds = 1\n[readers]\nusers = 1\nrate = 1e-300",
            "seconds = 1e300\n[readers]\nusers = 1",
            "seconds = 1\n[readers]\nusers = 1\n[publish]\nrate = 1e300",
            "seconds = 1\ntopics = 0\n[followers]\nusers = 1",
        ] {
            let workload: Workload = toml::from_str(text).expect("TOML");
            assert!(matches!(workload.check(), Err(Failure::Usage(_))), "{text}");
        }
    }
}
