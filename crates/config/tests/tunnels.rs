//! What leads to a tunnel, and what is refused of it.

use mainstay_config::plan::Plan;
use mainstay_config::plan::edge::{Action, Host, Protocol, Target};
use mainstay_config::{Checks, diff, parse_str};

const ID: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";
const KEY: &str = "ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn plan(text: &str) -> Plan {
    parse_str("t.toml", text, &|_| None, Checks::NONE).unwrap_or_else(|report| panic!("{report}")).plan
}

fn refused(text: &str, line: usize, says: &str) {
    let Err(report) = parse_str("t.toml", text, &|_| None, Checks::NONE) else { panic!("accepted:\n{text}") };
    let report = report.to_string();
    let found = report.lines().any(|l| l.contains(&format!(":{line}:")) && l.contains(says));
    assert!(found, "no error in line {line} says {says:?}; the report is\n{report}");
}

fn with(tunnel: &str) -> String {
    format!(
        "[[listener]]\nname = \"http\"\nbind = \":80\"\nagents = \"/.mainstay/tunnel\"\n[[tunnel]]\nid = \"{ID}\"\nagents = [\"{KEY}\"]\n{tunnel}\n"
    )
}

#[test]
fn hosts_and_ports_of_a_tunnel_are_routes_and_listeners_to_a_pool_of_its_agents() {
    let plan = plan(&with(
        "hosts = [\"app.example.com\", \"*.app.example.com\"]\ntcp = [\":8022\"]\nudp = [\":53\"]\nbalance = \"least\"",
    ));
    let edge = &plan.edge;
    assert_eq!(edge.listeners[0].agents.as_deref(), Some("/.mainstay/tunnel"));
    let [pool] = edge.pools.as_slice() else { panic!("{:?}", edge.pools) };
    assert_eq!(pool.name, format!("tunnel:{ID}"));
    assert_eq!(pool.backends[0].target, Target::Tunnel(ID.to_owned()));
    let [route] = edge.routes.as_slice() else { panic!("{:?}", edge.routes) };
    let hosts = [Host::Exact("app.example.com".into()), Host::Suffix(".app.example.com".into())];
    assert_eq!((route.hosts.as_slice(), route.listeners.as_slice()), (&hosts[..], &[0][..]));
    assert!(matches!(&route.action, Action::Forward(forward) if forward.pool.0 == 0));
    let made: Vec<_> = edge.listeners[1..].iter().map(|l| (l.protocol, l.pool.map(|p| p.0))).collect();
    assert_eq!(made, [(Protocol::Tcp, Some(0)), (Protocol::Udp, Some(0))]);
    let served = ["app.example.com", "*.app.example.com", "tcp://:8022", "udp://:53"];
    assert_eq!(edge.tunnels[0].served, served);
    assert_eq!(edge.tunnels[0].agents, [std::array::from_fn::<u8, 32, _>(|n| u8::try_from(n).unwrap())]);
}

#[test]
fn a_tunnel_without_hosts_gets_one_under_the_hubs_domain() {
    let text = format!("[hub]\ndomain = \"gost.local\"\n{}", with(""));
    let host = Host::Exact("b7de88a94729b931.gost.local".into());
    assert_eq!(plan(&text).edge.routes[0].hosts, [host]);
    assert_eq!(plan(&text).edge.tunnels[0].served, ["b7de88a94729b931.gost.local"]);
    assert!(plan(&with("tcp = [\":22\"]")).edge.routes.is_empty());
}

#[test]
fn hosts_on_a_passthrough_listener_are_sorted_by_server_name() {
    let listener = "[[listener]]\nname = \"pass\"\nbind = \":443\"\nprotocol = \"passthrough\"\n";
    let edge = plan(&format!("{listener}{}", with("listener = \"pass\"\nhosts = [\"a.example.com\"]"))).edge;
    assert_eq!(edge.listeners[0].sni[0].host, Host::Exact("a.example.com".into()));
    assert!(edge.routes.is_empty());
}

#[test]
fn pools_name_tunnels_beside_other_backends() {
    let text = format!(
        "{}[[pool]]\nname = \"mixed\"\nbackends = [\"10.0.0.1:80\", {{ addr = \"tunnel:{ID}\", backup = true }}]\n[[route]]\npool = \"mixed\"\n",
        with("")
    );
    let edge = plan(&text).edge;
    assert_eq!(edge.pools[0].backends[1].target, Target::Tunnel(ID.to_owned()));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (tunnel, line, says) in [
        ("private = true", 5, "`visitors` is missing"),
        ("visitors = []", 8, "`visitors` means nothing"),
        ("private = false\nvisitors = []", 9, "`visitors` means nothing"),
        (
            "private = true\nvisitors = [\"ed25519:AAAA\"]",
            9,
            "visitors: \"ed25519:AAAA\" is not a public key",
        ),
        ("private = true\nvisitors = []\nhosts = [\"a.example.com\"]", 10, "`hosts` leads everybody"),
        ("private = true\nvisitors = []\ntcp = [\":22\"]", 10, "`tcp` leads everybody"),
        ("private = true\nvisitors = []\nudp = [\":53\"]", 10, "`udp` leads everybody"),
        ("private = true\nvisitors = []\nlistener = \"http\"", 10, "`listener` leads everybody"),
        ("hosts = [\"http://a\"]", 8, "is not a host"),
        ("hosts = [\"a.example\"]\nlistener = \"none\"", 9, "there is no listener \"none\""),
        ("listener = \"http\"", 8, "`hosts`"),
        ("tcp = [\":80\"]", 8, "is taken by listener \"http\""),
        ("balance = \"least\"", 8, "`balance`"),
        ("bandwidth = \"1\"", 8, "out of range"),
        ("[[listener]]\nname = \"hub\"\nbind = \":7\"\nprotocol = \"hub\"\nagents = \"/a\"", 12, "agents"),
        (
            "[[listener]]\nname = \"hub\"\nbind = \":7\"\nprotocol = \"hub\"\nidle_timeout = \"1s\"",
            12,
            "idle_timeout",
        ),
        ("[[listener]]\nname = \"b\"\nbind = \":81\"\nagents = \"a\"", 11, "is not a path"),
        ("[hub]\naddrs = [\"https://a\"]", 9, "is not where a hub is"),
        (
            "[[listener]]\nname = \"hub\"\nbind = \":7\"\nprotocol = \"hub\"\nquic = true",
            12,
            "quic needs a certificate",
        ),
        ("[[listener]]\nname = \"w\"\nbind = \":7\"\nquic = true", 11, "quic"),
        ("[hub]\ndomain = \"a..b\"", 9, "is not a domain"),
        ("[[tunnel]]\nid = \"a/b\"\nagents = []", 9, "can't be the id"),
        ("[[tunnel]]\nid = \"b\"\nagents = [\"ed25519:AAAA\"]", 10, "is not a public key"),
        (
            "[[tunnel]]\nid = \"b\"\nagents = [\"ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]",
            10,
            "anybody can sign in the name of",
        ),
        (
            "[[tunnel]]\nid = \"b\"\nagents = [\"ed25519:JuiVj8KyJ7BFw/SJ8u+Y8NXfrAXTxjM5sTgCiG1T/IU=\"]",
            10,
            "anybody can sign in the name of",
        ),
        (
            "[[pool]]\nname = \"p\"\nprobe = { tcp = true }\nbackends = [\"tunnel:nobody\"]",
            11,
            "there is no tunnel \"nobody\"",
        ),
    ] {
        refused(&with(tunnel), line, says);
    }
    let nobody = with("").replace("agents = \"/.mainstay/tunnel\"\n", "");
    refused(&nobody, 4, "no listener takes agents in");
    let probed = format!("[[pool]]\nname = \"p\"\nprobe = {{ tcp = true }}\nbackends = [\"tunnel:{ID}\"]");
    refused(&with(&probed), 10, "probed by its agents");
}

#[test]
fn a_private_tunnel_has_a_pool_that_nothing_can_name() {
    let private = format!(
        "[hub]\ndomain = \"gost.local\"\n{}",
        with(&format!("private = true\nvisitors = [\"{KEY}\"]\nbalance = \"least\""))
    );
    let loaded =
        parse_str("t.toml", &private, &|_| None, Checks::NONE).unwrap_or_else(|report| panic!("{report}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let edge = loaded.plan.edge;
    assert!(edge.routes.is_empty(), "it has no host under the domain");
    assert!(edge.tunnels[0].served.is_empty());
    assert_eq!(edge.tunnels[0].visitors.as_ref().map(Vec::len), Some(1));
    let made = edge.listeners.last().unwrap();
    assert_eq!(
        (made.name.as_str(), made.places.len(), made.protocol),
        (&*format!("tunnel:{ID}/visit"), 0, Protocol::Tcp)
    );
    let pool = &edge.pools[made.pool.unwrap().0 as usize];
    assert_eq!(
        (pool.name.as_str(), &pool.backends[0].target),
        (&*format!("tunnel:{ID}"), &Target::Tunnel(ID.to_owned()))
    );

    let in_pool =
        format!("[[pool]]\nname = \"mine\"\nbackends = [\"tunnel:{ID}\"]\n[[route]]\npool = \"mine\"");
    let routed = format!("[[route]]\npool = \"tunnel:{ID}\"");
    let streamed =
        format!("[[listener]]\nname = \"l\"\nbind = \":7\"\nprotocol = \"tcp\"\npool = \"tunnel:{ID}\"");
    let named = format!(
        "[[pool]]\nname = \"tunnel:{ID}\"\nbackends = [\"10.0.0.1:80\"]\n[[route]]\npool = \"tunnel:{ID}\""
    );
    for (more, line, says) in [
        (in_pool, 15, "is private: it stands in no pool"),
        (routed, 14, "there is no pool"),
        (streamed, 17, "there is no pool"),
        (named, 13, "has the name that private tunnel"),
    ] {
        refused(&format!("{private}{more}"), line, says);
    }
    let old = plan(&private);
    let new = plan(&private.replace("AAECAw", "BBECAw"));
    assert!(diff(&old, &new).to_string().contains("visitors"), "{}", diff(&old, &new));
}

#[test]
fn a_tunnel_that_nothing_leads_to_is_warned_of() {
    let loaded = parse_str("t.toml", &with(""), &|_| None, Checks::NONE).unwrap();
    let warned = loaded.warnings.iter().any(|warning| warning.message.contains("nothing leads to tunnel"));
    assert!(warned, "{:?}", loaded.warnings);
}

#[test]
fn a_reload_tells_what_changes_of_tunnels() {
    let old = plan(&with("tcp = [\":22\"]"));
    let new = plan(&with("tcp = [\":22\"]\nstreams = 5"));
    assert_eq!(diff(&old, &new).to_string(), format!("tunnel \"{ID}\" has other streams"));
}

const HUB_KEY: &str = "key = \"0123456789abcdef\"";

/// A file whose [hub] begins in line 2.
fn hub(written: &str) -> String {
    format!("[hub]\n{written}\n{}", with("hosts = [\"a.example.com\"]"))
}

#[test]
fn a_hub_among_others_has_a_listener_peers_and_a_key() {
    let text = hub(&format!(
        "bind = \"10.0.4.20:7001\"\npeers = [\"10.0.4.21\", \"hubs.internal:7002\"]\n{HUB_KEY}"
    ));
    let edge = plan(&text).edge;
    let made = edge.listeners.iter().find(|listener| listener.name == "hub:peers").unwrap();
    assert_eq!((made.protocol, made.places.len()), (Protocol::Hub, 1));
    let among = edge.hub.among.unwrap();
    assert_eq!(among.peers, ["10.0.4.21:7001", "hubs.internal:7002"]);
    assert_eq!(among.key.as_bytes(), b"0123456789abcdef");
    assert!(!format!("{:?}", among).contains("0123"));
    assert_eq!(edge.hub.advertise, ["10.0.4.20:7001"]);
    let advertised = hub(&format!("bind = \":7001\"\nadvertise = \"hub-1.internal\"\n{HUB_KEY}"));
    assert_eq!(plan(&advertised).edge.hub.advertise, ["hub-1.internal:7001"]);
    assert!(plan(&hub("domain = \"example.com\"")).edge.hub.among.is_none(), "it speaks to nobody");
}

#[test]
fn the_clusters_key_and_address_are_the_hubs_when_it_has_none() {
    let cluster = "[node]\nid = \"a\"\n[cluster]\nname = \"c\"\nkey = \"fedcba9876543210\"\npeers = [{ id = \"a\", addrs = [\"10.0.4.20\"] }, { id = \"b\", addrs = [\"10.0.4.21\"] }]\n";
    let hub = plan(&format!("{cluster}{}", hub("bind = \":7001\""))).edge.hub;
    assert_eq!(hub.among.unwrap().key.as_bytes(), b"fedcba9876543210");
    assert_eq!(hub.advertise, ["10.0.4.20:7001"]);
}

#[test]
fn what_is_missing_or_wrong_of_a_hub_among_others_is_refused() {
    let bind = "bind = \"10.0.4.20:7001\"";
    refused(&hub(bind), 2, "hubs speak to each other with a `key`");
    refused(&hub("peers = [\"10.0.4.21:7001\"]"), 2, "hubs speak to each other with a `key`");
    refused(&hub(&format!("{bind}\nkey = \"short\"")), 3, "the key has 5 characters");
    refused(&hub(&format!("peers = [\"tls://a\"]\n{HUB_KEY}")), 2, "is not where a hub is");
    refused(&hub(&format!("peers = [\"a\", \"a:7001\"]\n{HUB_KEY}")), 2, "stands there twice");
    for nowhere in ["0.0.0.0:7001", "[::]:7001", "0.0.0.0"] {
        let nowhere = format!("bind = \":7001\"\nadvertise = \"{nowhere}\"\n{HUB_KEY}");
        refused(&hub(&nowhere), 3, "no other host is reached at");
    }
    refused(&hub(&format!("advertise = \"a:1\"\n{HUB_KEY}")), 2, "means nothing without `bind`");
    refused(&hub(&format!("bind = \"10.0.4.20\"\n{HUB_KEY}")), 2, "10.0.4.20");
    let none = format!(
        "[hub]\n{bind}\n{HUB_KEY}\n[[tunnel]]\nid = \"{ID}\"\nagents = [\"{KEY}\"]\ntcp = [\":22\"]\n"
    );
    refused(&none, 4, "no listener takes agents in");
}
