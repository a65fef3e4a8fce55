//! What a run is: the arguments, resolved and checked, before anything is opened.

use std::net::SocketAddr;
use std::time::Duration;

use fantail_engine::topic::{Place, Topic};

use super::gauge;
use crate::Failure;
use crate::arguments::SwarmArguments;
use crate::ledger::{Law, Rules};
use crate::target::Target;

/// Handshakes in flight when none are asked for, all threads together.
const HANDSHAKES: usize = 1_000;

/// Bytes that a frame is to have when no payload is asked for.
const FRAME_BYTES: usize = 200;

/// Bytes of a frame, its payload and its path apart: `id:`, `event:`, the operation, id, counter and time.
const FRAME_REST_BYTES: usize = 130;

/// Bytes of an id that the server chooses, which stands in the frame twice.
const CHOSEN_ID_BYTES: usize = 36;

/// A run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where to.
    pub(crate) target: Target,
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
    /// How long to publish or listen.
    pub(crate) time: Duration,
    /// Frames that each follower must have received for a run that only listens to end.
    pub(crate) count: Option<u64>,
    /// How long without any progress until what is missing is given up.
    pub(crate) patience: Duration,
    /// Share of the followers that stall.
    stall: f64,
    /// Writes while all are away, if they are to leave and to return.
    pub(crate) reconnect: Option<u64>,
}

/// How to publish.
#[derive(Debug, Clone)]
pub(crate) struct Publishing {
    /// The request's method.
    pub(crate) method: Method,
    /// Paths to write to, in turn: one per topic.
    pub(crate) paths: Vec<String>,
    /// Writes per second, all together.
    pub(crate) rate: f64,
    /// Connections, each on a thread.
    pub(crate) publishers: usize,
    /// Bytes of filling in a document.
    pub(crate) payload: usize,
}

/// What a write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// A new document in a collection.
    Post,
    /// The same document again.
    Put,
}

impl Plan {
    /// Resolves what was typed.
    pub(crate) fn resolve(typed: &SwarmArguments) -> Result<Plan, Failure> {
        let usage = |why: String| Err(Failure::Usage(why));
        let target = Target::resolve(&typed.url)?;
        let (path, query) = match target.path.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (target.path.as_str(), String::new()),
        };
        let place = Place::parse(path).ok().filter(|_| !path.starts_with("/-/"));
        if typed.connections == 0 || typed.threads == 0 || typed.topics == Some(0) || typed.publishers == 0 {
            return usage("there must be a connection, a thread, a topic and a publisher at least".to_owned());
        }
        let positive = |seconds: f64| seconds.is_finite() && seconds > 0.0;
        if !positive(typed.seconds) || !positive(typed.patience) || !typed.publish.is_none_or(positive) {
            return usage("--publish, --for and --patience must be positive".to_owned());
        }
        if !(0.0..=1.0).contains(&typed.stall) {
            return usage("--stall is a share between 0 and 1".to_owned());
        }
        let ports = gauge::ports();
        if typed.connections.div_ceil(typed.spread.max(1) as usize) > ports {
            return usage(format!(
                "{} connections need --spread {} at least: an address has {ports} ports",
                typed.connections,
                typed.connections.div_ceil(ports)
            ));
        }
        let paths = match (typed.topics, &place) {
            (Some(count), Some(place)) if place.is_collection() => (0..count).map(|n| format!("{path}/t{n}")).collect(),
            (Some(_), _) => return usage("--topics needs the URL of a collection".to_owned()),
            (None, _) => vec![path.to_owned()],
        };
        let publishing = match typed.publish {
            Some(rate) => Some(publishing(typed, rate, place.as_ref(), &paths)?),
            None => None,
        };
        let slots = gauge::descriptors_max().min(1 << 20);
        let threads = typed.threads.max(typed.connections.div_ceil(slots)).min(typed.connections);
        let positions = match &place {
            Some(place) if typed.topics.is_none() && place.topic() == Topic::Stream => Law::Gapless,
            Some(_) => Law::Rising,
            None => Law::None,
        };
        let lone = typed.publishers > 1 && paths.len() == 1;
        let counter = if lone { Law::None } else { Law::Gapless };
        Ok(Plan {
            addresses: target.addresses(typed.spread)?,
            connections: typed.connections,
            share: typed.connections.div_ceil(threads),
            handshakes: (typed.handshakes.unwrap_or(HANDSHAKES.min(gauge::somaxconn() / 2)) / threads).max(1),
            cores: typed.cores.clone(),
            topics: paths.iter().map(|path| format!("{path}{query}")).collect(),
            rules: Rules { positions, counter },
            last_event_id: typed.last_event_id.clone(),
            publishing,
            time: Duration::from_secs_f64(typed.seconds),
            count: typed.count,
            patience: Duration::from_secs_f64(typed.patience),
            stall: typed.stall,
            reconnect: typed.reconnect,
            target,
        })
    }

    /// Which topic a follower follows.
    pub(crate) fn topic(&self, connection: usize) -> usize {
        connection % self.topics.len()
    }

    /// Whether a follower stalls: evenly spread over those of its topic.
    pub(crate) fn stalls(&self, connection: usize) -> bool {
        let of_topic = (connection / self.topics.len()) as f64;
        (of_topic * self.stall).floor() < ((of_topic + 1.0) * self.stall).floor()
    }

    /// Followers that stall.
    pub(crate) fn stalling(&self) -> u64 {
        (0..self.connections).filter(|&connection| self.stalls(connection)).count() as u64
    }

    /// Frames that followers must receive in all if each topic was written `published` times: of those that read all the
    /// time, and of those that stall.
    pub(crate) fn expected(&self, published: &[u64]) -> (u64, u64) {
        (0..self.connections).fold((0, 0), |(reading, stalling), connection| {
            let frames = published[self.topic(connection)];
            match self.stalls(connection) {
                true => (reading, stalling + frames),
                false => (reading + frames, stalling),
            }
        })
    }
}

fn publishing(
    typed: &SwarmArguments,
    rate: f64,
    place: Option<&Place>,
    paths: &[String],
) -> Result<Publishing, Failure> {
    let place = place.ok_or_else(|| Failure::Usage("only documents and collections can be published to".to_owned()))?;
    let method = match place.is_collection() && typed.topics.is_none() {
        true => Method::Post,
        false => Method::Put,
    };
    let ids = match method {
        Method::Post => 2 * CHOSEN_ID_BYTES,
        Method::Put => place.document().map_or(2, str::len),
    };
    let payload = FRAME_BYTES.saturating_sub(FRAME_REST_BYTES + place.pointer().len() + ids).max(1);
    let payload = typed.payload.unwrap_or(payload);
    Ok(Publishing { method, paths: paths.to_vec(), rate, publishers: typed.publishers, payload })
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
            assert_eq!((plan.topics.len(), plan.rules.counter), (topics, Law::Gapless), "{typed}");
        }
        let several = plan("http://127.0.0.1:1/-/events?topic=/a&topic=/b").expect("a plan");
        assert_eq!((several.rules.positions, several.topics.len()), (Law::None, 1));
        let writers = plan("http://127.0.0.1:1/m --publish 1 --publishers 2").expect("a plan");
        assert_eq!(writers.rules.counter, Law::None);
    }

    #[test]
    fn nonsense_is_refused() {
        for typed in [
            "http://127.0.0.1:1/m --connections 0",
            "http://127.0.0.1:1/m --connections 200000",
            "http://127.0.0.1:1/m --stall 2",
            "http://127.0.0.1:1/m --publish 0",
            "http://127.0.0.1:1/m/7 --topics 2",
            "http://127.0.0.1:1/-/events --publish 1",
            "http://192.0.2.1/m --spread 2",
        ] {
            assert!(matches!(plan(typed), Err(Failure::Usage(_))), "{typed}");
        }
    }

    #[test]
    fn the_shares_add_up() {
        let plan = plan("http://127.0.0.1:1/load --topics 2 --connections 10 --stall 0.25").expect("a plan");
        assert_eq!((plan.stalling(), plan.expected(&[5, 7])), (2, (4 * 5 + 4 * 7, 5 + 7)));
    }
}
