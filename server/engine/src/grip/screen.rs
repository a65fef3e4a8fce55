//! Which items a hold gets: its filters of delivery against what the publisher says of an item.
//!
//! A screen holds only what its filters look at, so that holds that get the same share one: it is a key.

use super::hold::{Channel, FilterName, Target};
use super::meta::Meta;
use crate::topic;

/// What decides for one hold, on all its channels, whether it gets an item.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub struct Screen {
    /// The hold's user, if a filter looks at it.
    user: Option<Box<str>>,
    /// The names of all its channels, sorted, if a filter looks at them.
    channels: Vec<Box<str>>,
    /// The channels that have filters, by the hash of their names.
    rules: Vec<Rule>,
}

/// The filters of one channel.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Rule {
    channel: u64,
    /// Those of delivery, sorted: their order means nothing.
    delivery: Vec<FilterName>,
    /// Those of content, in their order.
    content: Vec<FilterName>,
}

/// What screens look at in an item, in one of its formats.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Label {
    sender: Option<Box<str>>,
    skip_users: Vec<Box<str>>,
    require_sub: Option<Box<str>>,
    filters: Option<Vec<Box<str>>>,
}

impl Screen {
    /// The screen of a hold with these channels and metadata.
    #[must_use]
    pub fn new(channels: &[Channel], meta: &Meta) -> Screen {
        let mut rules = channels.iter().filter(|channel| !channel.filters.is_empty()).map(Rule::of).collect::<Vec<_>>();
        rules.sort();
        let has = |filter| rules.iter().any(|rule| rule.delivery.contains(&filter));
        let user = (has(FilterName::SkipSelf) || has(FilterName::SkipUsers)).then(|| meta.value("user")).flatten();
        let mut names = Vec::new();
        if has(FilterName::RequireSub) {
            names.extend(channels.iter().map(|channel| channel.name.clone()));
            names.sort();
        }
        Screen { user: user.filter(|user| !user.is_empty()).map(Box::from), channels: names, rules }
    }

    /// Whether the hold gets an item of the channel, given by the [`topic::hash`] of its name.
    #[must_use]
    pub fn admits(&self, channel: u64, label: &Label) -> bool {
        let rule = self.rules.binary_search_by_key(&channel, |rule| rule.channel).ok().map(|at| &self.rules[at]);
        let content = rule.map_or(&[][..], |rule| &rule.content);
        let awaited = content.iter().map(|filter| filter.name());
        if label.filters.as_ref().is_some_and(|filters| !awaited.eq(filters.iter().map(AsRef::as_ref))) {
            return false;
        }
        rule.is_none_or(|rule| rule.delivery.iter().all(|filter| self.passes(*filter, label)))
    }

    fn passes(&self, filter: FilterName, label: &Label) -> bool {
        match filter {
            FilterName::SkipSelf => self.user.is_none() || self.user != label.sender,
            FilterName::SkipUsers => self.user.as_ref().is_none_or(|user| !label.skip_users.contains(user)),
            FilterName::RequireSub => {
                label.require_sub.as_ref().is_none_or(|name| self.channels.binary_search(name).is_ok())
            }
            FilterName::BuildId | FilterName::VarSubst => true,
        }
    }
}

impl Rule {
    fn of(channel: &Channel) -> Rule {
        let (mut delivery, content): (Vec<_>, Vec<_>) =
            channel.filters.iter().partition(|filter| filter.target() == Target::Delivery);
        delivery.sort();
        delivery.dedup();
        Rule { channel: topic::hash(&channel.name), delivery, content }
    }
}

impl Label {
    /// What screens look at in an item with these metadata, which holds with just these filters of content get, or with any.
    #[must_use]
    pub fn of(meta: &Meta, filters: Option<&[Box<str>]>) -> Label {
        let value = |name| meta.value(name).filter(|value| !value.is_empty()).map(Box::from);
        let users = meta.value("skip_users").unwrap_or("").split(',').map(str::trim);
        Label {
            sender: value("sender"),
            skip_users: users.filter(|user| !user.is_empty()).map(Box::from).collect(),
            require_sub: value("require_sub"),
            filters: filters.map(<[_]>::to_vec),
        }
    }

    /// Whether every screen admits it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Label::default()
    }
}
