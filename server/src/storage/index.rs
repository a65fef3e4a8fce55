//! Indexes made anew from their segments: an index holds no truth.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use fantail_engine::document;
use fantail_engine::event::Frame;
use fantail_engine::log::audit::{self, Ending, Finding};
use fantail_engine::log::index::{self, Entry, Form};
use fantail_engine::log::segment::{self, Kind, Verdict};

use super::folder::{self, DataFolder, Mapped};
use super::listing::{self, Listing, ListingError};
use super::pages::Unpaged;

/// What came of a segment's index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rebuilt {
    /// It was right.
    Kept,
    /// It was written, and has so many events.
    Written(usize),
    /// The segment is damaged here: nothing was changed.
    Damaged(Finding),
}

/// Rebuilds the indexes of the stream in this `folder` of the data folder, which no server uses: sealed ones sealed. `report`
/// gets the file of each index, or of each damaged segment, and what came of it.
///
/// Memory: one segment and its index.
///
/// # Errors
/// If something can't be read or written; indexes before it are rebuilt.
pub fn rebuild(data: &DataFolder, folder: &OsStr, mut report: impl FnMut(String, Rebuilt)) -> Result<(), ListingError> {
    let stream = &data.path().join(folder);
    let Some(manifest) = listing::manifest(stream)? else { return Ok(()) };
    let segments = Listing::of(stream)?.segments;
    for (at, &first) in segments.iter().enumerate() {
        let form = if at + 1 == segments.len() { Form::Open } else { Form::Sealed };
        let name = segment::name(first, Kind::Log);
        let bytes = listing::read(&stream.join(&name)).map_err(ListingError::io(&stream.join(&name)))?;
        let touched = |frame: &Frame<'_>| Some(document::touched(frame.data));
        let recovered = segment::recover(&bytes.unwrap_or_default(), first, &manifest.epochs, touched);
        // A torn tail of the newest segment is cut at the next start: the index then has what is kept.
        let verdict = match form {
            Form::Open => recovered.verdict,
            Form::Sealed => recovered.verdict.sealed(),
        };
        match audit::segment(&verdict, Ending::Growing) {
            Some(damage) => report(name, Rebuilt::Damaged(damage)),
            None => {
                let name = segment::name(first, Kind::Index);
                let rebuilt = write(stream, &name, first, &recovered.entries, form);
                report(name.clone(), rebuilt.map_err(ListingError::io(&stream.join(&name)))?);
            }
        }
    }
    Ok(())
}

/// Makes the index of a sealed segment anew, for a server that uses the folder and can't use the index that is there.
///
/// # Errors
/// If something can't be read or written, or the segment is damaged.
pub(super) fn remake(stream: &Path, file: &File, first: u64) -> Result<(), Unpaged> {
    let manifest = listing::manifest(stream).map_err(io::Error::other)?;
    let manifest = manifest.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let bytes = Mapped::new(file)?;
    let touched = |frame: &Frame<'_>| Some(document::touched(frame.data));
    let recovered = segment::recover(&bytes, first, &manifest.epochs, touched);
    match recovered.verdict.sealed() {
        Verdict::Whole => {
            let name = segment::name(first, Kind::Index);
            write(stream, &name, first, &recovered.entries, Form::Sealed)?;
            Ok(())
        }
        Verdict::Cut(loss) | Verdict::Damage(loss) => Err(Unpaged::Damaged(loss)),
    }
}

fn write(stream: &Path, name: &str, first: u64, entries: &[Entry], form: Form) -> std::io::Result<Rebuilt> {
    // One that can't be read is wrong.
    let known = listing::read(&stream.join(name)).ok().flatten();
    if known.is_some_and(|known| audit::index(&known, first, entries, form, Ending::Settled).is_none()) {
        return Ok(Rebuilt::Kept);
    }
    folder::replace(stream, name, |file| file.write_all(&index::encode(entries, form)))?;
    Ok(Rebuilt::Written(entries.len()))
}
