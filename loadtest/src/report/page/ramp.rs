//! The way to the knee: what each load came to, drawn by load, and in the order in which they were tried.

use super::plot::{self, Growth, Height, SHAPES, Scale, Shape, Showing};
use crate::report::figures::{Unit, number, time};
use crate::report::{Ramp, Report, Step};

/// From how many times the lowest load on the highest is drawn on a logarithmic scale: a ramp multiplies.
const WIDE: f64 = 8.0;

/// Where loads are from left to right.
struct Loads {
    scale: Scale,
    is_logarithmic: bool,
}

impl Loads {
    fn new(steps: &[&Step], (left, right): (f64, f64)) -> Loads {
        let (first, last) = (steps[0].load.max(1.0), steps[steps.len() - 1].load.max(1.0));
        // A lone load is in the middle.
        let (first, last) = if first < last { (first, last) } else { (first / 2.0, first * 1.5) };
        let is_logarithmic = last / first >= WIDE;
        let (from, to) = if is_logarithmic { (first.log10(), last.log10()) } else { (first, last) };
        Loads { scale: Scale { from, to, start: left, end: right }, is_logarithmic }
    }

    fn at(&self, load: f64) -> f64 {
        self.scale.at(if self.is_logarithmic { load.max(1.0).log10() } else { load })
    }
}

/// The plot and its table, if a ramp was run.
pub(super) fn section(report: &Report) -> String {
    let Some(ramp) = report.ramp.as_ref().filter(|ramp| !ramp.steps.is_empty()) else { return String::new() };
    let what = ramp.raises.unit();
    let mut knee = match ramp.knee {
        Some(knee) => format!(
            "Highest load that held: {} {what}. A cross is a load that broke an objective. All else here is of the highest that \
             held.",
            number(knee)
        ),
        None => "No load held the objectives: each cross is one that broke them.".to_owned(),
    };
    knee.extend(ramp.stopped.iter().flat_map(|why| [" ", why]));
    let mut sorted: Vec<&Step> = ramp.steps.iter().collect();
    sorted.sort_by(|one, two| one.load.total_cmp(&two.load));
    let drawings = SHAPES.map(|shape| draw(shape, ramp, &sorted)).concat();
    let share = Loads::new(&sorted, (0.0, 1.0));
    let rows: Vec<(f64, Vec<String>)> = ramp
        .steps
        .iter()
        .map(|step| {
            let row = vec![number(step.load), step.verdict(), number(step.per_s), time(step.p50_us), time(step.p99_us)];
            (share.at(step.load), row)
        })
        .collect();
    let head = [what, "objectives", "per second", "p50", "p99"];
    let figure =
        plot::figure(&drawings, &[(1, "p99"), (3, "p50")], Showing::Shown, "Loads in the order tried", &head, &rows);
    super::section("The way to the knee", &knee, &figure)
}

fn draw(shape: Shape, ramp: &Ramp, sorted: &[&Step]) -> String {
    let (height, top) = (300.0, 26.0);
    let (left, right, bottom) = (62.0, shape.width() - 24.0, height - 50.0);
    let across = Loads::new(sorted, (left + 10.0, right));
    let values = sorted.iter().flat_map(|step| [step.p50_us, step.p99_us]).chain(ramp.p99_bound_us);
    let usual = sorted[sorted.len() / 2].p50_us as f64;
    let up = Height::new(values.map(|us| us as f64), Growth::Around(usual), 5, (bottom, top));
    let mut body = String::new();
    for &tick in &up.ticks {
        let y = up.at(tick);
        body += &plot::rule(left, y, right, y, if tick == up.ticks[0] { "axis" } else { "grid" });
        body += &plot::label(left - 8.0, y + 4.0, "end", &Unit::Time.text(tick));
    }
    let mut free = f64::MIN;
    for step in sorted {
        let (x, text) = (across.at(step.load), number(step.load));
        body += &plot::rule(x, bottom, x, bottom + 5.0, "axis");
        // A label that would run into the one before it is left out; its mark stays.
        if x >= free {
            body += &plot::label(x, bottom + 20.0, "middle", &text);
            free = x + 14.0 + text.len() as f64 * 7.0;
        }
    }
    body += &plot::label((left + right) / 2.0, bottom + 40.0, "middle", ramp.raises.unit());
    if let Some(bound_us) = ramp.p99_bound_us {
        let y = up.at(bound_us as f64);
        body += &plot::rule(left, y, right, y, "bound");
        body += &plot::label(left + 6.0, y - 6.0, "bad", &format!("p99 objective {}", time(bound_us)));
    }
    if let Some(knee) = ramp.knee {
        let x = across.at(knee);
        body += &plot::rule(x, top - 4.0, x, bottom, "knee");
        let side = if x > (left + right) / 2.0 { ("end", -6.0) } else { ("start", 6.0) };
        body += &plot::label(x + side.1, top - 8.0, side.0, &format!("knee {}", number(knee)));
    }
    for (class, of) in [(3, (|step| step.p50_us) as fn(&Step) -> u64), (1, |step| step.p99_us)] {
        // Where nothing came there is no latency.
        let points: Vec<Option<(f64, f64)>> =
            sorted.iter().map(|step| (of(step) > 0).then(|| (across.at(step.load), up.at(of(step) as f64)))).collect();
        body += &format!("<path class=\"line s{class}\" d=\"{}\"/>\n", plot::line(points.iter().copied()));
        for ((x, y), step) in points.iter().zip(sorted).filter_map(|(point, step)| Some(((*point)?, step))) {
            body += &match step.broke.is_empty() {
                true => format!("<circle class=\"dot d{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>\n"),
                false => format!("<path class=error d=\"M{:.1} {:.1}l8 8m0-8l-8 8\"/>\n", x - 4.0, y - 4.0),
            };
        }
    }
    plot::svg(shape, height, (left + 10.0, right), "Latency by load", &body)
}
