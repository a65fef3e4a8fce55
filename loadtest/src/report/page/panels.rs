//! What changed over the measured time: panels of one width below each other, which share their seconds.

use super::plot::{self, Growth, Height, SHAPES, Scale, Shape, Showing};
use super::section;
use crate::report::figures::{Unit, count, number, time};
use crate::report::{Report, Second, Usage};

/// Points of a line, and rows of the table behind it. More than a pixel each is seen by nobody; a longer run's seconds are
/// put together, by their mean or, where it matters, by their worst.
const POINTS_MAX: usize = 300;

/// A line of a panel; its number is its colour.
struct Line {
    name: &'static str,
    class: usize,
    values: Vec<Option<f64>>,
}

/// A panel: what it shows in which unit.
struct Panel {
    title: &'static str,
    unit: fn(f64) -> String,
    lines: Vec<Line>,
    growth: Growth,
    /// Where something failed.
    errors: Vec<bool>,
}

/// The seconds put together, so that there are at most [`POINTS_MAX`].
fn rows(timeline: &[Second]) -> Vec<Second> {
    let each = timeline.len().div_ceil(POINTS_MAX).max(1);
    timeline.chunks(each).map(together).collect()
}

fn together(part: &[Second]) -> Second {
    let n = part.len() as u64;
    let mean = |of: fn(&Second) -> u64| part.iter().map(of).sum::<u64>() / n;
    let usage = |of: fn(&Second) -> Option<Usage>| {
        let all: Vec<Usage> = part.iter().filter_map(of).collect();
        let cpus = all.iter().map(|usage| usage.cpus).sum::<f64>() / all.len().max(1) as f64;
        all.iter().map(|usage| usage.resident_bytes).max().map(|resident_bytes| Usage { cpus, resident_bytes })
    };
    let due: Vec<f64> = part.iter().filter_map(|second| second.writes_due).collect();
    Second {
        at_s: part[part.len() - 1].at_s,
        writes_due: (!due.is_empty()).then(|| due.iter().sum::<f64>() / due.len() as f64),
        writes: mean(|second| second.writes),
        requests: mean(|second| second.requests),
        frames: mean(|second| second.frames),
        p50_us: part.iter().filter_map(|second| second.p50_us).max(),
        p99_us: part.iter().filter_map(|second| second.p99_us).max(),
        errors: part.iter().map(|second| second.errors).sum(),
        followers: part[part.len() - 1].followers,
        server: usage(|second| second.server),
        generator: usage(|second| second.generator),
    }
}

fn line(name: &'static str, class: usize, seconds: &[Second], of: impl Fn(&Second) -> Option<f64>) -> Line {
    Line { name, class, values: seconds.iter().map(of).collect() }
}

/// Rate, writes and latency, second by second.
pub(super) fn timeline(report: &Report) -> String {
    let seconds = rows(&report.timeline);
    let errors = || seconds.iter().map(|second| second.errors > 0).collect::<Vec<_>>();
    let quiet = || vec![false; seconds.len()];
    let mut panels = Vec::new();
    match report.delivery {
        Some(_) => {
            let frames = vec![line("frames", 0, &seconds, |second| Some(second.frames as f64))];
            panels.push(Panel {
                title: "frames delivered per second",
                unit: number,
                lines: frames,
                growth: Growth::Linear,
                errors: errors(),
            });
            if seconds.iter().any(|second| second.writes_due.is_some()) {
                let writes = vec![
                    line("due", 5, &seconds, |second| second.writes_due),
                    line("answered", 2, &seconds, |second| Some(second.writes as f64)),
                ];
                panels.push(Panel {
                    title: "writes per second",
                    unit: number,
                    lines: writes,
                    growth: Growth::Linear,
                    errors: quiet(),
                });
            }
        }
        None => {
            let requests = vec![line("requests", 0, &seconds, |second| Some(second.requests as f64))];
            panels.push(Panel {
                title: "requests per second",
                unit: number,
                lines: requests,
                growth: Growth::Linear,
                errors: errors(),
            });
        }
    }
    let mut medians: Vec<u64> = seconds.iter().filter_map(|second| second.p50_us).collect();
    medians.sort_unstable();
    let usual = medians.get(medians.len() / 2).map_or(0.0, |&median| median as f64);
    let latency = vec![
        line("p50", 3, &seconds, |second| second.p50_us.map(|us| us as f64)),
        line("p99", 1, &seconds, |second| second.p99_us.map(|us| us as f64)),
    ];
    panels.push(Panel {
        title: "latency",
        unit: |us| Unit::Time.text(us),
        lines: latency,
        growth: Growth::Around(usual),
        errors: quiet(),
    });
    let head = ["second", "frames/s", "writes due/s", "writes/s", "requests/s", "p50", "p99", "errors", "followers"];
    let cells = |second: &Second| {
        vec![
            format!("{} s", second.at_s),
            count(second.frames),
            second.writes_due.map_or("–".to_owned(), number),
            count(second.writes),
            count(second.requests),
            second.p50_us.map_or("–".to_owned(), time),
            second.p99_us.map_or("–".to_owned(), time),
            count(second.errors),
            count(second.followers),
        ]
    };
    let what = match report.timeline.len() > seconds.len() {
        true => "Each point is the mean of several seconds; of latencies the worst of them.",
        false => "",
    };
    let drawn = figure(&panels, &seconds, "Rate and latency over time", &head, cells);
    section("Over time", what, &drawn)
}

/// CPU and memory, second by second, and what they came to.
pub(super) fn server(report: &Report) -> String {
    let Some(server) = &report.server else { return String::new() };
    let seconds = rows(&report.timeline);
    let cpus = vec![
        line("generator", 5, &seconds, |second| second.generator.map(|usage| usage.cpus)),
        line("server", 0, &seconds, |second| second.server.map(|usage| usage.cpus)),
    ];
    let resident = |second: &Second| second.server.map(|usage| usage.resident_bytes as f64);
    let memory = vec![line("server", 3, &seconds, resident)];
    let bytes = |bytes: f64| Unit::Bytes.text(bytes);
    let quiet = || vec![false; seconds.len()];
    let panels = [
        Panel {
            title: "CPUs",
            unit: |cpus| format!("{cpus:.2}"),
            lines: cpus,
            growth: Growth::Linear,
            errors: quiet(),
        },
        Panel { title: "server's memory", unit: bytes, lines: memory, growth: Growth::Linear, errors: quiet() },
    ];
    let head = ["second", "server CPUs", "server memory", "generator CPUs", "generator memory"];
    let cells = |second: &Second| {
        let mut row = vec![format!("{} s", second.at_s)];
        for usage in [second.server, second.generator] {
            row.push(usage.map_or("–".to_owned(), |usage| format!("{:.2}", usage.cpus)));
            row.push(usage.map_or("–".to_owned(), |usage| bytes(usage.resident_bytes as f64)));
        }
        row
    };
    let drawn = figure(&panels, &seconds, "CPU and memory over time", &head, cells);
    let mut facts = vec![
        ("Process", server.pid.to_string()),
        ("CPU time", format!("{} s, {:.2} CPUs", number(server.cpu_s), server.cpu_s / report.run.measured_s.max(1e-9))),
    ];
    facts.extend(report.server_us_per_delivery().map(|us| ("CPU per delivery", Unit::Time.text(us))));
    facts.push(("Memory before the first follower", bytes(server.resident_before_bytes as f64)));
    facts.push(("Memory when all followed", bytes(server.resident_following_bytes as f64)));
    facts.push(("Memory at most", bytes(server.resident_max_bytes as f64)));
    facts.extend(report.server_bytes_per_follower().map(|each| ("Memory per follower", bytes(each))));
    facts.push(("Descriptors at the end", count(server.descriptors)));
    section("The server's CPU and memory", "", &(drawn + &super::tables::list(&facts)))
}

fn figure(
    panels: &[Panel],
    seconds: &[Second],
    title: &str,
    head: &[&str],
    cells: impl Fn(&Second) -> Vec<String>,
) -> String {
    if seconds.is_empty() {
        return String::new();
    }
    let end = f64::from(seconds[seconds.len() - 1].at_s.max(1));
    let drawings = SHAPES.map(|shape| draw(shape, panels, seconds, end, title)).concat();
    let rows: Vec<(f64, Vec<String>)> =
        seconds.iter().map(|second| (f64::from(second.at_s) / end, cells(second))).collect();
    plot::figure(&drawings, &[], Showing::Folded, title, head, &rows)
}

/// Height of a panel, its title with it.
const PANEL: f64 = 140.0;

fn draw(shape: Shape, panels: &[Panel], seconds: &[Second], end: f64, title: &str) -> String {
    let (left, right) = (62.0, shape.width() - 14.0);
    let across = Scale { from: 0.0, to: end, start: left, end: right };
    let mut body = String::new();
    for (index, panel) in panels.iter().enumerate() {
        body += &draw_panel(panel, seconds, across, index as f64 * PANEL);
    }
    let bottom = panels.len() as f64 * PANEL;
    for tick in plot::ticks(end, shape.ticks()).into_iter().filter(|&tick| tick <= end) {
        body += &plot::label(across.at(tick), bottom - 4.0, "middle", &format!("{tick} s"));
    }
    plot::svg(shape, bottom + 4.0, (left, right), title, &body)
}

fn draw_panel(panel: &Panel, seconds: &[Second], across: Scale, top: f64) -> String {
    let (left, right, bottom) = (across.start, across.end, top + PANEL - 22.0);
    let values = panel.lines.iter().flat_map(|line| &line.values).flatten().copied();
    let up = Height::new(values, panel.growth, 3, (bottom, top + 34.0));
    let mut body = plot::label(left, top + 16.0, "title", panel.title);
    // A legend's names are some seven units a letter; nobody minds if they are less.
    let mut x = left + panel.title.len() as f64 * 7.2 + 14.0;
    for line in panel.lines.iter().filter(|_| panel.lines.len() > 1) {
        body += &plot::rule(x, top + 12.0, x + 18.0, top + 12.0, &format!("line s{}", line.class));
        body += &plot::label(x + 23.0, top + 16.0, "key", line.name);
        x += 34.0 + line.name.len() as f64 * 7.0;
    }
    for &tick in &up.ticks {
        let y = up.at(tick);
        body += &plot::rule(left, y, right, y, if tick == up.ticks[0] { "axis" } else { "grid" });
        body += &plot::label(left - 8.0, y + 4.0, "end", &(panel.unit)(tick));
    }
    let x = |second: &Second| across.at(f64::from(second.at_s));
    for line in &panel.lines {
        let points =
            seconds.iter().zip(&line.values).map(|(second, value)| value.map(|value| (x(second), up.at(value))));
        let path = plot::line(points);
        if let (1, Some(first), Some(last)) = (panel.lines.len(), seconds.first(), seconds.last()) {
            let is_whole = line.values.iter().all(Option::is_some);
            if is_whole {
                let (first, last) = (x(first), x(last));
                body += &format!(
                    "<path class=\"area a{}\" d=\"{path}L{last:.1} {bottom:.1}L{first:.1} {bottom:.1}Z\"/>\n",
                    line.class
                );
            }
        }
        body += &format!("<path class=\"line s{}\" d=\"{path}\"/>\n", line.class);
    }
    let mut is_marked = false;
    for second in seconds.iter().zip(&panel.errors).filter(|(_, failed)| **failed).map(|(second, _)| second) {
        body += &plot::rule(x(second), bottom - 9.0, x(second), bottom, "error");
        is_marked = true;
    }
    if is_marked {
        body += &plot::label(right, top + 16.0, "end bad", "▎errors");
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_is_put_together_by_its_worst() {
        let second =
            |at_s: u32| Second { at_s, frames: 10, p99_us: Some(u64::from(at_s)), errors: 1, ..Second::default() };
        let all: Vec<Second> = (1..=1_000).map(second).collect();
        let rows = rows(&all);
        assert!(rows.len() <= POINTS_MAX);
        assert_eq!(rows.iter().map(|row| row.errors).sum::<u64>(), 1_000);
        assert!(rows.iter().all(|row| row.frames == 10 && row.p99_us == Some(u64::from(row.at_s))));
    }
}
