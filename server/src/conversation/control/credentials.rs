//! Who may publish: Basic, Bearer and JWT, as Pushpin's clients send them.
//!
//! Invariant: how long an answer takes doesn't tell how much of a secret was right.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fantail_engine::grip::{KeyError, KeyText, TokenError, Verifier};
use subtle::ConstantTimeEq;

use crate::config::{Credentials, Secret, TokenKey};

/// What stands before the listener: one of its proofs is enough.
#[derive(Clone)]
pub(crate) struct Gate {
    basic: Option<Secret>,
    bearer: Option<Secret>,
    verifier: Option<Verifier>,
}

impl std::fmt::Debug for Gate {
    /// Never shows a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    /// The gate that these credentials open; none if nobody is asked for any.
    ///
    /// # Errors
    /// A key that can't verify.
    pub(crate) fn of(credentials: &Credentials) -> Result<Option<Gate>, KeyError> {
        if credentials.is_empty() {
            return Ok(None);
        }
        let verify = |token: &TokenKey| Verifier::new(token.issuer.as_deref(), &KeyText::of(token.key.reveal()));
        let verifier = credentials.token.as_ref().map(verify);
        let (basic, bearer) = (credentials.basic.clone(), credentials.bearer.clone());
        Ok(Some(Gate { basic, bearer, verifier: verifier.transpose()? }))
    }

    /// Lets those in whose `Authorization` proves that they may, at `now` in seconds of Unix.
    pub(super) fn admit(&self, authorization: Option<&[u8]>, now_seconds: u64) -> Result<(), Denied> {
        let denied = |was_given| Denied {
            takes_basic: self.basic.is_some(),
            takes_bearer: self.bearer.is_some() || self.verifier.is_some(),
            was_given,
        };
        let authorization = authorization.ok_or(denied(false))?;
        let (scheme, proof) = authorization.split_at(authorization.iter().position(|byte| *byte == b' ').unwrap_or(0));
        let proof = proof.trim_ascii();
        let is_right = if scheme.eq_ignore_ascii_case(b"Basic") {
            // Under Python 3, pubcontrol sends base64 as Python prints bytes.
            let printed = proof.strip_prefix(b"b'").and_then(|proof| proof.strip_suffix(b"'"));
            let given = STANDARD.decode(printed.unwrap_or(proof)).unwrap_or_default();
            self.basic.as_ref().is_some_and(|basic| is_same(basic.reveal(), &given))
        } else if scheme.eq_ignore_ascii_case(b"Bearer") {
            let is_token = self.bearer.as_ref().is_some_and(|bearer| is_same(bearer.reveal(), proof));
            is_token || self.is_signed(proof, now_seconds)
        } else {
            false
        };
        is_right.then_some(()).ok_or(denied(true))
    }

    fn is_signed(&self, token: &[u8], now_seconds: u64) -> bool {
        let (Some(verifier), Ok(token)) = (&self.verifier, std::str::from_utf8(token)) else { return false };
        match verifier.verify(token, now_seconds) {
            Ok(()) => true,
            Err(
                error @ (TokenError::Malformed
                | TokenError::Signature
                | TokenError::Issuer
                | TokenError::Expired
                | TokenError::Early),
            ) => {
                tracing::debug!(%error, "a publisher's token isn't accepted");
                false
            }
        }
    }
}

/// Compares in a time that depends on the lengths alone.
fn is_same(secret: &[u8], given: &[u8]) -> bool {
    secret.ct_eq(given).into()
}

/// Somebody who isn't let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Denied {
    takes_basic: bool,
    takes_bearer: bool,
    /// Whether there was something that wasn't right.
    was_given: bool,
}

impl Denied {
    /// The values of `WWW-Authenticate` (RFC 9110, section 11.6.1; RFC 6750, section 3).
    pub(super) fn challenges(&self) -> impl Iterator<Item = &'static str> {
        let basic = self.takes_basic.then_some("Basic realm=\"control\", charset=\"UTF-8\"");
        let bearer = self.takes_bearer.then_some(match self.was_given {
            true => "Bearer realm=\"control\", error=\"invalid_token\"",
            false => "Bearer realm=\"control\"",
        });
        basic.into_iter().chain(bearer)
    }
}
