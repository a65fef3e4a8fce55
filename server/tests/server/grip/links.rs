//! Next links: pages in their order, nothing lost before the hold, gaps, hints and time-outs.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use super::origin::{Says, scripted};
use super::{Listener, edge, item, publish, publish_item, targets, wait_asked, wait_held};
use crate::kit::{Server, connect_narrow, request, wait_for};

/// The number at the end of a target.
fn number(target: &str) -> usize {
    target.rsplit('=').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[test]
fn pages_come_in_order_and_the_last_one_holds() {
    let origin = scripted(|target, _| match number(target) {
        page @ 0..5 => Says::ok(format!("page {page}\n")).next(&format!("?page={}", page + 1)),
        page => Says::ok(format!("page {page}\n")).stream("a"),
    });
    let server = edge(&origin, &[]);
    let mut listener = Listener::ask(&server, "/list", &[("Cookie", "a=b")]);
    listener.expect("page 0\npage 1\npage 2\npage 3\npage 4\npage 5\n");
    wait_held(&server, 1);
    publish(&server, "a", "-", "-", "live\n");
    listener.expect("live\n");
    let requests = origin.requests();
    assert_eq!(requests[0].all("Cookie"), ["a=b"]);
    assert!(requests[1..].iter().all(|asked| !asked.has("Cookie")));
    assert!(requests.iter().all(|asked| asked.line.starts_with("GET /list") && asked.all("Host") == ["test"]));
}

#[test]
fn without_a_hold_the_stream_ends_with_the_last_page() {
    let origin = scripted(|target, _| match target {
        "/a" => Says::ok("a").next("/b"),
        _ => Says::ok("b"),
    });
    let server = edge(&origin, &[]);
    let mut listener = Listener::get(&server, "/a");
    listener.expect("ab");
    listener.expect_end();
}

#[test]
fn nothing_falls_between_the_last_page_and_the_hold() {
    // The origin publishes between a page and the hold.
    let slot = Arc::<OnceLock<Server>>::default();
    let publisher = Arc::clone(&slot);
    let origin = scripted(move |target, _| match target {
        "/x" => Says::ok("0\n").next("/last"),
        _ => {
            let server = wait_for("the server", || publisher.get());
            for (id, before) in [("1", "0"), ("2", "1"), ("3", "2")] {
                publish(server, "a", id, before, &format!("{id}\n"));
            }
            Says::ok("1\n").stream("a; prev-id=1").next("/last")
        }
    });
    let server = slot.get_or_init(|| edge(&origin, &[]));
    let mut listener = Listener::get(server, "/x");
    listener.expect("0\n1\n2\n3\n");
    publish(server, "a", "4", "3", "4\n");
    listener.expect("4\n");
    assert_eq!(targets(&origin), ["/x", "/last"]);
}

#[test]
fn a_gap_goes_back_to_the_next_link() {
    let origin = scripted(|target, _| match target {
        "/x" => Says::ok("").stream("a; prev-id=1").next("/next?after=1"),
        _ => Says::ok("2\n3\n").stream("a; prev-id=3").next("/next?after=3"),
    });
    let server = edge(&origin, &[]);
    let mut listener = Listener::get(&server, "/x");
    wait_held(&server, 1);
    // Nobody publishes what comes before it: it waits for that, and is a gap then.
    publish(&server, "a", "3", "2", "not seen\n");
    listener.expect("2\n3\n");
    assert_eq!(wait_asked(&origin, "/next?after=1").all("Grip-Last"), ["a; last-id=1"]);
    publish(&server, "a", "4", "3", "4\n");
    listener.expect("4\n");
    assert_eq!(targets(&origin), ["/x", "/next?after=1"]);
}

#[test]
fn an_origin_that_knows_of_no_newer_item_is_asked_once_more_and_believed() {
    let origin = scripted(|_, _| Says::ok("").stream("a; prev-id=old").next("/next"));
    let server = edge(&origin, &[]);
    publish(&server, "a", "1", "-", "before\n");
    let _listener = Listener::get(&server, "/x");
    wait_held(&server, 1);
    assert_eq!(targets(&origin), ["/x", "/next"]);
}

#[test]
fn a_hint_asks_the_next_link() {
    let count = Arc::new(AtomicUsize::new(0));
    let origin = scripted(move |target, _| match target {
        "/x" => Says::ok("begin\n").stream("a").next("/next"),
        _ => Says::ok(format!("news {}\n", count.fetch_add(1, Ordering::Relaxed))).stream("a").next("/next"),
    });
    let server = edge(&origin, &[]);
    let mut listener = Listener::get(&server, "/x");
    listener.expect("begin\n");
    for round in 0..3 {
        wait_held(&server, 1);
        publish(&server, "a", "-", "-", "here\n");
        listener.expect("here\n");
        publish_item(&server, &item("a", "-", "-", json!({"http-stream": {"action": "hint"}})));
        listener.expect(&format!("news {round}\n"));
    }
}

#[test]
fn a_time_out_asks_once_for_all_and_leaves_them_where_they_are_if_nothing_is_new() {
    let news = Arc::new(AtomicBool::new(false));
    let are_there = Arc::clone(&news);
    let origin = scripted(move |target, _| {
        let held = |body: &str, id: &str| {
            Says::ok(body)
                .stream(&format!("a; prev-id={id}"))
                .with("Grip-Link", format!("</next?{id}>; rel=next; timeout=1"))
        };
        match target {
            "/next?1" if are_there.load(Ordering::Relaxed) => held("2\n", "2"),
            "/next?2" => held("", "2"),
            _ => held("", "1"),
        }
    });
    let server = edge(&origin, &[]);
    let mut listeners: Vec<_> = (0..10).map(|_| Listener::get(&server, "/x")).collect();
    wait_held(&server, 10);
    wait_for("some time-outs", || {
        (targets(&origin).iter().filter(|target| *target == "/next?1").count() >= 4).then_some(())
    });
    news.store(true, Ordering::Relaxed);
    listeners.iter_mut().for_each(|listener| listener.expect("2\n"));
    wait_held(&server, 10);
}

#[test]
fn who_asks_the_same_is_answered_by_one_request() {
    let origin = scripted(|target, _| match number(target) {
        page @ 0..20 => Says::ok(format!("{page}\n")).next(&format!("/list?page={}", page + 1)),
        page => Says::ok(format!("{page}\n")).stream("a; prev-id=1").next("/list?page=20"),
    });
    let server = edge(&origin, &["--cores", "2"]);
    let whole: String = (0..=20).map(|page| format!("{page}\n")).collect();
    let mut listeners: Vec<_> = (0..50).map(|_| Listener::get(&server, "/list")).collect();
    listeners.iter_mut().for_each(|listener| listener.expect(&whole));
    let next = targets(&origin).into_iter().filter(|target| target.contains("page")).count();
    assert!((20..=24).contains(&next), "{next} requests for 20 pages");
}

#[test]
fn a_slow_client_slows_the_origin() {
    const PAGE: usize = 256 * 1024;
    let origin = scripted(|target, _| {
        let page = number(target);
        Says::ok(vec![b'x'; PAGE]).next(&format!("/list?page={}", page + 1))
    });
    let server = edge(&origin, &[]);
    let mut socket = connect_narrow(server.address());
    std::io::Write::write_all(&mut socket, &request("GET", "/list", &[], b"")).expect("the server reads");
    // It asks until the sockets between are full, and then no more.
    let mut before = 0;
    let asked = wait_for("it to stand still", || {
        let asked = origin.requests().len();
        std::thread::sleep(std::time::Duration::from_millis(300));
        (std::mem::replace(&mut before, asked) == asked && asked > 0).then_some(asked)
    });
    assert!(asked * PAGE < 16 * 1024 * 1024, "{asked} pages for a client that reads nothing");
    let mut rest = Vec::new();
    while rest.len() < 4 * asked * PAGE {
        assert!(super::read(&mut socket, &mut rest) > 0, "it goes on");
    }
    assert!(origin.requests().len() > asked);
}

#[test]
fn a_thousand_clients_catch_up_together() {
    const CLIENTS: usize = 1_000;
    const PAGES: usize = 90;
    let page =
        |page: usize| -> String { (0..100).map(|event| format!("data: event {}\n\n", 100 * page + event)).collect() };
    let origin = scripted(move |target, _| match number(target) {
        number @ 0..PAGES => Says::ok(page(number)).next(&format!("/list?page={}", number + 1)),
        number => Says::ok(page(number)).stream("a; prev-id=1").next(&format!("/list?page={number}")),
    });
    let server = edge(&origin, &["--cores", "2"]);
    let before = resident_kib(&server);
    let whole: String = (0..=PAGES).map(page).collect();
    let ask = || {
        let mut client = server.connect();
        client.send(request("GET", "/list", &[], b""));
        client
    };
    // All have asked before the first one reads.
    let clients: Vec<_> = (0..CLIENTS).map(|_| ask()).collect();
    let mut most = 0;
    let mut listeners: Vec<_> = Vec::with_capacity(CLIENTS);
    for client in clients {
        let mut listener = Listener::on(client);
        listener.expect(&whole);
        listeners.push(listener);
        most = most.max(resident_kib(&server));
    }
    wait_held(&server, CLIENTS as u64);
    publish(&server, "a", "2", "1", "live\n");
    listeners.iter_mut().for_each(|listener| listener.expect("live\n"));
    let next = targets(&origin).into_iter().filter(|target| target.contains("page")).count();
    println!("{next} requests for {PAGES} pages, {} KiB more", most - before);
    assert!(next <= PAGES * 12 / 10, "{next} requests for {PAGES} pages");
    assert!(most - before < 64 * 1024, "{} KiB more", most - before);
}

/// Kibibytes of the server that are in memory.
fn resident_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it says how much it has");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}
