//! The report as one HTML file that needs nothing else: no network, no fonts, no scripts but a few lines of its own, and its
//! policy forbids everything else. What the plots show is in tables behind them, so that nothing is lost without a pointer,
//! without a script, or on paper. All text comes through [`Text`], which is where markup is kept out of it.

mod curves;
mod panels;
mod plot;
mod ramp;
mod tables;

use std::fmt;

use super::baseline::Comparison;
use super::headline::Headline;
use super::{Objective, Report};

/// The file around the body: style and script.
const PAGE: &str = include_str!("page/page.html");

/// Where the title goes.
const TITLE: &str = "<!--title-->";

/// Where the body goes.
const BODY: &str = "<!--body-->";

/// A text in HTML, in an element or in an attribute between double quotes.
pub(crate) struct Text<'a>(pub(crate) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                other => write!(f, "{other}")?,
            }
        }
        Ok(())
    }
}

/// The page; with the earlier report and the comparison with it, if there is one.
pub(crate) fn html(report: &Report, baseline: Option<(&Report, &Comparison)>) -> String {
    let sections = [
        head(report),
        headline(report),
        tables::comparison(baseline.map(|(_, comparison)| comparison)),
        ramp::section(report),
        curves::section(report, baseline.map(|(earlier, _)| earlier)),
        panels::timeline(report),
        tables::scenarios(report),
        tables::delivery(report),
        panels::server(report),
        tables::generator(report),
        tables::caveats(report),
        tables::facts(report),
    ];
    let title = format!("{} against {}", report.run.scenario, report.run.target);
    let (before, rest) = PAGE.split_once(TITLE).expect("the page has a title");
    let (between, after) = rest.split_once(BODY).expect("the page has a body");
    format!("{before}{}{between}{}{after}", Text(&title), sections.concat())
}

/// A part of the page, if there is anything in it.
fn section(title: &str, what: &str, body: &str) -> String {
    if body.is_empty() {
        return String::new();
    }
    let what = if what.is_empty() { String::new() } else { format!("<p class=what>{}</p>\n", Text(what)) };
    format!("<section>\n<h2>{}</h2>\n{what}{body}</section>\n", Text(title))
}

/// A table whose first column names the row; it scrolls by itself where the page is narrow.
fn table(caption: &str, head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let heads: String = head.iter().map(|cell| format!("<th scope=col>{}</th>", Text(cell))).collect();
    let rows = rows.into_iter().map(|row| {
        let mut cells = row.iter();
        let first = cells.next().map_or(String::new(), |cell| format!("<th scope=row>{}</th>", Text(cell)));
        let rest: String = cells.map(|cell| format!("<td>{}</td>", Text(cell))).collect();
        format!("<tr>{first}{rest}</tr>\n")
    });
    format!(
        "<div class=scroll tabindex=0 role=region aria-label=\"{0}\">\n<table>\n<caption>{0}</caption>\n<thead><tr>{heads}\
         </tr></thead>\n<tbody>\n{1}</tbody>\n</table>\n</div>\n",
        Text(caption),
        rows.collect::<String>()
    )
}

fn head(report: &Report) -> String {
    let started =
        report.facts().into_iter().find(|(name, _)| *name == "Started").map_or(String::new(), |(_, value)| value);
    let (scenario, target) = (&report.run.scenario, &report.run.target);
    format!(
        "<header>\n<p class=brand><svg viewBox=\"0 0 32 32\" aria-hidden=true><path d=\"M16 28 3 13M16 28 9 6M16 28V3M16 28 \
         23 6M16 28 29 13\"/></svg>fantail-load</p>\n<button id=theme type=button hidden>Dark</button>\n\
         <h1>{} <span>against</span> <code>{}</code></h1>\n<p class=when>{} · {} · {}</p>\n</header>\n",
        Text(scenario),
        Text(target),
        Text(&started.replace('T', " ").replace('Z', " UTC")),
        Text(&format!("{} × {}", report.machine.cpus, report.machine.cpu)),
        Text(report.machine.server_version.as_deref().unwrap_or(&report.run.preset)),
    )
}

fn headline(report: &Report) -> String {
    let Headline { rate, rate_of, latency, latency_of, sentence } = Headline::new(report);
    let big = |value: &str, of: &str| {
        let (number, unit) = value.split_once(' ').unwrap_or((value, ""));
        let unit = if unit.is_empty() { String::new() } else { format!("<small>{}</small>", Text(unit)) };
        format!("<div><dd>{}{unit}</dd><dt>{}</dt></div>\n", Text(number), Text(of))
    };
    format!(
        "<dl class=big>\n{}{}</dl>\n<p class=lead>{}</p>\n{}",
        big(&rate, rate_of),
        big(&latency, latency_of),
        Text(&sentence),
        objectives(&report.objectives)
    )
}

fn objectives(objectives: &[Objective]) -> String {
    if objectives.is_empty() {
        return String::new();
    }
    let items = objectives.iter().map(|Objective { stated, found, met }| {
        let (class, mark, word) = if *met { ("met", "✓", "met") } else { ("missed", "✗", "missed") };
        let found = found.as_deref().unwrap_or("nothing to judge");
        format!(
            "<li class={class}><b aria-hidden=true>{mark}</b> <code>{}</code> <span>{word}: {}</span></li>\n",
            Text(stated),
            Text(found)
        )
    });
    format!("<ul class=objectives aria-label=Objectives>\n{}</ul>\n", items.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_text_is_text() {
        let hostile = r#"<img src=x onerror="alert('1')"> & <!--body-->"#;
        assert_eq!(
            Text(hostile).to_string(),
            "&lt;img src=x onerror=&quot;alert('1')&quot;&gt; &amp; &lt;!--body--&gt;"
        );
        assert_eq!(PAGE.matches(TITLE).count() + PAGE.matches(BODY).count(), 2);
    }
}
