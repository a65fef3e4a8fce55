//! `fantail serve`, which is also `fantail` alone: the server, until it is asked to stop.

use std::io::{self, Write};

use anyhow::Context;

use crate::config::{Options, Route, Routes, Target};
use crate::server;

/// Runs the server.
///
/// # Errors
/// If it can't start, or a core of it failed.
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let server = server::start(options).context("the server can't start")?;
    let url = format!("http://{}", server.address());
    let banner = format!(
        "Fantail {} listens on {url} and keeps its data in {}\n\n{}{}{}{}\n",
        env!("CARGO_PKG_VERSION"),
        server.data().display(),
        store(&options.routes, &url),
        options.routes.all().iter().filter_map(passes).collect::<String>(),
        server.admin().map_or(String::new(), |address| format!("  admin:   http://{address}/\n")),
        server.control().map_or(String::new(), |address| format!("  publish: http://{address}/publish\n")),
    );
    // Whoever started us may have stopped reading; the server is none the worse for it.
    if let Err(error) = io::stdout().write_all(banner.as_bytes()) {
        tracing::debug!(%error, "nobody reads the standard output");
    }
    server.wait()
}

/// How to try what the store serves, unless all goes to origins.
fn store(routes: &Routes, url: &str) -> String {
    match routes.find(None, "/messages").map(|route| &routes.all()[route].target) {
        None | Some(Target::Embedded) => format!(
            "  follow:  curl -N -X SUBSCRIBE {url}/messages\n  \
             post:    curl --json '{{\"text\":\"hi\"}}' {url}/messages\n  \
             look:    {url}/-/\n"
        ),
        Some(Target::Origins(_)) => String::new(),
    }
}

/// What a route passes on, if anything.
fn passes(route: &Route) -> Option<String> {
    let Target::Origins(origins) = &route.target else { return None };
    let addresses: Vec<_> = origins.addresses.iter().map(ToString::to_string).collect();
    let host = route.host.as_deref().unwrap_or_default();
    Some(format!("  passes:  {host}{} to {}\n", route.path, addresses.join(", ")))
}
