//! Routes: what they take and what answers.

use std::collections::{HashMap, HashSet};

use mainstay_core::name::{PoolId, RouteId};

use super::names::Kind;
use super::{Seen, flag, span_of, text_of};
use crate::plan::edge::{
    Action, Answer, Edge, ErrorPage, Fallback, FieldMatch, Files, Host, Page, PathMatch, Protocol, Route,
    Template, ValueMatch,
};
use crate::raw;
use crate::resolve::Resolver;
use crate::source::At;
use crate::values::{Codes, Status, Templated};

/// A number of bytes that no disk has.
const MOST_BYTES: u64 = 1 << 50;
/// More pairs of listener and host are not compared: the answer is a warning alone.
const MOST_PLACES: usize = 100_000;

impl Resolver<'_> {
    /// Names of routes: the operator's, or made of host and path, told apart by a number.
    pub(super) fn register_routes(&mut self, routes: &[At<raw::Route>]) {
        let mut taken = HashMap::new();
        for (id, At { value: raw, .. }) in routes.iter().enumerate() {
            if raw.name.is_some()
                && let Some(name) = self.unique(raw.name.clone(), &mut taken, "route")
            {
                self.enter(Kind::Route, name, id, span_of(&raw.name).unwrap_or(raw.head.span));
            }
        }
        let mut numbers = HashMap::new();
        for (id, At { value: raw, .. }) in routes.iter().enumerate().filter(|(_, at)| at.value.name.is_none())
        {
            let plain = made_name(raw);
            let mut name = plain.clone();
            let nth: &mut u32 = numbers.entry(plain.clone()).or_insert(1);
            while self.has_name(Kind::Route, &name) {
                *nth += 1;
                name = format!("{plain}#{nth}");
            }
            self.enter(Kind::Route, name.clone(), id, raw.head.span);
            self.edge.route_names.insert(id, name);
        }
    }

    pub(super) fn routes(&mut self, list: &[At<raw::Route>], edge: &Edge) -> Vec<Route> {
        let http =
            edge.listeners.iter().enumerate().filter(|(_, listener)| listener.protocol == Protocol::Http);
        let http: Vec<u32> = http.filter_map(|(nth, _)| u32::try_from(nth).ok()).collect();
        if let (Some(first), true) = (list.first(), http.is_empty())
            && !self.findings.has_errors()
        {
            let help = "write [[listener]] with name = \"http\" and bind = \":80\"";
            self.error(first.value.head.span, "there are routes, but no listener speaks http", help);
        }
        let routes: Vec<Route> =
            list.iter().enumerate().map(|(id, at)| self.route(id, &at.value, edge, &http)).collect();
        if !self.findings.has_errors() {
            self.never_reached(list, &routes);
            self.idle_listeners(&routes, edge);
        }
        routes
    }

    fn route(&mut self, id: usize, raw: &raw::Route, edge: &Edge, http: &[u32]) -> Route {
        let name = self.edge.route_names.get(&id).cloned().unwrap_or_else(|| text_of(&raw.name));
        let who = &format!("route \"{name}\"");
        if flag(&raw.by_name, false) && raw.name.is_none() {
            self.needs(false, "name", "`by_name`", &raw.head, who);
        }
        let listeners = self.route_listeners(raw, edge, http, who);
        let hosts = raw
            .host
            .iter()
            .flat_map(|hosts| &hosts.value.0)
            .filter_map(|host| self.host(host, who))
            .collect();
        let path = self.path_match(raw, who);
        let real_ip = raw.real_ip.as_ref().map(|real_ip| self.real_ip(real_ip, who));
        let steps = self.steps(raw.steps.as_ref(), &format!("{who}: steps"));
        let auth = self.auth(raw, who);
        if flag(&raw.satisfy_any, false) && (raw.access.is_none() || auth.is_none()) {
            let span = span_of(&raw.satisfy_any).unwrap_or(raw.head.span);
            let message = format!("{who}: `satisfy_any` chooses between `access` and credentials");
            self.error(span, message, "write both `access` and `basic_auth` or `jwt`, or take it out");
        }
        let body_max = self.bytes(&raw.body_max, 0, 0..=MOST_BYTES, who, "body_max");
        Route {
            listeners,
            hosts,
            methods: self.methods(raw, who),
            headers: self.matches(raw.headers.as_ref(), true, &format!("{who}: headers")),
            queries: self.matches(raw.queries.as_ref(), false, &format!("{who}: queries")),
            from: self.nets(&raw.from, &format!("{who}: from")),
            internal: flag(&raw.internal, false),
            real_ip,
            steps,
            access: self.access(&raw.access, who),
            satisfy_any: flag(&raw.satisfy_any, false),
            auth,
            rates: self.rates(raw.rates.as_ref(), edge, who),
            concurrency: self.concurrency(raw.concurrency.as_ref(), edge, who),
            body_max: (body_max != 0).then_some(body_max),
            response_headers: self.header_ops(
                raw.response_headers.as_ref(),
                true,
                &format!("{who}: response_headers"),
            ),
            action: self.action(raw, &path, edge, who),
            errors: self.error_pages(raw.errors.as_ref(), who),
            gzip: raw.gzip.as_ref().map(|gzip| self.gzip(&gzip.value, who)),
            rate_bytes: self.bytes(&raw.rate_bytes, 0, 0..=MOST_BYTES, who, "rate_bytes"),
            logs: self.log_uses(raw.log.as_ref(), who),
            expires: self.expires(raw.expires.as_ref(), who),
            relative_redirects: super::flag(&raw.relative_redirects, false),
            default_type: raw
                .default_type
                .as_ref()
                .map_or_else(|| "application/octet-stream".to_owned(), |media| self.media(media, who)),
            path,
            name,
        }
    }

    fn route_listeners(&mut self, raw: &raw::Route, edge: &Edge, http: &[u32], who: &str) -> Vec<u32> {
        let Some(list) = &raw.listener else { return http.to_vec() };
        let mut listeners = Vec::new();
        if list.value.0.is_empty() {
            self.error(
                list.span,
                format!("{who}: `listener` names none"),
                "name one, or take it out for all of them",
            );
        }
        for name in &list.value.0 {
            let Some(id) = self.named(Kind::Listener, name, who) else { continue };
            let speaks_http = edge.listeners.get(id as usize).is_none_or(|l| l.protocol == Protocol::Http);
            if !speaks_http {
                let message = format!("{who}: listener \"{}\" does not speak http", name.value);
                self.error(
                    name.span,
                    message,
                    "write its `pool` in the listener, or protocol = \"http\" there",
                );
            } else if listeners.contains(&id) {
                self.error(
                    name.span,
                    format!("{who} names listener \"{}\" twice", name.value),
                    "name it once",
                );
            } else {
                listeners.push(id);
            }
        }
        listeners
    }

    fn methods(&mut self, raw: &raw::Route, who: &str) -> Vec<String> {
        let mut methods = Vec::new();
        for method in raw.methods.iter().flat_map(|list| &list.value) {
            if !super::kinds::is_token(&method.value) {
                self.error(
                    method.span,
                    format!("{who}: \"{}\" is not a method", method.value.escape_debug()),
                    "write \"GET\"",
                );
            } else if method.value.bytes().any(|b| b.is_ascii_lowercase()) {
                let message =
                    format!("{who}: \"{}\" is not a method: methods are written in capitals", method.value);
                self.error(method.span, message, format!("write \"{}\"", method.value.to_ascii_uppercase()));
            }
            methods.push(method.value.clone());
        }
        methods
    }

    fn matches(
        &mut self,
        list: Option<&At<Vec<At<raw::FieldMatch>>>>,
        headers: bool,
        who: &str,
    ) -> Vec<FieldMatch> {
        let mut matches = Vec::new();
        for At { value: raw, .. } in list.into_iter().flat_map(|list| &list.value) {
            let Some(name) = self.required(&raw.name, &raw.head, who, "name") else { continue };
            let name = if headers { self.field_name(&name, who).to_ascii_lowercase() } else { name.value };
            self.not_both(("is", span_of(&raw.is)), ("regex", span_of(&raw.regex)), who);
            let value = match (&raw.is, &raw.regex) {
                (Some(is), _) => ValueMatch::Exact(is.value.clone()),
                (None, Some(regex)) => ValueMatch::Regex(self.pattern(regex, false, who)),
                (None, None) => ValueMatch::Present,
            };
            matches.push(FieldMatch { name, value, not: flag(&raw.not, false) });
        }
        matches
    }

    fn action(&mut self, raw: &raw::Route, path: &PathMatch, edge: &Edge, who: &str) -> Action {
        let keys = [
            ("pool", span_of(&raw.pool)),
            ("files", span_of(&raw.files)),
            ("redirect", span_of(&raw.redirect)),
            ("answer", span_of(&raw.answer)),
        ];
        self.exactly_one(&keys, &raw.head, who);
        let fallback = raw.files.as_ref().is_some_and(|files| files.value.fallback_pool.is_some());
        if raw.pool.is_none() && !fallback {
            self.foreign(span_of(&raw.forward), "forward", "`pool`", who);
        }
        let who = who.to_owned();
        if let Some(pool) = &raw.pool {
            let id = PoolId(self.named(Kind::Pool, pool, &who).unwrap_or(0));
            let forward = self.forward(raw.forward.as_ref(), id, path, edge, &format!("{who}: forward"));
            return Action::Forward(Box::new(forward));
        }
        if let Some(files) = &raw.files {
            return Action::Files(Box::new(self.files(raw, files, path, edge, &format!("{who}: files"))));
        }
        if let Some(redirect) = &raw.redirect {
            return Action::Answer(self.redirect(&redirect.value, &format!("{who}: redirect")));
        }
        let answer = raw.answer.as_ref().map(|answer| self.answer(answer, &format!("{who}: answer")));
        Action::Answer(answer.unwrap_or(Answer { status: 404, location: None, body: None, media: None }))
    }

    pub(super) fn redirect(&mut self, raw: &raw::Redirect, who: &str) -> Answer {
        let to = self.required(&raw.to, &raw.head, who, "to");
        let location = to.map(|to| {
            if to.value.0.is_empty() {
                self.error(
                    to.span,
                    format!("{who}: `to` is empty"),
                    "write such as \"https://{host}{request_uri}\"",
                );
            }
            self.template(&to, who)
        });
        Answer { status: self.redirect_status(&raw.status, who), location, body: None, media: None }
    }

    pub(super) fn answer(&mut self, at: &At<raw::Answer>, who: &str) -> Answer {
        let raw = &at.value;
        let status = self.number(&raw.status, 200, 200..=999, who, "status");
        if let (Some(at), true) = (&raw.status, super::kinds::is_redirect(status)) {
            let message = format!("{who}: {status} is a redirect, but an answer leads nowhere");
            self.error(at.span, message, format!("write redirect = {{ to = \"...\", status = {status} }}"));
        }
        let body = raw.body.as_ref().map(|body| self.template(body, who));
        if body.is_none() {
            self.foreign(span_of(&raw.media), "media", "`body`", who);
        }
        let media = raw.media.as_ref().map(|media| self.media(media, who));
        let media = media.or_else(|| body.is_some().then(|| "text/plain".to_owned()));
        Answer { status: u16::try_from(status).unwrap_or(200), location: None, body, media }
    }

    fn files(
        &mut self,
        route: &raw::Route,
        at: &At<raw::Files>,
        path: &PathMatch,
        edge: &Edge,
        who: &str,
    ) -> Files {
        let raw = &at.value;
        let root = self.required(&raw.root, &raw.head, who, "root");
        let root = root.map(|root| self.rooted(&root, "`root`", who)).unwrap_or_default();
        let alias = flag(&raw.alias, false);
        if let (true, PathMatch::Never) = (alias, path) {
            self.foreign(span_of(&raw.alias), "alias", "routes with a path", who);
        }
        let texts = |r: &mut Self, list: &Option<At<Vec<At<Templated>>>>| -> Vec<Template> {
            list.iter().flat_map(|list| &list.value).map(|text| r.template(text, who)).collect()
        };
        let index = match &raw.index {
            Some(_) => texts(self, &raw.index),
            None => vec![Template::text("index.html")],
        };
        let tries = texts(self, &raw.r#try);
        self.not_both(
            ("fallback", span_of(&raw.fallback)),
            ("fallback_pool", span_of(&raw.fallback_pool)),
            who,
        );
        if raw.r#try.as_ref().is_none_or(|list| list.value.is_empty()) {
            for (span, key) in
                [(span_of(&raw.fallback), "fallback"), (span_of(&raw.fallback_pool), "fallback_pool")]
            {
                self.foreign(span, key, "`try`, such as try = [\"{uri}\"]", who);
            }
        }
        let fallback = match (&raw.fallback, &raw.fallback_pool) {
            (Some(fallback), _) => self.fallback(fallback, who),
            (None, Some(pool)) => {
                let id = PoolId(self.named(Kind::Pool, pool, who).unwrap_or(0));
                let forward = self.forward(route.forward.as_ref(), id, path, edge, who);
                Some(Fallback::Action(Box::new(Action::Forward(Box::new(forward)))))
            }
            (None, None) => None,
        };
        Files {
            root,
            alias,
            index,
            tries,
            fallback,
            listing: flag(&raw.listing, false),
            etag: flag(&raw.etag, true),
            precompressed: flag(&raw.precompressed, false),
            ranges_max: self.count(&raw.ranges_max, 64, 0..=1000, who, "ranges_max"),
            later_dates: flag(&raw.later_dates, false),
        }
    }

    fn fallback(&mut self, at: &At<Templated>, who: &str) -> Option<Fallback> {
        let literal = at.value.0.literal().unwrap_or_default();
        if let Some(name) = literal.strip_prefix('@') {
            let name = At::new(name.to_owned(), at.span);
            return self.named(Kind::Route, &name, who).map(|id| Fallback::Route(RouteId(id)));
        }
        if let Some(status) = literal.strip_prefix('=') {
            let status = status.parse().ok().filter(|status| (200..=999).contains(status));
            if status.is_none() {
                let message = format!("{who}: fallback \"{literal}\" is not a status");
                self.error(at.span, message, "write such as \"=404\"");
            }
            return status.map(Fallback::Status);
        }
        Some(Fallback::Path(self.rooted(at, "`fallback`", who)))
    }

    fn error_pages(&mut self, list: Option<&At<Vec<At<raw::ErrorPage>>>>, who: &str) -> Vec<ErrorPage> {
        let who = &format!("{who}: errors");
        let mut pages = Vec::new();
        for At { value: raw, .. } in list.into_iter().flat_map(|list| &list.value) {
            let codes = self.required(&raw.codes, &raw.head, who, "codes");
            let codes = codes.map(|codes| self.codes(&codes, who)).unwrap_or_default();
            let keys =
                [("path", span_of(&raw.path)), ("route", span_of(&raw.route)), ("url", span_of(&raw.url))];
            self.exactly_one(&keys, &raw.head, who);
            let page = if let Some(path) = &raw.path {
                Page::Path(self.rooted(path, "`path`", who))
            } else if let Some(route) = &raw.route {
                Page::Route(RouteId(self.named(Kind::Route, route, who).unwrap_or(0)))
            } else {
                let url = raw.url.as_ref().map(|url| self.template(url, who));
                Page::Url(url.unwrap_or_default())
            };
            let status = match &raw.status {
                Some(At { value: 0, .. }) => Some(0),
                Some(_) => u16::try_from(self.number(&raw.status, 200, 200..=999, who, "status")).ok(),
                None => None,
            };
            pages.push(ErrorPage { codes, page, status });
        }
        pages
    }

    fn codes(&mut self, at: &At<Codes>, who: &str) -> Vec<u16> {
        if at.value.0.is_empty() {
            self.error(at.span, format!("{who}: `codes` names none"), "write codes = [404, \"500-504\"]");
        }
        let mut codes = Vec::new();
        for At { value: Status(low, high), span } in &at.value.0 {
            if *low < 300 {
                let message = format!("{who}: {low} is not an error: pages stand for 300 and above");
                self.error(*span, message, "write codes = [404, \"500-504\"]");
            }
            codes.extend((*low..=*high).filter(|code| !codes.contains(code)).collect::<Vec<_>>());
        }
        codes
    }

    /// A route whose every place is taken by an equal one before it.
    fn never_reached(&mut self, list: &[At<raw::Route>], routes: &[Route]) {
        let mut taken: Seen<String> = Seen::new();
        let all: usize = routes.iter().map(|route| route.listeners.len() * route.hosts.len().max(1)).sum();
        if all > MOST_PLACES {
            return;
        }
        for (At { value: raw, .. }, route) in list.iter().zip(routes) {
            let places = places(route);
            let first = places.iter().map(|place| taken.get(place)).collect::<Option<Vec<_>>>();
            if let Some((other, span)) = first.and_then(|all| all.first().copied().cloned()) {
                let place = self.findings.line_of(span);
                let message = format!(
                    "route \"{}\" never takes a request: route \"{other}\" at {place} does",
                    route.name
                );
                self.findings.warn(
                    raw.head.span,
                    message,
                    "join the two, or let them differ in host, path or matches",
                );
            }
            for place in places {
                taken.entry(place).or_insert((route.name.clone(), raw.head.span));
            }
        }
    }

    /// Listeners that speak http and have nothing to say. Where agents come in there is something.
    fn idle_listeners(&mut self, routes: &[Route], edge: &Edge) {
        let routes = routes.iter().filter(|route| route.path != PathMatch::Never);
        let taken: HashSet<u32> = routes.flat_map(|route| route.listeners.iter().copied()).collect();
        for (nth, listener) in edge.listeners.iter().enumerate() {
            let taken = u32::try_from(nth).is_ok_and(|nth| taken.contains(&nth));
            if listener.protocol != Protocol::Http
                || listener.agents.is_some()
                || listener.compat.is_some()
                || taken
            {
                continue;
            }
            let Some(span) = self.span_of_name(Kind::Listener, &listener.name) else { continue };
            let message = format!("listener \"{}\" has no route: every request gets 404", listener.name);
            self.findings.warn(
                span,
                message,
                "write [[route]] with a `pool`, `files`, `redirect` or `answer`",
            );
        }
    }
}

/// Each listener and host with what else decides, as text to compare.
fn places(route: &Route) -> Vec<String> {
    if route.path == PathMatch::Never {
        return Vec::new();
    }
    let matches = (&route.path, &route.methods, &route.headers, &route.queries, &route.from);
    let rest = format!("{matches:?}");
    let any = [Host::Any];
    let hosts: &[Host] = if route.hosts.is_empty() { &any } else { &route.hosts };
    route
        .listeners
        .iter()
        .flat_map(|at| hosts.iter().map(move |host| (at, host)))
        .map(|(at, host)| format!("{at} {host:?} {rest}"))
        .collect()
}

/// A name made of what a route is for.
fn made_name(raw: &raw::Route) -> String {
    let host =
        raw.host.as_ref().and_then(|hosts| hosts.value.0.first()).map_or("", |host| host.value.as_str());
    let path = match (&raw.path, &raw.path_exact, &raw.path_regex) {
        (_, Some(exact), _) => format!("={}", exact.value),
        (_, _, Some(regex)) => format!("~{}", regex.value),
        (path, None, None) => path.as_ref().map_or_else(|| "/".to_owned(), |path| path.value.clone()),
    };
    let name: String = format!("{host}{path}")
        .chars()
        .filter(|c| !c.is_whitespace() && !c.is_control() && *c != '"')
        .collect();
    if name.chars().count() > LONGEST_MADE { name.chars().take(LONGEST_MADE).collect() } else { name }
}

/// Room for a number behind it.
const LONGEST_MADE: usize = 56;
