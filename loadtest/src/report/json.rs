//! JSON in lines that a person and a diff can read: a line for each member and each element, but on one line what holds no
//! object, such as a histogram's counts.

use std::fmt::Write;

use serde_json::Value;

/// The text, with a line end behind it.
pub(super) fn lines(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value, 0);
    text.push('\n');
    text
}

fn holds_object(value: &Value) -> bool {
    match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(elements) => elements.iter().any(holds_object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn write(text: &mut String, value: &Value, depth: usize) {
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", depth));
    };
    match value {
        Value::Object(members) if !members.is_empty() => {
            text.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                line(text, depth + 1);
                write!(text, "{}: ", Value::from(name.as_str())).expect("a text takes it");
                write(text, member, depth + 1);
            }
            line(text, depth);
            text.push('}');
        }
        Value::Array(elements) if holds_object(value) => {
            text.push('[');
            for (index, element) in elements.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                line(text, depth + 1);
                write(text, element, depth + 1);
            }
            line(text, depth);
            text.push(']');
        }
        flat => write!(text, "{flat}").expect("a text takes it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers_stay_on_a_line() {
        let value: Value = serde_json::from_str(r#"{"b":[[1,2],[3,4]],"a":[{"c":"\n"},{}],"d":{}}"#).expect("JSON");
        let text = lines(&value);
        assert!(
            text.contains("\"b\": [[1,2],[3,4]]")
                && text.contains("\"d\": {}")
                && text.contains("\n    {\n      \"c\"")
        );
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), value);
    }
}
