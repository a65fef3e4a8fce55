//! What is known of a server: how it is published to and followed, where ids, counters and moments are. Presets are data, in
//! `presets.toml`; the command line overrides their members one by one.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::Args;
use fantail_engine::protocol::sse::Event;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::Failure;
use crate::swarm::{Method, TOPIC};
use crate::target::Target;

/// How a server is spoken to, as templates.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preset {
    /// Whether ids are Fantail's positions, and data its patches; else ids are opaque, and data anything.
    #[serde(default)]
    pub(crate) positions: bool,
    /// The path to load if the URL that was given has none.
    #[serde(default)]
    path: String,
    /// What is followed.
    follow: String,
    /// What is published to.
    publish: String,
    /// The method of a publish.
    #[serde(default = "post")]
    pub(crate) method: Method,
    /// The method that makes what is published to, before anything else, if it must be made.
    #[serde(default)]
    pub(crate) create: Option<Method>,
    /// The type of what is published.
    #[serde(default = "json")]
    pub(crate) content_type: String,
    /// What is published.
    #[serde(default)]
    pub(crate) body: Option<String>,
    /// Where an event's id is.
    #[serde(default)]
    pub(crate) id: Id,
    /// The query's parameter that takes the last id on a return; without one it is the field Last-Event-ID.
    #[serde(default)]
    pub(crate) resume: Option<String>,
    /// Whether one who returns with its last id is sent what it missed.
    #[serde(default = "yes")]
    pub(crate) replays: bool,
    /// The text before the counter's digits.
    #[serde(default)]
    pub(crate) counter: Option<String>,
    /// The text before the moment's digits.
    #[serde(default)]
    pub(crate) time: Option<String>,
    /// The value that the patches add up to, if it can be had.
    #[serde(default)]
    map: Option<String>,
    /// Documents that can be created, read, changed and deleted, if there are any.
    #[serde(default)]
    documents: Option<String>,
    /// The first page of history, if it can be had.
    #[serde(default)]
    history: Option<String>,
}

/// Where an event's id is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum Id {
    /// In its `id:` field.
    #[default]
    Field,
    /// In a member of the data of events of another name.
    Member {
        /// The name.
        event: String,
        /// The member.
        member: String,
    },
}

impl Id {
    /// The id that this event brings in its data, if it is there to bring one.
    pub(crate) fn brought_by(&self, event: &Event<'_>) -> Option<String> {
        match self {
            Id::Member { event: name, member } if event.event == name.as_bytes() => {
                let data: Value = serde_json::from_slice(event.data).ok()?;
                data.get(member)?.as_str().map(str::to_owned)
            }
            Id::Member { .. } | Id::Field => None,
        }
    }
}

/// Why a text doesn't say where ids are.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("it is EVENT.MEMBER, such as control.next")]
pub(crate) struct NotAnId;

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Id, NotAnId> {
        let (event, member) = text.split_once('.').ok_or(NotAnId)?;
        Ok(Id::Member { event: event.to_owned(), member: member.to_owned() })
    }
}

fn post() -> Method {
    Method::Post
}

fn yes() -> bool {
    true
}

fn json() -> String {
    "application/json".to_owned()
}

/// Members of a preset that the command line overrides.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Overrides {
    /// What to follow, with the holes {url}, {scheme}, {host} and {topic}.
    #[arg(id = "follow_url", long = "follow-url", value_name = "TEMPLATE")]
    follow: Option<String>,
    /// What to publish to, with the same holes.
    #[arg(id = "publish_url", long = "publish-url", value_name = "TEMPLATE")]
    publish: Option<String>,
    /// The method of a publish.
    #[arg(long, value_enum)]
    method: Option<Method>,
    /// The method that makes each topic first, if one must.
    #[arg(long, value_enum)]
    create: Option<Method>,
    /// The type of what is published.
    #[arg(long)]
    content_type: Option<String>,
    /// What to publish, with holes; see `swarm --help`.
    #[arg(long, value_name = "TEMPLATE")]
    body: Option<String>,
    /// Where an event's id is, if not in its id field: EVENT.MEMBER, the member of the data of events of that name.
    #[arg(long, value_name = "EVENT.MEMBER")]
    id: Option<Id>,
    /// The parameter of the query that takes the last id on a return, if the field Last-Event-ID doesn't.
    #[arg(long, value_name = "PARAMETER")]
    resume: Option<String>,
    /// The text before the counter's digits in an event's data. ["n": as JSON has it]
    #[arg(long, value_name = "TEXT")]
    counter: Option<String>,
    /// The text before the moment's digits, nanoseconds since 1970. ["t": as JSON has it]
    #[arg(long, value_name = "TEXT")]
    time: Option<String>,
    /// Documents to create, read, patch and delete, with the holes {url} and {document}.
    #[arg(id = "documents_url", long = "documents-url", value_name = "TEMPLATE")]
    documents: Option<String>,
    /// The first page of history; next pages are those that the answers link to.
    #[arg(id = "history_url", long = "history-url", value_name = "TEMPLATE")]
    history: Option<String>,
}

impl Preset {
    /// The preset of this name, with what was overridden.
    pub(crate) fn named(name: &str, overrides: &Overrides) -> Result<Preset, Failure> {
        let mut presets: BTreeMap<String, Preset> =
            toml::from_str(include_str!("presets.toml")).expect("the presets are right, a test reads them");
        let Some(mut preset) = presets.remove(name) else {
            let names: Vec<&str> = presets.keys().map(String::as_str).collect();
            return Err(Failure::Usage(format!("--target {name}: there are {}", names.join(", "))));
        };
        let Overrides {
            follow,
            publish,
            method,
            create,
            content_type,
            body,
            id,
            resume,
            counter,
            time,
            documents,
            history,
        } = overrides.clone();
        preset.follow = follow.unwrap_or(preset.follow);
        preset.publish = publish.unwrap_or(preset.publish);
        preset.method = method.unwrap_or(preset.method);
        preset.create = create.or(preset.create);
        preset.content_type = content_type.unwrap_or(preset.content_type);
        preset.body = body.or(preset.body);
        preset.id = id.unwrap_or(preset.id);
        preset.resume = resume.or(preset.resume);
        preset.counter = counter.or(preset.counter);
        preset.time = time.or(preset.time);
        preset.documents = documents.or(preset.documents);
        preset.history = history.or(preset.history);
        Ok(preset)
    }

    /// The URLs at what was given.
    ///
    /// # Errors
    /// No http URL.
    pub(crate) fn at(&self, url: &str) -> Result<Urls, Failure> {
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        let is_bare = !rest.trim_end_matches('/').contains(['/', '?']);
        let url = if is_bare { format!("{}{}", url.trim_end_matches('/'), self.path) } else { url.to_owned() };
        let whole = if is_bare && self.path.is_empty() { format!("{url}/") } else { url.clone() };
        let target = Target::resolve(&whole)?;
        let scheme = url.split_once("://").map_or("http", |(scheme, _)| scheme);
        let base = url.trim_end_matches('/');
        let fill = |template: &String| {
            let filled = template.replace("{url}", base).replace("{scheme}", scheme).replace("{host}", target.host());
            let rest = filled.split_once("://").map_or("", |(_, rest)| rest);
            if rest.contains('/') { filled } else { format!("{filled}/") }
        };
        Ok(Urls {
            base: base.to_owned(),
            follow: fill(&self.follow),
            publish: fill(&self.publish),
            map: self.map.as_ref().map(fill),
            documents: self.documents.as_ref().map(fill),
            history: self.history.as_ref().map(fill),
        })
    }
}

/// A preset's URLs, with holes for topics and documents only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Urls {
    /// What was given.
    pub(crate) base: String,
    /// See [`Preset`].
    pub(crate) follow: String,
    /// See [`Preset`].
    pub(crate) publish: String,
    /// See [`Preset`].
    pub(crate) map: Option<String>,
    /// See [`Preset`].
    pub(crate) documents: Option<String>,
    /// See [`Preset`].
    pub(crate) history: Option<String>,
}

impl Urls {
    /// A template's URL for a topic.
    pub(crate) fn of_topic(template: &str, topic: &str) -> String {
        template.replace(TOPIC, topic)
    }

    /// A document's URL, if there are documents.
    pub(crate) fn document(&self, name: &str) -> Option<String> {
        Some(self.documents.as_ref()?.replace("{document}", name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str, url: &str) -> Urls {
        Preset::named(name, &Overrides::default()).expect("a preset").at(url).expect("a URL")
    }

    #[test]
    fn each_preset_knows_its_urls() {
        for (name, url, follow, publish) in [
            ("fantail", "http://127.0.0.1:1", "http://127.0.0.1:1/load/{topic}", "http://127.0.0.1:1/load/{topic}"),
            ("fantail", "http://127.0.0.1:1/m/", "http://127.0.0.1:1/m/{topic}", "http://127.0.0.1:1/m/{topic}"),
            ("nchan", "http://127.0.0.1:1/", "http://127.0.0.1:1/sub/{topic}", "http://127.0.0.1:1/pub/{topic}"),
            (
                "pushpin",
                "http://127.0.0.1:7999",
                "http://127.0.0.1:7999/stream?channel={topic}",
                "http://127.0.0.1:5561/publish/",
            ),
            (
                "mercure",
                "https://127.0.0.1",
                "https://127.0.0.1/.well-known/mercure?topic={topic}",
                "https://127.0.0.1/.well-known/mercure",
            ),
            (
                "durable-streams",
                "http://127.0.0.1:1",
                "http://127.0.0.1:1/v1/stream/{topic}?offset=now&live=sse",
                "http://127.0.0.1:1/v1/stream/{topic}",
            ),
            ("generic", "http://127.0.0.1:1/e?x=1", "http://127.0.0.1:1/e?x=1", "http://127.0.0.1:1/e?x=1"),
        ] {
            let urls = at(name, url);
            assert_eq!((urls.follow.as_str(), urls.publish.as_str()), (follow, publish), "{name}");
        }
        assert_eq!(at("fantail", "http://127.0.0.1:1").document("w1").as_deref(), Some("http://127.0.0.1:1/load/w1"));
    }

    #[test]
    fn members_are_overridden_one_by_one() {
        let overrides =
            Overrides { id: "control.next".parse().ok(), resume: Some("after".to_owned()), ..Overrides::default() };
        let preset = Preset::named("nchan", &overrides).expect("a preset");
        assert_eq!(
            (preset.id, preset.resume.as_deref()),
            (Id::Member { event: "control".to_owned(), member: "next".to_owned() }, Some("after"))
        );
        let unknown = Preset::named("nginx", &Overrides::default());
        assert!(matches!(unknown, Err(Failure::Usage(why)) if why.contains("durable-streams, fantail, generic")));
        assert_eq!("id".parse::<Id>(), Err(NotAnId));
    }

    #[test]
    fn an_id_may_be_a_member_of_another_event() {
        let id: Id = "control.next".parse().expect("an id");
        let brought = |event: &str, data: &str| {
            id.brought_by(&Event { id: None, event: event.as_bytes(), data: data.as_bytes() })
        };
        assert_eq!(brought("control", r#"{"next":"0_7","cursor":3}"#).as_deref(), Some("0_7"));
        for (event, data) in
            [("data", r#"{"next":"0_7"}"#), ("control", "{}"), ("control", r#"{"next":7}"#), ("control", "")]
        {
            assert_eq!(brought(event, data), None, "{event}: {data}");
        }
    }
}
