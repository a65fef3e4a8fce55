//! Several streams followed on one connection: a conversation that keeps a cursor for each.
//!
//! Each event gets a private `id:` line, one position per stream joined by dots, before the bytes that all share: so a client
//! resumes all streams with the one id that it knows. This is the one follower that costs a task and a descriptor; their
//! number is bounded per core.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use fantail_engine::event;
use fantail_engine::log::checkpoint;
use fantail_engine::log::filter::Filter;
use fantail_engine::log::view::Found;
use fantail_engine::position::Position;
use fantail_engine::protocol::sse::{self, Reset};
use fantail_engine::topic::Place;

use super::connection::{Connection, End, Heard};
use super::follow::{is_passing, turn_away, unlocated};
use super::{Next, hang_up};
use crate::audience::Log;
use crate::core::following::{Following, Shared, Value};
use crate::core::question::{Answer, From, Question, Refused};
use crate::core::{Core, Stage, clock};
use crate::limits::{QUIET_MAX, SEND_BYTES, SEVERAL_BATCH_BYTES, SILENCE_SECONDS};

/// One of the streams.
struct Followed {
    stream: String,
    /// The number of its log's volume.
    volume: u64,
    filter: Filter,
    cursor: u64,
    position: Position,
}

impl Followed {
    fn log(&self) -> Log<'_> {
        Log { stream: &self.stream, volume: self.volume }
    }
}

/// Answers a request to follow `places`, which are of several streams.
pub(super) async fn follow(
    core: &Rc<Core>,
    mut connection: Connection,
    places: Vec<Place>,
    from: From,
    mut out: Vec<u8>,
) -> Result<(Next, Connection), End> {
    let places = by_stream(places);
    let names = places.iter().map(|places| places[0].stream());
    let Some(several) = core.follow_several(names) else { return turn_away(core, connection, out).await };
    let followings = match begin(core, places, from).await {
        Ok(followings) => followings,
        Err(refused) if is_passing(&refused) => return turn_away(core, connection, out).await,
        Err(refused) => return hang_up(core, connection, refused.into(), false).await,
    };
    sse::retry(&mut out, clock::retry_ms());
    connection.bear_stalls();
    let mut streams = match locate(core, followings.0.iter()).await {
        Ok(cursors) => {
            core.has_answered(200);
            open(core, &mut connection, followings, cursors, out).await?
        }
        Err(error) => return unlocated(core, connection, &error, out).await,
    };
    let (mut sent, mut quiet) = (Instant::now(), 0);
    loop {
        let mut out = Vec::new();
        let is_behind = gather(core, &mut streams, &mut out).await.map_err(lost)?;
        if !out.is_empty() {
            (sent, quiet) = (Instant::now(), 0);
            connection.write(out).await?;
        }
        if core.stage.get() != Stage::Open {
            let mut out = Vec::new();
            sse::retry(&mut out, clock::retry_ms());
            connection.write(out).await?;
            connection.close().await;
            return Ok((Next::Over, connection));
        }
        if is_behind {
            several.pause().await;
            continue;
        }
        let silence = Duration::from_secs(SILENCE_SECONDS.into()).saturating_sub(sent.elapsed());
        match connection.listen(several.rung(), silence).await? {
            Heard::Signal => {}
            Heard::Silence => {
                (sent, quiet) = (Instant::now(), (quiet + 1) % QUIET_MAX);
                let mut out = Vec::new();
                match quiet {
                    0 => sse::position(&mut out, joined(&streams)),
                    _ => out.extend_from_slice(sse::HEARTBEAT),
                }
                connection.write(out).await?;
            }
        }
    }
}

/// A log can't be read on.
fn lost(error: io::Error) -> End {
    match error.kind() {
        // A stream that nobody wrote made room for another, one was deleted, or retention has passed the reader: it comes back.
        io::ErrorKind::NotFound => {}
        _ => tracing::error!(%error, "the log can't be read; its follower is closed"),
    }
    End::Gone
}

/// Where each of the streams is read on.
async fn locate(core: &Rc<Core>, followings: impl Iterator<Item = &(String, Following)>) -> io::Result<Vec<u64>> {
    let mut cursors = Vec::new();
    for (stream, following) in followings {
        core.look_for(stream);
        cursors.push(core.locate(Log { stream, volume: following.volume }, following.cursor).await?);
    }
    Ok(cursors)
}

/// The places of each stream, in the order of the streams' first places.
fn by_stream(places: Vec<Place>) -> Vec<Vec<Place>> {
    let mut streams: Vec<Vec<Place>> = Vec::new();
    for place in places {
        match streams.iter_mut().find(|places| places[0].stream() == place.stream()) {
            Some(places) => places.push(place),
            None => streams.push(vec![place]),
        }
    }
    streams
}

/// Asks each home where its stream begins. If one cursor can't be served, all streams begin with their value.
async fn begin(
    core: &Rc<Core>,
    streams: Vec<Vec<Place>>,
    from: From,
) -> Result<(Vec<(String, Following)>, Option<Reset>), Refused> {
    let count = streams.len();
    let (begins, mut reset) = match &from {
        From::Cursor(cursor) => match cursor.split('.').collect::<Vec<_>>() {
            cursors if cursors.len() == count => {
                (cursors.into_iter().map(|cursor| From::Cursor(cursor.to_owned())).collect(), None)
            }
            // Asked with what can't be a position, each stream answers with its value.
            _ => (vec![From::Cursor(String::new()); count], Some(Reset::Unknown)),
        },
        From::Now | From::Earliest | From::Snapshot => (vec![from.clone(); count], None),
    };
    let mut followings = Vec::with_capacity(count);
    for (places, from) in streams.iter().zip(begins) {
        let following = ask(core, places.clone(), from).await?;
        reset = reset.or(following.reset.map(|(reason, _)| reason));
        followings.push((places[0].stream().to_owned(), following));
    }
    if reset.is_some() {
        for ((_, following), places) in followings.iter_mut().zip(streams) {
            if following.value.is_none() {
                *following = ask(core, places, From::Cursor(String::new())).await?;
            }
        }
    }
    Ok((followings, reset))
}

async fn ask(core: &Rc<Core>, places: Vec<Place>, from: From) -> Result<Following, Refused> {
    match core.ask(Question::Follow { places, from }).await {
        Answer::Follow(following) => Ok(*following),
        Answer::Refused(refused) => Err(refused),
        Answer::Written(_)
        | Answer::Document { .. }
        | Answer::Json { .. }
        | Answer::History(_)
        | Answer::Deleted
        | Answer::Survey(_)
        | Answer::Mirror(_)
        | Answer::Channels(_)
        | Answer::Link(_) => {
            unreachable!("a request to follow is answered with where it begins")
        }
    }
}

/// Writes the first block, with the values of all streams if they come first.
async fn open(
    core: &Rc<Core>,
    connection: &mut Connection,
    (followings, reset): (Vec<(String, Following)>, Option<Reset>),
    cursors: Vec<u64>,
    mut out: Vec<u8>,
) -> Result<Vec<Followed>, End> {
    if let Some(reason) = reset {
        let earliest = |following: &Following| following.reset.map_or(following.position, |(_, earliest)| earliest);
        let earliest: Vec<_> = followings.iter().map(|(_, following)| earliest(following).to_string()).collect();
        sse::reset(&mut out, reason, earliest.join("."));
    }
    if followings.iter().any(|(_, following)| following.value.is_some()) {
        checkpoint::prelude(&mut out);
    }
    let mut streams = Vec::with_capacity(followings.len());
    for ((stream, following), cursor) in followings.into_iter().zip(cursors) {
        let Following { volume, filter, cursor: _, position, reset: _, value } = following;
        if let Some(Value { made, shared }) = value {
            out.extend_from_slice(&made);
            if let Some(Shared { snapshot, parts }) = shared {
                for part in parts {
                    let mut at = part.start;
                    while at < part.end {
                        let until = part.end.min(at + SEND_BYTES);
                        let bytes = core.read_snapshot(&snapshot, at..until).await.map_err(lost)?;
                        at += bytes.len() as u64;
                        out.extend_from_slice(&bytes);
                        connection.write(std::mem::take(&mut out)).await?;
                    }
                }
            }
        }
        streams.push(Followed { stream, volume, filter, cursor, position });
    }
    sse::position(&mut out, joined(&streams));
    connection.write(out).await?;
    Ok(streams)
}

/// Appends what was published of the streams, a batch at most. Whether there is more.
async fn gather(core: &Rc<Core>, streams: &mut [Followed], out: &mut Vec<u8>) -> io::Result<bool> {
    let mut is_behind = false;
    for index in 0..streams.len() {
        let room = out.len() + SEVERAL_BATCH_BYTES / streams.len();
        loop {
            let Followed { filter, cursor, .. } = &streams[index];
            let log = streams[index].log();
            match core.find(log, filter, *cursor).await? {
                Found::End => {
                    // With nothing of ours before it, our position is the stream's, and doesn't age out.
                    if let Some((shown, position)) = core.shown(log).filter(|(shown, _)| shown >= cursor) {
                        (streams[index].cursor, streams[index].position) = (shown, position);
                    }
                    break;
                }
                Found::Skip(to, _) => {
                    streams[index].cursor = to;
                    is_behind = true;
                    break;
                }
                Found::Event(..) if out.len() >= room => {
                    is_behind = true;
                    break;
                }
                Found::Event(start, end) => {
                    let bytes = core.copy(log, start, end).await?;
                    let frame = event::decode(&bytes).ok_or(io::ErrorKind::InvalidData)?;
                    // A cursor inside a group may lie before the line that closed it; events before it were sent.
                    if start >= streams[index].cursor {
                        streams[index].position = frame.position;
                        let shared = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                        out.extend_from_slice(format!("id: {}\n", joined(streams)).as_bytes());
                        out.extend_from_slice(&bytes[shared..frame.length]);
                    }
                    streams[index].cursor = end;
                }
            }
        }
    }
    Ok(is_behind)
}

/// The id of all streams together.
fn joined(streams: &[Followed]) -> String {
    streams.iter().map(|followed| followed.position.to_string()).collect::<Vec<_>>().join(".")
}
