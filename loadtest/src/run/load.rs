//! What a run is: the arguments, resolved and checked, before anything is opened.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};

use crate::Failure;
use crate::arguments::{RunArguments, SwarmArguments};
use crate::preset::{Preset, Urls};
use crate::reach::{self, REACH};
use crate::scenario::Context;
use crate::swarm::{self, TOPIC};
use crate::target;
use crate::workload::Workload;

/// How long an answer's next bytes are awaited: an event stream's heartbeats come sooner.
const SILENCE: Duration = Duration::from_secs(60);

/// Descriptors beside those of goose's users: files, threads, rings, writers.
const DESCRIPTORS: usize = 64;

/// Bytes that one of goose's users takes at most, with its stream's buffers.
const USER_BYTES: u64 = 128 * 1024;

/// A run.
#[derive(Clone)]
pub(crate) struct Load {
    /// The workload's name.
    pub(crate) name: String,
    /// What is done.
    pub(crate) workload: Workload,
    /// The preset's name.
    pub(crate) target: String,
    /// How the server is spoken to.
    preset: Preset,
    /// Where.
    pub(crate) urls: Urls,
    /// Fields of each request.
    fields: Vec<String>,
    /// The same for the swarm, which publishes too.
    pub(crate) swarm: SwarmArguments,
    /// The server's process, if it is known.
    pub(crate) pid: Option<u32>,
    patience: Duration,
}

impl Load {
    /// Resolves what was typed.
    ///
    /// # Panics
    /// Without a URL: [`super::serve`] puts one there.
    pub(crate) fn resolve(typed: &RunArguments) -> Result<Load, Failure> {
        let url = typed.url.as_deref().expect("a server was started");
        let preset = Preset::named(&typed.target, &typed.overrides)?;
        let urls = preset.at(url)?;
        let (name, workload) = workload(typed, &preset, &urls)?;
        let mut fields = typed.fields.clone();
        fields.extend(typed.token.as_ref().map(|token| format!("Authorization:Bearer {token}")));
        fields.iter().try_for_each(|field| target::field(field).map(|_| ()))?;
        let patience = typed.workload.patience;
        if !swarm::is_number(patience) {
            return Err(Failure::Usage("--patience must be 0.000001 to 1000000000".to_owned()));
        }
        let swarm = swarm_arguments(typed, &workload, &preset, &urls, &fields)?;
        let load = Load {
            name,
            workload,
            target: typed.target.clone(),
            preset,
            urls,
            fields,
            swarm,
            pid: typed.pid,
            patience: Duration::from_secs_f64(patience),
        };
        load.check()?;
        Ok(load)
    }

    /// The same at another rate of writes.
    pub(crate) fn at_rate(&self, rate: f64) -> Load {
        let mut load = self.clone();
        load.workload.publish.rate = rate;
        load.swarm.publish = Some(rate);
        load
    }

    /// The same with another number of the swarm's followers.
    pub(crate) fn with_connections(&self, connections: usize) -> Load {
        let mut load = self.clone();
        load.workload.swarm.connections = connections;
        load.swarm.connections = connections;
        load
    }

    /// Refuses what this host can't hold.
    fn check(&self) -> Result<(), Failure> {
        let users = self.workload.users();
        let descriptors = swarm::descriptors_max();
        if users + DESCRIPTORS > descriptors {
            let wanted = users + DESCRIPTORS;
            let why = format!(
                "{users} users need {wanted} descriptors, and this shell allows {descriptors}: ulimit -n {wanted}"
            );
            return Err(Failure::Usage(why));
        }
        swarm::afford(self.workload.swarm.connections, users as u64 * USER_BYTES)
    }

    /// The client of all of goose's users. No time bounds a whole answer: event streams have no end.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let mut fields = HeaderMap::new();
        for field in &self.fields {
            let (name, value) = target::field(field)?;
            let wrong = |why: String| Failure::Usage(format!("--header {name}: {why}"));
            let name: HeaderName = name.parse().map_err(|_| wrong("no name of a field".to_owned()))?;
            let value = HeaderValue::from_str(value).map_err(|error| wrong(error.to_string()))?;
            fields.append(name, value);
        }
        Client::builder()
            .default_headers(fields)
            .connect_timeout(REACH)
            .read_timeout(SILENCE)
            .tcp_nodelay(true)
            .no_proxy()
            .build()
            .map_err(|error| Failure::Machine(error.to_string()))
    }

    /// What all of goose's users share.
    pub(crate) fn context(&self, client: Client) -> Context {
        Context::new(
            self.workload.clone(),
            self.preset.clone(),
            self.urls.clone(),
            client,
            swarm::unix_ns(),
            self.patience,
        )
    }

    /// The first topic's URL.
    pub(crate) fn first_topic(&self) -> String {
        Urls::of_topic(&self.urls.follow, &swarm::topic(0))
    }

    /// Makes the topics, where they must be made before they can be published to or followed.
    pub(crate) async fn create(&self, client: &Client) -> Result<(), Failure> {
        let document = self.preset.positions.then_some(swarm::Method::Put);
        let Some(method) = self.preset.create.or(document) else { return Ok(()) };
        let method = Method::from_bytes(method.name().as_bytes()).expect("a method's name is one");
        for topic in 0..self.workload.topics {
            let url = Urls::of_topic(&self.urls.publish, &swarm::topic(topic));
            let request = client.request(method.clone(), &url).timeout(REACH);
            let request = request.header("content-type", &self.preset.content_type);
            let request = if self.preset.positions { request.body(r#"{"n":0,"t":0}"#) } else { request };
            let failed = |why: String| Failure::Unreachable(format!("{url}: {why}"));
            let response = request.send().await.map_err(|error| failed(reach::refusal(&url, &error)))?;
            match response.status().as_u16() {
                200..=299 => {}
                401 | 403 => return Err(failed("it wants to know who writes: --token or --header".to_owned())),
                status => {
                    return Err(failed(format!("{method} is answered with {status}: see --target and --publish-url")));
                }
            }
        }
        Ok(())
    }
}

/// The scenario file's workload, or the canonical one, with what was overridden; and its name.
fn workload(typed: &RunArguments, preset: &Preset, urls: &Urls) -> Result<(String, Workload), Failure> {
    let typed = &typed.workload;
    let (name, mut workload) = match &typed.scenario {
        Some(path) => {
            (path.file_stem().map_or(String::new(), |name| name.to_string_lossy().into_owned()), Workload::read(path)?)
        }
        None => ("canonical".to_owned(), Workload::canonical()),
    };
    workload.seconds = typed.seconds.unwrap_or(workload.seconds);
    workload.topics = typed.topics.unwrap_or(workload.topics);
    workload.publish.rate = typed.rate.unwrap_or(workload.publish.rate);
    workload.publish.arrivals = typed.arrivals.unwrap_or(workload.publish.arrivals);
    workload.publish.burst = typed.burst.unwrap_or(workload.publish.burst);
    workload.publish.publishers = typed.publishers.unwrap_or(workload.publish.publishers);
    workload.swarm.connections = typed.connections.unwrap_or(workload.swarm.connections);
    workload.swarm.threads = typed.threads.unwrap_or(workload.swarm.threads);
    for (kind, users, can, what) in [
        (&mut workload.writers, typed.writers, urls.documents.is_some(), "writers need documents: --documents-url"),
        (&mut workload.readers, typed.readers, urls.documents.is_some(), "readers need documents: --documents-url"),
        (&mut workload.history, typed.history, urls.history.is_some(), "history has no URL: --history-url"),
        (&mut workload.followers, typed.followers, true, ""),
        (&mut workload.resumers, typed.resumers, true, ""),
    ] {
        match users {
            Some(users) if users > 0 && !can => return Err(Failure::Usage(what.to_owned())),
            Some(users) => kind.users = users,
            // What the canonical workload does besides is left out where the server can't do it.
            None if !can && typed.scenario.is_none() => kind.users = 0,
            None if !can && kind.users > 0 => return Err(Failure::Usage(what.to_owned())),
            None => {}
        }
    }
    // Who resumes where nothing is kept misses something, which is no fault: it is for those who ask for it.
    if !preset.replays && typed.resumers.is_none() && typed.scenario.is_none() {
        workload.resumers.users = 0;
    }
    workload.check()?;
    Ok((name, workload))
}

/// The swarm's part of it: its followers, and all that is published.
fn swarm_arguments(
    typed: &RunArguments,
    workload: &Workload,
    preset: &Preset,
    urls: &Urls,
    fields: &[String],
) -> Result<SwarmArguments, Failure> {
    let names_topic = urls.follow.contains(TOPIC);
    if workload.topics > 1 && !names_topic {
        return Err(Failure::Usage("several --topics need a --follow-url with {topic}".to_owned()));
    }
    Ok(SwarmArguments {
        foreign: !preset.positions,
        connections: workload.swarm.connections,
        threads: workload.swarm.threads,
        spread: typed.workload.spread,
        publish: Some(workload.publish.rate),
        publish_to: Some(urls.publish.clone()),
        publish_method: Some(preset.method),
        fields: fields.to_vec(),
        counter: preset.counter.clone(),
        time: preset.time.clone(),
        id: Some(preset.id.clone()).filter(|_| !preset.positions),
        resume: preset.resume.clone(),
        body: preset.body.clone(),
        content_type: preset.content_type.clone(),
        burst: workload.publish.burst,
        arrivals: workload.publish.arrivals,
        publishers: workload.publish.publishers,
        payload: typed.workload.payload,
        seconds: workload.seconds,
        patience: typed.workload.patience,
        topics: names_topic.then_some(workload.topics),
        stall: workload.swarm.stall,
        churn: workload.swarm.churn,
        // Steps of a ramp have the same.
        seed: Some(typed.workload.seed.unwrap_or_else(swarm::any_seed)),
        ..SwarmArguments::of(urls.follow.clone())
    })
}
