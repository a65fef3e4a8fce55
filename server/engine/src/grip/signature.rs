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

impl std::fmt::Debug for Signer {
    /// Never shows a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EC: &[u8] = include_bytes!("../../../../fixtures/grip/keys/ec.pem");
    const EC_PUBLIC: &[u8] = include_bytes!("../../../../fixtures/grip/keys/ec-public.pem");
    const RSA: &[u8] = include_bytes!("../../../../fixtures/grip/keys/rsa.pem");
    const RSA_PUBLIC: &[u8] = include_bytes!("../../../../fixtures/grip/keys/rsa-public.pem");

    const NOW: u64 = 1_800_000_000;

    fn key(text: &str) -> KeyText {
        KeyText::read(text).expect("a key")
    }

    fn pem(bytes: &[u8]) -> KeyText {
        KeyText::of_file(bytes).expect("a key")
    }

    #[test]
    fn keys_are_read_as_pushpin_reads_them() {
        assert_eq!(key("changeme"), KeyText::Secret(b"changeme".to_vec()));
        assert_eq!(key("base64:AAH/"), KeyText::Secret(vec![0, 1, 255]));
        assert_eq!(key("file:grip.pem"), KeyText::File("grip.pem".into()));
        assert_eq!(KeyText::of_file(b" 00fF\n"), Ok(KeyText::Secret(vec![0, 255])));
        assert_eq!(pem(EC), KeyText::Pem(EC.to_vec()));
        for (text, error) in [("", KeyError::Empty), ("base64:", KeyError::Empty), ("base64:?", KeyError::Base64)] {
            assert_eq!(KeyText::read(text), Err(error), "{text}");
        }
        for (bytes, error) in
            [(&b""[..], KeyError::Empty), (b"0", KeyError::File), (b"xy", KeyError::File), (b"\xff", KeyError::File)]
        {
            assert_eq!(KeyText::of_file(bytes), Err(error), "{bytes:?}");
        }
        assert_eq!(format!("{:?}", key("changeme")), "KeyText::Secret");
    }

    #[test]
    fn what_a_key_signs_its_public_key_verifies() {
        for (private, public, algorithm) in [
            (key("changeme"), key("changeme"), r#""alg":"HS256""#),
            (pem(EC), pem(EC_PUBLIC), r#""alg":"ES256""#),
            (pem(RSA), pem(RSA_PUBLIC), r#""alg":"RS256""#),
        ] {
            let token = Signer::new("pushpin", &private).expect("a signer").token(NOW).expect("a token");
            let header = token.split('.').next().and_then(decode_base64).expect("a header");
            assert!(String::from_utf8_lossy(&header).contains(algorithm));
            let verifier = |issuer| Verifier::new(issuer, &public).expect("a verifier");
            assert_eq!(verifier(Some("pushpin")).verify(&token, NOW), Ok(()));
            assert_eq!(verifier(None).verify(&token, NOW), Ok(()));
            assert_eq!(verifier(Some("other")).verify(&token, NOW), Err(TokenError::Issuer));
            let last = NOW + TOKEN_SECONDS + TOKEN_LEEWAY_SECONDS - 1;
            assert_eq!(verifier(None).verify(&token, last), Ok(()));
            assert_eq!(verifier(None).verify(&token, last + 1), Err(TokenError::Expired));
            let other = Verifier::new(None, &key("other")).expect("a verifier");
            assert_eq!(other.verify(&token, NOW), Err(TokenError::Signature));
            let (rest, signature) = token.rsplit_once('.').expect("a signature");
            let reversed = signature.chars().rev().collect::<String>();
            for other in [reversed.as_str(), "", "AAAA"] {
                assert!(verifier(None).verify(&format!("{rest}.{other}"), NOW).is_err(), "{other}");
            }
        }
    }

    #[test]
    fn a_secret_signs_as_it_always_did() {
        let token = Signer::new("realm", &key("base64:Y2hhbmdlbWU=")).expect("a signer").token(NOW);
        let written = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.";
        assert!(token.is_ok_and(|token| token.starts_with(written)));
    }

    #[test]
    fn claims_are_looked_at() {
        let verifier = Verifier::new(Some("a"), &key("changeme")).expect("a verifier");
        let verdict = |claims: serde_json::Value| {
            let key = EncodingKey::from_secret(b"changeme");
            verifier.verify(&jsonwebtoken::encode(&Header::default(), &claims, &key).expect("a token"), NOW)
        };
        let now = NOW as f64;
        for (claims, expected) in [
            (serde_json::json!({"iss": "a", "exp": NOW + 1, "aud": "x", "nbf": NOW}), Ok(())),
            (serde_json::json!({"iss": "a", "exp": now + 0.5}), Ok(())),
            (
                serde_json::json!({"iss": "a", "exp": NOW + 1, "nbf": NOW + TOKEN_LEEWAY_SECONDS + 1}),
                Err(TokenError::Early),
            ),
            (serde_json::json!({"iss": "a", "exp": NOW - TOKEN_LEEWAY_SECONDS}), Err(TokenError::Expired)),
            (serde_json::json!({"iss": "a"}), Err(TokenError::Malformed)),
            (serde_json::json!({"iss": "a", "exp": "soon"}), Err(TokenError::Malformed)),
            (serde_json::json!({"exp": NOW + 1}), Err(TokenError::Issuer)),
            (serde_json::json!({"iss": 1, "exp": NOW + 1}), Err(TokenError::Issuer)),
        ] {
            assert_eq!(verdict(claims.clone()), expected, "{claims}");
        }
        // No algorithm but the key's, and least of all none.
        let none = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJhIiwiZXhwIjo5OTk5OTk5OTk5fQ.";
        assert!(verifier.verify(none, NOW).is_err());
        assert_eq!(verifier.verify(&"a".repeat(TOKEN_BYTES_MAX + 1), NOW), Err(TokenError::Malformed));
    }

    #[test]
    fn keys_that_cannot_do_it_are_refused() {
        for bad in [pem(EC_PUBLIC), pem(RSA_PUBLIC), pem(b"-----BEGIN NOTHING-----")] {
            assert!(Signer::new("a", &bad).is_err_and(|error| error == KeyError::Pem));
        }
        assert!(Verifier::new(None, &pem(b"-----BEGIN")).is_err_and(|error| error == KeyError::Pem));
        assert!(Signer::new("a", &key("file:x")).is_err_and(|error| error == KeyError::Unread));
        assert!(Verifier::new(None, &key("file:x")).is_err_and(|error| error == KeyError::Unread));
    }

    proptest! {
        #[test]
        fn no_token_panics(token in "[a-zA-Z0-9_.-]{0,80}|\\PC{0,40}", now: u64) {
            let verifier = Verifier::new(None, &key("changeme")).expect("a verifier");
            prop_assert!(verifier.verify(&token, now).is_err());
        }

        #[test]
        fn no_key_panics(text in "(base64:|file:)?\\PC{0,40}", bytes: Vec<u8>) {
            let _ = KeyText::read(&text);
            let _ = KeyText::of_file(&[b"-----BEGIN", bytes.as_slice()].concat()).map(|key| Verifier::new(None, &key).is_ok());
            let _ = KeyText::of_file(&bytes);
        }
    }
}
