//! `fantail serve`, which is also `fantail` alone: the server, until it is asked to stop.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use fantail_engine::limits::{CHECKPOINT_LOG_BYTES_MIN, SEGMENT_BYTES};
use fantail_engine::log::manifest;
use fantail_engine::log::retention::Retention;
use fantail_engine::stream::journal::Policy;

use crate::audience;
use crate::server::{self, Admin, Options};

/// The least age of history: an eighth of it is what a segment may span.
const RETAIN_AGE_MIN: Duration = Duration::from_secs(1);

/// The arguments as they are typed.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS", value_parser = address)]
    listen: SocketAddr,

    /// Address and port that say how the server is, at /metrics, /streams and /config, to whoever can reach them; "off" for none.
    ///
    /// If another program listens on the default, 127.0.0.1:9090, the server goes on without.
    #[arg(long, value_name = "ADDRESS", value_parser = admin)]
    admin: Option<Admin>,

    /// Folder of the data; it is made if it is missing.
    #[arg(long, default_value = "fantail-data", value_name = "FOLDER")]
    data: PathBuf,

    /// Threads, each pinned to a CPU [default: one per CPU that this process may use].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    cores: Option<u16>,

    /// When a change is answered and shown: once it is on the medium, once the kernel has it, or at once.
    #[arg(long, value_enum, default_value = "sync")]
    durability: Durability,

    /// Mebibytes that all documents may take in memory; beyond, writes that grow them get 507.
    #[arg(long, default_value_t = 4096, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    memory: u32,

    /// Connections, followers included, shared out among the cores; beyond, followers are told to come back later and other
    /// requests get 503.
    #[arg(long, default_value_t = 4_000_000, value_name = "COUNT")]
    max_connections: usize,

    /// When it is noticed that a follower has gone: at once, or by the next frame or heartbeat, which saves a fifteenth of the
    /// kernel's memory per follower.
    #[arg(long, value_enum, default_value = "instant", value_name = "WHEN")]
    disconnect: Disconnect,

    /// Age up to which history is kept, such as 36h or 7d; "off" keeps it whatever its age.
    ///
    /// History goes in whole segments as soon as one of the three limits lets it go, and never before a checkpoint holds what it
    /// led to: documents stay.
    #[arg(long, default_value = "7d", value_name = "AGE", value_parser = age)]
    retain_age: Kept,

    /// Bytes of a stream's newest history that are kept, such as 500MB or 8GiB; "off" keeps it however long it is.
    #[arg(long, default_value = "8GiB", value_name = "BYTES", value_parser = size)]
    retain_bytes: Kept,

    /// Newest events of a stream that are kept; "off" keeps them however many there are.
    #[arg(long, default_value = "off", value_name = "COUNT", value_parser = count)]
    retain_events: Kept,

    /// Bytes at which a segment of a log is full.
    #[arg(long, default_value_t = SEGMENT_BYTES, value_name = "BYTES",
          value_parser = clap::value_parser!(u64).range(4096..=SEGMENT_BYTES))]
    segment_bytes: u64,

    /// Bytes by which a log grows at least before its documents are written as a checkpoint.
    #[arg(long, default_value_t = CHECKPOINT_LOG_BYTES_MIN, value_name = "BYTES")]
    checkpoint_bytes: u64,
}

/// Reads an address and a port; a name is looked up.
fn address(text: &str) -> Result<SocketAddr, String> {
    let wanted = "an address and a port are wanted, such as 127.0.0.1:8080 or [::1]:8080";
    let mut found = text.to_socket_addrs().map_err(|error| format!("{wanted} ({error})"))?;
    found.next().ok_or_else(|| wanted.to_owned())
}

/// Where the admin listener is if nothing else is said: what Prometheus's own examples have, on the loopback interface.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

fn admin(text: &str) -> Result<Admin, String> {
    match text {
        "off" => Ok(Admin::Off),
        text => address(text).map(Admin::At),
    }
}

/// How much of history is kept: milliseconds, bytes or events; none means all of it.
#[derive(Clone, Copy, Debug)]
struct Kept(Option<u64>);

fn age(text: &str) -> Result<Kept, String> {
    kept(text, |text| {
        let age = humantime::parse_duration(text)
            .map_err(|error| format!("an age is wanted, such as 36h or 7d ({error})"))?;
        if age < RETAIN_AGE_MIN {
            return Err("an age is at least a second: segments are sealed by it".to_owned());
        }
        u64::try_from(age.as_millis()).map_err(|_| "no clock goes so far".to_owned())
    })
}

fn size(text: &str) -> Result<Kept, String> {
    kept(text, |text| parse_size::parse_size(text).map_err(|error| format!("a size is wanted, such as 8GiB ({error})")))
}

fn count(text: &str) -> Result<Kept, String> {
    kept(text, |text| text.parse().map_err(|error| format!("a number or \"off\" is wanted ({error})")))
}

fn kept(text: &str, read: impl FnOnce(&str) -> Result<u64, String>) -> Result<Kept, String> {
    match text {
        "off" => Ok(Kept(None)),
        text => read(text).map(|kept| Kept(Some(kept))),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Durability {
    /// On the medium: nothing that was answered is lost, whatever happens.
    Sync,
    /// With the kernel: survives a crash of the server, not of the host.
    Flush,
    /// At once: a crash loses what wasn't written yet.
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Disconnect {
    /// At once: its place is free for another, and the peer gets its FIN.
    Instant,
    /// By the next frame or heartbeat: within 25 s.
    Heartbeat,
}

impl Arguments {
    /// What the server is to run with.
    fn resolve(self) -> Options {
        Options {
            listen: self.listen,
            admin: self.admin.unwrap_or(Admin::IfFree(ADMIN)),
            data: self.data,
            cores: self.cores.map(usize::from),
            policy: Policy {
                durability: match self.durability {
                    Durability::Sync => manifest::Durability::Sync,
                    Durability::Flush => manifest::Durability::Flush,
                    Durability::None => manifest::Durability::None,
                },
                segment_bytes: self.segment_bytes,
                checkpoint_bytes: self.checkpoint_bytes,
                retention: Retention {
                    age_ms: self.retain_age.0,
                    bytes: self.retain_bytes.0,
                    events: self.retain_events.0,
                },
            },
            documents_bytes: (self.memory as usize).saturating_mul(1024 * 1024),
            disconnect: match self.disconnect {
                Disconnect::Instant => audience::Disconnect::Instant,
                Disconnect::Heartbeat => audience::Disconnect::Heartbeat,
            },
            connections_max: self.max_connections,
        }
    }
}

/// Runs the server.
///
/// # Errors
/// If it can't start, or a core of it failed.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let server = server::start(&arguments.resolve()).context("the server can't start")?;
    let (url, data) = (format!("http://{}", server.address()), server.data().display().to_string());
    let admin = server.admin().map_or(String::new(), |address| format!("  admin:   http://{address}/\n"));
    let banner = format!(
        "Fantail {version} listens on {url} and keeps its data in {data}\n\n  \
         follow:  curl -N -X SUBSCRIBE {url}/messages\n  \
         post:    curl --json '{{\"text\":\"hi\"}}' {url}/messages\n  \
         look:    {url}/-/\n{admin}\n",
        version = env!("CARGO_PKG_VERSION"),
    );
    // Whoever started us may have stopped reading; the server is none the worse for it.
    if let Err(error) = io::stdout().write_all(banner.as_bytes()) {
        tracing::debug!(%error, "nobody reads the standard output");
    }
    server.wait()
}
