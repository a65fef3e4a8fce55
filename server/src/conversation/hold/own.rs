//! Holds whose bytes are their own: each item is made for this client before it is sent.
//!
//! Such a hold stays a conversation, which reads the channels' log from a place on as a seat does. One that is too slow for what
//! the log still has asks its next link, or ends.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fantail_engine::grip::{Instruction, Pace, StreamItem, Substitution};

use super::super::connection::End;
use super::session::{Session, Then};
use super::while_open;
use crate::audience::{Item, Mark, Subscription, Tracking};
use crate::core::holding::Awaits;

/// What ends a wait.
enum Due {
    Item(Option<Arc<Item>>),
    KeepAlive,
    Link,
}

impl Session {
    /// Sends what is published until the next link is to be asked, or the stream ends.
    pub(super) async fn attend(
        &mut self,
        instruction: &Instruction,
        subscription: &Rc<Subscription>,
        mut ids: Vec<Option<Arc<str>>>,
        mark: Mark,
        first: Vec<Arc<Item>>,
    ) -> Result<Then, End> {
        let core = Rc::clone(&self.client.core);
        let keep_alive = instruction.hold.as_ref().and_then(|hold| hold.keep_alive.as_ref());
        let mut attendant = core.attend(subscription, Awaits::Stream, mark);
        let mut first = VecDeque::from(first);
        let (begun, mut sent, mut shown) = (Instant::now(), Instant::now(), Instant::now());
        loop {
            if let Some(item) = first.pop_front() {
                match self.serve(instruction, subscription, &mut ids, &item).await? {
                    Some(then) => return Ok(then),
                    None => continue,
                }
            }
            let keep = keep_alive.map(|keep_alive| match keep_alive.pace {
                Pace::Idle => sent.max(shown) + keep_alive.timeout,
                Pace::Interval => shown + keep_alive.timeout,
            });
            let link = instruction.next.as_ref().map(|next| begun.max(sent) + next.timeout);
            let due = async {
                monoio::select! {
                    item = attendant.next() => Due::Item(item),
                    () = until(keep) => Due::KeepAlive,
                    () = until(link) => Due::Link,
                }
            };
            let Some(due) = while_open(&core, &self.connection, due).await? else { return Ok(Then::Over) };
            match due {
                Due::Item(Some(item)) => {
                    if let Some(then) = self.serve(instruction, subscription, &mut ids, &item).await? {
                        return Ok(then);
                    }
                    sent = Instant::now();
                }
                // It was too slow.
                Due::Item(None) => return Ok(self.recall(instruction, subscription, &ids, attendant.mark())),
                Due::KeepAlive => {
                    let content = keep_alive.map(|keep_alive| keep_alive.content.to_vec()).unwrap_or_default();
                    self.connection.write(content).await?;
                    shown = Instant::now();
                }
                Due::Link => return Ok(self.recall(instruction, subscription, &ids, attendant.mark())),
            }
        }
    }

    /// Sends what lies before the place where a seat begins.
    pub(super) async fn serve_all(
        &mut self,
        instruction: &Instruction,
        subscription: &Subscription,
        ids: &mut [Option<Arc<str>>],
        items: Vec<Arc<Item>>,
    ) -> Result<Option<Then>, End> {
        for item in items {
            if let Some(then) = self.serve(instruction, subscription, ids, &item).await? {
                return Ok(Some(then));
            }
        }
        Ok(None)
    }

    /// Sends an item, or says what it asks for instead; notes its id.
    async fn serve(
        &mut self,
        instruction: &Instruction,
        subscription: &Subscription,
        ids: &mut [Option<Arc<str>>],
        item: &Item,
    ) -> Result<Option<Then>, End> {
        let Some((index, followed)) = subscription.channel(item.hash) else { return Ok(None) };
        if followed.tracking.misses(item) {
            return Ok(Some(self.recall(instruction, subscription, ids, item.mark)));
        }
        if followed.tracking != Tracking::Untracked {
            ids[index].clone_from(&item.id);
        }
        match item.stream() {
            Some(StreamItem::Send { .. }) if item.length > 0 && subscription.admits(item) => {}
            Some(StreamItem::Hint) if instruction.next.is_some() => {
                return Ok(Some(self.recall(instruction, subscription, ids, item.end())));
            }
            Some(StreamItem::Close) if subscription.admits(item) => return Ok(Some(Then::Over)),
            Some(StreamItem::Send { .. } | StreamItem::Hint | StreamItem::Close | StreamItem::Refresh) | None => {
                return Ok(None);
            }
        }
        let core = Rc::clone(&self.client.core);
        let Ok(content) = core.copy(core.channel_log(), item.mark.offset, item.end().offset).await else {
            return Ok(Some(self.recall(instruction, subscription, ids, item.mark)));
        };
        let channel = &instruction.hold.as_ref().expect("it is a hold").channels[index];
        let content = match Substitution::of(channel) {
            None => content,
            Some(substitution) => {
                let names = subscription.channels.iter().zip(ids.iter());
                let known: Vec<(&str, &str)> =
                    names.filter_map(|(followed, id)| Some((&*followed.name, id.as_deref()?))).collect();
                match substitution.apply(&content, &instruction.meta, &known) {
                    Ok(content) => content,
                    Err(error) => {
                        tracing::debug!(%error, channel = &*item.channel, "an item can't be made for a client");
                        return Ok(None);
                    }
                }
            }
        };
        self.connection.write(content).await?;
        Ok(None)
    }
}

/// Resolves then; never, if there is no such time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => monoio::time::sleep_until(time.into()).await,
        None => loop {
            monoio::time::sleep(Duration::from_secs(3600)).await;
        },
    }
}
