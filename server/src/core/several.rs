//! The conversations that follow several streams at once, and how they are woken.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use fantail_engine::limits::SEVERAL_MAX;
use rustc_hash::FxHashMap;

use super::Core;
use super::nudge::Nudge;

/// A place among the conversations that follow several streams: rung when one of its streams is published or the core
/// closes, given back when it is dropped.
pub(crate) struct Several {
    core: Rc<Core>,
    streams: Vec<Arc<str>>,
    nudge: Rc<Nudge>,
}

impl Several {
    /// Resolves once something was published since it last did.
    pub(crate) async fn rung(&self) {
        self.nudge.rung().await;
    }

    /// Lets the other tasks of the core run once.
    pub(crate) async fn pause(&self) {
        let mut has_paused = false;
        poll_fn(|context| match std::mem::replace(&mut has_paused, true) {
            true => Poll::Ready(()),
            false => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
    }
}

impl Drop for Several {
    fn drop(&mut self) {
        let mut several = self.core.several.borrow_mut();
        for stream in &self.streams {
            if let Some(nudges) = several.nudges.get_mut(stream) {
                nudges.retain(|nudge| !Rc::ptr_eq(nudge, &self.nudge));
                if nudges.is_empty() {
                    several.nudges.remove(stream);
                }
            }
        }
        several.count -= 1;
    }
}

/// The conversations that follow several streams, by stream.
#[derive(Default)]
pub(super) struct Severals {
    pub(super) nudges: FxHashMap<Arc<str>, Vec<Rc<Nudge>>>,
    count: usize,
}

impl Core {
    /// A place among the conversations that follow several streams, if there is one.
    pub(crate) fn follow_several<'s>(self: &Rc<Core>, streams: impl Iterator<Item = &'s str>) -> Option<Several> {
        let mut several = self.several.borrow_mut();
        if several.count == SEVERAL_MAX {
            return None;
        }
        several.count += 1;
        let (streams, nudge): (Vec<Arc<str>>, _) = (streams.map(Arc::from).collect(), Rc::<Nudge>::default());
        for stream in &streams {
            several.nudges.entry(Arc::clone(stream)).or_default().push(Rc::clone(&nudge));
        }
        Some(Several { core: Rc::clone(self), streams, nudge })
    }

    /// Wakes the conversations that follow this stream among several.
    pub(super) fn announce(&self, stream: &str) {
        if let Some(nudges) = self.several.borrow().nudges.get(stream) {
            nudges.iter().for_each(|nudge| nudge.ring());
        }
    }
}
