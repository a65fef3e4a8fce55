//! Signs of life on quiet connections, staggered over the seats so that there is never a burst.
//!
//! Each second looks at one twentieth of the slots. A live seat there that was sent nothing for twenty seconds gets a
//! comment; a filtered one that was quiet for five minutes gets its position instead, so that its cursor doesn't age out.

use fantail_engine::protocol::sse;

use super::Audience;
use super::followers::Filter;
use super::seat::{Kind, State};

/// Seconds of silence after which a seat gets a sign of life.
const SILENCE_SECONDS: u32 = 20;
/// Heartbeats after which a filtered seat gets its position: five minutes.
const QUIET_MAX: u8 = 15;

/// The audience's clock, in seconds since its start.
#[derive(Default)]
pub(super) struct Heartbeat {
    second: u32,
}

impl Heartbeat {
    pub(super) fn now(&self) -> u32 {
        self.second
    }
}

impl Audience {
    /// A second has passed.
    pub fn tick(&mut self) {
        self.heartbeat.second += 1;
        let now = self.heartbeat.second;
        // Private bytes must not share an enter with bytes of the log for the same seat: what is pushed goes first.
        self.enter();
        let mut block = Vec::new();
        for tier in 0..self.tiers.len() {
            let slots = self.tiers[tier].seats().len() as u32;
            for slot in (now % SILENCE_SECONDS..slots).step_by(SILENCE_SECONDS as usize) {
                let seat = self.tiers[tier].seat(slot);
                if seat.state != State::Live || now - seat.sent < SILENCE_SECONDS {
                    continue;
                }
                let followers = &self.followers[seat.followers as usize];
                // A live seat that has yet to get events may stand inside a large frame: no time for a word between.
                if followers.run(seat.cursor).is_some() {
                    continue;
                }
                seat.sent = now;
                seat.quiet += 1;
                if seat.quiet < QUIET_MAX || followers.filter == Filter::Whole {
                    seat.quiet %= QUIET_MAX;
                    self.tiers[tier].send(Kind::Private, slot, sse::HEARTBEAT);
                    continue;
                }
                seat.quiet = 0;
                block.clear();
                sse::position(&mut block, self.watched[followers.view.0 as usize].view.position);
                self.tiers[tier].send(Kind::Private, slot, &block);
                // The block is the next seat's too: the kernel takes it before it is written again.
                self.enter();
            }
        }
        self.enter();
    }
}
