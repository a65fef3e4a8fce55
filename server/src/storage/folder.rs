//! The data folder and the folders of streams in it: locked, named, made durable.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read, Write};
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;

use fantail_engine::log::audit::Ending;
use fantail_engine::log::folder::Folder;
use fantail_engine::log::manifest::{self, Manifest};
use memmap2::Mmap;

/// The file that says who uses the folder. No stream's folder is called so: an `@` is encoded there.
const LOCK: &str = "@lock";
/// What the folder of a stream that was deleted is called until it is removed.
pub(super) const DELETED: &str = "@deleted-";
/// The file that says that a backup or a restore into the folder has begun and not ended.
const PARTIAL: &str = "@partial";
/// What a file is called until it is whole.
const UNFINISHED: &str = "unfinished";

/// Why a data folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The system refuses.
    #[error("{}: {error}", path.display())]
    Io {
        /// What was to be used.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A server holds the lock.
    #[error("{} is in use by another server, process {pid}", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process that holds it.
        pid: String,
    },
    /// A backup or a restore into it was broken off.
    #[error("{}: a backup or a restore into it didn't end, so streams may be missing; remove the folder", .0.display())]
    Partial(PathBuf),
}

/// The data folder, locked for this process until it is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder if it is missing, and locks it.
    ///
    /// # Errors
    /// If another server uses it, a restore into it didn't end, or the system refuses.
    pub fn open(path: &Path) -> Result<DataFolder, FolderError> {
        let failed = |error| FolderError::Io { path: path.into(), error };
        fs::create_dir_all(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path.join(LOCK));
        let mut lock = options.map_err(failed)?;
        // SAFETY: a plain system call on a descriptor that is open.
        if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(failed(error));
            }
            let mut pid = String::new();
            lock.read_to_string(&mut pid).map_err(failed)?;
            return Err(FolderError::InUse { path, pid: pid.trim().to_owned() });
        }
        if is_partial(&path) {
            return Err(FolderError::Partial(path));
        }
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(failed)?;
        Ok(DataFolder { path, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The process of the server that uses a data folder, or none. Nothing is kept locked.
///
/// A server that starts in the same instant may be told that the folder is in use.
///
/// # Errors
/// What the system says.
pub fn server(data: &Path) -> io::Result<Option<String>> {
    let mut lock = match File::open(data.join(LOCK)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            lock.read_to_string(&mut pid)?;
            Ok(Some(pid.trim().to_owned()))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether the logs of a data folder may be appended to: whether a server uses it.
///
/// # Errors
/// As [`server`].
pub fn ending(data: &Path) -> io::Result<Ending> {
    Ok(match server(data)? {
        Some(_) => Ending::Growing,
        None => Ending::Settled,
    })
}

/// Whether there is nothing in a folder but the lock.
///
/// # Errors
/// What the system says.
pub fn is_empty(path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        if entry?.file_name() != LOCK {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a backup or a restore into the folder has begun and not ended.
#[must_use]
pub fn is_partial(path: &Path) -> bool {
    path.join(PARTIAL).exists()
}

/// Notes, durably, that a backup or a restore into the folder begins.
///
/// # Errors
/// What the system says.
pub fn begin(path: &Path) -> io::Result<()> {
    File::create_new(path.join(PARTIAL))?.sync_all()?;
    sync(path)
}

/// Notes, durably, that it has ended: all that is in the folder is durable before.
///
/// # Errors
/// What the system says.
pub fn end(path: &Path) -> io::Result<()> {
    sync(path)?;
    fs::remove_file(path.join(PARTIAL))?;
    sync(path)
}

/// Copies a file, as long as it is now, into one that isn't there yet, durably but for its name; returns how many bytes that
/// were. The kernel copies, or the file system shares them, where it can.
///
/// # Errors
/// What the system says.
pub fn copy(from: &Path, to: &Path) -> io::Result<u64> {
    let source = File::open(from)?;
    let length = source.metadata()?.len();
    let mut target = File::create_new(to)?;
    let copied = io::copy(&mut source.take(length), &mut target)?;
    target.sync_all()?;
    Ok(copied)
}

/// Writes a stream's manifest so that a crash leaves the old one or the new one.
///
/// # Errors
/// What the system says.
pub fn write_manifest(folder: &Path, manifest: &Manifest) -> io::Result<()> {
    replace(folder, manifest::FILE, |file| file.write_all(&manifest.encode()))
}

/// Puts a whole file in the place of `name`, durably: written beside it, synced, renamed, and the folder synced.
///
/// # Errors
/// What the system says; `name` is then as it was.
pub fn replace(folder: &Path, name: &str, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let unfinished = folder.join(format!("{name}.{UNFINISHED}"));
    let mut file = File::create(&unfinished)?;
    fill(&mut file)?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(name))?;
    sync(folder)
}

/// Makes durable what was created, renamed or removed in a folder.
///
/// # Errors
/// What the system says.
pub fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A stream's folder on disk.
pub struct Directory<'p> {
    path: &'p Path,
}

impl<'p> Directory<'p> {
    /// The folder at `path`.
    #[must_use]
    pub fn new(path: &'p Path) -> Directory<'p> {
        Directory { path }
    }

    fn open(&self, name: &str) -> io::Result<File> {
        File::open(self.path.join(name))
    }
}

/// A file as memory.
pub struct Mapped {
    /// None for an empty file, which can't be mapped.
    map: Option<Mmap>,
}

impl Mapped {
    /// Maps a file that is neither written nor shortened as long as the map is there, but only replaced or removed.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(file: &File) -> io::Result<Mapped> {
        if file.metadata()?.len() == 0 {
            return Ok(Mapped { map: None });
        }
        // SAFETY: the data folder is locked, so only the server changes its files; and this one is neither written nor shortened,
        // as the caller answers for. (The commands that look at a server's folder map files that are only ever replaced.)
        let map = unsafe { Mmap::map(file) }?;
        Ok(Mapped { map: Some(map) })
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

/// A file that is written beside the cores, which may have no other CPU than this thread: after each piece they go first.
pub struct Patient(File);

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes);
        thread::yield_now();
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Folder for Directory<'_> {
    type Bytes = Mapped;
    type Writer = BufWriter<Patient>;

    fn make(&self) -> io::Result<()> {
        fs::create_dir_all(self.path)?;
        sync(self.path.parent().expect("a stream's folder lies in the data folder"))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(self.path)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        // None of ours is called anything but UTF-8.
        Ok(names.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn read(&self, name: &str) -> io::Result<Option<Mapped>> {
        match self.open(name) {
            Ok(file) => Mapped::new(&file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path.join(name))?.len())
    }

    fn create(&self, name: &str) -> io::Result<BufWriter<Patient>> {
        File::create(self.path.join(name)).map(Patient).map(BufWriter::new)
    }

    fn append(&self, name: &str) -> io::Result<BufWriter<Patient>> {
        let file = OpenOptions::new().append(true).create(true).open(self.path.join(name))?;
        Ok(BufWriter::new(Patient(file)))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        replace(self.path, name, |file| file.write_all(bytes))
    }

    fn shorten(&self, name: &str, bytes: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path.join(name))?.set_len(bytes)
    }

    fn rewrite(&self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path.join(name))?.write_all_at(bytes, at)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        self.open(name)?.sync_all()
    }

    fn sync(&self) -> io::Result<()> {
        sync(self.path)
    }
}
