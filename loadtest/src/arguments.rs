//! The command line as typed. What it means is resolved by the subcommands.

mod load;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use load::{Raise, RampArguments, RunArguments};

use crate::preset::Id;
use crate::report::Tolerances;
use crate::swarm::{Arrivals, Method};

/// Followers that count, check and time what they receive.
///
/// Exit codes: 0 fine; 1 an objective missed, frames lost, repeated or out of order, errors, or a run that broke off; 2 usage;
/// 3 target unreachable; 4 this machine refuses what is needed (io_uring, a thread, a folder); 130 ended by Ctrl-C, which the
/// report says. A second Ctrl-C ends at once.
#[derive(Parser)]
#[command(name = "fantail-load", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Load a server with users of all kinds, and report; without a URL, a Fantail is started for it. This is what happens
    /// without any arguments.
    Run(Box<RunArguments>),
    /// Raise the load step by step until an objective breaks, and report the highest load that held them.
    Ramp(Box<RampArguments>),
    /// Hold many followers on few threads, check every frame on every one of them, and report.
    Swarm(Box<SwarmArguments>),
    /// Print the events of one URL as they come.
    Follow(FollowArguments),
    /// Write documents of Fantail's over and over, as fast as the server takes them, so that there is history to read.
    Fill(FillArguments),
    /// Show a run that was saved as report.json, and compare it with an earlier one.
    Report(ReportArguments),
}

/// What `swarm --help` ends with.
const EXAMPLES: &str = r#"A follower is a connection that reads Server-Sent Events, chunked or not. A frame is an event whose data hold the two
members that the writers put into every write: "n", the topic's counter from 1 on, and "t", the moment that the write was
meant for, in nanoseconds since 1970. The counter shows what is missing, repeated or out of order; the moment gives the
latency. A run publishes once all follow, waits for stragglers, and reports; frames meant before the run are passed over.

Fantail, the whole stream, 20 writes/s in bursts of 5:
  fantail-load swarm http://127.0.0.1:8080/messages --connections 5000 --publish 20 --burst 5

Any other server, here nchan, on four channels:
  fantail-load swarm 'http://127.0.0.1:8081/sub/{topic}' --foreign --topics 4 \
    --publish 20 --publish-to 'http://127.0.0.1:8081/pub/{topic}'

One that takes messages in an envelope, here Pushpin:
  fantail-load swarm http://127.0.0.1:7999/stream --foreign --publish 20 --publish-to http://127.0.0.1:5561/publish/ \
    --body '{"items":[{"channel":"{topic}","formats":{"http-stream":{"content":"data: {\"n\":{n},\"t\":{t}}\n\n"}}}]}'"#;

/// What the help says of `--body`.
const BODY: &str = r#"What to publish, a text with holes: `{n}` stands for the counter, `{t}` for the moment it is meant for, `{p}` for the filling, `{topic}` for the topic's name. Followers must find `"n":` and `"t":` with their numbers in an event's data

[default: {"n":{n},"p":"{p}","t":{t}}]"#;

/// A help text that clap shows as it is: it would make a line end of each `{n}`, unless something invisible stands inside.
fn literal(text: &str) -> String {
    text.replace("{n}", "{\x1b[0mn}")
}

/// The arguments of `swarm`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = literal(EXAMPLES))]
pub(crate) struct SwarmArguments {
    /// What to follow: `http://host[:port]/path`. With --topics, the collection whose documents t0, t1, … are followed, or
    /// a URL in which `{topic}` stands for these names.
    pub(crate) url: String,
    /// The server isn't Fantail: ids are opaque (the last one is only sent back on a return), events of any name count, one
    /// follows as soon as the response's head is good, and what was received is verified by the counter alone.
    #[arg(long)]
    pub(crate) foreign: bool,
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
    /// Publish this many writes per second once all follow: PUT of a document of Fantail's, POST to anything else.
    #[arg(long)]
    pub(crate) publish: Option<f64>,
    /// Where to publish, if not to the followed URL. `{topic}` stands for t0, or for t0, t1, … in turn with --topics.
    #[arg(long, value_name = "URL", requires = "publish")]
    pub(crate) publish_to: Option<String>,
    /// The method of a write. [default: PUT of a document of Fantail's, else POST]
    #[arg(long, value_enum, requires = "publish")]
    pub(crate) publish_method: Option<Method>,
    /// A field of every request; may be given several times.
    #[arg(long = "header", value_name = "NAME:VALUE")]
    pub(crate) fields: Vec<String>,
    /// The text before the counter's digits in an event's data. [default: "n": as JSON has it]
    #[arg(long, value_name = "TEXT")]
    pub(crate) counter: Option<String>,
    /// The text before the moment's digits, nanoseconds since 1970. [default: "t": as JSON has it]
    #[arg(long, value_name = "TEXT")]
    pub(crate) time: Option<String>,
    /// Where an event's id is, if not in its id field: EVENT.MEMBER, the member of the data of events of that name.
    #[arg(long, value_name = "EVENT.MEMBER", requires = "foreign")]
    pub(crate) id: Option<Id>,
    /// The parameter of the query that takes the last id on a return, if the field Last-Event-ID doesn't.
    #[arg(long, value_name = "PARAMETER")]
    pub(crate) resume: Option<String>,
    /// What to publish, with holes; see the examples.
    #[arg(long, value_name = "TEMPLATE", requires = "publish", long_help = literal(BODY))]
    pub(crate) body: Option<String>,
    /// The type of what is published.
    #[arg(long, default_value = "application/json", requires = "publish")]
    pub(crate) content_type: String,
    /// Send this many writes at once, pipelined on one connection, then read their answers. All of a burst are meant for
    /// the same moment; the rate stays that of --publish. With several --publishers and --topics each sends its part.
    #[arg(long, default_value_t = 1, requires = "publish")]
    pub(crate) burst: u64,
    /// How the moments of writes, or of bursts, are spread: evenly, or at random as independent strangers come.
    #[arg(long, value_enum, default_value = "constant", requires = "publish")]
    pub(crate) arrivals: Arrivals,
    /// Connections to publish with. A topic is written by one of them; a lone topic by all, with a counter each: of P
    /// connections the first writes 1, 1 + P, 1 + 2 P, the second 2, 2 + P, and so on.
    #[arg(long, default_value_t = 1, requires = "publish")]
    pub(crate) publishers: usize,
    /// Bytes of filling in each write. [default: what makes a frame of some 200 bytes]
    #[arg(long, requires = "publish")]
    pub(crate) payload: Option<usize>,
    /// Seconds to publish, or without --publish to listen, once all follow.
    #[arg(long = "for", default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Without --publish: listen until each follower has received this many frames.
    #[arg(long, conflicts_with = "publish")]
    pub(crate) count: Option<u64>,
    /// Without --publish: listen until each follower has received this many bytes of its response's body, as they come.
    #[arg(long, conflicts_with = "publish")]
    pub(crate) bytes: Option<u64>,
    /// Share of the followers (0 to 1) that only count bytes: once the response's head is good, the kernel throws away what
    /// comes, unread. History then comes as fast as the server sends it, not as the swarm checks it. The others check it as
    /// ever; a --count is theirs alone.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, conflicts_with_all = ["publish", "stall"])]
    pub(crate) discard: f64,
    /// Seconds without any progress after which what is missing is given up.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) patience: f64,
    /// Follow this many topics in turn, and publish to them in turn: documents below the URL, or what `{topic}` names.
    #[arg(long)]
    pub(crate) topics: Option<usize>,
    /// Share of the followers (0 to 1) that stop reading after the first block and resume when all is published.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) stall: f64,
    /// While publishing, let each follower come and go at random: leave by a close or a reset, come back soon with its last
    /// id (or give that up in the middle of the handshake), or stop reading and read on. The mean of the seconds that it
    /// follows or stalls before the next act; it is away for a tenth of that. All come back, and must have everything.
    #[arg(long, value_name = "SECONDS", requires = "publish", conflicts_with = "stall")]
    pub(crate) churn: Option<f64>,
    /// What --churn and random --arrivals come from; a follower's acts depend on it and on the follower's number alone.
    /// [default: random; it is printed]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// After the run: leave, publish this many writes, return all at once with the last ids, and time the catching up.
    #[arg(long, num_args = 0..=1, default_missing_value = "100")]
    pub(crate) reconnect: Option<u64>,
    /// Meanwhile, GET a URL this many times per second, at random moments: four of five times on a connection that is kept,
    /// else on a fresh one, and time it from the moment that it was meant for. Statuses other than 2xx and 404 are errors. It
    /// happens on threads that run before all others where that is allowed (to root). Where it isn't, and on a CPU that they
    /// share with the swarm (--cores), their figures are the swarm's as well as the server's.
    #[arg(long, value_name = "RATE")]
    pub(crate) probe: Option<f64>,
    /// What to GET, if it isn't what is published to, or else followed: of a collection of Fantail's, its first document.
    #[arg(long, value_name = "URL", requires = "probe")]
    pub(crate) probe_url: Option<String>,
    /// The server's process, to report its CPU time and memory; by comma those of a server that is made of several.
    #[arg(long, value_delimiter = ',')]
    pub(crate) pid: Vec<u32>,
    /// Write the report as JSON too.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

impl SwarmArguments {
    /// Those of a command line that names a URL only.
    pub(crate) fn of(url: String) -> SwarmArguments {
        #[derive(Parser)]
        struct Typed {
            #[command(flatten)]
            swarm: SwarmArguments,
        }
        Typed::parse_from(["swarm".to_owned(), url]).swarm
    }
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

/// The arguments of `fill`.
#[derive(Args)]
pub(crate) struct FillArguments {
    /// The collection whose documents d0, d1, … are written: `http://host[:port]/path`
    pub(crate) url: String,
    /// Writes in all, each an event.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) events: u64,
    /// Documents that are written in turn.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) documents: u64,
    /// Bytes of filling in each.
    #[arg(long, default_value_t = 100)]
    pub(crate) payload: usize,
    /// Writes that are sent at once on a connection, before their answers are read.
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) burst: u32,
    /// Connections to write on.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(crate) connections: u64,
}

/// The arguments of `report`.
#[derive(Args)]
pub(crate) struct ReportArguments {
    /// A run's report.json.
    pub(crate) report: PathBuf,
    /// An earlier one to compare it with. The exit code is 1 if a figure is worse by more than its tolerance, which the
    /// table states.
    #[arg(long, value_name = "REPORT.JSON")]
    pub(crate) baseline: Option<PathBuf>,
    /// How much worse figures may be, by their names in the table: `p99=20%,rate=5%`. An amount that is noise stays allowed.
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true, requires = "baseline")]
    pub(crate) tolerance: Tolerances,
    /// A folder to write report.html, report.md, report.hgrm and report.json to.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: Option<PathBuf>,
}

/// The command of this process; clap itself answers `--help` and usage errors (code 2).
pub(crate) fn read() -> Command {
    Arguments::parse().command.unwrap_or_else(|| Command::Run(Box::new(RunArguments::none())))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
        assert_eq!(RunArguments::none().target, "fantail");
        assert_eq!(SwarmArguments::of("http://h/".to_owned()).connections, 1_000);
    }
}
