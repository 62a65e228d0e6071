//! What the edge's tables mean: from a text to the Plan's listeners, routes and pools.

use std::time::Duration;

use mainstay_config::plan::edge::{
    Action, Balance, Host, Known, PathMatch, Piece, Place, Protocol, RealIpSource, Target, Template, Uri, Var,
};
use mainstay_config::plan::{Check, Plan};
use mainstay_config::{Checks, Loaded, parse_str};

fn accepted(text: &str) -> Loaded {
    parse_str("t.toml", text, &|_| None, Checks::NONE).unwrap_or_else(|report| panic!("{report}"))
}

fn plan(text: &str) -> Plan {
    accepted(text).plan
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
    let loaded = accepted(SMALL);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let edge = loaded.plan.edge;
    let places = ["0.0.0.0:80", "[::]:80"].map(|place| Place::Inet(place.parse().unwrap()));
    assert_eq!(edge.listeners[0].places, places);
    assert_eq!(edge.listeners[0].protocol, Protocol::Http);
    let route = &edge.routes[0];
    assert_eq!((route.name.as_str(), route.listeners.as_slice()), ("shop.example.com/api/", [0].as_slice()));
    assert_eq!(route.hosts, [Host::Exact("shop.example.com".to_owned())]);
    assert_eq!(route.path, PathMatch::Prefix { path: "/api/".to_owned(), last: false });
    let Action::Forward(forward) = &route.action else { panic!("{:?}", route.action) };
    assert_eq!((forward.pool.index(), &forward.uri), (0, &Uri::Same));
    assert_eq!(forward.host, Template(vec![Piece::Var(Var::Header("host".to_owned()))]));
    assert_eq!(
        (forward.connect_timeout, forward.read_timeout),
        (Duration::from_secs(5), Duration::from_secs(60))
    );
    let pool = &edge.pools[0];
    assert_eq!(pool.balance, Balance::RoundRobin);
    assert_eq!(pool.backends[0].target, Target::Inet("10.0.4.20:8080".parse().unwrap()));
    assert_eq!(pool.backends[1].target, Target::Name { host: "api.internal".to_owned(), port: 8080 });
    assert_eq!((pool.backends[0].weight, pool.backends[1].weight), (1, 2));
}
