//! Importing keepalived.conf: the files that people have, what becomes of them, and what is said about it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mainstay_config::keepalived::{Files, Finding, Import, Severity, import};
use mainstay_config::plan::{Check, NotifyHow, NotifyOn, Plan};
use mainstay_config::{Checks, parse_str};

const CONF: &str = "/etc/keepalived/keepalived.conf";
const GATEWAY: &str = include_str!("keepalived/gateway.conf");
const TRAP: &str = include_str!("keepalived/trap.conf");
const WEB1: &str = include_str!("keepalived/web1.conf");
const WEB2: &str = include_str!("keepalived/web2.conf");
const WEB1_CHECKED: &str = include_str!("keepalived/web1-checked.conf");
const DIRECTOR: &str = include_str!("keepalived/director1.conf");
const CHECK_NGINX: &str = include_str!("keepalived/ck_ng.sh");

#[test]
fn the_gateway_pair_keeps_its_check_its_peers_and_its_four_scripts() {
    let done = Memory::with(GATEWAY).import();
    let plan = plan(&done);
    let vip = &plan.vips[0];
    assert_eq!((done.exit_code(false), plan.node.as_str()), (0, "VM-4-21-centos"));
    assert_eq!((vip.spec.vrid, vip.spec.priority, vip.spec.preempt), (51, 50, false));
    assert_eq!(vip.spec.source.map(|source| source.to_string()).as_deref(), Some("10.0.4.21"));
    assert_eq!(vip.spec.requires.len(), 1);
    assert!(vip.spec.weights.is_empty());
    let told: Vec<NotifyOn> = vip.notify.iter().flat_map(|notify| notify.on.clone()).collect();
    assert_eq!(told, [NotifyOn::Active, NotifyOn::Backup, NotifyOn::Fault, NotifyOn::Stop]);
    assert!(
        done.toml.contains("exec = [\"/etc/keepalived/keepalived_notify.sh\", \"STOP\"]"),
        "{}",
        done.toml
    );
    assert!(done.toml.contains("announce = { delay = \"1s\", refresh = \"5s\" }"), "{}", done.toml);
    assert!(done.findings.iter().all(|finding| finding.severity == Severity::Note), "{:#?}", done.findings);
}

#[test]
fn a_weight_that_can_never_move_a_vip_becomes_requires_and_says_so() {
    let done = Memory::with(TRAP).import();
    let plan = plan(&done);
    assert_eq!((plan.vips[0].spec.requires.len(), plan.vips[0].spec.weights.len()), (1, 0));
    let finding = said(&done, "weight -20 of checkhaproxy becomes requires");
    assert!(finding.text.contains("nopreempt"), "{finding}");
    assert_eq!((finding.severity, done.exit_code(false)), (Severity::Note, 0));
}

#[test]
fn both_web_servers_import_without_their_check() {
    for (text, priority, source) in [(WEB1, 100, "192.168.189.148"), (WEB2, 99, "192.168.189.149")] {
        let done = Memory::with(text).import();
        let plan = plan(&done);
        let vip = &plan.vips[0];
        assert_eq!((vip.spec.priority, vip.spec.vrid, vip.spec.version), (priority, 55, vip.spec.version));
        assert_eq!(vip.spec.source.map(|s| s.to_string()).as_deref(), Some(source));
        assert_eq!((vip.addrs[0].addr.to_string().as_str(), vip.addrs[0].prefix), ("192.168.189.150", 32));
        assert_eq!(said(&done, "192.168.189.150/24 becomes").severity, Severity::Note);
        assert_eq!(done.exit_code(false), 0);
    }
}

#[test]
fn a_script_that_restarts_nginx_or_stops_keepalived_becomes_a_probe_with_restart() {
    let done = Memory::with(WEB1_CHECKED).script("/etc/keepalived/ck_ng.sh", CHECK_NGINX).import();
    let plan = plan(&done);
    let probe = &plan.probes[0];
    assert!(matches!(&probe.check, Check::Process { name, .. } if name == "nginx"), "{probe:?}");
    let restart = probe.restart.as_ref().expect("the script starts nginx");
    assert_eq!(plan.commands[restart.command.index()].argv, ["/usr/sbin/service", "nginx", "start"]);
    assert_eq!(plan.vips[0].spec.requires.len(), 1);
    let finding = said(&done, "stops keepalived");
    assert!(finding.text.contains("never gets there"), "{finding}");
    assert!(finding.advice.contains("process = \"nginx\"\nrestart = {"), "{finding}");
    assert_eq!(done.exit_code(false), 0);
}

#[test]
fn a_script_that_stops_keepalived_and_does_more_is_left_and_reported() {
    let script = "#!/bin/sh\ncurl -f http://127.0.0.1/ || systemctl stop keepalived\n";
    let done = Memory::with(WEB1_CHECKED).script("/etc/keepalived/ck_ng.sh", script).import();
    let finding = said(&done, "ck_ng.sh:2 stops keepalived");
    assert!(finding.advice.contains("process = ") && finding.advice.contains("restart = "), "{finding}");
    assert_eq!((finding.severity, done.exit_code(false), done.exit_code(true)), (Severity::Dropped, 1, 0));
}

#[test]
fn virtual_servers_are_reported_and_the_vip_part_is_kept() {
    let done = Memory::with(DIRECTOR).import();
    assert_eq!((plan(&done).vips.len(), done.exit_code(false), done.exit_code(true)), (1, 1, 0));
    let finding = said(&done, "virtual_server 192.168.189.145 80 is not served yet");
    assert_eq!((finding.file.as_path(), finding.line), (Path::new(CONF), 21));
    assert_eq!(
        finding.to_string().lines().next(),
        Some(format!("{CONF}:21: not taken over: {}", finding.text).as_str())
    );
}

#[test]
fn what_the_loader_is_given_it_accepts_for_every_fixture() {
    for text in [GATEWAY, TRAP, WEB1, WEB2, WEB1_CHECKED, DIRECTOR, EVERYTHING] {
        let done = Memory::with(text).script("/etc/keepalived/ck_ng.sh", CHECK_NGINX).import();
        plan(&done);
        assert_eq!(done, Memory::with(text).script("/etc/keepalived/ck_ng.sh", CHECK_NGINX).import());
    }
}

/// Most of what a vip can be told, in the order in which nobody writes it.
const EVERYTHING: &str = r#"
vrrp_sync_group G { group { A B }
  notify "/bin/echo 'a b' \"c\"" root
  smtp_alert
  track_interface { eth5 }
}
vrrp_instance A {
  interface eth0
  virtual_router_id 1
  priority 150
  advert_int 0.25
  version 3
  preempt_delay 4.5
  down_timer_adverts 5
  mcast_dst_ip 224.0.0.118
  virtual_ipaddress { 10.0.0.1/32 dev eth1
    10.0.0.2/24 brd + label eth0:1 }
  virtual_ipaddress_excluded { 2001:db8::1/64 }
  track_script { up weight 10
    down }
  track_process { nginx }
  garp_master_repeat 2
  garp_lower_prio_repeat 3
}
vrrp_instance B {
  interface eth0
  virtual_router_id 2
  priority 120
  native_ipv6
  unicast_peer { 2001:db8::21 min_ttl 250
    2001:db8::22 }
  virtual_ipaddress { fe80::9
    2001:db8::99/64 }
  track_file { drain weight 0 }
}
vrrp_instance C {
  interface eth0
  virtual_router_id 3
  priority 120
  virtual_ipaddress { 10.0.0.3 }
  track_script { up weight -30 }
  track_interface { eth0
    eth6 weight 15 }
  smtp_alert off
}
vrrp_script up { script "/bin/true" interval 2
  interval 2
  timeout 3
  rise 2
  fall 3
  init_fail
  user nobody
}
vrrp_script down { script "/bin/false x" }
vrrp_script unused { script "/bin/true" }
vrrp_track_process nginx { process /usr/sbin/nginx -g "daemon on;"
  quorum 2
  delay 0.45
}
track_file drain { file /run/drain }
garp_group { garp_interval 0.002
  interface eth0 }
global_defs { router_id "node one"
  notification_email { ops@example.com }
  smtp_server ::1 2525
  vrrp_startup_delay 5.5
  script_user nobody
  vrrp_garp_master_refresh 60
}
"#;

#[test]
fn every_keyword_with_a_meaning_here_arrives() {
    let done = Memory::with(EVERYTHING).import();
    for line in [
        "id = \"node-one\"",
        "start_delay = \"5500ms\"",
        "script_user = \"nobody\"",
        "smtp = \"[::1]:2525\"",
        "addrs = [{ addr = \"10.0.0.1\", interface = \"eth1\" }, \"10.0.0.2\"]",
        "unadvertised = [\"2001:db8::1\"]",
        "advert = \"250ms\"",
        "preempt_delay = \"4500ms\"",
        "down_adverts = 5",
        "multicast = \"224.0.0.118\"",
        "announce = { repeat = 2, interval = \"2ms\", delay_repeat = 2, refresh = \"60s\", lower_repeat = 3 }",
        "requires = [\"down\", \"eth5-up\", \"nginx\", \"up\"]",
        "requires = [\"drain\", \"eth5-up\"]",
        "unicast = [\"2001:db8::21\", \"2001:db8::22\"]",
        "check_source = true",
        "ttl_min = 250",
        "weights = [{ probe = \"up\", weight = -30 }, { probe = \"eth6-up\", weight = 15 }]",
        "process = \"nginx\"",
        "args = [\"-g\", \"daemon on;\"]",
        "fall = 5",
        "initial = \"down\"",
        "    { exec = [\"/bin/echo\", \"a b\", \"c\"], args = true, user = \"root\" },",
        "    { mail = true },",
    ] {
        assert!(done.toml.lines().any(|have| have == line), "no line `{line}` in\n{}", done.toml);
    }
    said(&done, "nothing tracks unused");
    said(&done, "keepalived sets the weights of a sync group's members to 0");
    let plan = plan(&done);
    let args = plan.groups[0].notify.iter().any(|n| matches!(n.how, NotifyHow::Exec { args: true, .. }));
    assert!(args, "`notify` gets TYPE NAME STATE PRIORITY");
}

#[test]
fn state_master_without_a_priority_is_the_owner_as_in_keepalived() {
    let done = instance("state MASTER\nnopreempt\nvirtual_ipaddress { 10.0.0.1 }");
    assert!(
        done.toml.contains("priority = 255\n") && !done.toml.contains("preempt = false"),
        "{}",
        done.toml
    );
    said(&done, "means 255");
    said(&done, "nopreempt is ignored");
}

#[test]
fn version_two_has_whole_seconds_and_version_three_no_password() {
    let done = instance("advert_int 1.5\nvirtual_ipaddress { 10.0.0.1 }");
    assert!(done.toml.contains("version = 2\n") && done.toml.contains("advert = \"2s\""), "{}", done.toml);
    let auth = "authentication { auth_type PASS\nauth_pass 123456789 }\nvirtual_ipaddress { 10.0.0.1 }";
    assert!(instance(auth).toml.contains("password = \"12345678\""));
    let done = instance(&format!("version 3\n{auth}"));
    assert!(!done.toml.contains("password"), "{}", done.toml);
    said(&done, "the password is left out");
    assert!(instance("virtual_ipaddress { fe80::1 }").toml.contains("version = 3"));
}

#[test]
fn refused_things_are_named_with_what_to_do_instead() {
    for (line, named) in [
        ("use_vmac", "use_vmac is refused"),
        ("use_ipvlan", "use_ipvlan is refused"),
        ("virtual_routes { default via 10.0.0.1 }", "virtual_routes is refused"),
        ("virtual_rules { from 10.0.0.0/8 table 1 }", "virtual_rules is refused"),
        ("authentication { auth_type AH\nauth_pass x }", "auth_type AH is refused"),
        ("dont_track_primary", "dont_track_primary is left out"),
        ("track_bfd { x }", "track_bfd is left out"),
        ("no_accept", "no_accept is left out"),
        ("old_unicast_checksum", "old_unicast_checksum is left out"),
        ("priorty 100", "knows no keyword `priorty`"),
    ] {
        let done = instance(&format!("{line}\nvirtual_ipaddress {{ 10.0.0.1 }}"));
        let finding = said(&done, named);
        assert!(!finding.advice.is_empty(), "{finding}");
        assert_eq!((finding.line, done.exit_code(false), done.exit_code(true)), (4, 1, 0), "{finding}");
    }
}

#[test]
fn a_typo_is_told_from_a_keyword_that_stands_in_the_wrong_block() {
    let done =
        instance("priorty 100\nrouter_id x\nfrobnicate { a\nb { c } }\nvirtual_ipaddress { 10.0.0.1 }");
    assert_eq!(said(&done, "`priorty`").advice, "did you mean `priority`?");
    assert!(said(&done, "`router_id`").advice.contains("global_defs"));
    assert_eq!(said(&done, "`frobnicate`").line, 6);
    assert_eq!(done.findings.len(), 3, "{:#?}", done.findings);
}

#[test]
fn defaults_that_are_written_out_are_accepted_in_silence() {
    let text = "global_defs {\n vrrp_garp_interval 0\n vrrp_gna_interval 0\n vrrp_garp_master_delay 5\n \
                vrrp_garp_lower_prio_repeat 5\n vrrp_version 2\n dynamic_interfaces\n enable_script_security\n}\n";
    let body = "vrrp_instance V {\n interface eth0\n virtual_router_id 5\n state BACKUP\n preempt\n accept\n \
                garp_lower_prio_delay 5\n virtual_ipaddress {\n 10.0.0.1/32\n }\n}\n";
    let done = Memory::with(&format!("{text}{body}")).import();
    assert_eq!(done.findings, [], "{}", done.toml);
    assert!(!done.toml.contains("announce"), "{}", done.toml);
}

#[test]
fn broken_files_are_refused_with_their_line() {
    for (text, line, named) in [
        ("vrrp_instance V\n interface eth0\n}\n", 1, "`vrrp_instance` has no `{`"),
        ("vrrp_instance V {\n interface eth0\n", 1, "is never closed"),
        ("global_defs {\n}\n}\n", 3, "extra `}`"),
        ("global_defs {\n router_id {\n }\n}\n", 2, "unexpected `{`"),
        ("global_defs {\n router_id \"a\n}\n", 2, "a quote is not closed"),
        ("global_defs {\n router_id ${ID}\n}\n", 2, "is not defined"),
        ("global_defs {\n vrrp_version 4\n}\n", 2, "vrrp_version 4 cannot be"),
        ("vrrp_instance V {\n}\nvrrp_instance V {\n}\n", 3, "is defined twice"),
        ("vrrp_instance V {\n track_script {\n x\n }\n}\n", 3, "x is tracked and not defined"),
        ("vrrp_sync_group G {\n group {\n x\n }\n}\n", 3, "there is no vrrp_instance x"),
        ("vrrp_instance V {\n virtual_ipaddress {\n 10.0.0.300\n }\n}\n", 3, "10.0.0.300 is not an address"),
        ("$A=${B}\n$B=${A}\nglobal_defs {\n router_id ${A}\n}\n", 4, "expand without end"),
        ("include keepalived.conf\n", 1, "goes round in a circle"),
    ] {
        let done = Memory::with(text).import();
        let finding = said(&done, named);
        assert_eq!((finding.line, finding.severity), (line, Severity::Error), "{finding}");
        assert!(!finding.advice.is_empty(), "{finding}");
        assert_eq!(done.exit_code(true), 1, "{named}");
    }
}

#[test]
fn a_file_that_is_missing_is_an_error_and_an_include_that_matches_nothing_a_note() {
    let done = import(Path::new("/none"), &Memory::default(), None);
    assert_eq!((done.exit_code(true), done.findings[0].line), (1, 1));
    let done = Memory::with("include conf.d/*.conf\n").import();
    assert_eq!((done.exit_code(false), done.findings[0].line), (0, 1));
}

#[test]
fn the_config_id_decides_conditions_and_the_host_name_stands_in_for_it() {
    let memory = Memory::with("global_defs {\n @main router_id one\n @two router_id two\n}\n");
    assert!(memory.import().toml.contains("id = \"one\""));
    assert!(import(Path::new(CONF), &memory, Some("two")).toml.contains("id = \"two\""));
    assert!(import(Path::new(CONF), &memory, Some("other")).findings[0].text.contains("\"other\""));
}

#[test]
fn included_files_are_read_in_name_order_and_findings_name_them() {
    let done = Memory::with("include conf.d/*.conf\n")
        .file("/etc/keepalived/conf.d/b.conf", "vrrp_instance B {\n bad\n}\n", 0o644)
        .file("/etc/keepalived/conf.d/a.conf", "vrrp_instance A {\n}\n", 0o644)
        .file("/etc/keepalived/conf.d/c.txt", "vrrp_instance C {\n}\n", 0o644)
        .import();
    let names: Vec<&str> = done.toml.lines().filter(|line| line.starts_with("name")).collect();
    assert_eq!(names, ["name = \"A\"", "name = \"B\""]);
    let finding = said(&done, "`bad`");
    assert_eq!((finding.file.as_path(), finding.line), (Path::new("/etc/keepalived/conf.d/b.conf"), 2));
}

#[test]
fn scripts_that_cannot_run_are_errors_and_those_that_sleep_too_long_are_told() {
    let conf =
        "global_defs { script_user nobody\n}\nvrrp_script s {\n script \"/opt/s.sh\"\n interval 2\n}\n";
    let body = "vrrp_instance V {\n interface eth0\n virtual_router_id 5\n virtual_ipaddress { 10.0.0.1 }\n \
                track_script { s }\n}\n";
    let with =
        |text: &str, mode| Memory::with(&format!("{conf}{body}")).file("/opt/s.sh", text, mode).import();
    assert_eq!(said(&with("#!/bin/sh\n", 0o644), "is not executable").severity, Severity::Error);
    assert_eq!(said(&with("exit 0\n", 0o755), "has no #! line").severity, Severity::Error);
    let done = with("#!/bin/sh\nsleep 5\n", 0o755);
    let finding = said(&done, "s.sh:2 sleeps 5 s, and the script is ended after 2 s");
    assert_eq!(finding.severity, Severity::Note);
    assert_eq!(with("#!/bin/sh\nsleep 1\n", 0o755).findings, []);
}

#[test]
fn a_program_without_a_path_is_given_the_one_that_is_found() {
    let conf = "vrrp_script s { script \"killall -0 nginx\"\n}\nvrrp_instance V {\n interface eth0\n \
                virtual_router_id 5\n virtual_ipaddress { 10.0.0.1 }\n track_script { s }\n}\n";
    let done = Memory::with(conf).file("/usr/sbin/killall", "\u{7f}ELF\0", 0o755).import();
    assert!(done.toml.contains("exec = [\"/usr/sbin/killall\", \"-0\", \"nginx\"]"), "{}", done.toml);
    said(&done, "killall is /usr/sbin/killall");
    let done = Memory::with(conf).import();
    assert!(done.toml.contains("exec = [\"/usr/bin/killall\""), "{}", done.toml);
    said(&done, "run as root");
}

#[test]
fn hostile_files_end_soon_and_say_why() {
    let bomb: String = (1..60).map(|n| format!("$A{n}=${{A{}}}${{A{}}}\n", n - 1, n - 1)).collect();
    let deep = format!("{}\n", "vrrp_instance a {".repeat(5000));
    let flood = "x y z\n".repeat(50_000);
    let words = format!("vrrp_sync_group g {{ group {{ {} }} }}\n", "a ".repeat(20_000));
    let dollars = format!("global_defs {{ router_id {} }}\n", "${a".repeat(20_000));
    let nested = "~SEQ(A,1,1000000) ~SEQ(B,1,1000000) ~SEQ(C,1,1000000) x\n".to_owned();
    let many: String = (0..2000).map(|n| format!("vrrp_instance v{n} {{\n}}\n")).collect();
    let tracks: String = (0..2000).map(|n| format!("eth{n}\n")).collect();
    let names: String = (0..2000).map(|n| format!("v{n}\n")).collect();
    let product =
        format!("{many}vrrp_sync_group g {{\ngroup {{\n{names}}}\ntrack_interface {{\n{tracks}}}\n}}\n");
    for text in [format!("$A0=x\n{bomb}${{A59}}\n"), deep, flood, words, dollars, nested, product] {
        let done = Memory::with(&text).import();
        assert_eq!(done.exit_code(false), 1, "{}", &text[..60]);
        assert!(done.findings.len() <= 1001 && done.toml.len() < 32 << 20, "{}", &text[..60]);
    }
}

#[test]
fn text_from_the_file_cannot_leave_its_string() {
    let done = instance(
        "notify_master \"/bin/echo \\\\x22]\\\\n[cluster]\\\\n ${HOME}\"\nvirtual_ipaddress { 10.0.0.1 }",
    );
    let plan = plan(&done);
    assert!(plan.commands.iter().any(|command| command.argv[0] == "/bin/echo"), "{}", done.toml);
    assert!(
        plan.commands.iter().any(|command| command.argv.contains(&"\"]\n[cluster]\n".to_owned())),
        "{plan:?}"
    );
    assert!(!done.toml.lines().any(|line| line.starts_with("[cluster]")), "{}", done.toml);
}

/// A vip with these lines in its block, from line 4 on.
fn instance(lines: &str) -> Import {
    let text = format!("vrrp_instance V {{\n interface eth0\n virtual_router_id 5\n{lines}\n}}\n");
    Memory::with(&text).import()
}

/// The finding whose text contains `part`.
fn said<'a>(done: &'a Import, part: &str) -> &'a Finding {
    let found = done.findings.iter().find(|finding| finding.text.contains(part));
    found.unwrap_or_else(|| panic!("nothing says `{part}`: {:#?}\n{}", done.findings, done.toml))
}

/// What our own loader makes of it.
fn plan(done: &Import) -> Plan {
    let env = |_: &str| None;
    match parse_str("mainstay.toml", &done.toml, &env, Checks::NONE) {
        Ok(loaded) => loaded.plan,
        Err(report) => panic!("{report}\n{}", done.toml),
    }
}

/// Files that need no disk.
#[derive(Default)]
struct Memory {
    files: BTreeMap<PathBuf, (String, u32)>,
}

impl Memory {
    fn with(conf: &str) -> Memory {
        let bin = ["/bin/true", "/bin/false", "/bin/echo"];
        bin.iter()
            .fold(Memory::default(), |all, path| all.file(path, "\u{7f}ELF\0", 0o755))
            .file(CONF, conf, 0o644)
    }

    fn file(mut self, path: &str, text: &str, mode: u32) -> Memory {
        self.files.insert(path.into(), (text.to_owned(), mode));
        self
    }

    fn script(self, path: &str, text: &str) -> Memory {
        self.file(path, text, 0o755)
    }

    fn import(&self) -> Import {
        import(Path::new(CONF), self, None)
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> Result<String, String> {
        self.files.get(path).map(|(text, _)| text.clone()).ok_or_else(|| "no such file".to_owned())
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        self.files.get(path).map(|(_, mode)| *mode)
    }

    fn list(&self, dir: &Path) -> Vec<PathBuf> {
        self.files.keys().filter(|path| path.parent() == Some(dir)).cloned().collect()
    }

    fn host(&self) -> String {
        "main".to_owned()
    }
}
