//! What goes wrong, told to the client: problem documents (RFC 9457).
//!
//! Every kind of problem that a client can meet is named here, with its status; a kind is never used for two statuses.
//! Invariant: an encoded problem is one JSON object, whatever its detail holds.

use serde::Serialize;

use crate::protocol::condition::ConditionError;
use crate::protocol::http1::{BodyError, HeadError};
use crate::protocol::query::QueryError;

/// The `Content-Type` of an encoded problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// A problem: `{"type":"urn:fantail:problem:taken","title":"…","status":409,"detail":"…","pointer":"/id"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The status of the answer.
    pub status: u16,
    /// The last part of the `type`: what programs look at.
    pub kind: &'static str,
    /// What all problems of the kind have in common, in English.
    pub title: &'static str,
    /// What is wrong this time, and how to do better.
    pub detail: String,
    /// The part of the request's body at fault, as a JSON Pointer.
    pub pointer: Option<String>,
}

impl Problem {
    /// The same problem, found at `pointer` in the request's body.
    #[must_use]
    pub fn at(self, pointer: impl Into<String>) -> Problem {
        Problem { pointer: Some(pointer.into()), ..self }
    }

    /// The problem as JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let document = Document {
            r#type: format_args!("urn:fantail:problem:{}", self.kind),
            title: self.title,
            status: self.status,
            detail: &self.detail,
            pointer: self.pointer.as_deref(),
        };
        serde_json::to_vec(&document).expect("strings and a number are JSON")
    }
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: std::fmt::Arguments<'a>,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
}

/// One line for each kind: its constructor, status, kind and title.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $status:literal $kind:literal $title:literal;)*) => {
        impl Problem {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(detail: impl Into<String>) -> Problem {
                    Problem { status: $status, kind: $kind, title: $title, detail: detail.into(), pointer: None }
                }
            )*
        }

        #[cfg(test)]
        const KINDS: &[fn(&str) -> Problem] = &[$(|detail| Problem::$name(detail)),*];
    };
}

kinds! {
    /// 400: HTTP, a URL or JSON that can't be read.
    malformed 400 "malformed" "The request is malformed";
    /// 400: a path that names nothing, as one of its names is refused.
    bad_name 400 "bad-name" "The path has a name that is refused";
    /// 401: to be sent with `WWW-Authenticate`.
    unauthorized 401 "unauthorized" "Credentials are missing or wrong";
    /// 403
    forbidden 403 "forbidden" "The credentials don't allow this";
    /// 404
    not_found 404 "not-found" "Nothing is here";
    /// 405: to be sent with `Allow`.
    method_not_allowed 405 "method-not-allowed" "The method doesn't apply here";
    /// 406
    not_acceptable 406 "not-acceptable" "No acceptable form exists";
    /// 408
    timeout 408 "timeout" "The request took too long to arrive";
    /// 409: a document with the id exists.
    taken 409 "taken" "The id is taken";
    /// 409: a `test` of the client's patch failed.
    test_failed 409 "test-failed" "A test of the patch failed";
    /// 409: the first request with the idempotency key has no answer yet.
    in_flight 409 "in-flight" "A request with this key is in flight";
    /// 412
    precondition_failed 412 "precondition-failed" "The resource isn't in the expected state";
    /// 413
    body_too_large 413 "body-too-large" "The body is too large";
    /// 414
    target_too_long 414 "target-too-long" "The URL is too long";
    /// 415: to be sent with `Accept-Patch` or `Accept-Post`.
    unsupported_media 415 "unsupported-media" "The body's media type isn't supported";
    /// 417
    expectation_failed 417 "expectation-failed" "The expectation can't be met";
    /// 422: JSON that isn't an acceptable document or patch.
    unacceptable 422 "unacceptable" "The body isn't an acceptable document or patch";
    /// 422: a map form over its bound; `from=snapshot` sends the same value in parts.
    map_too_large 422 "map-too-large" "The map is too large for one answer";
    /// 422: the idempotency key came before with another body.
    key_reused 422 "key-reused" "The key was used with another body";
    /// 428
    precondition_required 428 "precondition-required" "The request must be conditional";
    /// 429: to be sent with `Retry-After`.
    too_many_requests 429 "too-many-requests" "Too many requests";
    /// 431
    head_too_large 431 "head-too-large" "The request's head is too large";
    /// 501
    not_implemented 501 "not-implemented" "The server doesn't know how to do this";
    /// 502: the origin can't be reached, or what it says isn't HTTP.
    bad_gateway 502 "bad-gateway" "The origin gave no answer that can be passed on";
    /// 503: to be sent with `Retry-After`.
    unavailable 503 "unavailable" "The server can't do this now";
    /// 504: the origin took too long.
    gateway_timeout 504 "gateway-timeout" "The origin took too long";
    /// 505
    version_not_supported 505 "version-not-supported" "The HTTP version isn't supported";
    /// 507
    full 507 "full" "A limit of what is stored is reached";
}

impl From<HeadError> for Problem {
    fn from(error: HeadError) -> Problem {
        let new: fn(String) -> Problem = match error {
            HeadError::RequestLine
            | HeadError::LineEnd
            | HeadError::Field
            | HeadError::Target
            | HeadError::Host
            | HeadError::OtherHost
            | HeadError::Length
            | HeadError::Ambiguous
            | HeadError::Chunked => Problem::malformed,
            HeadError::TargetLong => Problem::target_too_long,
            HeadError::Expectation => Problem::expectation_failed,
            HeadError::HeadLong | HeadError::FieldsMany => Problem::head_too_large,
            HeadError::Coding => Problem::not_implemented,
            HeadError::Version => Problem::version_not_supported,
        };
        new(error.to_string())
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Problem {
        let new: fn(String) -> Problem = match error {
            BodyError::Chunk | BodyError::Extensions | BodyError::Trailer => Problem::malformed,
            BodyError::TooLarge => Problem::body_too_large,
            BodyError::Trailers => Problem::head_too_large,
        };
        new(error.to_string())
    }
}

impl From<ConditionError> for Problem {
    fn from(error: ConditionError) -> Problem {
        Problem::malformed(error.to_string())
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Problem {
        Problem::malformed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http1::reason;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::collections::HashSet;

    #[test]
    fn a_problem_reads_like_the_contract() {
        let problem = Problem::test_failed("/a isn't \"b\"").at("/3");
        let text = String::from_utf8(problem.encode()).expect("JSON is text");
        assert_eq!(
            text,
            r#"{"type":"urn:fantail:problem:test-failed","title":"A test of the patch failed","status":409,"detail":"/a isn't \"b\"","pointer":"/3"}"#
        );
        assert!(!String::from_utf8_lossy(&Problem::full("").encode()).contains("pointer"));
    }

    #[test]
    fn every_kind_is_named_once_and_has_a_known_status() {
        let problems = KINDS.iter().map(|new| new("")).collect::<Vec<_>>();
        assert_eq!(problems.iter().map(|problem| problem.kind).collect::<HashSet<_>>().len(), problems.len());
        for problem in problems {
            assert_ne!(reason(problem.status), "", "{problem:?}");
        }
    }

    #[test]
    fn errors_keep_their_status() {
        use BodyError::*;
        for error in [TooLarge, Chunk, Extensions, Trailer, Trailers] {
            assert_eq!(Problem::from(error).status, error.status());
        }
        use HeadError::*;
        for error in [
            RequestLine,
            LineEnd,
            Field,
            Target,
            Host,
            Length,
            Ambiguous,
            Chunked,
            TargetLong,
            Expectation,
            HeadLong,
            FieldsMany,
            Coding,
            Version,
        ] {
            assert_eq!(Problem::from(error).status, error.status());
        }
    }

    proptest! {
        #[test]
        fn any_detail_is_encoded(detail: String, pointer: String) {
            let problem = Problem::malformed(&*detail).at(&*pointer);
            let value: Value = serde_json::from_slice(&problem.encode()).expect("a problem is JSON");
            prop_assert_eq!(&value["detail"], &json!(detail));
            prop_assert_eq!(&value["pointer"], &json!(pointer));
        }
    }
}
