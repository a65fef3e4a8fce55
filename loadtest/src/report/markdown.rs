//! The report as Markdown, for pull requests: the two large numbers, what was to be held, the tables; the rest folded away.

use super::Report;
use super::baseline::{self, Comparison};
use super::figures::{Unit, count, number, percentiles, time};
use super::headline::Headline;

/// The text, with the comparison if there is one.
pub(crate) fn text(report: &Report, comparison: Option<&Comparison>) -> String {
    let Headline { rate, rate_of, latency, latency_of, sentence } = Headline::new(report);
    let mut parts = vec![
        format!("## {} against `{}`", literal(&report.run.scenario), report.run.target),
        format!("**{rate}** {rate_of}, **{latency}** {latency_of}"),
        sentence,
        objectives(report),
        comparison.map_or(String::new(), compared),
        scenarios(report),
        delivery(report),
        ramp(report),
        errors(report),
        server(report),
        report.generator.sentence(),
        folded(report),
    ];
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n") + "\n"
}

/// A table whose first column is to the left and whose others are to the right.
fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let rule = format!("|---|{}", "--:|".repeat(head.len() - 1));
    let rows = rows.into_iter().map(|row| line(&row.iter().map(|cell| literal(cell)).collect::<Vec<_>>()));
    [line(&head), rule].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}

/// A text that means nothing but itself in a table.
fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '|' | '*' | '_' | '`' | '<' | '[' | '\\') {
            literal.push('\\');
        }
        literal.push(if character == '\n' { ' ' } else { character });
    }
    literal
}

fn objectives(report: &Report) -> String {
    let rows = report.objectives.iter().map(|objective| {
        let found = objective.found.clone().unwrap_or_else(|| "nothing to judge".to_owned());
        vec![objective.stated.clone(), found, if objective.met { "met" } else { "MISSED" }.to_owned()]
    });
    if report.objectives.is_empty() { String::new() } else { table(&["objective", "found", ""], rows) }
}

fn compared(comparison: &Comparison) -> String {
    let rows = comparison.differences.iter().map(|difference| {
        let mut row = vec![difference.name.clone()];
        row.extend(difference.cells());
        row
    });
    let notes = comparison.notes.iter().map(|note| format!("\n- {}", literal(note)));
    let table = table(&baseline::HEAD, rows);
    format!("**{}**\n{}\n\n{table}", literal(&comparison.sentence()), notes.collect::<String>())
        .replace("\n\n\n", "\n\n")
}

fn scenarios(report: &Report) -> String {
    let mut rows = Vec::new();
    if let Some(delivery) = &report.delivery {
        let mut row =
            vec!["delivery".to_owned(), count(delivery.frames), "–".to_owned(), number(delivery.frames_per_s)];
        row.extend(percentiles(&delivery.latency));
        rows.push(row);
    }
    rows.extend(report.scenarios.iter().map(|scenario| {
        let (requests, failures) = (count(scenario.requests), count(scenario.failures));
        let mut row = vec![scenario.name.clone(), requests, failures, number(scenario.requests_per_s)];
        row.extend(percentiles(&scenario.latency));
        row
    }));
    table(&["", "count", "failed", "per second", "p50", "p90", "p99", "p99.9", "max"], rows)
}

fn delivery(report: &Report) -> String {
    let Some(delivery) = &report.delivery else { return String::new() };
    let due = delivery.frames_due.map_or("–".to_owned(), count);
    let mut row = vec![format!("{} of {}", count(delivery.following), count(delivery.followers)), due];
    let counts = [delivery.frames, delivery.gaps, delivery.repeats, delivery.reordered, delivery.resets];
    row.extend(counts.map(count));
    table(&["followers", "frames due", "received", "gaps", "repeats", "reordered", "resets"], [row])
}

fn ramp(report: &Report) -> String {
    let Some(ramp) = &report.ramp else { return String::new() };
    let what = ramp.raises.unit();
    let rows = ramp
        .steps
        .iter()
        .map(|step| vec![number(step.load), number(step.per_s), time(step.p50_us), time(step.p99_us), step.verdict()]);
    let knee = match ramp.knee {
        Some(knee) => format!("The highest load that held: **{} {what}**", number(knee)),
        None => "No load held.".to_owned(),
    };
    let stopped = ramp.stopped.as_ref().map_or(String::new(), |why| format!("\n\n{}", literal(why)));
    format!("{knee}{stopped}\n\n{}", table(&[what, "per second", "p50", "p99", ""], rows))
}

fn errors(report: &Report) -> String {
    let rows = report.errors.iter().map(|(why, &times)| vec![why.clone(), count(times)]);
    if report.errors.is_empty() { String::new() } else { table(&["error", "times"], rows) }
}

fn server(report: &Report) -> String {
    let Some(server) = &report.server else { return String::new() };
    let cost = report.server_us_per_delivery().map(|cost_us| format!(", {} per delivery", Unit::Time.text(cost_us)));
    let each = report.server_bytes_per_follower().map(|bytes| format!(" ({} per follower)", Unit::Bytes.text(bytes)));
    let cpus = server.cpu_s / report.run.measured_s.max(1e-9);
    format!(
        "The server took {cpus:.2} CPUs{}, and {} of memory at most{}.",
        cost.unwrap_or_default(),
        Unit::Bytes.text(server.resident_max_bytes as f64),
        each.unwrap_or_default()
    )
}

fn folded(report: &Report) -> String {
    let rows = report.facts().into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    let caveats: Vec<String> = report.caveats().iter().map(|caveat| format!("- {}", literal(caveat))).collect();
    format!(
        "<details><summary>Machine, versions, and how to read this</summary>\n\n{}\n\n{}\n\n</details>",
        table(&["", ""], rows),
        caveats.join("\n")
    )
}
