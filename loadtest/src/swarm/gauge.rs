//! What `/proc` says of processes, of the kernel's memory and of this host's limits.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

/// Ticks per second in `/proc/PID/stat`: part of Linux's user-space interface.
const TICKS_PER_SECOND: u64 = 100;

/// A process, or several of them, at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Process {
    /// User and system time so far, to 10 ms.
    pub(crate) cpu: Duration,
    /// Resident bytes.
    pub(crate) resident: u64,
    /// Open descriptors.
    pub(crate) descriptors: u64,
}

impl Process {
    /// Reads `/proc/<process>`, a number or `self`.
    pub(crate) fn read(process: &str) -> io::Result<Process> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        Ok(Process {
            cpu: cpu(&stat),
            resident: number(&status, "VmRSS:") * 1024,
            descriptors: fs::read_dir(format!("/proc/{process}/fd")).map_or(0, |entries| entries.count() as u64),
        })
    }

    /// Reads those of a server that is made of several, and adds them up.
    pub(crate) fn read_all(processes: &[String]) -> io::Result<Process> {
        processes.iter().try_fold(Process::default(), |sum, process| {
            let one = Process::read(process)?;
            Ok(Process {
                cpu: sum.cpu + one.cpu,
                resident: sum.resident + one.resident,
                descriptors: sum.descriptors + one.descriptors,
            })
        })
    }
}

/// The kernel at a moment; on loopback both ends are in it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kernel {
    /// Bytes of slab.
    pub(crate) slab: u64,
    /// TCP sockets in use.
    pub(crate) sockets: u64,
    /// Bytes that TCP has in its buffers.
    pub(crate) buffers: u64,
}

impl Kernel {
    /// Reads `/proc/meminfo` and `/proc/net/sockstat`; zeros where they can't be read.
    pub(crate) fn read() -> Kernel {
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let sockets = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
        let tcp = sockets.lines().find(|line| line.starts_with("TCP:")).unwrap_or("");
        Kernel {
            slab: number(&memory, "Slab:") * 1024,
            sockets: number(tcp, " inuse"),
            buffers: number(tcp, " mem") * 4096,
        }
    }
}

/// User and system time so far of each thread of this process.
pub(crate) fn threads() -> BTreeMap<u32, Duration> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let times = tasks.filter_map(|task| {
        let thread = task.file_name().to_str()?.parse().ok()?;
        // In nanoseconds, where the kernel counts them; else to 10 ms, which is much of a short run.
        let counted = fs::read_to_string(task.path().join("schedstat")).ok();
        let counted = counted.and_then(|times| times.split_whitespace().next()?.parse().ok()).map(Duration::from_nanos);
        let time = counted.or_else(|| Some(cpu(&fs::read_to_string(task.path().join("stat")).ok()?)))?;
        Some((thread, time))
    });
    times.collect()
}

/// What the busiest thread took between two readings.
pub(crate) fn busiest(before: &BTreeMap<u32, Duration>, after: &BTreeMap<u32, Duration>) -> Duration {
    let took = after.iter().map(|(thread, time)| time.saturating_sub(before.get(thread).copied().unwrap_or_default()));
    took.max().unwrap_or_default()
}

/// User and system time in a `stat`.
fn cpu(stat: &str) -> Duration {
    // The name, in brackets, may hold anything; user and system time are the 12th and 13th field after it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// Bytes of this host's memory that are free or can be made so, if that can be read.
pub(crate) fn memory_available() -> Option<u64> {
    let kib = number(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:");
    (kib > 0).then_some(kib * 1024)
}

/// Entries of a ring's file table at most: the soft limit of open files.
pub(crate) fn descriptors_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    match number(&limits, "Max open files") {
        0 => 1024,
        limit => limit as usize,
    }
}

/// Connections that a listener's queue holds at most.
pub(crate) fn somaxconn() -> usize {
    let text = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    text.trim().parse().unwrap_or(4096)
}

/// Connections from this host to one address and port at most.
pub(crate) fn ports() -> usize {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = text.split_whitespace().filter_map(|end| end.parse::<usize>().ok());
    match (ends.next(), ends.next()) {
        (Some(first), Some(last)) if first <= last => last - first + 1,
        _ => 28_000,
    }
}

/// The number after `name`; 0 if there is none.
fn number(text: &str, name: &str) -> u64 {
    let rest = text.find(name).map_or("", |at| &text[at + name.len()..]);
    rest.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_this_host_can_be_read() {
        let own = Process::read("self").expect("a Linux host");
        assert!(own.resident > 0 && own.descriptors > 2);
        let twice = Process::read_all(&["self".to_owned(), "self".to_owned()]).expect("a Linux host");
        assert!(twice.descriptors >= 2 * own.descriptors && twice.cpu >= 2 * own.cpu);
        assert!(Process::read_all(&["self".to_owned(), "none".to_owned()]).is_err());
        assert!(Kernel::read().slab > 0 && descriptors_max() > 0 && somaxconn() > 0 && ports() > 0);
        assert!(threads().contains_key(&std::process::id()), "the first thread has the process's number");
        assert_eq!(number("Slab:   17 kB", "Slab:"), 17);
        assert_eq!(number("TCP: inuse 5 mem 3", " mem"), 3);
    }
}
