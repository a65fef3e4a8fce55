//! Ctrl-C, and SIGTERM, as pipelines send it: the first one ends what is measured in order, so that there still is a report; the
//! second one ends the program.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Failure;

/// What a shell takes for the exit code of a program that SIGINT ended.
pub(crate) const CODE: u8 = 130;

/// Whether the first one came. A signal is the process's, and so is this.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Listens from now on. Called before goose begins, whose own listener would end only goose: there is one per process.
pub(crate) fn listen() -> Result<(), Failure> {
    let heard = || {
        if ASKED.swap(true, Ordering::AcqRel) {
            process::exit(CODE.into());
        }
    };
    ctrlc::set_handler(heard).map_err(|error| Failure::Machine(format!("no signals can be listened to: {error}")))
}

/// Whether somebody asked for the end.
pub(crate) fn is_asked() -> bool {
    ASKED.load(Ordering::Acquire)
}
