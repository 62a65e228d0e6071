//! What is done with a request: the client, the route, its steps, who may come in, what acts, and pages for errors.

use mainstay_config::plan::edge::{Action, Answer, ErrorPage, Files, Page, Route, Template};
use mainstay_core::name::RouteId;
use mainstay_core::path;

use super::answer::{self, Fixed};
use super::paths::Candidates;
use super::steps::{self, Next};
use super::table::{Compiled, Table, cut};
use super::vars::Scope;
use super::{client, host, render, reply};
use crate::exchange::{Decision, Exchange, Head, Verdict};
use crate::files::{self, Outcome};
use crate::policy::{self, Denied};
use crate::request::{BodyLength, Version};
use crate::response::Response;
use crate::snapshot::Snapshot;
use crate::thread::Thread;

/// Routes that are chosen anew for one request, and internal redirects.
const REDIRECTS_MAX: u8 = 10;

/// Those who check requests and serve files.
pub(super) trait Asked {
    /// Whether `exchange.route` lets a request in: sources, credentials, rates.
    fn check(&self, snapshot: &Snapshot, exchange: &mut Exchange) -> Result<(), Denied>;
    /// What files come to.
    fn files<'a>(&self, files: &'a Files, snapshot: &Snapshot, exchange: &mut Exchange) -> Outcome<'a>;
}

impl Asked for Thread {
    fn check(&self, snapshot: &Snapshot, exchange: &mut Exchange) -> Result<(), Denied> {
        policy::check(snapshot, exchange, self.cells, &|text, exchange, out| {
            render(text, snapshot, exchange, out)
        })
    }

    fn files<'a>(&self, files: &'a Files, snapshot: &Snapshot, exchange: &mut Exchange) -> Outcome<'a> {
        files::answer(files, snapshot, exchange, &|text, exchange, out| render(text, snapshot, exchange, out))
    }
}

/// Where a request is on its way.
pub(super) enum Turn {
    /// A route is looked for.
    Select,
    /// This route runs its steps.
    Enter(RouteId),
    /// This route acts.
    Act(RouteId),
    /// A status without a body.
    Status(u16),
    /// The end.
    Done(Decision),
}

/// Decides about a request that has just come.
pub fn decide(snapshot: &Snapshot, thread: &Thread, exchange: &mut Exchange) -> Decision {
    begin(snapshot, thread, exchange)
}

/// Decides what the client gets for an error of ours: a page of the route, or a short one.
pub fn failed(snapshot: &Snapshot, thread: &Thread, exchange: &mut Exchange, status: u16) -> Decision {
    fail(snapshot, thread, exchange, status)
}

/// Decides what becomes of a backend's response.
pub fn verdict(snapshot: &Snapshot, thread: &Thread, exchange: &mut Exchange, head: Head<'_>) -> Verdict {
    judge(snapshot, thread, exchange, head)
}

pub(super) fn begin(snapshot: &Snapshot, asked: &impl Asked, exchange: &mut Exchange) -> Decision {
    let table = &snapshot.table;
    if table.used.id && exchange.id.is_none() {
        exchange.id = Some(crate::log::request_id());
    }
    let trust = table.listeners.get(exchange.connection.listener as usize).and_then(|l| l.trust.as_ref());
    client::find(trust, exchange);
    let turn = match admit(exchange).and_then(|()| vouched(snapshot, exchange)) {
        Ok(()) => Turn::Select,
        Err(status) => Turn::Status(status),
    };
    go(snapshot, asked, exchange, turn)
}

/// Finds the client of something that is no request for a route; the status of a refusal when it may not come in.
pub(crate) fn comes_in(snapshot: &Snapshot, exchange: &mut Exchange) -> Result<(), u16> {
    let listener = snapshot.table.listeners.get(exchange.connection.listener as usize);
    client::find(listener.and_then(|listener| listener.trust.as_ref()), exchange);
    vouched(snapshot, exchange)
}

/// A client whose certificate does not verify, or that should show one and does not, gets 400 as from nginx.
fn vouched(snapshot: &Snapshot, exchange: &Exchange) -> Result<(), u16> {
    let listener = snapshot.edge.listeners.get(exchange.connection.listener as usize);
    let asked = listener.and_then(|listener| listener.tls.as_ref()).map(|tls| tls.client);
    match asked.zip(exchange.connection.tls.as_ref()) {
        Some((auth, info)) if crate::tls::refusal(auth, info).is_some() => Err(400),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn fail(
    snapshot: &Snapshot,
    asked: &impl Asked,
    exchange: &mut Exchange,
    status: u16,
) -> Decision {
    go(snapshot, asked, exchange, Turn::Status(status))
}

pub(super) fn judge(
    snapshot: &Snapshot,
    asked: &impl Asked,
    exchange: &mut Exchange,
    head: Head<'_>,
) -> Verdict {
    let Some(route) = exchange.route.and_then(|id| snapshot.edge.routes.get(id.index())) else {
        return Verdict::Pass;
    };
    let Some(forward) = super::table::forward_of(&route.action) else { return Verdict::Pass };
    if forward.accel
        && let Some(to) = head.field("x-accel-redirect").filter(|to| !to.is_empty())
    {
        reply::note_backend(snapshot, exchange, head);
        let turn = accelerated(snapshot, exchange, head, to);
        return Verdict::Instead(go(snapshot, asked, exchange, turn));
    }
    let status = head.status();
    if forward.intercept_errors
        && status >= 300
        && exchange.error.is_none()
        && page_for(route, status).is_some()
    {
        reply::note_backend(snapshot, exchange, head);
        if let Some(value) = head.field("www-authenticate").filter(|_| status == 401) {
            exchange.memory.carried.push(("WWW-Authenticate".into(), value.to_vec()));
        }
        return Verdict::Instead(go(snapshot, asked, exchange, Turn::Status(status)));
    }
    Verdict::Pass
}

/// Fields of a response that X-Accel-Redirect takes along.
const TAKEN_ALONG: [&str; 6] =
    ["Content-Type", "Set-Cookie", "Content-Disposition", "Cache-Control", "Expires", "Accept-Ranges"];

/// X-Accel-Redirect: a path, with its query, or `@` and the name of a route.
fn accelerated(snapshot: &Snapshot, exchange: &mut Exchange, head: Head<'_>, to: &[u8]) -> Turn {
    head.each(&mut |name, value| {
        if let Some(own) = TAKEN_ALONG.iter().find(|own| own.as_bytes().eq_ignore_ascii_case(name)) {
            exchange.memory.carried.push(((*own).into(), value.to_vec()));
        }
    });
    if to.first() == Some(&b'@') {
        let named = snapshot.edge.routes.iter().position(|route| route.name.as_bytes() == to);
        return match named.and_then(|n| u32::try_from(n).ok()) {
            Some(n) => again(exchange, Turn::Enter(RouteId(n))),
            None => Turn::Status(500),
        };
    }
    let (mut path, mut query) = (String::new(), String::new());
    if path::split(to, &mut path, &mut query).is_err() {
        return Turn::Status(404);
    }
    exchange.method_get |= exchange.request.method() != "HEAD";
    internal(exchange, path.as_bytes(), query.as_bytes())
}

/// Reads target and host; the status says what is wrong with them.
pub(super) fn admit(exchange: &mut Exchange) -> Result<(), u16> {
    let request = &exchange.request;
    let authority = request.bytes(request.authority);
    if host::of(authority).is_none() {
        return Err(400);
    }
    if request.version == Version::Http11 && authority.is_empty() && request.field("host").is_none() {
        return Err(400);
    }
    let method = request.method();
    if matches!(method, "CONNECT" | "TRACE") {
        return Err(405);
    }
    let target = request.bytes(request.target);
    if target == b"*" {
        exchange.path.clear();
        exchange.path.push('*');
        exchange.query.clear();
        return if method == "OPTIONS" { Ok(()) } else { Err(400) };
    }
    path::split(target, &mut exchange.path, &mut exchange.query).map_err(|_| 400)
}

/// Turns until there is a decision.
fn go(snapshot: &Snapshot, asked: &impl Asked, exchange: &mut Exchange, mut turn: Turn) -> Decision {
    loop {
        turn = match turn {
            Turn::Done(decision) => return decision,
            Turn::Select => match select(&snapshot.table, exchange) {
                Some(id) => Turn::Enter(id),
                None => {
                    exchange.route = None;
                    Turn::Status(404)
                }
            },
            Turn::Enter(id) => enter(snapshot, exchange, id),
            Turn::Act(id) => act(snapshot, asked, exchange, id),
            Turn::Status(status) => page(snapshot, exchange, status),
        };
    }
}

/// Comes to a route: the steps of its host, whether it takes the request at all, then its own steps. nginx's order, in which a body
/// that is too large is refused before a fixed answer is given.
pub(super) fn enter(snapshot: &Snapshot, exchange: &mut Exchange, id: RouteId) -> Turn {
    let Some(compiled) = snapshot.table.routes.get(id.index()) else { return Turn::Status(500) };
    exchange.route = Some(id);
    exchange.memory.located = !compiled.prefix.is_empty();
    if compiled.trust.is_some() && !exchange.memory.client_by_route {
        exchange.memory.client_by_route = true;
        client::find(compiled.trust.as_ref(), exchange);
    }
    let (of_host, own) = compiled.steps.split_at(steps::leading(&compiled.steps));
    match steps::run(of_host, snapshot, exchange) {
        Next::Act => {}
        next => return after(next, snapshot, exchange, id),
    }
    let Some(route) = snapshot.edge.routes.get(id.index()) else { return Turn::Status(500) };
    if route.internal && exchange.redirects == 0 && !exchange.rewritten {
        return Turn::Status(404);
    }
    match (route.body_max, exchange.request.body) {
        (Some(max), BodyLength::Known(length)) if length > max => return Turn::Status(413),
        (Some(_) | None, BodyLength::Known(_) | BodyLength::Open | BodyLength::None) => {}
    }
    after(steps::run(own, snapshot, exchange), snapshot, exchange, id)
}

/// What follows the steps of a route.
fn after(next: Next<'_>, snapshot: &Snapshot, exchange: &mut Exchange, id: RouteId) -> Turn {
    match next {
        Next::Act => Turn::Act(id),
        Next::ActAs(id) => Turn::Act(id),
        Next::Select => again(exchange, Turn::Select),
        Next::Answer(answer) => answered(answer, snapshot, exchange),
        Next::Redirect(status, location) => {
            exchange.memory.shown = None;
            respond(snapshot, exchange, answer::redirect(snapshot, exchange, status, &location))
        }
        Next::Status(status) => Turn::Status(status),
    }
}

/// Counts a route that is chosen anew.
fn again(exchange: &mut Exchange, turn: Turn) -> Turn {
    if exchange.redirects >= REDIRECTS_MAX {
        // The pages of errors would turn in the same circle.
        exchange.error = Some(500);
        return Turn::Status(500);
    }
    exchange.redirects += 1;
    turn
}

/// An internal redirect. As in nginx it comes by the steps of the host again.
fn internal(exchange: &mut Exchange, path: &[u8], query: &[u8]) -> Turn {
    exchange.once_done = false;
    if steps::go_to(path, query, exchange) { again(exchange, Turn::Select) } else { Turn::Status(500) }
}

fn respond(snapshot: &Snapshot, exchange: &Exchange, response: Response) -> Turn {
    Turn::Done(Decision::Respond(reply::finish(snapshot, exchange, response)))
}

/// A fixed answer. A redirect shows its own status even where it stands for the page of an error, as in nginx.
fn answered(answer: &Answer, snapshot: &Snapshot, exchange: &mut Exchange) -> Turn {
    if answer.location.is_some() {
        exchange.memory.shown = None;
    }
    if let Some(location) = &answer.location
        && exchange.error.is_none()
        && let Some(route) = exchange.route.and_then(|id| snapshot.edge.routes.get(id.index()))
        && page_for(route, answer.status).is_some()
    {
        let to = answer::absolute(snapshot, exchange, &Scope::new(snapshot, exchange).bytes(location));
        exchange.memory.carried.push(("Location".into(), to));
        return Turn::Status(answer.status);
    }
    fixed(answer::fixed(answer, snapshot, exchange), snapshot, exchange)
}

fn fixed(answer: Fixed, snapshot: &Snapshot, exchange: &Exchange) -> Turn {
    match answer {
        Fixed::Respond(response) => respond(snapshot, exchange, response),
        Fixed::Status(status) => Turn::Status(status),
        Fixed::Close => Turn::Done(Decision::Close),
    }
}

/// Lets a route act, if it lets the request in.
pub(super) fn act(snapshot: &Snapshot, asked: &impl Asked, exchange: &mut Exchange, id: RouteId) -> Turn {
    let Some(route) = snapshot.edge.routes.get(id.index()) else { return Turn::Status(500) };
    exchange.route = Some(id);
    if let Err(denied) = asked.check(snapshot, exchange) {
        exchange.memory.carried.extend(denied.fields);
        return Turn::Status(denied.status);
    }
    action(&route.action, snapshot, asked, exchange)
}

fn action(action: &Action, snapshot: &Snapshot, asked: &impl Asked, exchange: &mut Exchange) -> Turn {
    let mut action = action;
    loop {
        let files = match action {
            Action::Forward(_) => return Turn::Done(Decision::Forward),
            Action::Answer(answer) => {
                return answered(answer, snapshot, exchange);
            }
            Action::Files(files) => files,
        };
        match asked.files(files, snapshot, exchange) {
            Outcome::Respond(response) => return respond(snapshot, exchange, response),
            Outcome::Redirect(to) => {
                exchange.memory.shown = None;
                return respond(snapshot, exchange, answer::redirect(snapshot, exchange, 301, to.as_bytes()));
            }
            Outcome::Path { path, query } => {
                return internal(exchange, &path::to_bytes(&path), &path::to_bytes(&query));
            }
            Outcome::Route(id) => return again(exchange, Turn::Enter(id)),
            Outcome::Status { status, fields } => {
                exchange.memory.carried.extend(fields);
                return Turn::Status(status);
            }
            Outcome::Action(next) => action = next,
        }
    }
}

fn page_for(route: &Route, status: u16) -> Option<&ErrorPage> {
    route.errors.iter().find(|page| page.codes.contains(&status))
}

/// A page for a status: the route's, or a short one. While a page is made there is no other page (nginx's `recursive_error_pages off`).
pub(super) fn page(snapshot: &Snapshot, exchange: &mut Exchange, status: u16) -> Turn {
    let route = exchange.route.and_then(|id| snapshot.edge.routes.get(id.index()));
    let Some(page) = route.filter(|_| exchange.error.is_none()).and_then(|route| page_for(route, status))
    else {
        exchange.memory.shown = None;
        return respond(snapshot, exchange, answer::page(status));
    };
    exchange.error = Some(status);
    exchange.memory.shown = match page.status {
        None => Some(status),
        Some(0) => None,
        shown => shown,
    };
    match &page.page {
        Page::Path(to) => {
            exchange.method_get |= exchange.request.method() != "HEAD";
            let (path, query) = both(to, snapshot, exchange);
            internal(exchange, &path, &query)
        }
        Page::Route(id) => again(exchange, Turn::Enter(*id)),
        Page::Url(to) => {
            let shown = exchange.memory.shown.take().filter(|s| matches!(s, 301 | 302 | 303 | 307 | 308));
            let location = Scope::new(snapshot, exchange).bytes(to);
            respond(snapshot, exchange, answer::redirect(snapshot, exchange, shown.unwrap_or(302), &location))
        }
    }
}

/// Path and query of a text.
fn both(to: &Template, snapshot: &Snapshot, exchange: &Exchange) -> (Vec<u8>, Vec<u8>) {
    let (path, query, _) = cut(to);
    let scope = Scope::new(snapshot, exchange);
    (scope.bytes(&path), query.map(|query| scope.bytes(&query)).unwrap_or_default())
}

/// The route of a request, by host and path.
pub(super) fn select(table: &Table, exchange: &mut Exchange) -> Option<RouteId> {
    let entrance = table.listeners.get(exchange.connection.listener as usize)?;
    let authority = exchange.request.bytes(exchange.request.authority);
    let host = host::of(authority).unwrap_or_default();
    let lower;
    let host = if host.bytes().any(|b| b.is_ascii_uppercase()) {
        lower = host::lower(host);
        std::str::from_utf8(&lower).unwrap_or_default()
    } else {
        host
    };
    let mut asked = Holding { routes: &table.routes, exchange };
    let (route, by_host, by_path) = entrance.hosts.find(host, |paths, by_host| {
        paths.find(&exchange.path, &mut asked).map(|(route, by_path)| (route, by_host, by_path))
    })?;
    if let Some(pattern) = by_host {
        let host = host.to_owned();
        pattern.apply(&host, exchange);
    }
    if let Some(pattern) = by_path {
        let path = std::mem::take(&mut exchange.path);
        pattern.apply(&path, exchange);
        exchange.path = path;
    }
    Some(RouteId(route))
}

/// Routes whose conditions hold for a request.
struct Holding<'a> {
    routes: &'a [Compiled],
    exchange: &'a Exchange,
}

impl Candidates for Holding<'_> {
    fn holds(&mut self, route: u32) -> bool {
        let compiled = &self.routes[route as usize];
        compiled.conditions.as_ref().is_none_or(|conditions| conditions.hold(self.exchange))
    }

    fn is_last(&self, route: u32) -> bool {
        self.routes[route as usize].last
    }
}
