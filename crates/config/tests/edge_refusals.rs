//! What is refused or warned of in the edge's tables, where the finding points and what it advises.

mod finding;

use finding::{assert_finding, no_env, refused};
use mainstay_config::{Checks, parse_str};

/// Asserts that the text is accepted with exactly one warning, which says `says`.
#[track_caller]
fn assert_warning(text: &str, line: usize, says: &str) {
    let loaded = parse_str("t.toml", text, &no_env, Checks::NONE).unwrap_or_else(|report| panic!("{report}"));
    let [warning] = loaded.warnings.as_slice() else { panic!("{:?} for\n{text}", loaded.warnings) };
    assert!(warning.message.contains(says) && warning.place.line == line, "{warning}");
}

const GOOD: &str = "[[listener]]
name = \"http\"
bind = \":80\"
[[pool]]
name = \"api\"
backends = [\"10.0.4.20:8080\"]
[[route]]
pool = \"api\"
";

/// GOOD with more keys of its route, from line 9.
fn routed(lines: &str) -> String {
    format!("{GOOD}{lines}\n")
}

/// A route whose action stands in line 7, with what else it needs before it.
fn acting(action: &str) -> String {
    format!(
        "[[listener]]\nname = \"http\"\nbind = \":80\"\n[[route]]\nname = \"r\"\nhost = \"a\"\n{action}\n"
    )
}

/// GOOD with its pool's backends in line 6 replaced, more keys following.
fn pooled(lines: &str) -> String {
    GOOD.replace("backends = [\"10.0.4.20:8080\"]", lines)
}

/// A listener alone, its keys from line 3.
fn listening(lines: &str) -> String {
    format!("[[listener]]\nname = \"l\"\n{lines}\n")
}

#[test]
fn the_text_that_the_others_are_made_of_is_good() {
    let loaded = parse_str("t.toml", GOOD, &no_env, Checks::NONE).unwrap_or_else(|report| panic!("{report}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn a_listener_has_a_place_of_its_own() {
    assert_finding(&listening("bind = \"80\""), 3, "not an address and a port", "write \":80\"");
    assert_finding(&listening("bind = \"*:80\""), 3, "not an address and a port", "write \":80\"");
    assert_finding(&listening("bind = \"localhost:80\""), 3, "not an address", "names are not looked up");
    assert_finding(&listening("bind = \"10.0.4.20\""), 3, "not an address and a port", "10.0.4.20:80");
    assert_finding(&listening("bind = \":0\""), 3, "not an address and a port", ":80");
    assert_finding(&listening("bind = \"unix:x.sock\""), 3, "can't be the place of a socket", "absolute");
    assert_finding(&listening("bind = []"), 3, "bound nowhere", ":80");
    assert_finding(
        &listening("bind = [\"10.0.0.1:80\", \"10.0.0.1:80\"]"),
        3,
        "taken by listener \"l\"",
        "host",
    );
    assert_finding("[[listener]]\nname = \"l\"\n", 1, "`bind` is missing", "write bind = \":80\"");
    let second = "[[listener]]\nname = \"m\"\nbind = \"0.0.0.0:80\"\n";
    assert_finding(
        &format!("{GOOD}{second}"),
        11,
        "taken by listener \"http\" already, at t.toml:3",
        "routes",
    );
    let metrics = format!("{GOOD}[node]\nmetrics = \"0.0.0.0:80\"\n");
    assert_finding(&metrics, 3, "taken by [node] metrics already", "");
}

#[test]
fn a_wildcard_beside_an_address_and_udp_beside_tcp_are_no_conflict() {
    let more = "[[listener]]\nname = \"m\"\nbind = \"10.0.0.1:80\"\n[[listener]]\nname = \"u\"\nprotocol = \"udp\"\n\
                bind = \":80\"\npool = \"api\"\n";
    parse_str("t.toml", &format!("{GOOD}{more}"), &no_env, Checks::NONE)
        .unwrap_or_else(|report| panic!("{report}"));
}

#[test]
fn keys_belong_to_what_a_listener_speaks() {
    let stream =
        |keys: &str| format!("{GOOD}[[listener]]\nname = \"s\"\nbind = \":81\"\npool = \"api\"\n{keys}\n");
    assert_finding(&stream("protocol = \"udp\"\ntls = []"), 14, "`tls` means nothing here", "take `tls` out");
    assert_finding(&stream("protocol = \"udp\"\nproxy_from = [\"::/0\"]"), 14, "`proxy_from`", "take");
    assert_finding(&stream("protocol = \"tcp\"\nhead_max = \"1m\""), 14, "`head_max` means nothing", "take");
    assert_finding(&stream("protocol = \"tcp\"\nsni = []"), 14, "belongs to passthrough", "take");
    assert_finding(
        &stream("protocol = \"tcp\"\nanswer = \"x\""),
        14,
        "both `pool` and `answer`",
        "exactly one",
    );
    assert_finding(&stream(""), 12, "`pool` means nothing here, it belongs to tcp, udp", "take");
    assert_finding(&stream("protocol = \"https\""), 13, "\"https\" is not a protocol", "http");
    assert_finding(
        &listening("bind = \":1\"\nprotocol = \"tcp\""),
        1,
        "none of `pool`, `answer`",
        "exactly one",
    );
    assert_finding(&listening("bind = \":1\"\nprotocol = \"passthrough\""), 1, "needs `sni`", "");
    assert_finding(&listening("bind = \":1\"\ntls12 = false"), 4, "belongs to `tls`", "take");
    assert_finding(&listening("bind = \":1\"\ntls = []"), 4, "names no certificate", "cert = ");
    assert_finding(&listening("bind = \":1\"\ntls = [{ cert = \"a.pem\" }]"), 4, "`key` is missing", "");
    let tls = "bind = \":1\"\ntls = [{ cert = \"a.pem\", key = \"/k\" }]\nclient_auth = \"required\"";
    assert_finding(&listening(tls), 4, "\"a.pem\" is not an absolute path", "/etc/mainstay/tls");
    assert_finding(&listening(tls), 1, "`client_auth` needs `client_ca`", "client_ca");
    assert_finding(
        &listening("bind = \":1\"\nhead_max = \"1\""),
        4,
        "head_max 1 is out of range",
        "1KiB to 1MiB",
    );
    assert_finding(&listening("bind = \":1\"\nhead_timeout = \"0s\""), 4, "out of range", "");
}

#[test]
fn pools_of_streams_have_nothing_of_http() {
    let stream = |protocol: &str, keys: &str| {
        format!(
            "[[listener]]\nname = \"s\"\nbind = \":81\"\npool = \"p\"\nprotocol = \"{protocol}\"\n[[pool]]\nname = \"p\"\n{keys}\n"
        )
    };
    let here = "backends = [\"10.0.0.1:1\"]\n";
    assert_finding(&stream("udp", &format!("{here}tls = {{}}")), 4, "udp does not speak", "pool of its own");
    assert_finding(&stream("udp", "backends = [\"unix:/x\"]"), 4, "a unix socket", "pool of its own");
    assert_finding(&stream("passthrough", &format!("{here}tls = {{}}")), 4, "speak TLS to its backends", "");
    assert_finding(&stream("tcp", &format!("{here}sticky = {{ cookie = \"c\" }}")), 4, "no cookies", "");
}

#[test]
fn who_is_believed_is_said_and_sane() {
    let real_ip = |text: &str| listening(&format!("bind = \":1\"\nreal_ip = {text}"));
    assert_finding(&real_ip("{}"), 4, "`trusted` is missing", "10.0.0.0/8");
    assert_finding(&real_ip("{ trusted = [] }"), 4, "nobody is believed", "10.0.0.0/8");
    assert_finding(&real_ip("{ trusted = [\"10.0.0.0/40\"] }"), 4, "not a network", "");
    assert_finding(
        &real_ip("{ proxy = true, trusted = [\"::1\"] }"),
        4,
        "begins with a PROXY header",
        "proxy_from",
    );
    assert_finding(
        &real_ip("{ proxy = true, header = \"X\", trusted = [\"::1\"] }"),
        4,
        "exclude each other",
        "take",
    );
    let all = GOOD.replace("bind = \":80\"", "bind = \":80\"\nreal_ip = { trusted = [\"0.0.0.0/0\"] }");
    assert_warning(&all, 4, "everybody is believed");
}

#[test]
fn a_route_needs_a_listener_that_speaks_http() {
    assert_finding("[[route]]\nanswer = { status = 204 }\n", 1, "no listener speaks http", "[[listener]]");
    assert_finding(&routed("listener = \"htp\""), 9, "there is no listener \"htp\"", "did you mean `http`?");
    assert_finding(&routed("listener = []"), 9, "names none", "all of them");
    assert_finding(&routed("listener = [\"http\", \"http\"]"), 9, "twice", "once");
    let tcp = "[[listener]]\nname = \"t\"\nbind = \":5\"\nprotocol = \"tcp\"\npool = \"api\"\n";
    let text = format!("{tcp}{}", routed("listener = \"t\""));
    assert_finding(&text, 14, "listener \"t\" does not speak http", "protocol = \"http\"");
}

#[test]
fn a_route_does_exactly_one_thing() {
    assert_finding(
        &routed("answer = { status = 204 }"),
        9,
        "both `pool` and `answer`",
        "exactly one of `pool`, `files`",
    );
    assert_finding(&routed("files = { root = \"/srv\" }"), 9, "both `pool` and `files`", "exactly one");
    assert_finding(&acting(""), 4, "none of `pool`, `files`", "exactly one");
    let forward = acting("answer = { status = 204 }\nforward = { upgrade = false }");
    assert_finding(&forward, 8, "`forward` means nothing here, it belongs to `pool`", "take");
    assert_finding(&acting("pool = \"apt\""), 7, "there is no pool \"apt\"", "[[pool]] with name = \"apt\"");
    assert_finding(&acting("answer = { status = 301 }"), 7, "301 is a redirect", "redirect = {");
    assert_finding(&acting("answer = { media = \"text/html\" }"), 7, "belongs to `body`", "take");
    assert_finding(
        &acting("answer = { status = 204, body = \"{\\\"ok\\\": 1}\" }"),
        7,
        "is no variable",
        "{{",
    );
    assert_finding(&acting("redirect = { to = \"/x\", status = 304 }"), 7, "304 is not the status", "308");
    assert_finding(&acting("redirect = { status = 301 }"), 7, "`to` is missing", "");
    assert_finding(&acting("redirect = { to = \"\" }"), 7, "`to` is empty", "{request_uri}");
}

#[test]
fn hosts_and_paths_are_what_requests_have() {
    for (host, says, advises) in [
        ("a.example.com:80", "has a port", "bind"),
        ("https://a.example.com", "is not a host", "path"),
        (".example.com", "begins with a dot", "[\"example.com\", \"*.example.com\"]"),
        ("_", "stands for nothing", "\"*\""),
        ("a.*.com", "star in the middle", "first label"),
        ("bücher.example", "not ASCII", "xn--"),
        ("a b", "is not a host", "www.example.com"),
        ("~(", "not a regular expression: unclosed group", "single quotes"),
    ] {
        assert_finding(&routed(&format!("host = \"{host}\"")), 9, says, advises);
    }
    assert_finding(&routed("path = \"api\""), 9, "does not begin with /", "path = \"/api\"");
    assert_warning(&routed("path = \"/a?b=c\""), 9, "a query is not part");
    assert_finding(&routed("path_exact = \"/a//b\""), 9, "slashes are merged", "one slash");
    assert_finding(&routed("path = \"/a/../b\""), 9, "dots are resolved", "");
    assert_finding(&routed("path = \"/a%20b\""), 9, "decoded before", "character itself");
    assert_finding(
        &routed("path = \"/a\"\npath_regex = \"b\""),
        10,
        "both `path` and `path_regex`",
        "exactly one",
    );
    assert_finding(&routed("ignore_case = true"), 9, "belongs to `path_regex`", "take");
    assert_finding(&routed("path_exact = \"/\"\nlast = true"), 10, "belongs to `path`", "take");
    assert_finding(&routed("path_regex = '(?!x)a'"), 9, "look-around", "second route");
    assert_finding(&routed("path_regex = '(a)\\1'"), 9, "backreferences are not supported", "");
    assert_finding(&routed("by_name = true"), 7, "`by_name` needs `name`", "name =");
    assert_finding(&routed("methods = [\"get\"]"), 9, "written in capitals", "\"GET\"");
    assert_finding(&routed("headers = [{ name = \"a b\" }]"), 9, "not the name of a header", "letters");
    assert_finding(
        &routed("queries = [{ name = \"a\", is = \"1\", regex = \"2\" }]"),
        9,
        "exclude each other",
        "one",
    );
    assert_finding(&routed("from = [\"office\"]"), 9, "not a network", "10.0.0.0/8");
}

#[test]
fn variables_have_a_name_that_something_defines() {
    let header =
        |value: &str| routed(&format!("response_headers = [{{ set = \"X-A\", value = \"{value}\" }}]"));
    assert_finding(&header("{hots}"), 9, "nothing gives {hots} a value", "did you mean {host}?");
    assert_finding(
        &header("{zone_of_user}"),
        9,
        "nothing gives {zone_of_user}",
        "[[map]] name = \"zone_of_user\"",
    );
    assert_finding(&header("{10}"), 9, "`{10}` is no variable", "{host}");
    assert_finding(&header("a{"), 9, "is not closed", "{{");
    assert_finding(&header("a}"), 9, "closes nothing", "}}");
    assert_finding(&header("a\\nb"), 9, "has a line end", "one line");
    assert_warning(&header("$host"), 9, "`$host` is plain text here");
    let map = "[[map]]\nname = \"host\"\nfrom = \"{uri}\"\nvalues = []\n";
    assert_finding(map, 2, "\"host\" is a variable of the proxy", "another name");
    assert_finding(&map.replace("host", "a-b"), 2, "not the name of a variable", "letters");
    let set =
        format!("{}{}", map.replace("host", "mine"), routed("steps = [{ set = \"mine\", value = \"x\" }]"));
    assert_finding(&set, 13, "gets its value at t.toml:2 already", "choose another name");
    assert_finding(&routed("path_regex = '(?<uri>a)'"), 9, "\"uri\" is a variable of the proxy", "");
    assert_finding(
        &routed("steps = [{ set = \"http_x\", value = \"y\" }]"),
        9,
        "a variable of the proxy",
        "another",
    );
}

#[test]
fn steps_do_one_thing_each() {
    let steps = |step: &str| routed(&format!("steps = [{step}]"));
    assert_finding(&steps("{}"), 9, "none of `set`, `rewrite`", "exactly one");
    assert_finding(&steps("{ set = \"a\" }"), 9, "`value` is missing", "");
    assert_finding(&steps("{ rewrite = 'a', value = \"b\" }"), 9, "`value` means nothing", "take");
    assert_finding(&steps("{ rewrite = 'a', to = \"b\" }"), 9, "begins with neither", "/new/{1}");
    assert_finding(
        &steps("{ rewrite = 'a', to = \"/b\", then = \"last\" }"),
        9,
        "\"last\" is not what follows",
        "again",
    );
    assert_finding(&steps("{ when = { value = \"{uri}\" } }"), 9, "needs `steps`", "steps");
    assert_finding(
        &steps("{ when = { value = \"a\", path = \"/b\" }, steps = [] }"),
        9,
        "both `value` and `path`",
        "",
    );
    assert_finding(&steps("{ when = { path = \"/b\" }, steps = [] }"), 9, "`exists` is missing", "\"file\"");
    assert_finding(
        &steps("{ when = { path = \"/b\", exists = \"fil\" }, steps = [] }"),
        9,
        "kind of file",
        "`file`",
    );
    assert_finding(
        &steps("{ when = { value = \"a\" }, route = \"x\" }"),
        9,
        "no route \"x\"",
        "[[route]] with name",
    );
    assert_finding(&steps("{ break = false }"), 9, "does nothing", "break = true");
    assert_finding(&steps("{ once = [{ set = 5 }] }"), 9, "text belongs here", "quotes");
}

#[test]
fn forwarding_says_nothing_twice() {
    let forward = |keys: &str| routed(&format!("path = \"/a/\"\nforward = {{ {keys} }}"));
    assert_finding(&forward("prefix = \"/\", uri = \"/b\""), 10, "exclude each other", "take one");
    assert_finding(&forward("prefix = \"b\""), 10, "does not begin with /", "prefix = \"/\"");
    assert_finding(&forward("uri = \"b\""), 10, "begins with neither", "whole path");
    assert_finding(
        &forward("headers = [{ set = \"Host\", value = \"a\" }]"),
        10,
        "a key of its own",
        "host = ",
    );
    assert_finding(
        &forward("headers = [{ set = \"Connection\", value = \"a\" }]"),
        10,
        "belongs to the connection",
        "",
    );
    assert_finding(
        &forward("headers = [{ remove = \"X\", value = \"a\" }]"),
        10,
        "`value` means nothing",
        "take",
    );
    assert_finding(&forward("headers = [{ set = \"X\" }]"), 10, "`value` is missing", "");
    assert_finding(&forward("headers = [{ set = \"X\", value = \"\", always = true }]"), 10, "`always`", "");
    assert_finding(
        &forward("retry = { on = [\"eror\"] }"),
        10,
        "\"eror\" is not something",
        "did you mean `error`?",
    );
    assert_finding(&forward("retry = { on = [200] }"), 10, "\"200\" is not something", "502");
    assert_finding(&forward("redirects = [{ to = \"/\" }]"), 10, "none of `from`, `regex`", "exactly one");
    assert_finding(&forward("read_timeout = \"0s\""), 10, "out of range", "");
    assert_finding(
        &routed("path_regex = 'x'\nforward = { prefix = \"/\" }"),
        10,
        "replaces a matched `path`",
        "uri = ",
    );
    assert_warning(&forward("prefix = \"/b\""), 10, "end differently");
    let http2 = pooled("backends = [\"10.0.4.20:8080\"]\nhttp2 = true") + "forward = { upgrade = true }\n";
    assert_finding(&http2, 10, "an upgrade (WebSocket) can't pass", "without http2");
}

#[test]
fn files_and_error_pages_lead_somewhere() {
    assert_finding(&acting("files = { root = \"html\" }"), 7, "begins with neither", "whole path");
    assert_finding(&acting("files = {}"), 7, "`root` is missing", "/srv/www");
    let files = |keys: &str| acting(&format!("files = {{ root = \"/srv\", {keys} }}"));
    assert_finding(&files("fallback = \"=404\""), 7, "belongs to `try`", "take");
    assert_finding(&files("try = [\"{uri}\"], fallback = \"@spa\""), 7, "no route \"spa\"", "r");
    assert_finding(&files("try = [\"{uri}\"], fallback = \"=abc\""), 7, "is not a status", "=404");
    assert_finding(&files("try = [\"{uri}\"], fallback = \"index\""), 7, "begins with neither", "");
    assert_finding(
        &files("try = [\"{uri}\"], fallback = \"/\", fallback_pool = \"p\""),
        7,
        "exclude each other",
        "",
    );
    let errors = |page: &str| routed(&format!("errors = [{{ {page} }}]"));
    assert_finding(&errors("path = \"/404.html\""), 9, "`codes` is missing", "[404");
    assert_finding(&errors("codes = 404"), 9, "none of `path`, `route`, `url`", "exactly one");
    assert_finding(&errors("codes = [200], path = \"/x\""), 9, "200 is not an error", "404");
    assert_finding(&errors("codes = [\"504-500\"], path = \"/x\""), 9, "not a status code", "");
    assert_finding(&errors("codes = [404], path = \"x\""), 9, "begins with neither", "");
}

#[test]
fn credentials_are_checked_and_never_shown() {
    let report = refused(&routed("basic_auth = { users = { ann = \"hunter2\" } }")).to_string();
    assert!(report.contains("what user \"ann\" has is no hash") && !report.contains("hunter2"), "{report}");
    assert_finding(&routed("basic_auth = {}"), 9, "none of `file`, `users`", "exactly one");
    assert_finding(&routed("basic_auth = { file = \"users\" }"), 9, "not an absolute path", "");
    assert_finding(&routed("satisfy_any = true"), 9, "chooses between", "write both");
    let jwt = |key: &str| routed(&format!("jwt = {{ keys = [{{ {key} }}] }}"));
    assert_finding(&routed("jwt = { keys = [] }"), 9, "without a key", "RS256");
    assert_finding(
        &jwt("algorithm = \"none\", key = \"x\""),
        9,
        "\"none\" is not an algorithm",
        "proves nothing",
    );
    assert_finding(&jwt("algorithm = \"RS255\", key = \"x\""), 9, "not an algorithm", "RS256");
    let report = refused(&jwt("algorithm = \"RS256\", key = \"s3cret\"")).to_string();
    assert!(report.contains("holds no public key") && !report.contains("s3cret"), "{report}");
    let private = jwt("algorithm = \"ES256\", key = \"-----BEGIN EC PRIVATE KEY-----\"");
    assert_finding(&private, 9, "is a private key", "issuer's public key");
    assert!(!refused(&private).to_string().contains("BEGIN"), "{}", refused(&private));
    let public = "-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\\n-----END PUBLIC KEY-----";
    let with = |algorithm: &str| jwt(&format!("algorithm = \"{algorithm}\", key = \"{public}\""));
    assert_finding(&with("RS256"), 9, "is of the kind Ed25519, which is for EdDSA", "public key");
    assert_finding(&with("HS256"), 9, "is PEM, not a secret", "algorithm of this key");
    parse_str("t.toml", &with("EdDSA"), &no_env, Checks::NONE).unwrap();
    assert_warning(&jwt("algorithm = \"HS256\", key = \"short\""), 9, "too short for HS256");
    let from = "jwt = { keys = [{ algorithm = \"HS256\", key = \"0123456789abcdef0123456789abcdef\" }], from = [\"body\"] }";
    assert_finding(&routed(from), 9, "no place of a token", "cookie:name");
    let both = format!("basic_auth = {{ file = \"/u\" }}\n{}", from.replace("body", "bearer"));
    assert_finding(&routed(&both), 10, "exclude each other", "take");
}

#[test]
fn zones_are_used_as_they_count() {
    let zone = "[[zone]]\nname = \"z\"\nkey = \"{remote_addr}\"\n";
    let rate = format!("{zone}rate = \"10/s\"\n");
    assert_finding(
        &format!("{zone}{}", routed("rates = [{ zone = \"z\" }]")),
        12,
        "zone \"z\" has no rate",
        "rate = ",
    );
    let concurrency = format!("{rate}{}", routed("concurrency = [{ zone = \"z\", max = 5 }]"));
    assert_finding(&concurrency, 13, "zone \"z\" counts a rate", "without `rate`");
    assert_finding(&format!("{zone}rate = \"10\"\n"), 4, "\"10\" is not a rate", "10/s");
    assert_finding(&routed("rates = [{ zone = \"z\" }]"), 9, "no zone \"z\"", "[[zone]]");
    let more = format!("{rate}{}", routed("rates = [{ zone = \"z\", burst = 5, undelayed = 6 }]"));
    assert_finding(&more, 13, "undelayed 6 is more than burst 5", "take");
    assert_warning(&format!("{GOOD}{rate}"), 10, "nothing is counted in zone \"z\"");
    let fixed = format!("{}{}", rate.replace("{remote_addr}", "all"), routed("rates = [{ zone = \"z\" }]"));
    assert_warning(&fixed, 3, "the same for every request");
}

#[test]
fn access_rules_are_asked_in_order() {
    assert_finding(&routed("access = [\"permit all\"]"), 9, "is no rule", "allow 10.0.0.0/8");
    assert_finding(&routed("access = [\"allow\"]"), 9, "is not a network", "10.0.0.0/8");
    assert_warning(&routed("access = [\"deny all\", \"allow 10.0.0.0/8\"]"), 9, "is never asked");
    assert_warning(
        &routed("access = [\"allow 10.1.2.3/8\", \"deny all\"]"),
        9,
        "not the first address of its network",
    );
}

#[test]
fn backends_can_be_reached() {
    for (addr, says, advises) in [
        ("10.0.4.20", "the port is missing", "10.0.4.20:8080"),
        ("http://10.0.4.20:80", "is a URL", "tls = {}"),
        ("tunnel:branch", "there is no tunnel \"branch\"", "write [[tunnel]] with id = \"branch\""),
        ("unix:x", "not the place of a socket", "absolute"),
        ("::1:80", "stands in brackets", "[2001:db8::1]:8080"),
    ] {
        assert_finding(&pooled(&format!("backends = [\"{addr}\"]")), 6, says, advises);
    }
    assert_finding(
        &pooled("backends = [\"a:1\", { addr = \"a:1\" }]"),
        6,
        "stands there twice",
        "weight = 2",
    );
    assert_finding(&pooled("backends = [{ weight = 2 }]"), 6, "`addr` is missing", "");
    assert_finding(
        &pooled("backends = [{ addr = \"a:1\", weight = 0 }]"),
        6,
        "weight 0 is out of range",
        "from 1",
    );
    assert_finding(&pooled(""), 4, "`backends` is missing", "10.0.4.20:8080");
    assert_warning(&pooled("backends = []"), 6, "has no backend: every request gets 503");
    assert_warning(&pooled("backends = [{ addr = \"a:1\", down = true }]"), 6, "no backend that is not down");
    let with = |keys: &str| pooled(&format!("backends = [\"a:1\"]\n{keys}"));
    assert_finding(&with("balance = \"hash\""), 4, "needs `key`", "key");
    assert_finding(&with("key = \"{uri}\""), 7, "belongs to balance = \"hash\"", "take");
    assert_finding(&with("balance = \"leastconn\""), 7, "way to choose a backend", "least");
    assert_finding(&with("tls = { verify = false, ca = \"/ca\" }"), 7, "belongs to verify = true", "take");
    assert_finding(&with("tls = { cert = \"/c\" }"), 7, "`cert` needs `key`", "");
    assert_finding(&with("sticky = { cookie = \"a b\" }"), 7, "name of a cookie", "letters");
    assert_finding(
        &with("sticky = { cookie = \"a\", same_site = \"None\" }"),
        7,
        "browsers drop",
        "secure = true",
    );
    assert_finding(
        &with("sticky = { cookie = \"a\", key = \"guess me\" }"),
        7,
        "8 bytes can be guessed",
        "rand -hex",
    );
    assert_finding(&with("outlier = { share_max = 101 }"), 7, "share_max 101", "0 to 100");
    assert_finding(&with("servers = []"), 7, "`servers` is not a key of [[pool]]", "backends");
}

#[test]
fn the_probe_of_a_pool_is_one_check_for_each_backend() {
    let probe = |keys: &str| pooled(&format!("backends = [\"a:1\"]\nprobe = {{ {keys} }}"));
    assert_finding(&probe("interval = \"1s\""), 7, "none of `http`, `tcp`, `grpc`, `exec`", "exactly one");
    assert_finding(&probe("http = \"http://a/\""), 7, "is not a path", "/healthz");
    assert_finding(&probe("tcp = false"), 7, "checks nothing", "tcp = true");
    assert_finding(&probe("tcp = true, status = [200]"), 7, "belongs to http", "take");
    assert_finding(&probe("http = \"/\", body = \"(\""), 7, "not a regular expression", "backslash");
    assert_finding(&probe("exec = [\"check\"]"), 7, "not an absolute path", "");
    assert_finding(&probe("tcp = true, interval = \"1ms\""), 7, "out of range", "50ms");
    let unix = pooled("backends = [\"unix:/x\"]\nprobe = { http = \"/\" }");
    assert_finding(&unix, 7, "unix:/x is a unix socket", "exec = ");
    let twice = probe("tcp = true") + "[[probe]]\nname = \"api/a:1\"\ntcp = \"h:1\"\n";
    assert_finding(&twice, 7, "there is already a probe \"api/a:1\"", "rename");
    let pool = |keys: &str| format!("{GOOD}[[probe]]\nname = \"p\"\n{keys}\n");
    assert_finding(&pool("pool = \"apx\""), 11, "no pool \"apx\"", "did you mean `api`?");
    assert_finding(&pool("pool = \"api\"\nmax = 3"), 12, "belongs to process", "take");
    assert_finding(&pool("grpc = \"h\""), 11, "port is missing", "");
    assert_finding(&pool("grpc = \"h:1\"\nca = \"/ca\""), 12, "belongs to tls = true", "take");
    assert_finding(&pool("tcp = \"h:1\"\nservice = \"a\""), 12, "belongs to grpc", "take");
}

#[test]
fn maps_come_to_an_end() {
    let map = |name: &str, from: &str| {
        format!(
            "[[map]]\nname = \"{name}\"\nfrom = \"{{{from}}}\"\nvalues = [{{ is = \"a\", to = \"b\" }}]\n"
        )
    };
    let circle = format!("{}{}", map("a", "b"), map("b", "a"));
    assert_finding(&circle, 2, "map \"a\" needs a map that needs it", "look at the request");
    let used =
        |text: String| format!("{text}{}", routed("response_headers = [{ set = \"X\", value = \"{a}\" }]"));
    let chain = used(format!("{}{}", map("a", "b"), map("b", "host")));
    parse_str("t.toml", &chain, &no_env, Checks::NONE).unwrap_or_else(|report| panic!("{report}"));
    assert_warning(&format!("{GOOD}{}", map("a", "host")), 10, "nothing uses the variable of map \"a\"");
    let with = |rules: &str| format!("[[map]]\nname = \"a\"\nfrom = \"{{host}}\"\n{rules}\n");
    assert_finding(&with(""), 1, "none of `values`, `networks`, `shares`", "exactly one");
    let twice = "values = [{ is = \"A\", to = \"1\" }, { is = \"a\", to = \"2\" }]";
    assert_finding(&with(twice), 4, "stands there twice", "case is ignored");
    assert_finding(&with("values = [{ to = \"1\" }]"), 4, "none of `is`, `regex`", "exactly one");
    assert_finding(&with("values = []\nhostnames = 1"), 5, "true or false belongs here", "");
    assert_finding(&with("networks = [{ net = \"x\", to = \"1\" }]"), 4, "not a network", "");
    let shares = |list: &str| with(&format!("shares = [{list}]"));
    assert_finding(
        &shares("{ percent = \"60\", to = \"a\" }, { percent = \"50\", to = \"b\" }"),
        4,
        "more than 100",
        "",
    );
    assert_finding(
        &shares("{ percent = \"*\", to = \"a\" }, { percent = \"5\", to = \"b\" }"),
        4,
        "nothing is left",
        "last",
    );
    assert_finding(&shares("{ percent = \"half\", to = \"a\" }"), 4, "not a share", "0.5");
}

#[test]
fn logs_have_a_place_and_a_form() {
    let log = |keys: &str| format!("{}[[log]]\nname = \"l\"\n{keys}\n", routed("log = [\"l\"]"));
    assert_finding(&log(""), 10, "`to` is missing", "");
    assert_finding(&log("to = \"access.log\""), 12, "not an absolute path", "stdout");
    assert_finding(&log("to = \"stdout\"\nformat = \"jsn\""), 13, "neither a known format", "json");
    assert_finding(&log("to = \"stdout\"\nformat = \"{x\""), 13, "is not closed", "");
    assert_finding(&log("to = \"stdout\"\njson_escape = true"), 13, "belongs to a `format`", "take");
    assert_finding(&routed("log = [\"l\"]"), 9, "there is no log \"l\"", "[[log]]");
    assert_finding(&routed("log = [{ when = \"{uri}\" }]"), 9, "`name` is missing", "");
    assert_warning(
        &format!("{GOOD}[[log]]\nname = \"l\"\nto = \"stdout\"\n"),
        10,
        "nothing is written to log \"l\"",
    );
}

#[test]
fn what_is_never_asked_is_told() {
    assert_warning(
        &format!("{GOOD}[[route]]\npath = \"/\"\nanswer = {{}}\n"),
        9,
        "never takes a request: route \"/\"",
    );
    assert_warning(
        &format!("{GOOD}[[pool]]\nname = \"q\"\nbackends = [\"a:1\"]\n"),
        10,
        "nothing goes to pool \"q\"",
    );
    let by_name = "[[route]]\nname = \"x\"\nby_name = true\nanswer = {}\n";
    assert_warning(&format!("{GOOD}{by_name}"), 10, "nothing goes on with route \"x\"");
    assert_warning(&listening("bind = \":80\""), 2, "has no route: every request gets 404");
}

#[test]
fn times_sizes_and_small_texts_have_their_notation() {
    assert_finding(&routed("body_max = \"100X\""), 9, "this unit of size is not known", "100MiB");
    assert_finding(&routed("body_max = true"), 9, "a size belongs here", "64KiB");
    assert_finding(&routed("expires = \"tomorrow\""), 9, "is no time", "modified 1h");
    assert_finding(&routed("default_type = \"html\""), 9, "not a media type", "text/html");
    assert_finding(&routed("gzip = { level = 12 }"), 9, "level 12", "1 to 9");
    assert_finding(&routed("gzip = { types = [\"html\"] }"), 9, "not a media type", "");
    assert_finding("[edge]\ninstances = 0\n", 2, "instances 0 is out of range", "1 to 16");
    assert_finding("[edge]\ndrain = 30\n", 2, "a duration needs a unit", "30s");
}

#[test]
fn words_of_nginx_are_answered_with_ours() {
    assert_finding(&routed("server_name = \"a\""), 9, "`server_name` is not a key", "write host = ");
    assert_finding(&routed("proxy_pass = \"http://api\""), 9, "proxy_pass", "write pool = ");
    assert_finding(&listening("listen = 80"), 3, "listen", "write bind = ");
    let lines: Vec<usize> =
        refused(&listening("listen = 80")).diagnostics.iter().map(|d| d.place.line).collect();
    assert_eq!(lines, [3], "a key that was meant is not missing as well");
    assert_finding("[[upstream]]\nserver = \"a\"\n", 1, "upstream", "[[pool]]");
}

#[test]
fn everything_is_told_at_once() {
    let text = "[[listener]]\nname = \"l\"\nbind = \"80\"\ntls12 = 1\n[[route]]\nhost = \"a:1\"\npool = \"x\"\nexpires = \"y\"\n\
                [[pool]]\nname = \"p\"\nbackends = [\"z\"]\n";
    let lines: Vec<usize> = refused(text).diagnostics.iter().map(|d| d.place.line).collect();
    assert_eq!(lines, [3, 4, 6, 7, 8, 11], "{}", refused(text));
}

#[test]
fn where_a_request_says_where_it_goes_its_pool_does_not_and_the_other_way_round() {
    let asked = pooled("backends = [\"*\"]");
    let says = "which `to` names";
    assert!(refused(&asked).to_string().contains(says), "{}", refused(&asked));
    let both = routed("forward = { to = \"{arg_b}\" }");
    assert_finding(&both, 9, "says where requests go, and pool \"api\" as well", "backends = [\"*\"]");
    let right = format!("{asked}forward = {{ to = \"{{arg_b}}\" }}\n");
    assert!(mainstay_config::parse_str("t.toml", &right, &|_| None, mainstay_config::Checks::NONE).is_ok());
    let named = pooled("backends = [\"a:1\", { addr = \"a:1\", name = \"again\" }]");
    assert!(mainstay_config::parse_str("t.toml", &named, &|_| None, mainstay_config::Checks::NONE).is_ok());
}
