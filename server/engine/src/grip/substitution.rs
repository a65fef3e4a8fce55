//! Content that differs for each client: `build-id` puts an id into it that says how far the client is on all its channels
//! (`%I`), `var-subst` the hold's metadata (`%(name)s`). Directives are those of printf with a name in parentheses; `%%` is
//! a percent sign, and in names a backslash escapes.
//!
//! Invariant: content cut at any place gives the same bytes as content given whole.

use super::hold::{Channel, FilterName};
use super::meta::Meta;
use crate::limits::{DIRECTIVE_BYTES_MAX, SUBSTITUTED_BYTES_MAX};

/// The filters of content of one channel of a hold, in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Substitution {
    filters: Vec<FilterName>,
}

impl Substitution {
    /// The substitution of a channel, if it has one.
    #[must_use]
    pub fn of(channel: &Channel) -> Option<Substitution> {
        channel.substitutes().then(|| Substitution { filters: channel.filters.clone() })
    }

    /// The bytes that a hold with these metadata gets of an item's content. `ids` are the last ids of its tracked channels
    /// by their names, the item's own included: the id that is built is where the client goes on *after* the item.
    ///
    /// # Errors
    /// A directive that means nothing, or variables that aren't given. The client doesn't get the item then.
    pub fn apply(&self, content: &[u8], meta: &Meta, ids: &[(&str, &str)]) -> Result<Vec<u8>, SubstitutionError> {
        let mut content = content.to_vec();
        for filter in &self.filters {
            let out = match filter {
                FilterName::BuildId => {
                    let mut renderer = Renderer::new(meta, ids)?;
                    let out = renderer.update(&content)?;
                    renderer.finish()?;
                    out
                }
                FilterName::VarSubst => whole(&content, |directive| variable(directive, |name| meta.value(name)))?,
                FilterName::SkipSelf | FilterName::SkipUsers | FilterName::RequireSub => continue,
            };
            content = out;
        }
        Ok(content)
    }
}

/// Puts the built id into content that comes in parts: the body of the origin's responses to a hold with `build-id`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Renderer {
    /// The id where none is given in the directive; none while no channel has one.
    id: Option<Vec<u8>>,
    encoding: Encoding,
    /// The beginning of a directive.
    held: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Encoding {
    Plain,
    Hexadecimal,
}

impl Renderer {
    /// The id that the metadata `id_format` and `id_encoding` make of the ids of the hold's channels.
    ///
    /// # Errors
    /// No `id_format`, an unknown `id_encoding`, or a channel in the format that has no id. Without any ids the format isn't
    /// looked at: then only ids that are given in the content itself can be put there.
    pub fn new(meta: &Meta, ids: &[(&str, &str)]) -> Result<Renderer, SubstitutionError> {
        let format = meta.value("id_format").ok_or(SubstitutionError::Format)?;
        let id = |name: &str| ids.iter().find(|(channel, _)| *channel == name).map(|(_, id)| *id);
        let id = match ids {
            [] => None,
            _ => Some(whole(format.as_bytes(), |directive| variable(directive, id))?),
        };
        let encoding = match meta.value("id_encoding") {
            None => Encoding::Plain,
            Some("hex") => Encoding::Hexadecimal,
            Some(other) => return Err(SubstitutionError::Encoding(other.into())),
        };
        Ok(Renderer { id, encoding, held: Vec::new() })
    }

    /// What becomes of the next part. A directive that isn't whole yet is kept for the part after it, at most
    /// [`DIRECTIVE_BYTES_MAX`].
    ///
    /// # Errors
    /// A directive that means nothing, or an id that isn't there. The body is broken off then.
    pub fn update(&mut self, part: &[u8]) -> Result<Vec<u8>, SubstitutionError> {
        self.held.extend_from_slice(part);
        let mut out = Vec::with_capacity(self.held.len());
        let (id, encoding) = (self.id.as_deref(), self.encoding);
        let done = render(&self.held, &mut out, &mut |directive| identity(directive, id, encoding))?;
        self.held.drain(..done);
        Ok(out)
    }

    /// Ends the content.
    ///
    /// # Errors
    /// It ends within a directive.
    pub fn finish(&mut self) -> Result<(), SubstitutionError> {
        match self.held.is_empty() {
            true => Ok(()),
            false => Err(SubstitutionError::Unfinished),
        }
    }
}

/// One directive: its letter and the name before it.
struct Directive {
    letter: u8,
    name: Option<Vec<u8>>,
}

/// What `%(name)s` stands for.
fn variable<'v>(directive: Directive, value: impl Fn(&str) -> Option<&'v str>) -> Result<Vec<u8>, SubstitutionError> {
    let (b's', Some(name)) = (directive.letter, directive.name) else {
        return Err(SubstitutionError::Directive(char::from(directive.letter)));
    };
    let name = String::from_utf8_lossy(&name).into_owned();
    value(&name).map(|value| value.as_bytes().to_vec()).ok_or(SubstitutionError::Variable(name.into()))
}

/// What `%I` and `%(id)I` stand for.
fn identity(directive: Directive, id: Option<&[u8]>, encoding: Encoding) -> Result<Vec<u8>, SubstitutionError> {
    if directive.letter != b'I' {
        return Err(SubstitutionError::Directive(char::from(directive.letter)));
    }
    let id = match &directive.name {
        Some(given) => given,
        None => id.ok_or(SubstitutionError::Id)?,
    };
    Ok(match encoding {
        Encoding::Plain => id.to_vec(),
        Encoding::Hexadecimal => id.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect(),
    })
}

/// Renders a text that is there whole.
fn whole(
    text: &[u8],
    mut expand: impl FnMut(Directive) -> Result<Vec<u8>, SubstitutionError>,
) -> Result<Vec<u8>, SubstitutionError> {
    let mut out = Vec::with_capacity(text.len());
    match render(text, &mut out, &mut expand)? {
        done if done == text.len() => Ok(out),
        _ => Err(SubstitutionError::Unfinished),
    }
}

/// Appends `text` with its directives expanded, and says how far it came: to a directive that doesn't end, or to the end.
fn render(
    text: &[u8],
    out: &mut Vec<u8>,
    expand: &mut impl FnMut(Directive) -> Result<Vec<u8>, SubstitutionError>,
) -> Result<usize, SubstitutionError> {
    let mut at = 0;
    while let Some(plain) = memchr::memchr(b'%', &text[at..]) {
        out.extend_from_slice(&text[at..at + plain]);
        at += plain;
        match text.get(at + 1) {
            None => return Ok(at),
            Some(b'%') => {
                out.push(b'%');
                at += 2;
            }
            Some(b'(') => {
                let within = &text[at + 2..text.len().min(at + DIRECTIVE_BYTES_MAX)];
                match name(within).and_then(|(name, bytes)| Some((name, bytes, *within.get(bytes)?))) {
                    Some((name, bytes, letter)) => {
                        out.extend(expand(Directive { letter, name: Some(name) })?);
                        at += 3 + bytes;
                    }
                    None if text.len() < at + DIRECTIVE_BYTES_MAX => return Ok(at),
                    None => return Err(SubstitutionError::Unfinished),
                }
            }
            Some(&letter) => {
                out.extend(expand(Directive { letter, name: None })?);
                at += 2;
            }
        }
        if out.len() > SUBSTITUTED_BYTES_MAX {
            return Err(SubstitutionError::Large);
        }
    }
    out.extend_from_slice(&text[at..]);
    Ok(text.len())
}

/// The name that begins the text, unescaped, and its bytes there up to the closing parenthesis and with it.
fn name(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut name = Vec::new();
    let mut bytes = text.iter().enumerate();
    loop {
        match bytes.next()? {
            (at, b')') => return Some((name, at + 1)),
            (_, b'\\') => name.push(*bytes.next()?.1),
            (_, byte) => name.push(*byte),
        }
    }
}

/// Why content can't be made for a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubstitutionError {
    /// The hold has no metadata `id_format`.
    #[error("no sub meta 'id_format'")]
    Format,
    /// An `id_encoding` that isn't known.
    #[error("unsupported encoding: {0}")]
    Encoding(Box<str>),
    /// A directive that isn't known here, or that lacks its name.
    #[error("unknown directive '{0}'")]
    Directive(char),
    /// A variable that nobody gives.
    #[error("no such variable '{0}'")]
    Variable(Box<str>),
    /// No id is given, and no channel has one.
    #[error("no ID specified and no default ID in context")]
    Id,
    /// A directive that doesn't end, or is longer than [`DIRECTIVE_BYTES_MAX`].
    #[error("a directive doesn't end")]
    Unfinished,
    /// The result would be larger than [`SUBSTITUTED_BYTES_MAX`].
    #[error("the content would be larger than {SUBSTITUTED_BYTES_MAX} bytes")]
    Large,
}
