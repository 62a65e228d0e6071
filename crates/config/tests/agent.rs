//! `[[agent]]`: what it comes to mean, and each mistake with its sentence.

mod finding;

use std::time::Duration;

use finding::{assert_finding, no_env};
use mainstay_config::plan::agent::{Look, Service};
use mainstay_config::{Checks, diff, parse_str};

const GOOD: &str = "[node]
id = \"site\"
[[agent]]
hubs = [\"wss://edge.example.com\", \"tls://10.0.0.1:7000\"]
key = \"mst1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"
[[agent.offer]]
tunnel = \"office\"
to = [\"127.0.0.1:8000\", \"web:80\"]
";

fn plan(text: &str) -> mainstay_config::plan::Plan {
    parse_str("t.toml", text, &no_env, Checks::NONE).unwrap_or_else(|report| panic!("{report}")).plan
}

#[track_caller]
fn instead(line: &str, by: &str) -> String {
    assert!(GOOD.contains(line), "{line}");
    GOOD.replace(line, by)
}

fn with(line: &str) -> String {
    format!("{GOOD}{line}\n")
}

#[test]
fn an_agent_is_called_as_its_node_and_looks_at_its_targets_each_second() {
    let agents = plan(GOOD).agents;
    let [agent] = &agents[..] else { panic!("{agents:?}") };
    assert_eq!((agent.name.as_str(), agent.drain), ("site", Duration::from_secs(30)));
    assert_eq!(agent.hubs, ["wss://edge.example.com", "tls://10.0.0.1:7000"]);
    let offer = &agent.offers[0];
    assert_eq!((offer.tunnel.as_str(), offer.weight, &offer.host), ("office", 1, &None));
    let targets = vec!["127.0.0.1:8000".to_owned(), "web:80".to_owned()];
    let second = Duration::from_secs(1);
    let look = Look { interval: second, timeout: second, fall: 1, rise: 1, http: None };
    let service = Service::Tcp { targets: targets.clone(), look: Some(Box::new(look)), header: None };
    assert_eq!(offer.service, service);
    let more = "weight = 3\nhost = \"app.example.com\"\nprobe = { tcp = false }\nproxy_header = 2";
    let offer = plan(&with(more)).agents[0].offers[0].clone();
    assert_eq!((offer.weight, offer.host.as_deref()), (3, Some("app.example.com")));
    assert_eq!(offer.service, Service::Tcp { targets, look: None, header: Some(2) });
    let files = plan(&instead("to = [\"127.0.0.1:8000\", \"web:80\"]", "files = \"/srv/www\""));
    assert_eq!(files.agents[0].offers[0].service, Service::Files { root: "/srv/www".into() });
}

#[test]
fn targets_are_asked_for_a_page_and_judged_by_several_looks() {
    let probe = "probe = { http = \"/up\", status = [200], interval = \"10s\", fall = 3, rise = 2 }";
    let offer = plan(&with(probe)).agents[0].offers[0].clone();
    let Service::Tcp { look: Some(look), .. } = offer.service else { panic!("{offer:?}") };
    assert_eq!((look.interval, look.timeout), (Duration::from_secs(10), Duration::from_secs(3)));
    assert_eq!((look.fall, look.rise), (3, 2));
    let http = look.http.unwrap();
    assert_eq!(
        (http.url.as_str(), http.method.as_str(), &http.status[..]),
        ("/up", "GET", &[(200, 200)][..])
    );
    assert_finding(&with("probe = { http = \"up\" }"), 9, "http \"up\" is not a path", "/healthz");
    assert_finding(&with("probe = { http = \"/\", tcp = true }"), 9, "`tcp` is a part of `http`", "out");
    assert_finding(&with("probe = { method = \"HEAD\" }"), 9, "belongs to http", "");
    assert_finding(&with("probe = { fall = 0 }"), 9, "out of range", "1 to 1000");
    assert_finding(&with("probe = { http = \"/\", body = \"(\" }"), 9, "not a regular expression", "");
}

#[test]
fn a_key_file_that_changes_is_read_again_and_one_that_is_none_is_not_taken() {
    let folder = std::env::temp_dir().join(format!("mainstay-agent-key-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("agent.key");
    let secret = "mst1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let text = instead(&format!("\"{secret}\""), &format!("{{ file = \"{}\" }}", file.display()));
    let checks = Checks { files: true, ..Checks::NONE };
    let mut plan = parse_str("t.toml", &text, &no_env, checks).unwrap().plan;
    assert_eq!(plan.files(), std::slice::from_ref(&file));
    assert!(!plan.reread().unwrap(), "nothing has changed");
    let other = secret.replace("AAAAAA", "BBBBBB");
    std::fs::write(&file, format!("{other}\n")).unwrap();
    assert!(plan.reread().unwrap());
    assert_eq!(plan.agents[0].key.text(), other);
    std::fs::write(&file, "nonsense").unwrap();
    let why = plan.reread().unwrap_err();
    assert!(why.contains("agent.key is no secret of a tunnel key") && !why.contains("nonsense"), "{why}");
    assert_eq!(plan.agents[0].key.text(), other, "what was read before goes on");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_key_is_never_shown_and_what_a_reload_changes_is_told_by_name() {
    let old = plan(GOOD);
    assert!(!format!("{old:?}").contains("mst1_"));
    let offer = "[[agent.offer]]\ntunnel = \"depot\"\nto = [\"127.0.0.1:9000\"]\n";
    assert_eq!(diff(&old, &plan(&with(offer))).to_string(), "agent \"site\" has other offers");
    let other = plan(&instead("AAAAAA", "BBBBBB"));
    assert_eq!(diff(&old, &other).to_string(), "agent \"site\" has other key");
    assert_eq!(diff(&old, &plan("[node]\nid = \"site\"\n")).to_string(), "agent \"site\" is gone");
}

#[test]
fn where_it_dials_and_what_it_proves_are_checked() {
    assert_finding(&instead("wss://", "https://"), 4, "is no address of a hub", "wss://edge.example.com");
    assert_finding(&instead("tls://10.0.0.1:7000", "wss://edge.example.com"), 4, "listed twice", "");
    assert_finding(
        &instead("hubs = [\"wss://edge.example.com\", \"tls://10.0.0.1:7000\"]\n", ""),
        3,
        "`hubs` is missing",
        "wss://",
    );
    assert_finding(
        &instead("hubs = [\"wss://edge.example.com\", \"tls://10.0.0.1:7000\"]", "hubs = []"),
        4,
        "has 0 addresses",
        "",
    );
    assert_finding(&instead("mst1_", "mst2_"), 5, "no secret of a tunnel key", "mainstay tunnel key");
    assert_finding(&instead("AAAAAA\"", "\""), 5, "no secret of a tunnel key", "mainstay tunnel key");
    let key = "key = \"mst1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n";
    assert_finding(&instead(key, ""), 3, "`key` is missing", "mainstay tunnel key");
    assert_finding(
        &instead(key, &format!("{key}proxy = \"socks://a:secret@b:1\"\n")),
        6,
        "not the address of an HTTP proxy",
        "http://proxy:3128",
    );
    assert_finding(&instead(key, &format!("{key}drain = \"2h\"\n")), 6, "drain 7200s is out of range", "");
    let second = GOOD.split_once("[[agent]]").unwrap().1;
    assert_finding(&with(&format!("[[agent]]{second}")), 9, "already a agent \"site\"", "its own name");
}

#[test]
fn what_it_offers_is_checked() {
    let to = "to = [\"127.0.0.1:8000\", \"web:80\"]\n";
    let offer = format!("[[agent.offer]]\ntunnel = \"office\"\n{to}");
    assert_finding(&instead(&offer, ""), 3, "offers nothing", "[[agent.offer]]");
    assert_finding(&instead(to, ""), 6, "leads nowhere", "to = [");
    assert_finding(&instead(to, "to = []\n"), 8, "0 targets", "1 to 64");
    assert_finding(&instead("web:80", "web"), 8, "is not host:port", "");
    assert_finding(&instead("web:80", "127.0.0.1:8000"), 8, "listed twice", "");
    assert_finding(&with("files = \"/srv/www\""), 8, "both `to` and `files`", "");
    assert_finding(&instead(to, "files = \"www\"\n"), 8, "does not begin with /", "");
    assert_finding(
        &instead(to, "files = \"/srv/www\"\nudp = true\n"),
        9,
        "`udp` means nothing with `files`",
        "",
    );
    assert_finding(&with("udp = true\nproxy_header = 1"), 10, "`proxy_header` means nothing with `udp`", "");
    assert_finding(&with("proxy_header = 3"), 9, "out of range", "1 to 2");
    assert_finding(&with("weight = 0"), 9, "out of range", "1 to 65535");
    assert_finding(&with("host = \"a b\""), 9, "is no host", "");
    assert_finding(&with("probe = { interval = \"1ms\" }"), 9, "interval 1ms is out of range", "");
    assert_finding(
        &with("probe = { tcp = false, interval = \"1s\" }"),
        9,
        "means nothing with tcp = false",
        "",
    );
    assert_finding(&instead("\"office\"", "\"\""), 7, "can't be the id of a tunnel", "");
    assert_finding(&with(&offer), 9, "twice in the same way", "one `to`");
    assert!(parse_str("t.toml", &with(&format!("{offer}udp = true")), &no_env, Checks::NONE).is_ok());
    let many: String = (0..64).map(|n| offer.replace("office", &format!("more-{n}"))).collect();
    assert_finding(&with(&many), 6, "65 offers", "1 to 64");
}
