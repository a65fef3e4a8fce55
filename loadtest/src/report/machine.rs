//! What a run was made on, as `/proc` tells it; and the versions of both ends.

use std::fs;

use serde::{Deserialize, Serialize};

/// The host of the load, and which versions met on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The CPU's model as it calls itself.
    pub(crate) cpu: String,
    /// CPUs that this program may run on.
    pub(crate) cpus: u64,
    /// Of the host.
    pub(crate) memory_bytes: u64,
    /// The kernel's name and release.
    pub(crate) kernel: String,
    /// This program's version.
    pub(crate) generator_version: String,
    /// The server's name and version as it tells them, if it does.
    pub(crate) server_version: Option<String>,
}

impl Machine {
    /// Reads this host, and notes what the server said of itself. What can't be read is "unknown", or 0.
    pub(crate) fn read(server_version: Option<String>) -> Machine {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let kernel = text("/proc/sys/kernel/osrelease");
        Machine {
            cpu: model(&text("/proc/cpuinfo")),
            cpus: std::thread::available_parallelism().map_or(0, |cpus| cpus.get() as u64),
            memory_bytes: memory(&text("/proc/meminfo")),
            kernel: format!("Linux {}", known(kernel.trim())),
            generator_version: env!("CARGO_PKG_VERSION").to_owned(),
            server_version,
        }
    }
}

/// The model's name on x86; elsewhere `/proc/cpuinfo` names it otherwise, if at all.
fn model(cpuinfo: &str) -> String {
    let names = ["model name", "Model", "Hardware", "uarch"];
    let found = names
        .iter()
        .find_map(|name| cpuinfo.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == *name));
    known(found.map_or("", |(_, value)| value.trim())).to_owned()
}

fn memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or("");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn known(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_can_be_read() {
        let machine = Machine::read(None);
        assert!(machine.cpus > 0 && machine.memory_bytes > 0 && machine.kernel.starts_with("Linux "));
        assert_eq!(model("processor\t: 0\nmodel name\t: A CPU: two\n"), "A CPU: two");
        assert_eq!((model("").as_str(), memory("MemTotal:  17 kB\n"), memory("")), ("unknown", 17 * 1024, 0));
    }
}
