//! The rewrite module: `set`, `rewrite`, `return`, `break` and `if` become steps, in their order.

use std::rc::Rc;

use super::location::{self, Site};
use super::place::Place;
use super::scope::Scope;
use super::server::Server;
use super::toml::{Table, Value};
use super::tree::Directive;
use super::{Cx, vars};

/// What a block does before its content.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub(super) list: Vec<Table>,
    /// Every request that gets this far is answered so: `answer` or `redirect`.
    pub(super) end: Option<Table>,
}

/// Where steps stand.
pub(super) struct Block<'b, 'a> {
    pub(super) server: &'b Server<'a>,
    pub(super) scope: &'b Rc<Scope<'a>>,
    /// The location, with what its `if` blocks need; `None` in a server.
    pub(super) location: Option<(&'b Site<'b, 'a>, &'b Place)>,
    /// How every request is answered that gets through the steps: under an `if` as well.
    pub(super) end: Option<Table>,
}

/// A path that a client is sent to, completed where nginx would complete it in another way than we do.
pub(super) fn whole(to: String, scope: &Scope<'_>, server: &Server<'_>) -> String {
    let named = scope.flag("server_name_in_redirect", false);
    let ported = scope.flag("port_in_redirect", true);
    if !to.starts_with('/') || !scope.flag("absolute_redirect", true) || (!named && ported) {
        return to;
    }
    let host = match scope.server_name.as_deref().filter(|name| named && !name.is_empty()) {
        Some(name) => vars::escaped(name),
        None => "{host}".to_owned(),
    };
    let usual =
        server.listens.iter().all(|listen| listen.place.ends_with(if listen.ssl { ":443" } else { ":80" }));
    let port = if ported && !usual { ":{server_port}" } else { "" };
    format!("{{scheme}}://{host}{port}{to}")
}

/// Whether a directive belongs to the rewrite module.
pub(super) fn is_step(name: &str) -> bool {
    matches!(name, "set" | "rewrite" | "return" | "break" | "if")
}

/// The steps of a block.
pub(super) fn steps<'a>(block: &mut Block<'_, 'a>, cx: &mut Cx<'a>) -> Steps {
    let mut all: Vec<&'a Directive> = block.scope.all.iter().filter(|at| is_step(&at.name)).collect();
    let mut steps = Steps::default();
    // What follows a return is never reached.
    for (nth, at) in all.iter().enumerate().filter(|(_, at)| at.name == "return") {
        steps.end = answer(at, block, cx);
        if steps.end.is_some() {
            all.truncate(nth);
            break;
        }
    }
    if !all.iter().any(|at| breaks(at)) {
        block.end.clone_from(&steps.end);
    }
    let goes_on = block.location.is_some() && all.iter().any(|at| goes_on(at));
    for (nth, at) in all.iter().enumerate() {
        let last = nth + 1 == all.len() && steps.end.is_none();
        match at.name.as_str() {
            "return" => {}
            "if" => steps.list.extend(condition(at, block, last, cx)),
            _ => steps.list.extend(simple(at, block, last, cx)),
        }
    }
    if goes_on {
        // A changed path looks for its route when the steps are through: the answer has to come before that.
        steps.list.extend(steps.end.clone());
    }
    steps
}

/// Whether a directive, or one under it, changes the path and lets the next step follow.
fn goes_on(at: &Directive) -> bool {
    match at.name.as_str() {
        "rewrite" => at.args.len() == 2,
        _ => at.children().iter().any(goes_on),
    }
}

/// Whether a directive, or one under it, may end the steps.
fn breaks(at: &Directive) -> bool {
    match at.name.as_str() {
        "break" => true,
        "rewrite" => at.arg(2) == "break",
        _ => at.children().iter().any(breaks),
    }
}

fn simple<'a>(at: &Directive, block: &Block<'_, 'a>, last: bool, cx: &mut Cx<'a>) -> Option<Table> {
    let in_server = block.location.is_none();
    match at.name.as_str() {
        "set" => set(at, block.scope, last, cx),
        "rewrite" => rewrite(at, block.scope, in_server, last, cx),
        "return" => answer(at, block, cx),
        // The last word of a server's steps changes nothing.
        "break" if in_server && last => None,
        _ => Some(Table::of("break", true)),
    }
}

fn set(at: &Directive, scope: &Scope<'_>, last: bool, cx: &mut Cx<'_>) -> Option<Table> {
    let Some(name) = at.arg(0).strip_prefix('$').filter(|name| !name.is_empty()) else {
        cx.wrong(at, format!("invalid variable name \"{}\"", at.arg(0)));
        return None;
    };
    let value = cx.text(at.arg(1), scope, at.pos);
    let name = name.to_ascii_lowercase();
    if name == "args" && last {
        // The path stays, the query is replaced, and the location as well as its content.
        let to = format!("{{uri}}?{value}?");
        return Some(Table::of("rewrite", "^").with("to", to).with("then", "break"));
    }
    if !vars::is_own(&name) {
        let what = format!("${name} keeps what it is");
        cx.report.dropped(at.pos, format!("set ${name} is left out"), what);
        return None;
    }
    Some(Table::of("set", name).with("value", value))
}

fn rewrite(at: &Directive, scope: &Scope<'_>, in_server: bool, last: bool, cx: &mut Cx<'_>) -> Option<Table> {
    let pattern = cx.regex(at.arg(0), at, "paths that it matches are not rewritten")?;
    let replacement = at.arg(1);
    let away = ["http://", "https://", "$scheme"].iter().any(|start| replacement.starts_with(start));
    let then = match (at.arg(2), away) {
        ("permanent", _) => "permanent",
        ("redirect", _) | ("" | "last" | "break", true) => "redirect",
        ("last", false) => "again",
        // In a server a location is looked for afterwards, whatever the flag says.
        ("break", false) => {
            if in_server {
                "again"
            } else {
                "break"
            }
        }
        ("", false) => {
            if in_server && last {
                "again"
            } else {
                "continue"
            }
        }
        (flag, _) => {
            cx.wrong(at, format!("invalid parameter \"{flag}\""));
            return None;
        }
    };
    let mut to = cx.text(replacement, scope, at.pos);
    if to.is_empty() {
        "/".clone_into(&mut to);
    }
    let mut table = Table::of("rewrite", pattern).with("to", to);
    if then != "continue" {
        table.set("then", then);
    }
    Some(table)
}

/// `return` as `answer = {...}` or `redirect = {...}`.
fn answer(at: &Directive, block: &Block<'_, '_>, cx: &mut Cx<'_>) -> Option<Table> {
    let scope = block.scope;
    let first = at.arg(0);
    let (status, text) = match first.parse::<i64>() {
        Ok(status) => (status, at.args.get(1)),
        Err(_)
            if at.args.len() == 1
                && ["http://", "https://", "$scheme"].iter().any(|start| first.starts_with(start)) =>
        {
            (302, Some(&at.args[0]))
        }
        Err(_) => {
            cx.wrong(at, format!("invalid return code \"{first}\""));
            return None;
        }
    };
    if !(200..=999).contains(&status) {
        let what = "requests are answered as if it were not there";
        cx.report.dropped(at.pos, format!("return {status} is left out"), what);
        return None;
    }
    let text = text.map(|text| cx.text(text, scope, at.pos));
    if matches!(status, 301 | 302 | 303 | 307 | 308) {
        let Some(to) = text.filter(|to| !to.is_empty()) else {
            let what = "a redirect without a place to go to does not exist here";
            cx.report.dropped(at.pos, format!("return {status} is left out"), what);
            return None;
        };
        let to = whole(to, scope, block.server);
        return Some(Table::of("redirect", Table::of("to", to).with("status", status)));
    }
    let mut answer = Table::of("status", status);
    // A success without a text has an empty body, and its media type.
    let text = text.or_else(|| (200..300).contains(&status).then(String::new)).filter(|_| status != 204);
    if let Some(body) = text {
        let media = location::default_type(scope);
        answer.set("body", body);
        if media != "text/plain" && media.contains('/') {
            answer.set("media", media);
        }
    }
    Some(Table::of("answer", answer))
}

/// `if`: a condition, its steps, and the route that goes on when other directives stand in it.
fn condition<'a>(at: &'a Directive, block: &Block<'_, 'a>, last: bool, cx: &mut Cx<'a>) -> Option<Table> {
    let when = when(at, block.scope, cx)?;
    let scope = block.scope.inside(at.children());
    let inner = Block { scope: &scope, location: block.location, server: block.server, end: None };
    let all: Vec<&Directive> = scope.all.iter().filter(|at| is_step(&at.name)).collect();
    let mut steps: Vec<Table> = Vec::new();
    for (nth, step) in all.iter().enumerate() {
        if step.name == "if" {
            cx.wrong(step, "\"if\" directive is not allowed here");
            continue;
        }
        steps.extend(simple(step, &inner, last && nth + 1 == all.len(), cx));
    }
    let mut table = Table::of("when", when);
    let answered =
        steps.last().is_some_and(|step| step.get("answer").is_some() || step.get("redirect").is_some());
    let others = scope.all.iter().any(|at| !is_step(&at.name));
    let route = match block.location {
        Some((site, place)) if others && !answered => Some(match &block.end {
            Some(end) => location::answering(site, &scope, place, Some(end.clone()), cx),
            None => location::alternative(site, &scope, place, &mut steps, cx),
        }),
        Some(_) | None => None,
    };
    if let (Some((site, place)), true, true) = (block.location, others, answered) {
        // Headers of an answer inside `if` come with the route that it is answered from.
        let answer = steps.pop();
        let name = location::answering(site, &scope, place, answer, cx);
        table.set("steps", Value::from(steps));
        return Some(table.with("route", name));
    }
    if steps.is_empty() && route.is_none() {
        return None;
    }
    table.set("steps", Value::from(steps));
    table.maybe("route", route);
    Some(table)
}

/// The condition of an `if`, without its parentheses.
fn when(at: &Directive, scope: &Scope<'_>, cx: &mut Cx<'_>) -> Option<Table> {
    let mut words: Vec<&str> = at.args.iter().map(String::as_str).collect();
    // A parenthesis may stand alone or stick to what it encloses.
    match words.first().and_then(|word| word.strip_prefix('(')) {
        Some("") => {
            words.remove(0);
        }
        Some(rest) => words[0] = rest,
        None => return invalid(at, cx),
    }
    match words.pop().and_then(|word| word.strip_suffix(')')) {
        Some("") => {}
        Some(rest) => words.push(rest),
        None => return invalid(at, cx),
    }
    match words.as_slice() {
        [variable] if variable.starts_with('$') => {
            let value = cx.text(variable, scope, at.pos);
            Some(Table::of("value", value))
        }
        [test, path] if test.len() <= 3 => {
            let kind = match test.trim_start_matches('!') {
                "-f" => "file",
                "-d" => "directory",
                "-e" => "any",
                "-x" => "executable",
                _ => return invalid(at, cx),
            };
            let path = cx.text(path, scope, at.pos);
            let table = Table::of("path", path).with("exists", kind);
            Some(if test.starts_with('!') { table.with("not", true) } else { table })
        }
        [variable, operator, right] if variable.starts_with('$') => {
            comparison(at, variable, operator, right, scope, cx)
        }
        [variable, operator] if variable.starts_with('$') => {
            comparison(at, variable, operator, "", scope, cx)
        }
        _ => invalid(at, cx),
    }
}

fn invalid(at: &Directive, cx: &mut Cx<'_>) -> Option<Table> {
    cx.wrong(at, format!("invalid condition \"{}\"", at.args.join(" ")));
    None
}

fn comparison(
    at: &Directive,
    variable: &str,
    operator: &str,
    right: &str,
    scope: &Scope<'_>,
    cx: &mut Cx<'_>,
) -> Option<Table> {
    let value = cx.text(variable, scope, at.pos);
    let mut table = Table::of("value", value);
    match operator.trim_start_matches('!') {
        "=" => {
            let right = cx.text(right, scope, at.pos);
            table.set("is", right);
        }
        "~" | "~*" => {
            let what = "the condition never holds, and what stands under it is left out";
            table.set("regex", cx.regex(right, at, what)?);
            if operator.ends_with('*') {
                table.set("ignore_case", true);
            }
        }
        _ => return invalid(at, cx),
    }
    if operator.starts_with('!') {
        table.set("not", true);
    }
    Some(table)
}
