//! The body of a write, as a text with holes.

/// A text in which `{n}`, `{t}`, `{p}` and `{topic}` are holes; other braces stand for themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Counter,
    Time,
    Filling,
    Topic,
}

/// What one write puts into the holes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    /// The topic's counter: `{n}`.
    pub(crate) counter: u64,
    /// When the write was meant to happen, in nanoseconds since 1970: `{t}`.
    pub(crate) time_ns: u64,
    /// Bytes of filling: `{p}`.
    pub(crate) payload: usize,
    /// The topic's name: `{topic}`.
    pub(crate) topic: &'a str,
}

impl Template {
    /// Fantail's: a JSON document.
    pub(crate) const DOCUMENT: &'static str = r#"{"n":{n},"p":"{p}","t":{t}}"#;

    /// Finds the holes of a text.
    pub(crate) fn new(text: &str) -> Template {
        let holes =
            [("{n}", Part::Counter), ("{t}", Part::Time), ("{p}", Part::Filling), (super::plan::TOPIC, Part::Topic)];
        let (mut parts, mut rest, mut from) = (Vec::new(), text, 0);
        while let Some(at) = rest[from..].find('{').map(|at| from + at) {
            match holes.iter().find(|(name, _)| rest[at..].starts_with(name)) {
                Some((name, hole)) => {
                    parts.extend([Part::Text(rest[..at].to_owned()), hole.clone()]);
                    (rest, from) = (&rest[at + name.len()..], 0);
                }
                None => from = at + 1,
            }
        }
        parts.push(Part::Text(rest.to_owned()));
        Template { parts }
    }

    /// Whether bodies differ by topic.
    pub(crate) fn names_topic(&self) -> bool {
        self.parts.contains(&Part::Topic)
    }

    /// The text with its holes filled.
    pub(crate) fn fill(&self, values: Values<'_>) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Counter => text.push_str(&values.counter.to_string()),
                Part::Time => text.push_str(&values.time_ns.to_string()),
                // The filling changes with each write: replacing the document is then smaller than naming its changes.
                Part::Filling => {
                    let letter = char::from(b'a' + (values.counter % 26) as u8);
                    text.extend(std::iter::repeat_n(letter, values.payload));
                }
                Part::Topic => text.push_str(values.topic),
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_filled_and_other_braces_stay() {
        let values = Values { counter: 27, time_ns: 5, payload: 3, topic: "t9" };
        for (template, text) in [
            (Template::DOCUMENT, r#"{"n":27,"p":"bbb","t":5}"#),
            ("{topic}{{n}}{x}{t", "t9{27}{x}{t"),
            ("data={t}&{", "data=5&{"),
            ("", ""),
        ] {
            assert_eq!(Template::new(template).fill(values), text);
        }
        assert!(Template::new("a{topic}").names_topic() && !Template::new(Template::DOCUMENT).names_topic());
    }
}
