//! The values of GRIP's fields: a head, then parameters, as in `name; prev-id=7; filter="skip-self"`.
//!
//! The head reaches to the first semicolon and is never unquoted: it holds names of channels, links and keep-alives as they
//! are. Parameters are named without regard to case, and their values may be quoted strings (RFC 9110, section 5.6.4).

use std::borrow::Cow;

use crate::protocol::field;

/// One element of a field.
pub(super) struct Parameters<'v> {
    /// What stands before the first semicolon, trimmed.
    pub(super) head: &'v str,
    /// The parameters in their order; a bare name has no value.
    list: Vec<(&'v str, Option<Cow<'v, str>>)>,
}

impl<'v> Parameters<'v> {
    /// Reads one element; none if a quoted string doesn't end where its parameter does.
    pub(super) fn read(element: &'v str) -> Option<Parameters<'v>> {
        let (head, rest) = element.split_once(';').unwrap_or((element, ""));
        let parts = split(rest, b';').filter(|part| !part.is_empty());
        Some(Parameters { head: trim(head), list: parts.map(parameter).collect::<Option<_>>()? })
    }

    /// The value of the first parameter of that name; empty if it is a bare name.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// The values of all parameters of that name.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.list.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_deref().unwrap_or(""))
    }
}

/// A parameter's name, and its value if there is an equals sign.
pub(super) fn parameter(part: &str) -> Option<(&str, Option<Cow<'_, str>>)> {
    let Some((name, value)) = part.split_once('=') else { return Some((trim(part), None)) };
    let value = trim(value);
    let Some(quoted) = value.strip_prefix('"') else { return Some((trim(name), Some(Cow::Borrowed(value)))) };
    let mut text = String::with_capacity(quoted.len());
    let mut letters = quoted.chars();
    loop {
        match letters.next()? {
            '"' => break,
            '\\' => text.push(letters.next()?),
            letter => text.push(letter),
        }
    }
    letters.as_str().is_empty().then(|| (trim(name), Some(Cow::Owned(text))))
}

/// The elements of a field's value: what stands between commas, without the empty ones.
pub(super) fn elements(value: &str) -> impl Iterator<Item = &str> {
    split(value, b',').filter(|element| !element.is_empty())
}

/// A parameter's value as it is written: quoted if it has to be.
pub(super) fn written(value: &str) -> Cow<'_, str> {
    if trim(value) == value && !value.contains(['"', '\\', ';', ',']) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// Text without the spaces and tabs around it.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The parts between separators outside of quoted strings, trimmed.
fn split(value: &str, separator: u8) -> impl Iterator<Item = &str> {
    let parts = field::split(value.as_bytes(), separator);
    parts.map(|part| std::str::from_utf8(part).expect("text that is cut at ASCII is text"))
}
