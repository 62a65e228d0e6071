//! What a route does before it acts: variables, conditions, rewrites, answers (nginx's rewrite module).

use std::os::unix::fs::PermissionsExt as _;

use mainstay_config::plan::edge::{Answer, FileKind, Piece, Template, Then, Var};
use mainstay_core::name::RouteId;
use mainstay_core::path;

use super::pattern::set;
use super::table::{Op, Rewrite, When};
use super::vars::Scope;
use crate::exchange::Exchange;
use crate::snapshot::Snapshot;

/// What follows the steps.
pub(super) enum Next<'a> {
    /// The route acts.
    Act,
    /// This route acts instead; its own steps are not run.
    ActAs(RouteId),
    /// The path has changed: a route is chosen anew.
    Select,
    /// An answer.
    Answer(&'a Answer),
    /// A redirect of the client.
    Redirect(u16, Vec<u8>),
    /// Something is wrong.
    Status(u16),
}

/// Where a list of steps ended.
enum End<'a> {
    /// At its last step.
    Through,
    /// At one that ends the steps.
    Break,
    /// Elsewhere.
    Out(Next<'a>),
}

/// Runs steps.
struct Run<'a> {
    snapshot: &'a Snapshot,
    /// The path was changed, and no break has made it this route's.
    changed: bool,
    route: Option<RouteId>,
}

/// How many steps at the beginning are those of the host.
pub(super) fn leading(ops: &[Op]) -> usize {
    ops.iter().take_while(|op| matches!(op, Op::Once(_))).count()
}

/// Runs the steps of a route.
pub(super) fn run<'a>(ops: &'a [Op], snapshot: &'a Snapshot, exchange: &mut Exchange) -> Next<'a> {
    if ops.is_empty() {
        return Next::Act;
    }
    let mut run = Run { snapshot, changed: false, route: None };
    match run.list(ops, exchange) {
        End::Out(next) => next,
        End::Through | End::Break if run.changed => Next::Select,
        End::Through | End::Break => run.route.map_or(Next::Act, Next::ActAs),
    }
}

impl<'a> Run<'a> {
    fn list(&mut self, ops: &'a [Op], exchange: &mut Exchange) -> End<'a> {
        for op in ops {
            let end = match op {
                Op::Set(name, value) => {
                    let value = Scope::new(self.snapshot, exchange).text(value);
                    set(&mut exchange.vars, name, &value);
                    End::Through
                }
                Op::Rewrite(rewrite) => self.rewrite(rewrite, exchange),
                Op::Answer(answer) => End::Out(Next::Answer(answer)),
                Op::If { when, ops, route } => {
                    if self.holds(when, exchange) {
                        self.route = route.or(self.route);
                        self.list(ops, exchange)
                    } else {
                        End::Through
                    }
                }
                Op::Break => {
                    self.stay(exchange);
                    End::Break
                }
                Op::Once(ops) => self.once(ops, exchange),
            };
            match end {
                End::Through => {}
                End::Break | End::Out(_) => return end,
            }
        }
        End::Through
    }

    /// Steps of the host and not of the route: what they change decides which route is chosen.
    fn once(&mut self, ops: &'a [Op], exchange: &mut Exchange) -> End<'a> {
        if exchange.once_done {
            return End::Through;
        }
        exchange.once_done = true;
        let before = (exchange.path.clone(), self.route);
        match self.list(ops, exchange) {
            End::Out(next) => End::Out(next),
            // A break ends these steps alone, and there is no route yet for the path to stay with.
            End::Through | End::Break if self.changed || exchange.path != before.0 => End::Out(Next::Select),
            End::Through | End::Break => match self.route.filter(|_| self.route != before.1) {
                Some(route) => End::Out(Next::ActAs(route)),
                None => End::Through,
            },
        }
    }

    fn rewrite(&mut self, rewrite: &Rewrite, exchange: &mut Exchange) -> End<'a> {
        let path = std::mem::take(&mut exchange.path);
        let found = rewrite.pattern.apply(&path, exchange);
        exchange.path = path;
        if !found {
            exchange.groups.clear();
            return End::Through;
        }
        let redirect = matches!(rewrite.then, Then::Redirect(_));
        let scope = Scope::new(self.snapshot, exchange);
        // nginx escapes groups where they go into a URL, if the client had escaped anything.
        let target = exchange.request.bytes(exchange.request.target);
        let escape = target.iter().any(|b| matches!(b, b'%' | b'+'));
        let mut path = Vec::new();
        part(&rewrite.path, &scope, escape && redirect, &mut path);
        let query = rewrite.query.as_ref().map(|query| {
            let mut out = Vec::new();
            part(query, &scope, escape, &mut out);
            out
        });
        let old = if rewrite.keep_query { path::to_bytes(&exchange.query).into_owned() } else { Vec::new() };
        if let Then::Redirect(status) = rewrite.then {
            let mut location = unescape(&path);
            match query {
                Some(query) => location.extend([&b"?"[..], &query].concat()),
                None if !old.is_empty() => location.push(b'?'),
                None => {}
            }
            if query_follows(&location, &old) {
                location.push(b'&');
            }
            location.extend(old);
            return End::Out(Next::Redirect(status, location));
        }
        let query = match query {
            Some(mut query) => {
                if !old.is_empty() {
                    query.extend_from_slice(if query.is_empty() { b"" } else { b"&" });
                    query.extend(old);
                }
                query
            }
            None => old,
        };
        if !go_to(&path, &query, exchange) {
            return End::Out(Next::Status(if path.is_empty() { 500 } else { 400 }));
        }
        match rewrite.then {
            Then::Continue | Then::Redirect(_) => {
                self.changed = true;
                End::Through
            }
            Then::Again => End::Out(Next::Select),
            Then::Break => {
                self.changed = true;
                self.stay(exchange);
                End::Break
            }
        }
    }

    /// The path as it is now belongs to the present route.
    fn stay(&mut self, exchange: &mut Exchange) {
        if self.changed {
            exchange.memory.located = false;
            self.changed = false;
        }
    }

    fn holds(&self, when: &When, exchange: &mut Exchange) -> bool {
        let scope = Scope::new(self.snapshot, exchange);
        match when {
            When::True(value) => is_true(&scope.bytes(value)),
            When::Equal { value, to, not } => (scope.bytes(value) == scope.bytes(to)) != *not,
            When::Match { value, pattern, not } => {
                let value = scope.text(value);
                let found = pattern.apply(&value, exchange);
                if !found {
                    exchange.groups.clear();
                }
                found != *not
            }
            When::File { path, kind, not } => is_there(&scope.bytes(path), *kind) != *not,
        }
    }
}

/// Whether a value counts as true: neither empty nor `0`.
pub(super) fn is_true(value: &[u8]) -> bool {
    !matches!(value, b"" | b"0")
}

/// Changes path and query; refused when the path would leave the root or is none.
pub(super) fn go_to(path: &[u8], query: &[u8], exchange: &mut Exchange) -> bool {
    let mut text = path::to_text(path).into_owned();
    if text.is_empty() || text.contains('\0') || path::climbs(&text) {
        return false;
    }
    if !text.starts_with('/') {
        text.insert(0, '/');
    }
    exchange.path = text;
    exchange.query = path::to_text(query).into_owned();
    exchange.rewritten = true;
    true
}

/// A part of a rewrite's text, its groups escaped for a URL when asked for.
fn part(template: &Template, scope: &Scope<'_>, escape: bool, out: &mut Vec<u8>) {
    for piece in &template.0 {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Var(var @ Var::Group(_)) if escape => {
                let mut value = Vec::new();
                scope.var(var, &mut value);
                path::encode_argument(&path::to_text(&value), out);
            }
            Piece::Var(var) => scope.var(var, out),
        }
    }
}

/// Whether an `&` goes between what was written and the old query.
fn query_follows(location: &[u8], old: &[u8]) -> bool {
    !old.is_empty() && location.contains(&b'?') && location.last() != Some(&b'?')
}

/// What nginx takes back of the escapes in the path of a redirect: visible ASCII beyond `%`; unlike there `?` stays escaped, since it
/// is no part of the path otherwise.
fn unescape(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut at = 0;
    while at < path.len() {
        let byte = match &path[at..] {
            [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                path::decode(&path[at..at + 3])
                    .first()
                    .copied()
                    .filter(|b| *b > b'%' && *b < 0x7f && *b != b'?')
            }
            _ => None,
        };
        match byte {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(path[at]);
                at += 1;
            }
        }
    }
    out
}

fn is_there(path: &[u8], kind: FileKind) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    let Ok(found) = std::fs::metadata(std::ffi::OsStr::from_bytes(path)) else { return false };
    match kind {
        FileKind::File => found.is_file(),
        FileKind::Directory => found.is_dir(),
        FileKind::Any => true,
        FileKind::Executable => found.permissions().mode() & 0o111 != 0,
    }
}
