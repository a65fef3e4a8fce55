//! `fantail-load`: followers that count, check and time what they receive. Read the modules in this order.

mod arguments;
mod interrupt;
mod target;

mod preset;
mod run;
mod slo;
mod workload;

mod ramp;

mod scenario;

mod swarm;

mod follow;

mod fill;

mod fantail;
mod reach;

mod client;
mod head;
mod ledger;

mod live;
mod report;
mod show;

use std::fmt;
use std::process::ExitCode;

use arguments::Command;

fn main() -> ExitCode {
    let ended = match arguments::read() {
        Command::Run(arguments) => run::run(&arguments),
        Command::Ramp(arguments) => ramp::run(&arguments),
        Command::Swarm(arguments) => swarm::run(&arguments),
        Command::Follow(arguments) => follow::run(&arguments),
        Command::Fill(arguments) => fill::run(&arguments),
        Command::Report(arguments) => show::run(&arguments),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("fantail-load: {failure}");
            failure.code()
        }
    }
}

/// Why a run ends with another code than 0.
#[derive(Debug)]
enum Failure {
    /// Frames were lost, repeated or out of order, or connections or writes failed.
    Faults,
    /// An objective was missed, or the baseline.
    Missed,
    /// The run broke off before its time.
    Broken,
    /// The target won't do what was asked of it.
    Refused(String),
    /// What was asked for can't be done.
    Usage(String),
    /// Nobody answers at the target.
    Unreachable(String),
    /// This machine refused something that the harness needs.
    Machine(String),
    /// Ctrl-C came before the run was over.
    Interrupted,
}

impl Failure {
    fn code(&self) -> ExitCode {
        match self {
            Failure::Faults | Failure::Missed | Failure::Broken | Failure::Refused(_) => ExitCode::from(1),
            Failure::Usage(_) => ExitCode::from(2),
            Failure::Unreachable(_) => ExitCode::from(3),
            Failure::Machine(_) => ExitCode::from(4),
            Failure::Interrupted => ExitCode::from(interrupt::CODE),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Faults => f.write_str("there were faults, see above"),
            Failure::Broken => f.write_str("the run broke off: writes or followers ended before their time, see above"),
            Failure::Missed => f.write_str("an objective or the baseline was missed, see above"),
            Failure::Refused(why) | Failure::Usage(why) => f.write_str(why),
            Failure::Unreachable(why) => write!(f, "the target can't be reached: {why}"),
            Failure::Machine(why) => write!(f, "this machine refuses: {why}"),
            Failure::Interrupted => f.write_str("ended before its time"),
        }
    }
}
