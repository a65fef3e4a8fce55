//! What a request asks for: its target, reduced to path and query (RFC 9112, section 3.2).
//!
//! Refused are bytes other than visible ASCII, fragments, userinfo, schemes other than http, and authorities alone, which
//! are for proxies.

use super::{HeadError, Method};

/// A target in origin, absolute or asterisk form (RFC 9112, section 3.2).
pub(super) struct Target<'t> {
    pub(super) path: &'t str,
    pub(super) query: Option<&'t str>,
    /// Scheme and authority of one in absolute form.
    site: Option<(&'t str, &'t str)>,
}

impl Target<'_> {
    /// Whether it is asked of this `Host`, as far as it says (RFC 9112, section 3.2.2): whoever else reads the request may go by the
    /// one or by the other.
    pub(super) fn is_of(&self, host: &[u8]) -> bool {
        let Some((scheme, authority)) = self.site else { return true };
        let host = str::from_utf8(host).unwrap_or_default();
        without_own_port(scheme, authority).eq_ignore_ascii_case(without_own_port(scheme, host))
    }
}

/// A host without a port that is the scheme's own, or empty.
#[must_use]
pub fn without_own_port<'h>(scheme: &str, host: &'h str) -> &'h str {
    let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    [port, ":"].iter().find_map(|port| host.strip_suffix(port)).unwrap_or(host)
}

/// A host without its port.
#[must_use]
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

/// The parts of a target.
pub(super) fn split_target(method: Method, target: &str) -> Result<Target<'_>, HeadError> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(HeadError::Target);
    }
    if target == "*" && method == Method::Options {
        return Ok(Target { path: target, query: None, site: None });
    }
    let (site, origin) = match target.starts_with('/') {
        true => (None, target),
        false => split_site(target).map(|(site, origin)| (Some(site), origin)).ok_or(HeadError::Target)?,
    };
    let (path, query) = match origin.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin, None),
    };
    Ok(Target { path: if path.is_empty() { "/" } else { path }, query, site })
}

/// Scheme and authority of an absolute target, and what follows them; userinfo is refused (RFC 9110, section 4.2.4).
fn split_site(target: &str) -> Option<((&str, &str), &str)> {
    let (scheme, rest) = target.split_once("://")?;
    let (authority, origin) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    (is_http && !authority.is_empty() && is_authority(authority.as_bytes())).then_some(((scheme, authority), origin))
}

/// Whether `bytes` could be a host with a port: the letters of RFC 3986, section 3.2, without those of a userinfo.
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(byte))
}
