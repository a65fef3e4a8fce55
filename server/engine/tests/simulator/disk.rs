//! A disk that does what disks may: it keeps what was synced, and of the rest what it likes.
//!
//! A file is what the kernel shows of it, what is surely on the medium, and the writes between. A crash of the machine
//! keeps any part of those writes, torn at any byte and in any order; entries of the folder are kept or lost one by one
//! until the folder is synced. A crash of the process loses nothing. A failed sync leaves an unknown part of the writes
//! on the medium, and the kernel forgets the rest though it goes on showing it: a later sync succeeds and says nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::rc::Rc;

use fantail_engine::log::folder::Folder;

use crate::random::Random;

/// Bytes that reach the medium together. Real ones are larger, and so are real groups.
const SECTOR_BYTES: usize = 48;

/// How the world ends for a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Crash {
    /// It is killed: the kernel keeps what it was given.
    Process,
    /// The power fails.
    Power,
}

/// How often operations fail, in a thousand.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Faults {
    /// Writes, creations and renames.
    pub(crate) writes: u32,
    /// Syncs of files and of the folder.
    pub(crate) syncs: u32,
}

/// A file that is open: it stays readable when it is replaced or removed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Handle(u64);

/// See the module. It holds one stream's folder. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct Disk {
    inner: Rc<RefCell<Inner>>,
}

#[derive(Clone)]
struct Inner {
    random: Random,
    files: BTreeMap<Handle, File>,
    names: BTreeMap<String, Handle>,
    durable: BTreeMap<String, Handle>,
    changes: Vec<Change>,
    next: u64,
    /// Whether the folder is there, and whether that is durable.
    is_made: bool,
    is_made_durable: bool,
    faults: Faults,
    /// Operations that change something before the power fails within one; none while it doesn't.
    fuel: Option<usize>,
    is_off: bool,
}

/// A change of the folder that isn't durable.
#[derive(Clone)]
enum Change {
    Link(String, Handle),
    Unlink(String),
    Rename(String, String, Handle),
}

#[derive(Clone, Default)]
struct File {
    /// What the kernel shows.
    shown: Vec<u8>,
    /// What is on the medium.
    kept: Vec<u8>,
    /// What came between.
    writes: Vec<Write>,
}

#[derive(Clone)]
enum Write {
    At(usize, Vec<u8>),
    Cut(usize),
}

impl Write {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Write::At(offset, data) => put(bytes, *offset, data),
            Write::Cut(length) => bytes.truncate(*length),
        }
    }

    /// What of it a crash or a failed sync lets through.
    fn tear(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        let Write::At(offset, data) = self else {
            if random.chance(500) {
                self.apply(bytes);
            }
            return;
        };
        match random.below(8) {
            0..3 => self.apply(bytes),
            3 | 4 => {}
            5 => put(bytes, *offset, &data[..random.below(data.len() + 1)]),
            6 => {
                // Sectors in any order, on both sides of a boundary that doesn't care where the write began.
                for at in (0..data.len()).step_by(SECTOR_BYTES).filter(|_| random.chance(600)).collect::<Vec<_>>() {
                    put(bytes, offset + at, &data[at..data.len().min(at + SECTOR_BYTES)]);
                }
            }
            // The file has grown, and nothing was written there.
            _ => {
                let end = offset + random.below(data.len() + 1);
                let length = bytes.len().max(end);
                bytes.resize(length, 0);
            }
        }
    }
}

/// Writes over what is there, with zeros before it where nothing was.
fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    let length = bytes.len().max(offset + data.len());
    bytes.resize(length, 0);
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

impl File {
    fn write(&mut self, write: Write) {
        write.apply(&mut self.shown);
        self.writes.push(write);
    }

    fn sync(&mut self) {
        self.writes.drain(..).for_each(|write| write.apply(&mut self.kept));
    }

    /// The medium gets a part of it, and nobody will write the rest.
    fn fail_sync(&mut self, random: &mut Random) {
        let writes = std::mem::take(&mut self.writes);
        writes.iter().for_each(|write| write.tear(&mut self.kept, random));
    }

    fn crash(&mut self, random: &mut Random) {
        self.fail_sync(random);
        self.shown = self.kept.clone();
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, Handle>) {
        match self {
            Change::Link(name, file) => drop(names.insert(name.clone(), *file)),
            Change::Unlink(name) => drop(names.remove(name)),
            Change::Rename(from, to, file) => {
                if names.get(from) == Some(file) {
                    names.remove(from);
                }
                names.insert(to.clone(), *file);
            }
        }
    }
}

impl Inner {
    /// An operation that changes something begins: it may fail, or be the last one. What it does of itself then is up to it.
    fn begin(&mut self, per_mille: u32) -> io::Result<()> {
        if self.is_off {
            return Err(power());
        }
        if let Some(fuel) = &mut self.fuel {
            if *fuel == 0 {
                self.is_off = true;
                return Err(power());
            }
            *fuel -= 1;
        }
        match self.random.chance(per_mille) {
            true => Err(io::Error::from_raw_os_error(*self.random.pick(&[EIO, ENOSPC]))),
            false => Ok(()),
        }
    }

    fn find(&self, name: &str) -> io::Result<Handle> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    fn create(&mut self, name: &str) -> io::Result<Handle> {
        if !self.is_made {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = Handle(self.next);
        self.next += 1;
        self.files.insert(file, File::default());
        self.change(Change::Link(name.to_owned(), file));
        Ok(file)
    }

    fn write(&mut self, file: Handle, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let begun = self.begin(self.faults.writes);
        // What fails has written a part.
        let length = if begun.is_ok() { bytes.len() } else { self.random.below(bytes.len() + 1) };
        if length > 0 {
            self.file(file).write(Write::At(offset, bytes[..length].to_vec()));
        }
        begun
    }

    fn sync(&mut self, file: Handle) -> io::Result<()> {
        let begun = self.begin(self.faults.syncs);
        let mut random = self.random.split();
        match begun {
            Ok(()) => self.file(file).sync(),
            // Without power, the crash decides.
            Err(_) if self.is_off => {}
            Err(_) => self.file(file).fail_sync(&mut random),
        }
        begun
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        self.begin(self.faults.syncs)?;
        self.durable = self.names.clone();
        self.changes.clear();
        Ok(())
    }

    fn file(&mut self, file: Handle) -> &mut File {
        self.files.get_mut(&file).expect("files that are open stay")
    }
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn power() -> io::Error {
    io::Error::other("the power has failed")
}

impl Disk {
    /// An empty folder on a disk with its own chance.
    pub(crate) fn new(random: Random, faults: Faults) -> Disk {
        let inner = Inner {
            random,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            changes: Vec::new(),
            next: 0,
            is_made: false,
            is_made_durable: false,
            faults,
            fuel: None,
            is_off: false,
        };
        Disk { inner: Rc::new(RefCell::new(inner)) }
    }

    /// Another disk with the same bytes, and a chance of its own.
    pub(crate) fn copy(&self) -> Disk {
        let mut inner = self.inner.borrow().clone();
        inner.random = self.inner.borrow_mut().random.split();
        Disk { inner: Rc::new(RefCell::new(inner)) }
    }

    /// Lets operations fail from now on as `faults` says.
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.inner.borrow_mut().faults = faults;
    }

    /// Lets the power fail within the operation after so many.
    pub(crate) fn fail_after(&self, operations: usize) {
        self.inner.borrow_mut().fuel = Some(operations);
    }

    /// Whether the power has failed.
    pub(crate) fn is_off(&self) -> bool {
        self.inner.borrow().is_off
    }

    /// The end of the process, or of more. The disk works again afterwards.
    pub(crate) fn crash(&self, crash: Crash) {
        let inner = &mut *self.inner.borrow_mut();
        (inner.fuel, inner.is_off) = (None, false);
        match crash {
            Crash::Process => {}
            Crash::Power => {
                for change in std::mem::take(&mut inner.changes) {
                    if inner.random.chance(500) {
                        change.apply(&mut inner.durable);
                    }
                }
                if !inner.is_made_durable && inner.random.chance(500) {
                    inner.is_made = false;
                    inner.durable.clear();
                }
                inner.names = inner.durable.clone();
                let mut random = inner.random.split();
                inner.files.values_mut().for_each(|file| file.crash(&mut random));
            }
        }
        let Inner { files, names, durable, .. } = inner;
        files.retain(|file, _| names.values().chain(durable.values()).any(|named| named == file));
    }

    /// Opens a file, or creates it.
    pub(crate) fn open(&self, name: &str) -> io::Result<Handle> {
        let inner = &mut *self.inner.borrow_mut();
        if let Some(file) = inner.names.get(name) {
            return Ok(*file);
        }
        inner.begin(inner.faults.writes)?;
        inner.create(name)
    }

    /// Writes to an open file.
    pub(crate) fn write(&self, file: Handle, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.borrow_mut().write(file, offset as usize, bytes)
    }

    /// Syncs an open file.
    pub(crate) fn sync_open(&self, file: Handle) -> io::Result<()> {
        self.inner.borrow_mut().sync(file)
    }

    /// The bytes of an open file.
    pub(crate) fn read_open(&self, file: Handle) -> Vec<u8> {
        self.inner.borrow_mut().file(file).shown.clone()
    }

    /// Flips a bit of a file at rest, if it has a byte.
    pub(crate) fn flip(&self, name: &str) {
        let inner = &mut *self.inner.borrow_mut();
        let Ok(file) = inner.find(name) else { return };
        let (at, bit) = (inner.random.next() as usize, inner.random.below(8));
        let file = inner.file(file);
        assert!(file.writes.is_empty(), "a file at rest");
        if !file.kept.is_empty() {
            let at = at % file.kept.len();
            file.kept[at] ^= 1 << bit;
            file.shown = file.kept.clone();
        }
    }
}

/// Writes to the end of a file.
pub(crate) struct Writer {
    disk: Disk,
    file: Handle,
    buffered: Vec<u8>,
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffered.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.buffered);
        let end = self.disk.read_open(self.file).len() as u64;
        self.disk.write(self.file, end, &bytes)
    }
}

impl Folder for Disk {
    type Bytes = Vec<u8>;
    type Writer = Writer;

    fn make(&self) -> io::Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        inner.begin(inner.faults.writes)?;
        inner.is_made = true;
        inner.begin(inner.faults.syncs)?;
        inner.is_made_durable = true;
        Ok(())
    }

    fn create(&self, name: &str) -> io::Result<Writer> {
        let inner = &mut *self.inner.borrow_mut();
        inner.begin(inner.faults.writes)?;
        // Truncating in place may be lost like any write; nobody counts on it.
        let file = match inner.find(name) {
            Ok(file) => {
                inner.file(file).write(Write::Cut(0));
                file
            }
            Err(_) => inner.create(name)?,
        };
        Ok(Writer { disk: self.clone(), file, buffered: Vec::new() })
    }

    fn append(&self, name: &str) -> io::Result<Writer> {
        let file = self.open(name)?;
        Ok(Writer { disk: self.clone(), file, buffered: Vec::new() })
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.inner.borrow().names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let inner = self.inner.borrow();
        Ok(inner.names.get(name).map(|file| inner.files[file].shown.clone()))
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        let inner = self.inner.borrow();
        Ok(inner.files[&inner.find(name)?].shown.len() as u64)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let unfinished = format!("{name}.unfinished");
        let mut file = self.create(&unfinished)?;
        file.write_all(bytes)?;
        file.flush()?;
        self.sync_file(&unfinished)?;
        self.rename(&unfinished, name)?;
        self.sync()
    }

    fn shorten(&self, name: &str, bytes: u64) -> io::Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        inner.begin(inner.faults.writes)?;
        let file = inner.find(name)?;
        inner.file(file).write(Write::Cut(bytes as usize));
        Ok(())
    }

    fn rewrite(&self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        let file = inner.find(name)?;
        inner.write(file, at as usize, bytes)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        inner.begin(inner.faults.writes)?;
        let file = inner.find(from)?;
        inner.change(Change::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        inner.begin(inner.faults.writes)?;
        inner.find(name)?;
        inner.change(Change::Unlink(name.to_owned()));
        Ok(())
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        let file = inner.find(name)?;
        inner.sync(file)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.borrow_mut().sync_folder()
    }
}
