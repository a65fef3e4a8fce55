//! goose's part: users that follow scenarios, one file each. This file is what they share, and how goose is set to work: as a
//! library that is told everything, parses no arguments, prints nothing and runs until the run says that it is over.
//!
//! Invariant: users wait for the measured time before they do anything that is counted, and none is inside a transaction for
//! longer than [`LOOK`] once it is over, so that goose, which awaits each, ends.

mod ask;
mod context;
mod follower;
mod stdout;

mod followers;
mod history;
mod readers;
mod resumers;
mod swarm;
mod writers;

use std::sync::Arc;
use std::time::Duration;

use goose::config::GooseConfiguration;
use goose::goose::{Scenario, Transaction};
use goose::metrics::{GooseCoordinatedOmissionMitigation, GooseMetrics};
use goose::{GooseAttack, GooseError};

pub(crate) use ask::reason;
pub(crate) use context::{Context, Found, Phase};
use stdout::Withheld;
pub(crate) use swarm::{SECOND, Told};

/// How long a transaction that has nothing to do lasts: how late a user learns that the run is over.
const LOOK: Duration = Duration::from_millis(250);

/// Users that are started per second: all of them soon, and no storm.
const STARTS_PER_S: &str = "1000";

/// A transaction of an async function that takes the user and what all share.
macro_rules! step {
    ($context:expr, $function:path) => {{
        let context = std::sync::Arc::clone($context);
        goose::goose::Transaction::new(std::sync::Arc::new(move |user| {
            Box::pin($function(user, std::sync::Arc::clone(&context)))
        }))
    }};
}
pub(crate) use step;

/// Lets goose's users do their work until the killswitch is thrown, and returns what goose counted.
pub(crate) async fn attack(context: &Arc<Context>) -> Result<GooseMetrics, GooseError> {
    let mut configuration = GooseConfiguration::default();
    configuration.host = Some(context.urls.base.clone());
    configuration.users = Some(context.workload.users() + 1);
    configuration.increase_rate = Some(STARTS_PER_S.to_owned());
    configuration.quiet = 2;
    configuration.no_print_metrics = true;
    configuration.no_error_summary = true;
    configuration.no_reset_metrics = true;
    configuration.no_telnet = true;
    configuration.co_mitigation = Some(GooseCoordinatedOmissionMitigation::Disabled);
    let mut attack = GooseAttack::initialize_with_config(configuration)?
        // One client is built for all users; each then takes the run's own, which has its fields.
        .set_client_builder_without_cookies(goose::client::GooseClientBuilder::new().without_cookies())?
        .register_scenario(scenario("swarm", 1, [step!(context, swarm::second)])?);
    let workload = &context.workload;
    let kinds: [(&str, usize, Vec<Transaction>); 5] = [
        ("writers", workload.writers.users, writers::steps(context)),
        ("readers", workload.readers.users, readers::steps(context)),
        ("followers", workload.followers.users, vec![step!(context, followers::follow)]),
        ("resumers", workload.resumers.users, vec![step!(context, resumers::resume)]),
        ("history", workload.history.users, vec![step!(context, history::page)]),
    ];
    for (name, users, steps) in kinds {
        if users > 0 {
            attack = attack.register_scenario(scenario(name, users, steps)?);
        }
    }
    let _withheld = Withheld::new()?;
    attack.execute().await
}

/// A scenario whose weight is the number of its users: goose then starts exactly so many.
fn scenario(name: &str, users: usize, steps: impl IntoIterator<Item = Transaction>) -> Result<Scenario, GooseError> {
    let scenario = steps.into_iter().enumerate().fold(Scenario::new(name), |scenario, (number, step)| {
        scenario.register_transaction(step.set_sequence(number + 1))
    });
    scenario.set_weight(users)
}
