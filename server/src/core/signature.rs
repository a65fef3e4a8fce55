//! How origins know that a request comes through this server: `Grip-Sig`, signed anew every few minutes.

use std::cell::RefCell;

use fantail_engine::grip::{FEATURES, KeyError, KeyText, Signer};

use super::{Core, clock};
use crate::config::Grip;
use crate::limits::SIGNATURE_SECONDS;

/// What signs, and what it has signed last.
pub(super) struct Signature {
    signer: Option<Signer>,
    /// When, in seconds since 1970, and the token.
    signed: RefCell<(u64, String)>,
}

impl Signature {
    pub(super) fn new(signer: Option<Signer>) -> Signature {
        Signature { signer, signed: RefCell::default() }
    }
}

/// What signs what is asked of origins, as the options say.
///
/// # Errors
/// The key can't sign.
pub(crate) fn signer(grip: &Grip) -> Result<Option<Signer>, KeyError> {
    let Some(key) = &grip.key else { return Ok(None) };
    Signer::new(&grip.issuer, &KeyText::of(key.reveal())).map(Some)
}

impl Core {
    /// Appends what tells an origin that a request comes through this server, and what it may ask for.
    pub(crate) fn write_signature(&self, head: &mut Vec<u8>) {
        if let Some(signer) = &self.signature.signer {
            let now = clock::unix_ms() / 1000;
            let mut signed = self.signature.signed.borrow_mut();
            if signed.1.is_empty() || now.abs_diff(signed.0) >= SIGNATURE_SECONDS {
                *signed = (now, signer.token(now).expect("a key that was tried can sign"));
            }
            line(head, "Grip-Sig", &signed.1);
        }
        line(head, "Grip-Feature", FEATURES);
    }
}

fn line(head: &mut Vec<u8>, name: &str, value: &str) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value.as_bytes());
    head.extend_from_slice(b"\r\n");
}
