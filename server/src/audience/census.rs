//! Who follows which stream on this core, counted when somebody asks.

use std::sync::Arc;

use super::Audience;
use super::seat::{Seat, SeatId, State};

/// How closely the seats are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scrutiny {
    /// Only what is counted anyway.
    Counts,
    /// Each seat by itself: some milliseconds for a million of them.
    Seats,
}

/// The seats of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Listening {
    /// All that are taken and not on their way out.
    pub seats: usize,
    /// Those of them whose socket is full, if each was looked at.
    pub stalled: usize,
    /// Bytes of the log that the one furthest behind is still to read, at most, if each was looked at.
    pub lag_bytes_max: u64,
}

impl Audience {
    /// The seats of each stream that this core watches.
    #[must_use]
    pub fn census(&self, scrutiny: Scrutiny) -> Vec<(Arc<str>, Listening)> {
        let mut counted: Vec<Listening> = Vec::new();
        let streams: Vec<_> = self.streams.iter().collect();
        for (_, view) in &streams {
            let at = view.0 as usize;
            counted.resize(counted.len().max(at + 1), Listening::default());
            counted[at].seats = self.watched[at].seats;
        }
        match scrutiny {
            Scrutiny::Counts => {}
            Scrutiny::Seats => self.look_at_seats(&mut counted),
        }
        streams.into_iter().map(|(name, view)| (Arc::clone(name), counted[view.0 as usize])).collect()
    }

    fn look_at_seats(&self, counted: &mut [Listening]) {
        for (tier, seats) in self.tiers.iter().enumerate() {
            for (slot, seat) in seats.seats().iter().enumerate() {
                let is_taken = match seat.state {
                    State::Live | State::Behind | State::Stalled => true,
                    State::Free | State::Recalled | State::Returning | State::Leaving | State::Closing => false,
                };
                if is_taken {
                    let listening = &mut counted[self.followers[seat.followers as usize].view.0 as usize];
                    let lag = self.lag(SeatId::new(tier, slot as u32), seat);
                    listening.stalled += usize::from(seat.state == State::Stalled);
                    listening.lag_bytes_max = listening.lag_bytes_max.max(lag);
                }
            }
        }
    }

    /// Bytes of the log that are published and that the seat hasn't read, those that don't concern it included; a live seat has
    /// read all but what it is about to be sent.
    fn lag(&self, id: SeatId, seat: &Seat) -> u64 {
        let followers = &self.followers[seat.followers as usize];
        let published = self.watched[followers.view.0 as usize].view.published;
        let cursor = match seat.state {
            State::Live => followers.run(seat.cursor).map_or(published, |(from, _)| from),
            _ if seat.in_snapshot => self.snapshots.get(&id).map_or(published, |(_, cursor)| *cursor),
            _ => seat.cursor,
        };
        published.saturating_sub(cursor)
    }
}
