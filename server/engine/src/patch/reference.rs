//! RFC 6902 as plainly as it can be written, to judge patches by: strict, slow, and sharing no code with what it
//! judges.

use serde_json::Value;

/// Applies a patch given as JSON; `None` where the RFC has an error.
pub(crate) fn apply(document: &Value, patch: &Value) -> Option<Value> {
    let mut document = document.clone();
    for operation in patch.as_array()? {
        let text = |name: &str| tokens(operation.get(name)?.as_str()?);
        let path = text("path")?;
        document = match operation.get("op")?.as_str()? {
            "add" => add(document, &path, operation.get("value")?.clone())?,
            "remove" => remove(document, &path)?.0,
            "replace" if path.is_empty() => operation.get("value")?.clone(),
            "replace" => add(remove(document, &path)?.0, &path, operation.get("value")?.clone())?,
            "move" => {
                let from = text("from")?;
                if path.len() > from.len() && path.starts_with(&from) {
                    return None;
                }
                let (rest, value) = if from.is_empty() { (Value::Null, document) } else { remove(document, &from)? };
                add(rest, &path, value)?
            }
            "copy" => {
                let value = find(&document, &text("from")?)?.clone();
                add(document, &path, value)?
            }
            "test" => (find(&document, &path)? == operation.get("value")?).then_some(document)?,
            _ => return None,
        };
    }
    Some(document)
}

fn tokens(pointer: &str) -> Option<Vec<String>> {
    let mut parts = pointer.split('/');
    parts.next().filter(|before| before.is_empty())?;
    Some(parts.map(|token| token.replace("~1", "/").replace("~0", "~")).collect())
}

fn index(token: &str) -> Option<usize> {
    let index: usize = token.parse().ok()?;
    (index.to_string() == token).then_some(index)
}

fn find<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, token| match value {
        Value::Array(elements) => elements.get(index(token)?),
        _ => value.as_object()?.get(token),
    })
}

fn add(mut value: Value, path: &[String], new: Value) -> Option<Value> {
    let Some((token, rest)) = path.split_first() else { return Some(new) };
    match &mut value {
        Value::Array(elements) if rest.is_empty() => {
            let at = if token == "-" { elements.len() } else { index(token)? };
            (at <= elements.len()).then(|| elements.insert(at, new))?;
        }
        Value::Object(members) if rest.is_empty() => drop(members.insert(token.clone(), new)),
        Value::Array(elements) => {
            let inner = elements.get_mut(index(token)?)?;
            *inner = add(inner.take(), rest, new)?;
        }
        Value::Object(members) => {
            let inner = members.get_mut(token)?;
            *inner = add(inner.take(), rest, new)?;
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    }
    Some(value)
}

fn remove(mut value: Value, path: &[String]) -> Option<(Value, Value)> {
    let (token, rest) = path.split_first()?;
    let gone = match &mut value {
        Value::Array(elements) if rest.is_empty() => {
            let at = index(token)?;
            (at < elements.len()).then(|| elements.remove(at))?
        }
        Value::Object(members) if rest.is_empty() => members.remove(token)?,
        Value::Array(elements) => {
            let inner = elements.get_mut(index(token)?)?;
            let gone;
            (*inner, gone) = remove(inner.take(), rest)?;
            gone
        }
        Value::Object(members) => {
            let inner = members.get_mut(token)?;
            let gone;
            (*inner, gone) = remove(inner.take(), rest)?;
            gone
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    };
    Some((value, gone))
}
