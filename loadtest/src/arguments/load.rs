//! The arguments of `run` and `ramp`: what is done, to whom, and what is made of the outcome.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::preset::Overrides;
use crate::report::Tolerances;
use crate::slo::Slos;
use crate::swarm::Arrivals;

/// The arguments of `run`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct RunArguments {
    /// The server, as `http://host[:port]` or with a path. Without one, a Fantail is started for the run.
    pub(crate) url: Option<String>,
    /// What kind of server it is: fantail, nchan, pushpin, mercure, durable-streams or generic. The options below override
    /// what is known of it.
    #[arg(long, visible_alias = "preset", value_name = "PRESET", default_value = "fantail")]
    pub(crate) target: String,
    /// What is known of the server, one by one.
    #[command(flatten, next_help_heading = "Target")]
    pub(crate) overrides: Overrides,
    /// A field of every request; may be given several times.
    #[arg(long = "header", value_name = "NAME:VALUE", help_heading = "Target")]
    pub(crate) fields: Vec<String>,
    /// A bearer token for every request.
    #[arg(long, help_heading = "Target")]
    pub(crate) token: Option<String>,
    /// What is done.
    #[command(flatten, next_help_heading = "Workload")]
    pub(crate) workload: WorkloadArguments,
    /// Objectives, such as 'p99<50ms,errors=0,gaps=0'. The exit code is 1 if one is missed.
    #[arg(long, value_name = "LIST", help_heading = "Outcome")]
    pub(crate) slo: Option<Slos>,
    /// An earlier report.json to compare with. The exit code is 1 if a figure is worse by more than its tolerance.
    #[arg(long, value_name = "REPORT.JSON", help_heading = "Outcome")]
    pub(crate) baseline: Option<PathBuf>,
    /// How much worse figures may be: `p99=20%,rate=5%`.
    #[arg(
        long,
        value_name = "LIST",
        default_value = "",
        hide_default_value = true,
        requires = "baseline",
        help_heading = "Outcome"
    )]
    pub(crate) tolerance: Tolerances,
    /// The folder that the report is written to.
    #[arg(long, value_name = "FOLDER", default_value = "fantail-load-report", help_heading = "Outcome")]
    pub(crate) to: PathBuf,
    /// The server's process, to report its CPU time and memory.
    #[arg(long, help_heading = "Outcome")]
    pub(crate) pid: Option<u32>,
}

impl RunArguments {
    /// Those of an empty command line.
    pub(crate) fn none() -> RunArguments {
        #[derive(clap::Parser)]
        struct Typed {
            #[command(flatten)]
            run: RunArguments,
        }
        <Typed as clap::Parser>::parse_from(["run"]).run
    }
}

/// What of a scenario file the command line overrides.
#[derive(Debug, Clone, Args)]
pub(crate) struct WorkloadArguments {
    /// A scenario file; there are some in fixtures/scenarios. [default: the canonical workload]
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: Option<PathBuf>,
    /// Seconds to measure.
    #[arg(long = "for", value_name = "SECONDS")]
    pub(crate) seconds: Option<f64>,
    /// Topics that are published to and followed.
    #[arg(long)]
    pub(crate) topics: Option<usize>,
    /// Writes per second of the open loop, all topics together.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// How the moments of these writes are spread.
    #[arg(long, value_enum)]
    pub(crate) arrivals: Option<Arrivals>,
    /// Writes that share a moment.
    #[arg(long)]
    pub(crate) burst: Option<u64>,
    /// Connections that write them.
    #[arg(long)]
    pub(crate) publishers: Option<usize>,
    /// Bytes of filling in each.
    #[arg(long)]
    pub(crate) payload: Option<usize>,
    /// Followers that the swarm holds.
    #[arg(long)]
    pub(crate) connections: Option<usize>,
    /// Threads that it holds them with.
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Loopback addresses that it connects to.
    #[arg(long, default_value_t = 1)]
    pub(crate) spread: u32,
    /// Users that create, put, patch and delete documents.
    #[arg(long)]
    pub(crate) writers: Option<usize>,
    /// Users that get documents.
    #[arg(long)]
    pub(crate) readers: Option<usize>,
    /// Users that follow, fold all patches and compare what comes out.
    #[arg(long)]
    pub(crate) followers: Option<usize>,
    /// Users that follow, drop and resume; by default none where the server isn't known to keep history.
    #[arg(long)]
    pub(crate) resumers: Option<usize>,
    /// Users that read history.
    #[arg(long)]
    pub(crate) history: Option<usize>,
    /// What all that is random comes from. [default: random; the report has it]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Seconds without any progress after which what is missing is given up.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub(crate) patience: f64,
}

/// The arguments of `ramp`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RampArguments {
    /// What to raise.
    #[arg(long, value_enum, default_value = "rate")]
    pub(crate) raise: Raise,
    /// The first load: writes per second, or the swarm's followers. [default: the workload's]
    #[arg(long, value_name = "LOAD")]
    pub(crate) from: Option<f64>,
    /// By how much a load that held is multiplied.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) factor: f64,
    /// Loads to try at most.
    #[arg(long, default_value_t = 12)]
    pub(crate) steps: usize,
    /// The run of each step; --slo is 'p99<50ms,errors=0,gaps=0' if none is stated, --for is 5.
    #[command(flatten)]
    pub(crate) run: RunArguments,
}

/// What a ramp raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Raise {
    /// Writes per second.
    Rate,
    /// The swarm's followers.
    Connections,
}

/// What `run --help` ends with.
const EXAMPLES: &str =
    "Exit codes: 0 all was held; 1 an objective or the baseline was missed, something was lost, or the run broke off (writes
ended before their time, or more than 1 % of the followers did); 2 usage; 3 the target can't be reached; 4 this machine refuses
what is needed; 130 ended by Ctrl-C, with a report of what was until then.

  fantail-load run http://127.0.0.1:8080 --connections 5000 --rate 20 --slo 'p99<50ms,errors=0,gaps=0'
  fantail-load run --target nchan http://127.0.0.1:8081 --connections 1000 --followers 0
  fantail-load run https://api.example.com/events --target generic --publish-url https://api.example.com/messages \\
    --token \"$TOKEN\" --connections 0 --followers 100 --rate 5";
