//! Who may come in, and how often: access rules, passwords, rates, numbers of requests at once.

use super::draft::Kind;
use super::scope::Scope;
use super::table::{self, Context, Treat};
use super::toml::Table;
use super::tree::Directive;
use super::{Cx, values, vars};

/// What a zone counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Counts {
    /// Requests per time.
    Rate,
    /// Requests at once.
    AtOnce,
}

/// Highest rate that our own file takes.
const FASTEST: u64 = 10_000_000;
/// Largest burst.
const MOST: u32 = 1_000_000;

/// Makes the zones of `limit_req_zone` and `limit_conn_zone`.
pub(super) fn zones(http: &Scope<'_>, cx: &mut Cx<'_>) {
    for at in http.own("limit_req_zone") {
        let Some(rate) = at.option("rate").and_then(rate) else {
            cx.wrong(at, "invalid rate of limit_req_zone");
            continue;
        };
        if at.args.iter().any(|arg| arg == "sync") {
            cx.report.note(at.pos, "sync has no meaning here", "each node counts by itself");
        }
        zone(Counts::Rate, at, http, Some(rate), cx);
    }
    for at in http.own("limit_conn_zone") {
        zone(Counts::AtOnce, at, http, None, cx);
    }
}

fn zone(counts: Counts, at: &Directive, http: &Scope<'_>, rate: Option<String>, cx: &mut Cx<'_>) {
    let Some(name) =
        at.option("zone").and_then(|zone| zone.split(':').next()).filter(|name| !name.is_empty())
    else {
        return cx.wrong(at, format!("\"{}\" must have \"zone\" parameter", at.name));
    };
    // Counted by the same client, whichever way it is written: as text it can be read in `status`.
    let key = cx.text(at.arg(0), http, at.pos).replace("{binary_remote_addr}", "{remote_addr}");
    let ours = cx.draft.name(Kind::Zone, name);
    let mut table = Table::of("name", ours.as_str()).with("key", key);
    table.maybe("rate", rate);
    if cx.zones.insert((counts, name.to_owned()), ours).is_some() {
        return cx.wrong(at, format!("{} \"{name}\" is already bound to a key", at.name));
    }
    cx.draft.push(Kind::Zone, at.pos, table, &mut cx.report);
}

/// `10r/s` as ours.
fn rate(text: &str) -> Option<String> {
    let (number, unit) = text.split_once("r/")?;
    let number: u64 = number.parse().ok().filter(|number| (1..=FASTEST).contains(number))?;
    matches!(unit, "s" | "m").then(|| format!("{number}/{unit}"))
}

/// Fills the keys of a route that keep requests out.
pub(super) fn fill(scope: &Scope<'_>, route: &mut Table, cx: &mut Cx<'_>) {
    if is_guarded(scope) {
        // What can't be checked is refused: nothing that was closed may stand open after an import.
        route.set("access", vec!["deny all"]);
        return;
    }
    let rules = rules(scope, cx);
    let auth = auth(scope, cx);
    let both = !rules.is_empty() && auth.is_some();
    route.list("access", rules);
    if both && scope.word("satisfy") == Some("any") {
        route.set("satisfy_any", true);
    }
    route.maybe("basic_auth", auth);
    rates(scope, route, cx);
}

/// Whether something keeps requests out in a way that does not exist here.
fn is_guarded(scope: &Scope<'_>) -> bool {
    const NAMES: &[&str] =
        &["auth_request", "auth_jwt", "auth_oidc", "access_by_lua_block", "access_by_lua_file", "js_access"];
    NAMES.iter().any(|name| {
        debug_assert!(matches!(table::treat(name, Context::Location), Some(Treat::Guard(_))));
        scope.get(name).is_some_and(|at| at.arg(0) != "off")
    })
}

/// `allow` and `deny` in their order; both are inherited together.
pub(super) fn rules(scope: &Scope<'_>, cx: &mut Cx<'_>) -> Vec<String> {
    let Some(level) = scope.every_of(&["allow", "deny"]) else { return Vec::new() };
    let mut rules = Vec::new();
    for at in level.all.iter().filter(|at| matches!(at.name.as_str(), "allow" | "deny")) {
        match (at.arg(0), values::network(at.arg(0))) {
            ("all", _) => rules.push(format!("{} all", at.name)),
            (_, Some(network)) => rules.push(format!("{} {network}", at.name)),
            ("unix:", None) => {
                let what = "only \"all\" decides about clients of a unix socket";
                cx.report.dropped(at.pos, format!("{} unix: is left out", at.name), what);
            }
            (other, None) => cx.wrong(at, format!("invalid parameter \"{other}\"")),
        }
    }
    rules
}

fn auth(scope: &Scope<'_>, cx: &mut Cx<'_>) -> Option<Table> {
    let at = scope.get("auth_basic").filter(|at| at.arg(0) != "off")?;
    let realm = cx.text(at.arg(0), scope, at.pos);
    let mut table = Table::of("realm", realm);
    match scope.get("auth_basic_user_file") {
        Some(file) if vars::has_vars(file.arg(0)) => {
            let what = "nobody comes in; write a file for each route";
            cx.report.dropped(file.pos, "a file of users with variables in its name is left out", what);
            table.set("users", Table::default());
        }
        Some(file) => table.set("file", cx.beside(file.arg(0))),
        // Nginx lets everybody in without a file.
        None => return None,
    }
    Some(table)
}

fn rates(scope: &Scope<'_>, route: &mut Table, cx: &mut Cx<'_>) {
    let status = i64::from(scope.number("limit_req_status").unwrap_or(503).clamp(400, 599));
    let mut rates = Vec::new();
    if !scope.flag("limit_req_dry_run", false) {
        for at in scope.every("limit_req").to_vec() {
            rates.extend(rate_use(at, status, cx));
        }
    }
    route.list("rates", rates);
    let status = i64::from(scope.number("limit_conn_status").unwrap_or(503).clamp(400, 599));
    let mut at_once = Vec::new();
    if !scope.flag("limit_conn_dry_run", false) {
        for at in scope.every("limit_conn").to_vec() {
            let Some(zone) = known(Counts::AtOnce, at, Some(at.arg(0)), cx) else { continue };
            match at.arg(1).parse::<u32>().ok().filter(|max| *max > 0) {
                Some(max) => {
                    at_once.push(Table::of("zone", zone).with("max", max.min(MOST)).with("status", status))
                }
                None => cx.wrong(at, format!("invalid number of connections \"{}\"", at.arg(1))),
            }
        }
    }
    route.list("concurrency", at_once);
}

fn rate_use(at: &Directive, status: i64, cx: &mut Cx<'_>) -> Option<Table> {
    let zone = known(Counts::Rate, at, at.option("zone"), cx)?;
    let mut table = Table::of("zone", zone);
    let number = |name: &str| at.option(name).and_then(|text| text.parse::<u32>().ok());
    let burst = number("burst").unwrap_or(0).min(MOST);
    if burst > 0 {
        table.set("burst", burst);
    }
    if !at.args.iter().any(|arg| arg == "nodelay") {
        table.set("undelayed", number("delay").unwrap_or(0).min(burst));
    }
    table.set("status", status);
    Some(table)
}

fn known(counts: Counts, at: &Directive, name: Option<&str>, cx: &mut Cx<'_>) -> Option<String> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        cx.wrong(at, format!("\"{}\" must have \"zone\" parameter", at.name));
        return None;
    };
    let zone = cx.zones.get(&(counts, name.to_owned())).cloned();
    if zone.is_none() {
        cx.wrong(at, format!("unknown {} zone \"{name}\"", at.name));
    }
    zone
}
