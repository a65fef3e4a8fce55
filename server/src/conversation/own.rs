//! The server's own URLs, below `/-/`.

use fantail_engine::protocol::http1::Method;
use fantail_engine::protocol::problem::Problem;

use super::answer::Answered;
use super::follow::SEVERAL;
use super::inquiry::Inquiry;

/// The page that follows a URL. It needs nothing but itself, and brings the policy that says so.
const PAGE: &[u8] = include_bytes!("page.html");
/// What a page can't say of itself.
const PAGE_POLICY: &str = "frame-ancestors 'none'";

/// Answers what lies below `/-/` and isn't followed.
pub(super) fn answer(inquiry: &Inquiry) -> Result<Answered, Answered> {
    let answered = match inquiry.path.as_str() {
        "/-" => Answered::empty(308).field("Location", "/-/"),
        "/-/" => Answered::fixed("text/html; charset=utf-8", PAGE)
            .field("Content-Security-Policy", PAGE_POLICY)
            .field("Cache-Control", "no-cache"),
        // A server that answers is alive; it listens only once all streams are recovered, so it is ready too.
        "/-/health/live" => Answered::fixed("text/plain", b"live\n").field("Cache-Control", "no-store"),
        "/-/health/ready" => Answered::fixed("text/plain", b"ready\n").field("Cache-Control", "no-store"),
        SEVERAL if matches!(inquiry.method, Method::Get | Method::Head) => {
            return Err(Problem::not_acceptable("this is text/event-stream, to be followed").into());
        }
        SEVERAL => Answered::empty(204),
        _ => return Err(Problem::not_found("the server has nothing of its own here").into()),
    };
    let allow = if inquiry.path == SEVERAL { "GET, HEAD, OPTIONS, SUBSCRIBE" } else { "GET, HEAD, OPTIONS" };
    match inquiry.method {
        Method::Get | Method::Head => Ok(answered),
        Method::Options => Ok(Answered::empty(204).field("Allow", allow)),
        Method::Post | Method::Put | Method::Patch | Method::Delete | Method::Subscribe | Method::Other => {
            let problem = Problem::method_not_allowed(format!("{} doesn't apply here", inquiry.method_text));
            Err(Answered::from(problem).field("Allow", allow))
        }
    }
}
