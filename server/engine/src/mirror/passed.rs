//! What the answer to a write tells of documents, once it has passed.
//!
//! An answer is believed where it says itself which document its body is: by `Content-Location`, or by an `id` that is the last
//! segment of the URL. Everything else is a reason to read. Writes with a query aren't believed either: it may ask for another form.

use percent_encoding::utf8_percent_encode;
use url::Url;

use super::{State, name};
use crate::json::{self, Value};
use crate::protocol::http1::{self, Answer, Method};
use crate::topic::{Mount, Place, URL_SEGMENT};

/// A write, as it was sent.
#[derive(Clone, Debug)]
pub struct Write {
    /// POST, PUT, PATCH or DELETE.
    pub method: Method,
    /// What its path names.
    pub place: Place,
    /// The path.
    pub path: String,
    /// Whether there is a query.
    pub has_query: bool,
    /// The host that it was sent to.
    pub host: String,
    /// The host that the origin is at: some believe that all ask them there.
    pub origin: String,
}

/// What has changed by it.
pub struct Passed {
    /// A document, or a collection if it isn't known which of its documents.
    pub place: Place,
    /// The path to read it at.
    pub path: String,
    /// What it is now, if the answer says so.
    pub state: Option<State>,
    /// Whether the origin says that the write was done. Otherwise what isn't found there isn't believed to be gone: who has sent
    /// it may be somebody to whom the origin shows nothing.
    pub is_done: bool,
}

impl Write {
    /// It may have been carried out or not.
    #[must_use]
    pub fn unknown(&self) -> Passed {
        Passed { is_done: false, ..self.told(None) }
    }

    fn told(&self, state: Option<State>) -> Passed {
        Passed { place: self.place.clone(), path: self.path.clone(), state, is_done: true }
    }

    /// The document `place`, which it has created or changed.
    fn found(&self, place: Place, path: String, value: Option<Value>) -> Passed {
        let is_it = |value: &Value| !self.has_query && name(value).as_deref() == place.document();
        let state = value.filter(is_it).map(State::Is);
        Passed { place, path, state, is_done: true }
    }
}

/// Says what a write has changed that was answered so, if anything; `content` is the answer's body if it is there whole.
#[must_use]
pub fn judge(write: &Write, mount: &Mount, answer: &Answer<'_>, content: Option<&[u8]>) -> Option<Passed> {
    match answer.status {
        200..=299 | 301..=303 => Some(done(write, mount, answer, content)),
        // An origin that fails may have done it before.
        500.. => Some(write.unknown()),
        _ => None,
    }
}

fn done(write: &Write, mount: &Mount, answer: &Answer<'_>, content: Option<&[u8]>) -> Passed {
    let value = || content.filter(|_| is_json(answer)).and_then(|content| json::parse(content.to_vec()).ok());
    let is_done = matches!(answer.status, 200 | 201 | 204);
    match (write.method, write.place.is_collection()) {
        (Method::Delete, false) if is_done => write.told(Some(State::Gone)),
        (_, false) if is_done && location(write, answer, "Content-Location").is_some_and(|path| path == write.path) => {
            write.told(value().filter(|value| value.is_object() && !write.has_query).map(State::Is))
        }
        (_, false) if is_done => write.found(write.place.clone(), write.path.clone(), value()),
        (Method::Post, true) => created(write, mount, answer, value()),
        (_, _) => write.unknown(),
    }
}

/// What a POST to a collection has made.
fn created(write: &Write, mount: &Mount, answer: &Answer<'_>, value: Option<Value>) -> Passed {
    let located = location(write, answer, "Location").and_then(|path| Some((mount.place(&path).ok()?, path)));
    if let Some((place, path)) = located.filter(|(place, _)| !place.is_collection()) {
        return write.found(place, path, value.filter(|_| answer.status == 201));
    }
    let named = value.as_ref().and_then(name).and_then(|name| Some((write.place.child(&name).ok()?, name)));
    if let Some((place, name)) = named {
        let path = member(&write.path, &name);
        return write.found(place, path, value.filter(|_| answer.status == 201));
    }
    match write.place.parent() {
        // What is done to a document, as at /orders/7/cancel, changes that.
        Some(parent) if answer.status != 201 => {
            let path = write.path.strip_suffix('/').unwrap_or(&write.path);
            let style = &write.path[path.len()..];
            let above = path.rsplit_once('/').map_or("", |(above, _)| above);
            Passed { place: parent, path: [above, style].concat(), state: None, is_done: answer.status != 202 }
        }
        Some(_) | None => Passed { is_done: matches!(answer.status, 200 | 201 | 204), ..write.unknown() },
    }
}

/// The path of the member `name` of the collection at `path`, with a slash at its end if that has one.
fn member(path: &str, name: &str) -> String {
    let (above, style) = path.strip_suffix('/').map_or((path, ""), |above| (above, "/"));
    format!("{above}/{}{style}", utf8_percent_encode(name, URL_SEGMENT))
}

/// Whether the body is JSON, as it is: what may say what a document has become.
#[must_use]
pub fn is_json(answer: &Answer<'_>) -> bool {
    let is_plain = answer.fields("Content-Encoding").all(|coding| coding.eq_ignore_ascii_case(b"identity"));
    let mut types = answer.fields("Content-Type");
    let is_json = |media: &[u8]| {
        let media = media.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        media == b"application/json" || (media.starts_with(b"application/") && media.ends_with(b"+json"))
    };
    is_plain && types.next().is_some_and(is_json) && types.next().is_none()
}

/// The path that a field refers to, if that is on the same host and has no query.
fn location(write: &Write, answer: &Answer<'_>, field: &str) -> Option<String> {
    let reference = str::from_utf8(answer.fields(field).next()?).ok()?;
    let base = Url::parse(&format!("http://{}{}", write.host, write.path)).ok()?;
    let url = base.join(reference).ok()?;
    let host = url.host_str()?;
    let is_same = base.host_str() == Some(host) || http1::without_port(&write.origin).eq_ignore_ascii_case(host);
    (is_same && url.query().is_none()).then(|| url.path().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http1::{ParsedAnswer, parse_answer};

    /// What an answer to a write at a path below `/api` says.
    fn passed(request: &str, head: &str, content: &str) -> String {
        let (method, target) = request.split_once(' ').expect("a method");
        let method = match method {
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "PATCH" => Method::Patch,
            _ => Method::Delete,
        };
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mount = Mount::new(None, "/api");
        let place = mount.place(path).expect("a path");
        let (host, origin, path) = ("h:80".to_owned(), "10.0.0.1:3000".to_owned(), path.to_owned());
        let write = Write { method, place, path, has_query: query.is_some(), host, origin };
        let bytes = format!("HTTP/1.1 {}\r\n\r\n", head.replace('|', "\r\n"));
        let Ok(ParsedAnswer::Complete { answer, .. }) = parse_answer(bytes.as_bytes(), method) else {
            panic!("a head: {head}")
        };
        match judge(&write, &mount, &answer, Some(content.as_bytes())) {
            None => "nothing".to_owned(),
            Some(Passed { place, state: Some(State::Is(value)), .. }) => format!("{} is {value}", place.path()),
            Some(Passed { place, state: Some(State::Gone), .. }) => format!("{} is gone", place.path()),
            Some(Passed { place, path, state: None, .. }) => format!("read {} at {path}", place.path()),
        }
    }

    #[test]
    fn answers_tell_what_has_become_of_documents() {
        const JSON: &str = "|Content-Type: application/json";
        for (request, head, content, said) in [
            ("POST /api/m", "201 x|J|Location: /api/m/7", r#"{"id":7}"#, r#"m/7 is {"id":7}"#),
            ("POST /api/m", "201 x|J", r#"{"id":"a b"}"#, r#"m/a b is {"id":"a b"}"#),
            ("POST /api/m/", "201 x|Location: http://h/api/m/7/", "", "read m/7 at /api/m/7/"),
            ("POST /api/m", "201 x|J|Location: m/7", r#"{"id":8}"#, "read m/7 at /api/m/7"),
            ("POST /api/m", "201 x|Location: http://other/api/m/7", "", "read m at /api/m"),
            ("POST /api/m", "201 x|Location: http://10.0.0.1:3000/api/m/7", "", "read m/7 at /api/m/7"),
            ("POST /api/m", "201 x|Location: /elsewhere", "", "read m at /api/m"),
            ("POST /api/m/", "200 x|J", r#"{"id":"a b"}"#, "read m/a b at /api/m/a%20b/"),
            ("POST /api/m?x", "201 x|J", r#"{"id":"7"}"#, "read m/7 at /api/m/7"),
            ("POST /api/m", "303 x|Location: /api/m/7", "", "read m/7 at /api/m/7"),
            ("POST /api/m/7/cancel", "204 x", "", "read m/7 at /api/m/7"),
            ("POST /api/m/7/cancel/", "200 x|J", r#"{"ok":true}"#, "read m/7 at /api/m/7/"),
            ("POST /api/m", "204 x", "", "read m at /api/m"),
            ("POST /api/m", "202 x", "", "read m at /api/m"),
            ("POST /api/m", "400 x|J", r#"{"id":7}"#, "nothing"),
            ("POST /api/m", "307 x|Location: /api/m/7", "", "nothing"),
            ("POST /api/m", "500 x", "", "read m at /api/m"),
            ("PUT /api/m/7", "200 x|J", r#"{"id":7,"t":"x"}"#, r#"m/7 is {"id":7,"t":"x"}"#),
            (
                "PUT /api/m/7/",
                "201 x|J; charset=utf-8",
                r#"{"url":"http://h/api/m/7/"}"#,
                r#"m/7 is {"url":"http://h/api/m/7/"}"#,
            ),
            ("PATCH /api/m/7", "200 x|J", r#"{"ok":true}"#, "read m/7 at /api/m/7"),
            ("PATCH /api/m/7", "200 x|J|Content-Location: /api/m/7", r#"{"ok":true}"#, r#"m/7 is {"ok":true}"#),
            ("PATCH /api/m/7", "200 x|J|Content-Location: /api/m/8", r#"{"ok":true}"#, "read m/7 at /api/m/7"),
            ("PATCH /api/m/7?fields=t", "200 x|J", r#"{"id":7}"#, "read m/7 at /api/m/7"),
            ("PATCH /api/m/7", "200 x|J|Content-Encoding: gzip", r#"{"id":7}"#, "read m/7 at /api/m/7"),
            ("PATCH /api/m/7", "200 x|Content-Type: text/html", r#"{"id":7}"#, "read m/7 at /api/m/7"),
            ("PATCH /api/m/7", "200 x|Content-Type: application/hal+json", r#"{"id":7}"#, r#"m/7 is {"id":7}"#),
            ("PATCH /api/m/7", "204 x", "", "read m/7 at /api/m/7"),
            ("PATCH /api/m/7", "202 x|J", r#"{"id":7}"#, "read m/7 at /api/m/7"),
            ("PATCH /api/m", "200 x", "", "read m at /api/m"),
            ("DELETE /api/m/7", "204 x", "", "m/7 is gone"),
            ("DELETE /api/m/7", "200 x|J", r#"{"id":7}"#, "m/7 is gone"),
            ("DELETE /api/m/7", "202 x", "", "read m/7 at /api/m/7"),
            ("DELETE /api/m/7", "404 x", "", "nothing"),
            ("DELETE /api/m", "204 x", "", "read m at /api/m"),
        ] {
            assert_eq!(passed(request, &head.replace("|J", JSON), content), said, "{request}: {head}");
        }
    }
}
