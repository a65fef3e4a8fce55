//! Where the origin is asked next: `Grip-Link: <uri>; rel=next; timeout=120` and `<uri>; rel=gone`, a subset of RFC 8288.
//!
//! Links are resolved as browsers do (the URL standard of WHATWG, which takes any reference of RFC 3986), against the URI
//! of the response that they came with.

use std::time::Duration;

use url::Url;

use super::parameter::{Parameters, trim};
use crate::limits::{GRIP_SECONDS_MAX, LINK_BYTES_MAX, LINK_SECONDS_DEFAULT, LINK_SECONDS_MIN};

/// A reference to a URI, as the origin wrote it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Link {
    reference: Box<str>,
}

/// Where the stream goes on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Next {
    /// The link to ask.
    pub link: Link,
    /// After how long without an item it is asked again; [`LINK_SECONDS_MIN`] at least.
    pub timeout: Duration,
}

impl Link {
    /// The reference as the origin wrote it.
    #[must_use]
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The absolute URI, without a fragment.
    ///
    /// # Errors
    /// `current` isn't absolute, the reference can't be resolved, the scheme isn't `http` or `https`, or the result is
    /// longer than [`LINK_BYTES_MAX`].
    pub fn resolve(&self, current: &str) -> Result<String, LinkError> {
        let base = Url::parse(current).map_err(|_| LinkError::Base)?;
        let mut uri = base.join(&self.reference).map_err(|_| LinkError::Reference)?;
        uri.set_fragment(None);
        match uri.scheme() {
            "http" | "https" if uri.as_str().len() <= LINK_BYTES_MAX => Ok(uri.into()),
            "http" | "https" => Err(LinkError::Long),
            _ => Err(LinkError::Scheme),
        }
    }

    fn new(reference: &str) -> Result<Link, LinkError> {
        let link = Link { reference: reference.into() };
        link.resolve("http://localhost/")?;
        Ok(link)
    }
}

/// The links of a response.
#[derive(Default)]
pub(super) struct Links {
    pub(super) next: Option<Next>,
    pub(super) gone: Option<Link>,
}

impl Links {
    /// Takes the links of one field's value; of two with the same relation the last one counts, and other relations mean
    /// nothing.
    pub(super) fn read(&mut self, value: &str) -> Result<(), LinkError> {
        let mut rest = trim(value);
        while !rest.is_empty() {
            let (reference, after) =
                rest.strip_prefix('<').and_then(|rest| rest.split_once('>')).ok_or(LinkError::Syntax)?;
            let end = element_end(after);
            let parameters = Parameters::read(&after[..end]).ok_or(LinkError::Syntax)?;
            if reference.is_empty() || !parameters.head.is_empty() {
                return Err(LinkError::Syntax);
            }
            self.take(Link::new(reference)?, &parameters)?;
            rest = after[end..].trim_start_matches([' ', '\t', ',']);
        }
        Ok(())
    }

    fn take(&mut self, link: Link, parameters: &Parameters<'_>) -> Result<(), LinkError> {
        for relation in parameters.value("rel").unwrap_or("").split_ascii_whitespace() {
            match relation.to_ascii_lowercase().as_str() {
                "next" => {
                    let timeout = timeout(parameters.value("timeout"))?;
                    self.next = Some(Next { link: link.clone(), timeout });
                }
                "gone" => self.gone = Some(link.clone()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Where the element that begins the value ends: at a comma outside of quoted strings.
fn element_end(value: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    let end = value.bytes().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => return byte == b',' && !quoted,
        }
        false
    });
    end.unwrap_or(value.len())
}

fn timeout(value: Option<&str>) -> Result<Duration, LinkError> {
    let seconds = match value {
        None => LINK_SECONDS_DEFAULT,
        Some(text) => match text.parse::<i32>() {
            Err(_) => return Err(LinkError::Timeout),
            Ok(seconds) => u64::try_from(seconds).map_err(|_| LinkError::Negative)?,
        },
    };
    Ok(Duration::from_secs(seconds.clamp(LINK_SECONDS_MIN, GRIP_SECONDS_MAX)))
}

/// Why a link is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Not a reference in angle brackets and parameters.
    #[error("failed to parse Grip-Link value")]
    Syntax,
    /// A reference that can't be resolved.
    #[error("Grip-Link contains invalid link")]
    Reference,
    /// Neither `http` nor `https`.
    #[error("Grip-Link contains a link that isn't of http or https")]
    Scheme,
    /// Longer than [`LINK_BYTES_MAX`].
    #[error("Grip-Link contains a link of more than {LINK_BYTES_MAX} bytes")]
    Long,
    /// A timeout that isn't a number.
    #[error("failed to parse Grip-Link timeout value")]
    Timeout,
    /// A timeout below zero.
    #[error("Grip-Link timeout has invalid value")]
    Negative,
    /// What it is relative to isn't an absolute URI.
    #[error("the URI that a link is relative to isn't absolute")]
    Base,
}
