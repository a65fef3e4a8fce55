//! Objectives: what a run is to hold, as `p99<50ms,errors=0,gaps=0`, and whether a report does.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::report::figures::Unit;
use crate::report::{Objective, Report};

/// One objective.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slo {
    stated: String,
    what: What,
    relation: Relation,
    /// Microseconds, or a count.
    bound: f64,
}

/// All that a run is to hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Slos(pub(crate) Vec<Slo>);

/// What an objective is about.
#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    /// The latency at this quantile; 1 is the greatest.
    Latency(f64),
    Errors,
    Gaps,
    Repeats,
    Reordered,
    /// Frames, or without followers requests, per second.
    Rate,
}

/// How the value is to stand to the bound.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Relation {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

/// Why a text states no objective.
#[derive(Debug, Error, PartialEq)]
pub(crate) enum NotAnObjective {
    /// There is no relation in it.
    #[error("{0:?}: an objective is NAME, one of < <= = >= >, and a bound, such as p99<50ms")]
    Form(String),
    /// Nothing is called so.
    #[error("{0:?}: there are p50, p99.9 and so on, max, errors, gaps, repeats, reordered and rate")]
    Name(String),
    /// A latency without a unit, or with another.
    #[error("{0:?}: a latency's bound is a number with us, ms or s, such as 50ms")]
    Time(String),
    /// No number.
    #[error("{0:?}: the bound must be a number")]
    Number(String),
}

/// The longest first, since they begin alike.
const RELATIONS: [(&str, Relation); 5] = [
    ("<=", Relation::AtMost),
    (">=", Relation::AtLeast),
    ("<", Relation::Less),
    (">", Relation::More),
    ("=", Relation::Equal),
];

impl FromStr for Slos {
    type Err = NotAnObjective;

    fn from_str(text: &str) -> Result<Slos, NotAnObjective> {
        text.split(',').map(str::trim).map(str::parse).collect::<Result<_, _>>().map(Slos)
    }
}

impl FromStr for Slo {
    type Err = NotAnObjective;

    fn from_str(text: &str) -> Result<Slo, NotAnObjective> {
        let at = text.find(['<', '=', '>']).ok_or_else(|| NotAnObjective::Form(text.to_owned()))?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let found = RELATIONS.iter().find_map(|(sign, relation)| Some((*relation, rest.strip_prefix(sign)?.trim())));
        let (relation, bound) = found.ok_or_else(|| NotAnObjective::Form(text.to_owned()))?;
        let what = match name {
            "errors" => What::Errors,
            "gaps" => What::Gaps,
            "repeats" => What::Repeats,
            "reordered" => What::Reordered,
            "rate" => What::Rate,
            "max" => What::Latency(1.0),
            _ => {
                let percent = name.strip_prefix('p').and_then(|percent| percent.parse::<f64>().ok());
                let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
                What::Latency(percent.ok_or_else(|| NotAnObjective::Name(name.to_owned()))? / 100.0)
            }
        };
        let bound = match what {
            What::Latency(_) => time_us(bound).ok_or_else(|| NotAnObjective::Time(bound.to_owned()))?,
            What::Errors | What::Gaps | What::Repeats | What::Reordered | What::Rate => {
                number(bound).ok_or_else(|| NotAnObjective::Number(bound.to_owned()))?
            }
        };
        Ok(Slo { stated: text.to_owned(), what, relation, bound })
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

fn time_us(text: &str) -> Option<f64> {
    [("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)]
        .iter()
        .find_map(|(unit, us)| Some(number(text.strip_suffix(unit)?.trim())? * us))
}

impl Slos {
    /// What p99 is to stay below, if that is an objective.
    pub(crate) fn p99_bound_us(&self) -> Option<u64> {
        let is_bound = |slo: &&Slo| match (slo.what, slo.relation) {
            (What::Latency(quantile), Relation::Less | Relation::AtMost) => quantile == 0.99,
            (_, _) => false,
        };
        self.0.iter().find(is_bound).map(|slo| slo.bound as u64)
    }

    /// What became of each.
    pub(crate) fn judge(&self, report: &Report) -> Vec<Objective> {
        self.0.iter().map(|slo| slo.judge(report)).collect()
    }
}

impl Slo {
    fn judge(&self, report: &Report) -> Objective {
        let delivery = report.delivery.as_ref();
        let found = match self.what {
            What::Latency(quantile) => {
                let latency = report.latency();
                (latency.count() > 0).then(|| latency.at(quantile) as f64)
            }
            What::Errors => Some(report.errors_in_all() as f64),
            What::Gaps => delivery.map(|delivery| delivery.gaps as f64),
            What::Repeats => delivery.map(|delivery| delivery.repeats as f64),
            What::Reordered => delivery.map(|delivery| delivery.reordered as f64),
            What::Rate => Some(report.per_s()),
        };
        let holds = |found: f64| match self.relation {
            Relation::Less => found < self.bound,
            Relation::AtMost => found <= self.bound,
            Relation::Equal => found == self.bound,
            Relation::AtLeast => found >= self.bound,
            Relation::More => found > self.bound,
        };
        let text = |found: f64| match self.what {
            What::Latency(_) => Unit::Time.text(found),
            What::Errors | What::Gaps | What::Repeats | What::Reordered => Unit::Count.text(found),
            What::Rate => Unit::PerSecond.text(found),
        };
        Objective { stated: self.stated.clone(), found: found.map(text), met: found.is_some_and(holds) }
    }
}

impl fmt::Display for Slos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<&str> = self.0.iter().map(|slo| slo.stated.as_str()).collect();
        f.write_str(&all.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(stated: &str) -> Vec<bool> {
        let report = include_str!("../../fixtures/reports/canonical.json");
        let report: Report = serde_json::from_str(report).expect("a report");
        let slos: Slos = stated.parse().expect("objectives");
        slos.judge(&report).iter().map(|objective| objective.met).collect()
    }

    #[test]
    fn objectives_are_judged() {
        assert_eq!(judged("p99<10s, max<=600s,p50>0us"), [true; 3]);
        assert_eq!(judged("p99<1us,rate<1,gaps>1000000"), [false; 3]);
        assert_eq!(judged("rate>0"), [true]);
        let bound = |stated: &str| stated.parse::<Slos>().expect("objectives").p99_bound_us();
        assert_eq!((bound("errors=0,p99 <= 50ms"), bound("p99>1s,p90<1s,max<2s")), (Some(50_000), None));
    }

    #[test]
    fn what_states_none_is_told_why() {
        for (text, starts) in [
            ("", "\"\": an objective is"),
            ("p99", "\"p99\": an objective is"),
            ("p101<5ms", "\"p101\": there are"),
            ("latency<5ms", "\"latency\": there are"),
            ("p99<5", "\"5\": a latency"),
            ("p99<fastms", "\"fastms\": a latency"),
            ("errors=none", "\"none\": the bound"),
            ("errors=0,", "\"\": an objective is"),
        ] {
            let why = text.parse::<Slos>().expect_err(text).to_string();
            assert!(why.starts_with(starts), "{text}: {why}");
        }
    }
}
