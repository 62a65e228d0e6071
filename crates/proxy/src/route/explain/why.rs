//! Why a route takes a request, and why another one does not.

use std::cmp::Reverse;

use mainstay_config::plan::edge::{Host, PathMatch, Route};
use mainstay_core::name::RouteId;

use super::Candidate;
use crate::exchange::Exchange;
use crate::route::conditions::Missing;
use crate::route::host as hosts;
use crate::route::pattern::Pattern;
use crate::snapshot::Snapshot;

/// How well a host fits: the lower the better. Kind, then length or place in the file.
type HostRank = (u8, Reverse<usize>, usize);

/// How well a path fits: the lower the better.
type PathRank = (u8, Reverse<usize>);

/// A route that fits.
struct Fit<'a> {
    id: usize,
    route: &'a Route,
    host: HostRank,
    path: PathRank,
    conditions: usize,
}

/// The host of a request in lower case.
pub(super) fn host(exchange: &Exchange) -> String {
    let authority = exchange.request.bytes(exchange.request.authority);
    hosts::of(authority).unwrap_or_default().to_ascii_lowercase()
}

/// Each route of the listener with its reason: those that fit by rank, then the others as they stand in the file.
pub(super) fn candidates(
    snapshot: &Snapshot,
    exchange: &Exchange,
    host: &str,
    chosen: Option<RouteId>,
) -> Vec<Candidate> {
    let listener = exchange.connection.listener;
    let (mut fits, mut others) = (Vec::new(), Vec::new());
    for (id, route) in
        snapshot.edge.routes.iter().enumerate().filter(|(_, r)| r.listeners.contains(&listener))
    {
        match fit(snapshot, exchange, host, id, route) {
            Ok(fit) => fits.push(fit),
            Err(why) => others.push(Candidate { route: route.name.clone(), takes: false, why }),
        }
    }
    let taken = chosen.and_then(|chosen| fits.iter().position(|fit| fit.id == chosen.index()));
    let taken = taken.map(|at| fits.remove(at));
    fits.sort_by_key(|fit| (fit.host, fit.path, Reverse(fit.conditions), fit.id));
    let mut list = Vec::new();
    if let Some(taken) = &taken {
        let why = format!("takes it: {}", place(taken.route));
        list.push(Candidate { route: taken.route.name.clone(), takes: true, why });
    }
    list.extend(fits.iter().map(|fit| {
        let why = taken.as_ref().map_or_else(|| "is not asked".to_owned(), |taken| behind(fit, taken));
        Candidate { route: fit.route.name.clone(), takes: false, why }
    }));
    list.extend(others);
    list
}

/// Whether a route fits, or why not.
fn fit<'a>(
    snapshot: &Snapshot,
    exchange: &Exchange,
    host: &str,
    id: usize,
    route: &'a Route,
) -> Result<Fit<'a>, String> {
    let host_rank = if route.hosts.is_empty() {
        Some((4, Reverse(0), 0))
    } else {
        route.hosts.iter().filter_map(|own| host_rank(own, host, id)).min()
    };
    let Some(host_rank) = host_rank else {
        return Err(format!(
            "is for {}, not for \"{host}\"",
            route.hosts.iter().map(shown).collect::<Vec<_>>().join(", ")
        ));
    };
    let path = path_rank(&route.path, &exchange.path).map_err(|why| why.replace("{path}", &exchange.path))?;
    let conditions = snapshot.table.routes[id].conditions.as_deref();
    if let Some(missing) = conditions.and_then(|conditions| conditions.missing(exchange)) {
        return Err(match missing {
            Missing::Method(methods) => format!("asks for method {}", methods.join(" or ")),
            Missing::Header(name) => format!("asks for another value of header {name}"),
            Missing::Query(name) => format!("asks for another value of query parameter {name}"),
            Missing::Source => match exchange.client {
                Some(client) => format!("is not for clients from {client}"),
                None => "is for clients from certain networks".to_owned(),
            },
        });
    }
    Ok(Fit { id, route, host: host_rank, path, conditions: conditions.map_or(0, |c| c.count()) })
}

fn host_rank(own: &Host, host: &str, id: usize) -> Option<HostRank> {
    let fits =
        match own {
            Host::Exact(name) => name.eq_ignore_ascii_case(host).then_some((0, name.len(), 0)),
            Host::Suffix(name) => (host.len() > name.len() && host.ends_with(&name.to_lowercase()))
                .then_some((1, name.len(), 0)),
            Host::Prefix(name) => (host.len() > name.len() && host.starts_with(&name.to_lowercase()))
                .then_some((2, name.len(), 0)),
            Host::Regex(text) => {
                let found =
                    Pattern::new(text, true).is_ok_and(|pattern| !host.is_empty() && pattern.is_match(host));
                found.then_some((3, 0, id))
            }
            Host::Any => Some((4, 0, 0)),
        };
    fits.map(|(kind, length, place)| (kind, Reverse(length), place))
}

fn path_rank(own: &PathMatch, path: &str) -> Result<PathRank, String> {
    match own {
        PathMatch::Exact(text) if text == path => Ok((0, Reverse(0))),
        PathMatch::Exact(text) => Err(format!("is for the path {text} alone")),
        PathMatch::Prefix { path: text, last } if path.starts_with(text.as_str()) => {
            Ok((if *last { 1 } else { 3 }, Reverse(text.len())))
        }
        PathMatch::Prefix { path: text, .. } => Err(format!("{{path}} does not begin with {text}")),
        PathMatch::Regex { pattern, ignore_case } => match Pattern::new(pattern, *ignore_case) {
            Ok(compiled) if compiled.is_match(path) => Ok((2, Reverse(0))),
            Ok(_) | Err(_) => Err(format!("{{path}} is not matched by `{pattern}`")),
        },
        PathMatch::Never => Err("is only reached by its name".to_owned()),
    }
}

/// Why a route that fits does not take the request.
fn behind(fit: &Fit<'_>, taken: &Fit<'_>) -> String {
    let name = &taken.route.name;
    if fit.host != taken.host {
        return format!("the host of \"{name}\" fits better");
    }
    match (&fit.route.path, &taken.route.path) {
        (_, PathMatch::Exact(_)) if fit.path != taken.path => format!("\"{name}\" is for exactly this path"),
        (PathMatch::Prefix { path: own, .. }, PathMatch::Prefix { path: other, .. }) if own != other => {
            format!("{own} is shorter than {other} of \"{name}\"")
        }
        (PathMatch::Regex { .. }, PathMatch::Prefix { path, .. }) => {
            format!("{path} of \"{name}\" is the longest prefix and last: expressions are not tried")
        }
        (PathMatch::Prefix { .. }, PathMatch::Regex { .. }) => {
            format!("the expression of \"{name}\" comes before prefixes")
        }
        _ if fit.conditions < taken.conditions => format!("\"{name}\" asks for more and finds it"),
        _ => format!("\"{name}\" comes first in the file"),
    }
}

/// What a route is for.
fn place(route: &Route) -> String {
    let hosts: Vec<String> = route.hosts.iter().map(shown).collect();
    let hosts = if hosts.is_empty() { "any host".to_owned() } else { hosts.join(", ") };
    match &route.path {
        PathMatch::Exact(path) => format!("{hosts}, exactly {path}"),
        PathMatch::Prefix { path, last: false } => format!("{hosts}, the longest prefix is {path}"),
        PathMatch::Prefix { path, last: true } => format!("{hosts}, the longest prefix is {path} and last"),
        PathMatch::Regex { pattern, .. } => {
            format!("{hosts}, the first expression that matches is `{pattern}`")
        }
        PathMatch::Never => format!("{hosts}, by name"),
    }
}

fn shown(host: &Host) -> String {
    match host {
        Host::Exact(name) => name.clone(),
        Host::Suffix(name) => format!("*{name}"),
        Host::Prefix(name) => format!("{name}*"),
        Host::Regex(text) => format!("`{text}`"),
        Host::Any => "any host".to_owned(),
    }
}
