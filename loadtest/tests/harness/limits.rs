//! What this host can't hold is said in one line that says what to do, before anything is opened.

use std::net::TcpListener;
use std::process::{Command, Output};

use crate::fixture::{self, Manner};

/// The harness under a limit of open files.
fn load(descriptors: usize, arguments: &[&str]) -> Output {
    let limit = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &limit, env!("CARGO_BIN_EXE_fantail-load")]).args(arguments).output().expect("a shell")
}

#[test]
fn too_few_descriptors_ports_or_bytes_are_told_before_anything_is_opened() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let nobody = format!("http://{nobody}/e");
    let run = ["run", &nobody, "--target", "generic", "--resumers", "0"];
    for (more, says) in [
        (&["--followers", "200"][..], "200 users need 264 descriptors, and this shell allows 100: ulimit -n 264"),
        (&["--followers", "9000"], "goose holds 5000 at most; more followers are the swarm's, --connections"),
        (&["--connections", "1000000000"], "MB are free: ask for fewer --connections"),
    ] {
        let output = load(100, &[&run, more].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{more:?}: {said}");
        assert!(said.lines().count() == 1 && said.contains(says), "{more:?}: {said}");
    }
    for (more, says) in [
        (["--connections", "1000000000"], "MB are free: ask for fewer --connections"),
        (["--connections", "300000"], "connections need --spread"),
    ] {
        let output = load(1_000, &[&["swarm", &nobody][..], &more].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{more:?}: {said}");
        assert!(said.lines().count() == 1 && said.contains(says), "{more:?}: {said}");
    }
}

#[test]
fn a_swarm_takes_more_threads_where_a_ring_s_table_is_small() {
    let url = format!("http://127.0.0.1:{}/m", fixture::start(Manner::Good).port());
    let publish = ["--connections", "150", "--publish", "200", "--for", "0.1"];
    let output = load(60, &[&["swarm", &url][..], &publish].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("150 of 150 following, 3 threads"), "{output:?}");
}
