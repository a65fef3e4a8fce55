//! Which document an event is about, for an index that is rebuilt from the log.

use json_patch::jsonptr::Pointer;
use memchr::memchr;
use serde::Deserialize;

use crate::topic;

/// All of an operation that matters here.
#[derive(Deserialize)]
struct Target {
    path: String,
}

/// The hashes of the collection's and the document's path that an event of ours is about: those of its last operation,
/// since a first one may add the collection. Zeros for an event that changes nothing.
#[must_use]
pub fn touched(data: &[u8]) -> (u64, u64) {
    if let Some(hashes) = first_path(data).and_then(hashes) {
        return hashes;
    }
    let targets: Vec<Target> = serde_json::from_slice(data).unwrap_or_default();
    targets.last().and_then(|target| hashes(&target.path)).unwrap_or_default()
}

/// The path of the first operation, if it can be read without a parser. A start reads a whole segment of events, and all
/// operations of one are about the same document, unless the first one's path is only a collection's.
fn first_path(data: &[u8]) -> Option<&str> {
    let rest = data.strip_prefix(b"[{\"op\":\"")?;
    let rest = rest[memchr(b'"', rest)?..].strip_prefix(b"\",\"path\":\"")?;
    let path = std::str::from_utf8(&rest[..memchr(b'"', rest)?]).ok()?;
    (!path.contains('\\')).then_some(path)
}

/// The hashes of a path that leads to a document or into one.
fn hashes(path: &str) -> Option<(u64, u64)> {
    let path = Pointer::parse(path).ok()?;
    let names: Vec<_> = path.tokens().take(2).map(|token| token.decoded().into_owned()).collect();
    match &*names {
        [collection, id] => Some((topic::hash(collection), topic::hash(&format!("{collection}/{id}")))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_operation_says_what_an_event_is_about() {
        let hashes = |collection: &str, id: &str| (topic::hash(collection), topic::hash(&format!("{collection}/{id}")));
        let first =
            br#"[{"op":"add","path":"/a~1b~1c","value":{}},{"op":"add","path":"/a~1b~1c/x~0y","value":{"id":"x~y"}}]"#;
        assert_eq!(touched(first), hashes("a/b/c", "x~y"));
        assert_eq!(touched(br#"[{"op":"replace","path":"/m/1/text","value":"/m/2"}]"#), hashes("m", "1"));
        assert_eq!(touched(br#"[{"op":"move","from":"/m/1/a","path":"/m/1/b"}]"#), hashes("m", "1"));
        assert_eq!(touched(br#"[{"op":"remove","path":"/m/\"1\\"}]"#), hashes("m", "\"1\\"));
        assert_eq!(touched(b"[]"), (0, 0));
    }
}
