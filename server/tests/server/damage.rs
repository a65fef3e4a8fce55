//! Damage on disk: bits that flipped in a log, manifests that are torn, lost or of a newer format. What is damaged is never
//! served, never written over, and named.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::kit::{Ended, Random, Server, fold, split};

/// Bits that are flipped, one after the other.
const FLIPS: u64 = 40;

/// The files of a folder, to be put back.
struct Saved {
    folder: PathBuf,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Saved {
    fn of(folder: &Path) -> Saved {
        let paths = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        let files = paths.map(|path| (path.clone(), fs::read(path).expect("a file"))).collect();
        Saved { folder: folder.to_owned(), files }
    }

    fn put_back(&self) {
        fs::remove_dir_all(&self.folder).and_then(|()| fs::create_dir(&self.folder)).expect("a folder");
        for (path, bytes) in &self.files {
            fs::write(path, bytes).expect("a file");
        }
    }
}

/// A stopped server with four events, each in a group of its own; the value before the first and after each.
fn four() -> (Server, Vec<Value>) {
    let mut server = Server::start();
    let mut values = vec![json!({})];
    for n in 0..4 {
        server.put(&format!("/messages/{}", n % 2), &json!({"n": n}).to_string()).expect_one_of(&[200, 201]);
        values.push(server.json("/messages?as=map"));
    }
    server.stop();
    (server, values)
}

/// The group with the flipped bit and what follows isn't served. In the last group it can't be told from a torn tail, which
/// is cut; before whole ones it is damage.
#[test]
fn a_group_with_a_flipped_bit_is_never_served() {
    let mut random = Random::seeded();
    let (mut server, values) = four();
    let saved = Saved::of(&server.stream("messages"));
    let segment = server.segments("messages").pop().expect("a segment");
    let name = segment.file_name().expect("a name").to_string_lossy().into_owned();
    let bytes = &saved.files[&segment];
    let starts: Vec<usize> = memchr::memmem::find_iter(bytes, b"id: ").collect();
    for _ in 0..FLIPS {
        let (at, bit) = (random.below(bytes.len() as u64) as usize, random.below(8));
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << bit;
        fs::write(&segment, flipped).expect("damage");
        server.start_again();
        let whole = starts.partition_point(|start| *start <= at) - 1;
        let map = server.get("/messages?as=map").expect(200);
        assert_eq!(
            (map.json(), split(map.position()).1),
            (values[whole].clone(), whole as u64),
            "byte {at}, bit {bit}"
        );
        let mut follower = server.follow("/messages?from=earliest");
        let opening = follower.opening();
        let mut value = json!({});
        for sequence in 1..=whole as u64 {
            let (id, operations) = follower.patch();
            assert_eq!(split(&id).1, sequence);
            fold(&mut value, &operations.to_string());
        }
        assert_eq!(value, values[whole], "byte {at}, bit {bit}");
        let answer = server.put("/messages/new", "{}").expect_one_of(&[201, 503]);
        if whole + 1 < starts.len() {
            let problem = answer.problem(503);
            let detail = problem["detail"].as_str().expect("a detail");
            assert!(detail.contains(&name) && detail.contains(&format!("byte {}", starts[whole])), "{at}: {detail}");
            assert!(server.log().contains(detail.split(": ").nth(1).expect("a place")), "{}", server.log());
        } else {
            let position = answer.expect(201).position().to_owned();
            assert_ne!(split(&position).0, split(&opening).0, "a loss opens an epoch");
            assert_eq!(follower.patch().0, position);
        }
        server.kill();
        saved.put_back();
    }
    server.start_again();
    assert_eq!(server.json("/messages?as=map"), values[4]);
}

/// That the server doesn't start, and its one line names the stream's folder and the reason.
#[track_caller]
fn check_refused(server: &Server, reason: &str) {
    let ended = Ended::of(&mut server.command());
    assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""), "{}", ended.errors);
    let line =
        ended.errors.lines().find(|line| line.starts_with("fantail: ")).unwrap_or_else(|| panic!("{}", ended.errors));
    assert!(line.contains(&*server.stream("messages").to_string_lossy()) && line.contains(reason), "{line}");
}

#[test]
fn a_folder_of_a_newer_format_is_refused() {
    let (mut server, values) = four();
    let saved = Saved::of(&server.stream("messages"));
    let manifest = server.stream("messages").join("manifest");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    // A newer format may have another checksum, and anything else.
    for newer in [text.replace("stream 1", "stream 2"), "fantail stream 17\nsomething else\n".into()] {
        let version = newer.split(['\n', ' ']).nth(2).expect("a version");
        fs::write(&manifest, &newer).expect("a manifest");
        check_refused(&server, &format!("version {version}"));
        assert_eq!(fs::read_to_string(&manifest).expect("a manifest"), newer, "it is left as it is");
    }
    saved.put_back();
    server.start_again();
    assert_eq!(server.json("/messages?as=map"), values[4]);
}

#[test]
fn a_torn_or_damaged_manifest_is_refused() {
    let (mut server, values) = four();
    let saved = Saved::of(&server.stream("messages"));
    let manifest = server.stream("messages").join("manifest");
    let bytes = &saved.files[&manifest];
    let mut damaged: Vec<Vec<u8>> = [0, 1, 20, bytes.len() / 2, bytes.len() - 1].map(|at| bytes[..at].to_vec()).into();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    damaged.push(flipped);
    for damaged in damaged {
        fs::write(&manifest, &damaged).expect("damage");
        check_refused(&server, "manifest");
        assert_eq!(fs::read(&manifest).expect("a manifest"), damaged, "it is left as it is");
    }
    saved.put_back();
    server.start_again();
    assert_eq!(server.json("/messages?as=map"), values[4]);
}

/// A stream can't be told without its manifest, but nothing of it is lost: whoever has a copy puts it back.
#[test]
fn a_log_without_its_manifest_is_not_written_over() {
    let (mut server, values) = four();
    let folder = server.stream("messages");
    let saved = Saved::of(&folder);
    fs::remove_file(folder.join("manifest")).expect("a manifest");
    let before = Saved::of(&folder).files;
    server.start_again();
    assert!(server.log().contains("manifest") && server.log().contains(&*folder.to_string_lossy()), "{}", server.log());
    for _ in 0..2 {
        let problem = server.put("/messages/0", "{}").problem(503);
        assert!(!problem["detail"].as_str().expect("a detail").is_empty());
    }
    server.put("/others/1", "{}").expect(201);
    server.stop();
    assert_eq!(Saved::of(&folder).files, before);
    saved.put_back();
    server.start_again();
    assert_eq!(server.json("/messages?as=map"), values[4]);
    server.put("/messages/new", "{}").expect(201);
}
