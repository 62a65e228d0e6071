//! What is said of gost's clients, visitors and plugins, and what is refused of it.

use mainstay_config::plan::Plan;
use mainstay_config::plan::gost::{Admits, Compat, Gost, Hosts};
use mainstay_config::{Checks, diff, parse_str};

const ID: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";
const KEY: &str = "ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const HUB: &str = "[[listener]]\nname = \"gost\"\nbind = \":8421\"\nprotocol = \"hub\"\ncompat = \"gost\"\n";
const REDIS: &str = "[hub]\nbind = \"127.0.0.1:7001\"\nkey = \"0123456789abcdef\"\ndomain = \"gost.local\"\n[registry]\nredis = [\"redis://127.0.0.1\"]\n";
const ENTRY: &str = "[[listener]]\nname = \"entry\"\nbind = \":80\"\ncompat = \"gost\"\n";

fn loaded(text: &str) -> (Plan, String) {
    match parse_str("t.toml", text, &|_| None, Checks::NONE) {
        Ok(loaded) => {
            let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
            (loaded.plan, warnings.join("\n"))
        }
        Err(report) => panic!("{report}"),
    }
}

fn gost(text: &str) -> Gost {
    loaded(text).0.edge.gost.expect("there is one")
}

fn refused(text: &str, says: &str) {
    let Err(report) = parse_str("t.toml", text, &|_| None, Checks::NONE) else { panic!("accepted:\n{text}") };
    let report = report.to_string();
    assert!(report.contains(says), "nothing says {says:?}; the report is\n{report}");
}

#[test]
fn a_listener_alone_takes_listed_tunnels_and_check_warns_that_nobody_is_asked() {
    let (plan, warnings) = loaded(&format!("{HUB}[[tunnel]]\nid = \"{ID}\"\ngost = true\n"));
    assert_eq!(plan.edge.listeners[0].compat, Some(Compat::Gost));
    let gost = plan.edge.gost.expect("it holds");
    assert_eq!((gost.tunnels, gost.hosts, gost.direct), (Admits::Listed, Hosts::Generated, false));
    assert!(gost.users.is_empty() && gost.entrypoint.is_none() && gost.sd.is_none());
    let tunnel = &plan.edge.tunnels[0];
    assert!(tunnel.gost && tunnel.agents.is_empty());
    assert!(warnings.contains("whoever knows a tunnel's id may offer it"), "{warnings}");
    let (_, warnings) = loaded(&format!("{HUB}[[tunnel]]\nid = \"{ID}\"\nagents = [\"{KEY}\"]\n"));
    assert!(warnings.contains("no [[tunnel]] has gost = true"), "{warnings}");
    assert!(!warnings.contains("whoever knows"), "{warnings}");
    let (plan, warnings) =
        loaded("[[listener]]\nname = \"a\"\nbind = \":80\"\n[[route]]\nanswer = { status = 200 }\n");
    assert!(plan.edge.gost.is_none() && !warnings.contains("gost"), "{warnings}");
}

#[test]
fn every_key_is_read() {
    let table = format!(
        "[gost]\nusers = [{{ name = \"alice\", password = \"wonderland\" }}]\ntunnels = \"any\"\nentrypoint = \"{}\"\ndirect = true\nhosts = \"any\"\nadvertise = \"10.0.4.20:8080\"\nsd = \"grpc://sd:8000\"\ningress = \"https://ingress/rules\"\ntoken = \"t0ken\"\ntimeout = \"2s\"\nrenew = \"5s\"\n",
        ID.to_uppercase()
    );
    let (plan, warnings) = loaded(&format!("{HUB}{ENTRY}{table}"));
    let gost = plan.edge.gost.clone().expect("it holds");
    assert_eq!((gost.tunnels, gost.hosts, gost.direct), (Admits::Any, Hosts::Any, true));
    assert_eq!((gost.entrypoint.as_deref(), gost.advertise.as_str()), (Some(ID), "10.0.4.20:8080"));
    assert_eq!((gost.timeout.as_secs(), gost.renew.as_secs()), (2, 5));
    let plugins = [gost.sd, gost.ingress].map(|plugin| plugin.expect("it is there").to_string());
    assert_eq!(plugins, ["grpc://sd:8000", "https://ingress:443/rules"]);
    assert_eq!(gost.users[0].password.text, "wonderland");
    assert!(!warnings.contains("nobody is asked"), "{warnings}");
    let shown = format!("{:?}", plan.edge.gost);
    assert!(!shown.contains("wonderland") && !shown.contains("t0ken"), "{shown}");
    let blank = serde_json::to_string(&plan.without_edge_secrets()).expect("it is JSON");
    assert!(!blank.contains("wonderland") && !blank.contains("t0ken"), "{blank}");
}

#[test]
fn other_nodes_are_told_the_port_of_the_first_http_listener() {
    let sd = "[gost]\nsd = \"grpc://sd:8000\"\n";
    assert_eq!(gost(&format!("{HUB}{ENTRY}{sd}")).advertise, ":80");
    refused(&format!("{HUB}{sd}"), "no listener says it");
}

#[test]
fn a_node_that_is_the_plugins_itself_asks_them() {
    let table =
        "[gost]\nadvertise = \"10.0.4.20:80\"\nplugin = { sd = \":8000\", ingress = \"10.0.4.20:8001\" }\n";
    let (plan, warnings) = loaded(&format!("[node]\nid = \"n1\"\n{REDIS}{table}"));
    let own = plan.edge.gost.expect("it holds");
    assert_eq!(own.serves.sd, Some("[::]:8000".parse().expect("an address")));
    let asked = [own.sd, own.ingress].map(|plugin| plugin.expect("it is there").to_string());
    assert_eq!(asked, ["grpc://127.0.0.1:8000", "grpc://10.0.4.20:8001"]);
    assert!(!warnings.contains("holds for no listener"), "{warnings}");
    assert!(warnings.contains("whoever reaches one may name nodes and hosts"), "{warnings}");
    let (_, warnings) = loaded(&format!("[node]\nid = \"n1\"\n{REDIS}{table}token = \"t0ken\"\n"));
    assert!(!warnings.contains("whoever reaches one"), "{warnings}");
    let none = "[hub]\nbind = \"127.0.0.1:7001\"\nkey = \"0123456789abcdef\"\n";
    let etcd = "[registry]\netcd = [\"http://127.0.0.1:2379\"]\n";
    for registry in ["", etcd] {
        refused(&format!("[node]\nid = \"n1\"\n{none}{registry}{table}"), "[registry] names none");
    }
    let named = "[gost]\nsd = \"grpc://sd:1\"\nplugin = { sd = \":8000\" }\n";
    let other = gost(&format!("[node]\nid = \"n1\"\n{REDIS}{HUB}{ENTRY}{named}"));
    assert_eq!(other.sd.expect("it is named").to_string(), "grpc://sd:1");
    for (table, says) in [
        ("advertise = \":80\"\nplugin = { sd = \":8000\" }", "names no host"),
        ("plugin = {}", "of no plugin where it listens"),
        ("plugin = { ingress = \"8000\" }", "is not where it can listen"),
        ("plugin = { ingress = \":0\" }", "is not where it can listen"),
        ("advertise = \"a:80\"\nplugin = { sd = \":8000\", ingress = \":8000\" }", "both listen at"),
    ] {
        refused(&format!("{HUB}{ENTRY}[gost]\n{table}\n"), says);
    }
}

#[test]
fn a_reload_names_what_differs() {
    let text = |table: &str| loaded(&format!("{HUB}[[tunnel]]\nid = \"{ID}\"\ngost = true\n{table}")).0;
    let changes = diff(&text("[gost]\ndirect = true\n"), &text("[gost]\nhosts = \"any\"\n"));
    assert_eq!(changes.to_string(), "gost's clients have other direct, hosts");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let tcp =
        "[[listener]]\nname = \"a\"\nbind = \":80\"\nprotocol = \"tcp\"\nanswer = \"x\"\ncompat = \"gost\"\n";
    refused(tcp, "`compat`");
    refused("[[listener]]\nname = \"a\"\nbind = \":80\"\ncompat = \"frp\"\n", "\"frp\"");
    for (table, says) in [
        ("users = []", "`users` names 0"),
        ("users = [{ name = \"a\" }]", "`password` is missing"),
        ("users = [{ name = \"\", password = \"b\" }]", "can't be the name of a user"),
        ("users = [{ name = \"a\", password = \"\" }]", "is empty"),
        (
            "users = [{ name = \"a\", password = \"b\" }, { name = \"a\", password = \"c\" }]",
            "stands there twice",
        ),
        ("entrypoint = \"entry\"", "can't be the id of one"),
        ("entrypoint = \"00000000-0000-0000-0000-000000000000\"", "can't be the id of one"),
        ("entrypoint = \"381433e1-7980-11ee-bbdb-60f262c1e32d\"", "the id of the tunnel at"),
        ("tunnels = \"some\"", "\"some\""),
        ("sd = \"sd:8000\"", "is not where a plugin is"),
        ("sd = \"grpc://sd:8000\"\nadvertise = \"nowhere\"", "the port is missing"),
        ("sd = \"grpc://sd:8000\"\nadvertise = \"0.0.0.0:80\"", "no other node is reached at 0.0.0.0"),
        ("advertise = \":80\"", "means nothing without `sd`"),
        ("token = \"t\"", "means nothing without a plugin"),
        ("ingress = \"grpc://i:8001\"\nca = \"/etc/ca.pem\"", "means nothing without TLS"),
        ("ingress = \"grpc://i:8001\"\ntimeout = \"10ms\"", "out of range"),
    ] {
        refused(&format!("{HUB}[[tunnel]]\nid = \"{ID}\"\ngost = true\n[gost]\n{table}\n"), says);
    }
    for (tunnel, says) in [
        ("id = \"office\"\ngost = true".to_owned(), "name tunnels by UUIDs"),
        (format!("id = \"{}\"\ngost = true", ID.to_uppercase()), "not in lower case"),
        (format!("id = \"{ID}\""), "`agents` is missing"),
        (format!("id = \"{ID}\"\ngost = false"), "`agents` is missing"),
    ] {
        refused(&format!("{HUB}[[tunnel]]\n{tunnel}\n"), says);
    }
    let native = "[[listener]]\nname = \"a\"\nbind = \":80\"\nprotocol = \"hub\"\n";
    refused(&format!("{native}[[tunnel]]\nid = \"{ID}\"\ngost = true\n"), "come to no listener");
    refused(&format!("{ENTRY}[[tunnel]]\nid = \"{ID}\"\ngost = true\n"), "listener");
}

#[test]
fn tunnels_of_gosts_may_be_private_without_visitors_of_our_own() {
    let text = format!("{HUB}[[tunnel]]\nid = \"{ID}\"\ngost = true\nprivate = true\n");
    assert_eq!(loaded(&text).0.edge.tunnels[0].visitors, Some(Vec::new()));
}

#[test]
fn what_holds_for_nobody_is_warned_of() {
    let idle = "[[listener]]\nname = \"a\"\nbind = \":80\"\n[[route]]\nanswer = { status = 200 }\n[gost]\ndirect = true\n";
    assert!(loaded(idle).1.contains("holds for no listener"));
    assert!(loaded(&format!("{HUB}[gost]\ntunnels = \"any\"\n")).1.contains("without `domain` in [hub]"));
}

#[test]
fn hosts_that_no_route_has_lead_to_tunnels_that_no_file_names_on_compat_listeners_alone() {
    let other = "[[listener]]\nname = \"web\"\nbind = \":8080\"\n";
    let own = "[[route]]\nname = \"own\"\nhost = \"own.example\"\nanswer = { status = 200 }\n";
    let (plan, warnings) = loaded(&format!("{HUB}{ENTRY}{other}{own}"));
    let route = plan.edge.routes.last().expect("there is one");
    assert_eq!((route.name.as_str(), route.listeners.as_slice()), ("tunnel:*", &[1_u32][..]));
    assert!(route.hosts.is_empty() && !warnings.contains("never takes"), "{warnings}");
    let visit =
        plan.edge.listeners.iter().find(|one| one.name == "tunnel:*/visit").expect("visitors come in");
    let pool = &plan.edge.pools[visit.pool.expect("it has one").index()];
    assert_eq!((pool.name.as_str(), visit.places.len()), ("tunnel:*", 0));
    let catches = "[[route]]\nname = \"all\"\nanswer = { status = 200 }\n";
    let (_, warnings) = loaded(&format!("{HUB}{ENTRY}{catches}"));
    assert!(warnings.contains("route \"tunnel:*\" never takes a request: route \"all\""), "{warnings}");
    refused(
        &format!("{HUB}{ENTRY}[[pool]]\nname = \"p\"\nbackends = [\"tunnel:*\"]\n[[route]]\npool = \"p\"\n"),
        "tunnel \"*\" is private",
    );
    let (plan, warnings) =
        loaded(&format!("{HUB}{own}{other}[gost]\ntunnels = \"any\"\n[hub]\ndomain = \"a.b\"\n"));
    assert!(plan.edge.routes.len() == 1 && !warnings.contains("tunnel:*"), "{warnings}");
    let own_rules = "[[route]]\nname = \"theirs\"\nhost = \"*.a.b\"\npool = \"tunnel:*\"\n";
    let (plan, _) = loaded(&format!("{HUB}{ENTRY}{own_rules}"));
    assert_eq!(
        (plan.edge.routes.len(), plan.edge.pools.len()),
        (2, 1),
        "a route of one's own leads there too"
    );
    let (plan, _) = loaded(&format!("{other}{own}"));
    assert!(plan.edge.pools.is_empty() && plan.edge.routes.len() == 1);
}

#[test]
fn visitors_name_a_tunnel_and_tls_is_sorted_where_requests_are_taken() {
    let tunnel = format!("[[tunnel]]\nid = \"{ID}\"\ngost = true\n");
    let edge = loaded(&format!("{HUB}{ENTRY}{tunnel}hosts = [\"app.example.com\"]\n")).0.edge;
    assert_eq!(edge.listeners[1].sni.len(), 1, "{:?}", edge.listeners[1].sni);
    let visit = edge.listeners.last().expect("it is made");
    assert_eq!((visit.name.as_str(), visit.places.len()), (format!("tunnel:{ID}/visit").as_str(), 0));
    assert_eq!(visit.pool.map(|pool| edge.pools[pool.index()].name.clone()), Some(format!("tunnel:{ID}")));
    let edge = loaded(&format!("{HUB}{tunnel}")).0.edge;
    let names: Vec<&str> = edge.pools.iter().map(|pool| pool.name.as_str()).collect();
    assert_eq!(
        names,
        [format!("tunnel:{ID}").as_str(), "tunnel:*"],
        "one without hosts has a pool for visitors"
    );
}
