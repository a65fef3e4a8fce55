//! Keys and passwords, as Pushpin and its clients write them. Invariant: they are in no log and on no page.

use std::{fmt, fs, io};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Bytes that nobody is to see.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Reads `base64:` and what follows, `file:` and the path of a file that holds it (a line end at its end doesn't count), or
    /// the secret itself.
    ///
    /// # Errors
    /// If the text isn't Base64, or the file can't be read.
    pub fn read(text: &str) -> Result<Secret, SecretError> {
        let bytes = if let Some(encoded) = text.strip_prefix("base64:") {
            STANDARD.decode(encoded).map_err(|_| SecretError::Encoding)?
        } else if let Some(path) = text.strip_prefix("file:") {
            let mut bytes = fs::read(path).map_err(|error| SecretError::File { path: path.to_owned(), error })?;
            bytes.truncate(bytes.trim_ascii_end().len());
            bytes
        } else {
            text.as_bytes().to_vec()
        };
        match bytes.is_empty() {
            true => Err(SecretError::Empty),
            false => Ok(Secret(bytes.into())),
        }
    }

    /// The secret.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// What follows `base64:` isn't that.
    #[error("what follows base64: isn't Base64")]
    Encoding,
    /// The file can't be read.
    #[error("{path} can't be read: {error}")]
    File {
        /// As it was given.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// Everybody knows the empty one.
    #[error("it is empty")]
    Empty,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_and_never_shown() {
        let read = |text| Secret::read(text).map(|secret| secret.reveal().to_vec());
        assert_eq!(read("changeme").expect("itself"), b"changeme");
        assert_eq!(read("base64:AP8=").expect("bytes"), [0, 255]);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        fs::write(&path, "line\n").expect("a file");
        assert_eq!(read(&format!("file:{}", path.display())).expect("a file"), b"line");
        for refused in ["", "base64:", "base64:?", "file:/nowhere/at/all"] {
            assert!(Secret::read(refused).is_err(), "{refused}");
        }
        assert_eq!(format!("{:?}", Secret::read("changeme").expect("itself")), "Secret");
    }
}
