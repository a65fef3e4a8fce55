//! Tokens (JWT, RFC 7519): the edge signs what it sends to origins (`Grip-Sig`), publishers sign what they send to it.
//!
//! The algorithm is the key's, never the token's: HS256 for a secret, ES256 and RS256 for keys in PEM. Time is a parameter.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::member::decode_base64;
use crate::limits::{TOKEN_BYTES_MAX, TOKEN_LEEWAY_SECONDS, TOKEN_SECONDS};

/// A key as a configuration gives it.
#[derive(Clone, PartialEq, Eq)]
pub enum KeyText {
    /// `file:path`: what the file holds is the key, see [`KeyText::of_file`].
    File(Box<str>),
    /// A secret: `base64:…`, or the text itself.
    Secret(Vec<u8>),
    /// A private or a public key in PEM, of a file only.
    Pem(Vec<u8>),
}

impl KeyText {
    /// Reads the text of a configuration.
    ///
    /// # Errors
    /// An empty key, or one that isn't base64 where it says so.
    pub fn read(text: &str) -> Result<KeyText, KeyError> {
        let key = match (text.strip_prefix("file:"), text.strip_prefix("base64:")) {
            (Some(path), _) => return Ok(KeyText::File(path.into())),
            (None, Some(encoded)) => decode_base64(encoded).ok_or(KeyError::Base64)?,
            (None, None) => text.as_bytes().to_vec(),
        };
        KeyText::secret(key)
    }

    /// Reads what the file of a key holds: PEM, or a secret in hexadecimal.
    ///
    /// # Errors
    /// An empty key, or neither form.
    pub fn of_file(bytes: &[u8]) -> Result<KeyText, KeyError> {
        if bytes.starts_with(b"-----BEGIN") {
            return Ok(KeyText::Pem(bytes.to_vec()));
        }
        let digits = bytes.trim_ascii();
        let pairs = digits.chunks(2).map(|pair| match pair {
            [high, low] => Some(16 * digit(*high)? + digit(*low)?),
            _ => None,
        });
        KeyText::secret(pairs.collect::<Option<_>>().ok_or(KeyError::File)?)
    }

    fn secret(key: Vec<u8>) -> Result<KeyText, KeyError> {
        match key.is_empty() {
            true => Err(KeyError::Empty),
            false => Ok(KeyText::Secret(key)),
        }
    }
}

impl std::fmt::Debug for KeyText {
    /// Never shows a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            KeyText::File(_) => "KeyText::File",
            KeyText::Secret(_) => "KeyText::Secret",
            KeyText::Pem(_) => "KeyText::Pem",
        })
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[derive(Serialize)]
struct Claims<'c> {
    iss: &'c str,
    exp: u64,
}

/// What signs requests to origins.
#[derive(Clone)]
pub struct Signer {
    issuer: Box<str>,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    /// Signs as `issuer`.
    ///
    /// # Errors
    /// A key that is still in a file, or that is no private key of an elliptic curve (P-256) or of RSA.
    pub fn new(issuer: &str, key: &KeyText) -> Result<Signer, KeyError> {
        let (algorithm, key) = match key {
            KeyText::File(_) => return Err(KeyError::Unread),
            KeyText::Secret(secret) => (Algorithm::HS256, EncodingKey::from_secret(secret)),
            KeyText::Pem(pem) => match (EncodingKey::from_ec_pem(pem), EncodingKey::from_rsa_pem(pem)) {
                (Ok(key), _) => (Algorithm::ES256, key),
                (Err(_), Ok(key)) => (Algorithm::RS256, key),
                (Err(_), Err(_)) => return Err(KeyError::Pem),
            },
        };
        let signer = Signer { issuer: issuer.into(), algorithm, key };
        signer.token(0)?;
        Ok(signer)
    }

    /// The value of `Grip-Sig`, valid for [`TOKEN_SECONDS`] from `now`, in seconds of Unix. It may be used again until then.
    ///
    /// # Errors
    /// The key can't sign: [`Signer::new`] has tried it.
    pub fn token(&self, now_seconds: u64) -> Result<String, KeyError> {
        let claims = Claims { iss: &self.issuer, exp: now_seconds.saturating_add(TOKEN_SECONDS) };
        jsonwebtoken::encode(&Header::new(self.algorithm), &claims, &self.key).map_err(|_| KeyError::Pem)
    }
}

/// What looks at the tokens of publishers.
#[derive(Clone)]
pub struct Verifier {
    validation: Validation,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Dates {
    exp: f64,
    nbf: Option<f64>,
}

impl Verifier {
    /// Accepts tokens that the key has signed, as `issuer` if there is one.
    ///
    /// # Errors
    /// A key that is still in a file, or that is no public key of an elliptic curve (P-256) or of RSA.
    pub fn new(issuer: Option<&str>, key: &KeyText) -> Result<Verifier, KeyError> {
        let (algorithm, key) = match key {
            KeyText::File(_) => return Err(KeyError::Unread),
            KeyText::Secret(secret) => (Algorithm::HS256, DecodingKey::from_secret(secret)),
            KeyText::Pem(pem) => match (DecodingKey::from_ec_pem(pem), DecodingKey::from_rsa_pem(pem)) {
                (Ok(key), _) => (Algorithm::ES256, key),
                (Err(_), Ok(key)) => (Algorithm::RS256, key),
                (Err(_), Err(_)) => return Err(KeyError::Pem),
            },
        };
        let mut validation = Validation::new(algorithm);
        // The crate would ask the clock; dates are compared below.
        (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
        validation.set_required_spec_claims(&["exp"]);
        if let Some(issuer) = issuer {
            validation.set_issuer(&[issuer]);
            validation.set_required_spec_claims(&["exp", "iss"]);
        }
        Ok(Verifier { validation, key })
    }

    /// Checks a token as it stands in `Authorization: Bearer …`, at `now` in seconds of Unix.
    ///
    /// # Errors
    /// Why the token isn't accepted.
    pub fn verify(&self, token: &str, now_seconds: u64) -> Result<(), TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let token = jsonwebtoken::decode::<Dates>(token, &self.key, &self.validation);
        let dates = token.map_err(|error| TokenError::of(error.kind()))?.claims;
        let (now, leeway) = (now_seconds as f64, TOKEN_LEEWAY_SECONDS as f64);
        match (now < dates.exp + leeway, dates.nbf.is_none_or(|begin| begin <= now + leeway)) {
            (false, _) => Err(TokenError::Expired),
            (true, false) => Err(TokenError::Early),
            (true, true) => Ok(()),
        }
    }
}

/// Why a key can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No key at all.
    #[error("a key is empty")]
    Empty,
    /// `base64:` with something else behind it.
    #[error("a key isn't base64")]
    Base64,
    /// A file with neither PEM nor hexadecimal digits.
    #[error("a key's file holds neither PEM nor hexadecimal digits")]
    File,
    /// PEM that isn't the key that is needed.
    #[error("a key in PEM is neither of an elliptic curve (P-256) nor of RSA, or can't do what it is for")]
    Pem,
    /// A key whose file wasn't read.
    #[error("a key is still in its file")]
    Unread,
}

/// Why a token isn't accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token, or without a date of expiry.
    #[error("the token is malformed")]
    Malformed,
    /// Signed otherwise, or by another key.
    #[error("the token's signature isn't valid")]
    Signature,
    /// Of another issuer.
    #[error("the token's issuer isn't the one expected")]
    Issuer,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time hasn't come.
    #[error("the token isn't valid yet")]
    Early,
}

impl TokenError {
    fn of(kind: &ErrorKind) -> TokenError {
        match kind {
            ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => TokenError::Signature,
            ErrorKind::InvalidIssuer => TokenError::Issuer,
            ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => TokenError::Issuer,
            _ => TokenError::Malformed,
        }
    }
}
