//! Whether a target is what it is said to be, found out with one follower before thousands come: each way in which it isn't has
//! a sentence that says what to do.

use std::io;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, SERVER};
use reqwest::{Client, Response};
use tokio::time::timeout;

use crate::Failure;
use crate::scenario::reason;

/// How long a connection may take, and an answer's head.
pub(crate) const REACH: Duration = Duration::from_secs(5);

/// What is said of a server that accepts a connection and never answers.
pub(crate) const SILENT: &str = "it accepts connections and sends nothing: is it stopped, or overloaded?";

/// Whether that is why a socket of std's has failed: it was told how long to wait.
pub(crate) fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// What the server said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Its name and version, if it says so.
    pub(crate) server: Option<String>,
}

/// Follows `url` for a moment.
///
/// # Errors
/// The sentence.
pub(crate) async fn follow(client: &Client, url: &str) -> Result<Reached, Failure> {
    let sent = timeout(REACH, client.get(url).header(ACCEPT, "text/event-stream").send()).await;
    let response = match sent {
        Err(_) => return unreachable(url, SILENT),
        Ok(Err(error)) => return unreachable(url, &refusal(url, &error)),
        Ok(Ok(response)) => response,
    };
    head(url, &response)?;
    let server = response.headers().get(SERVER).and_then(|name| name.to_str().ok()).map(str::to_owned);
    let mut response = response;
    match timeout(Duration::from_millis(200), response.chunk()).await {
        // A server may be silent until there is something to say.
        Err(_) | Ok(Ok(Some(_))) => Ok(Reached { server }),
        Ok(Ok(None)) => {
            unreachable(url, "it ends the event stream at once: is it full, or is there nothing to follow?")
        }
        Ok(Err(error)) => unreachable(url, &format!("it breaks the event stream off: {}", reason(&error))),
    }
}

fn unreachable<T>(url: &str, why: &str) -> Result<T, Failure> {
    Err(Failure::Unreachable(format!("{url}: {why}")))
}

/// Why there is no answer, in a sentence that says what to do.
pub(crate) fn refusal(url: &str, error: &reqwest::Error) -> String {
    let why = reason(error);
    if error.is_timeout() && !error.is_connect() {
        return SILENT.to_owned();
    }
    let is_tls = ["certificate", "UnknownIssuer", "InvalidCertificate"].iter().any(|word| why.contains(word));
    match (error.is_connect(), url.starts_with("https://")) {
        (_, true) if is_tls => format!("{why}: SSL_CERT_FILE names a file of certificates that are to be trusted"),
        (_, true) if why.contains("InvalidContentType") => "it speaks no TLS: try http://".to_owned(),
        (true, _) => format!("nobody answers: {why}"),
        (false, false) => {
            format!("it closes without an answer, or answers no HTTP ({why}); if it speaks TLS, try https://")
        }
        (false, true) => format!("it closes without an answer ({why})"),
    }
}

fn head(url: &str, response: &Response) -> Result<(), Failure> {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("none");
    match response.status().as_u16() {
        401 | 403 => unreachable(
            url,
            &format!("status {}: it wants to know who asks: --token or --header", response.status().as_u16()),
        ),
        200 if kind.starts_with("text/event-stream") => Ok(()),
        200 if kind.starts_with("text/html") => unreachable(
            url,
            "it answers HTML, no event stream: that is a page; name the URL of the stream, or a --target",
        ),
        200 => unreachable(url, &format!("it answers {kind}, no text/event-stream: see --target and --follow-url")),
        404 => unreachable(url, "status 404: nothing can be followed here; see --target and --follow-url"),
        status => unreachable(url, &format!("status {status} instead of an event stream")),
    }
}
