//! What a URL names, and what can be followed: a stream, one collection, or one document.
//!
//! Paths alternate collection and document; the first segment names the stream. Names are decoded once, here, and are
//! text that needs no further care afterwards: no slash, no control character, never empty.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::json::push_token;
use crate::limits::{NAME_BYTES_MAX, PATH_SEGMENTS_MAX};

/// A decoded path: the collection or document that a URL names, and through it the stream.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// The decoded names joined by `/`; a name never holds one.
    path: Box<str>,
    /// Where the last segment begins.
    last: u16,
    /// The number of segments; odd means a collection.
    segments: u16,
}

impl Place {
    /// Reads the path of a URL (percent-encoded, with its leading slash, without a query).
    ///
    /// # Errors
    /// Names that are refused (`.`, `..`, `__proto__`, with a slash or a control character, empty, over
    /// [`NAME_BYTES_MAX`] bytes, not UTF-8) and paths of more than [`PATH_SEGMENTS_MAX`] segments.
    pub fn parse(path: &str) -> Result<Place, NameError> {
        let rest = path.strip_prefix('/').ok_or(NameError::Empty)?;
        let mut decoded = String::with_capacity(rest.len());
        let (mut last, mut segments) = (0, 0);
        for raw in rest.split('/') {
            segments += 1;
            if segments > PATH_SEGMENTS_MAX {
                return Err(NameError::Deep);
            }
            if segments > 1 {
                decoded.push('/');
            }
            last = decoded.len();
            let name = decode(raw)?;
            check_name(&name)?;
            if segments == 1 && name == "-" {
                return Err(NameError::Reserved);
            }
            decoded.push_str(&name);
        }
        Ok(Place { path: decoded.into(), last: last as u16, segments: segments as u16 })
    }

    /// The place of the document `id` in this collection.
    ///
    /// # Errors
    /// As [`Place::parse`], if `id` can't be a name.
    ///
    /// # Panics
    /// If this place is a document.
    pub fn child(&self, id: &str) -> Result<Place, NameError> {
        assert!(self.is_collection(), "only a collection has documents");
        check_name(id)?;
        Ok(Place {
            last: self.path.len() as u16 + 1,
            path: format!("{}/{id}", self.path).into(),
            segments: self.segments + 1,
        })
    }

    /// The name of the stream: the first segment.
    #[must_use]
    pub fn stream(&self) -> &str {
        self.path.split('/').next().expect("a path has a segment")
    }

    /// The path of the collection, or of the collection that holds the document.
    #[must_use]
    pub fn collection(&self) -> &str {
        match self.is_collection() {
            true => &self.path,
            false => &self.path[..self.last as usize - 1],
        }
    }

    /// The document's id, unless the place is a collection.
    #[must_use]
    pub fn document(&self) -> Option<&str> {
        (!self.is_collection()).then(|| &self.path[self.last as usize..])
    }

    /// The whole decoded path, without a leading slash.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the path names a collection rather than a document.
    #[must_use]
    pub fn is_collection(&self) -> bool {
        self.segments % 2 == 1
    }

    /// What following this place means: a first segment means its whole stream.
    #[must_use]
    pub fn topic(&self) -> Topic {
        match self.segments {
            1 => Topic::Stream,
            _ => Topic::Path(hash(&self.path)),
        }
    }

    /// The JSON Pointer of this place in the stream's value (`/users~17~1messages/5`), not escaped as a JSON string.
    #[must_use]
    pub fn pointer(&self) -> String {
        pointer(self.collection(), self.document())
    }

    /// The place as an absolute path of a URL, percent-encoded (RFC 3986, section 3.3).
    #[must_use]
    pub fn url(&self) -> String {
        let mut url = String::with_capacity(self.path.len() + 8);
        for name in self.path.split('/') {
            url.push('/');
            url.extend(percent_encoding::utf8_percent_encode(name, URL_SEGMENT));
        }
        url
    }
}

/// What stays as it is in a segment of a path: unreserved, sub-delims, `:` and `@`.
const URL_SEGMENT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// What a seat follows within one stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Topic {
    /// Everything.
    Stream,
    /// One collection or one document, by the [`hash`] of its path.
    Path(u64),
}

/// The hash of a collection's or a document's path: SipHash-1-3 with a zero key, the same on every host, as the index on
/// disk holds it.
#[must_use]
pub fn hash(path: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(path.as_bytes());
    hasher.finish()
}

/// The JSON Pointer (RFC 6901) of a collection, or of a document in it, in the stream's value.
#[must_use]
pub fn pointer(collection: &str, document: Option<&str>) -> String {
    let mut pointer = String::with_capacity(collection.len() + 32);
    for token in std::iter::once(collection).chain(document) {
        push_token(&mut pointer, token);
    }
    pointer
}

/// Says whether `name` may name a stream, a collection or a document.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_name(name: &str) -> Result<(), NameError> {
    match name {
        "" => Err(NameError::Empty),
        "." | ".." | "__proto__" => Err(NameError::Reserved),
        _ if name.len() > NAME_BYTES_MAX => Err(NameError::Long),
        _ if name.contains('/') => Err(NameError::Slash),
        _ if name.chars().any(char::is_control) => Err(NameError::Control),
        _ => Ok(()),
    }
}

fn decode(raw: &str) -> Result<String, NameError> {
    let bytes = raw.as_bytes();
    let well_formed = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%').all(|(at, _)| {
        bytes.get(at + 1).is_some_and(u8::is_ascii_hexdigit) && bytes.get(at + 2).is_some_and(u8::is_ascii_hexdigit)
    });
    if !well_formed {
        return Err(NameError::Encoding);
    }
    let name = percent_encoding::percent_decode_str(raw).decode_utf8().map_err(|_| NameError::Encoding)?;
    Ok(name.into_owned())
}

/// Why a path or a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A name without a byte, as in `//` or a trailing slash.
    #[error("a name is empty")]
    Empty,
    /// `.`, `..` or `__proto__`; `-` as a stream, since the server's own URLs are below it.
    #[error("'.', '..' and '__proto__' can't be names, nor '-' a stream's")]
    Reserved,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("a name is longer than {NAME_BYTES_MAX} bytes")]
    Long,
    /// A decoded slash.
    #[error("a name holds a slash")]
    Slash,
    /// A control character.
    #[error("a name holds a control character")]
    Control,
    /// Percent-encoding that doesn't decode to UTF-8.
    #[error("a name isn't percent-encoded UTF-8")]
    Encoding,
    /// More than [`PATH_SEGMENTS_MAX`] segments.
    #[error("a path has more than {PATH_SEGMENTS_MAX} segments")]
    Deep,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_alternate() {
        let place = Place::parse("/users/7/messages/a%20b~c").expect("a path");
        assert_eq!(
            (place.stream(), place.collection(), place.document()),
            ("users", "users/7/messages", Some("a b~c"))
        );
        assert_eq!(place.pointer(), "/users~17~1messages/a b~0c");
        assert_eq!(place.url(), "/users/7/messages/a%20b~c");
        let users = Place::parse("/users").expect("a path");
        assert_eq!((users.collection(), users.document(), users.topic()), ("users", None, Topic::Stream));
        assert_eq!(users.child("7"), Place::parse("/users/7"));
        assert_eq!(Place::parse("/users/7").expect("a path").topic(), Topic::Path(hash("users/7")));
    }

    #[test]
    fn unusable_names_are_refused() {
        let long = format!("/{}", "a".repeat(129));
        let deep = "/a".repeat(PATH_SEGMENTS_MAX + 1);
        for (path, error) in [
            ("", NameError::Empty),
            ("/", NameError::Empty),
            ("/a//b", NameError::Empty),
            ("/a/", NameError::Empty),
            ("/a/..", NameError::Reserved),
            ("/%2e%2E", NameError::Reserved),
            ("/__proto__", NameError::Reserved),
            ("/%2D/x", NameError::Reserved),
            ("/a%2Fb", NameError::Slash),
            ("/a%00", NameError::Control),
            ("/a%7f", NameError::Control),
            ("/a%C2%80", NameError::Control),
            ("/%ff", NameError::Encoding),
            ("/%4", NameError::Encoding),
            ("/%zz", NameError::Encoding),
            (long.as_str(), NameError::Long),
            (deep.as_str(), NameError::Deep),
        ] {
            assert_eq!(Place::parse(path), Err(error), "{path}");
        }
    }
}
