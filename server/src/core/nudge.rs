//! Wakes one task of a core from the others.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// See the module. A ring that comes before anybody waits isn't lost; several count once.
#[derive(Default)]
pub(super) struct Nudge {
    is_due: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Nudge {
    pub(super) fn ring(&self) {
        self.is_due.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Resolves once it was rung since it last did.
    pub(super) async fn rung(&self) {
        poll_fn(|context| {
            if self.is_due.replace(false) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
