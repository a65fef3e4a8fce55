//! A stream that a core has listeners of: what it sees of the log, and who follows which topics of it.
//!
//! Most topics are one path, of which there may be hundreds of thousands: those have a table of their own, of 16 bytes a row.

use std::sync::Arc;

use fantail_engine::log::block::Extent;
use fantail_engine::log::filter::Filter;
use fantail_engine::log::view::View;
use rustc_hash::FxHashMap;

use crate::storage::pages::Volume;

/// Which stream of a core: an index in the audience's slab.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct ViewId(pub(super) u32);

/// See the module. Numbers of followers are indexes in the audience's slab.
pub(super) struct Watched {
    pub(super) view: View,
    /// Where its segments are.
    pub(super) volume: Arc<Volume>,
    /// Seats of it, those on their way out not included.
    pub(super) seats: usize,
    /// Those of the whole stream.
    pub(super) whole: Option<u32>,
    /// Those of one path.
    single: FxHashMap<u64, u32>,
    /// Those of several paths, under each of these.
    several: FxHashMap<u64, Vec<u32>>,
}

impl Watched {
    pub(super) fn new(view: View, volume: Arc<Volume>) -> Watched {
        Watched { view, volume, seats: 0, whole: None, single: FxHashMap::default(), several: FxHashMap::default() }
    }

    /// Whether nobody follows it.
    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_none() && !self.is_filtered()
    }

    /// Whether somebody follows a part of it.
    pub(super) fn is_filtered(&self) -> bool {
        !self.single.is_empty() || !self.several.is_empty()
    }

    /// All that follow it; those of several topics come once for each.
    pub(super) fn all(&self) -> impl Iterator<Item = u32> {
        self.whole.into_iter().chain(self.filtered())
    }

    /// All that follow a part of it; those of several topics come once for each.
    pub(super) fn filtered(&self) -> impl Iterator<Item = u32> {
        self.single.values().chain(self.several.values().flatten()).copied()
    }

    /// The followers with this filter; `is_theirs` says whether a number's are.
    pub(super) fn find(&self, filter: &Filter, is_theirs: impl Fn(u32) -> bool) -> Option<u32> {
        match filter {
            Filter::Whole => self.whole,
            Filter::Path(path) => self.single.get(path).copied(),
            Filter::Paths(paths) => {
                // Many combine a topic that all follow with one of their own: the rarest path has the shortest list.
                let lists = paths.iter().map(|path| self.several.get(path).map_or(&[][..], Vec::as_slice));
                let rarest = lists.min_by_key(|ids| ids.len()).unwrap_or_default();
                rarest.iter().copied().find(|id| is_theirs(*id))
            }
        }
    }

    /// Adds followers with this filter, of which there are none yet.
    pub(super) fn insert(&mut self, filter: &Filter, id: u32) {
        match filter {
            Filter::Whole => self.whole = Some(id),
            Filter::Path(path) => drop(self.single.insert(*path, id)),
            Filter::Paths(paths) => paths.iter().for_each(|path| self.several.entry(*path).or_default().push(id)),
        }
    }

    /// Forgets them.
    pub(super) fn remove(&mut self, filter: &Filter, id: u32) {
        match filter {
            Filter::Whole => self.whole = None,
            Filter::Path(path) => drop(self.single.remove(path)),
            Filter::Paths(paths) => {
                for path in paths {
                    let Some(ids) = self.several.get_mut(path) else { continue };
                    ids.retain(|other| *other != id);
                    if ids.is_empty() {
                        self.several.remove(path);
                    }
                }
            }
        }
    }

    /// Those of several paths that have this one.
    pub(super) fn followers_of(&self, path: u64) -> impl Iterator<Item = u32> {
        self.several.get(&path).into_iter().flatten().copied()
    }

    /// The filtered followers that an event concerns; one of several topics may come twice.
    pub(super) fn concerned(&self, extent: &Extent) -> impl Iterator<Item = u32> {
        let document = Some(extent.document).filter(|document| *document != extent.collection);
        [Some(extent.collection), document].into_iter().flatten().flat_map(|path| {
            let several = self.several.get(&path).into_iter().flatten();
            self.single.get(&path).into_iter().chain(several).copied()
        })
    }
}
