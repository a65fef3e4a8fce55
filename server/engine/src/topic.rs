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
    /// The stream's name, if that isn't the first segment: see [`Mount`].
    stream: Option<Box<str>>,
}

/// Where the resources of somebody else begin: paths below it name collections and documents as all paths do, in streams that no
/// path alone can name, so that nobody reads or writes them past whose resources they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// What comes before the first segment in the names of its streams.
    name: Box<str>,
    /// Bytes of a path that lead to it.
    prefix: usize,
}

impl Mount {
    /// The mount at the prefix `path` of the paths of a host, or of any.
    ///
    /// # Panics
    /// If the path doesn't begin with a slash.
    #[must_use]
    pub fn new(host: Option<&str>, path: &str) -> Mount {
        assert!(path.starts_with('/'), "a path begins with a slash");
        let path = path.trim_end_matches('/');
        Mount { name: [host.unwrap_or_default(), path, "/"].concat().into(), prefix: path.len() }
    }

    /// What a path that begins with the mount's names. A slash at its end is one of style.
    ///
    /// # Errors
    /// As [`Place::parse`].
    pub fn place(&self, path: &str) -> Result<Place, NameError> {
        let below = path.get(self.prefix..).unwrap_or_default();
        let place = Place::parse(below.strip_suffix('/').unwrap_or(below))?;
        let stream = [&*self.name, place.stream()].concat();
        Ok(Place { stream: Some(stream.into()), ..place })
    }
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
        Ok(Place { path: decoded.into(), last: last as u16, segments: segments as u16, stream: None })
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
            stream: self.stream.clone(),
        })
    }

    /// The name of the stream: the first segment, behind its mount's if it is below one.
    #[must_use]
    pub fn stream(&self) -> &str {
        let first = || self.path.split('/').next().expect("a path has a segment");
        self.stream.as_deref().unwrap_or_else(first)
    }

    /// The document whose collection this is, or is in.
    #[must_use]
    pub fn parent(&self) -> Option<Place> {
        let (path, _) = self.collection().rsplit_once('/')?;
        let segments = path.split('/').count() as u16;
        let last = path.rfind('/').map_or(0, |slash| slash as u16 + 1);
        Some(Place { path: path.into(), last, segments, stream: self.stream.clone() })
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

    /// What following this place means: a first segment means its whole stream, but below a mount, where who may read one URL
    /// needn't be allowed to read all below it.
    #[must_use]
    pub fn topic(&self) -> Topic {
        match (self.segments, &self.stream) {
            (1, None) => Topic::Stream,
            (1, Some(_)) | (2.., _) | (0, _) => Topic::Path(hash(&self.path)),
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
pub(crate) const URL_SEGMENT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
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

/// Says whether a stream can have this name: one that [`check_name`] passes, behind that of a [`Mount`] or not.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_stream(name: &str) -> Result<(), NameError> {
    let (mount, first) = name.rsplit_once('/').unwrap_or(("", name));
    match mount.chars().any(char::is_control) {
        true => Err(NameError::Control),
        false => check_name(first),
    }
}

/// Reads the name of a stream from a segment of a URL, percent-encoded.
///
/// # Errors
/// As [`check_stream`], or the encoding isn't one.
pub fn stream(raw: &str) -> Result<String, NameError> {
    let name = decode(raw)?;
    match name.as_str() {
        "-" => Err(NameError::Reserved),
        name => check_stream(name),
    }?;
    Ok(name)
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
    fn below_a_mount_streams_have_names_that_no_path_has() {
        let mount = Mount::new(None, "/api/v1");
        let place = mount.place("/api/v1/users/7/messages/").expect("a path");
        assert_eq!((place.stream(), place.path()), ("/api/v1/users", "users/7/messages"));
        assert!(place.is_collection() && check_stream(place.stream()).is_ok());
        let parent = place.parent().expect("a document");
        assert_eq!(Ok(&parent), mount.place("/api/v1/users/7").as_ref());
        assert_eq!((parent.document(), parent.parent()), (Some("7"), None));
        let users = mount.place("/api/v1/users").expect("a path");
        assert_eq!((users.topic(), users.child("7")), (Topic::Path(hash("users")), Ok(parent)));
        assert_eq!(mount.place("/api/v1"), Err(NameError::Empty));
        assert_eq!(mount.place("/api/v1/"), Err(NameError::Empty));
        let root = Mount::new(Some("a.example"), "/");
        assert_eq!(root.place("/messages/7").expect("a path").stream(), "a.example/messages");
        assert_eq!(Mount::new(None, "/").place("/messages").expect("a path").stream(), "/messages");
        assert!(check_stream("/a/..").is_err() && check_stream("a\n/b").is_err());
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
