//! Where to connect and what to ask for. Followers of the swarm speak plain `http` only, since it measures the server, not its
//! TLS; whoever asks and awaits an answer speaks `https` too.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::Failure;

/// A URL, resolved.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// How it is spoken to.
    pub(crate) scheme: Scheme,
    /// Host and port as the URL has them: the `Host` field.
    pub(crate) authority: String,
    /// The first address that the host resolves to.
    pub(crate) address: SocketAddr,
    /// Path and query.
    pub(crate) path: String,
    /// Fields that each request has, a line each.
    pub(crate) fields: String,
}

/// How a target is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Target {
    /// Reads `http://host[:port]/path[?query]`, or `https`, and resolves the host.
    pub(crate) fn resolve(url: &str) -> Result<Target, Failure> {
        let usage = |why: &str| Failure::Usage(format!("{url}: {why}"));
        let (scheme, port, rest) = match url.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, 80, rest),
            Some(("https", rest)) => (Scheme::Https, 443, rest),
            _ => return Err(usage("not an http:// or https:// URL")),
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) if rest[at..].starts_with('/') => rest.split_at(at),
            _ => return Err(usage("a path is needed")),
        };
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let named = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
        let address = named
            .to_socket_addrs()
            .map_err(|error| Failure::Unreachable(format!("{named}: {error}")))?
            .next()
            .ok_or_else(|| Failure::Unreachable(format!("{named}: no address")))?;
        let (authority, path) = (authority.to_owned(), path.to_owned());
        Ok(Target { scheme, authority, address, path, fields: String::new() })
    }

    /// The same with these fields in each request, each `NAME:VALUE`.
    pub(crate) fn with(mut self, fields: &[String]) -> Result<Target, Failure> {
        for field in fields {
            let (name, value) = self::field(field)?;
            self.fields.push_str(&format!("{name}: {value}\r\n"));
        }
        Ok(self)
    }

    /// The host's name, without the port.
    pub(crate) fn host(&self) -> &str {
        let end = self.authority.rfind(':').filter(|&at| !self.authority[at..].contains(']'));
        self.authority[..end.unwrap_or(self.authority.len())].trim_matches(['[', ']'])
    }

    /// `count` addresses, counted upwards from the target's own. More than one only on 127.0.0.0/8.
    pub(crate) fn addresses(&self, count: u32) -> Result<Vec<SocketAddr>, Failure> {
        match self.address.ip() {
            IpAddr::V4(first) if first.is_loopback() && count > 0 && count < 1 << 16 => Ok((0..count)
                .map(|offset| {
                    SocketAddr::new(Ipv4Addr::from_bits(first.to_bits() + offset).into(), self.address.port())
                })
                .collect()),
            _ if count == 1 => Ok(vec![self.address]),
            _ => Err(Failure::Usage("--spread needs a URL on 127.0.0.0/8, and 1 to 65,535 addresses".to_owned())),
        }
    }

    /// The request of a follower of `path`.
    pub(crate) fn subscription(&self, path: &str, last_event_id: Option<&str>) -> Vec<u8> {
        let mut request =
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n{}", self.authority, self.fields)
                .into_bytes();
        if let Some(id) = last_event_id {
            request.extend_from_slice(format!("Last-Event-ID: {id}\r\n").as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request
    }
}

/// A URL or a path in whose query a parameter has another value.
pub(crate) fn with_parameter(url: &str, name: &str, value: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let others = query.split('&').filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(name));
    let others: String = others.map(|pair| format!("{pair}&")).collect();
    format!("{path}?{others}{name}={}", utf8_percent_encode(value, KEPT))
}

/// A field `NAME:VALUE`, in its parts.
///
/// # Errors
/// A name that is none, or a value that would end the line.
pub(crate) fn field(text: &str) -> Result<(&str, &str), Failure> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    match text.split_once(':').map(|(name, value)| (name, value.trim())) {
        Some((name, value)) if is_name(name) && !value.contains(|c: char| c.is_control()) => Ok((name, value)),
        _ => Err(Failure::Usage(format!("--header {text:?}: a field is NAME:VALUE, such as 'X-Tenant:7'"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_gets_another_value() {
        for (url, with) in [
            ("/m", "/m?offset=0_7%26"),
            ("/m?offset=-1&live=sse", "/m?live=sse&offset=0_7%26"),
            ("http://h/m?a&offset&b=2", "http://h/m?a&b=2&offset=0_7%26"),
        ] {
            assert_eq!(with_parameter(url, "offset", "0_7&"), with);
        }
    }

    #[test]
    fn a_url_falls_into_its_parts() {
        let target = Target::resolve("http://127.0.0.1:8080/messages?from=earliest").expect("a URL");
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("127.0.0.1:8080", "/messages?from=earliest"));
        assert_eq!(target.addresses(300).expect("loopback")[299].to_string(), "127.0.1.44:8080");
        assert_eq!(target.host(), "127.0.0.1");
        let other = Target::resolve("https://[::1]/m").expect("a URL");
        assert_eq!(
            (other.address.to_string().as_str(), other.scheme, other.host()),
            ("[::1]:443", Scheme::Https, "::1")
        );
        let fields = ["X-Tenant:7".to_owned(), "Authorization: Bearer a:b".to_owned()];
        let fields = other.with(&fields).expect("fields").fields;
        assert_eq!(fields, "X-Tenant: 7\r\nAuthorization: Bearer a:b\r\n");
        ["X", ":7", "X Y:7", "X:7\r\nY:8"].iter().for_each(|text| assert!(field(text).is_err(), "{text:?}"));
    }

    #[test]
    fn what_cannot_be_reached_is_refused() {
        for url in ["ftp://127.0.0.1/m", "127.0.0.1:8080/m", "http://127.0.0.1:8080", "http://127.0.0.1?x=/m"] {
            assert!(matches!(Target::resolve(url), Err(Failure::Usage(_))), "{url}");
        }
        let elsewhere = Target::resolve("http://192.0.2.1/m").expect("a URL");
        assert!(elsewhere.addresses(1).is_ok() && elsewhere.addresses(2).is_err());
    }
}
