//! Documents that are somebody else's: an origin has them, and what of them passes by becomes the events of a stream.
//!
//! Nothing here asks an origin. [`Turns`] says which of the states that were seen may be committed, so that an older one never
//! follows a newer one; [`judge`] says what the answer to a write tells of documents, [`Listing`] what an origin has at a URL.

mod listing;
mod passed;
mod turns;

pub use self::listing::{Listing, ListingError, has_next, name};
pub use self::passed::{Passed, Write, is_json, judge};
pub use self::turns::{Moment, Turns};

use crate::json::Value;

/// What is known of a document.
pub enum State {
    /// It is this.
    Is(Value),
    /// It isn't there any more.
    Gone,
}
