//! Readable test cases: text in, `----`, text out, an empty line.
//!
//! Lines that begin with `# ` before a case name it. In the input `\r`, `\n`, `\t`, `\\`, `\xHH` are bytes, `\(text*N)`
//! repeats and `\.` is nothing; the line ends of the file itself mean nothing. It refuses cases without a name or without
//! `----`: tests that aren't any.

use std::fmt;

/// One case of a fixture.
pub(crate) struct Case {
    name: String,
    /// The input's lines, decoded.
    pub(crate) lines: Vec<Vec<u8>>,
    /// The same as one.
    pub(crate) input: Vec<u8>,
    verdict: String,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The cases of a fixture's text.
pub(crate) fn cases(text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for block in text.split("\n\n").map(|block| block.trim_matches('\n')).filter(|block| !block.is_empty()) {
        let is_name = |line: &&str| line.starts_with("# ");
        let name = block.lines().take_while(is_name).map(|line| &line[2..]).collect::<Vec<_>>().join(" ");
        if block.lines().all(|line| line.starts_with('#')) {
            continue;
        }
        let mut lines = block.lines().skip_while(is_name);
        let input = lines.by_ref().take_while(|line| *line != "----").map(unescape).collect::<Vec<_>>();
        let verdict = lines.collect::<Vec<_>>().join("\n");
        assert!(!name.is_empty() && block.contains("----\n"), "a case without a name or a verdict: {block}");
        cases.push(Case { name, input: input.concat(), lines: input, verdict });
    }
    assert!(!cases.is_empty(), "a fixture without cases");
    cases
}

/// Compares the verdict on every case with the one in the fixture, and shows all that differ.
pub(crate) fn check(text: &str, verdict: impl Fn(&Case) -> String) {
    let different = cases(text)
        .iter()
        .map(|case| (case, verdict(case)))
        .filter(|(case, verdict)| case.verdict != *verdict)
        .map(|(case, verdict)| format!("# {case}\nexpected: {}\n     got: {verdict}\n", case.verdict))
        .collect::<Vec<_>>();
    assert!(different.is_empty(), "\n{}", different.join("\n"));
}

/// The bytes as a fixture would write them.
pub(crate) fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let (kind, after) = escaped.split_at(1);
        rest = after;
        match kind {
            "r" => bytes.push(b'\r'),
            "n" => bytes.push(b'\n'),
            "t" => bytes.push(b'\t'),
            "." => {}
            "\\" => bytes.push(b'\\'),
            "x" => {
                bytes.push(u8::from_str_radix(&after[..2], 16).expect("two hexadecimal digits"));
                rest = &after[2..];
            }
            "(" => {
                let (repeat, after) = after.split_once(')').expect("a repetition ends");
                let (text, count) = repeat.rsplit_once('*').expect("a repetition has a count");
                bytes.extend(unescape(text).repeat(count.parse().expect("a count is a number")));
                rest = after;
            }
            other => panic!("\\{other} is no escape"),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
