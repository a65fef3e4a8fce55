//! Saved runs are shown: what `fantail-load report` prints and writes is held against texts that anybody can read. After a
//! change that is meant, `FANTAIL_WRITE=1` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/reports").join(name)
}

fn report(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fantail-load"));
    command.arg("report").args(arguments).output().expect("the harness")
}

fn named(name: &str) -> String {
    fixture(name).to_str().expect("a path in UTF-8").to_owned()
}

/// Holds `text` against the file of this name.
fn same(name: &str, text: &str) {
    let path = fixture(name);
    if std::env::var_os("FANTAIL_WRITE").is_some() {
        fs::write(&path, text).expect("a fixture");
    }
    let expected = fs::read_to_string(&path).expect("a fixture");
    let differs = expected.lines().zip(text.lines()).find(|(expected, line)| expected != line);
    assert!(expected == text, "{name} differs, first in {differs:?}");
}

#[test]
fn a_saved_run_gives_the_same_files_again() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["canonical", "ramp", "requests"] {
        let to = folder.path().join(name);
        let ended = report(&[&named(&format!("{name}.json")), "--to", to.to_str().expect("a path in UTF-8")]);
        assert_eq!(ended.status.code(), Some(if name == "ramp" { 1 } else { 0 }), "{ended:?}");
        for (file, expected) in [("report.json", "json"), ("report.md", "md"), ("report.hgrm", "hgrm")] {
            let text = fs::read_to_string(to.join(file)).expect(file);
            same(&format!("{name}.{expected}"), &text);
        }
        let markdown = fs::read_to_string(fixture(&format!("{name}.md"))).expect("a fixture");
        assert_eq!(String::from_utf8_lossy(&ended.stdout), markdown);
    }
}

#[test]
fn a_percentile_file_is_as_hdrhistogram_writes_it() {
    let text = fs::read_to_string(fixture("canonical.hgrm")).expect("a fixture");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("       Value     Percentile TotalCount 1/(1-Percentile)"));
    assert_eq!(lines.next(), Some(""));
    let (mut value, mut quantile, mut count) = (0.0, 0.0, 0);
    let mut rows = 0;
    for line in lines.by_ref().take_while(|line| !line.starts_with('#')) {
        let fields: Vec<f64> = line.split_whitespace().map(|field| field.parse().expect("a number")).collect();
        assert!(fields[0] >= value && fields[1] >= quantile && fields[2] as u64 >= count, "{line}");
        (value, quantile, count) = (fields[0], fields[1], fields[2] as u64);
        assert_eq!(fields.len(), if quantile == 1.0 { 3 } else { 4 }, "{line}");
        rows += 1;
    }
    assert!(rows > 50 && quantile == 1.0 && count == 6_000_000, "{rows} rows, {count} latencies");
    assert_eq!(lines.count(), 2, "of three lines at the end");
}

#[test]
fn a_baseline_is_held_or_missed() {
    let ended = report(&[&named("canonical.json"), "--baseline", &named("earlier.json")]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let text = String::from_utf8(ended.stdout).expect("text");
    let (_, compared) = text.split_once("</details>\n\n").expect("the comparison");
    same("compared.txt", compared);
    let lenient = ["--tolerance", "server CPU per delivery=25%,p98=1%"];
    let ended =
        report(&[&[named("canonical.json").as_str(), "--baseline", &named("earlier.json")], &lenient[..]].concat());
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stdout).contains("note: there is no figure 'p98' to have a tolerance\n"));
    let ended = report(&[&named("canonical.json"), "--baseline", &named("canonical.json")]);
    assert_eq!(ended.status.code(), Some(0), "a run is no worse than itself");
}

#[test]
fn what_cannot_be_read_is_said_in_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let odd = folder.path().join("odd.json");
    fs::write(&odd, "{\"schema\": 9}").expect("a file");
    let odd = odd.to_str().expect("a path in UTF-8");
    for (arguments, why) in [
        (vec![odd], "it has schema 9, and this version reads 1"),
        (vec!["/none/report.json"], "No such file"),
        (vec![&named("canonical.md")], "it isn't a report of fantail-load's"),
        (vec![&named("canonical.json"), "--baseline", odd], "it has schema 9"),
        (vec![&named("canonical.json"), "--tolerance", "p99=5%"], "--baseline"),
        (vec![&named("canonical.json"), "--baseline", &named("requests.json")], "it had no followers"),
        (vec![&named("canonical.json"), "--baseline", odd, "--tolerance", "p99=5"], "'p99=5' isn't a tolerance"),
        (vec![&named("canonical.json"), "--to", &format!("{odd}/below")], "Not a directory"),
    ] {
        let ended = report(&arguments);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
}
