//! What is refused, where the finding points and what it advises: first the kinds of broken configuration that
//! keepalived starts with, then every rule of a vip and a probe.

mod finding;

use finding::{assert_finding, no_env, refused};
use mainstay_config::{Checks, load_with, parse_str};

const GOOD: &str = "[[vip]]
name = \"front\"
addrs = [\"10.0.4.99\"]
interface = \"eth0\"
vrid = 51
";

/// GOOD with a key more, in line 6.
fn with(line: &str) -> String {
    format!("{GOOD}{line}\n")
}

/// GOOD with a line replaced.
fn instead(line: &str, by: &str) -> String {
    assert!(GOOD.contains(line));
    GOOD.replace(line, by)
}

#[test]
fn broken_1_an_unknown_keyword_names_the_nearest_key() {
    assert_finding(
        &instead("interface =", "intreface ="),
        4,
        "`intreface` is not a key of [[vip]]",
        "`interface`",
    );
    assert_finding(&with("virtual_router_id = 51"), 6, "virtual_router_id", "write vrid = 51");
    assert_finding("[[vrrp_instance]]\nname = \"x\"\n", 1, "vrrp_instance", "mainstay import keepalived");
}

#[test]
fn broken_2_a_missing_quote_bracket_or_brace_is_found_in_its_line() {
    assert_finding(&instead("\"front\"", "\"front"), 2, "", "a quote is missing");
    assert_finding(&instead("[\"10.0.4.99\"]", "[\"10.0.4.99\""), 4, "", "");
    assert_finding(&instead("[[vip]]", "[[vip]"), 1, "", "a bracket is missing");
    assert_finding(&with("announce = { repeat = 5"), 6, "", "a brace is missing");
    assert_finding("vrrp_instance VI_1 {\n}\n", 1, "", "mainstay import keepalived FILE");
}

#[test]
fn broken_3_a_bad_address_is_refused() {
    assert_finding(&instead("10.0.4.99", "10.0.4.999"), 3, "\"10.0.4.999\" is not an address", "10.0.4.99");
    assert_finding(&instead("10.0.4.99", "10.0.4.0/24"), 3, "the address of a network", "of the subnet");
    assert_finding(&instead("10.0.4.99", "10.0.4.255/24"), 3, "broadcast", "");
    assert_finding(&instead("10.0.4.99", "10.0.4.9/33"), 3, "no such prefix length", "/1 to /32");
    assert_finding(&instead("10.0.4.99", "224.0.0.18"), 3, "multicast", "");
    assert_finding(&instead("10.0.4.99", "127.0.0.1"), 3, "loopback", "");
    assert_finding(
        &instead("[\"10.0.4.99\"]", "[\"10.0.4.99\", \"2001:db8::1\"]"),
        3,
        "another family",
        "unadvertised",
    );
}

#[test]
fn broken_4_a_priority_out_of_range_is_refused() {
    for priority in ["300", "0", "-1", "256", "99999999999999999999"] {
        assert_finding(&with(&format!("priority = {priority}")), 6, "is out of range", "1 to 254");
    }
    assert_finding(&with("priority = \"100\""), 6, "a number belongs here, not text", "without quotes");
}

#[test]
fn broken_5_a_vrid_out_of_range_is_refused() {
    assert_finding(&instead("51", "0"), 5, "vrid 0 is out of range", "from 1 to 255");
    assert_finding(&instead("51", "256"), 5, "vrid 256 is out of range", "from 1 to 255");
}

#[test]
fn broken_6_an_unknown_probe_is_refused() {
    let probe = "[[probe]]\nname = \"nginx\"\ntcp = \"127.0.0.1:80\"\n";
    let text = format!("{}{probe}", with("requires = [\"ngnix\"]"));
    assert_finding(&text, 6, "there is no probe \"ngnix\"", "did you mean `nginx`?");
    assert_finding(&with("requires = [\"eth0\"]"), 6, "no probe \"eth0\"", "up = \"eth0\"");
    assert_finding(
        &with("weights = [{ probe = \"x\", weight = -5 }]"),
        6,
        "there is no probe \"x\"",
        "[[probe]]",
    );
}

#[test]
fn broken_7_two_vips_with_one_vrid_are_refused_unless_the_family_differs() {
    let second = GOOD.replace("front", "second").replace("4.99", "4.98");
    assert_finding(
        &format!("{GOOD}{second}"),
        10,
        "vrid 51 is already used for IPv4 on eth0",
        "its own number",
    );
    let ipv6 = second.replace("10.0.4.98", "2001:db8::98");
    assert!(parse_str("t.toml", &format!("{GOOD}{ipv6}"), &no_env, Checks::NONE).is_ok());
    let elsewhere = second.replace("eth0", "eth1");
    assert!(parse_str("t.toml", &format!("{GOOD}{elsewhere}"), &no_env, Checks::NONE).is_ok());
}

#[test]
fn broken_8_a_vip_without_address_interface_or_vrid_is_refused() {
    assert_finding(&instead("[\"10.0.4.99\"]", "[]"), 3, "has no address", "write addrs = [");
    assert_finding("[[vip]]\nname = \"a\"\n", 1, "`addrs` is missing", "write addrs = [");
    assert_finding("[[vip]]\nname = \"a\"\n", 1, "`interface` is missing", "\"eth0\"");
    assert_finding("[[vip]]\nname = \"a\"\n", 1, "`vrid` is missing", "the same number");
}

#[test]
fn broken_9_bad_authentication_is_refused_and_never_shown() {
    let long = with("version = 2\npassword = \"correct-horse\"");
    assert_finding(&long, 7, "the password has 13 bytes", "its first 8");
    assert!(!refused(&long).to_string().contains("horse"), "{}", refused(&long));
    let v3 = with("password = \"1111\"");
    assert_finding(&v3, 6, "version 3 has no password", "version = 2");
    assert!(!refused(&v3).to_string().contains("1111"));
    assert_finding(&with("version = 2\npassword = \"\""), 7, "0 bytes", "1 to 8");
    assert_finding(&with("auth = \"ah\""), 6, "(AH, HMAC) is not supported", "AH is not spoken");
    for odd in ["{ text = \"hunter2\" }", "{ file = \"/x\", text = \"hunter2\" }", "12345678901"] {
        let report = refused(&with(&format!("version = 2\npassword = {odd}"))).to_string();
        assert!(!report.contains("hunter2") && !report.contains("12345"), "{report}");
    }
    let unclosed = with("password = \"hunter2");
    assert!(!refused(&unclosed).to_string().contains("hunter2"), "{}", refused(&unclosed));
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    assert_finding(&with("use_vmac = true"), 6, "virtual-MAC interface is not supported", "gratuitous ARP");
    assert_finding(&with("routes = []"), 6, "virtual route is not supported", "owns");
    assert_finding(&with("rules = []"), 6, "virtual rule is not supported", "owns");
    assert_finding("[[mesh]]\nid = \"x\"\n", 1, "[[mesh]] is not served by this version", "vip");
}

#[test]
fn what_the_wire_can_not_carry_is_refused() {
    assert_finding(&with("version = 4"), 6, "no VRRP version 4", "version = 2 or");
    assert_finding(&with("version = 2\nadvert = \"500ms\""), 7, "every 500ms", "version = 3");
    assert_finding(&with("advert = \"15ms\""), 6, "every 15ms", "steps of 10ms");
    assert_finding(&with("advert = \"41s\""), 6, "every 41s", "40950ms");
    assert_finding(&with("advert = 1"), 6, "a duration needs a unit", "\"1s\"");
    let ipv6 = with("version = 2").replace("10.0.4.99", "2001:db8::99");
    assert_finding(&ipv6, 6, "version 2 has no IPv6", "version 3 speaks IPv6");
    assert_finding(&with("version = 2\nchecksum = \"message\""), 7, "version 3 over IPv4 alone", "take");
    assert_finding(&with("checksum = \"both\""), 6, "is not a way to compute", "pseudo-header");
}

#[test]
fn keys_that_mean_nothing_together_are_refused() {
    assert_finding(&with("ttl_min = 254"), 6, "beyond the link", "unicast");
    assert_finding(&with("check_source = true"), 6, "needs `unicast`", "unicast = [");
    assert_finding(&with("preempt = false\npreempt_delay = \"5s\""), 7, "means nothing", "take one");
    assert_finding(&with("priority = 255\npreempt = false"), 7, "always takes it back", "up to 254");
    assert_finding(&with("unicast = [\"2001:db8::1\"]"), 6, "another family", "family of `addrs`");
    assert_finding(&with("unicast = [\"10.0.4.1\", \"10.0.4.1\"]"), 6, "listed twice", "once");
    assert_finding(
        &with("unicast = [\"10.0.4.1\"]\nmulticast = \"224.0.0.19\""),
        7,
        "means nothing",
        "take one",
    );
    assert_finding(&with("multicast = \"10.0.4.1\""), 6, "not a multicast group", "224.0.0.18");
    assert_finding(&with("source = \"10.0.4.99\""), 6, "one of the vip's own addresses", "always has");
    assert_finding(&with("install = false\nunadvertised = [\"10.0.4.98\"]"), 7, "neither told", "take");
}

#[test]
fn names_and_addresses_are_given_once() {
    let second = GOOD.replace("51", "52");
    assert_finding(&format!("{GOOD}{second}"), 7, "already a vip \"front\" at t.toml:2", "its own name");
    assert_finding(&format!("{GOOD}{second}"), 8, "10.0.4.99", "keep it in one place");
    assert_finding(
        &instead("[\"10.0.4.99\"]", "[\"10.0.4.99\", \"10.0.4.99\"]"),
        3,
        "stands there twice",
        "one place",
    );
    let group = format!("{GOOD}[[group]]\nname = \"g\"\nvips = [\"frnt\", \"front\", \"front\"]\n");
    assert_finding(&group, 8, "no vip \"frnt\"", "did you mean `front`?");
    assert_finding(&group, 8, "already in group \"g\"", "once");
    assert_finding("[[group]]\nname = \"g\"\nvips = []\n", 3, "has no vip", "vips = [");
}

const PROBED: &str = "[[vip]]
name = \"front\"
addrs = [\"10.0.4.99\"]
interface = \"eth0\"
vrid = 51
weights = [{ probe = \"x\", weight = WEIGHT }]
MORE
[[probe]]
name = \"x\"
tcp = \"127.0.0.1:80\"
";

fn weighted(weight: &str, more: &str) -> String {
    PROBED.replace("WEIGHT", weight).replace("MORE", more)
}

#[test]
fn a_weight_that_can_never_cause_a_failover_is_refused_with_requires_as_advice() {
    let advice = "write requires = [\"x\"]";
    let trap = weighted("-20", "preempt = false");
    assert_finding(&trap, 6, "can never cause a failover", advice);
    assert_finding(
        &trap,
        6,
        "from 100 to 80, but with preempt = false a backup takes over only when",
        advice,
    );
    assert_finding(
        &weighted("20", "preempt = false"),
        6,
        "from 120 to 100, but with preempt = false",
        advice,
    );
    assert_finding(&weighted("0", ""), 6, "adds nothing", advice);
    assert_finding(&weighted("-20", "priority = 255"), 6, "the owner of an address", advice);
    assert_finding(&weighted("-20", "priority = 1"), 6, "stays 1 whether", advice);
    assert_finding(&weighted("20", "priority = 254"), 6, "stays 254 whether", advice);
    assert_finding(&weighted("-20", "requires = [\"x\"]"), 6, "is in `requires` as well", advice);
    let reverse = weighted("20, reverse = true", "priority = 1");
    assert_finding(&reverse, 6, "stays 1 whether", advice);
    assert_finding(&weighted("-254", ""), 6, "weight -254 is out of range", "-253 to 253");
}

#[test]
fn a_weight_that_may_move_the_vip_is_accepted() {
    for text in [
        weighted("-20", ""),
        weighted("20", ""),
        weighted("-20", "priority = 2"),
        weighted("20", "priority = 253"),
        weighted("-20, reverse = true", "priority = 1"),
    ] {
        let loaded = parse_str("t.toml", &text, &no_env, Checks::NONE);
        assert!(loaded.is_ok(), "{text}\n{}", loaded.unwrap_err());
    }
}

/// A probe whose check stands in line 3, with more keys from line 4.
fn probe(check: &str) -> String {
    format!("[[probe]]\nname = \"p\"\n{check}\n")
}

#[test]
fn a_probe_is_exactly_one_check_with_its_own_keys() {
    assert_finding("[[probe]]\nname = \"p\"\n", 1, "checks nothing", "exactly one of");
    assert_finding(&probe("tcp = \"h:80\"\nping = \"10.0.0.1\""), 4, "both `tcp` and `ping`", "two probes");
    assert_finding(&probe("tcp = \"h:80\"\nstatus = [200]"), 4, "belongs to http", "take");
    assert_finding(&probe("tcp = \"h\""), 3, "the port is missing", "10.0.4.20:80");
    assert_finding(&probe("ping = \"example.com\""), 3, "is not an address", "IPv4");
    assert_finding(&probe("http = \"127.0.0.1/x\""), 3, "is not a URL", "http://");
    assert_finding(&probe("http = \"http://h/\"\nbody = \"(\""), 4, "not a regular expression", "backslash");
    assert_finding(&probe("http = \"http://h/\"\nstatus = [99]"), 4, "99 is not a status code", "200");
    assert_finding(&probe("http = \"http://h/\"\ninsecure = true"), 4, "https", "take");
    assert_finding(&probe("http = \"http://h/\"\nmethod = \"get\""), 4, "not a method", "GET");
    assert_finding(&probe("process = \"/usr/sbin/nginx\""), 3, "not the name of a process", "without a path");
    assert_finding(&probe("process = \"nginx\"\nmin = 3\nmax = 2"), 5, "max 2 is less than min 3", "");
    assert_finding(&probe("up = \"a-name-that-is-too-long\""), 3, "can't be an interface", "15");
    assert_finding(&probe("file = \"ready\""), 3, "absolute path", "/run/ready");
    assert_finding(&probe("exec = [\"check.sh\"]"), 3, "absolute path", "no PATH");
    assert_finding(&probe("exec = []"), 3, "the command is empty", "[\"/path");
    assert_finding(
        &probe("exec = \"/bin/x -a\""),
        3,
        "a list belongs here, not text",
        "[\"/bin/x\", \"-a\"]",
    );
}

#[test]
fn a_probe_has_sane_timing() {
    assert_finding(
        &probe("tcp = \"h:80\"\ninterval = \"10ms\""),
        4,
        "interval 10ms is out of range",
        "from 50ms",
    );
    assert_finding(&probe("tcp = \"h:80\"\nfall = 0"), 4, "fall 0", "from 1");
    assert_finding(
        &probe("tcp = \"h:80\"\ninitial = \"maybe\""),
        4,
        "\"maybe\" is not a verdict",
        "up, down",
    );
    assert_finding(&probe("tcp = \"h:80\"\nrestart = { tries = 2 }"), 4, "`exec` is missing", "exec = [");
}

#[test]
fn notify_and_owns_say_one_thing_each() {
    assert_finding(
        &with("notify = [{ on = [\"master\"], exec = [\"/bin/n\"] }]"),
        6,
        "\"master\" is not a change",
        "active",
    );
    assert_finding(&with("notify = [{ on = [\"active\"] }]"), 6, "exactly one way", "webhook");
    assert_finding(&with("notify = [{ mail = true }]"), 6, "there is no [mail]", "[mail] with smtp");
    assert_finding(&with("notify = [{ webhook = \"ftp://x\" }]"), 6, "is not a URL", "http");
    assert_finding(
        &with("notify = [{ webhook = \"http://x\", user = \"u\" }]"),
        6,
        "belongs to exec",
        "take",
    );
    assert_finding(
        &with("owns = [{ start = [\"/bin/x\"] }]"),
        6,
        "a unit, or a start and a stop",
        "stop = [",
    );
    assert_finding(&with("owns = [{ unit = \"a b\" }]"), 6, "not the name of a unit", "nginx.service");
    assert_finding("[mail]\nsmtp = \"h:25\"\nfrom = \"nobody\"\nto = []\n", 3, "not an e-mail", "@");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_in_the_order_of_the_lines() {
    let text = "[node]\nidd = \"x\"\nmetrics = \"9105\"\n[[vip]]\nname = \"a\"\naddrs = [\"x\"]\ninterface = \"eth0\"\n\
                vrid = 999\npriority = 300\n";
    let lines: Vec<usize> = refused(text).diagnostics.iter().map(|d| d.place.line).collect();
    assert_eq!(lines, [2, 3, 6, 8, 9]);
}

#[test]
fn a_key_that_could_not_be_read_is_not_missing_as_well() {
    let text = "[[vip]]\nname = 5\naddrs = [7]\nintreface = \"eth0\"\nvirtual_router_id = 51\n\
                [[probe]]\nname = \"p\"\nscript = \"/x\"\n";
    let lines: Vec<usize> = refused(text).diagnostics.iter().map(|d| d.place.line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 8], "{}", refused(text));
}

#[test]
fn a_finding_reads_as_file_line_column_sentence_mark_and_help() {
    let text = with("\tpriority = 300");
    let expected = "t.toml:6:13: error: vip \"front\": priority 300 is out of range
   6 | \tpriority = 300
     | \t           ^^^
  help: write a number from 1 to 254; 255 only on the node that owns the address
";
    assert_eq!(refused(&text).to_string(), expected);
    assert!(refused(&text).coloured().to_string().contains("\x1b["));
}

#[test]
fn a_file_that_can_not_be_read_is_refused_with_a_sentence() {
    let missing = load_with("/nosuch/mainstay.toml".as_ref(), &no_env, Checks::NONE).unwrap_err().to_string();
    assert!(
        missing.starts_with("/nosuch/mainstay.toml: error: the file does not exist\n  help: "),
        "{missing}"
    );
    let directory = load_with("/etc".as_ref(), &no_env, Checks::NONE).unwrap_err().to_string();
    assert!(directory.contains("not a regular file"), "{directory}");
    let pipe = load_with("/dev/zero".as_ref(), &no_env, Checks::NONE).unwrap_err().to_string();
    assert!(pipe.contains("not a regular file"), "{pipe}");
}

#[test]
fn a_file_for_this_host_names_programs_and_users_that_exist() {
    let check = |text: &str| match parse_str("t.toml", text, &no_env, Checks::ALL) {
        Ok(loaded) => panic!("accepted: {loaded:?}"),
        Err(report) => report.to_string(),
    };
    let report = check(&probe("exec = [\"/nosuch/program\"]\nuser = \"root\""));
    assert!(report.contains("t.toml:3:9: error: probe \"p\": /nosuch/program does not exist"), "{report}");
    let report = check(&probe("exec = [\"/nosuch/program -x\"]\nuser = \"root\""));
    assert!(report.contains("each argument is a text of its own: [\"/nosuch/program\", \"-x\"]"), "{report}");
    let report = check(&probe("exec = [\"/bin/sh\"]\nuser = \"nosuchuser\""));
    assert!(report.contains("there is no user \"nosuchuser\""), "{report}");
    let report = check("[node]\nscript_user = \"nosuchuser\"\n");
    assert!(report.contains("t.toml:2:15: error: [node]: there is no user"), "{report}");
    let report = check(&with("version = 2\npassword = { file = \"/nosuch/secret\" }"));
    assert!(
        report.contains("t.toml:7:12: error: vip \"front\": password: file /nosuch/secret can't be read"),
        "{report}"
    );
    let report = check(&with("version = 2\npassword = { credential = \"vrrp\" }"));
    assert!(report.contains("CREDENTIALS_DIRECTORY is not set"), "{report}");
    assert!(report.contains("{ credential = \"vrrp\" }"), "where a secret is kept is no secret: {report}");
}

#[test]
fn a_check_that_stops_the_daemon_is_warned_of_with_what_replaces_it() {
    let text = probe("exec = [\"/bin/sh\", \"-c\", \"pidof nginx || systemctl stop keepalived\"]");
    let loaded =
        parse_str("t.toml", &text, &no_env, Checks::NONE).unwrap_or_else(|report| panic!("{report}"));
    let warning =
        loaded.warnings.iter().find(|w| w.message.contains("stops the daemon")).expect("it is warned of");
    let help = warning.help.as_deref().unwrap();
    assert!(help.contains("requires = [") && help.contains("restart = {"), "{help}");
}

#[test]
fn a_probe_that_nobody_asks_for_is_warned_of() {
    let loaded = parse_str("t.toml", &probe("tcp = \"h:80\""), &no_env, Checks::NONE).unwrap();
    assert!(loaded.warnings[0].message.contains("no vip asks for probe \"p\""), "{:?}", loaded.warnings);
}
