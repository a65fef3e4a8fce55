//! Where to connect and what to ask for. Plain `http` only: the harness measures the server, not its TLS.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use crate::Failure;

/// A URL, resolved.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Host and port as the URL has them: the `Host` field.
    pub(crate) authority: String,
    /// The first address that the host resolves to.
    pub(crate) address: SocketAddr,
    /// Path and query.
    pub(crate) path: String,
}

impl Target {
    /// Reads `http://host[:port]/path[?query]` and resolves the host.
    pub(crate) fn resolve(url: &str) -> Result<Target, Failure> {
        let usage = |why: &str| Failure::Usage(format!("{url}: {why}"));
        let rest = url.strip_prefix("http://").ok_or_else(|| usage("not an http:// URL"))?;
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) if rest[at..].starts_with('/') => rest.split_at(at),
            _ => return Err(usage("a path is needed")),
        };
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let named = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let address = named
            .to_socket_addrs()
            .map_err(|error| Failure::Unreachable(format!("{named}: {error}")))?
            .next()
            .ok_or_else(|| Failure::Unreachable(format!("{named}: no address")))?;
        Ok(Target { authority: authority.to_owned(), address, path: path.to_owned() })
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
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n", self.authority).into_bytes();
        if let Some(id) = last_event_id {
            request.extend_from_slice(format!("Last-Event-ID: {id}\r\n").as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_falls_into_its_parts() {
        let target = Target::resolve("http://127.0.0.1:8080/messages?from=earliest").expect("a URL");
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("127.0.0.1:8080", "/messages?from=earliest"));
        assert_eq!(target.addresses(300).expect("loopback")[299].to_string(), "127.0.1.44:8080");
        assert_eq!(Target::resolve("http://[::1]/m").expect("a URL").address.to_string(), "[::1]:80");
    }

    #[test]
    fn what_cannot_be_reached_is_refused() {
        for url in ["https://127.0.0.1/m", "127.0.0.1:8080/m", "http://127.0.0.1:8080", "http://127.0.0.1?x=/m"] {
            assert!(matches!(Target::resolve(url), Err(Failure::Usage(_))), "{url}");
        }
        let elsewhere = Target::resolve("http://192.0.2.1/m").expect("a URL");
        assert!(elsewhere.addresses(1).is_ok() && elsewhere.addresses(2).is_err());
    }
}
