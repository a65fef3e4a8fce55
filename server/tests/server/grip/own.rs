//! Holds whose bytes are their own: ids that are built, and variables.

use serde_json::json;

use super::origin::{Says, scripted};
use super::{Listener, edge, item, publish, publish_item, targets, wait_held};

#[test]
fn variables_are_each_clients_own() {
    let origin = scripted(|target, _| {
        let user = target.trim_start_matches('/');
        Says::ok("").stream("a; filter=var-subst").with("Grip-Set-Meta", format!("user={user}"))
    });
    let server = edge(&origin, &[]);
    let (mut ann, mut bob) = (Listener::get(&server, "/ann"), Listener::get(&server, "/bob"));
    wait_held(&server, 2);
    assert_eq!(publish(&server, "a", "-", "-", "to %(user)s\n"), 2);
    // What can't be made for a client is left out.
    publish(&server, "a", "-", "-", "%(nobody)s\n");
    publish_item(&server, &item("a", "-", "-", json!({"http-stream": {"content": "100 %%\n"}})));
    ann.expect("to ann\n100 %\n");
    bob.expect("to bob\n100 %\n");
    publish_item(&server, &item("a", "-", "-", json!({"http-stream": {"action": "close"}})));
    ann.expect_end();
}

#[test]
fn an_id_says_how_far_a_client_is_on_all_its_channels() {
    let origin = scripted(|target, _| match target {
        "/x" => Says::ok("at %(given)I\n")
            .stream("a; filter=build-id; prev-id=7, b; filter=build-id; prev-id=1")
            .with("Grip-Set-Meta", r#"id_format="a:%(a)s,b:%(b)s""#)
            .next("/next"),
        _ => Says::ok("end"),
    });
    let server = edge(&origin, &[]);
    let mut listener = Listener::get(&server, "/x");
    listener.expect("at given\n");
    wait_held(&server, 2);
    publish(&server, "a", "8", "7", "id %I\n");
    publish(&server, "b", "2", "1", "id %I\n");
    listener.expect("id a:8,b:1\nid a:8,b:2\n");
    // An item that follows nothing is a gap at once.
    publish(&server, "a", "9", "-", "not seen\n");
    listener.expect("end");
    listener.expect_end();
    assert_eq!(targets(&origin), ["/x", "/next"]);
    assert_eq!(origin.last().all("Grip-Last"), ["a; last-id=8", "b; last-id=2"]);
}
