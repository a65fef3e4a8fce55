//! The data folder and the folders of streams in it: locked, named, made durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use fantail_engine::log::manifest::Manifest;

/// The file that says who uses the folder. No stream's folder is called so: an `@` is encoded there.
const LOCK: &str = "@lock";
/// What the folder of a deleted stream is called until its files are removed, with a number behind it; as little a stream's.
pub(super) const DELETED: &str = "@deleted-";
/// The file of a stream's manifest.
const MANIFEST: &str = "manifest";
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
    /// If another server uses it, or the system refuses.
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
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(failed)?;
        Ok(DataFolder { path, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Writes a stream's manifest so that a crash leaves the old one or the new one.
///
/// # Errors
/// What the system says.
pub fn write_manifest(folder: &Path, manifest: &Manifest) -> io::Result<()> {
    replace(folder, MANIFEST, |file| file.write_all(&manifest.encode()))
}

/// The bytes of a stream's manifest, or none if it was never finished.
///
/// # Errors
/// What the system says.
pub fn read_manifest(folder: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(folder.join(MANIFEST)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
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
