//! What a run is: the arguments, resolved and checked, before anything is opened.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use fantail_engine::topic::Topic;

use super::arrivals::Arrivals;
use super::churn::Churning;
use super::members::Members;
use super::probe::Probing;
use super::publishing::Publishing;
use super::{gauge, publishing};
use crate::Failure;
use crate::arguments::SwarmArguments;
use crate::ledger::{Law, Rules};
use crate::preset::Id;
use crate::target::{self, Scheme, Target};

/// Handshakes in flight when none are asked for, all threads together.
const HANDSHAKES: usize = 1_000;

/// Bytes that a follower takes, in this process and the kernel.
const FOLLOWER_BYTES: u64 = 10 * 1024;

/// What stands for a topic's name in URLs and bodies.
pub(crate) const TOPIC: &str = "{topic}";

/// The greatest rate, and the most seconds: more than anything does, and still a time that can be counted with.
pub(crate) const NUMBER_MAX: f64 = 1e9;

/// The lowest rate, and the fewest seconds.
const NUMBER_MIN: f64 = 1e-6;

/// Whether a rate, or a number of seconds, is one.
pub(crate) fn is_number(number: f64) -> bool {
    (NUMBER_MIN..=NUMBER_MAX).contains(&number)
}

/// A run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where to.
    pub(crate) target: Target,
    /// Whose event streams they are.
    pub(crate) server: Server,
    /// The addresses to connect to, in turn.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Followers in all.
    pub(crate) connections: usize,
    /// Followers of each thread; the last may have fewer.
    pub(crate) share: usize,
    /// Handshakes in flight per thread.
    pub(crate) handshakes: usize,
    /// CPUs to run on.
    pub(crate) cores: Vec<usize>,
    /// Paths that are followed, in turn; each with its query.
    pub(crate) topics: Vec<String>,
    /// What ids and counters are held to.
    pub(crate) rules: Rules,
    /// Sent by all as Last-Event-ID the first time.
    pub(crate) last_event_id: Option<String>,
    /// The writes, if this run publishes.
    pub(crate) publishing: Option<Publishing>,
    /// What is fetched meanwhile, if anything is.
    pub(crate) probing: Option<Probing>,
    /// How long to publish or listen.
    pub(crate) time: Duration,
    /// Frames that each follower must have received for a run that only listens to end.
    pub(crate) count: Option<u64>,
    /// How long without any progress until what is missing is given up.
    pub(crate) patience: Duration,
    /// Bytes of a body that each follower must have received for a run that only listens to end.
    pub(crate) bytes: Option<u64>,
    /// Share of the followers that stall.
    stall: f64,
    /// Share of the followers that only count bytes.
    discard: f64,
    /// How followers come and go while the run publishes, if they do.
    pub(crate) churning: Option<Churning>,
    /// Where ids are.
    pub(crate) id: Id,
    /// The query's parameter that takes the last id on a return; without one it is the field Last-Event-ID.
    pub(crate) resume: Option<String>,
    /// What finds counters and moments in the data.
    pub(crate) members: Members,
    /// What all that is random comes from.
    pub(crate) seed: u64,
    /// Writes while all are away, if they are to leave and to return.
    pub(crate) reconnect: Option<u64>,
}

/// Whose event streams are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// Fantail's: ids are positions, and one follows from the first block on.
    Fantail,
    /// Another's: ids are opaque, every event may be a frame, and one follows from the head on.
    Foreign,
}

/// What a follower does with what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Reads it all the time, and checks every frame.
    Checks,
    /// The same, but stops after the first block until all is published.
    Stalls,
    /// Takes it all the time, and only counts bytes.
    Discards,
}

impl Plan {
    /// Resolves what was typed.
    pub(crate) fn resolve(typed: &SwarmArguments) -> Result<Plan, Failure> {
        check(typed)?;
        let target = Target::resolve(&typed.url)?.with(&typed.fields)?;
        if target.scheme == Scheme::Https && typed.connections > 0 {
            let why =
                "the swarm speaks plain http only; `fantail-load run --connections 0 --followers N` follows https";
            return Err(Failure::Usage(format!("{}: {why}", typed.url)));
        }
        let seed = typed.seed.unwrap_or_else(any_seed);
        let server = if typed.foreign { Server::Foreign } else { Server::Fantail };
        let topics = topics(typed, server, &target)?;
        let publishing = match typed.publish {
            Some(rate) => Some(Publishing::resolve(typed, rate, seed, server, &target, &topics)?),
            None => None,
        };
        let probing = match typed.probe {
            Some(rate) => {
                let written = publishing.as_ref().map(|publishing| (&publishing.target, &publishing.paths[0]));
                let (resource, path) = written.unwrap_or((&target, &topics[0]));
                Some(Probing::resolve(typed, rate, server, resource, path)?)
            }
            None => None,
        };
        let slots = gauge::descriptors_max().min(1 << 20);
        let threads = typed.threads.max(typed.connections.div_ceil(slots)).min(typed.connections);
        let positions = match (server, publishing::place(&topics[0])) {
            (Server::Fantail, Some(place)) if place.topic() == Topic::Stream => Law::Gapless,
            (Server::Fantail, Some(_)) => Law::Rising,
            (Server::Fantail, None) | (Server::Foreign, _) => Law::None,
        };
        Ok(Plan {
            addresses: target.addresses(typed.spread)?,
            server,
            connections: typed.connections,
            share: typed.connections.div_ceil(threads.max(1)).max(1),
            handshakes: (typed.handshakes.unwrap_or(HANDSHAKES.min(gauge::somaxconn() / 2)) / threads.max(1)).max(1),
            cores: typed.cores.clone(),
            rules: Rules::new(positions, typed.publishers, topics.len()),
            topics,
            last_event_id: typed.last_event_id.clone(),
            publishing,
            probing,
            time: Duration::from_secs_f64(typed.seconds),
            count: typed.count,
            bytes: typed.bytes,
            patience: Duration::from_secs_f64(typed.patience),
            stall: typed.stall,
            discard: typed.discard,
            churning: typed.churn.map(|mean| Churning { mean: Duration::from_secs_f64(mean), seed }),
            reconnect: typed.reconnect,
            id: typed.id.clone().unwrap_or_default(),
            resume: typed.resume.clone(),
            members: Members::new(typed.counter.as_deref(), typed.time.as_deref()),
            seed,
            target,
        })
    }

    /// Whether two runs of the same arguments differ, but for the seed.
    pub(crate) fn is_random(&self) -> bool {
        let arrives = self.publishing.as_ref().is_some_and(|publishing| publishing.arrivals == Arrivals::Poisson);
        arrives || self.churning.is_some()
    }

    /// Which topic a follower follows.
    pub(crate) fn topic(&self, connection: usize) -> usize {
        connection % self.topics.len()
    }

    /// The request of a follower: from now on, or from its last id on.
    pub(crate) fn subscription(&self, connection: usize, last_event_id: Option<&str>) -> Vec<u8> {
        let path = &self.topics[self.topic(connection)];
        match (&self.resume, last_event_id.or(self.last_event_id.as_deref())) {
            (Some(parameter), Some(id)) => self.target.subscription(&target::with_parameter(path, parameter, id), None),
            (_, id) => self.target.subscription(path, id),
        }
    }

    /// What a follower does; those that do the same are evenly spread over those of a topic.
    pub(crate) fn habit(&self, connection: usize) -> Habit {
        let of_topic = (connection / self.topics.len()) as f64;
        let is_of = |share: f64| (of_topic * share).floor() < ((of_topic + 1.0) * share).floor();
        match (is_of(self.stall), is_of(self.discard)) {
            (true, _) => Habit::Stalls,
            (false, true) => Habit::Discards,
            (false, false) => Habit::Checks,
        }
    }

    /// Followers that stall.
    pub(crate) fn stalling(&self) -> u64 {
        (0..self.connections).filter(|&connection| self.habit(connection) == Habit::Stalls).count() as u64
    }

    /// Frames that followers must receive in all if the writers have counted so far: of those that read all the time, and of
    /// those that stall.
    pub(crate) fn expected(&self, published: &[u64]) -> (u64, u64) {
        (0..self.connections).fold((0, 0), |(reading, stalling), connection| {
            let frames = self.rules.of_topic(published, self.topic(connection)).iter().sum::<u64>();
            match self.habit(connection) {
                Habit::Stalls => (reading, stalling + frames),
                Habit::Checks | Habit::Discards => (reading + frames, stalling),
            }
        })
    }
}

/// Refuses numbers that make no run.
fn check(typed: &SwarmArguments) -> Result<(), Failure> {
    let usage = |why: String| Err(Failure::Usage(why));
    // Without followers, a run only publishes.
    let idle = typed.connections == 0 && typed.publish.is_none();
    if idle || typed.threads == 0 || typed.topics == Some(0) || typed.publishers == 0 {
        return usage("there must be a connection, a thread, a topic and a publisher at least".to_owned());
    }
    let numbers = [Some(typed.seconds), Some(typed.patience), typed.publish, typed.churn, typed.probe];
    if !numbers.into_iter().flatten().all(is_number) {
        return usage("--publish, --probe, --for, --churn and --patience must be 0.000001 to 1000000000".to_owned());
    }
    if [typed.stall, typed.discard].iter().any(|share| !(0.0..=1.0).contains(share)) {
        return usage("--stall and --discard are shares between 0 and 1".to_owned());
    }
    if typed.discard > 0.0 && typed.count.is_some() && typed.bytes.is_none() {
        return usage("those that --discard have no frames to count: --bytes says when they have enough".to_owned());
    }
    afford(typed.connections, 0)?;
    let ports = gauge::ports();
    if typed.connections.div_ceil(typed.spread.max(1) as usize) > ports {
        return usage(format!(
            "{} connections need --spread {} at least: an address has {ports} ports",
            typed.connections,
            typed.connections.div_ceil(ports)
        ));
    }
    Ok(())
}

/// What randomness comes from if nobody says it.
pub(crate) fn any_seed() -> u64 {
    // Hashers are seeded by the system; half of the bits are quicker to type.
    RandomState::new().build_hasher().finish() >> 32
}

/// Refuses followers that this host's memory can't hold, beside what else is to take `others_bytes`.
pub(crate) fn afford(connections: usize, others_bytes: u64) -> Result<(), Failure> {
    let needed = (connections as u64).saturating_mul(FOLLOWER_BYTES).saturating_add(others_bytes);
    match gauge::memory_available() {
        Some(available) if needed > available => Err(Failure::Usage(format!(
            "{connections} connections need {} MB of memory, and {} MB are free: ask for fewer --connections",
            needed >> 20,
            available >> 20
        ))),
        Some(_) | None => Ok(()),
    }
}

/// The paths to follow, with their queries: one per topic.
fn topics(typed: &SwarmArguments, server: Server, target: &Target) -> Result<Vec<String>, Failure> {
    let path = &target.path;
    let names = (0..typed.topics.unwrap_or(1)).map(publishing::topic);
    match typed.topics {
        _ if path.contains(TOPIC) => Ok(names.map(|name| path.replace(TOPIC, &name)).collect()),
        None => Ok(vec![path.clone()]),
        Some(_) if server == Server::Fantail && publishing::place(path).is_some_and(|place| place.is_collection()) => {
            let (path, query) = path.find('?').map_or((path.as_str(), ""), |at| path.split_at(at));
            Ok(names.map(|name| format!("{path}/{name}{query}")).collect())
        }
        Some(_) => Err(Failure::Usage("--topics needs the URL of a collection, or one with {topic}".to_owned())),
    }
}

/// What of the plan will make this host slow, or the figures wrong.
pub(crate) fn warnings(plan: &Plan) -> Vec<String> {
    let mut warnings = Vec::new();
    let in_flight = plan.handshakes * plan.connections.div_ceil(plan.share);
    let queue = gauge::somaxconn();
    if in_flight > queue {
        warnings.push(format!("{in_flight} handshakes in flight are more than somaxconn ({queue})"));
    }
    // The kernel tries the ports of one parity first, and all of them before it goes on to the other.
    let half = gauge::ports() / 2;
    if plan.connections.div_ceil(plan.addresses.len()) > half {
        let spread = plan.connections.div_ceil(half * 2 / 3);
        warnings.push(format!("over {half} connections to an address connect ten times slower; --spread {spread}"));
    }
    warnings
}

/// The plan of a command line.
#[cfg(test)]
pub(crate) fn typed(line: &str) -> Result<Plan, Failure> {
    #[derive(clap::Parser)]
    struct Typed {
        #[command(flatten)]
        swarm: SwarmArguments,
    }
    let words = std::iter::once("swarm").chain(line.split(' '));
    Plan::resolve(&<Typed as clap::Parser>::try_parse_from(words).expect("arguments").swarm)
}

#[cfg(test)]
mod tests {
    use super::super::publishing::Method;
    use super::typed as plan;
    use super::*;

    #[test]
    fn the_url_decides_what_is_checked_and_written() {
        for (typed, positions, method, topics) in [
            ("http://127.0.0.1:1/m --publish 1", Law::Gapless, Method::Post, 1),
            ("http://127.0.0.1:1/m/7 --publish 1", Law::Rising, Method::Put, 1),
            ("http://127.0.0.1:1/users/7/m?from=now --publish 1", Law::Rising, Method::Post, 1),
            ("http://127.0.0.1:1/load --publish 1 --topics 3", Law::Rising, Method::Put, 3),
        ] {
            let plan = plan(typed).expect(typed);
            let method_found = plan.publishing.as_ref().map(|publishing| publishing.method);
            assert_eq!((plan.rules.positions, method_found), (positions, Some(method)), "{typed}");
            assert_eq!((plan.topics.len(), plan.rules.writers), (topics, 1), "{typed}");
        }
        let several = plan("http://127.0.0.1:1/-/events?topic=/a&topic=/b").expect("a plan");
        assert_eq!((several.rules.positions, several.topics.len()), (Law::None, 1));
        let writers = plan("http://127.0.0.1:1/m --publish 1 --publishers 2").expect("a plan");
        assert_eq!(writers.rules.writers, 2);
    }

    #[test]
    fn what_is_written_may_be_elsewhere() {
        for (typed, topics, positions, method, paths) in [
            (
                "--foreign http://h/sub/{topic} --publish-to http://h/pub/{topic}?x=1",
                "/sub/t1",
                Law::None,
                Method::Post,
                "/pub/t1?x=1",
            ),
            (
                "--foreign http://h/sub?topic={topic} --publish-to http://h/pub --body {topic}",
                "/sub?topic=t1",
                Law::None,
                Method::Post,
                "/pub",
            ),
            ("http://h/m --publish-to http://h/m/{topic}", "/m/t1", Law::Rising, Method::Put, "/m/t1"),
            ("http://h/{topic}?from=now", "/t1?from=now", Law::Gapless, Method::Post, "/t1"),
        ] {
            let typed = format!("{typed} --publish 1 --topics 2").replace("//h/", "//127.0.0.1:1/");
            let plan = plan(&typed).expect(&typed);
            let publishing = plan.publishing.expect("a publisher");
            assert_eq!((plan.topics[1].as_str(), plan.rules.positions), (topics, positions), "{typed}");
            assert_eq!((publishing.paths[1].as_str(), publishing.method), (paths, method), "{typed}");
        }
        let stream = plan("http://127.0.0.1:1/m --publish 1 --publish-to http://127.0.0.2:1/m/one").expect("a plan");
        let publishing = stream.publishing.expect("a publisher");
        assert_eq!((stream.rules.positions, publishing.method), (Law::Gapless, Method::Put));
        assert_eq!(publishing.target.address.to_string(), "127.0.0.2:1");
    }

    #[test]
    fn what_is_probed_is_what_is_written() {
        for (typed, request) in [
            ("/m?from=now", "GET /m?limit=1 "),
            ("/m/7?from=now", "GET /m/7 "),
            ("/m --publish 1 --publish-to http://127.0.0.1:1/m/one", "GET /m/one "),
            ("/load --publish 1 --topics 3", "GET /load/t0 "),
            ("/sub --foreign --probe-url http://127.0.0.1:1/health?x=1", "GET /health?x=1 "),
        ] {
            let plan = plan(&format!("http://127.0.0.1:1{typed} --probe 5")).expect(typed);
            let probing = plan.probing.expect("a probe");
            assert!(probing.request.starts_with(request), "{typed}: {}", probing.request);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for typed in [
            "http://127.0.0.1:1/m --connections 0",
            "http://127.0.0.1:1/m --connections 200000",
            "http://127.0.0.1:1/m --stall 2",
            "http://127.0.0.1:1/m --discard 2",
            "http://127.0.0.1:1/m --discard 1 --count 5",
            "http://127.0.0.1:1/m --publish 0",
            "http://127.0.0.1:1/m --publish 1e300",
            "http://127.0.0.1:1/m --publish 1e-300",
            "http://127.0.0.1:1/m --publish 1 --churn 1e300",
            "http://127.0.0.1:1/m --for 1e300",
            "http://127.0.0.1:1/m --patience inf",
            "http://127.0.0.1:1/m --probe 1e-300",
            "http://127.0.0.1:1/m --publish 1 --churn 0",
            "http://127.0.0.1:1/m/7 --topics 2",
            "http://127.0.0.1:1/-/events --publish 1",
            "http://127.0.0.1:1/m --publish 1 --burst 0",
            "http://127.0.0.1:1/m --foreign --topics 2",
            "http://127.0.0.1:1/m --probe 0",
            "http://127.0.0.1:1/m --foreign --probe 1",
            "http://127.0.0.1:1/-/events?topic=/a --probe 1",
            "http://127.0.0.1:1/{topic} --topics 2 --publish 1 --publish-to http://127.0.0.1:2/m",
            "http://192.0.2.1/m --spread 2",
        ] {
            assert!(matches!(plan(typed), Err(Failure::Usage(_))), "{typed}");
        }
    }

    #[test]
    fn the_shares_add_up() {
        let plan = plan("http://127.0.0.1:1/load --topics 2 --connections 10 --stall 0.25").expect("a plan");
        assert_eq!((plan.stalling(), plan.expected(&[5, 7])), (2, (4 * 5 + 4 * 7, 5 + 7)));
        for (share, discarding) in [("0", 0), ("0.9", 9), ("1", 10)] {
            let plan =
                super::typed(&format!("http://127.0.0.1:1/m --connections 10 --discard {share}")).expect("a plan");
            let found = (0..10).filter(|&connection| plan.habit(connection) == Habit::Discards).count();
            assert_eq!(found, discarding, "{share}");
        }
    }
}
