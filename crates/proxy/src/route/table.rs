//! The routes of a configuration, compiled: what a request needs is found by look-ups, expressions are ready.

use std::sync::Arc;

use mainstay_config::plan::edge::{
    Action, Answer, Condition, Edge, Fallback, FileKind, Forward, Host, Page, PathMatch, Piece, RealIp,
    RealIpSource, Route, Step, Template, TextPattern, TextRewrite, Then, Var,
};
use mainstay_core::name::RouteId;
use mainstay_core::net::Networks;

use super::conditions::Conditions;
use super::fields::RequestFields;
use super::host::Hosts;
use super::maps::Maps;
use super::paths::{Group, Paths, Prefix};
use super::pattern::Pattern;
use super::reply::ResponseFields;
use super::used::Used;

/// Why routes could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An expression is none, or needs backtracking.
    #[error("{place}: expression `{pattern}`: {why}")]
    Pattern {
        /// Where it stands: `route "api"`, `map "group"`.
        place: String,
        /// As it was written.
        pattern: String,
        /// What is wrong.
        why: String,
    },
    /// A map needs its own value.
    #[error("map `{{{0}}}` is computed from itself")]
    Circle(String),
    /// A route names a listener, route or pool that is not there.
    #[error("{0} names a {1} that is not there")]
    Nowhere(String, &'static str),
}

/// The routes of a snapshot, compiled.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub(super) listeners: Vec<Entrance>,
    pub(super) routes: Vec<Compiled>,
    pub(super) maps: Maps,
    pub(super) used: Used,
    pub(super) hostname: Box<str>,
}

/// A listener as requests see it.
#[derive(Clone, Debug, Default)]
pub(super) struct Entrance {
    pub(super) hosts: Hosts,
    pub(super) trust: Option<Trust>,
}

/// Who is believed about the client's address.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    /// The header, or `None` for the PROXY header.
    pub(super) header: Option<Box<str>>,
    pub(super) networks: Networks,
    pub(super) unix: bool,
    pub(super) recursive: bool,
}

/// A route, compiled.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub(super) conditions: Option<Box<Conditions>>,
    pub(super) last: bool,
    pub(super) server_name: Box<str>,
    pub(super) trust: Option<Trust>,
    pub(super) steps: Vec<Op>,
    /// The text of an exact path or a prefix, for replacing it.
    pub(super) prefix: Box<str>,
    pub(super) request: Option<Box<RequestFields>>,
    pub(super) response: ResponseFields,
}

/// A step, compiled.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Set(Box<str>, Template),
    Rewrite(Box<Rewrite>),
    Answer(Box<Answer>),
    If { when: When, ops: Vec<Op>, route: Option<RouteId> },
    Break,
    Once(Vec<Op>),
}

/// A rewrite, compiled.
#[derive(Clone, Debug)]
pub(super) struct Rewrite {
    pub(super) pattern: Pattern,
    pub(super) path: Template,
    /// What stands behind the `?`.
    pub(super) query: Option<Template>,
    /// The old query is appended.
    pub(super) keep_query: bool,
    pub(super) then: Then,
}

/// A condition, compiled.
#[derive(Clone, Debug)]
pub(super) enum When {
    True(Template),
    Equal { value: Template, to: Template, not: bool },
    Match { value: Template, pattern: Box<Pattern>, not: bool },
    File { path: Template, kind: FileKind, not: bool },
}

/// A replacement in a text, compiled.
#[derive(Clone, Debug)]
pub(super) struct Replace {
    pub(super) from: Sought,
    pub(super) to: Template,
}

/// What a replacement looks for.
#[derive(Clone, Debug)]
pub(super) enum Sought {
    Prefix(Template),
    Pattern(Box<Pattern>),
}

impl Table {
    /// Compiles the routes of a configuration.
    ///
    /// # Errors
    /// An expression that is none, a map that needs itself, a number that stands for nothing.
    pub fn new(edge: &Edge) -> Result<Self, Error> {
        let mut table = Self {
            listeners: edge.listeners.iter().map(entrance).collect(),
            routes: Vec::with_capacity(edge.routes.len()),
            maps: Maps::new(&edge.maps)?,
            used: Used::new(edge),
            hostname: rustix::system::uname().nodename().to_string_lossy().into(),
        };
        for route in &edge.routes {
            table.routes.push(compile(edge, route)?);
        }
        for (n, route) in edge.routes.iter().enumerate() {
            table.place(u32::try_from(n).unwrap_or(u32::MAX), route)?;
        }
        for entrance in &mut table.listeners {
            entrance.hosts.finish(&table.routes);
        }
        Ok(table)
    }

    /// Puts a route where its hosts and its path are looked up.
    fn place(&mut self, id: u32, route: &Route) -> Result<(), Error> {
        let path_pattern = match &route.path {
            PathMatch::Regex { pattern, ignore_case } => {
                Some(Arc::new(pattern_of(pattern, *ignore_case, || place_of(route))?))
            }
            PathMatch::Exact(_) | PathMatch::Prefix { .. } | PathMatch::Never => None,
        };
        for listener in &route.listeners {
            let entrance = self.listeners.get_mut(*listener as usize);
            let hosts = &mut entrance.ok_or_else(|| Error::Nowhere(place_of(route), "listener"))?.hosts;
            let any = [Host::Any];
            for host in if route.hosts.is_empty() { &any[..] } else { &route.hosts } {
                hosts.set_of(host, route)?.add(id, route, path_pattern.as_ref());
            }
        }
        Ok(())
    }
}

impl Hosts {
    /// The paths of a host, made when it is new.
    fn set_of(&mut self, host: &Host, route: &Route) -> Result<&mut Paths, Error> {
        let (list, name) = match host {
            Host::Any => return Ok(&mut self.any),
            Host::Regex(text) => {
                if let Some(n) = self.patterns.iter().position(|(own, ..)| **own == **text) {
                    return Ok(&mut self.patterns[n].2);
                }
                let pattern = pattern_of(text, true, || place_of(route))?;
                self.patterns.push((text.as_str().into(), pattern, Paths::default()));
                let last = self.patterns.len() - 1;
                return Ok(&mut self.patterns[last].2);
            }
            Host::Exact(name) => (&mut self.exact, name),
            Host::Suffix(name) => (&mut self.suffix, name),
            Host::Prefix(name) => (&mut self.prefix, name),
        };
        let name = name.to_lowercase();
        let n = list.binary_search_by(|(own, _)| (**own).cmp(&name)).unwrap_or_else(|n| {
            list.insert(n, (name.into(), Paths::default()));
            n
        });
        Ok(&mut list[n].1)
    }

    fn finish(&mut self, routes: &[Compiled]) {
        let named =
            self.exact.iter_mut().chain(&mut self.suffix).chain(&mut self.prefix).map(|(_, paths)| paths);
        let all = named.chain(self.patterns.iter_mut().map(|(.., paths)| paths)).chain([&mut self.any]);
        for paths in all {
            let exact = paths.exact.iter_mut().map(|(_, group)| group);
            let prefixes = paths.prefixes.iter_mut().map(|prefix| &mut prefix.group);
            let patterns = paths.patterns.iter_mut().map(|(_, group)| group);
            for group in exact.chain(prefixes).chain(patterns) {
                // Stable: the order of the file decides between equals.
                group.sort_by_key(|id| {
                    let conditions = routes[*id as usize].conditions.as_ref();
                    std::cmp::Reverse(conditions.map_or(0, |c| c.count()))
                });
            }
            paths.link();
        }
    }
}

impl Paths {
    fn add(&mut self, id: u32, route: &Route, pattern: Option<&Arc<Pattern>>) {
        let group = match (&route.path, pattern) {
            (PathMatch::Exact(path), _) => {
                let n = self.exact.binary_search_by(|(own, _)| (**own).cmp(path)).unwrap_or_else(|n| {
                    self.exact.insert(n, (path.as_str().into(), Group::new()));
                    n
                });
                &mut self.exact[n].1
            }
            (PathMatch::Prefix { path, .. }, _) => {
                let n = self.prefixes.binary_search_by(|own| (*own.text).cmp(path)).unwrap_or_else(|n| {
                    let prefix = Prefix { text: path.as_str().into(), parent: None, group: Group::new() };
                    self.prefixes.insert(n, prefix);
                    n
                });
                &mut self.prefixes[n].group
            }
            (PathMatch::Regex { .. }, Some(pattern)) => {
                let known = self.patterns.iter().position(|(own, _)| own.same_as(pattern));
                let n = known.unwrap_or_else(|| {
                    self.patterns.push((Arc::clone(pattern), Group::new()));
                    self.patterns.len() - 1
                });
                &mut self.patterns[n].1
            }
            (PathMatch::Regex { .. }, None) | (PathMatch::Never, _) => return,
        };
        group.push(id);
    }
}

fn entrance(listener: &mainstay_config::plan::edge::Listener) -> Entrance {
    Entrance { hosts: Hosts::default(), trust: listener.real_ip.as_ref().map(trust) }
}

fn trust(real_ip: &RealIp) -> Trust {
    Trust {
        header: match &real_ip.source {
            RealIpSource::Header(name) => Some(name.to_lowercase().into()),
            RealIpSource::Proxy => None,
        },
        networks: Networks::new(real_ip.trusted.iter().map(|net| (net.addr, net.prefix))),
        unix: real_ip.unix,
        recursive: real_ip.recursive,
    }
}

fn compile(edge: &Edge, route: &Route) -> Result<Compiled, Error> {
    let place = || place_of(route);
    check_numbers(edge, route)?;
    let forward = forward_of(&route.action);
    Ok(Compiled {
        conditions: Conditions::new(route, &place)?.map(Box::new),
        last: matches!(route.path, PathMatch::Prefix { last: true, .. }),
        server_name: server_name(route).into(),
        trust: route.real_ip.as_ref().map(trust),
        steps: steps(&route.steps, &place)?,
        prefix: match &route.path {
            PathMatch::Exact(path) | PathMatch::Prefix { path, .. } => path.as_str().into(),
            PathMatch::Regex { .. } | PathMatch::Never => "".into(),
        },
        request: forward.map(|forward| Box::new(RequestFields::new(route, forward))),
        response: ResponseFields::new(route, forward, &place)?,
    })
}

/// The way to a backend, if the action is one or ends in one.
pub(super) fn forward_of(action: &Action) -> Option<&Forward> {
    match action {
        Action::Forward(forward) => Some(forward),
        Action::Answer(_) => None,
        Action::Files(files) => match &files.fallback {
            Some(Fallback::Action(action)) => forward_of(action),
            Some(Fallback::Path(_) | Fallback::Route(_) | Fallback::Status(_)) | None => None,
        },
    }
}

fn check_numbers(edge: &Edge, route: &Route) -> Result<(), Error> {
    let there = |id: RouteId| {
        if id.index() < edge.routes.len() { Ok(()) } else { Err(Error::Nowhere(place_of(route), "route")) }
    };
    for page in &route.errors {
        match &page.page {
            Page::Route(id) => there(*id)?,
            Page::Path(_) | Page::Url(_) => {}
        }
    }
    if let Action::Files(files) = &route.action
        && let Some(Fallback::Route(id)) = files.fallback
    {
        there(id)?;
    }
    let mut open: Vec<&[Step]> = vec![&route.steps];
    while let Some(steps) = open.pop() {
        for step in steps {
            match step {
                Step::If { steps, route, .. } => {
                    open.push(steps);
                    route.map_or(Ok(()), there)?;
                }
                Step::Once(steps) => open.push(steps),
                Step::Set { .. } | Step::Rewrite { .. } | Step::Answer(_) | Step::Break => {}
            }
        }
    }
    match forward_of(&route.action) {
        Some(forward) if forward.pool.index() >= edge.pools.len() => {
            Err(Error::Nowhere(place_of(route), "pool"))
        }
        Some(_) | None => Ok(()),
    }
}

/// The first host as nginx's `$server_name` shows it.
fn server_name(route: &Route) -> String {
    match route.hosts.first() {
        Some(Host::Exact(name)) => name.clone(),
        Some(Host::Suffix(name)) => format!("*{name}"),
        Some(Host::Prefix(name)) => format!("{name}*"),
        Some(Host::Regex(text)) => format!("~{text}"),
        Some(Host::Any) | None => String::new(),
    }
}

pub(super) fn place_of(route: &Route) -> String {
    format!("route \"{}\"", route.name)
}

/// Compiles an expression, or says where it stands and what is wrong.
pub(super) fn pattern_of(
    text: &str,
    ignore_case: bool,
    place: impl Fn() -> String,
) -> Result<Pattern, Error> {
    Pattern::new(text, ignore_case).map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Error::Pattern { place: place(), pattern: text.to_owned(), why }
    })
}

fn steps(steps: &[Step], place: &impl Fn() -> String) -> Result<Vec<Op>, Error> {
    steps.iter().map(|step| op(step, place)).collect()
}

fn op(step: &Step, place: &impl Fn() -> String) -> Result<Op, Error> {
    Ok(match step {
        Step::Set { name, value } => Op::Set(name.as_str().into(), value.clone()),
        Step::Rewrite { pattern, ignore_case, to, then } => {
            let (path, query, keep_query) = cut(to);
            let pattern = pattern_of(pattern, *ignore_case, place)?;
            Op::Rewrite(Box::new(Rewrite { pattern, path, query, keep_query, then: *then }))
        }
        Step::Answer(answer) => Op::Answer(Box::new(answer.clone())),
        Step::If { when, steps: inner, route } => {
            Op::If { when: when_of(when, place)?, ops: steps(inner, place)?, route: *route }
        }
        Step::Break => Op::Break,
        Step::Once(inner) => Op::Once(steps(inner, place)?),
    })
}

fn when_of(when: &Condition, place: &impl Fn() -> String) -> Result<When, Error> {
    Ok(match when {
        Condition::True(value) => When::True(value.clone()),
        Condition::Equal { value, to, not } => {
            When::Equal { value: value.clone(), to: to.clone(), not: *not }
        }
        Condition::Match { value, pattern, ignore_case, not } => When::Match {
            value: value.clone(),
            pattern: Box::new(pattern_of(pattern, *ignore_case, place)?),
            not: *not,
        },
        Condition::File { path, kind, not } => When::File { path: path.clone(), kind: *kind, not: *not },
    })
}

/// Splits a template at the first `?` of its own text: path, query, and whether the old query is appended.
pub(super) fn cut(to: &Template) -> (Template, Option<Template>, bool) {
    let mut path = Vec::new();
    let mut query: Option<Vec<Piece>> = None;
    for piece in &to.0 {
        match (piece, &mut query) {
            (Piece::Text(text), None) if text.contains('?') => {
                let (before, after) = text.split_once('?').unwrap_or((text, ""));
                path.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
                query =
                    Some((!after.is_empty()).then(|| Piece::Text(after.to_owned())).into_iter().collect());
            }
            (piece, None) => path.push(piece.clone()),
            (piece, Some(query)) => query.push(piece.clone()),
        }
    }
    let mut keep = true;
    if let Some(pieces) = &mut query {
        match pieces.last_mut() {
            None => keep = false,
            Some(Piece::Text(text)) if text.ends_with('?') => {
                text.pop();
                keep = false;
            }
            Some(Piece::Text(_) | Piece::Var(_)) => {}
        }
    }
    let query = query.filter(|pieces| keep || !pieces.is_empty());
    (Template(path), query.map(Template), keep)
}

/// Compiles replacements.
pub(super) fn replaces(list: &[TextRewrite], place: &impl Fn() -> String) -> Result<Vec<Replace>, Error> {
    list.iter()
        .map(|rewrite| {
            let from = match &rewrite.from {
                TextPattern::Prefix(text) => Sought::Prefix(text.clone()),
                TextPattern::Regex { pattern, ignore_case } => {
                    Sought::Pattern(Box::new(pattern_of(pattern, *ignore_case, place)?))
                }
            };
            Ok(Replace { from, to: rewrite.to.clone() })
        })
        .collect()
}

/// Each variable of a template.
pub(super) fn vars(template: &Template) -> impl Iterator<Item = &Var> {
    template.0.iter().filter_map(|piece| match piece {
        Piece::Var(var) => Some(var),
        Piece::Text(_) => None,
    })
}
