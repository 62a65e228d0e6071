//! What the edge's tables mean: from a text to the Plan's listeners, routes and pools.

use std::path::Path;
use std::time::Duration;

use mainstay_config::plan::edge::{
    Access, Action, Auth, BackendHttp, Balance, Condition, Edge, Expires, Fallback, FileKind, HeaderChange,
    Host, Known, LogFormat, LogTarget, MapRules, Net, Page, PathMatch, Piece, Place, Protocol, ProxyHeader,
    RealIpSource, RetryOn, Step, Target, Template, TextPattern, Then, TokenSource, Uri, ValueMatch, Var,
};
use mainstay_config::plan::{Check, Plan};
use mainstay_config::{Checks, Loaded, parse_str};

fn accepted(text: &str) -> Loaded {
    parse_str("t.toml", text, &|_| None, Checks::NONE).unwrap_or_else(|report| panic!("{report}"))
}

fn plan(text: &str) -> Plan {
    accepted(text).plan
}

/// The Plan of an edge with nothing to warn of.
fn edge(text: &str) -> Edge {
    let loaded = accepted(text);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    loaded.plan.edge
}

fn template(text: &str) -> Template {
    Template::parse(text).expect("a good template")
}

fn net(addr: &str, prefix: u8) -> Net {
    Net { addr: addr.parse().expect("an address"), prefix }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const SMALL: &str = r#"
[[listener]]
name = "http"
bind = ":80"

[[route]]
host = "shop.example.com"
path = "/api/"
pool = "api"

[[pool]]
name = "api"
backends = ["10.0.4.20:8080", { addr = "api.internal:8080", weight = 2 }]
"#;

#[test]
fn the_smallest_edge_is_a_listener_a_route_and_a_pool() {
    let edge = edge(SMALL);
    let places = ["0.0.0.0:80", "[::]:80"].map(|place| Place::Inet(place.parse().unwrap()));
    assert_eq!(edge.listeners[0].places, places);
    assert_eq!(edge.listeners[0].protocol, Protocol::Http);
    let route = &edge.routes[0];
    assert_eq!((route.name.as_str(), route.listeners.as_slice()), ("shop.example.com/api/", [0].as_slice()));
    assert_eq!(route.hosts, [Host::Exact("shop.example.com".to_owned())]);
    assert_eq!(route.path, PathMatch::Prefix { path: "/api/".to_owned(), last: false });
    assert_eq!((route.body_max, route.default_type.as_str()), (None, "application/octet-stream"));
    let Action::Forward(forward) = &route.action else { panic!("{:?}", route.action) };
    assert_eq!((forward.pool.index(), &forward.uri), (0, &Uri::Same));
    assert_eq!(forward.host, Template(vec![Piece::Var(Var::Header("host".to_owned()))]));
    assert_eq!((forward.connect_timeout, forward.read_timeout), (secs(5), secs(60)));
    assert!(forward.forwarded && forward.pass_headers && forward.pass_body && forward.upgrade);
    assert_eq!(
        (forward.retry.on.as_slice(), forward.retry.tries),
        ([RetryOn::Error, RetryOn::Timeout].as_slice(), 3)
    );
    let pool = &edge.pools[0];
    assert_eq!(
        (&pool.balance, pool.http, pool.proxy),
        (&Balance::RoundRobin, BackendHttp::Http1, ProxyHeader::Off)
    );
    assert_eq!((pool.keep, pool.keep_timeout, pool.retry_budget, pool.queue.max), (256, secs(60), 20, 1000));
    assert_eq!((pool.outlier.failures, pool.outlier.aside, pool.outlier.share_max), (5, secs(10), 50));
    assert_eq!(pool.backends[0].target, Target::Inet("10.0.4.20:8080".parse().unwrap()));
    assert_eq!(pool.backends[1].target, Target::Name { host: "api.internal".to_owned(), port: 8080 });
    assert_eq!((pool.backends[0].weight, pool.backends[1].weight), (1, 2));
    assert_eq!((edge.instances, edge.drain, edge.resolve), (2, secs(30), secs(10)));
    assert!(edge.threads >= 1);
}

#[test]
fn a_configuration_without_an_edge_has_none() {
    assert!(plan("[node]\nid = \"a\"\n").edge.is_empty());
}

#[test]
fn listeners_speak_http_tcp_udp_and_pass_tls_through() {
    let text = r#"
[[listener]]
name = "http"
bind = ["10.0.4.99:80", "[2001:db8::99]:80", "unix:/run/edge.sock"]
http2 = false
head_max = "16k"
idle_timeout = "0s"
proxy_from = ["10.0.0.0/8"]
real_ip = { trusted = ["10.0.0.0/8", "unix:"], recursive = false }
[[listener]]
name = "db"
bind = ":5432"
protocol = "tcp"
access = ["allow 10.0.0.0/8", "deny all"]
pool = "db"
proxy_from = ["10.0.0.0/8"]
real_ip = { proxy = true, trusted = ["10.0.0.0/8"] }
[[listener]]
name = "dns"
bind = ":53"
protocol = "udp"
pool = "db"
udp_responses = 1
[[listener]]
name = "sni"
bind = ":443"
protocol = "passthrough"
sni = [{ host = ["a.example.com", "*.b.example.com"], pool = "db" }]
[[listener]]
name = "hello"
bind = ":7"
protocol = "tcp"
answer = "you are {remote_addr}\n"
[[pool]]
name = "db"
backends = ["10.0.4.20:5432"]
[[route]]
answer = { status = 204 }
"#;
    let edge = edge(text);
    let [http, db, dns, sni, hello] = edge.listeners.as_slice() else { panic!() };
    assert_eq!(http.places[2], Place::Unix("/run/edge.sock".into()));
    assert_eq!(
        (http.http.http2, http.http.head_max, http.http.idle_timeout),
        (false, 16 << 10, Duration::ZERO)
    );
    let real_ip = http.real_ip.as_ref().unwrap();
    assert_eq!(real_ip.source, RealIpSource::Header("x-forwarded-for".to_owned()));
    assert_eq!(
        (real_ip.trusted.as_slice(), real_ip.unix, real_ip.recursive),
        ([net("10.0.0.0", 8)].as_slice(), true, false)
    );
    assert_eq!(
        db.access,
        [Access { allow: true, net: Some(net("10.0.0.0", 8)) }, Access { allow: false, net: None }]
    );
    assert_eq!((db.idle_timeout, db.connect_timeout, dns.idle_timeout), (secs(600), secs(5), secs(30)));
    assert_eq!(db.real_ip.as_ref().unwrap().source, RealIpSource::Proxy);
    assert_eq!((dns.udp_responses, dns.pool.map(|pool| pool.index())), (Some(1), Some(0)));
    let hosts: Vec<&Host> = sni.sni.iter().map(|rule| &rule.host).collect();
    assert_eq!(hosts, [&Host::Exact("a.example.com".to_owned()), &Host::Suffix(".b.example.com".to_owned())]);
    assert_eq!(hello.answer, Some(template("you are {remote_addr}\n")));
    assert_eq!(edge.routes[0].listeners, [0], "a route without `listener` takes part where http is spoken");
}

const ROUTES: &str = r#"
[[listener]]
name = "http"
bind = ":80"

[[route]]
host = ["example.com", "*.example.com", "~^(?<sub>\\w+)\\.test$", "*"]
path_regex = '\.(?<suffix>php)$'
ignore_case = true
methods = ["GET", "POST"]
headers = [{ name = "X-Beta" }, { name = "X-Stage", is = "1", not = true }]
queries = [{ name = "v", regex = '^\d+$' }]
from = ["10.0.0.0/8"]
body_max = "100m"
expires = "modified 1h"
satisfy_any = true
access = ["allow 10.0.0.0/8", "deny all"]
basic_auth = { users = { ann = "$2y$05$abcdefghijklmnopqrstuv" } }
rates = [{ zone = "each", burst = 20 }, { zone = "each", burst = 5, undelayed = 2, status = 503 }]
concurrency = [{ zone = "now", max = 10 }]
gzip = { types = ["*"], level = 6 }
rate_bytes = "1MiB"
log = ["main", { name = "json", when = "{loggable}" }]
response_headers = [
    { set = "X-Sub", value = "{sub}{suffix}" },
    { add = "Vary", value = "Accept", always = true },
    { remove = "Server" },
]
errors = [
    { codes = [404, "500-502"], path = "/sorry.html" },
    { codes = 503, route = "maintenance", status = 200 },
    { codes = 403, url = "https://login.example.com/", status = 0 },
]
steps = [
    { set = "loggable", value = "1" },
    { when = { value = "{http_user_agent}", regex = "bot", ignore_case = true }, steps = [{ answer = { status = 444 } }] },
    { when = { value = "{arg_debug}" }, route = "maintenance" },
    { when = { path = "/run/down", exists = "file", not = true }, steps = [{ break = true }] },
    { when = { value = "{scheme}", is = "http" }, steps = [{ redirect = { to = "https://{host}{request_uri}", status = 308 } }] },
    { once = [{ rewrite = '^/old/(.*)$', to = "/new/{1}", then = "again" }] },
    { rewrite = 'a', to = "https://b/", then = "permanent" },
]
pool = "api"
forward = { uri = "/api{uri}{is_args}{args}", host = "{proxy_host}", hide = ["X-Powered-By"], accel = true, headers = [
    { set = "X-Real-IP", value = "{remote_addr}" },
], redirects = [{ from = "http://a/", to = "/" }, { regex = '^http://(.*)$', to = "https://{1}" }], retry = { on = ["error", 502], tries = 2 } }

[[route]]
name = "maintenance"
by_name = true
files = { root = "/srv/{host}", index = [], try = ["{uri}", "{uri}/"], fallback = "@spa" }

[[route]]
name = "spa"
by_name = true
files = { root = "/srv/www", alias = false, try = ["{uri}"], fallback_pool = "api", precompressed = true }
forward = { upgrade = false }

[[route]]
path = "/go"
redirect = { to = "https://{host}/", status = 301 }

[[route]]
path = "/go"
methods = ["POST"]
answer = { status = 200, body = "{{\"ok\": true}}", media = "application/json" }

[[pool]]
name = "api"
backends = ["10.0.4.20:8080"]

[[zone]]
name = "each"
key = "{remote_addr}"
rate = "30/m"

[[zone]]
name = "now"
key = "{server_name}"

[[log]]
name = "main"
to = "/var/log/mainstay/access.log"

[[log]]
name = "json"
to = "stdout"
format = "{remote_addr} {status}"
"#;

#[test]
fn a_route_says_which_requests_it_takes() {
    let edge = edge(ROUTES);
    let names: Vec<&str> = edge.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["example.com~\\.(?<suffix>php)$", "maintenance", "spa", "/go", "/go#2"]);
    let route = &edge.routes[0];
    assert_eq!(route.hosts[2..], [Host::Regex(r"^(?<sub>\w+)\.test$".to_owned()), Host::Any]);
    assert_eq!(route.path, PathMatch::Regex { pattern: r"\.(?<suffix>php)$".to_owned(), ignore_case: true });
    assert_eq!(route.headers[0].name, "x-beta");
    assert_eq!(
        (&route.headers[0].value, &route.headers[1].value),
        (&ValueMatch::Present, &ValueMatch::Exact("1".to_owned()))
    );
    assert!(route.headers[1].not);
    assert_eq!(route.queries[0].value, ValueMatch::Regex(r"^\d+$".to_owned()));
    assert_eq!((route.from.as_slice(), route.body_max), ([net("10.0.0.0", 8)].as_slice(), Some(100 << 20)));
    assert_eq!((route.expires, route.rate_bytes), (Some(Expires::Modified(3600)), 1 << 20));
    assert!(
        route.satisfy_any && matches!(&route.auth, Some(Auth::Basic { users, .. }) if users[0].0 == "ann")
    );
    assert_eq!((route.rates[0].undelayed, route.rates[0].status), (u32::MAX, 429));
    assert_eq!((route.rates[1].undelayed, route.rates[1].status, route.concurrency[0].max), (2, 503, 10));
    assert_eq!((edge.zones[0].rate_millis, edge.zones[1].rate_millis), (500, 0));
    assert_eq!(route.gzip.as_ref().map(|gzip| (gzip.types[0].as_str(), gzip.level)), Some(("*", 6)));
    assert_eq!(route.logs[1].when, Some(template("{loggable}")));
    assert_eq!(edge.logs[0].to, LogTarget::File("/var/log/mainstay/access.log".into()));
    assert_eq!(edge.logs[0].format, LogFormat::Combined);
    assert!(
        matches!(&edge.logs[1].format, LogFormat::Text { line, .. } if *line == template("{remote_addr} {status}"))
    );
    assert_eq!(route.response_headers[2].op, HeaderChange::Remove);
    assert!(route.response_headers[1].always);
    assert_eq!(route.errors[0].codes, [404, 500, 501, 502]);
    assert!(matches!(route.errors[1].page, Page::Route(id) if id.index() == 1));
    assert_eq!((route.errors[1].status, route.errors[2].status), (Some(200), Some(0)));
}

#[test]
fn steps_and_actions_keep_their_order_and_their_words() {
    let edge = edge(ROUTES);
    let steps = &edge.routes[0].steps;
    assert!(matches!(&steps[0], Step::Set { name, .. } if name == "loggable"));
    assert!(
        matches!(&steps[1], Step::If { when: Condition::Match { ignore_case: true, .. }, steps, route: None }
        if matches!(&steps[0], Step::Answer(answer) if answer.status == 444))
    );
    assert!(
        matches!(&steps[2], Step::If { when: Condition::True(_), route: Some(id), .. } if id.index() == 1)
    );
    assert!(matches!(
        &steps[3],
        Step::If { when: Condition::File { kind: FileKind::File, not: true, .. }, .. }
    ));
    assert!(matches!(&steps[4], Step::If { when: Condition::Equal { not: false, .. }, steps, .. }
        if matches!(&steps[0], Step::Answer(answer) if answer.status == 308 && answer.location.is_some())));
    assert!(
        matches!(&steps[5], Step::Once(inner) if matches!(&inner[0], Step::Rewrite { then: Then::Again, .. }))
    );
    assert!(matches!(&steps[6], Step::Rewrite { then: Then::Redirect(301), .. }));
    let Action::Forward(forward) = &edge.routes[0].action else { panic!() };
    assert_eq!(forward.uri, Uri::Text(template("/api{uri}{is_args}{args}")));
    assert_eq!(
        (forward.host.clone(), forward.hide.as_slice()),
        (Template::known(Known::ProxyHost), ["x-powered-by".to_owned()].as_slice())
    );
    assert!(matches!(forward.redirects[1].from, TextPattern::Regex { .. }));
    assert_eq!(
        (forward.retry.on.as_slice(), forward.retry.tries),
        ([RetryOn::Error, RetryOn::Status(502)].as_slice(), 2)
    );
    let Action::Files(files) = &edge.routes[1].action else { panic!() };
    assert!(files.index.is_empty() && matches!(files.fallback, Some(Fallback::Route(id)) if id.index() == 2));
    let Action::Files(files) = &edge.routes[2].action else { panic!() };
    let Some(Fallback::Action(action)) = &files.fallback else { panic!() };
    assert!(matches!(&**action, Action::Forward(forward) if !forward.upgrade));
    let Action::Answer(answer) = &edge.routes[4].action else { panic!() };
    assert_eq!(answer.body.as_ref().and_then(Template::literal), Some("{\"ok\": true}"));
}

#[test]
fn a_pool_says_how_backends_are_chosen_and_reached() {
    let edge = edge(
        r#"
[[listener]]
name = "tcp"
bind = ":1"
protocol = "tcp"
pool = "p"
[[listener]]
name = "http"
bind = ":2"
[[route]]
pool = "q"
[[pool]]
name = "p"
balance = "source"
proxy = "v2"
backends = ["unix:/run/a.sock", { addr = "[2001:db8::1]:80", backup = true, max_connections = 7, outlier = { failures = 1 } }]
outlier = { failures = 3, window = "30s" }
[[pool]]
name = "q"
balance = "hash"
key = "{arg_user}"
backends = ["a.example.com:443"]
tls = { name = "internal.example.com", verify = false }
http2 = true
sticky = { cookie = "to", max_age = "1h", secure = true, same_site = "Lax" }
queue = { max = 0 }
slow_start = "30s"
"#,
    );
    let [p, q] = edge.pools.as_slice() else { panic!() };
    assert_eq!((&p.balance, p.proxy), (&Balance::Source, ProxyHeader::V2));
    assert_eq!(p.backends[0].target, Target::Unix("/run/a.sock".into()));
    let own = p.backends[1].outlier.unwrap();
    assert_eq!(
        (own.failures, own.window, p.outlier.failures),
        (1, secs(30), 3),
        "what a backend leaves out is the pool's"
    );
    assert!(p.backends[1].backup && p.backends[1].max_connections == 7);
    assert_eq!(q.balance, Balance::Hash(template("{arg_user}")));
    assert_eq!((q.http, q.queue.max, q.slow_start), (BackendHttp::Http2, 0, secs(30)));
    let tls = q.tls.as_ref().unwrap();
    assert!(!tls.verify && tls.name == Some(Template::text("internal.example.com")));
    let sticky = q.sticky.as_ref().unwrap();
    assert_eq!(
        (sticky.max_age, sticky.path.as_str(), sticky.same_site.as_deref()),
        (secs(3600), "/", Some("Lax"))
    );
    assert!(sticky.http_only && sticky.secure);
}

#[test]
fn the_probe_of_a_pool_decides_who_holds_the_address() {
    let text = r#"
[[vip]]
name = "front"
addrs = ["10.0.4.99"]
interface = "eth0"
vrid = 51
requires = ["enough", "api/[2001:db8::1]:8443"]

[[probe]]
name = "enough"
pool = "api"
min = 2

[[probe]]
name = "grpc"
grpc = "10.0.4.20:50051"
service = "shop.Cart"

[[listener]]
name = "https"
bind = "10.0.4.99:80"

[[route]]
pool = "api"

[[pool]]
name = "api"
backends = ["10.0.4.20:8443", "[2001:db8::1]:8443", { addr = "b.internal:8443", down = true }]
tls = { name = "api.internal" }
probe = { http = "/healthz", host = "shop.example.com", interval = "1s", port = 9000, status = [200] }

[[pool]]
name = "scripted"
backends = ["10.0.4.22:1", "unix:/run/x.sock"]
probe = { exec = ["/usr/lib/check"], user = "nobody", interval = "10s" }
"#;
    let plan = plan(text);
    let names: Vec<&str> = plan.probes.iter().map(|probe| probe.name.as_str()).collect();
    let expected = [
        "enough",
        "grpc",
        "api/10.0.4.20:8443",
        "api/[2001:db8::1]:8443",
        "scripted/10.0.4.22:1",
        "scripted/unix:/run/x.sock",
    ];
    assert_eq!(names, expected);
    let required: Vec<&str> = plan.vips[0].spec.requires.iter().map(|id| names[id.index()]).collect();
    assert_eq!(required, ["enough", "api/[2001:db8::1]:8443"]);
    assert!(matches!(plan.probes[0].check, Check::Pool { pool, min: 2 } if pool.index() == 0));
    assert!(matches!(&plan.probes[1].check, Check::Grpc(grpc) if grpc.service == "shop.Cart" && !grpc.tls));
    let Check::Http(http) = &plan.probes[3].check else { panic!() };
    assert_eq!(http.url, "https://[2001:db8::1]:9000/healthz");
    assert_eq!(
        (http.host.as_deref(), http.server_name.as_deref()),
        (Some("shop.example.com"), Some("api.internal"))
    );
    assert_eq!(
        (plan.probes[3].interval, plan.probes[3].timeout, plan.probes[3].fall, plan.probes[3].rise),
        (secs(1), secs(1), 2, 2)
    );
    assert_eq!(plan.probes[4].timeout, secs(5));
    let backends = &plan.edge.pools[0].backends;
    let ids: Vec<Option<usize>> = backends.iter().map(|backend| backend.probe.map(|id| id.index())).collect();
    assert_eq!(ids, [Some(2), Some(3), None], "who is never asked is never checked");
    let lines: Vec<String> = plan.commands.iter().map(|command| command.argv.join(" ")).collect();
    assert_eq!(lines, ["/usr/lib/check 10.0.4.22 1", "/usr/lib/check unix:/run/x.sock 0"]);
}

#[test]
fn maps_are_texts_networks_or_shares() {
    let edge = edge(
        r#"
[[listener]]
name = "http"
bind = ":80"
[[route]]
answer = { body = "{backend_of}{office}{split}{rest}" }
[[map]]
name = "backend_of"
from = "{http_host}"
hostnames = true
values = [{ is = "*.example.com", to = "a" }, { regex = '^(?<env>\w+)-', to = "{env}", ignore_case = true }]
[[map]]
name = "office"
from = "{remote_addr}"
default = "no"
networks = [{ net = "10.0.0.0/8", to = "yes" }]
[[map]]
name = "split"
from = "{remote_addr}"
shares = [{ percent = "0.5", to = "new" }, { percent = "*", to = "old" }]
[[map]]
name = "rest"
from = "{remote_addr}"
shares = [{ percent = "50", to = "a" }, { percent = "50", to = "b" }]
"#,
    );
    let [named, office, split, rest] = edge.maps.as_slice() else { panic!() };
    let MapRules::Values { values, hostnames: true, patterns } = &named.rules else { panic!() };
    assert_eq!(values[0].0, "*.example.com");
    assert_eq!((patterns[0].0.as_str(), patterns[0].1), (r"^(?<env>\w+)-", true));
    assert_eq!(office.rules, MapRules::Networks(vec![(net("10.0.0.0", 8), Template::text("yes"))]));
    assert_eq!(office.default, Template::text("no"));
    // Bounds are those of nginx's split_clients: 0.5 % of 0xffffffff.
    assert_eq!(split.rules, MapRules::Shares(vec![(21_474_836, Template::text("new"))]));
    assert_eq!(split.default, Template::text("old"));
    assert_eq!(rest.default, Template::text("b"), "rounding leaves nobody without a share");
}

#[test]
fn tokens_are_looked_for_where_they_are() {
    let edge = edge(
        r#"
[[listener]]
name = "http"
bind = ":80"
[[route]]
answer = { body = "{jwt_sub}" }
[route.jwt]
keys = [
    { id = "1", algorithm = "HS256", key = "0123456789abcdef0123456789abcdef" },
    { algorithm = "RS256", key = { file = "/etc/keys/iam.pem" } },
]
from = ["bearer", "cookie:token", "header:X-Token", "query:token"]
issuers = ["iam"]
claims = { tenant = "acme" }
"#,
    );
    let Some(Auth::Jwt(jwt)) = &edge.routes[0].auth else { panic!() };
    assert_eq!(jwt.keys[1].file.as_deref(), Some(Path::new("/etc/keys/iam.pem")));
    assert_eq!(jwt.sources[..2], [TokenSource::Bearer, TokenSource::Cookie("token".to_owned())]);
    assert_eq!(jwt.sources[2], TokenSource::Header("x-token".to_owned()));
    assert_eq!(jwt.claims, [("tenant".to_owned(), "acme".to_owned())]);
    assert!(jwt.need_exp && !jwt.strip);
    assert!(!format!("{edge:?}").contains("0123456789abcdef"), "keys are not shown");
}

#[test]
fn environment_variables_are_replaced_before_a_text_is_looked_at() {
    let env = |name: &str| match name {
        "BACKEND" => Some("10.0.4.20:8080".to_owned()),
        "MAINSTAY_EDGE_DRAIN" => Some("5s".to_owned()),
        _ => None,
    };
    let text = SMALL.replace("\"10.0.4.20:8080\"", "\"${BACKEND}\"");
    let plan =
        parse_str("t.toml", &text, &env, Checks::NONE).unwrap_or_else(|report| panic!("{report}")).plan;
    assert_eq!((plan.edge.pools[0].backends[0].name.as_str(), plan.edge.drain), ("10.0.4.20:8080", secs(5)));
}
