//! What a run came to. The report is plain data: whoever runs something fills it, `report.json` is this and nothing else, and
//! all that people read (page, Markdown, percentiles, comparison) is made from it alone, so that a report that was saved can
//! be shown and compared later as if the run had just ended. Times and sizes have their unit in their name.

mod latency;
mod machine;

mod json;

mod caveats;
pub(crate) mod figures;
mod headline;

mod baseline;

mod hgrm;
mod markdown;
mod page;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub(crate) use baseline::{Comparison, Tolerances};
pub(crate) use caveats::Standing;
use headline::Headline;
pub(crate) use latency::{Latency, latencies};
pub(crate) use machine::Machine;

/// The number of this form of the JSON. Raised when a reader of the one before would read something wrong; additions that an
/// old reader may pass over don't raise it.
pub(crate) const SCHEMA: u32 = 1;

/// Bytes of a report that is read. A day of seconds with histograms of all three digits has some 30 MB.
const REPORT_BYTES_MAX: u64 = 64 << 20;

/// A run's results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// See [`SCHEMA`].
    pub(crate) schema: u32,
    /// What was run.
    pub(crate) run: Run,
    /// What it was run on.
    pub(crate) machine: Machine,
    /// Requests, by what was done.
    pub(crate) scenarios: Vec<Scenario>,
    /// What followers received, if there were any.
    pub(crate) delivery: Option<Delivery>,
    /// The measured time, second by second.
    pub(crate) timeline: Vec<Second>,
    /// The server's process, if it was named.
    pub(crate) server: Option<Server>,
    /// What generated the load: this program.
    pub(crate) generator: Generator,
    /// What was to be held.
    pub(crate) objectives: Vec<Objective>,
    /// The way to the highest load that held them, if it was looked for. The rest of the report is of that load.
    pub(crate) ramp: Option<Ramp>,
    /// What failed, by reason, and how often: requests, connections, writes.
    pub(crate) errors: BTreeMap<String, u64>,
}

/// What was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The workload's name.
    pub(crate) scenario: String,
    /// The URL that was loaded.
    pub(crate) target: String,
    /// What kind of server that is: the preset's name.
    pub(crate) preset: String,
    /// The command line, without the program.
    pub(crate) arguments: Vec<String>,
    /// What all that is random in it came from.
    pub(crate) seed: Option<u64>,
    /// When the measured time began, in seconds since 1970.
    pub(crate) started_unix_s: u64,
    /// The measured time.
    pub(crate) measured_s: f64,
    /// Whether it lasted as long as it was to.
    #[serde(default)]
    pub(crate) ended: Ended,
    /// Where the two ends were.
    pub(crate) hosts: Hosts,
    /// Whose clock the latencies are of.
    pub(crate) clock: Clock,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ended {
    /// When its time was over.
    #[default]
    Whole,
    /// Before, by Ctrl-C.
    CutShort,
    /// A writer ended before, or more than a hundredth of the followers didn't follow to the end.
    Broken,
}

/// Where the load and the server were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hosts {
    /// On one host: they shared its CPUs, and no network was between them.
    One,
    /// On two.
    Two,
}

/// Where the two ends of a delivery's latency were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Clock {
    /// In one process.
    One,
    /// On two hosts: by how much their clocks differ is in every figure.
    Two,
}

/// One kind of request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scenario {
    /// What was done.
    pub(crate) name: String,
    /// From when an answer was timed.
    pub(crate) timed_from: TimedFrom,
    /// Requests, failed ones with them.
    pub(crate) requests: u64,
    /// Requests that failed: no answer, or not the one that was to come.
    pub(crate) failures: u64,
    /// Requests per second over the time in which they were made.
    pub(crate) requests_per_s: f64,
    /// To the answer's end.
    pub(crate) latency: Latency,
}

/// From when an answer is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TimedFrom {
    /// The moment at which the request was to be sent, whatever became of those before it: an open loop. What a stall delays
    /// is in the figures.
    Intended,
    /// The moment at which it was sent, once the one before it was answered: a closed loop. A stall shows once per user.
    Sent,
}

/// What followers received.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Delivery {
    /// Followers that were asked for.
    pub(crate) followers: u64,
    /// Followers that followed when all had connected.
    pub(crate) following: u64,
    /// From the first dial to the last follower's start.
    pub(crate) connecting_s: f64,
    /// Frames that should have come, if that is known.
    pub(crate) frames_due: Option<u64>,
    /// Frames that came.
    pub(crate) frames: u64,
    /// The same per second of the measured time.
    pub(crate) frames_per_s: f64,
    /// Bytes that came.
    pub(crate) bytes: u64,
    /// Frames that never came, though later ones did or they were due.
    pub(crate) gaps: u64,
    /// Frames that came again.
    pub(crate) repeats: u64,
    /// Frames that came after later ones.
    pub(crate) reordered: u64,
    /// Streams that the server started anew.
    pub(crate) resets: u64,
    /// From the moment that a write was meant for to the frame's receipt, over all followers.
    pub(crate) latency: Latency,
}

/// One second of the measured time. The last is as long as what was left of it; its counts are per second, as all are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Second {
    /// Its end, from the start of the measured time.
    pub(crate) at_s: u32,
    /// Writes that were due in it; none if the run only listens.
    pub(crate) writes_due: Option<f64>,
    /// Writes that were answered well.
    pub(crate) writes: u64,
    /// Requests of all scenarios, the writes with them.
    pub(crate) requests: u64,
    /// Frames that came.
    pub(crate) frames: u64,
    /// Of what came in this second: of the frames, or where there are no followers, of the answers.
    pub(crate) p50_us: Option<u64>,
    /// See `p50_us`.
    pub(crate) p99_us: Option<u64>,
    /// What failed.
    pub(crate) errors: u64,
    /// Followers at its end.
    pub(crate) followers: u64,
    /// What the server took, if its process is known.
    pub(crate) server: Option<Usage>,
    /// What this program took.
    pub(crate) generator: Option<Usage>,
}

/// What a process took in a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// CPU time per time: 1 is one CPU all the time.
    pub(crate) cpus: f64,
    /// Resident bytes at its end.
    pub(crate) resident_bytes: u64,
}

/// The server's process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Server {
    /// Its number.
    pub(crate) pid: u32,
    /// CPU time in the measured time.
    pub(crate) cpu_s: f64,
    /// Resident bytes before the first follower.
    pub(crate) resident_before_bytes: u64,
    /// Resident bytes when all followed.
    pub(crate) resident_following_bytes: u64,
    /// Resident bytes at most.
    pub(crate) resident_max_bytes: u64,
    /// Open descriptors at the end.
    pub(crate) descriptors: u64,
}

/// This program, as a part of what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Generator {
    /// Threads that made the load.
    pub(crate) threads: u64,
    /// CPU time in the measured time, of all of them.
    pub(crate) cpu_s: f64,
    /// What the busiest of them took, as a part of one CPU.
    pub(crate) busiest_thread_cpus: f64,
    /// How late what was due was sent, by this program's own doing.
    pub(crate) lag: Latency,
    /// The part of the writes whose moment passed while the answer before theirs was awaited.
    #[serde(default)]
    pub(crate) writes_waited: f64,
    /// How long the turns of the followers' loops took: what arrives meanwhile is noticed so late at most.
    #[serde(default)]
    pub(crate) turns: Latency,
    /// Resident bytes at most.
    pub(crate) resident_max_bytes: u64,
}

/// Something that was to be held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Objective {
    /// As it was stated: `p99<50ms`.
    pub(crate) stated: String,
    /// What was found, as a person would write it; nothing if there was nothing to be judged, which doesn't meet it.
    pub(crate) found: Option<String>,
    /// Whether it was met.
    pub(crate) met: bool,
}

/// The way to the highest load that held the objectives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ramp {
    /// What was raised.
    pub(crate) raises: Raises,
    /// The loads that were tried, in this order.
    pub(crate) steps: Vec<Step>,
    /// The highest that held; none if the first didn't.
    pub(crate) knee: Option<f64>,
    /// What p99 was to stay below, if that was an objective.
    #[serde(default)]
    pub(crate) p99_bound_us: Option<u64>,
    /// Why no higher load could be tried, if it wasn't the objectives that ended it.
    #[serde(default)]
    pub(crate) stopped: Option<String>,
}

/// What a ramp raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Raises {
    /// Writes per second.
    Rate,
    /// Followers.
    Connections,
}

/// One load of a ramp.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// How much.
    pub(crate) load: f64,
    /// Frames per second that it gave, or without followers requests.
    pub(crate) per_s: f64,
    /// Of its latencies.
    pub(crate) p50_us: u64,
    /// Of its latencies.
    pub(crate) p99_us: u64,
    /// The objectives that it broke, as they were stated; none if it held.
    pub(crate) broke: Vec<String>,
}

/// Why a report can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// There is no such file, or it isn't ours to read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it isn't a report of fantail-load's: {0}")]
    Form(#[from] serde_json::Error),
    /// It is of another version.
    #[error("it has schema {0}, and this version reads {SCHEMA}")]
    Schema(u64),
    /// It is far too large.
    #[error("it has more than {REPORT_BYTES_MAX} bytes")]
    Size,
}

impl Raises {
    /// What a load is so many of.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Raises::Rate => "writes/s",
            Raises::Connections => "followers",
        }
    }
}

impl Step {
    /// Whether it held.
    pub(crate) fn held(&self) -> bool {
        self.broke.is_empty()
    }

    /// Whether it held, or what it broke.
    pub(crate) fn verdict(&self) -> String {
        if self.broke.is_empty() { "held".to_owned() } else { format!("broke {}", self.broke.join(", ")) }
    }
}

impl Report {
    /// Reads a `report.json`, of [`REPORT_BYTES_MAX`] at most.
    pub(crate) fn read(path: &Path) -> Result<Report, Unreadable> {
        let mut text = String::new();
        File::open(path)?.take(REPORT_BYTES_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > REPORT_BYTES_MAX {
            return Err(Unreadable::Size);
        }
        Report::parse(&text)
    }

    fn parse(text: &str) -> Result<Report, Unreadable> {
        /// What all versions have in common.
        #[derive(Deserialize)]
        struct Versioned {
            schema: u64,
        }
        match serde_json::from_str::<Versioned>(text)?.schema {
            schema if schema == u64::from(SCHEMA) => Ok(serde_json::from_str(text)?),
            schema => Err(Unreadable::Schema(schema)),
        }
    }

    /// The JSON, in lines.
    ///
    /// # Panics
    ///
    /// Never: numbers, texts and lists of them have a form in JSON.
    pub(crate) fn json(&self) -> String {
        json::lines(&serde_json::to_value(self).expect("plain data"))
    }

    /// The report for pull requests, with the comparison if there is one.
    pub(crate) fn markdown(&self, comparison: Option<&Comparison>) -> String {
        markdown::text(self, comparison)
    }

    /// All its forms, by the names of their files; with the earlier report and the comparison with it, if there is one.
    pub(crate) fn files(&self, compared: Option<(&Report, &Comparison)>) -> [(&'static str, String); 4] {
        [
            ("report.json", self.json()),
            ("report.html", page::html(self, compared)),
            ("report.md", self.markdown(compared.map(|(_, comparison)| comparison))),
            ("report.hgrm", hgrm::text(&self.latency())),
        ]
    }

    /// Whether nothing at all went wrong.
    pub(crate) fn is_clean(&self) -> bool {
        let is_whole = self.delivery.as_ref().is_none_or(|delivery| {
            let Delivery { gaps, repeats, reordered, resets, .. } = delivery;
            gaps + repeats + reordered + resets == 0
                && delivery.following == delivery.followers
                && delivery.frames_due.is_none_or(|due| due <= delivery.frames)
        });
        is_whole && self.errors.is_empty()
    }

    /// The two numbers and the sentence, in lines.
    pub(crate) fn headline(&self) -> String {
        let Headline { rate, rate_of, latency, latency_of, sentence } = Headline::new(self);
        format!("{rate} {rate_of}\n{latency} {latency_of}\n{sentence}")
    }

    /// Everything that failed.
    pub(crate) fn errors_in_all(&self) -> u64 {
        self.errors.values().sum()
    }

    /// What its latency curve and its large numbers are of: the deliveries, or without followers all requests.
    pub(crate) fn latency(&self) -> Latency {
        match &self.delivery {
            Some(delivery) => delivery.latency.clone(),
            None => self.scenarios.iter().map(|scenario| &scenario.latency).sum(),
        }
    }

    /// Frames per second, or without followers requests.
    pub(crate) fn per_s(&self) -> f64 {
        match &self.delivery {
            Some(delivery) => delivery.frames_per_s,
            None => self.scenarios.iter().map(|scenario| scenario.requests_per_s).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report with one member replaced.
    fn with(name: &str, value: serde_json::Value) -> String {
        let text = include_str!("../../fixtures/reports/requests.json");
        let mut report: serde_json::Value = serde_json::from_str(text).expect("a report");
        report[name] = value;
        report.to_string()
    }

    #[test]
    fn what_is_no_report_of_this_version_is_refused() {
        assert!(Report::parse(&with("schema", SCHEMA.into())).is_ok());
        assert!(matches!(Report::parse(&with("schema", 2.into())), Err(Unreadable::Schema(2))));
        assert!(matches!(Report::parse(&with("timeline", 2.into())), Err(Unreadable::Form(_))));
        for text in ["", "{}", "[]", "{\"schema\": \"1\"}", "{\"schema\": -1}"] {
            assert!(matches!(Report::parse(text), Err(Unreadable::Form(_))), "{text}");
        }
        assert!(Report::parse(&with("added_later", 7.into())).is_ok(), "additions are passed over");
    }

    #[test]
    fn figures_of_an_empty_run_are_still_figures() {
        let text = include_str!("../../fixtures/reports/canonical.json");
        let mut report = Report::parse(text).expect("a report");
        report.timeline.clear();
        report.scenarios.clear();
        report.run.measured_s = 0.0;
        report.run.started_unix_s = u64::MAX;
        let delivery = report.delivery.as_mut().expect("followers");
        (delivery.latency, delivery.frames, delivery.following) = (Latency::new(), 0, 0);
        let texts = report.files(None);
        assert!(texts.iter().all(|(_, text)| !text.contains("NaN") && !text.contains("inf")), "{texts:?}");
        report.delivery = None;
        let texts = report.files(Some((&report, &Comparison::new(&report, &report, &Tolerances::default()))));
        assert!(texts.iter().all(|(_, text)| !text.contains("NaN") && !text.contains("inf")), "{texts:?}");
    }
}
