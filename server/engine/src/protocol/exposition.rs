//! Metrics as text, for Prometheus and what reads the same (text exposition format 0.0.4).
//!
//! ```text
//! # HELP fantail_stalls_total Times that a follower's socket was full.\n
//! # TYPE fantail_stalls_total counter\n
//! fantail_stalls_total 7\n
//! fantail_stream_seats{stream="messages"} 20000\n
//! ```
//!
//! Invariant: whatever a label's value or a help holds, nothing in it begins another line or ends its quotes.

use std::fmt::{Display, Write};

/// The `Content-Type` of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric's numbers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A sum since the start, that only grows. Its name ends in `_total`.
    Counter,
    /// How something is now.
    Gauge,
}

/// The text in the making.
#[derive(Default, Debug)]
pub struct Exposition {
    out: String,
}

/// One metric, while its samples are written.
#[derive(Debug)]
pub struct Metric<'e> {
    out: &'e mut String,
    name: &'static str,
}

impl Exposition {
    /// Begins a metric, of which nothing was written before.
    pub fn metric(&mut self, name: &'static str, kind: Kind, help: &str) -> Metric<'_> {
        debug_assert!(is_name(name) && name.ends_with("_total") == (kind == Kind::Counter), "{name}");
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.out.push_str("# HELP ");
        self.out.push_str(name);
        self.out.push(' ');
        escape(help, &mut self.out, |_| None);
        write(&mut self.out, format_args!("\n# TYPE {name} {kind}\n"));
        Metric { out: &mut self.out, name }
    }

    /// A metric with one sample, and that without a label.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.metric(name, kind, help).sample(&[], value);
    }

    /// The text.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out.into_bytes()
    }
}

impl Metric<'_> {
    /// Writes a sample; no two of a metric have the same labels. The value reads as a decimal number.
    pub fn sample(&mut self, labels: &[(&'static str, &str)], value: impl Display) {
        self.out.push_str(self.name);
        for (count, (name, text)) in labels.iter().enumerate() {
            debug_assert!(is_name(name), "{name}");
            self.out.push(if count == 0 { '{' } else { ',' });
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(text, self.out, |letter| (letter == '"').then_some("\\\""));
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        write(self.out, format_args!(" {value}\n"));
    }
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes every write");
}

/// Appends `text`, with backslashes and line ends escaped, and what `more` says.
fn escape(text: &str, out: &mut String, more: impl Fn(char) -> Option<&'static str>) {
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            other => match more(other) {
                Some(escaped) => out.push_str(escaped),
                None => out.push(other),
            },
        }
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_the_format() {
        let mut exposition = Exposition::default();
        exposition.single("fantail_stalls_total", Kind::Counter, "Two\nlines, a \\ and a \".", 7);
        let mut metric = exposition.metric("fantail_seats", Kind::Gauge, "Seats.");
        metric.sample(&[("stream", "a \"b\"\\\n"), ("core", "0")], 0.5);
        metric.sample(&[("stream", "é"), ("core", "1")], u64::MAX);
        let expected = "# HELP fantail_stalls_total Two\\nlines, a \\\\ and a \".\n\
                        # TYPE fantail_stalls_total counter\n\
                        fantail_stalls_total 7\n\
                        # HELP fantail_seats Seats.\n\
                        # TYPE fantail_seats gauge\n\
                        fantail_seats{stream=\"a \\\"b\\\"\\\\\\n\",core=\"0\"} 0.5\n\
                        fantail_seats{stream=\"é\",core=\"1\"} 18446744073709551615\n";
        assert_eq!(String::from_utf8(exposition.finish()).expect("text"), expected);
    }

    #[test]
    #[should_panic = "fantail_stalls"]
    #[cfg(debug_assertions)]
    fn a_counter_is_called_so() {
        Exposition::default().single("fantail_stalls", Kind::Counter, "", 1);
    }
}
