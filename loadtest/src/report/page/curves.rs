//! Latencies by percentile, as HdrHistogram plots them: to the right each nine takes as much room as the one before, so that
//! the one delivery in a million is seen as well as the median.

use std::cmp::Reverse;

use super::plot::{self, Growth, Height, SHAPES, Scale, Shape, Showing};
use crate::report::figures::{Unit, count, time};
use crate::report::latency::Percentile;
use crate::report::{Latency, Report, Scenario};

/// Curves that the eye tells apart.
const CURVES_MAX: usize = 5;

/// Nines that a histogram of at most 2⁶⁴ latencies can have.
const NINES_MAX: f64 = 20.0;

/// A line of the plot.
struct Curve {
    name: String,
    class: usize,
    points: Vec<Percentile>,
    count: u64,
}

impl Curve {
    fn new(name: &str, class: usize, latency: &Latency) -> Curve {
        Curve { name: name.to_owned(), class, points: latency.percentiles(), count: latency.count() }
    }

    /// How many nines a point's quantile has; at the end as many as the count can tell.
    fn nines(&self, point: &Percentile) -> f64 {
        let end = (self.count.max(2) as f64).log10();
        if point.quantile >= 1.0 { end } else { (-(1.0 - point.quantile).log10()).min(end) }
    }
}

/// What is drawn: deliveries, then the scenarios of which most is known, and last what the earlier report's large number is of.
fn latencies(report: &Report, baseline: Option<&Report>) -> Vec<(String, Latency)> {
    let mut all = Vec::new();
    if let Some(delivery) = &report.delivery {
        all.push(("delivery".to_owned(), delivery.latency.clone()));
    }
    let mut scenarios: Vec<&Scenario> = report.scenarios.iter().collect();
    scenarios.sort_by_key(|scenario| Reverse(scenario.latency.count()));
    all.extend(scenarios.into_iter().map(|scenario| (scenario.name.clone(), scenario.latency.clone())));
    all.retain(|(_, latency)| latency.count() > 0);
    all.truncate(CURVES_MAX);
    if let Some(baseline) = baseline.map(Report::latency).filter(|latency| latency.count() > 0) {
        all.push(("baseline".to_owned(), baseline));
    }
    all
}

/// The plot, with the earlier report's curve below the others if there is one.
pub(super) fn section(report: &Report, baseline: Option<&Report>) -> String {
    let named = latencies(report, baseline);
    let class = |index: usize, name: &str| if name == "baseline" { CURVES_MAX } else { index };
    let curves: Vec<Curve> =
        named.iter().enumerate().map(|(index, (name, of))| Curve::new(name, class(index, name), of)).collect();
    if curves.is_empty() {
        return String::new();
    }
    let nines = curves.iter().map(|curve| (curve.count.max(10) as f64).log10()).fold(1.0, f64::max).min(NINES_MAX);
    let drawings: String = SHAPES.map(|shape| draw(shape, &curves, nines)).concat();
    let legend: Vec<(usize, &str)> = curves.iter().map(|curve| (curve.class, curve.name.as_str())).collect();
    let mut rows = Vec::new();
    for curve in &curves {
        for point in &curve.points {
            let percent = format!("{} %", trimmed(point.quantile * 100.0));
            let row = vec![percent, curve.name.clone(), time(point.value_us), count(point.count)];
            rows.push((curve.nines(point) / nines, row));
        }
    }
    let figure = plot::figure(
        &drawings,
        &legend,
        Showing::Folded,
        "Latency by percentile",
        &["percentile", "of", "no longer than", "count"],
        &rows,
    );
    let what = "How long all but the slowest waited; each mark leaves a tenth of those before it.";
    super::section("Latency by percentile", what, &figure)
}

/// A percentage as short as it is exact enough: 99.9, 50, 99.9985.
fn trimmed(percent: f64) -> String {
    let text = format!("{percent:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn draw(shape: Shape, curves: &[Curve], nines: f64) -> String {
    let (height, top) = (300.0, 18.0);
    let (left, right, bottom) = (62.0, shape.width() - 14.0, height - 34.0);
    let across = Scale { from: 0.0, to: nines, start: left, end: right };
    let values = curves.iter().flat_map(|curve| &curve.points).map(|point| point.value_us as f64);
    let median = curves[0].points.iter().find(|point| point.quantile >= 0.5).map_or(0.0, |point| point.value_us as f64);
    let up = Height::new(values, Growth::Around(median), 5, (bottom, top));
    let mut body = String::new();
    for &tick in &up.ticks {
        let y = up.at(tick);
        body += &plot::rule(left, y, right, y, if tick == up.ticks[0] { "axis" } else { "grid" });
        body += &plot::label(left - 8.0, y + 4.0, "end", &Unit::Time.text(tick));
    }
    let halves = [(0.0, "0 %".to_owned()), (2f64.log10(), "50 %".to_owned())];
    let marks = (1..=nines as usize)
        .map(|nine| (nine as f64, format!("{} %", trimmed(100.0 - 100.0 / 10f64.powi(nine as i32)))));
    let room = if shape == Shape::Wide { 44.0 } else { 52.0 };
    let mut free = f64::MIN;
    for (nine, text) in halves.into_iter().chain(marks) {
        let x = across.at(nine);
        body += &plot::rule(x, bottom, x, bottom + 5.0, "axis");
        // A label that would run into the one before it is left out; its mark stays.
        if x >= free && x < right - 4.0 {
            body += &plot::label(x, bottom + 20.0, "middle", &text);
            free = x + room + text.len() as f64 * 2.0;
        }
    }
    for curve in curves.iter().rev() {
        let points = curve.points.iter().map(|point| (across.at(curve.nines(point)), up.at(point.value_us as f64)));
        body += &format!("<path class=\"line s{}\" d=\"{}\"/>\n", curve.class, plot::line(points.clone().map(Some)));
        if let Some((x, y)) = points.clone().next_back() {
            body += &format!("<circle class=\"dot d{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>\n", curve.class);
        }
    }
    plot::svg(shape, height, (left, right), "Latency by percentile", &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_short() {
        assert_eq!([50.0, 99.9, 99.9999, 100.0].map(trimmed), ["50", "99.9", "99.9999", "100"]);
    }

    #[test]
    fn a_curve_ends_where_its_count_can_tell_no_more() {
        let mut latency = Latency::new();
        latency.record_n(5, 1_000);
        let curve = Curve::new("a", 0, &latency);
        assert!(curve.points.iter().all(|point| curve.nines(point) <= 3.0));
        assert_eq!(curve.points.last().map(|last| curve.nines(last)), Some(1_000f64.log10()));
    }
}
