//! The server's options as they are typed, resolved once into what runs.
//!
//! Each has a flag, a variable and a key of the file, all read by the same parsers: see [`super::sources`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use fantail_engine::limits::{CHECKPOINT_LOG_BYTES_MIN, SEGMENT_BYTES};
use fantail_engine::log::manifest;
use fantail_engine::log::retention::Retention;
use fantail_engine::stream::journal::Policy;

use super::origin::OriginAddress;
use super::route::{Route, Routes};
use super::secret::Secret;
use super::{Admin, Control, Credentials, Forwarding, Grip, Options, TokenKey};
use crate::audience;

/// The least age of history: an eighth of it is what a segment may span.
const RETAIN_AGE_MIN: Duration = Duration::from_secs(1);

/// The arguments as they are typed.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// File of options, in TOML: each flag's name is a key, and [[route]] tables say what goes to which origin.
    ///
    /// Variables (FANTAIL_ and the flag's name in capitals) are stronger than the file, flags are stronger than both.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS", value_parser = address)]
    listen: SocketAddr,

    /// Address and port that say how the server is, at /metrics, /streams and /config, to whoever can reach them; "off" for none.
    ///
    /// If another program listens on the default, 127.0.0.1:9090, the server goes on without.
    #[arg(long, value_name = "ADDRESS", value_parser = at_or_off)]
    admin: Option<AtOrOff>,

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

    /// Origin to which requests go, as http://HOST:PORT, https://HOST:PORT or unix:/PATH; several, as those of one service.
    ///
    /// It takes the place of the file's route for /; what other routes of the file match goes where they say.
    #[arg(long, value_name = "URL")]
    origin: Vec<OriginAddress>,

    /// Certificates in PEM that origins' are trusted by, besides those that the system trusts.
    #[arg(long, value_name = "FILE")]
    origin_ca: Option<PathBuf>,

    /// What becomes of Forwarded and X-Forwarded-* that clients send; append if all clients come through proxies of yours.
    #[arg(long, value_enum, default_value = "replace", value_name = "WHAT")]
    forwarded: Forwarded,

    /// Address and port for publishing, or "off" [default: 127.0.0.1:5561 if there is an origin, else off].
    #[arg(long, value_name = "ADDRESS", value_parser = at_or_off)]
    control: Option<AtOrOff>,

    /// User and password that may publish, as user:password. For secrets, this one and the following, a variable or a file is a
    /// better place than the command line: base64: and file:PATH are understood, too.
    #[arg(long, value_name = "SECRET", hide_env_values = true)]
    control_basic: Option<String>,

    /// Bearer token that may publish.
    #[arg(long, value_name = "SECRET", hide_env_values = true)]
    control_bearer: Option<String>,

    /// Key of the JWTs that may publish.
    #[arg(long, value_name = "SECRET", hide_env_values = true)]
    control_key: Option<String>,

    /// Issuer (iss) of those JWTs [default: any].
    #[arg(long, value_name = "NAME")]
    control_iss: Option<String>,

    /// Who may publish if nobody is asked for credentials.
    #[arg(long, value_enum, default_value = "local", value_name = "WHO")]
    control_anonymous: Anonymous,

    /// Key by which requests to origins are signed (Grip-Sig) [default: they aren't].
    #[arg(long, value_name = "SECRET", hide_env_values = true)]
    grip_key: Option<String>,

    /// Issuer (iss) in that signature.
    #[arg(long, default_value = "pushpin", value_name = "NAME")]
    grip_iss: String,
}

/// Reads an address and a port; a name is looked up.
fn address(text: &str) -> Result<SocketAddr, String> {
    let wanted = "an address and a port are wanted, such as 127.0.0.1:8080 or [::1]:8080";
    let mut found = text.to_socket_addrs().map_err(|error| format!("{wanted} ({error})"))?;
    found.next().ok_or_else(|| wanted.to_owned())
}

/// Where the admin listener is if nothing else is said: what Prometheus's own examples have, on the loopback interface.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// Where publishes are taken if nothing else is said: where Pushpin's clients expect it.
const CONTROL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5561);

/// Where a listener is to be, if anywhere.
#[derive(Clone, Copy, Debug)]
enum AtOrOff {
    At(SocketAddr),
    Off,
}

fn at_or_off(text: &str) -> Result<AtOrOff, String> {
    match text {
        "off" => Ok(AtOrOff::Off),
        text => address(text).map(AtOrOff::At),
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Forwarded {
    /// They are dropped: who is connected is the client.
    Replace,
    /// They are kept and added to.
    Append,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Anonymous {
    /// Those of this host: the server refuses to take publishes from others.
    Local,
    /// Whoever reaches the listener.
    Anybody,
}

impl Arguments {
    /// What the server is to run with, with the routes of the file.
    ///
    /// # Errors
    /// If routes contradict each other, or a secret can't be read.
    pub(crate) fn resolve(self, routes: Vec<Route>) -> anyhow::Result<Options> {
        let routes = self.routes(routes)?;
        let control = self.control(&routes)?;
        let grip = Grip { key: secret("grip-key", self.grip_key.as_deref())?, issuer: self.grip_iss };
        Ok(Options {
            listen: self.listen,
            admin: match self.admin {
                None => Admin::IfFree(ADMIN),
                Some(AtOrOff::At(address)) => Admin::At(address),
                Some(AtOrOff::Off) => Admin::Off,
            },
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
            routes: Arc::new(routes),
            origin_ca: self.origin_ca,
            forwarding: match self.forwarded {
                Forwarded::Replace => Forwarding::Replace,
                Forwarded::Append => Forwarding::Append,
            },
            control,
            grip,
        })
    }

    /// The file's routes, and the one that was asked for in place of theirs for all.
    fn routes(&self, mut routes: Vec<Route>) -> anyhow::Result<Routes> {
        if !self.origin.is_empty() {
            routes.retain(|route| route.host.is_some() || route.path != "/");
            routes.push(Route::to_all(self.origin.clone()));
        }
        Ok(Routes::new(routes)?)
    }

    fn control(&self, routes: &Routes) -> anyhow::Result<Option<Control>> {
        let listen = match self.control {
            Some(AtOrOff::Off) => return Ok(None),
            Some(AtOrOff::At(address)) => address,
            None if routes.has_origins() => CONTROL,
            None => return Ok(None),
        };
        let basic = secret("control-basic", self.control_basic.as_deref())?;
        let has_user = basic.as_ref().is_none_or(|basic| basic.reveal().contains(&b':'));
        anyhow::ensure!(has_user, "control-basic is a user and a password with a colon between");
        let is_for_any = self.control_iss.is_none() || self.control_key.is_some();
        anyhow::ensure!(is_for_any, "control-iss is the issuer of tokens that control-key verifies: there is no key");
        let token = secret("control-key", self.control_key.as_deref())?
            .map(|key| TokenKey { issuer: self.control_iss.clone(), key });
        let bearer = secret("control-bearer", self.control_bearer.as_deref())?;
        let credentials = Credentials { basic, bearer, token };
        anyhow::ensure!(
            listen.ip().is_loopback() || !credentials.is_empty() || self.control_anonymous == Anonymous::Anybody,
            "whoever reaches {listen} could publish: control-basic, control-bearer or control-key asks for credentials, and \
             control-anonymous says that anybody may"
        );
        Ok(Some(Control { listen, credentials }))
    }
}

/// The secret that an option gives, if it was given.
fn secret(option: &str, text: Option<&str>) -> anyhow::Result<Option<Secret>> {
    text.map(Secret::read).transpose().with_context(|| format!("{option} can't be used"))
}
