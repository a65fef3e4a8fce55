//! What an instruction makes of a connection: for which channels it is held, how, and how long.

use std::time::Duration;

use super::keep_alive::KeepAlive;

/// A connection that is held.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Hold {
    /// What the client awaits.
    pub mode: Mode,
    /// What it is held for, in the order given, each name once; at most [`crate::limits::HOLD_CHANNELS_MAX`].
    pub channels: Vec<Channel>,
    /// How long a response is held before it is sent as it is; [`crate::limits::HOLD_SECONDS_MIN`] at least.
    pub timeout: Duration,
    /// What a stream gets when it is quiet.
    pub keep_alive: Option<KeepAlive>,
}

/// How a connection is held.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// For one response, which the first item gives, or else the timeout.
    Response,
    /// For a body that never ends by itself.
    Stream,
}

/// One channel of a hold.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Channel {
    /// Its name.
    pub name: Box<str>,
    /// The last item that the response reflects; with it the hold is *tracked*: no item may be missing.
    pub prev_id: Option<Box<str>>,
    /// What is done with each item, in this order; at most [`crate::limits::FILTERS_MAX`].
    pub filters: Vec<FilterName>,
}

impl Channel {
    /// Whether the client's bytes may differ from others' on this channel.
    #[must_use]
    pub fn substitutes(&self) -> bool {
        self.filters.iter().any(|filter| filter.target() == Target::Content)
    }
}

/// What a hold asks to be done with items. A name that isn't known does nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum FilterName {
    /// Leaves out what the same user has sent.
    SkipSelf,
    /// Leaves out what names the user among those to skip.
    SkipUsers,
    /// Leaves out what requires a channel that isn't held.
    RequireSub,
    /// Puts an id made of all channels' ids into the content.
    BuildId,
    /// Puts the hold's metadata into the content.
    VarSubst,
}

/// What a filter decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// Whether the item is delivered.
    Delivery,
    /// What its bytes are.
    Content,
}

impl FilterName {
    /// Every filter.
    pub const ALL: [FilterName; 5] = [
        FilterName::SkipSelf,
        FilterName::SkipUsers,
        FilterName::RequireSub,
        FilterName::BuildId,
        FilterName::VarSubst,
    ];

    /// The filter of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<FilterName> {
        FilterName::ALL.into_iter().find(|filter| filter.name() == name)
    }

    /// As instructions and publications call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FilterName::SkipSelf => "skip-self",
            FilterName::SkipUsers => "skip-users",
            FilterName::RequireSub => "require-sub",
            FilterName::BuildId => "build-id",
            FilterName::VarSubst => "var-subst",
        }
    }

    pub(super) fn target(self) -> Target {
        match self {
            FilterName::SkipSelf | FilterName::SkipUsers | FilterName::RequireSub => Target::Delivery,
            FilterName::BuildId | FilterName::VarSubst => Target::Content,
        }
    }
}
