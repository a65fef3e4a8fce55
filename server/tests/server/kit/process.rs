//! What the kernel says of a server's process, and what it can be made to refuse it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{PATIENCE, Server, wait_for};

impl Server {
    /// Its open descriptors.
    pub(crate) fn descriptors(&self) -> BTreeSet<u32> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the process is there");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names.map(|name| name.to_string_lossy().parse().expect("a number")).collect()
    }

    /// The seats that are taken in each tier of its audience, the fullest first, as the kernel counts the files in its rings'
    /// tables.
    pub(crate) fn tiers(&self) -> Vec<usize> {
        let mut tiers: Vec<_> = self.descriptors().into_iter().filter_map(|ring| self.tier(ring)).collect();
        // A later tier may have the lower descriptor.
        tiers.sort_unstable_by(|one, other| other.cmp(one));
        tiers
    }

    /// The taken seats of all tiers.
    pub(crate) fn seats(&self) -> usize {
        self.tiers().iter().sum()
    }

    fn tier(&self, descriptor: u32) -> Option<usize> {
        let process = format!("/proc/{}", self.pid());
        let file = fs::read_link(format!("{process}/fd/{descriptor}")).ok()?;
        if !file.to_string_lossy().ends_with("[io_uring]") {
            return None;
        }
        // While the ring is at work, the kernel leaves the table out.
        let text = wait_for("a look into a ring", || {
            let text = fs::read_to_string(format!("{process}/fdinfo/{descriptor}")).expect("it is a ring's");
            text.contains("UserFiles:").then_some(text)
        });
        let mut lines = text.lines().skip_while(|line| !line.starts_with("UserFiles:"));
        if lines.next()?.ends_with("\t0") {
            return None;
        }
        // A number of a slot, a colon, the file: up to the next heading.
        Some(lines.take_while(|line| !line.starts_with("UserBufs:")).count())
    }

    /// The CPU time that it has used so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the process is there");
        // The name, in parentheses, may be anything; user and system time are the 14th and 15th of all.
        let (_, rest) = text.rsplit_once(") ").expect("a name");
        let ticks: u64 = rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
        // SAFETY: a plain system call.
        let second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as u64;
        Duration::from_millis(ticks * 1000 / second)
    }

    /// From now on the kernel gives it no descriptor whose number isn't below this.
    pub(crate) fn limit_descriptors(&self, max: u32) {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the kernel fills a struct of the right type.
        let got = unsafe { libc::prlimit(self.pid() as i32, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limit) };
        assert_eq!(got, 0, "{}", io::Error::last_os_error());
        limit.rlim_cur = max.into();
        let (pid, old) = (self.pid() as i32, std::ptr::null_mut());
        // SAFETY: the struct lives through the call.
        let set = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, old) };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    }
}

/// How a command ended that does so by itself, and what it said.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Ended {
    /// Runs the command; one that says less than a pipe holds, and that is killed if it stays.
    pub(crate) fn of(command: &mut Command) -> Ended {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let deadline = Instant::now() + PATIENCE / 2;
        let status = wait_for("its end", || {
            if Instant::now() > deadline {
                child.kill().expect("it is ours");
            }
            child.try_wait().expect("it is ours")
        });
        let mut ended = Ended { code: status.code(), output: String::new(), errors: String::new() };
        child.stdout.take().expect("a pipe").read_to_string(&mut ended.output).expect("text");
        child.stderr.take().expect("a pipe").read_to_string(&mut ended.errors).expect("text");
        ended
    }
}

/// Runs the binary with these arguments, one that ends by itself, however much it says.
pub(crate) fn log(arguments: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_fantail")).args(arguments).output().expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ended { code: output.status.code(), output: text(output.stdout), errors: text(output.stderr) }
}

/// What the command starts may have no more descriptors than these.
pub(super) fn limit(command: &mut Command, max: u32) {
    let limit = libc::rlimit { rlim_cur: max.into(), rlim_max: max.into() };
    // SAFETY: between fork and exec it makes one system call, with a struct that it owns.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

/// To what the command starts, the kernel answers a system call with an error, as under a container's seccomp profile.
pub(crate) fn refuse(command: &mut Command, call: libc::c_long, errno: i32) {
    let line =
        |code: u32, jumps: (u8, u8), k: u32| libc::sock_filter { code: code as u16, jt: jumps.0, jf: jumps.1, k };
    let mut lines = [
        // The call's number is the first word that a filter sees.
        line(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (0, 0), 0),
        line(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, (0, 1), call as u32),
        line(libc::BPF_RET | libc::BPF_K, (0, 0), libc::SECCOMP_RET_ERRNO | errno as u32),
        line(libc::BPF_RET | libc::BPF_K, (0, 0), libc::SECCOMP_RET_ALLOW),
    ];
    // SAFETY: between fork and exec it makes two system calls, with a filter that it owns.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog { len: lines.len() as u16, filter: lines.as_mut_ptr() };
            let is_set = libc::prctl(
                libc::PR_SET_NO_NEW_PRIVS,
                1 as libc::c_ulong,
                0 as libc::c_ulong,
                0 as libc::c_ulong,
                0 as libc::c_ulong,
            ) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER as libc::c_ulong, &raw const program)
                    == 0;
            if is_set { Ok(()) } else { Err(io::Error::last_os_error()) }
        });
    }
}
