//! What a configuration's texts ask for that must be kept or made in time: fields of responses, request ids.

use mainstay_config::plan::edge::{
    Action, Answer, Auth, Balance, Condition, Edge, Fallback, Files, Forward, HeaderChange, HeaderOp, Known,
    LogFormat, MapRules, Page, Route, Step, Template, TextPattern, TextRewrite, Uri, Var,
};

use super::table::vars;

/// What is asked for anywhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    /// Header names of `{sent_http_...}`.
    pub(super) sent: Vec<Box<str>>,
    /// Header names of `{upstream_http_...}`.
    pub(super) backend: Vec<Box<str>>,
    /// `{request_id}`, or a log that always has it.
    pub(super) id: bool,
}

impl Used {
    /// Looks through a configuration.
    pub(super) fn new(edge: &Edge) -> Self {
        let id = edge.logs.iter().any(|log| matches!(log.format, LogFormat::Json));
        let mut used = Self { id, ..Self::default() };
        each_template(edge, &mut |template| {
            for var in vars(template) {
                match var {
                    Var::Sent(name) => add(&mut used.sent, name),
                    Var::Upstream(name) => add(&mut used.backend, name),
                    Var::BackendCookie(_) => add(&mut used.backend, "set-cookie"),
                    Var::Known(known) => used.id |= *known == Known::RequestId,
                    Var::Header(_)
                    | Var::Cookie(_)
                    | Var::Arg(_)
                    | Var::Claim(_)
                    | Var::Group(_)
                    | Var::Own(_) => {}
                }
            }
        });
        used
    }
}

fn add(list: &mut Vec<Box<str>>, name: &str) {
    let name = name.to_lowercase();
    if !list.iter().any(|own| **own == *name) {
        list.push(name.into());
    }
}

type Visit<'a> = &'a mut dyn FnMut(&Template);

/// Every template of a configuration.
fn each_template(edge: &Edge, visit: Visit<'_>) {
    for log in &edge.logs {
        match &log.format {
            LogFormat::Text { line, .. } => visit(line),
            LogFormat::Combined | LogFormat::Json => {}
        }
    }
    let uses = edge.listeners.iter().flat_map(|l| &l.logs).chain(edge.routes.iter().flat_map(|r| &r.logs));
    uses.filter_map(|log| log.when.as_ref()).for_each(&mut *visit);
    edge.listeners.iter().filter_map(|l| l.answer.as_ref()).for_each(&mut *visit);
    edge.zones.iter().for_each(|zone| visit(&zone.key));
    for map in &edge.maps {
        visit(&map.source);
        visit(&map.default);
        match &map.rules {
            MapRules::Values { values, patterns, .. } => {
                values.iter().for_each(|(_, value)| visit(value));
                patterns.iter().for_each(|(.., value)| visit(value));
            }
            MapRules::Networks(values) => values.iter().for_each(|(_, value)| visit(value)),
            MapRules::Shares(values) => values.iter().for_each(|(_, value)| visit(value)),
        }
    }
    for pool in &edge.pools {
        if let Balance::Hash(key) = &pool.balance {
            visit(key);
        }
        pool.tls.iter().filter_map(|tls| tls.name.as_ref()).for_each(&mut *visit);
    }
    edge.routes.iter().for_each(|route| of_route(route, visit));
}

fn of_route(route: &Route, visit: Visit<'_>) {
    of_steps(&route.steps, visit);
    of_action(&route.action, visit);
    of_headers(&route.response_headers, visit);
    for page in &route.errors {
        match &page.page {
            Page::Path(text) | Page::Url(text) => visit(text),
            Page::Route(_) => {}
        }
    }
    if let Some(Auth::Basic { realm, .. }) = &route.auth {
        visit(realm);
    }
}

fn of_steps(steps: &[Step], visit: Visit<'_>) {
    for step in steps {
        match step {
            Step::Set { value, .. } => visit(value),
            Step::Rewrite { to, .. } => visit(to),
            Step::Answer(answer) => of_answer(answer, visit),
            Step::If { when, steps, .. } => {
                match when {
                    Condition::True(value) | Condition::Match { value, .. } => visit(value),
                    Condition::Equal { value, to, .. } => [value, to].into_iter().for_each(&mut *visit),
                    Condition::File { path, .. } => visit(path),
                }
                of_steps(steps, visit);
            }
            Step::Break => {}
            Step::Once(steps) => of_steps(steps, visit),
        }
    }
}

fn of_action(action: &Action, visit: Visit<'_>) {
    match action {
        Action::Forward(forward) => of_forward(forward, visit),
        Action::Files(files) => of_files(files, visit),
        Action::Answer(answer) => of_answer(answer, visit),
    }
}

fn of_answer(answer: &Answer, visit: Visit<'_>) {
    answer.location.iter().chain(&answer.body).for_each(visit);
}

fn of_files(files: &Files, visit: Visit<'_>) {
    [&files.root].into_iter().chain(&files.index).chain(&files.tries).for_each(&mut *visit);
    match &files.fallback {
        Some(Fallback::Path(text)) => visit(text),
        Some(Fallback::Action(action)) => of_action(action, visit),
        Some(Fallback::Route(_) | Fallback::Status(_)) | None => {}
    }
}

fn of_forward(forward: &Forward, visit: Visit<'_>) {
    if let Uri::Text(text) = &forward.uri {
        visit(text);
    }
    [&forward.host].into_iter().chain(&forward.method).chain(&forward.to).for_each(&mut *visit);
    of_headers(&forward.headers, visit);
    let rewrites = forward.redirects.iter().chain(&forward.cookie_domains).chain(&forward.cookie_paths);
    for TextRewrite { from, to } in rewrites {
        visit(to);
        if let TextPattern::Prefix(text) = from {
            visit(text);
        }
    }
}

fn of_headers(list: &[HeaderOp], visit: Visit<'_>) {
    for header in list {
        match &header.op {
            HeaderChange::Set(value) | HeaderChange::Add(value) => visit(value),
            HeaderChange::Remove => {}
        }
    }
}
