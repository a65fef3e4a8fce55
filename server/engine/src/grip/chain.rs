//! The chain of next links: where a client's stream goes on, and when that has to end.
//!
//! An origin may lead a stream on for as long as it likes, if it has something to say on the way. It refuses a chain that
//! turns in a circle without a byte, one that has nothing for too long, and a link that fails too often. Loops are found
//! with one remembered URI (Brent, 1980): a chain costs the same however long it is.

use super::link::{Link, LinkError};
use crate::limits::{
    LINK_BARREN_MAX, LINK_REPEAT_MS, LINK_RETRIES_MAX, LINK_RETRY_MS, LINK_RETRY_RANDOM_MS, LINK_TURNS_MAX,
};

/// A client's way from one response to the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// The URI of the response that the client has.
    current: String,
    /// What was asked last, of which no answer has come.
    asked: Option<(String, Freshness)>,
    /// Failures in a row.
    retries: u32,
    /// Pages in a row without a byte.
    barren: u32,
    /// Circles in a row without a byte.
    turns: u32,
    /// A URI that the chain has passed.
    landmark: String,
    /// Links followed since then, and after how many it becomes the current one.
    steps: u32,
    stride: u32,
}

/// What is asked next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    /// Where: an absolute URI.
    pub uri: String,
    /// Not before, in milliseconds from now.
    pub after_ms: u64,
    /// Whether an answer may be one that others were given a moment ago.
    pub freshness: Freshness,
}

/// How new an answer has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// As new as one that others were given a moment ago.
    Shared,
    /// The request mustn't have begun before the last news of any channel: there is something that the client hasn't got.
    News,
    /// The request mustn't have begun yet: the client has seen what the link said before.
    Now,
}

/// Why a chain ends before the origin says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChainError {
    /// The same URIs again and again, without a byte.
    #[error("next links lead in a circle, without a byte")]
    Circle,
    /// [`LINK_BARREN_MAX`] pages in a row without a byte.
    #[error("{LINK_BARREN_MAX} next links in a row had nothing to say")]
    Barren,
    /// [`LINK_RETRIES_MAX`] failures in a row after the first one, or one of what isn't asked again.
    #[error("it has failed too often")]
    Failed,
    /// The link can't be resolved.
    #[error(transparent)]
    Link(#[from] LinkError),
}

impl Chain {
    /// A chain that begins with the response of `uri`, which is absolute.
    #[must_use]
    pub fn new(uri: String) -> Chain {
        let landmark = uri.clone();
        Chain { current: uri, asked: None, retries: 0, barren: 0, turns: 0, landmark, steps: 0, stride: 1 }
    }

    /// The URI of the response that the client has: links are relative to it.
    #[must_use]
    pub fn current(&self) -> &str {
        &self.current
    }

    /// The response was sent, `bytes` of it; its next link is to be followed, for an answer that is at least so new.
    ///
    /// # Errors
    /// The chain ends here.
    pub fn follow(&mut self, link: &Link, bytes: u64, freshness: Freshness) -> Result<Ask, ChainError> {
        let uri = link.resolve(&self.current)?;
        match bytes {
            0 => self.barren += 1,
            _ => (self.barren, self.turns) = (0, 0),
        }
        if self.barren >= LINK_BARREN_MAX {
            return Err(ChainError::Barren);
        }
        let is_repeated = uri == self.landmark;
        if is_repeated {
            self.turns += 1;
        }
        if self.turns > LINK_TURNS_MAX {
            return Err(ChainError::Circle);
        }
        self.steps += 1;
        if self.steps == self.stride || is_repeated {
            self.landmark.clone_from(&uri);
            (self.steps, self.stride) = (0, self.stride.saturating_mul(2));
        }
        let (after_ms, freshness) = match (is_repeated, freshness) {
            (true, _) => (LINK_REPEAT_MS, Freshness::Now),
            (false, freshness) => (0, freshness),
        };
        self.asked = Some((uri.clone(), freshness));
        Ok(Ask { uri, after_ms, freshness })
    }

    /// A hold goes back to its next link, an absolute URI: something is new there.
    #[must_use]
    pub fn recall(uri: String) -> (Chain, Ask) {
        let mut chain = Chain::new(uri.clone());
        chain.asked = Some((uri.clone(), Freshness::News));
        (chain, Ask { uri, after_ms: 0, freshness: Freshness::News })
    }

    /// What was asked has been answered: the client gets that response.
    pub fn answered(&mut self) {
        self.retries = 0;
        if let Some((uri, _)) = self.asked.take() {
            self.current = uri;
        }
    }

    /// What was asked has failed, before a byte of it was sent; it is asked again. `random` spreads those who fail together.
    ///
    /// # Errors
    /// It has failed too often; or nothing was asked, and what has failed is the client's own request.
    pub fn failed(&mut self, random: u32) -> Result<Ask, ChainError> {
        let Some((uri, freshness)) = self.asked.clone().filter(|_| self.retries < LINK_RETRIES_MAX) else {
            return Err(ChainError::Failed);
        };
        let after_ms = (LINK_RETRY_MS << self.retries) + u64::from(random) % LINK_RETRY_RANDOM_MS;
        self.retries += 1;
        Ok(Ask { uri, after_ms, freshness })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grip::Instruction;

    fn link(uri: &str) -> Link {
        let value = format!("<{uri}>; rel=next");
        let instruction = Instruction::read(200, [("Grip-Link", value.as_bytes())], None);
        instruction.expect("a link").expect("an instruction").next.expect("a next link").link
    }

    /// Follows the links in a circle, each page with so many bytes, until the chain ends.
    fn circle(links: &[&str], bytes: u64, most: usize) -> (usize, Option<ChainError>) {
        let mut chain = Chain::new("http://x/begin".to_owned());
        for (step, uri) in links.iter().cycle().enumerate().take(most) {
            match chain.follow(&link(uri), bytes, Freshness::Shared) {
                Ok(_) => chain.answered(),
                Err(error) => return (step, Some(error)),
            }
        }
        (most, None)
    }

    #[test]
    fn links_are_relative_to_the_response_that_they_came_with() {
        let mut chain = Chain::new("http://x/a/b?c".to_owned());
        let asked = chain.follow(&link("d?e"), 1, Freshness::Shared).expect("it goes on");
        assert_eq!(asked, Ask { uri: "http://x/a/d?e".to_owned(), after_ms: 0, freshness: Freshness::Shared });
        // Until it is answered, the client still has the one before.
        assert_eq!(chain.current(), "http://x/a/b?c");
        chain.answered();
        assert_eq!(chain.follow(&link("/f"), 1, Freshness::Shared).expect("it goes on").uri, "http://x/f");
    }

    #[test]
    fn a_long_chain_goes_on() {
        let mut chain = Chain::new("http://x/0".to_owned());
        for page in 1..100_000 {
            let asked = chain.follow(&link(&format!("/{page}")), 1, Freshness::Shared).expect("it goes on");
            assert_eq!((asked.after_ms, asked.freshness), (0, Freshness::Shared));
            chain.answered();
        }
    }

    #[test]
    fn circles_without_a_byte_end() {
        for links in [&["/a"][..], &["/a", "/b"], &["/a", "/b", "/c", "/d", "/e"]] {
            let (step, error) = circle(links, 0, 10_000);
            assert!(matches!(error, Some(ChainError::Circle | ChainError::Barren)), "{error:?}");
            assert!(step <= LINK_BARREN_MAX as usize, "after {step}");
        }
        assert_eq!(circle(&["/a"], 0, 10_000).1, Some(ChainError::Circle));
    }

    #[test]
    fn a_circle_with_something_to_say_goes_on_slowly() {
        assert_eq!(circle(&["/a", "/b"], 1, 10_000), (10_000, None));
        let mut chain = Chain::new("http://x/a".to_owned());
        let asked = chain.follow(&link("/a"), 7, Freshness::Shared).expect("it goes on");
        assert_eq!((asked.after_ms, asked.freshness), (LINK_REPEAT_MS, Freshness::Now));
    }

    #[test]
    fn too_many_empty_pages_end_it() {
        let mut chain = Chain::new("http://x/0".to_owned());
        for page in 1..LINK_BARREN_MAX {
            chain.follow(&link(&format!("/{page}")), 0, Freshness::Shared).expect("it goes on");
            chain.answered();
        }
        assert_eq!(chain.clone().follow(&link("/z"), 0, Freshness::Shared), Err(ChainError::Barren));
        chain.follow(&link("/z"), 1, Freshness::Shared).expect("one byte is enough");
        chain.answered();
        chain.follow(&link("/y"), 0, Freshness::Shared).expect("it goes on");
    }

    #[test]
    fn failures_are_retried_with_longer_and_longer_pauses() {
        let mut chain = Chain::new("http://x/0".to_owned());
        chain.follow(&link("/1"), 1, Freshness::Shared).expect("it goes on");
        for retry in 0..LINK_RETRIES_MAX {
            let asked = chain.failed(7).expect("it is tried again");
            assert_eq!((asked.uri.as_str(), asked.after_ms), ("http://x/1", (LINK_RETRY_MS << retry) + 7));
        }
        assert_eq!(chain.failed(7), Err(ChainError::Failed));
        chain.answered();
        assert_eq!(chain.current(), "http://x/1");
        assert_eq!(chain.failed(7), Err(ChainError::Failed), "nothing was asked since");
        chain.follow(&link("/2"), 1, Freshness::News).expect("it goes on");
        let asked = chain.failed(u32::MAX).expect("it is tried again");
        assert_eq!((asked.after_ms / 1000, asked.freshness), (LINK_RETRY_MS / 1000, Freshness::News));
    }

    #[test]
    fn a_recall_asks_anew() {
        let (mut chain, asked) = Chain::recall("http://x/next".to_owned());
        assert_eq!((asked.uri.as_str(), asked.freshness), ("http://x/next", Freshness::News));
        chain.answered();
        assert_eq!(chain.current(), "http://x/next");
    }
}
