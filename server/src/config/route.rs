//! Routes: which requests go to which origins, and which the store serves.
//!
//! A route matches a host, or any, and a prefix of the path that ends where a segment does: `/api` matches `/api` and `/api/1`,
//! not `/apis`. Paths are compared as they are sent: no percent-encoding is undone. Invariant: of the routes that match, the first
//! in order is the most specific one; one with a host goes before one without, and a longer path before a shorter one.

use std::cmp::Reverse;

use fantail_engine::protocol::http1::without_port;
use serde::{Deserialize, Serialize};

use super::origin::{Follow, Health, OriginAddress, Origins, Timeouts};
use super::rules::FieldRules;
use crate::limits::{ORIGINS_MAX, ROUTES_MAX};

/// Which requests go where.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(try_from = "Table")]
pub struct Route {
    /// The host, in lower case and without a port; none matches any.
    pub host: Option<String>,
    /// The prefix of the path: `/` alone matches any.
    pub path: String,
    /// Who serves it.
    pub target: Target,
}

/// Who serves a route.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The store.
    Embedded,
    /// One of these.
    Origins(Box<Origins>),
}

/// A route as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    host: Option<String>,
    #[serde(default = "root")]
    path: String,
    origin: Option<OneOrMany>,
    #[serde(default)]
    embedded: bool,
    follow: Option<Follow>,
    timeouts: Option<Timeouts>,
    request_headers: Option<FieldRules>,
    response_headers: Option<FieldRules>,
    health: Option<Health>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "an origin is a text, http://HOST:PORT, https://HOST:PORT or unix:/PATH, or a list of such"
)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn root() -> String {
    "/".to_owned()
}

impl TryFrom<Table> for Route {
    type Error = RouteError;

    fn try_from(table: Table) -> Result<Route, RouteError> {
        let Table { host, path, origin, embedded, follow, timeouts, request_headers, response_headers, health } = table;
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte)) {
            return Err(RouteError::Path(path));
        }
        let host = host.map(|host| host.to_ascii_lowercase());
        if let Some(host) = host.as_ref().filter(|host| host.is_empty() || host.contains([':', '/', ' ', '*'])) {
            return Err(RouteError::Host(host.clone()));
        }
        let texts = match origin {
            None => Vec::new(),
            Some(OneOrMany::One(text)) => vec![text],
            Some(OneOrMany::Many(texts)) => texts,
        };
        let addresses = texts.iter().map(|text| text.parse()).collect::<Result<Vec<OriginAddress>, _>>()?;
        let is_ruled = follow.is_some()
            || timeouts.is_some()
            || request_headers.is_some()
            || response_headers.is_some()
            || health.is_some();
        let target = match (embedded, addresses.len()) {
            (true, 0) if !is_ruled => Target::Embedded,
            (true, _) => return Err(RouteError::Both(path)),
            (false, 0) => return Err(RouteError::Neither(path)),
            (false, count) if count > ORIGINS_MAX => return Err(RouteError::ManyOrigins(path)),
            (false, _) => {
                let origins = Origins {
                    addresses,
                    timeouts: timeouts.unwrap_or_default(),
                    request_headers: request_headers.unwrap_or_default(),
                    response_headers: response_headers.unwrap_or_default(),
                    health,
                    follow: follow.unwrap_or_default(),
                };
                Target::Origins(Box::new(origins))
            }
        };
        Ok(Route { host, path, target })
    }
}

impl Route {
    /// All that no other route matches goes to one of these.
    ///
    /// # Panics
    /// If there are none.
    pub(super) fn to_all(addresses: Vec<OriginAddress>) -> Route {
        assert!(!addresses.is_empty(), "a route leads somewhere");
        let origins = Origins {
            addresses,
            timeouts: Timeouts::default(),
            request_headers: FieldRules::default(),
            response_headers: FieldRules::default(),
            health: None,
            follow: Follow::Off,
        };
        Route { host: None, path: root(), target: Target::Origins(Box::new(origins)) }
    }

    fn matches(&self, host: Option<&str>, path: &str) -> bool {
        let is_host = match &self.host {
            None => true,
            Some(own) => host.is_some_and(|host| host.eq_ignore_ascii_case(own)),
        };
        is_host && is_below(path, &self.path)
    }
}

/// Whether `path` is `prefix` or below it.
fn is_below(path: &str, prefix: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'),
        // The one target without a path, which asks about all of a server.
        None => path == "*" && prefix == "/",
    }
}

/// All routes of a server.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[serde(transparent)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// Puts the routes in order.
    ///
    /// # Errors
    /// If there are too many, of them or of origins, or two for the same.
    pub fn new(mut routes: Vec<Route>) -> Result<Routes, RouteError> {
        if routes.len() > ROUTES_MAX {
            return Err(RouteError::Many);
        }
        let has_many = |route: &&Route| match &route.target {
            Target::Embedded => false,
            Target::Origins(origins) => origins.addresses.len() > ORIGINS_MAX,
        };
        if let Some(route) = routes.iter().find(has_many) {
            return Err(RouteError::ManyOrigins(route.path.clone()));
        }
        routes.sort_by(|one, other| {
            let key = |route: &Route| (route.host.is_none(), Reverse(route.path.len()));
            key(one).cmp(&key(other)).then_with(|| (&one.host, &one.path).cmp(&(&other.host, &other.path)))
        });
        match routes.windows(2).find(|pair| pair[0].host == pair[1].host && pair[0].path == pair[1].path) {
            Some(pair) => Err(RouteError::Twice(pair[0].path.clone())),
            None => Ok(Routes(routes)),
        }
    }

    /// The number of the route that serves this, if any does: the store does otherwise. `host` is what the request says,
    /// with its port.
    #[must_use]
    pub fn find(&self, host: Option<&str>, path: &str) -> Option<usize> {
        let host = host.map(without_port);
        self.0.iter().position(|route| route.matches(host, path))
    }

    /// All of them; [`Routes::find`] counts from the first.
    #[must_use]
    pub fn all(&self) -> &[Route] {
        &self.0
    }

    /// Whether any leads to an origin.
    #[must_use]
    pub fn has_origins(&self) -> bool {
        self.0.iter().any(|route| matches!(route.target, Target::Origins(_)))
    }
}

/// Why a route is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RouteError {
    /// It is no path.
    #[error("{0:?} is no path: one begins with / and is percent-encoded")]
    Path(String),
    /// It is no host's name.
    #[error("{0:?} is no host: it is a name alone")]
    Host(String),
    /// An origin's address is refused.
    #[error(transparent)]
    Address(#[from] super::origin::AddressError),
    /// What the store serves has no origin, nor rules for one.
    #[error("what is embedded has no origin and no rules for one: {0}")]
    Both(String),
    /// It leads nowhere.
    #[error("a route has an origin, or embedded = true: {0}")]
    Neither(String),
    /// There are more origins than [`ORIGINS_MAX`].
    #[error("a route has at most {ORIGINS_MAX} origins: {0}")]
    ManyOrigins(String),
    /// There are more routes than [`ROUTES_MAX`].
    #[error("there are more than {ROUTES_MAX} routes")]
    Many,
    /// Two routes match the same.
    #[error("there are two routes for {0} and the same host")]
    Twice(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(text: &str) -> Routes {
        #[derive(Deserialize)]
        struct File {
            route: Vec<Route>,
        }
        let File { route } = toml::from_str(text).unwrap_or_else(|error| panic!("{error}"));
        Routes::new(route).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_most_specific_route_is_found() {
        let routes = routes(
            r#"
            route = [
                { origin = "http://all" },
                { path = "/api", origin = "http://api" },
                { path = "/api/own/", embedded = true },
                { host = "Other.example", path = "/", origin = ["http://other", "http://another"] },
            ]
            "#,
        );
        let found = |host: &str, path| {
            let route = routes.find(Some(host).filter(|host| !host.is_empty()), path).map(|at| &routes.all()[at]);
            route.map_or("", |route| if route.host.is_some() { "other" } else { &route.path })
        };
        assert_eq!(found("", "/"), "/");
        assert_eq!(found("", "*"), "/");
        assert_eq!(found("", "/apis"), "/");
        assert_eq!(found("", "/api"), "/api");
        assert_eq!(found("x:80", "/api/1"), "/api");
        assert_eq!(found("", "/api/own"), "/api");
        assert_eq!(found("", "/api/own/1"), "/api/own/");
        assert_eq!(found("other.EXAMPLE:8080", "/api"), "other");
        assert!(routes.has_origins());
    }

    #[test]
    fn without_a_route_for_all_some_is_left_to_the_store() {
        let routes = routes(r#"route = [{ path = "/api", origin = "http://api" }]"#);
        assert_eq!((routes.find(None, "/messages"), routes.find(None, "*")), (None, None));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, said) in [
            ("path = 'x'\nembedded = true", "is no path"),
            ("path = '/x?y'\nembedded = true", "is no path"),
            ("host = 'x:80'\nembedded = true", "is no host"),
            ("embedded = true\norigin = 'http://x'", "has no origin"),
            ("embedded = true\nfollow = 'auto'", "no rules"),
            ("path = '/x'", "has an origin, or embedded"),
            ("origin = []", "has an origin, or embedded"),
            ("origin = 'x'", "an origin is http://"),
            ("origin = 7", "an origin is a text"),
            ("origin = 'http://x'\ntimeouts = { connect = '0s' }", "above zero"),
            ("origin = 'http://x'\ntimeouts = { conect = '1s' }", "unknown field `conect`"),
            ("origin = 'http://x'\nhealth = { path = 'x' }", "begins with /"),
            ("origin = 'http://x'\nrequest-headers = { add = { 'a b' = '' } }", "isn't the name of a header"),
            ("origin = 'http://x'\nrequest-headers = { remove = ['Content-Length'] }", "for the server alone"),
            ("origin = 'http://x'\nresponse-headers = { add = { a = \"b\\n\" } }", "a control byte"),
        ] {
            let error = toml::from_str::<Route>(text).expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        let with_origins = |count| Route::to_all(vec!["http://x".parse().expect("an address"); count]);
        assert!(Routes::new(vec![with_origins(ORIGINS_MAX)]).is_ok());
        assert_eq!(Routes::new(vec![with_origins(ORIGINS_MAX + 1)]), Err(RouteError::ManyOrigins("/".to_owned())));
        let twice = vec![Route::to_all(vec!["http://x".parse().expect("an address")]); 2];
        assert_eq!(Routes::new(twice), Err(RouteError::Twice("/".to_owned())));
    }
}
