//! Where origins are and how they are asked.
//!
//! Refused are URLs with a path, a query or a user: requests go on with the path that they came with.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::rules::FieldRules;
use crate::limits::{CONNECT_TIME, HEALTH_INTERVAL, ORIGIN_IDLE_TIME, RESPONSE_TIME};

/// The origins of one route, any of which may answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Origins {
    /// Where they are: at least one.
    pub addresses: Vec<OriginAddress>,
    /// How long they are waited for.
    pub timeouts: Timeouts,
    /// What becomes of the fields of requests.
    pub request_headers: FieldRules,
    /// What becomes of the fields of responses.
    pub response_headers: FieldRules,
    /// How they are asked whether they are well; none if only requests tell.
    pub health: Option<Health>,
    /// Whether what they serve can be followed.
    pub follow: Follow,
}

/// Whether what origins serve can be followed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Follow {
    /// As they say.
    #[default]
    Off,
    /// By us: what passes through becomes events.
    Auto,
}

/// Where an origin is.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum OriginAddress {
    /// `http://host:port`
    Http(Authority),
    /// `https://host:port`
    Https(Authority),
    /// `unix:/path`: HTTP over a Unix socket.
    Unix(PathBuf),
}

/// A host and a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Authority {
    /// A name or an address, one of IPv6 without its brackets.
    pub host: String,
    /// The port, also if the URL has none.
    pub port: u16,
}

impl FromStr for OriginAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<OriginAddress, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path.starts_with('/') {
                true => Ok(OriginAddress::Unix(path.into())),
                false => Err(AddressError::Relative),
            };
        }
        match text.split_once("://") {
            Some(("http", rest)) => Authority::parse(rest, 80).map(OriginAddress::Http),
            Some(("https", rest)) => Authority::parse(rest, 443).map(OriginAddress::Https),
            _ => Err(AddressError::Scheme),
        }
    }
}

impl Authority {
    fn parse(text: &str, port: u16) -> Result<Authority, AddressError> {
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.contains(['/', '?', '#', '@']) {
            return Err(AddressError::More);
        }
        let (host, port) = match text.rsplit_once(':') {
            // A colon of an address of IPv6, in whose brackets it is.
            Some((_, rest)) if rest.ends_with(']') => (text, port),
            Some((host, port)) => (host, port.parse().map_err(|_| AddressError::Port)?),
            None => (text, port),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_named = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        match bare {
            Some(bare) if bare.parse::<std::net::Ipv6Addr>().is_ok() => Ok(Authority { host: bare.to_owned(), port }),
            None if is_named && !host.is_empty() => Ok(Authority { host: host.to_owned(), port }),
            Some(_) | None => Err(AddressError::Host),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for OriginAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OriginAddress::Http(authority) => write!(f, "http://{authority}"),
            OriginAddress::Https(authority) => write!(f, "https://{authority}"),
            OriginAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl TryFrom<String> for OriginAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<OriginAddress, AddressError> {
        text.parse()
    }
}

impl Serialize for OriginAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why an origin's address is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressError {
    /// It is something else than a URL of HTTP or a Unix socket.
    #[error("an origin is http://HOST:PORT, https://HOST:PORT or unix:/PATH")]
    Scheme,
    /// The host is neither a name nor an address.
    #[error("the origin's host is neither a name nor an address")]
    Host,
    /// The port is no number up to 65,535.
    #[error("the origin's port is no number up to 65535")]
    Port,
    /// There is a path, a query or a user.
    #[error(
        "an origin's URL ends after its port: requests keep their paths, and credentials belong in request-headers"
    )]
    More,
    /// The path of a Unix socket isn't absolute.
    #[error("the path of an origin's Unix socket begins with /")]
    Relative,
}

/// How long an origin is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For a connection, TLS included.
    #[serde(deserialize_with = "duration", serialize_with = "show_duration")]
    pub connect: Duration,
    /// From the end of the request to the head of the response.
    #[serde(deserialize_with = "duration", serialize_with = "show_duration")]
    pub response: Duration,
    /// Between two pieces of a body or of an upgraded connection.
    #[serde(deserialize_with = "duration", serialize_with = "show_duration")]
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts { connect: CONNECT_TIME, response: RESPONSE_TIME, idle: ORIGIN_IDLE_TIME }
    }
}

/// How origins are asked whether they are well: by a GET that is to be answered with a status below 400.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The path, with a query if need be.
    #[serde(deserialize_with = "target")]
    pub path: String,
    /// From one question to the next.
    #[serde(default = "health_interval", deserialize_with = "duration", serialize_with = "show_duration")]
    pub interval: Duration,
}

fn health_interval() -> Duration {
    HEALTH_INTERVAL
}

fn target<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        true => Ok(text),
        false => Err(serde::de::Error::custom("a path begins with / and is percent-encoded")),
    }
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let wanted = "a time is wanted, such as 500ms or 30s";
    let text = String::deserialize(deserializer)?;
    let duration = humantime::parse_duration(&text)
        .map_err(|error| serde::de::Error::custom(format_args!("{wanted} ({error})")))?;
    match duration.is_zero() {
        true => Err(serde::de::Error::custom(format_args!("{wanted}, above zero"))),
        false => Ok(duration),
    }
}

fn show_duration<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_are_shown() {
        for (text, shown) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("http://origin/", "http://origin:80"),
            ("https://api.example.com", "https://api.example.com:443"),
            ("https://[::1]", "https://[::1]:443"),
            ("http://[::1]:3000/", "http://[::1]:3000"),
            ("unix:/run/api.sock", "unix:/run/api.sock"),
            ("unix:///run/api.sock", "unix:/run/api.sock"),
        ] {
            let address: OriginAddress = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address));
        }
        for (text, error) in [
            ("127.0.0.1:3000", AddressError::Scheme),
            ("ftp://x", AddressError::Scheme),
            ("http://", AddressError::Host),
            ("http://a b", AddressError::Host),
            ("http://[::1", AddressError::Host),
            ("http://[x]:1", AddressError::Host),
            ("http://x:99999", AddressError::Port),
            ("http://x/api", AddressError::More),
            ("http://u:p@x", AddressError::More),
            ("unix:api.sock", AddressError::Relative),
        ] {
            assert_eq!(text.parse::<OriginAddress>(), Err(error), "{text}");
        }
    }
}
