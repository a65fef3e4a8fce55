//! What the engine needs of the folder that a stream lies in. The server's is a directory; the simulator's can be torn.
//!
//! Names are those of files in the folder. What a call has done is durable only where it says so.

use std::io;
use std::ops::Deref;

/// The folder of one stream.
pub trait Folder {
    /// A file's bytes, as they were when it was read. Nobody shortens a file while its bytes are held.
    type Bytes: Deref<Target = [u8]>;

    /// A file that is written from where it ends; what was written is in it after a flush.
    type Writer: io::Write;

    /// Makes the folder itself, if it isn't there, durably.
    ///
    /// # Errors
    /// What the system says.
    fn make(&self) -> io::Result<()>;

    /// The names of all files.
    ///
    /// # Errors
    /// What the system says.
    fn names(&self) -> io::Result<Vec<String>>;

    /// The bytes of a file, or none if it isn't there.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, name: &str) -> io::Result<Option<Self::Bytes>>;

    /// The length of a file in bytes.
    ///
    /// # Errors
    /// What the system says; also if it isn't there.
    fn length(&self, name: &str) -> io::Result<u64>;

    /// Begins an empty file, in place of one that has the name.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, name: &str) -> io::Result<Self::Writer>;

    /// Opens a file to write on where it ends; it is made if it isn't there.
    ///
    /// # Errors
    /// What the system says.
    fn append(&self, name: &str) -> io::Result<Self::Writer>;

    /// Puts a whole file in the place of `name`, durably: written beside it as `<name>.unfinished`, synced, renamed, and the
    /// folder synced. After a crash the old file is there or the new one.
    ///
    /// # Errors
    /// What the system says; which of the two is there is unknown then.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Shortens a file to its first `bytes`.
    ///
    /// # Errors
    /// What the system says.
    fn shorten(&self, name: &str, bytes: u64) -> io::Result<()>;

    /// Writes bytes over those at this offset of a file.
    ///
    /// # Errors
    /// What the system says.
    fn rewrite(&self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Gives a file another name.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes a file's bytes durable.
    ///
    /// # Errors
    /// What the system says: what of the bytes is durable is unknown then, and a later success says nothing of them.
    fn sync_file(&self, name: &str) -> io::Result<()>;

    /// Makes durable which files there are.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&self) -> io::Result<()>;
}
