//! Origins that break rules, fail, break off and loop: one client is told, and nobody else notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::origin::{Says, scripted};
use super::{Listener, edge, publish, wait_asked, wait_held};
use crate::kit::{request, wait_for};
use crate::proxy::with_routes;

#[test]
fn a_broken_instruction_is_a_502_that_names_the_rule() {
    let origin = scripted(|target, _| match target {
        "/hold" => Says::ok("").with("Grip-Hold", "for ever"),
        "/next" => Says::ok("").stream("a; prev-id=1"),
        "/json" => Says::ok("{").with("Content-Type", "application/grip-instruct"),
        _ => Says::status("404 Not Found", "{}").with("Content-Type", "application/grip-instruct"),
    });
    let server = edge(&origin, &[]);
    let mut client = server.connect();
    for (target, rule) in [
        ("/hold", "Grip-Hold must be set"),
        ("/next", "no next link found"),
        ("/json", "as JSON"),
        ("/status", "must be 200"),
    ] {
        let problem = client.ask("GET", target, &[], "").problem(502);
        assert!(problem["detail"].as_str().expect("a text").contains(rule), "{problem}");
    }
    // It is said once.
    assert_eq!(server.log().matches("WARN").count(), 1, "{}", server.log());
}

#[test]
fn a_request_at_its_bounds_can_be_held() {
    let origin = scripted(|_, _| Says::ok("begin\n").stream("a"));
    let long = |name| {
        let bytes = 16 * 1024 - request("GET", "/api/a", &[("Accept", "text/event-stream"), (name, "")], b"").len();
        vec![("Accept", "text/event-stream".to_owned()), (name, "x".repeat(bytes))]
    };
    let many = (0..98).map(|_| ("X", "1".to_owned())).chain([("Accept", "text/event-stream".to_owned())]);
    let heads = [many.collect::<Vec<_>>(), long("Cookie"), vec![("X", "1".to_owned())]];
    // What passes, what is asked for a follower, and what is said to go to another host.
    for rules in ["", "follow = 'auto'", "request-headers = { add = { Host = 'a/b' } }"] {
        let server = with_routes(&format!("[[route]]\npath = '/api'\norigin = '{}'\n{rules}\n", origin.url()));
        for head in &heads {
            let fields: Vec<_> = head.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let mut listener = Listener::ask(&server, "/api/a", &fields);
            assert_eq!(listener.head.status, 200, "{rules}: {}", listener.head.head);
            listener.expect("begin\n");
        }
        server.check_alive();
    }
}

#[test]
fn a_request_whose_body_streams_can_be_held() {
    let origin = scripted(|_, _| Says::ok("begin\n").stream("a").next("/next"));
    let server = edge(&origin, &[]);
    let mut client = server.connect();
    client.send(request("POST", "/x", &[], &[b'x'; 100_000]));
    let mut listener = Listener::on(client);
    listener.expect("begin\n");
    wait_held(&server, 1);
    publish(&server, "a", "-", "-", "one\n");
    listener.expect("one\n");
}

#[test]
fn links_in_a_circle_without_a_byte_end() {
    let origin = scripted(|target, _| match target {
        "/begin" => Says::ok("begin").next("/a0"),
        target => {
            let page: u32 = target[2..].parse().expect("a number");
            Says::ok("").next(&format!("/a{}", page + 1))
        }
    });
    let server = edge(&origin, &[]);
    let mut listener = Listener::get(&server, "/begin");
    listener.expect("begin");
    listener.expect_end();
    assert!(origin.requests().len() <= 110, "{}", origin.requests().len());
}

#[test]
fn a_link_that_fails_is_asked_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let origin = scripted(move |target, _| match target {
        "/x" => Says::ok("0\n").next("/next"),
        _ => match count.fetch_add(1, Ordering::Relaxed) {
            0 => Says::status("500 Oh", "never seen"),
            _ => Says::ok("1\n").stream("a"),
        },
    });
    let server = edge(&origin, &[]);
    let mut listener = Listener::get(&server, "/x");
    listener.expect("0\n1\n");
    wait_held(&server, 1);
    publish(&server, "a", "-", "-", "2\n");
    listener.expect("2\n");
}

#[test]
fn a_link_that_leads_elsewhere_ends_the_stream() {
    let origin = scripted(|_, _| Says::ok("0\n").next("http://elsewhere.invalid/"));
    let server = edge(&origin, &[]);
    let mut listener = Listener::get(&server, "/x");
    listener.expect("0\n");
    listener.expect_end();
    assert!(server.log().contains("elsewhere.invalid"), "{}", server.log());
}

#[test]
fn a_page_that_breaks_off_is_asked_again_before_a_byte_of_it_was_sent() {
    let count = Arc::new(AtomicUsize::new(0));
    let origin = scripted(move |target, _| match target {
        "/x" => Says::ok("0\n").next("/next"),
        _ => match count.fetch_add(1, Ordering::Relaxed) {
            0 => Says::ok("one page\n").broken_off(),
            _ => Says::ok("one page\n"),
        },
    });
    let server = edge(&origin, &[]);
    let mut listener = Listener::get(&server, "/x");
    listener.expect("0\none page\n");
    listener.expect_end();
}

#[test]
fn a_large_page_passes_without_being_shared() {
    let body = "x".repeat(3 * 1024 * 1024);
    let large = body.clone();
    let origin = scripted(move |target, _| match target {
        "/x" => Says::ok("0\n").next("/large"),
        "/large" => Says::ok(large.clone()).next("/end"),
        _ => Says::ok("end"),
    });
    let server = edge(&origin, &[]);
    let mut listener = Listener::get(&server, "/x");
    listener.expect("0\n");
    listener.expect(&body);
    listener.expect("end");
    listener.expect_end();
}

#[test]
fn a_client_that_leaves_between_pages_is_told_of() {
    let origin = scripted(|target, _| match target {
        "/x" => Says::ok("0\n").next("/page?1").with("Grip-Link", "</gone>; rel=gone"),
        "/gone" => Says::ok(""),
        target => {
            let page: u64 = target[6..].parse().expect("a number");
            Says::ok(vec![b'x'; 64 * 1024]).next(&format!("/page?{}", page + 1))
        }
    });
    let server = edge(&origin, &[]);
    let mut listener = Listener::get(&server, "/x");
    listener.expect("0\n");
    listener.leave();
    assert!(wait_asked(&origin, "/gone").line.starts_with("POST "));
    let asked = wait_for("it to stand still", || {
        let before = origin.requests().len();
        std::thread::sleep(std::time::Duration::from_millis(200));
        (origin.requests().len() == before).then_some(before)
    });
    assert!(asked < 10_000);
}
