//! What to answer to a key that is not ours: words of keepalived, nginx and haproxy by their names here, things that
//! are refused by name, and the nearest known key for a slip.

use crate::suggest;

/// Message and help for an unknown key of the table that is written as `label`.
pub(crate) fn unknown_key(label: &str, key: &str, known: &[&str]) -> (String, String) {
    if let Some(thing) = refused(label, key) {
        return (
            format!("{thing} is not supported, `{key}` can't be written here"),
            instead(thing).to_owned(),
        );
    }
    let message = format!("`{key}` is not a key of {label}");
    if let Some((_, ours)) = TRANSLATED.iter().find(|(theirs, _)| *theirs == key) {
        return (message, (*ours).to_owned());
    }
    if label == "the file"
        && let Some(table) = LATER.iter().find(|table| **table == key)
    {
        let message = format!("[[{table}]] is not served by this version");
        return (
            message,
            "take it out; this version has vip, group, probe, listener, route and pool".to_owned(),
        );
    }
    (message, suggest::advice(key, "key", known))
}

/// The known key that an unknown one was probably meant to be.
pub(crate) fn meant<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let translated = TRANSLATED.iter().find(|(theirs, _)| *theirs == key).and_then(|(_, ours)| {
        let ours = ours.strip_prefix("write ")?.split_whitespace().next()?;
        known.iter().find(|known| **known == ours).copied()
    });
    translated.or_else(|| suggest::nearest(key, known.iter().copied()))
}

/// Tables of the design that no code serves.
const LATER: &[&str] = &["agent", "mesh", "registry", "access", "plane", "api"];

fn refused(label: &str, key: &str) -> Option<&'static str> {
    if label != "[[vip]]" {
        return None;
    }
    match key {
        "auth" | "authentication" | "auth_type" | "auth_hmac" | "ah" => Some(AUTH),
        "use_vmac" | "vmac" | "use_vmac_addr" | "vmac_xmit_base" | "use_ipvlan" | "virtual_mac" => Some(VMAC),
        "routes" | "virtual_routes" => Some(ROUTES),
        "rules" | "virtual_rules" => Some(RULES),
        _ => None,
    }
}

const AUTH: &str = "an authentication block (AH, HMAC)";
const VMAC: &str = "a virtual-MAC interface";
const ROUTES: &str = "a virtual route";
const RULES: &str = "a virtual rule";

fn instead(thing: &str) -> &'static str {
    match thing {
        AUTH => "for PASS of version 2 write version = 2 and password = \"...\"; AH is not spoken",
        VMAC => "take it out: the address moves with the node's own MAC and is announced by gratuitous ARP",
        ROUTES => "add and delete the route from owns = [{ start = [...], stop = [...] }]",
        _ => "add and delete the rule from owns = [{ start = [...], stop = [...] }]",
    }
}

/// Words of keepalived, nginx and haproxy, and what to write for them.
const TRANSLATED: &[(&str, &str)] = &[
    ("access_log", "write log = [\"name\"] and a [[log]] of that name"),
    ("add_header", "write response_headers = [{ add = \"X-Name\", value = \"...\" }]"),
    ("alias", "write files = { root = \"/path\", alias = true }"),
    ("allow", "write access = [\"allow 10.0.0.0/8\", \"deny all\"]"),
    ("auth_basic", "write basic_auth = { file = \"/path\" }"),
    ("auth_basic_user_file", "write basic_auth = { file = \"/path\" }"),
    ("client_max_body_size", "write body_max = \"100MiB\""),
    ("default_backend", "write pool = \"name\" in a [[route]] without host"),
    ("deny", "write access = [\"deny 10.0.0.0/8\"]"),
    ("error_page", "write errors = [{ codes = [404], path = \"/404.html\" }]"),
    ("frontend", "write [[listener]] and [[route]]"),
    ("ip_hash", "write balance = \"source\""),
    ("keepalive", "write keep = 256"),
    ("least_conn", "write balance = \"least\""),
    ("limit_conn", "write concurrency = [{ zone = \"name\", max = 10 }]"),
    ("limit_req", "write rates = [{ zone = \"name\", burst = 20 }]"),
    ("listen", "write bind = \":80\""),
    ("location", "write path = \"/\" in a [[route]]"),
    ("max_fails", "write outlier = { failures = 3, window = \"10s\" }"),
    ("method", "write methods = [\"GET\"]"),
    ("proxy_pass", "write pool = \"name\" and a [[pool]] of that name"),
    ("proxy_set_header", "write forward = { headers = [{ set = \"X-Name\", value = \"...\" }] }"),
    ("return", "write answer = { status = 200, body = \"...\" } or redirect = { to = \"...\" }"),
    ("rewrite", "write steps = [{ rewrite = '^/old/(.*)$', to = \"/new/{1}\" }]"),
    ("root", "write files = { root = \"/srv/www\" }"),
    (
        "server",
        "write [[route]] with host; backends stand in a [[pool]]; `mainstay import nginx FILE` does it",
    ),
    ("server_name", "write host = \"www.example.com\""),
    ("servers", "write backends = [\"10.0.4.20:8080\"]"),
    ("ssl_certificate", "write tls = [{ cert = \"/path.pem\", key = \"/path.key\" }]"),
    ("ssl_certificate_key", "write tls = [{ cert = \"/path.pem\", key = \"/path.key\" }]"),
    (
        "try_files",
        "write files = { root = \"/srv/www\", try = [\"{uri}\", \"{uri}/\"], fallback = \"=404\" }",
    ),
    ("upstream", "write [[pool]]; `mainstay import nginx FILE` does it"),
    ("advert_int", "write advert = \"1s\""),
    ("auth_pass", "write password = \"...\" with version = 2"),
    ("fall_count", "write fall = 2"),
    ("garp_master_delay", "write announce = { delay = \"5s\" }"),
    ("garp_master_refresh", "write announce = { refresh = \"60s\" }"),
    ("garp_master_repeat", "write announce = { repeat = 5 }"),
    (
        "global_defs",
        "write [node], [mail] and the keys of [[vip]]; `mainstay import keepalived FILE` does it",
    ),
    ("init_fail", "write initial = \"down\""),
    ("mcast_src_ip", "write source = \"...\""),
    ("nopreempt", "write preempt = false"),
    ("notification_email", "write [mail] to = [\"...\"]"),
    ("notify_backup", "write notify = [{ on = [\"backup\"], exec = [\"/path\"] }]"),
    ("notify_fault", "write notify = [{ on = [\"fault\"], exec = [\"/path\"] }]"),
    ("notify_master", "write notify = [{ on = [\"active\"], exec = [\"/path\"] }]"),
    ("notify_stop", "write notify = [{ on = [\"stop\"], exec = [\"/path\"] }]"),
    ("router_id", "write [node] id = \"...\""),
    ("script", "write exec = [\"/path\", \"argument\"]"),
    ("smtp_server", "write [mail] smtp = \"host:25\""),
    ("state", "take it out: the priority decides who is active"),
    ("track_interface", "write a [[probe]] with up = \"eth1\" and name it in requires"),
    ("track_process", "write a [[probe]] with process = \"name\" and name it in requires"),
    ("track_script", "write requires = [\"probe\"]"),
    ("unicast_peer", "write unicast = [\"10.0.4.21\"]"),
    ("unicast_src_ip", "write source = \"...\""),
    ("virtual_ipaddress", "write addrs = [\"10.0.4.99\"]"),
    ("virtual_ipaddress_excluded", "write unadvertised = [\"10.0.4.98\"]"),
    ("virtual_router_id", "write vrid = 51"),
    ("virtual_server", "virtual servers are not served by this version"),
    ("vrrp_instance", "write [[vip]]; `mainstay import keepalived FILE` does it"),
    ("vrrp_script", "write [[probe]] with exec; `mainstay import keepalived FILE` does it"),
    ("vrrp_sync_group", "write [[group]]; `mainstay import keepalived FILE` does it"),
    ("weight", "write weights = [{ probe = \"x\", weight = -20 }] in [[vip]], or better requires = [\"x\"]"),
];

/// Advice for a line that is not TOML.
pub(crate) fn syntax(line: &str, message: &str) -> String {
    let word = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
    if line.ends_with('{') && !line.contains('=') || line == "}" {
        return "this looks like a keepalived.conf; `mainstay import keepalived FILE` turns it into TOML"
            .to_owned();
    }
    if line.matches('"').count() % 2 == 1 {
        return "a quote is missing: text stands between two \"".to_owned();
    }
    if message.contains("duplicate key") {
        return format!("write `{word}` once; another [[vip]] or [[probe]] begins with its own header line");
    }
    if line.starts_with('[') && line.matches('[').count() != line.matches(']').count() {
        return "a bracket is missing: a table begins with [node], an entry of a list with [[vip]]"
            .to_owned();
    }
    if line.matches('[').count() != line.matches(']').count() {
        return "a bracket is missing: a list stands between [ and ], its entries apart by commas".to_owned();
    }
    if line.matches('{').count() != line.matches('}').count() {
        return "a brace is missing: a table in a line stands between { and }, its keys apart by commas"
            .to_owned();
    }
    if !line.contains('=') {
        return format!("write key = value, such as {word} = \"...\"");
    }
    "text and durations stand in quotes: \"eth0\", \"1s\"; numbers, true and false without".to_owned()
}
