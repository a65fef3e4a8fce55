//! What plots are drawn with: two shapes for wide and for narrow pages, scales with round ticks, and lines. A drawing's units
//! are CSS pixels at its shape's natural width.

use std::fmt::Write;

use super::Text;

/// A page's width, for which a plot is drawn; the style shows one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Some 900 pixels and more, and paper.
    Wide,
    /// A phone's.
    Narrow,
}

/// Both, since every plot is drawn in both.
pub(super) const SHAPES: [Shape; 2] = [Shape::Wide, Shape::Narrow];

impl Shape {
    /// Of the whole drawing.
    pub(super) fn width(self) -> f64 {
        match self {
            Shape::Wide => 900.0,
            Shape::Narrow => 420.0,
        }
    }

    /// As the style calls it.
    pub(super) fn class(self) -> &'static str {
        match self {
            Shape::Wide => "wide",
            Shape::Narrow => "narrow",
        }
    }

    /// Ticks of a horizontal scale that don't run into each other.
    pub(super) fn ticks(self) -> usize {
        match self {
            Shape::Wide => 10,
            Shape::Narrow => 5,
        }
    }
}

/// From a value to a place: linear.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// The value at `start`.
    pub(super) from: f64,
    /// The value at `end`.
    pub(super) to: f64,
    /// In the drawing's units.
    pub(super) start: f64,
    /// See `start`.
    pub(super) end: f64,
}

impl Scale {
    /// Where `value` is.
    pub(super) fn at(self, value: f64) -> f64 {
        self.start + (value - self.from) / (self.to - self.from) * (self.end - self.start)
    }
}

/// How a vertical scale grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Growth {
    /// By the same amount for each step.
    Linear,
    /// By the same amount, or where the greatest value is so far above this usual one that it would be a line at the bottom,
    /// ten times for each step.
    Around(f64),
}

/// From how many times the usual value on the greatest is out of its sight.
const SIGHT: f64 = 40.0;

/// A vertical scale.
pub(super) struct Height {
    scale: Scale,
    /// The values of its ticks, from the bottom up.
    pub(super) ticks: Vec<f64>,
    is_logarithmic: bool,
}

impl Height {
    /// A scale for all of `values`, with some `count` ticks, from `bottom` to `top`.
    pub(super) fn new(
        values: impl Iterator<Item = f64>,
        growth: Growth,
        count: usize,
        (bottom, top): (f64, f64),
    ) -> Height {
        let (max, min) = values.fold((0.0f64, f64::MAX), |(max, min), value| (max.max(value), min.min(value)));
        let is_logarithmic = match growth {
            Growth::Linear => false,
            Growth::Around(usual) => max.is_finite() && max > 10.0 && max / usual.max(1.0) > SIGHT,
        };
        if is_logarithmic {
            let from = min.max(1.0).log10().floor();
            let to = max.log10().ceil().max(from + 1.0);
            let ticks = (from as i32..=to as i32).map(|power| 10f64.powi(power)).collect();
            return Height { scale: Scale { from, to, start: bottom, end: top }, ticks, is_logarithmic };
        }
        let ticks = ticks(max, count);
        let to = ticks.last().copied().unwrap_or(1.0);
        Height { scale: Scale { from: 0.0, to, start: bottom, end: top }, ticks, is_logarithmic }
    }

    /// Where `value` is.
    pub(super) fn at(&self, value: f64) -> f64 {
        self.scale.at(if self.is_logarithmic { value.max(1.0).log10() } else { value })
    }
}

/// Round values from 0 to at least `max`, some `count` of them: steps of 1, 2 or 5 times a power of ten.
pub(super) fn ticks(max: f64, count: usize) -> Vec<f64> {
    let max = if max.is_finite() && max > 0.0 { max } else { 1.0 };
    let rough = max / count.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|of| of * power).into_iter().find(|&step| step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let steps = (max / step * 0.999_999).ceil() as usize;
    (0..=steps).map(|index| index as f64 * step).collect()
}

/// A line through points; none where there is no value.
pub(super) fn line(points: impl IntoIterator<Item = Option<(f64, f64)>>) -> String {
    let mut path = String::new();
    let mut is_drawing = false;
    for point in points {
        if let Some((x, y)) = point {
            let command = if is_drawing { 'L' } else { 'M' };
            write!(path, "{command}{x:.1} {y:.1}").expect("a text takes it");
        }
        is_drawing = point.is_some();
    }
    path
}

/// A text in a drawing.
pub(super) fn label(x: f64, y: f64, class: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{}</text>\n", Text(text))
}

/// A line of a grid.
pub(super) fn rule(x1: f64, y1: f64, x2: f64, y2: f64, class: &str) -> String {
    format!("<path class=\"{class}\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>\n")
}

/// A drawing that is described by `title` and by the table behind it; the pointer's place is read between `left` and `right`.
pub(super) fn svg(shape: Shape, height: f64, (left, right): (f64, f64), title: &str, body: &str) -> String {
    let (width, class, title) = (shape.width(), shape.class(), Text(title));
    format!(
        "<svg class={class} viewBox=\"0 0 {width} {height}\" role=img aria-label=\"{title}\" data-left={left} \
         data-right={right}>\n<title>{title}</title>\n{body}<path class=cursor d=\"M0 18V{0}\" visibility=hidden \
         />\n</svg>\n",
        height - 24.0
    )
}

/// Whether a plot's table is seen at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Showing {
    /// It says no more than the plot: it is unfolded by whoever wants it.
    Folded,
    /// It says what the plot can't.
    Shown,
}

/// A plot with its legend and its table, whose rows the pointer reads out. A row has its place from 0 to 1.
pub(super) fn figure(
    drawings: &str,
    legend: &[(usize, &str)],
    showing: Showing,
    caption: &str,
    head: &[&str],
    rows: &[(f64, Vec<String>)],
) -> String {
    let keys = legend.iter().map(|(series, name)| {
        format!(
            "<li><svg viewBox=\"0 0 24 8\" aria-hidden=true><path class=\"s{series}\" d=\"M0 4H24\"/></svg>{}</li>",
            Text(name)
        )
    });
    let keys: String = keys.collect();
    let legend = if legend.is_empty() { String::new() } else { format!("<ul class=legend>{keys}</ul>\n") };
    let heads: String = head.iter().map(|cell| format!("<th scope=col>{}</th>", Text(cell))).collect();
    let rows = rows.iter().map(|(place, cells)| {
        let cells = cells.iter().enumerate().map(|(index, cell)| match index {
            0 => format!("<th scope=row>{}</th>", Text(cell)),
            _ => format!("<td>{}</td>", Text(cell)),
        });
        format!("<tr data-at={place:.5}>{}</tr>\n", cells.collect::<String>())
    });
    let (caption, rows) = (Text(caption), rows.collect::<String>());
    let table =
        format!("<table><caption>{caption}</caption><thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody></table>");
    let table = match showing {
        Showing::Folded => format!(
            "<details><summary>These figures as a table</summary>\n<div class=\"scroll tall\" tabindex=0 role=region \
             aria-label=\"{caption}\">{table}</div></details>"
        ),
        Showing::Shown => {
            format!("<div class=scroll tabindex=0 role=region aria-label=\"{caption}\">{table}</div>")
        }
    };
    format!("<figure>\n{legend}{drawings}<p class=readout aria-hidden=true>&nbsp;</p>\n{table}\n</figure>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_the_top() {
        assert_eq!(ticks(187_203.0, 4), [0.0, 50_000.0, 100_000.0, 150_000.0, 200_000.0]);
        assert_eq!(ticks(30.0, 10), [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]);
        assert_eq!(ticks(0.0, 4).len(), 3);
        for max in [1e-3, 0.7, 1.0, 3.2, 99.0, 1e6, f64::NAN] {
            let ticks = ticks(max, 4);
            assert!(ticks.len() <= 6 && !ticks.last().is_none_or(|&last| last < max * 0.999), "{max}: {ticks:?}");
        }
    }

    #[test]
    fn a_scale_is_logarithmic_only_where_the_usual_is_out_of_sight() {
        let height = |values: &[f64], growth| Height::new(values.iter().copied(), growth, 4, (100.0, 0.0));
        let stalled = height(&[2_000.0, 2_000_000.0], Growth::Around(2_000.0));
        assert_eq!((stalled.at(1e3), stalled.at(1e7), stalled.ticks.len()), (100.0, 0.0, 5));
        for growth in [Growth::Linear, Growth::Around(100_000.0)] {
            assert_eq!(height(&[2_000.0, 2_000_000.0], growth).at(1_000_000.0), 50.0);
        }
        assert_eq!(height(&[], Growth::Around(0.0)).at(0.0), 100.0);
    }

    #[test]
    fn a_line_has_holes_where_nothing_was() {
        assert_eq!(line([Some((0.0, 1.0)), Some((2.0, 3.0)), None, Some((4.0, 5.0))]), "M0.0 1.0L2.0 3.0M4.0 5.0");
    }
}
