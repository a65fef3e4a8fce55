//! The page's tables and lists.

use super::{Text, section, table};
use crate::report::baseline::{self, Comparison, Verdict};
use crate::report::caveats::Standing;
use crate::report::figures::{Unit, count, number, percentiles, time};
use crate::report::{Latency, Report};

/// Characters of a value that stand beside its name; longer ones stand below it.
const LINE: usize = 44;

/// Names and values, in two columns where there is room.
pub(super) fn list(facts: &[(&str, String)]) -> String {
    let rows = facts.iter().map(|(name, value)| {
        let class = if value.chars().count() > LINE { " class=long" } else { "" };
        format!("<div{class}><dt>{}</dt><dd>{}</dd></div>\n", Text(name), Text(value))
    });
    format!("<dl class=facts>\n{}</dl>\n", rows.collect::<String>())
}

/// Deliveries and scenarios: how many, how fast, how late.
pub(super) fn scenarios(report: &Report) -> String {
    let mut rows = Vec::new();
    if let Some(delivery) = &report.delivery {
        let mut row =
            vec!["delivery".to_owned(), count(delivery.frames), "–".to_owned(), number(delivery.frames_per_s)];
        row.extend(percentiles(&delivery.latency));
        rows.push(row);
    }
    for scenario in &report.scenarios {
        let (requests, failures) = (count(scenario.requests), count(scenario.failures));
        let mut row = vec![scenario.name.clone(), requests, failures, number(scenario.requests_per_s)];
        row.extend(percentiles(&scenario.latency));
        rows.push(row);
    }
    let head = ["scenario", "count", "failed", "per second", "p50", "p90", "p99", "p99.9", "max"];
    section("Scenarios", "", &table("Requests and deliveries by scenario", &head, rows))
}

/// What followers received, and what failed.
pub(super) fn delivery(report: &Report) -> String {
    let mut body = String::new();
    if let Some(delivery) = &report.delivery {
        let bytes = |bytes: f64| Unit::Bytes.text(bytes);
        let facts = [
            ("Followers", format!("{} of {}", count(delivery.following), count(delivery.followers))),
            ("Connected within", format!("{} s", number(delivery.connecting_s))),
            ("Frames due", delivery.frames_due.map_or("unknown".to_owned(), count)),
            ("Frames received", count(delivery.frames)),
            (
                "Bytes received",
                format!(
                    "{}, {}/s",
                    bytes(delivery.bytes as f64),
                    bytes(delivery.bytes as f64 / report.run.measured_s.max(1e-9))
                ),
            ),
            ("Gaps", count(delivery.gaps)),
            ("Repeats", count(delivery.repeats)),
            ("Out of order", count(delivery.reordered)),
            ("Resets", count(delivery.resets)),
        ];
        body += &list(&facts);
    }
    if !report.errors.is_empty() {
        let rows = report.errors.iter().map(|(why, &times)| vec![why.clone(), count(times)]);
        body += &table("Errors by reason", &["error", "times"], rows);
    }
    section("What was received, and what failed", "", &body)
}

/// This report against an earlier one.
pub(super) fn comparison(comparison: Option<&Comparison>) -> String {
    let Some(comparison) = comparison else { return String::new() };
    let rows = comparison.differences.iter().map(|difference| {
        let cells: String = difference.cells().iter().map(|cell| format!("<td>{}</td>", Text(cell))).collect();
        let class = match difference.verdict {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Same | Verdict::Unjudged | Verdict::Missing => "same",
        };
        format!("<tr class={class}><th scope=row>{}</th>{cells}</tr>\n", Text(&difference.name))
    });
    let heads: String = baseline::HEAD.iter().map(|cell| format!("<th scope=col>{cell}</th>")).collect();
    let notes: String = comparison.notes.iter().map(|note| format!("<li>{}</li>\n", Text(note))).collect();
    let notes = if notes.is_empty() { notes } else { format!("<ul class=notes>\n{notes}</ul>\n") };
    let body = format!(
        "{notes}<div class=scroll tabindex=0 role=region aria-label=\"Against the baseline\"><table class=many><caption>Against the \
         baseline</caption><thead><tr>{heads}</tr></thead>\n<tbody>\n{}</tbody></table></div>\n",
        rows.collect::<String>()
    );
    section("Against the baseline", &comparison.sentence(), &body)
}

/// This program, as a part of what was measured.
pub(super) fn generator(report: &Report) -> String {
    let generator = &report.generator;
    let spread = |latency: &Latency| match latency.count() {
        0 => "–".to_owned(),
        _ => format!("p50 {}, p99 {}, max {}", time(latency.at(0.5)), time(latency.at(0.99)), time(latency.max())),
    };
    let facts = [
        ("Threads", count(generator.threads)),
        ("CPU time", format!("{} s", number(generator.cpu_s))),
        ("Its busiest thread", format!("{:.2} CPUs", generator.busiest_thread_cpus)),
        ("Sent late by", spread(&generator.lag)),
        ("A turn of its loop", spread(&generator.turns)),
        ("Memory at most", Unit::Bytes.text(generator.resident_max_bytes as f64)),
    ];
    let class = match generator.standing() {
        Standing::KeptUp => "fine",
        Standing::Saturated => "warning",
    };
    let sentence = format!("<p class={class}>{}</p>\n", Text(&generator.sentence()));
    section("The generator itself", "", &(sentence + &list(&facts)))
}

/// What one must know to believe it.
pub(super) fn caveats(report: &Report) -> String {
    let items: String = report.caveats().iter().map(|caveat| format!("<li>{}</li>\n", Text(caveat))).collect();
    section("How to read this", "", &format!("<ul class=notes>\n{items}</ul>\n"))
}

/// What was run, on what.
pub(super) fn facts(report: &Report) -> String {
    section("Run, machine and versions", "", &list(&report.facts()))
}
