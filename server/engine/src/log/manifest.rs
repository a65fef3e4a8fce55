//! The manifest of a stream: its name, the lives of its log, and how it was left.
//!
//! ```text
//! fantail stream 1                            the version of every format in the folder
//! name users                                  percent-encoded, all but A-Z a-z 0-9 - . _ ~
//! epoch k3f9q2 1                              epoch, sequence of the first event that it may have; oldest first
//! epoch m7x2ct 1043                           at least one, each once, at most EPOCHS_MAX; the last one is current
//! secret 000102030405060708090a0b0c0d0e0f     key of the hashes of idempotency keys
//! state open sync                             clean | failed | open sync | open flush | open none
//! crc 9f2ac01b                                CRC32C of all bytes before it
//! ```
//!
//! Replaced whole (written beside, synced, renamed), never changed in place. Invariant: what is decoded would be
//! encoded in the same bytes. A newer version is refused before anything else is believed.
//!
//! Which cursors can be served is judged here too, because only the list of epochs knows: [`Epochs::judge`].

use std::fmt;
use std::io::Write;

use crate::event::push_decimal;
use crate::limits::{EPOCHS_MAX, FOLDER_BYTES_MAX};
use crate::log::line;
use crate::position::{Epoch, Position};
use crate::topic::check_stream;

/// The manifest's name in its stream's folder.
pub const FILE: &str = "manifest";

const MAGIC: &[u8] = b"fantail stream ";
const VERSION: u64 = 1;

/// What a stream's folder is and how it was left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The stream's name, decoded.
    pub name: String,
    /// The lives of its log.
    pub epochs: Epochs,
    /// Key of the hashes of idempotency keys.
    pub secret: [u8; 16],
    /// How the log was left.
    pub state: State,
}

/// How a log was left by the process that wrote the manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// All was synced and nothing is written any more.
    Clean,
    /// A write or a sync of it failed: what is in the files may not be on the medium.
    Failed,
    /// It may be written, with this durability: after any other than [`Durability::Sync`] the next start opens an
    /// epoch.
    Open(Durability),
}

/// When an event may leave the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// When it is on the medium.
    Sync,
    /// When the kernel has it: survives a crash of the process, not of the host.
    Flush,
    /// At once.
    None,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Clean => "clean",
            State::Failed => "failed",
            State::Open(Durability::Sync) => "open sync",
            State::Open(Durability::Flush) => "open flush",
            State::Open(Durability::None) => "open none",
        })
    }
}

/// The name of a stream's folder, or none if it would be longer than file systems allow.
#[must_use]
pub fn folder(name: &str) -> Option<String> {
    Some(line::escape(name).into_owned()).filter(|folder| folder.len() <= FOLDER_BYTES_MAX)
}

impl Manifest {
    /// The manifest as it is on disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        push_decimal(&mut out, VERSION);
        write!(out, "\nname {}\n", line::escape(&self.name)).expect("memory takes every write");
        for (epoch, first) in &self.epochs.0 {
            writeln!(out, "epoch {epoch} {first}").expect("memory takes every write");
        }
        out.extend_from_slice(b"secret ");
        line::push_hex(&mut out, u128::from_be_bytes(self.secret), 32);
        write!(out, "\nstate {}\ncrc ", self.state).expect("memory takes every write");
        let crc = crc32c::crc32c(&out);
        line::push_checksum(&mut out, crc);
        out
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// It is of a newer version, torn, damaged, or not one.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let mut lines = bytes.split(|&byte| byte == b'\n');
        match lines.next().and_then(|line| line::decimal(line.strip_prefix(MAGIC)?)) {
            Some(VERSION) => {}
            Some(version) if version > VERSION => return Err(ManifestError::Newer(version)),
            Some(_) | None => return Err(ManifestError::Malformed),
        }
        line::checked(bytes).ok_or(ManifestError::Checksum)?;
        let manifest = Manifest::fields(lines).ok_or(ManifestError::Malformed)?;
        match manifest.encode() == bytes {
            true => Ok(manifest),
            false => Err(ManifestError::Malformed),
        }
    }

    /// Reads the lines after the first one, leniently: [`Manifest::decode`] compares with what would be written.
    fn fields<'a>(mut lines: impl Iterator<Item = &'a [u8]>) -> Option<Manifest> {
        let mut next = || std::str::from_utf8(lines.next()?).ok();
        let name = line::unescape(next()?.strip_prefix("name ")?)?.into_owned();
        check_stream(&name).ok()?;
        let mut epochs = Epochs(Vec::new());
        let secret = loop {
            let line = next()?;
            let Some(epoch) = line.strip_prefix("epoch ") else { break line.strip_prefix("secret ")? };
            let (epoch, first) = epoch.split_once(' ')?;
            if epochs.0.len() == EPOCHS_MAX {
                return None;
            }
            epochs.push(epoch.parse().ok()?, line::decimal(first.as_bytes())?).ok()?;
        };
        epochs.0.first()?;
        let secret = line::hex(secret.as_bytes(), 32)?.to_be_bytes();
        let state = match next()?.strip_prefix("state ")? {
            "clean" => State::Clean,
            "failed" => State::Failed,
            "open sync" => State::Open(Durability::Sync),
            "open flush" => State::Open(Durability::Flush),
            "open none" => State::Open(Durability::None),
            _ => return None,
        };
        Some(Manifest { name, epochs, secret, state })
    }
}

/// Why a manifest isn't believed; the stream is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Written by a newer server.
    #[error("the stream's folder has version {0}; this server reads up to version {VERSION}")]
    Newer(u64),
    /// The checksum is wrong, or the end is missing.
    #[error("the checksum of the manifest is wrong")]
    Checksum,
    /// No manifest, or not in the form that the version has.
    #[error("not a manifest of a stream")]
    Malformed,
}

/// The lives of a log, oldest first: each epoch with the sequence of the first event that it may have. Never empty.
///
/// Two epochs may begin at the same sequence: the older one then had no event that was kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Epochs(Vec<(Epoch, u64)>);

impl Epochs {
    /// The epochs of a log that begins: events count from 1.
    ///
    /// # Panics
    /// If `epoch` is [`Epoch::NONE`], which is that of no log.
    #[must_use]
    pub fn new(epoch: Epoch) -> Epochs {
        let mut epochs = Epochs(Vec::new());
        epochs.push(epoch, 1).expect("an epoch that a log can have");
        epochs
    }

    /// The epoch that new events get.
    #[must_use]
    pub fn current(&self) -> Epoch {
        self.last().0
    }

    /// The oldest epoch that is remembered.
    #[must_use]
    pub fn first(&self) -> Epoch {
        self.0.first().expect("never empty").0
    }

    fn last(&self) -> (Epoch, u64) {
        *self.0.last().expect("never empty")
    }

    /// The epoch of the event with this sequence; what is before the first epoch counts as its.
    #[must_use]
    pub fn at(&self, sequence: u64) -> Epoch {
        let begun = self.0.partition_point(|&(_, first)| first <= sequence);
        self.0[begun.saturating_sub(1)].0
    }

    /// All epochs, each with the sequence of the first event that it may have, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[(Epoch, u64)] {
        &self.0
    }

    /// Opens an epoch whose first event will be `first`: one more than the last event that was kept.
    ///
    /// Epochs that never had an event, because they would begin after it, are dropped, and of those that begin with it only
    /// one stays: so a server that restarts in a loop doesn't fill the list.
    ///
    /// # Errors
    /// The epoch was there already (draw another), the list is full ([`Epochs::forget`]), or `first` is before the
    /// log's beginning. The list is as before then.
    pub fn push(&mut self, epoch: Epoch, first: u64) -> Result<(), EpochsError> {
        if epoch == Epoch::NONE || self.0.iter().any(|&(known, _)| known == epoch) {
            return Err(EpochsError::Known);
        }
        if first == 0 {
            return Err(EpochsError::Order);
        }
        // An epoch that never had an event goes; the newest one that began here stays, with the cursors at its beginning.
        while self.0.len() > 1 && self.last().1 > first {
            self.0.pop();
        }
        if let [.., (_, before), (_, last)] = self.0[..]
            && before == first
            && last == first
        {
            self.0.pop();
        }
        if self.0.last().is_some_and(|&(_, begun)| begun > first) {
            return Err(EpochsError::Order);
        }
        if self.0.len() >= EPOCHS_MAX {
            return Err(EpochsError::Full);
        }
        self.0.push((epoch, first));
        Ok(())
    }

    /// Forgets the epochs none of whose cursors can be served any more, when `earliest` is the sequence of the first
    /// event that is retained. Their cursors are then unknown instead of expired.
    pub fn forget(&mut self, earliest: u64) {
        let gone = self.0[1..].iter().take_while(|&&(_, first)| first < earliest).count();
        self.0.drain(..gone);
    }

    /// The sequence after which a reader with this cursor is to be served.
    ///
    /// `earliest` is the sequence of the first event that is retained, or one more than `last` if none is; `last` is
    /// that of the last event appended, 0 if there was none. A position of an epoch is real from the one before its
    /// first event (where it was opened) up to where the next epoch began.
    ///
    /// # Errors
    /// Why the reader is to be reset.
    pub fn judge(&self, cursor: Position, earliest: u64, last: u64) -> Result<u64, Unservable> {
        if cursor != Position::ORIGIN {
            let life = self.0.iter().position(|&(epoch, _)| epoch == cursor.epoch).ok_or(Unservable::Epoch)?;
            let next = self.0.get(life + 1).map_or(u64::MAX, |&(_, first)| first);
            let was_last = life + 1 == self.0.len();
            if cursor.sequence < self.0[life].1 - 1 || !was_last && cursor.sequence >= next {
                return Err(Unservable::Epoch);
            }
        }
        if cursor.sequence > last {
            return Err(Unservable::Ahead);
        }
        match cursor.sequence < earliest.saturating_sub(1) {
            true => Err(Unservable::Expired),
            false => Ok(cursor.sequence),
        }
    }
}

/// Why an epoch can't be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EpochsError {
    /// The log had this epoch already, or no log can have it.
    #[error("the epoch was in use before")]
    Known,
    /// It would begin before the one before it.
    #[error("an epoch can't begin before the one before it")]
    Order,
    /// There are [`EPOCHS_MAX`].
    #[error("a log has at most {EPOCHS_MAX} epochs")]
    Full,
}

/// Why a cursor can't be served: what the reader is told in its reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unservable {
    /// The log was there, but isn't retained any more.
    #[error("the position isn't retained any more")]
    Expired,
    /// The position is of another log, or of what this one lost.
    #[error("the position is of another epoch")]
    Epoch,
    /// The position is behind the end of the log.
    #[error("the position is ahead of the log")]
    Ahead,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn epoch(text: &str) -> Epoch {
        text.parse().expect("an epoch")
    }

    /// `k3f9q2` from 1, `m7x2ct` from 1043, `aaaaaa` and `bbbbbb` from 2000.
    fn epochs() -> Epochs {
        let mut epochs = Epochs::new(epoch("k3f9q2"));
        for (text, first) in [("m7x2ct", 1043), ("aaaaaa", 2000), ("bbbbbb", 2000)] {
            epochs.push(epoch(text), first).expect("a later epoch");
        }
        epochs
    }

    fn manifest() -> Manifest {
        let secret = std::array::from_fn(|at| at as u8);
        Manifest { name: "messages".into(), epochs: epochs(), secret, state: State::Open(Durability::Sync) }
    }

    #[test]
    fn cursors_are_judged() {
        let ok = Ok::<u64, Unservable>;
        let (expired, other, ahead) = (Err(Unservable::Expired), Err(Unservable::Epoch), Err(Unservable::Ahead));
        for (cursor, earliest, last, verdict) in [
            // All is retained: 1..=2500.
            ("0-0", 1, 2500, ok(0)),
            ("k3f9q2-0", 1, 2500, ok(0)),
            ("k3f9q2-1", 1, 2500, ok(1)),
            ("k3f9q2-1042", 1, 2500, ok(1042)),
            ("k3f9q2-1043", 1, 2500, other),
            ("k3f9q2-9999", 1, 2500, other),
            ("m7x2ct-1041", 1, 2500, other),
            ("m7x2ct-1042", 1, 2500, ok(1042)),
            ("m7x2ct-1999", 1, 2500, ok(1999)),
            ("m7x2ct-2000", 1, 2500, other),
            ("aaaaaa-1998", 1, 2500, other),
            ("aaaaaa-1999", 1, 2500, ok(1999)),
            ("aaaaaa-2000", 1, 2500, other),
            ("bbbbbb-1998", 1, 2500, other),
            ("bbbbbb-1999", 1, 2500, ok(1999)),
            ("bbbbbb-2500", 1, 2500, ok(2500)),
            ("bbbbbb-2501", 1, 2500, ahead),
            ("bbbbbb-18446744073709551615", 1, 2500, ahead),
            ("zzzzzz-1", 1, 2500, other),
            // Retained is 1043..=2500.
            ("0-0", 1043, 2500, expired),
            ("k3f9q2-0", 1043, 2500, expired),
            ("k3f9q2-1041", 1043, 2500, expired),
            ("k3f9q2-1042", 1043, 2500, ok(1042)),
            ("k3f9q2-1043", 1043, 2500, other),
            ("m7x2ct-1042", 1043, 2500, ok(1042)),
            ("m7x2ct-1500", 1600, 2500, expired),
            // The current epoch has no event yet; nothing is retained.
            ("bbbbbb-1999", 2000, 1999, ok(1999)),
            ("m7x2ct-1999", 2000, 1999, ok(1999)),
            ("m7x2ct-1998", 2000, 1999, expired),
            ("bbbbbb-2000", 2000, 1999, ahead),
            ("0-0", 2000, 1999, expired),
        ] {
            let position = cursor.parse().expect("a position");
            assert_eq!(epochs().judge(position, earliest, last), verdict, "{cursor} with {earliest}..={last} retained");
        }
    }

    #[test]
    fn a_log_that_begins_serves_its_beginning() {
        let epochs = Epochs::new(epoch("k3f9q2"));
        for cursor in ["0-0", "k3f9q2-0"] {
            assert_eq!(epochs.judge(cursor.parse().expect("a position"), 1, 0), Ok(0));
        }
        assert_eq!(epochs.judge("k3f9q2-1".parse().expect("a position"), 1, 0), Err(Unservable::Ahead));
        let foreign = Position { epoch: Epoch::NONE, sequence: 3 };
        assert_eq!(epochs.judge(foreign, 1, 9), Err(Unservable::Epoch));
    }

    #[test]
    fn each_sequence_has_its_epoch() {
        for (sequence, expected) in
            [(0, "k3f9q2"), (1, "k3f9q2"), (1042, "k3f9q2"), (1043, "m7x2ct"), (1999, "m7x2ct"), (2000, "bbbbbb")]
        {
            assert_eq!(epochs().at(sequence), epoch(expected), "{sequence}");
        }
        assert_eq!((epochs().first(), epochs().current()), (epoch("k3f9q2"), epoch("bbbbbb")));
    }

    #[test]
    fn epochs_are_new_in_order_and_bounded() {
        let mut epochs = epochs();
        let before = epochs.clone();
        assert_eq!(epochs.push(epoch("k3f9q2"), 3000), Err(EpochsError::Known));
        assert_eq!(epochs.push(Epoch::NONE, 3000), Err(EpochsError::Known));
        assert_eq!(epochs.push(epoch("cccccc"), 0), Err(EpochsError::Order));
        assert_eq!(epochs, before);
        epochs.push(epoch("cccccc"), 1999).expect("the epoch from 2000 on had no event");
        assert_eq!(epochs.entries()[1..], [(epoch("m7x2ct"), 1043), (epoch("cccccc"), 1999)]);
        for bits in 0..9 {
            epochs.push(Epoch::from_bits(bits), 3000).expect("a loop of restarts without an event fills nothing");
        }
        assert_eq!(epochs.entries().len(), 5);
        for (bits, first) in (100..).zip(3001..).take(EPOCHS_MAX - 5) {
            epochs.push(Epoch::from_bits(bits), first).expect("room");
        }
        assert_eq!(epochs.push(epoch("dddddd"), 1 << 20), Err(EpochsError::Full));
        assert_eq!(epochs.entries().len(), EPOCHS_MAX);
        epochs.forget(3000);
        assert_eq!(epochs.entries()[0], (epoch("cccccc"), 1999));
        let newest = epochs.entries()[epochs.entries().len() - 1];
        epochs.forget(u64::MAX);
        assert_eq!(epochs.entries(), [newest]);
    }

    #[test]
    fn what_is_forgotten_could_not_be_served() {
        for earliest in [1, 2, 1042, 1043, 1044, 1999, 2000, 2001] {
            let mut short = epochs();
            short.forget(earliest);
            for cursor in (0..2502).flat_map(|sequence| epochs().0.map_positions(sequence)) {
                let before = epochs().judge(cursor, earliest, 2500);
                let after = short.judge(cursor, earliest, 2500);
                assert!(before == after || before.is_err() && after == Err(Unservable::Epoch), "{cursor} {earliest}");
            }
        }
    }

    trait Positions {
        fn map_positions(&self, sequence: u64) -> Vec<Position>;
    }

    impl Positions for Vec<(Epoch, u64)> {
        fn map_positions(&self, sequence: u64) -> Vec<Position> {
            self.iter().map(|&(epoch, _)| Position { epoch, sequence }).collect()
        }
    }

    #[test]
    fn the_text_is_the_one_in_the_fixture() {
        let fixture = include_str!("../../../../fixtures/logs/manifest.txt");
        assert_eq!(String::from_utf8(manifest().encode()).expect("text"), fixture);
        assert_eq!(Manifest::decode(fixture.as_bytes()), Ok(manifest()));
    }

    #[test]
    fn cut_anywhere_or_flipped_anywhere_it_is_refused() {
        let bytes = manifest().encode();
        for at in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(Manifest::decode(&flipped).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    /// `text` with a right checksum, decoded.
    fn sealed(text: &str) -> Result<Manifest, ManifestError> {
        let mut bytes = text.as_bytes().to_vec();
        let crc = crc32c::crc32c(&bytes);
        line::push_checksum(&mut bytes, crc);
        Manifest::decode(&bytes)
    }

    #[test]
    fn another_text_is_refused() {
        let secret = "secret 000102030405060708090a0b0c0d0e0f\n";
        let good = format!("fantail stream 1\nname a%20b\nepoch k3f9q2 1\n{secret}state clean\ncrc ");
        assert_eq!(sealed(&good).expect("a manifest").name, "a b");
        assert_eq!(sealed(&good.replace("stream 1", "stream 2")), Err(ManifestError::Newer(2)));
        for (old, new) in [
            ("stream 1", "stream 0"),
            ("stream 1", "streams 1"),
            ("a%20b", "a b"),
            ("a%20b", "a%2F.."),
            ("a%20b", ""),
            ("epoch k3f9q2 1\n", ""),
            ("epoch k3f9q2 1\n", "epoch k3f9q2 0\n"),
            ("epoch k3f9q2 1\n", "epoch k3f9q2 01\n"),
            ("epoch k3f9q2 1\n", "epoch 0 1\n"),
            ("epoch k3f9q2 1\n", "epoch k3f9q2 1\nepoch k3f9q2 2\n"),
            ("epoch k3f9q2 1\n", "epoch k3f9q2 5\nepoch aaaaaa 4\n"),
            ("0e0f", "0e0F"),
            ("state clean", "state open"),
            ("crc ", "crc"),
            ("crc ", "more\ncrc "),
        ] {
            assert_eq!(sealed(&good.replace(old, new)), Err(ManifestError::Malformed), "{old:?} -> {new:?}");
        }
    }

    #[test]
    fn a_folder_has_a_name_that_file_systems_take() {
        assert_eq!(folder("a b/ü").as_deref(), Some("a%20b%2F%C3%BC"));
        assert_eq!(folder(&"a".repeat(128)).map(|name| name.len()), Some(128));
        assert_eq!(folder(&"ü".repeat(64)), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            name in "[^/\\pC]{1,30}",
            secret: [u8; 16],
            lives in prop::collection::btree_map(0u32..1 << 30, 1u64.., 1..20),
        ) {
            prop_assume!(check_stream(&name).is_ok());
            let mut firsts: Vec<u64> = lives.values().copied().collect();
            firsts.sort_unstable();
            let epochs = Epochs(lives.keys().map(|&bits| Epoch::from_bits(bits)).zip(firsts).collect());
            for state in [State::Clean, State::Failed, State::Open(Durability::Flush), State::Open(Durability::None)] {
                let manifest = Manifest { name: name.clone(), epochs: epochs.clone(), secret, state };
                prop_assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
            }
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text: String, sequence: u64, earliest: u64, last: u64) {
            let _ = (Manifest::decode(&bytes), sealed(&text), sealed(&format!("fantail stream 1\n{text}")));
            for cursor in epochs().0.map_positions(sequence) {
                if let Ok(after) = epochs().judge(cursor, earliest, last) {
                    prop_assert!(after == sequence && after <= last && after + 1 >= earliest);
                }
            }
        }
    }
}
