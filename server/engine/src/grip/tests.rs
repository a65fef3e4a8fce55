//! Tests of GRIP against the fixtures: each header, each form, each error, as text.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::patch::Patch;
use crate::protocol::fixture::{Case, check, escape};
use crate::topic;

const HEADERS: &str = include_str!("../../../../fixtures/grip/headers.txt");
const BODIES: &str = include_str!("../../../../fixtures/grip/bodies.txt");
const LINKS: &str = include_str!("../../../../fixtures/grip/links.txt");
const ITEMS: &str = include_str!("../../../../fixtures/grip/items.txt");
const FILTERS: &str = include_str!("../../../../fixtures/grip/filters.txt");
const HELD_BODIES: &str = include_str!("../../../../fixtures/grip/held-bodies.txt");

type Field<'c> = (&'c str, &'c [u8]);

/// The fields of a case, up to the empty line, and the lines after it.
fn parts(lines: &[Vec<u8>]) -> (Vec<Field<'_>>, &[Vec<u8>]) {
    let end = lines.iter().position(Vec::is_empty);
    let fields = lines[..end.unwrap_or(lines.len())].iter().map(|line| {
        let at = line.iter().position(|byte| *byte == b':').expect("a field has a colon");
        (std::str::from_utf8(&line[..at]).expect("a name is text"), &line[at + 1..])
    });
    (fields.collect(), end.map_or(&[], |end| &lines[end + 1..]))
}

fn read(case: &Case) -> Result<Option<Instruction>, InstructionError> {
    let (status, lines) = match case.lines[0].strip_prefix(b"HTTP ") {
        Some(code) => (std::str::from_utf8(code).expect("text").parse().expect("a status"), &case.lines[1..]),
        None => (200, &case.lines[..]),
    };
    let (fields, body) = parts(lines);
    let body = body.concat();
    let read = Instruction::read(status, fields.iter().copied(), Some(&body));
    assert_eq!(matches!(read, Ok(None)), !is_instruction(fields), "{case}");
    read
}

fn told_instruction(instruction: &Instruction) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a string takes all");
    if let Some(hold) = &instruction.hold {
        line(format!("hold {} {:?}", format!("{:?}", hold.mode).to_lowercase(), hold.timeout));
        for channel in &hold.channels {
            let prev_id = channel.prev_id.as_ref().map_or(String::new(), |id| format!(" prev-id={id}"));
            let filters = channel.filters.iter().map(|filter| format!(" {}", filter.name()));
            line(format!("channel {}{prev_id}{}", channel.name, filters.collect::<String>()));
        }
        if let Some(keep_alive) = &hold.keep_alive {
            let pace = format!("{:?}", keep_alive.pace).to_lowercase();
            line(format!("keep-alive {pace} {:?} {}", keep_alive.timeout, escape(&keep_alive.content)));
        }
    }
    if let Some(next) = &instruction.next {
        line(format!("next {} {:?}", next.link.reference(), next.timeout));
    }
    if let Some(gone) = &instruction.gone {
        line(format!("gone {}", gone.reference()));
    }
    if let Some(Status { code, reason }) = &instruction.status {
        line(format!("status {code} {}", reason.as_deref().unwrap_or("-")));
    }
    if !instruction.exposed.is_empty() {
        line(format!("exposed {}", instruction.exposed.join(" ")));
    }
    instruction.meta.iter().for_each(|(name, value)| line(format!("meta {name}={value}")));
    if let Some(response) = &instruction.response {
        line(format!("response {} \"{}\"", told_head(&response.head), escape(&response.body)));
    }
    match text.is_empty() {
        true => "plain".to_owned(),
        false => text.trim_end().to_owned(),
    }
}

fn told_head(head: &ResponseHead) -> String {
    let code = head.code.map_or("-".to_owned(), |code| code.to_string());
    let headers = head.headers.iter().map(|(name, value)| format!(" [{name}: {value}]"));
    format!("{code} {}{}", head.reason.as_deref().unwrap_or("-"), headers.collect::<String>())
}

fn told_reading(case: &Case) -> String {
    match read(case) {
        Ok(Some(instruction)) => told_instruction(&instruction),
        Ok(None) => "none".to_owned(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn headers_are_read_as_the_fixtures_say() {
    check(HEADERS, told_reading);
}

#[test]
fn bodies_are_read_as_the_fixtures_say() {
    check(BODIES, told_reading);
}

#[test]
fn links_lead_where_the_fixtures_say() {
    check(LINKS, |case| {
        let (current, fields) = case.lines.split_first().expect("a current URI");
        let current = std::str::from_utf8(current).expect("text");
        let fields = fields.iter().map(|value| ("Grip-Link", value.as_slice()));
        let instruction = match Instruction::read(200, fields, None) {
            Ok(instruction) => instruction.expect("a link makes an instruction"),
            Err(error) => return format!("error: {error}"),
        };
        let resolved = |link: &Link| link.resolve(current).unwrap_or_else(|error| format!("error: {error}"));
        let next = instruction.next.iter().map(|next| format!("next {} {:?}", resolved(&next.link), next.timeout));
        let gone = instruction.gone.iter().map(|gone| format!("gone {}", resolved(gone)));
        let links = next.chain(gone).collect::<Vec<_>>();
        if links.is_empty() { "none".to_owned() } else { links.join("\n") }
    });
}

fn told_item(item: &Item) -> String {
    let mut text = format!("channel {}", item.channel);
    let mut add = |more: String| text.push_str(&more);
    let filters = |filters: &Option<Vec<Box<str>>>| {
        filters.as_ref().map_or(String::new(), |filters| format!(" filters={}", filters.join(",")))
    };
    item.id.iter().for_each(|id| add(format!(" id={id}")));
    item.prev_id.iter().for_each(|id| add(format!(" prev-id={id}")));
    item.size.iter().for_each(|size| add(format!(" size={size}")));
    if item.no_seq {
        add(" no-seq".to_owned());
    }
    item.meta.iter().for_each(|(name, value)| add(format!("\nmeta {name}={value}")));
    match &item.stream {
        Some(StreamItem::Send { content, filters: named }) => {
            add(format!("\nstream send \"{}\"{}", escape(content), filters(named)));
        }
        Some(other) => add(format!("\nstream {}", format!("{other:?}").to_lowercase())),
        None => {}
    }
    match &item.response {
        Some(ResponseItem::Send { head, body: ResponseBody::Whole(body), filters: named }) => {
            add(format!("\nresponse send {} \"{}\"{}", told_head(head), escape(body), filters(named)));
        }
        Some(ResponseItem::Send { head, body: ResponseBody::Patch(patch), filters: named }) => {
            let mut operations = Vec::new();
            patch.encode("", &mut operations);
            add(format!("\nresponse patch {} [{}]{}", told_head(head), escape(&operations), filters(named)));
        }
        Some(other) => add(format!("\nresponse {}", format!("{other:?}").to_lowercase())),
        None => {}
    }
    text
}

#[test]
fn items_are_read_as_the_fixtures_say() {
    check(ITEMS, |case| match publication(case.input.clone()) {
        Ok(items) if items.is_empty() => "nothing".to_owned(),
        Ok(items) => items.iter().map(told_item).collect::<Vec<_>>().join("\n"),
        Err(error) => format!("error: {error}"),
    });
}

/// What a hold makes of an item of its first channel.
#[test]
fn filters_do_what_the_fixtures_say() {
    check(FILTERS, |case| {
        let (mut fields, body) = parts(&case.lines);
        fields.extend([("Grip-Hold", &b"stream"[..]), ("Grip-Link", b"</>; rel=next")]);
        let instruction = Instruction::read(200, fields, None).expect("an instruction").expect("a hold");
        let hold = instruction.hold.expect("a hold");
        let body = [b"{\"items\":[", body.concat().as_slice(), b"]}"].concat();
        let item = publication(body).expect("an item").remove(0);
        let Some(StreamItem::Send { content, .. }) = &item.stream else { panic!("{case}: not of a stream") };
        let (label, channel) = (item.stream_label(), &hold.channels[0]);
        let screen = Screen::new(&hold.channels, &instruction.meta);
        let admitted = screen.admits(topic::hash(&item.channel), &label);
        assert!(admitted || !label.is_open(), "{case}: an open item is for all");
        if !admitted {
            return "not delivered".to_owned();
        }
        let ids = hold.channels.iter().filter_map(|channel| {
            let id = if channel.name == item.channel { item.id.as_deref() } else { None };
            Some((channel.name.as_ref(), id.or(channel.prev_id.as_deref())?))
        });
        match Substitution::of(channel) {
            None => escape(content),
            Some(substitution) => match substitution.apply(content, &instruction.meta, &ids.collect::<Vec<_>>()) {
                Ok(content) => escape(&content),
                Err(error) => format!("error: {error}"),
            },
        }
    });
}

#[test]
fn held_bodies_change_as_the_fixtures_say() {
    check(HELD_BODIES, |case| {
        let patch = crate::json::parse(case.lines[1].clone()).expect("JSON");
        match patched(&case.lines[0], &Patch::read(patch).expect("a patch")) {
            Ok(body) => escape(&body),
            Err(error) => format!("error: {error}"),
        }
    });
}

#[test]
fn what_clients_get_is_exposed() {
    let read = |fields: &[(&'static str, &'static [u8])]| {
        Instruction::read(200, fields.iter().copied(), None).expect("an instruction").expect("one")
    };
    let all = read(&[("Grip-Status", b"200")]);
    assert!(all.exposes("Set-Cookie") && !all.exposes("grip-anything") && all.is_plain());
    let some = read(&[("Grip-Expose-Headers", b"content-type, X-One"), ("grip-expose-headers", b"Grip-Sig")]);
    assert!(some.exposes("Content-Type") && some.exposes("x-one") && !some.exposes("x-two"));
    assert!(!some.exposes("Grip-Sig"));
}

#[test]
fn a_last_id_is_written_so_that_it_can_be_read() {
    assert_eq!(last("messages", "7"), "messages; last-id=7");
    assert_eq!(last("messages", ""), "messages; last-id=");
    for id in ["a;b", "a,b", "a\"b\\c", " a ", "ä"] {
        let value = last("x", id);
        let element = parameter::elements(&value).collect::<Vec<_>>();
        let parameters = parameter::Parameters::read(element[0]).expect("parameters");
        assert_eq!((element.len(), parameters.head, parameters.value("LAST-ID")), (1, "x", Some(id)), "{value}");
    }
}

/// Text of which much means something in GRIP.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "stream",
            "response",
            "<",
            ">",
            "/a?b=c",
            ";",
            ",",
            "=",
            "\"",
            "\\",
            " ",
            "rel=next",
            "rel=gone",
            "timeout=",
            "5",
            "-1",
            "prev-id=",
            "filter=skip-self",
            "format=cstring",
            "format=base64",
            "mode=interval",
            "\\n",
            "\\x4",
            "%",
            "%(",
            ")s",
            "I",
            "http://",
            "://",
            "[",
            "200 ",
            "events",
            "&#x",
            "\u{0}",
            "\r\n",
            "é",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,3}",
    ];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

/// JSON of which much is nearly an instruction or a publication.
fn documents() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![
        "hold",
        "mode",
        "channels",
        "name",
        "prev-id",
        "filters",
        "timeout",
        "keep-alive",
        "content",
        "content-bin",
        "meta",
        "response",
        "code",
        "reason",
        "headers",
        "body",
        "body-bin",
        "body-patch",
        "items",
        "channel",
        "id",
        "no-seq",
        "size",
        "formats",
        "http-stream",
        "http-response",
        "ws-message",
        "action",
        "content-filters",
        "type",
    ]);
    let scalar = prop_oneof![
        texts().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<bool>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
    ];
    let value = scalar.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..6).prop_map(|members| {
                members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<serde_json::Value>()
            }),
        ]
    });
    prop_oneof![value.prop_map(|value| value.to_string().into_bytes()), any::<Vec<u8>>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_fields_panic(values in prop::collection::vec((0usize..9, texts()), 0..6), raw: Vec<u8>) {
        let names = [
            "Grip-Hold", "Grip-Channel", "Grip-Timeout", "Grip-Keep-Alive", "Grip-Set-Meta", "Grip-Status",
            "Grip-Expose-Headers", "Grip-Link", "Content-Type",
        ];
        let mut fields = values.iter().map(|(at, text)| (names[*at], text.as_bytes())).collect::<Vec<_>>();
        fields.push((names[raw.len() % names.len()], &raw));
        if let Ok(Some(instruction)) = Instruction::read(200, fields, Some(&raw)) {
            let _ = Screen::new(instruction.hold.as_ref().map_or(&[], |hold| &hold.channels), &instruction.meta);
            for link in instruction.next.iter().map(|next| &next.link).chain(&instruction.gone) {
                let _ = link.resolve("http://localhost:7999/a/b?c#d");
            }
        }
    }

    #[test]
    fn no_body_panics(body in documents()) {
        let fields = [("Content-Type", &b"application/grip-instruct; charset=utf-8"[..])];
        let _ = Instruction::read(200, fields, Some(&body));
        if let Ok(items) = publication(body) {
            prop_assert!(items.iter().all(|item| item.weight() >= size_of::<Item>()));
        }
    }

    /// Whatever is read of names, ids and fields can be written into a head.
    #[test]
    fn nothing_that_is_read_ends_a_line(body in documents(), value in texts()) {
        let fields = [("Content-Type", &b"application/grip-instruct"[..]), ("Grip-Channel", value.as_bytes())];
        let Ok(Some(instruction)) = Instruction::read(200, fields, Some(&body)) else { return Ok(()) };
        let mut head = String::new();
        for channel in instruction.hold.iter().flat_map(|hold| &hold.channels) {
            head.push_str(&last(&channel.name, channel.prev_id.as_deref().unwrap_or("")));
        }
        let response = instruction.response.unwrap_or_default();
        response.head.headers.iter().for_each(|(name, value)| head.extend([name.as_ref(), value]));
        head.push_str(response.head.reason.as_deref().unwrap_or(""));
        prop_assert!(!head.contains(['\r', '\n', '\0']));
    }

    #[test]
    fn content_cut_anywhere_is_rendered_as_content_given_whole(
        content in texts(),
        at in prop::collection::vec(0usize..200, 0..6),
        hex: bool,
    ) {
        let mut meta = Meta::default();
        meta.set("id_format", "a:%(a)s").expect("small");
        if hex {
            meta.set("id_encoding", "hex").expect("small");
        }
        let ids = [("a", "7")];
        let render = |parts: &[&[u8]]| {
            let mut renderer = Renderer::new(&meta, &ids)?;
            let mut out = Vec::new();
            for part in parts {
                out.extend(renderer.update(part)?);
            }
            renderer.finish().map(|()| out)
        };
        let (mut parts, mut rest) = (Vec::new(), content.as_bytes());
        for at in at {
            let (part, after) = rest.split_at(at.min(rest.len()));
            parts.push(part);
            rest = after;
        }
        parts.push(rest);
        prop_assert_eq!(render(&parts), render(&[content.as_bytes()]));
    }
}
