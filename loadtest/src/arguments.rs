//! The command line as typed. What it means is resolved by the subcommands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Followers that count, check and time what they receive.
///
/// Exit codes: 0 fine; 1 frames lost, repeated or out of order, or errors; 2 usage; 3 target unreachable.
#[derive(Parser)]
#[command(name = "fantail-load", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Hold many followers on few threads, check every frame on every one of them, and report.
    Swarm(SwarmArguments),
    /// Print the events of one URL as they come.
    Follow(FollowArguments),
}

/// The arguments of `swarm`.
#[derive(Args)]
pub(crate) struct SwarmArguments {
    /// What to follow: `http://host[:port]/path`. With --topics, the collection whose documents t0, t1, … are followed.
    pub(crate) url: String,
    /// Followers to hold.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) connections: usize,
    /// Threads to hold them with; raised if a ring's file table (RLIMIT_NOFILE) is too small for their share.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// CPUs to pin the threads to, in turn.
    #[arg(long, value_delimiter = ',')]
    pub(crate) cores: Vec<usize>,
    /// Loopback addresses to connect to, counted from the URL's own. Each has some 28,000 ports, half of them found fast.
    #[arg(long, default_value_t = 1)]
    pub(crate) spread: u32,
    /// Handshakes in flight; below somaxconn, or the kernel sends SYN cookies. [default: 1000, or half of somaxconn]
    #[arg(long)]
    pub(crate) handshakes: Option<usize>,
    /// Where to start: sent as Last-Event-ID.
    #[arg(long)]
    pub(crate) last_event_id: Option<String>,
    /// Publish this many writes per second once all follow: POST to a collection, PUT of a document.
    #[arg(long)]
    pub(crate) publish: Option<f64>,
    /// Connections to publish with. A topic is written by one of them; a lone topic by all, without a counter's order.
    #[arg(long, default_value_t = 1, requires = "publish")]
    pub(crate) publishers: usize,
    /// Bytes of filling in each document. [default: what makes a frame of some 200 bytes]
    #[arg(long, requires = "publish")]
    pub(crate) payload: Option<usize>,
    /// Seconds to publish, or without --publish to listen, once all follow.
    #[arg(long = "for", default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Without --publish: listen until each follower has received this many frames.
    #[arg(long, conflicts_with = "publish")]
    pub(crate) count: Option<u64>,
    /// Seconds without any progress after which what is missing is given up.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) patience: f64,
    /// Follow this many documents below the URL, in turn, and publish to them in turn.
    #[arg(long)]
    pub(crate) topics: Option<usize>,
    /// Share of the followers (0 to 1) that stop reading after the first block and resume when all is published.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) stall: f64,
    /// After the run: leave, publish this many writes, return all at once with the last ids, and time the catching up.
    #[arg(long, num_args = 0..=1, default_missing_value = "100")]
    pub(crate) reconnect: Option<u64>,
    /// The server's process, to report its CPU time and memory.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Write the report as JSON too.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

/// The arguments of `follow`.
#[derive(Args)]
pub(crate) struct FollowArguments {
    /// What to follow: `http://host[:port]/path`
    pub(crate) url: String,
    /// Where to start: sent as Last-Event-ID.
    #[arg(long)]
    pub(crate) last_event_id: Option<String>,
    /// End after this many events with an id that aren't positions only.
    #[arg(long)]
    pub(crate) count: Option<u64>,
}

/// The command of this process; clap itself answers `--help` and usage errors (code 2).
pub(crate) fn read() -> Command {
    Arguments::parse().command
}
