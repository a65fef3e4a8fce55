//! What a request asks for: its target, reduced to path and query (RFC 9112, section 3.2).
//!
//! Refused are bytes other than visible ASCII, fragments, userinfo, schemes other than http, and authorities alone, which
//! are for proxies.

use super::{HeadError, Method};

/// Path and query of a target in origin, absolute or asterisk form (RFC 9112, section 3.2).
pub(super) fn split_target(method: Method, target: &str) -> Result<(&str, Option<&str>), HeadError> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(HeadError::Target);
    }
    if target == "*" && method == Method::Options {
        return Ok((target, None));
    }
    let origin = match target.starts_with('/') {
        true => target,
        false => origin_form(target).ok_or(HeadError::Target)?,
    };
    let (path, query) = match origin.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin, None),
    };
    Ok((if path.is_empty() { "/" } else { path }, query))
}

/// What follows scheme and authority of an absolute target; userinfo is refused (RFC 9110, section 4.2.4).
fn origin_form(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let (authority, origin) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    (is_http && !authority.is_empty() && is_authority(authority.as_bytes())).then_some(origin)
}

/// Whether `bytes` could be a host with a port: the letters of RFC 3986, section 3.2, without those of a userinfo.
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(byte))
}
