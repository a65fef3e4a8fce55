//! A kernel that refuses io_uring, as under a container's seccomp profile: the server says what is missing and how to allow
//! it, ends with a code of its own, and leaves the data alone.

use serde_json::json;

use crate::kit::{Ended, Server, refuse};

const SETUP: (&str, libc::c_long) = ("io_uring_setup", libc::SYS_io_uring_setup);
const ENTER: (&str, libc::c_long) = ("io_uring_enter", libc::SYS_io_uring_enter);
const REGISTER: (&str, libc::c_long) = ("io_uring_register", libc::SYS_io_uring_register);

/// Starts the binary where a system call is answered with an error; expects that it ends as it should, and returns what it
/// said.
#[track_caller]
fn refused((name, call): (&str, libc::c_long), errno: i32) -> String {
    let mut server = Server::start();
    server.put("/messages/1", "{}").expect(201);
    server.stop();
    let mut command = server.command();
    refuse(&mut command, call, errno);
    let ended = Ended::of(&mut command);
    assert_eq!(ended.code, Some(4), "{name}, {errno}: {}", ended.errors);
    assert_eq!(ended.output, "", "it never said that it listens");
    server.start_again();
    assert_eq!(server.json("/messages/1"), json!({"id": "1"}));
    ended.errors
}

#[test]
fn a_refused_ring_is_an_exit_code_of_its_own() {
    for call in [SETUP, ENTER, REGISTER] {
        for errno in [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::EINVAL, libc::ENOMEM] {
            let words = refused(call, errno);
            assert!(words.contains("io_uring"), "{words}");
        }
    }
}

#[test]
fn a_refusal_says_how_to_allow_it() {
    let words = refused(SETUP, libc::EPERM);
    for wanted in ["seccomp", "io_uring_setup", "io_uring_enter", "io_uring_register", "kernel.io_uring_disabled"] {
        assert!(words.contains(wanted), "{wanted} in {words}");
    }
    for errno in [libc::ENOSYS, libc::EINVAL] {
        let words = refused(SETUP, errno);
        assert!(words.contains("6.1"), "{words}");
    }
}

#[test]
fn a_refusal_names_the_operation() {
    for (name, call) in [SETUP, ENTER, REGISTER] {
        let words = refused((name, call), libc::EPERM);
        let refusal = words.split("refuses ").nth(1).unwrap_or_else(|| panic!("{words}"));
        assert!(refusal.starts_with(name), "{words}");
    }
}

#[test]
fn a_ring_without_memory_names_the_limit() {
    let words = refused(SETUP, libc::ENOMEM);
    assert!(words.contains("memlock"), "{words}");
}
