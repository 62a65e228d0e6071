//! Why a request goes where it goes: the same choices as for a real one, told.
//!
//! Nothing is counted and nobody is asked for credentials; files are looked at.

mod made;
mod why;

use std::cell::RefCell;
use std::net::IpAddr;

use mainstay_config::plan::edge::{Action, Auth, Files, Listener, Place, Protocol, Route};
use mainstay_core::name::RouteId;
use serde::{Deserialize, Serialize};

use super::decide::{Asked, Turn, act, admit, enter, page, select};
use super::fields::request_fields;
use super::reply::Fields;
use super::table::forward_of;
use super::target::{request_method, request_target};
use super::{client, render};
use crate::exchange::{Decision, Exchange};
use crate::files::{self, Outcome};
use crate::policy::Denied;
use crate::snapshot::Snapshot;

/// A request that somebody wonders about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// `https://a.example/path?query`, or a path alone.
    pub url: String,
    /// The listener that it comes to; those that fit the URL when absent.
    #[serde(default)]
    pub listener: Option<String>,
    /// Its method; GET when absent.
    #[serde(default)]
    pub method: Option<String>,
    /// Its header fields.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The address that it comes from; 127.0.0.1 when absent.
    #[serde(default)]
    pub source: Option<IpAddr>,
}

/// What becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Why there is no answer: the URL is none, no listener fits.
    pub problem: Option<String>,
    /// The way by each listener that it may come to.
    pub ways: Vec<Way>,
}

/// The way of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The listener.
    pub listener: String,
    /// The client, after trusted proxies were believed.
    pub client: Option<IpAddr>,
    /// What was done, in order.
    pub stages: Vec<Stage>,
    /// The route that acts in the end.
    pub route: Option<String>,
    /// What comes of it, as a sentence.
    pub outcome: String,
    /// The pool that gets it.
    pub pool: Option<String>,
    /// The request line that a backend gets, without its version.
    pub request: Option<String>,
    /// The header fields that a backend gets.
    pub fields: Vec<(String, String)>,
}

/// One thing on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// A route was looked for.
    Choice {
        /// The host at this moment.
        host: String,
        /// The path at this moment.
        path: String,
        /// Routes of the listener: those that fit in the order of their rank, then the others in the order of the file.
        candidates: Vec<Candidate>,
    },
    /// Something was done, as a sentence.
    Note(String),
}

/// A route that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name.
    pub route: String,
    /// It takes the request.
    pub takes: bool,
    /// Why, or why not.
    pub why: String,
}

/// Tells what becomes of a request.
#[must_use]
pub fn explain(snapshot: &Snapshot, question: &Question) -> Explanation {
    let made = match made::url(&question.url) {
        Ok(url) => url,
        Err(problem) => return Explanation { problem: Some(problem), ways: Vec::new() },
    };
    let listeners =
        snapshot.edge.listeners.iter().zip(0..).filter(|(listener, _)| match &question.listener {
            Some(name) => listener.name == *name,
            None => listener.protocol == Protocol::Http && fits(listener, &made),
        });
    let mut ways = Vec::new();
    for (listener, position) in listeners {
        if listener.protocol != Protocol::Http {
            let problem = format!("listener \"{}\" does not speak HTTP", listener.name);
            return Explanation { problem: Some(problem), ways };
        }
        match made::exchange(&made, question, listener, position) {
            Ok(mut exchange) => ways.push(way(snapshot, &mut exchange, listener)),
            Err(problem) => return Explanation { problem: Some(problem), ways },
        }
    }
    let problem = ways.is_empty().then(|| match &question.listener {
        Some(name) => format!("there is no listener \"{name}\""),
        None => format!("no listener fits the scheme and port of the URL; {}", speakers(snapshot)),
    });
    Explanation { problem, ways }
}

/// The listeners that a URL can lead to, and where they are.
fn speakers(snapshot: &Snapshot) -> String {
    let http = snapshot.edge.listeners.iter().filter(|listener| listener.protocol == Protocol::Http);
    let each = http.map(|listener| {
        let places: Vec<String> = listener.places.iter().map(crate::pool::written).collect();
        let scheme = if listener.tls.is_some() { "https" } else { "http" };
        format!("{} ({scheme} at {})", listener.name, places.join(", "))
    });
    let each: Vec<String> = each.collect();
    if each.is_empty() { "none speaks HTTP".to_owned() } else { format!("there are: {}", each.join("; ")) }
}

/// Whether a URL may lead to a listener.
fn fits(listener: &Listener, url: &made::Url<'_>) -> bool {
    let scheme = url.scheme.is_none_or(|scheme| (scheme == "https") == listener.tls.is_some());
    let ports = |port: u16| {
        listener.places.iter().any(|place| match place {
            Place::Inet(addr) => addr.port() == port,
            Place::Unix(_) => true,
        })
    };
    // A port that is not written is no reason to leave a listener out: the kernel or a container may map it.
    scheme && url.port.is_none_or(|port| listener.places.is_empty() || ports(port))
}

/// Goes a request's way and writes down what happens.
fn way(snapshot: &Snapshot, exchange: &mut Exchange, listener: &Listener) -> Way {
    let mut way = Way { listener: listener.name.clone(), ..Way::default() };
    let trust = snapshot.table.listeners.get(exchange.connection.listener as usize);
    client::find(trust.and_then(|entrance| entrance.trust.as_ref()), exchange);
    let asked = Telling { notes: RefCell::new(Vec::new()) };
    let mut turn = match admit(exchange) {
        Ok(()) => Turn::Select,
        Err(status) => {
            way.note(format!("host or target are refused with {status}"));
            Turn::Status(status)
        }
    };
    let decision = loop {
        turn = match turn {
            Turn::Done(decision) => break decision,
            Turn::Select => match choose(snapshot, exchange, &mut way) {
                Some(id) => Turn::Enter(id),
                None => {
                    exchange.route = None;
                    Turn::Status(404)
                }
            },
            Turn::Enter(id) => entered(snapshot, exchange, id, &mut way),
            Turn::Act(id) => {
                guards(&snapshot.edge.routes[id.index()], &mut way);
                act(snapshot, &asked, exchange, id)
            }
            Turn::Status(status) => {
                let named = exchange.error.is_none();
                let next = page(snapshot, exchange, status);
                if named && exchange.error.is_some() {
                    way.note(format!("status {status} has a page"));
                }
                next
            }
        };
        way.stages.extend(asked.notes.take().into_iter().map(Stage::Note));
    };
    finish(snapshot, exchange, decision, &mut way);
    way
}

fn choose(snapshot: &Snapshot, exchange: &mut Exchange, way: &mut Way) -> Option<RouteId> {
    let before = (exchange.path.clone(), exchange.query.clone());
    let host = why::host(exchange);
    let chosen = select(&snapshot.table, exchange);
    let candidates = why::candidates(snapshot, exchange, &host, chosen);
    way.stages.push(Stage::Choice { host, path: before.0, candidates });
    chosen
}

fn entered(snapshot: &Snapshot, exchange: &mut Exchange, id: RouteId, way: &mut Way) -> Turn {
    let before = (exchange.path.clone(), exchange.query.clone());
    let client = exchange.client;
    let vars = exchange.vars.clone();
    let turn = enter(snapshot, exchange, id);
    if exchange.client != client {
        way.note("the route finds the client in its own way".to_owned());
    }
    if (&exchange.path, &exchange.query) != (&before.0, &before.1) {
        let query = |q: &str| if q.is_empty() { String::new() } else { format!("?{q}") };
        let (old, new) = (query(&before.1), query(&exchange.query));
        way.note(format!("steps rewrite {}{old} to {}{new}", before.0, exchange.path));
    }
    for (name, value) in exchange.vars.iter().filter(|var| !vars.contains(var)) {
        way.note(format!("{{{name}}} is \"{value}\""));
    }
    match &turn {
        Turn::Select => way.note("a route is chosen anew".to_owned()),
        Turn::Act(other) if *other != id => {
            let name = &snapshot.edge.routes[other.index()].name;
            way.note(format!("by a condition route \"{name}\" goes on"));
        }
        Turn::Act(_) | Turn::Enter(_) | Turn::Done(_) | Turn::Status(_) => {}
    }
    turn
}

/// What a route asks for before it acts; nobody is asked here.
fn guards(route: &Route, way: &mut Way) {
    if route.internal {
        way.note(format!("route \"{}\" is for internal redirects alone", route.name));
    }
    if !route.access.is_empty() {
        way.note(format!("sources are checked by {}", count(route.access.len(), "rule")));
    }
    match &route.auth {
        Some(Auth::Basic { users, .. }) => {
            way.note(format!("user and password are asked for ({})", count(users.len(), "user")))
        }
        Some(Auth::Jwt(jwt)) => {
            way.note(format!("a signed token is asked for ({})", count(jwt.keys.len(), "key")))
        }
        None => {}
    }
    if !route.rates.is_empty() || !route.concurrency.is_empty() {
        let limits = route.rates.len() + route.concurrency.len();
        way.note(format!("rates or requests at once are bounded ({})", count(limits, "bound")));
    }
}

fn count(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

/// Says what came of it.
fn finish(snapshot: &Snapshot, exchange: &Exchange, decision: Decision, way: &mut Way) {
    let route = exchange.route.and_then(|id| snapshot.edge.routes.get(id.index()));
    way.client = exchange.client;
    way.route = route.map(|route| route.name.clone());
    way.outcome = match decision {
        Decision::Close => "the connection is closed without a word".to_owned(),
        Decision::Respond(response) => {
            let location = response.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("location"));
            match location {
                Some((_, to)) => format!("redirect {} to {}", response.status, String::from_utf8_lossy(to)),
                None => format!("status {} with {} bytes", response.status, response.body.len()),
            }
        }
        Decision::Forward => {
            let (mut line, mut fields) = (Vec::new(), Vec::new());
            request_method(snapshot, exchange, &mut line);
            line.push(b' ');
            request_target(snapshot, exchange, &mut line);
            request_fields(snapshot, exchange, &mut Fields(&mut fields));
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            way.request = Some(text(&line));
            way.fields = fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
            let forward = route.and_then(|route| forward_of(&route.action));
            way.pool = forward
                .and_then(|forward| snapshot.edge.pools.get(forward.pool.index()))
                .map(|pool| pool.name.clone());
            format!("pool \"{}\" gets {}", way.pool.as_deref().unwrap_or_default(), text(&line))
        }
    };
}

impl Way {
    fn note(&mut self, note: String) {
        self.stages.push(Stage::Note(note));
    }
}

/// Lets everybody in, and says what files come to.
struct Telling {
    notes: RefCell<Vec<String>>,
}

impl Asked for Telling {
    fn check(&self, _snapshot: &Snapshot, _exchange: &mut Exchange) -> Result<(), Denied> {
        Ok(())
    }

    fn files<'a>(&self, files: &'a Files, snapshot: &Snapshot, exchange: &mut Exchange) -> Outcome<'a> {
        let outcome = files::answer(files, snapshot, exchange, &|text, exchange, out| {
            render(text, snapshot, exchange, out)
        });
        let mut root = Vec::new();
        render(&files.root, snapshot, exchange, &mut root);
        let root = String::from_utf8_lossy(&root).into_owned();
        self.notes.borrow_mut().push(match &outcome {
            Outcome::Respond(_) => format!("{} is served from {root}", exchange.path),
            Outcome::Redirect(to) => format!("{} is a directory in {root}: {to}", exchange.path),
            Outcome::Path { path, .. } => format!("files in {root} lead to {path}"),
            Outcome::Route(id) => {
                format!("nothing in {root}: route \"{}\" goes on", snapshot.edge.routes[id.index()].name)
            }
            Outcome::Action(Action::Forward(_)) => format!("nothing in {root}: a backend is asked"),
            Outcome::Action(Action::Files(_) | Action::Answer(_)) => format!("nothing in {root}"),
            Outcome::Status { status, .. } => format!("{} in {root} comes to {status}", exchange.path),
        });
        outcome
    }
}
