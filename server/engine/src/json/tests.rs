//! Tests of the JSON that is taken and refused: fixtures, hostile bytes, and agreement with serde_json.

use proptest::prelude::*;

use super::*;

const ACCEPTED: &str = include_str!("../../../../fixtures/json/accepted.txt");
const REFUSED: &str = include_str!("../../../../fixtures/json/refused.txt");

/// The cases of a fixture: text above `----`, what it becomes below; `#` begins a remark, an empty line ends a case.
pub(crate) fn cases(fixture: &str) -> impl Iterator<Item = (String, String)> {
    fixture.split("\n\n").filter_map(|case| {
        let lines: Vec<&str> = case.lines().filter(|line| !line.starts_with('#')).collect();
        let (text, result) = lines.split_at(lines.iter().position(|line| *line == "----")?);
        Some((text.join("\n"), result[1..].join("\n")))
    })
}

fn written(value: &Value) -> String {
    let mut out = Vec::new();
    encode(value, &mut out);
    assert_eq!(out.len(), encoded_len(value));
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// How a result reads in the fixtures: the compact value, or the kind of error and the pointer.
fn told(result: &Result<Value, JsonError>) -> String {
    let error = match result {
        Ok(value) => return written(value),
        Err(error) => error,
    };
    let kind = match error {
        JsonError::Encoding { .. } => "encoding",
        JsonError::Syntax => "syntax",
        JsonError::Control { .. } => "control",
        JsonError::Surrogate { .. } => "surrogate",
        JsonError::Duplicate { .. } => "duplicate",
        JsonError::Depth { .. } => "depth",
        JsonError::Number { .. } => "number",
    };
    error.pointer().map_or(kind.to_owned(), |pointer| format!("{kind} {pointer:?}"))
}

#[test]
fn the_fixtures_hold() {
    let mut count = 0;
    for (text, result) in cases(ACCEPTED).chain(cases(REFUSED)) {
        assert_eq!(told(&parse(text.clone().into_bytes())), result, "{text}");
        count += 1;
    }
    assert!(count > 60, "{count} cases were found");
}

#[test]
fn hostile_bytes_are_malformed() {
    let texts: &[&[u8]] = &[
        b"",
        b" ",
        b"\0",
        b"{}\0",
        b"\0{}",
        b"{\0}",
        b"[1,\0 2]",
        b"[1\x0c]",
        b"[1\x0b]",
        b"\xc2\xa0[]",
        b"\xef\xbb\xbf{}",
        b"\xfe\xff\0{\0}",
        b"\"\xff\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xc0\xaf\"",
        b"\"\xf4\x90\x80\x80\"",
        b"\"\xe2\x82\"",
        b"\"\0\"",
        b"\"\n\"",
        b"\"\t\"",
        b"\"\x1f\"",
        b"{\"a\nb\":1}",
        b"\"\\u00\xc3\xa90\"",
        b"[1]\x00\x00\x00\x00",
        b"\"abc",
        b"\"abc\\",
        b"\"abc\\\"",
        b"\"\\u12",
    ];
    for text in texts {
        let error = parse(text.to_vec()).expect_err("malformed");
        assert!(error.is_malformed(), "{:?}: {error}", String::from_utf8_lossy(text));
    }
    assert_eq!(parse(b"\"\x7f\"".to_vec()), Ok(Value::String("\x7f".into())));
}

#[test]
fn nesting_is_bounded_before_anything_recurses() {
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat().into_bytes();
    assert_eq!(measure(&parse(nested(DEPTH_MAX)).expect("deep enough")).depth, DEPTH_MAX);
    for text in [nested(DEPTH_MAX + 1), nested(10_000), vec![b'['; 1 << 20], b"{\"a\":".repeat(200_000)] {
        let error = parse(text).expect_err("too deep");
        assert!(matches!(error, JsonError::Depth { .. }) && !error.is_malformed(), "{error}");
        assert!(error.pointer().is_some_and(|pointer| pointer.split('/').count() == DEPTH_MAX + 1));
    }
}

#[test]
fn long_numbers_are_read_in_bounded_time() {
    let zeros = "0".repeat(1 << 19);
    for (text, kept) in [
        (format!("0.1{zeros}"), Some("0.1")),
        (format!("1{zeros}e-{}", 1 << 19), Some("1.0")),
        (format!("0.{zeros}1e{}", (1 << 19) + 1), Some("1.0")),
        (format!("0.{zeros}1"), None),
        (format!("1{zeros}"), None),
        (format!("1e{zeros}1"), Some("10.0")),
        (format!("1e{}", "9".repeat(1 << 19)), None),
        (format!("0e{}", "9".repeat(1 << 19)), Some("0.0")),
        (format!("1e-{}", "9".repeat(1 << 19)), None),
        (format!("0.{}", "3".repeat(1 << 19)), None),
    ] {
        assert_eq!(parse(text.clone().into_bytes()).ok().map(|value| written(&value)).as_deref(), kept, "{:.40}", text);
    }
}

#[test]
fn members_are_in_the_order_of_their_bytes() {
    let value = parse(r#"{"b":1,"é":2,"a":3,"":4,"B":5,"aa":6}"#.into()).expect("an object");
    assert_eq!(written(&value), r#"{"":4,"B":5,"a":3,"aa":6,"b":1,"é":2}"#);
}

/// Values as [`parse`] gives them.
pub(crate) fn values() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |float| float.is_finite()).prop_map(Value::from),
        (-3i64..3).prop_map(Value::from),
        Just(Value::from(-0.0)),
        Just(Value::from(1.0)),
        "[a-c]{0,2}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        r#"[\x00-\x20"\\/~é€😀]{0,6}"#.prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-c~/]{0,2}|[0-2]|__proto__|\\PC{0,3}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Whether two values are the same to the sign of a zero, as their text is.
fn identical(left: &Value, right: &Value) -> bool {
    written(left) == written(right)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in values()) {
        let text = written(&value);
        let read = parse(text.clone().into_bytes());
        prop_assert!(read.as_ref().is_ok_and(|read| identical(read, &value)), "{} {:?}", text, read);
        let pretty = serde_json::to_vec_pretty(&value).expect("a value is written");
        prop_assert!(parse(pretty).is_ok_and(|read| identical(&read, &value)));
    }

    #[test]
    fn the_measure_is_what_is_written(value in values()) {
        let text = written(&value);
        let Measure { bytes, nodes, depth } = measure(&value);
        prop_assert_eq!(bytes, text.len());
        prop_assert!(nodes >= 1 && nodes <= text.len() && depth <= text.len() / 2);
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, text in r#"[\[\]{}",:\\u0-9dDeE+\-. tfnrulase]{0,40}"#) {
        let _ = parse(bytes);
        agree(text.as_bytes())?;
    }

    #[test]
    fn mutations_are_taken_or_refused_as_by_serde_json(
        value in values(),
        edits in prop::collection::vec(edits(), 1..4),
    ) {
        let mut text = written(&value).into_bytes();
        for (place, edit, byte, letter) in edits {
            let at = place.index(text.len() + 1);
            let letter = letter.as_bytes()[0];
            match edit {
                0 if at < text.len() => drop(text.remove(at)),
                1 if at < text.len() => text[at] = if byte < 32 { byte } else { letter },
                _ => text.insert(at, letter),
            }
        }
        agree(&text)?;
    }
}

/// A place in a text, what to do there, and with which byte.
fn edits() -> impl Strategy<Value = (prop::sample::Index, usize, u8, String)> {
    (any::<prop::sample::Index>(), 0usize..3, any::<u8>(), r#"[\[\]{}",:\\/ud0-9eE.\- tn\x00\x0c]"#)
}

/// We accept exactly what serde_json does, less what the rules here add, and with the same result.
fn agree(text: &[u8]) -> Result<(), TestCaseError> {
    let shown = String::from_utf8_lossy(text);
    let theirs = serde_json::from_slice::<Value>(text);
    match (parse(text.to_vec()), theirs) {
        (Ok(ours), Ok(theirs)) => prop_assert!(near(&ours, &theirs), "{} {} {}", shown, ours, theirs),
        (Ok(ours), Err(error)) => prop_assert!(false, "only we accept {}: {} {}", shown, ours, error),
        (Err(error), Ok(_)) => prop_assert!(
            matches!(error, JsonError::Duplicate { .. } | JsonError::Number { .. } | JsonError::Depth { .. }),
            "only they accept {}: {}",
            shown,
            error
        ),
        // serde_json counts a number that overflows as an error of syntax.
        (Err(error), Err(theirs)) => prop_assert!(
            error.is_malformed() || theirs.to_string().contains("out of range"),
            "{} isn't JSON and yet {}",
            shown,
            error
        ),
    }
    Ok(())
}

/// Equal but for two liberties of serde_json: its floats may be off by the last bits, and its `-0` is a float.
fn near(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| near(ours, theirs))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|(ours, theirs)| ours.0 == theirs.0 && near(ours.1, theirs.1))
        }
        (Value::Number(ours), Value::Number(theirs)) if ours.is_f64() => {
            let (ours, theirs) = (ours.as_f64().expect("a float"), theirs.as_f64().expect("a number"));
            theirs.to_bits().abs_diff(ours.to_bits()) <= 16
        }
        (Value::Number(ours), Value::Number(theirs)) if theirs.is_f64() => {
            ours.as_u64() == Some(0) && theirs.as_f64() == Some(0.0)
        }
        _ => ours == theirs,
    }
}
