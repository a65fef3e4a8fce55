//! The server's own URLs.

use serde_json::json;

use crate::kit::{Follower, Server};

#[test]
fn health() {
    let server = Server::start();
    for target in ["/-/health/live", "/-/health/ready"] {
        server.get(target).expect(200);
        server.ask("HEAD", target, &[], "").expect(200);
        let answer = server.post(target, "{}");
        assert!(answer.needs("Allow").contains("GET"));
        answer.problem(405);
    }
}

#[test]
fn the_page() {
    let server = Server::start();
    let page = server.get("/-/").expect(200);
    assert_eq!(page.needs("Content-Type"), "text/html; charset=utf-8");
    let policy = page.needs("Content-Security-Policy");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    let text = page.text().to_ascii_lowercase();
    assert!(text.starts_with("<!doctype html>"));
    // The rest of the policy may be the page's own.
    let own =
        text.split("http-equiv=\"content-security-policy\" content=\"").nth(1).and_then(|rest| rest.split('"').next());
    let all = format!("{policy};{}", own.unwrap_or_default());
    for directive in ["default-src 'none'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'"] {
        assert!(all.contains(directive), "{directive} in {all}");
    }
    let browser = [("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")];
    server.ask("GET", "/-/", &browser, "").expect(200);
    assert_eq!(server.get("/-").expect(308).needs("Location"), "/-/");
}

#[test]
fn nothing_else_is_there() {
    let server = Server::start();
    for target in ["/-/x", "/-/health", "/-/health/", "/-/metrics", "/-//", "/-/channels"] {
        let problem = server.get(target).problem(404);
        assert!(problem["type"].as_str().unwrap().ends_with("not-found"));
    }
    assert_eq!(server.json("/-x"), json!({"-x": []}), "a name may begin so");
}

#[test]
fn events_want_a_topic_and_a_stream_of_events() {
    let server = Server::start();
    // It has no other form, so that only a client that refuses this one is refused.
    server.ask("GET", "/-/events?topic=/messages", &[("Accept", "application/json")], "").problem(406);
    for accept in ["*/*", "text/event-stream"] {
        Follower::by(server.address(), "GET", "/-/events?topic=/messages", &[("Accept", accept)]).opening();
    }
    server.ask("SUBSCRIBE", "/-/events", &[], "").problem(400);
    server.ask("SUBSCRIBE", "/-/events?topic=", &[], "").problem(400);
    server.ask("SUBSCRIBE", "/-/events?topic=messages", &[], "").problem(400);
    server.ask("SUBSCRIBE", "/-/events?topic=/messages/..", &[], "").problem(400);
}
