//! A server process with a data folder of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{Answer, Client, Follower, JSON, Medium, process, wait_for};

pub(crate) struct Server {
    process: Option<(Child, BufReader<ChildStdout>)>,
    address: SocketAddr,
    /// None unless its arguments ask for one.
    admin: Option<SocketAddr>,
    /// Likewise.
    control: Option<SocketAddr>,
    arguments: Vec<String>,
    folder: TempDir,
    /// Kibibytes that a file may grow to; beyond, writes fail.
    file_kib_max: Option<u32>,
    /// Descriptors that it may have, from its start on.
    descriptors_max: Option<u32>,
    /// What its data folder lies on, if not on what everything does.
    medium: Option<Medium>,
    /// Variables of its environment.
    variables: Vec<(&'static str, String)>,
}

impl Server {
    /// A new server on an empty folder.
    pub(crate) fn start() -> Server {
        Server::with(&[])
    }

    /// The same with more arguments.
    pub(crate) fn with(arguments: &[&str]) -> Server {
        Server::on(folder(), arguments)
    }

    /// The same with no more descriptors than these, which are also the seats of one tier.
    pub(crate) fn with_descriptors(max: u32, arguments: &[&str]) -> Server {
        let mut server = Server::stopped(folder(), arguments);
        server.descriptors_max = Some(max);
        server.start_again();
        server
    }

    /// A server whose data is, or will be, in `data` below `folder`.
    pub(crate) fn on(folder: TempDir, arguments: &[&str]) -> Server {
        let mut server = Server::stopped(folder, arguments);
        server.start_again();
        server
    }

    /// A server that wasn't started yet.
    pub(crate) fn to_be_started(arguments: &[&str]) -> Server {
        Server::stopped(folder(), arguments)
    }

    fn stopped(folder: TempDir, arguments: &[&str]) -> Server {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let (file_kib_max, descriptors_max, medium, variables) = (None, None, None, Vec::new());
        Server {
            process: None,
            address,
            admin: None,
            control: None,
            arguments,
            folder,
            file_kib_max,
            descriptors_max,
            medium,
            variables,
        }
    }

    /// The binary with this server's arguments.
    pub(crate) fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_fantail");
        let mut command = match (self.file_kib_max, &self.medium) {
            (None, None) => Command::new(binary),
            (None, Some(medium)) => medium.command(binary),
            (Some(kib), _) => {
                // With the signal ignored, a write beyond the limit fails instead (setrlimit(2)).
                let mut shell = Command::new("bash");
                shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\""), binary]);
                shell
            }
        };
        command.args(["--listen", "127.0.0.1:0", "--data"]).arg(self.data()).args(&self.arguments);
        if !self.arguments.iter().any(|argument| argument == "--admin") {
            // The default is one port for all servers of the host.
            command.args(["--admin", "off"]);
        }
        if !self.arguments.iter().any(|argument| argument == "--control") {
            command.args(["--control", "off"]);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(max) = self.descriptors_max {
            process::limit(&mut command, max);
        }
        command
    }

    /// Other arguments from the next start on.
    pub(crate) fn set_arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    }

    /// The greatest size of a file from the next start on.
    pub(crate) fn set_file_kib_max(&mut self, kib: Option<u32>) {
        self.file_kib_max = kib;
    }

    /// What its data folder lies on from the next start on.
    pub(crate) fn set_medium(&mut self, medium: Option<Medium>) {
        self.medium = medium;
    }

    pub(crate) fn medium(&self) -> &Medium {
        self.medium.as_ref().expect("it has one")
    }

    /// A variable of its environment from the next start on.
    pub(crate) fn set_variable(&mut self, name: &'static str, value: &str) {
        self.variables.push((name, value.to_owned()));
    }

    /// The descriptors that it may have from the next start on.
    pub(crate) fn set_descriptors_max(&mut self, max: Option<u32>) {
        self.descriptors_max = max;
    }

    /// Starts what was stopped or killed, on another port.
    pub(crate) fn start_again(&mut self) {
        self.try_to_start().unwrap_or_else(|code| panic!("it ended with {code:?}\n{}", self.log()));
    }

    /// The same of a server that may end instead of serving: then with this exit code.
    pub(crate) fn try_to_start(&mut self) -> Result<(), Option<i32>> {
        assert!(self.process.is_none(), "it runs");
        let log = File::options().append(true).create(true).open(self.log_path()).expect("a log file");
        let mut child = self.command().stdout(Stdio::piped()).stderr(log).spawn().expect("the binary starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        if output.read_line(&mut line).expect("standard output is text") == 0 {
            return Err(child.wait().expect("it is ours").code());
        }
        let address = |line: &str| {
            let url = line.split("http://").nth(1).unwrap_or_else(|| panic!("no URL in {line:?}\n{}", self.log()));
            let address = url.split([' ', '/', '\n']).next().unwrap_or_default();
            address.parse().unwrap_or_else(|_| panic!("no address in {line:?}"))
        };
        let listens = address(&line);
        // What it has to say ends with its second empty line.
        let (mut admin, mut control) = (None, None);
        let mut empty = 0;
        while empty < 2 {
            line.clear();
            assert!(output.read_line(&mut line).expect("standard output is text") > 0, "it ended\n{}", self.log());
            empty += usize::from(line == "\n");
            if line.trim_start().starts_with("admin:") {
                admin = Some(address(&line));
            }
            if line.trim_start().starts_with("publish:") {
                control = Some(address(&line));
            }
        }
        (self.address, self.admin, self.control) = (listens, admin, control);
        self.process = Some((child, output));
        Ok(())
    }

    /// Starts what was stopped or killed, and kills it so much later, wherever it is by then.
    pub(crate) fn start_and_kill(&self, after: Duration) {
        assert!(self.process.is_none(), "it runs");
        let log = File::options().append(true).create(true).open(self.log_path()).expect("a log file");
        let mut child = self.command().stdout(Stdio::null()).stderr(log).spawn().expect("the binary starts");
        thread::sleep(after);
        assert_eq!(child.try_wait().expect("it is ours"), None, "it ended by itself\n{}", self.log());
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection to its admin listener.
    pub(crate) fn admin(&self) -> Client {
        Client::connect(self.admin.expect("it has an admin listener"))
    }

    /// A connection to its control listener.
    pub(crate) fn control(&self) -> Client {
        Client::connect(self.control.expect("it has a control listener"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").0.id()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder of a stream, whose name needs no encoding.
    pub(crate) fn stream(&self, name: &str) -> PathBuf {
        self.data().join(name)
    }

    /// The files of a stream whose names end in `ending`, in order.
    pub(crate) fn files(&self, stream: &str, ending: &str) -> Vec<PathBuf> {
        let mut files = list(&self.stream(stream), ending);
        files.sort();
        files
    }

    /// The log's segments, without checkpoints.
    pub(crate) fn segments(&self, stream: &str) -> Vec<PathBuf> {
        let mut files = self.files(stream, ".sse");
        files.retain(|file| !file.to_string_lossy().ends_with(".snapshot.sse"));
        files
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What it wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: a plain system call; the process is ours and not waited for yet.
        assert_eq!(unsafe { libc::kill(self.pid() as i32, signal) }, 0, "the process is there");
    }

    /// SIGKILL: a crash.
    pub(crate) fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        let (mut child, _output) = self.process.take().expect("it runs");
        child.wait().expect("it was ours");
    }

    /// Waits until it has ended by itself; returns its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        // Its standard output stays open until then.
        let (mut child, _output) = self.process.take().expect("it runs");
        let status = wait_for("the process to end", || child.try_wait().expect("it is ours"));
        status.code()
    }

    /// SIGTERM, and the wait for its end.
    pub(crate) fn stop(&mut self) {
        self.signal(libc::SIGTERM);
        assert_eq!(self.ended(), Some(0), "{}", self.log());
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        self.connect().ask(method, target, fields, body)
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &[], "")
    }

    /// The JSON of a URL that is there.
    #[track_caller]
    pub(crate) fn json(&self, target: &str) -> Value {
        self.get(target).expect(200).json()
    }

    pub(crate) fn post(&self, target: &str, body: &str) -> Answer {
        self.ask("POST", target, &[JSON], body)
    }

    pub(crate) fn put(&self, target: &str, body: &str) -> Answer {
        self.ask("PUT", target, &[JSON], body)
    }

    pub(crate) fn delete(&self, target: &str) -> Answer {
        self.ask("DELETE", target, &[], "")
    }

    /// Subscribes, and expects 200.
    #[track_caller]
    pub(crate) fn follow(&self, target: &str) -> Follower {
        Follower::start(self.address, target, &[])
    }

    /// The same from a cursor.
    #[track_caller]
    pub(crate) fn resume(&self, target: &str, cursor: &str) -> Follower {
        Follower::start(self.address, target, &[("Last-Event-ID", cursor)])
    }

    /// That it still does its work, for the end of tests that mistreat it.
    pub(crate) fn check_alive(&self) {
        let mut client = self.connect();
        client.ask("PUT", "/alive/1", &[JSON], "{}").expect_one_of(&[200, 201]);
        client.ask("GET", "/alive/1", &[], "").expect(200);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((mut child, mut output)) = self.process.take() {
            drop(child.kill());
            drop(child.wait());
            let mut rest = String::new();
            drop(output.read_to_string(&mut rest));
        }
        if thread::panicking() {
            let log = self.log();
            let start = log.len().saturating_sub(4000);
            drop(writeln!(std::io::stdout(), "--- the server's log\n{}", log.get(start..).unwrap_or(&log)));
        }
    }
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("fantail-").tempdir().expect("a folder")
}

fn list(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.to_string_lossy().ends_with(ending)).collect()
}
