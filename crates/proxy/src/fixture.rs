//! Requests and configurations for tests.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use mainstay_config::plan::edge::{
    Action, Answer, BackendHttp, Balance, Edge, Forward, HttpLimits, Known, Listener, Outlier, PathMatch,
    Piece, Pool, Protocol, ProxyHeader, Queue, Retry, Route, Template, Uri, Var,
};
use mainstay_core::name::{PoolId, RouteId};

use crate::clock;
use crate::exchange::{Connection, Exchange};
use crate::metrics::Names;
use crate::request::{BodyLength, Field, Request, Span, Version};
use crate::snapshot::Snapshot;

fn span(raw: &str, part: &str) -> Span {
    let start = part.as_ptr() as usize - raw.as_ptr() as usize;
    let at = |at: usize| u32::try_from(at).expect("a test's head is short");
    Span { start: at(start), end: at(start + part.len()) }
}

/// A request as it stands here: its line, its fields, lines ended by `\n`.
pub(crate) fn request(head: &str) -> Request {
    let mut lines = head.lines();
    let line = lines.next().expect("a request line");
    let (method, rest) = line.split_once(' ').expect("a method");
    let (target, version) = rest.rsplit_once(' ').expect("a version");
    let mut request = Request {
        raw: head.as_bytes().to_vec(),
        method: span(head, method),
        target: span(head, target),
        authority: Span::default(),
        version: match version {
            "HTTP/1.0" => Version::Http10,
            "HTTP/2.0" => Version::Http2,
            _ => Version::Http11,
        },
        body: BodyLength::None,
        close: false,
        upgrade: None,
        expects_continue: false,
        fields: smallvec::SmallVec::new(),
    };
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if name.eq_ignore_ascii_case("host") {
            request.authority = span(head, value);
        }
        request.fields.push(Field { name: span(head, name), value: span(head, value) });
    }
    request
}

/// That request from 192.0.2.1 on its way, at the first route; its path is taken as it is.
pub(crate) fn exchange(head: &str) -> Exchange {
    let request = request(head);
    let target = request.text(request.target).to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let connection =
        Connection { number: 1, listener: 0, counts: 0, peer: None, local: None, proxy: None, tls: None };
    let mut exchange = Exchange::new(request, Rc::new(connection), clock::boot_now());
    exchange.client = Some("192.0.2.1".parse().expect("an address"));
    exchange.client_port = 50_000;
    exchange.path.push_str(path);
    exchange.query.push_str(query);
    exchange.route = Some(RouteId(0));
    exchange
}

/// A route for everything that answers 200.
pub(crate) fn route() -> Route {
    Route {
        name: "all".to_owned(),
        listeners: Vec::new(),
        hosts: Vec::new(),
        path: PathMatch::Prefix { path: "/".to_owned(), last: false },
        methods: Vec::new(),
        headers: Vec::new(),
        queries: Vec::new(),
        from: Vec::new(),
        internal: false,
        real_ip: None,
        steps: Vec::new(),
        access: Vec::new(),
        satisfy_any: false,
        auth: None,
        rates: Vec::new(),
        concurrency: Vec::new(),
        body_max: None,
        response_headers: Vec::new(),
        action: Action::Answer(Answer { status: 200, location: None, body: None, media: None }),
        errors: Vec::new(),
        gzip: None,
        rate_bytes: 0,
        logs: Vec::new(),
        expires: None,
        default_type: "text/plain".to_owned(),
        relative_redirects: false,
    }
}

/// How requests are passed to the first pool, once each.
pub(crate) fn forward() -> Forward {
    Forward {
        pool: PoolId(0),
        uri: Uri::Same,
        to: None,
        method: None,
        host: Template::known(Known::Host),
        forwarded: false,
        headers: Vec::new(),
        pass_headers: true,
        pass_body: true,
        buffer_request: false,
        upgrade: false,
        connect_timeout: Duration::from_secs(5),
        send_timeout: Duration::from_secs(60),
        read_timeout: Duration::from_secs(60),
        retry: Retry { on: Vec::new(), tries: 1, within: Duration::ZERO, non_idempotent: false },
        hide: Vec::new(),
        redirects: Vec::new(),
        cookie_domains: Vec::new(),
        cookie_paths: Vec::new(),
        intercept_errors: false,
        accel: false,
    }
}

/// A listener for HTTP without a place.
pub(crate) fn listener() -> Listener {
    Listener {
        name: "web".to_owned(),
        places: Vec::new(),
        protocol: Protocol::Http,
        tls: None,
        proxy_from: Vec::new(),
        real_ip: None,
        http: HttpLimits {
            http2: true,
            head_max: 16_384,
            fields_max: 100,
            head_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            requests_max: 0,
            streams_max: 100,
            underscores: false,
            bare_lf: false,
            says_keep: false,
            keep_hint: 0,
            half_close: true,
        },
        max_connections: 1000,
        access: Vec::new(),
        pool: None,
        sni: Vec::new(),
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(60),
        udp_responses: None,
        logs: Vec::new(),
        answer: None,
        agents: None,
        quic: false,
        compat: None,
    }
}

/// A pool without backends.
pub(crate) fn pool(name: &str) -> Pool {
    Pool {
        name: name.to_owned(),
        balance: Balance::RoundRobin,
        backends: Vec::new(),
        tls: None,
        http: BackendHttp::Http1,
        proxy: ProxyHeader::Off,
        sticky: None,
        outlier: Outlier { failures: 0, window: Duration::ZERO, aside: Duration::ZERO, share_max: 0 },
        queue: Queue { max: 0, timeout: Duration::ZERO },
        slow_start: Duration::ZERO,
        keep: 0,
        keep_timeout: Duration::ZERO,
        keep_requests: 0,
        bare_lf: false,
        retry_budget: 0,
    }
}

/// A configuration in force.
pub(crate) fn snapshot(edge: Edge) -> Snapshot {
    Snapshot::compile(edge, HashMap::new(), &mut Names::default(), &crate::tls::Tickets::new(), None)
        .expect("the configuration is good")
}

/// A text with `{uri}`, `{args}`, `{remote_addr}`, `{http_x}` and `{arg_x}` in it.
pub(crate) fn template(text: &str) -> Template {
    let mut pieces = Vec::new();
    for part in text.split_inclusive(['{', '}']) {
        match part.strip_suffix('}') {
            Some("uri") => pieces.push(Piece::Var(Var::Known(Known::Uri))),
            Some("args") => pieces.push(Piece::Var(Var::Known(Known::Args))),
            Some("remote_addr") => pieces.push(Piece::Var(Var::Known(Known::RemoteAddr))),
            Some(var) => pieces.push(Piece::Var(match var.strip_prefix("http_") {
                Some(name) => Var::Header(name.to_owned()),
                None => Var::Arg(var.strip_prefix("arg_").expect("a variable of a test").to_owned()),
            })),
            None => {
                let text = part.strip_suffix('{').unwrap_or(part);
                if !text.is_empty() {
                    pieces.push(Piece::Text(text.to_owned()));
                }
            }
        }
    }
    Template(pieces)
}

/// Writes what [`template`] makes.
pub(crate) fn render(template: &Template, exchange: &Exchange, out: &mut Vec<u8>) {
    for piece in &template.0 {
        match piece {
            Piece::Text(text) => out.extend(text.as_bytes()),
            Piece::Var(Var::Known(Known::Uri)) => out.extend(exchange.path.as_bytes()),
            Piece::Var(Var::Known(Known::Args)) => out.extend(exchange.query.as_bytes()),
            Piece::Var(Var::Known(Known::RemoteAddr)) => {
                out.extend(exchange.client.map(|addr| addr.to_string()).unwrap_or_default().as_bytes());
            }
            Piece::Var(Var::Header(name)) => out.extend(exchange.request.field(name).unwrap_or_default()),
            Piece::Var(Var::Arg(name)) => {
                let pairs = exchange.query.split('&').filter_map(|pair| pair.split_once('='));
                let value = pairs.into_iter().find(|(known, _)| known == name).map(|(_, value)| value);
                out.extend(value.unwrap_or_default().as_bytes());
            }
            Piece::Var(_) => panic!("no variable of a test"),
        }
    }
}
