//! `fantail serve`, which is also `fantail` alone: the server, until it is asked to stop.

use std::io::{self, Write};

use anyhow::Context;

use crate::config::Options;
use crate::server;

/// Runs the server.
///
/// # Errors
/// If it can't start, or a core of it failed.
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let server = server::start(options).context("the server can't start")?;
    let (url, data) = (format!("http://{}", server.address()), server.data().display().to_string());
    let admin = server.admin().map_or(String::new(), |address| format!("  admin:   http://{address}/\n"));
    let control = server.control().map_or(String::new(), |address| format!("  publish: http://{address}/publish\n"));
    let banner = format!(
        "Fantail {version} listens on {url} and keeps its data in {data}\n\n  \
         follow:  curl -N -X SUBSCRIBE {url}/messages\n  \
         post:    curl --json '{{\"text\":\"hi\"}}' {url}/messages\n  \
         look:    {url}/-/\n{admin}{control}\n",
        version = env!("CARGO_PKG_VERSION"),
    );
    // Whoever started us may have stopped reading; the server is none the worse for it.
    if let Err(error) = io::stdout().write_all(banner.as_bytes()) {
        tracing::debug!(%error, "nobody reads the standard output");
    }
    server.wait()
}
