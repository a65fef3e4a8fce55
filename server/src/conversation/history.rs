//! Pages of history, for clients that poll: `{"events":[{"id":…,"patch":[…]}]}`.
//!
//! The stream's home has judged where the page begins; what follows is read here, of what this core shows of the log, as a
//! follower would be sent it.

use std::io;
use std::rc::Rc;

use fantail_engine::event;
use fantail_engine::limits::MAP_BYTES_MAX;
use fantail_engine::log::view::Found;
use fantail_engine::position::Position;

use crate::audience::Log;
use crate::core::Core;
use crate::core::following::Cursor;
use crate::core::question::{Answer, Begin, Refused};
use crate::limits::HISTORY_SCANS_MAX;

/// The page that begins there.
pub(super) async fn page(core: &Rc<Core>, begin: Begin) -> Answer {
    core.look_for(&begin.stream);
    read(core, &begin).await.unwrap_or_else(|error| Answer::Refused(Refused::Unreadable(error)))
}

async fn read(core: &Rc<Core>, begin: &Begin) -> io::Result<Answer> {
    let Begin { stream, volume, filter, sequence, epochs, limit } = begin;
    let log = Log { stream, volume: *volume };
    let position = |sequence| Position { epoch: epochs.at(sequence), sequence };
    let mut cursor = core.locate(log, Cursor::After(*sequence)).await?;
    let (mut count, mut scans, mut last) = (0, 0, position(*sequence));
    let mut body = b"{\"events\":[".to_vec();
    let is_cut = loop {
        let (start, end) = match core.find(log, filter, cursor).await? {
            Found::Event(start, end) => (start, end),
            Found::Skip(to, sequence) => {
                // What was looked through needn't be again: the next page goes on from here.
                last = position(sequence - 1);
                (cursor, scans) = (to, scans + 1);
                match scans < HISTORY_SCANS_MAX {
                    true => continue,
                    false => break true,
                }
            }
            Found::End => break false,
        };
        if count == *limit || body.len() >= MAP_BYTES_MAX {
            break true;
        }
        let bytes = core.copy(log, start, end).await?;
        let frame = event::decode(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        if count > 0 {
            body.push(b',');
        }
        last = frame.position;
        body.extend_from_slice(format!("{{\"id\":\"{last}\",\"patch\":").as_bytes());
        body.extend_from_slice(frame.data);
        body.push(b'}');
        (cursor, count) = (end, count + 1);
    };
    body.extend_from_slice(b"]}");
    // The last page says from where to ask again, though nothing on it may be of this topic.
    // What this core shows may lag behind what the home has vouched for.
    let (_, shown) = core.shown(log).ok_or(io::ErrorKind::NotFound)?;
    let reached = if shown.sequence < *sequence { position(*sequence) } else { shown };
    let next = is_cut.then(|| last.to_string());
    Ok(Answer::Json { body, tag: None, position: (!is_cut).then_some(reached), next })
}
