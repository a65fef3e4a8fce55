//! A Fantail of our own, for runs that name no server: its process, its temporary store, and their end.

use std::env;
use std::fs::DirBuilder;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{Failure, swarm};

/// A server that ends when this is dropped, and its folder with it.
pub(crate) struct Fantail {
    process: Child,
    /// Where it listens.
    pub(crate) url: String,
    /// Its name and version.
    pub(crate) version: String,
    folder: PathBuf,
}

impl Fantail {
    /// Starts it on a free port of the loopback.
    pub(crate) fn start() -> Result<Fantail, Failure> {
        let binary = binary()?;
        let folder = folder()?;
        let mut command = Command::new(&binary);
        command
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(&folder)
            // What it logs of its start and end is nothing to whoever asked for figures.
            .env("FANTAIL_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Ctrl-C at a terminal is for the run, which ends the server when it is over.
            .process_group(0);
        let die_with_us = || {
            // SAFETY: sets one number of the calling process, and touches no memory.
            match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: between fork and exec it makes one system call, and allocates nothing.
        unsafe { command.pre_exec(die_with_us) };
        let process = match command.spawn() {
            Ok(process) => process,
            Err(error) => {
                let _ = std::fs::remove_dir_all(&folder);
                return Err(Failure::Machine(format!("{}: {error}", binary.display())));
            }
        };
        let mut server = Fantail { process, url: String::new(), version: String::new(), folder };
        let mut line = String::new();
        if let Some(output) = server.process.stdout.take() {
            let _ = BufReader::new(output).read_line(&mut line);
        }
        // "Fantail 0.1.0 listens on http://127.0.0.1:8080 and …"
        let (version, rest) = line.split_once(" listens on ").unwrap_or_default();
        let url = rest.split_whitespace().next();
        server.url = url.ok_or_else(|| Failure::Machine(format!("{} didn't start", binary.display())))?.to_owned();
        server.version = version.to_owned();
        Ok(server)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Fantail {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The store, which nobody needs after the run.
fn folder() -> Result<PathBuf, Failure> {
    // A name that nobody can have taken before, and nobody else may look inside.
    let folder = env::temp_dir().join(format!("fantail-load-{:08x}{:08x}", swarm::any_seed(), swarm::any_seed()));
    match DirBuilder::new().mode(0o700).create(&folder) {
        Ok(()) => Ok(folder),
        Err(error) => Err(Failure::Machine(format!("{}: {error}", folder.display()))),
    }
}

/// The server's binary: beside this one, and built if cargo runs this and it isn't there.
fn binary() -> Result<PathBuf, Failure> {
    let own = env::current_exe().map_err(|error| Failure::Machine(error.to_string()))?;
    let beside = own.with_file_name("fantail");
    if beside.exists() {
        return Ok(beside);
    }
    if let (Some(cargo), Some(manifest)) = (env::var_os("CARGO"), env::var_os("CARGO_MANIFEST_DIR")) {
        let is_release = own.parent().is_some_and(|folder| folder.ends_with("release"));
        eprintln!("building the server that this is to load");
        let mut build = Command::new(cargo);
        build.args(["build", "--package", "fantail"]).args(is_release.then_some("--release"));
        let built = build.current_dir(Path::new(&manifest)).status();
        if built.is_ok_and(|status| status.success()) && beside.exists() {
            return Ok(beside);
        }
    }
    Err(Failure::Usage(format!(
        "there is no server at {}: build it with `cargo build --release -p fantail`, or name one: `fantail-load run URL`",
        beside.display()
    )))
}
