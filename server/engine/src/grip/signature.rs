//! Tokens (JWT, RFC 7519): the edge signs what it sends to origins (`Grip-Sig`), publishers sign what they send to it.
//!
//! The algorithm is the key's, never the token's: HS256 for a secret, ES256 and RS256 for keys in PEM. Time is a parameter.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::limits::{TOKEN_BYTES_MAX, TOKEN_LEEWAY_SECONDS, TOKEN_SECONDS};

/// A key as a configuration gives it.
#[derive(Clone, PartialEq, Eq)]
pub enum KeyText {
    /// A secret.
    Secret(Vec<u8>),
    /// A private or a public key in PEM.
    Pem(Vec<u8>),
}

impl KeyText {
    /// Tells what these bytes are. PEM is known wherever it begins: a public key that was taken for a secret would be one that
    /// everybody knows.
    #[must_use]
    pub fn of(bytes: &[u8]) -> KeyText {
        match memchr::memmem::find(bytes, b"-----BEGIN ") {
            Some(start) => KeyText::Pem(bytes[start..].to_vec()),
            None => KeyText::Secret(bytes.to_vec()),
        }
    }
}

impl std::fmt::Debug for KeyText {
    /// Never shows a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            KeyText::Secret(_) => "KeyText::Secret",
            KeyText::Pem(_) => "KeyText::Pem",
        })
    }
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
    /// PEM that is no private key of an elliptic curve (P-256) or of RSA.
    pub fn new(issuer: &str, key: &KeyText) -> Result<Signer, KeyError> {
        let (algorithm, key) = match key {
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
    /// PEM that is no public key of an elliptic curve (P-256) or of RSA.
    pub fn new(issuer: Option<&str>, key: &KeyText) -> Result<Verifier, KeyError> {
        let (algorithm, key) = match key {
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
    /// PEM that isn't the key that is needed.
    #[error("a key in PEM is neither of an elliptic curve (P-256) nor of RSA, or can't do what it is for")]
    Pem,
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
    use super::super::member::decode_base64;
    use super::*;
    use proptest::prelude::*;

    const EC: &[u8] = include_bytes!("../../../../fixtures/grip/keys/ec.pem");
    const EC_PUBLIC: &[u8] = include_bytes!("../../../../fixtures/grip/keys/ec-public.pem");
    const RSA: &[u8] = include_bytes!("../../../../fixtures/grip/keys/rsa.pem");
    const RSA_PUBLIC: &[u8] = include_bytes!("../../../../fixtures/grip/keys/rsa-public.pem");

    const NOW: u64 = 1_800_000_000;

    fn key(secret: &str) -> KeyText {
        KeyText::Secret(secret.as_bytes().to_vec())
    }

    #[test]
    fn pem_is_known_wherever_it_begins() {
        for before in [&b""[..], b"\n", b"\xef\xbb\xbf", b"Bag Attributes\n    friendlyName: x\n"] {
            assert_eq!(KeyText::of(&[before, EC_PUBLIC].concat()), KeyText::Pem(EC_PUBLIC.to_vec()));
        }
        for secret in ["changeme", "-----BEGIN", "BEGIN PUBLIC KEY"] {
            assert_eq!(KeyText::of(secret.as_bytes()), key(secret));
        }
        assert_eq!(format!("{:?}", key("changeme")), "KeyText::Secret");
    }

    #[test]
    fn what_a_key_signs_its_public_key_verifies() {
        for (private, public, algorithm) in [
            (key("changeme"), key("changeme"), r#""alg":"HS256""#),
            (KeyText::of(EC), KeyText::of(EC_PUBLIC), r#""alg":"ES256""#),
            (KeyText::of(RSA), KeyText::of(RSA_PUBLIC), r#""alg":"RS256""#),
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
        let token = Signer::new("realm", &key("changeme")).expect("a signer").token(NOW);
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
        for bad in [KeyText::of(EC_PUBLIC), KeyText::of(RSA_PUBLIC), KeyText::of(b"-----BEGIN NOTHING-----")] {
            assert!(Signer::new("a", &bad).is_err_and(|error| error == KeyError::Pem));
        }
        assert!(Verifier::new(None, &KeyText::of(b"-----BEGIN ")).is_err_and(|error| error == KeyError::Pem));
    }

    proptest! {
        #[test]
        fn no_token_panics(token in "[a-zA-Z0-9_.-]{0,80}|\\PC{0,40}", now: u64) {
            let verifier = Verifier::new(None, &key("changeme")).expect("a verifier");
            prop_assert!(verifier.verify(&token, now).is_err());
        }

        #[test]
        fn no_key_panics(bytes: Vec<u8>) {
            let _ = Verifier::new(None, &KeyText::of(&[b"-----BEGIN ", bytes.as_slice()].concat()));
            let _ = Verifier::new(None, &KeyText::of(&bytes));
        }
    }
}
