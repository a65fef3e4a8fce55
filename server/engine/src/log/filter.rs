//! Which events of a stream a reader wants: all, or those of some collections and documents, by hash.

use crate::topic::Topic;

/// What a reader wants of its stream.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Filter {
    /// Everything.
    Whole,
    /// Events of this collection or document, by hash.
    Path(u64),
    /// Events of any of these collections and documents, by hash; sorted.
    Paths(Box<[u64]>),
}

impl Filter {
    /// The filter that lets through what any of `topics` wants.
    #[must_use]
    pub fn of(topics: impl IntoIterator<Item = Topic>) -> Filter {
        let mut paths = Vec::new();
        for topic in topics {
            match topic {
                Topic::Stream => return Filter::Whole,
                Topic::Path(hash) => paths.push(hash),
            }
        }
        paths.sort_unstable();
        paths.dedup();
        match paths[..] {
            [path] => Filter::Path(path),
            _ => Filter::Paths(paths.into()),
        }
    }

    /// Whether an event with these two hashes passes.
    #[must_use]
    pub fn passes(&self, collection: u64, document: u64) -> bool {
        match self {
            Filter::Whole => true,
            Filter::Path(path) => *path == collection || *path == document,
            Filter::Paths(paths) => paths.iter().any(|path| *path == collection || *path == document),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_among_the_topics_lets_everything_through() {
        assert_eq!(Filter::of([Topic::Path(1), Topic::Stream]), Filter::Whole);
        let filter = Filter::of([Topic::Path(2), Topic::Path(1), Topic::Path(2)]);
        assert_eq!(filter, Filter::Paths([1, 2].into()));
        assert!(filter.passes(0, 2) && filter.passes(1, 0) && !filter.passes(0, 0));
    }
}
