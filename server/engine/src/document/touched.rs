//! Which document an event is about, for an index that is rebuilt from the log.

use json_patch::jsonptr::Pointer;
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
    let targets: Vec<Target> = serde_json::from_slice(data).unwrap_or_default();
    let Some(path) = targets.last().and_then(|target| Pointer::parse(&target.path).ok()) else { return (0, 0) };
    let names: Vec<_> = path.tokens().take(2).map(|token| token.decoded().into_owned()).collect();
    match &*names {
        [collection, id] => (topic::hash(collection), topic::hash(&format!("{collection}/{id}"))),
        _ => (0, 0),
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
        assert_eq!(touched(b"[]"), (0, 0));
    }
}
