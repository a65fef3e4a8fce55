//! What a data folder lies on, when that is to be small or can't be written: a mount that only one server sees.
//!
//! A process of its own keeps the mount namespace, so that a server can be started in it again. It takes root, or a kernel
//! that lets users have namespaces of their own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub(crate) struct Medium {
    keeper: Child,
    folder: PathBuf,
}

impl Medium {
    /// A file system of so many KiB, in memory.
    pub(crate) fn small(folder: &Path, kib: u32) -> Medium {
        Medium::mount(folder, &format!("mount -t tmpfs -o size={kib}k tmpfs \"$0\""))
    }

    /// The folder as it is, but nothing in it can be changed.
    pub(crate) fn read_only(folder: &Path) -> Medium {
        Medium::mount(folder, "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"")
    }

    fn mount(folder: &Path, script: &str) -> Medium {
        std::fs::create_dir_all(folder).expect("a folder");
        let mut command = Command::new("unshare");
        if !is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        // It ends with its standard input.
        command.args(["--mount", "sh", "-c", &format!("{script} && echo mounted && read end")]).arg(folder);
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare is there");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("a pipe")).read_line(&mut line).expect("text");
        assert_eq!(line, "mounted\n", "a mount namespace takes root, or a kernel that grants users their own");
        Medium { keeper, folder: folder.to_owned() }
    }

    /// A command that sees this medium.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.keeper.id().to_string(), "--mount"]);
        if !is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["--", program]);
        command
    }

    /// Another size for one that was made small.
    pub(crate) fn resize(&self, kib: u32) {
        let mut command = self.command("mount");
        let status = command.args(["-o", &format!("remount,size={kib}k")]).arg(&self.folder).status();
        assert!(status.expect("mount is there").success());
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        drop(self.keeper.wait());
    }
}

fn is_root() -> bool {
    // SAFETY: a plain system call.
    unsafe { libc::geteuid() == 0 }
}
