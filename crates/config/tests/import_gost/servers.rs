//! Services with handler `tunnel`.

use mainstay_config::gost::{Options, Severity, import};

use super::{CONF, Memory, beside, file, line, loads, lost, options, said, toml};

const SEED: &str = include_str!("../../../../examples/001-gost-tunnel/gost.yaml");

const SEED_TOML: &str = r#"[[listener]]
name = "service-0"
bind = ":8421"
protocol = "hub"
compat = "gost"

[[listener]]
name = "service-0-entrypoint"
bind = ":80"
protocol = "http"
compat = "gost"

[gost]
ingress = "grpc://ingress-plugin:8000"
hosts = "any"
sd = "grpc://sd-plugin:8000"
tunnels = "any""#;

#[test]
fn the_seeds_server_keeps_its_two_ports_and_its_plugins() {
    let done = file(SEED);
    assert_eq!(toml(&done), SEED_TOML);
    assert_eq!((lost(&done), done.exit_code(false)), (vec![], 0));
    loads(&done);
    let log = said(&done, "`log` is left out");
    assert_eq!((log.line, log.severity), (22, Severity::Note));
}

#[test]
fn the_seeds_manifests_are_read_as_they_are_and_say_the_domain() {
    let inside: String = SEED.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: tunnel\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: gost-tunnel\ndata:\n  gost.yaml: |\n{inside}---\napiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n      - name: plugin\n        args:\n        - ingress\n        - --addr=:8000\n        - --domain=gost.local\n"
    );
    let done = file(&text);
    assert!(toml(&done).contains("[hub]\ndomain = \"gost.local\""), "{}", done.toml);
    assert_eq!(said(&done, "`log` is left out").line, 11 + 22, "the line is the manifest's");
    assert!(done.toml.contains("bind = \":8421\""));
    loads(&done);
    let done = file("apiVersion: v1\nkind: Service\n");
    assert_eq!(lost(&done), ["no ConfigMap of these manifests has a configuration of gost"]);
}

#[test]
fn a_domain_that_is_told_becomes_the_hubs() {
    let files = Memory([(CONF.into(), SEED.to_owned())].into());
    let options = Options { domain: Some("gost.local".to_owned()), ..options() };
    let done = import(CONF.as_ref(), &files, &options);
    assert!(toml(&done).contains("[hub]\ndomain = \"gost.local\""), "{}", done.toml);
    loads(&done);
}

const RULES: &str = r#"
services:
- name: front
  addr: 0.0.0.0:8443
  handler:
    type: tunnel
    auther: staff
    metadata:
      entrypoint: ":80"
      entryPoint.ID: 4b7f1eb8-6a4d-4f14-9d1c-0a9b1a3f6a11
      tunnel.direct: true
      tunnel.ttl: 30s
      ingress: hosts
  listener:
    type: wss
    tls: {certFile: cert.pem, keyFile: /etc/ssl/key.pem}
ingresses:
- name: hosts
  rules:
  - {hostname: .Example.com, endpoint: 4D21094E-B74C-4916-86C1-D9FA36EA677B}
  - {hostname: example.org, endpoint: ac74d9dd-3125-442a-a7c1-f9e49e05faca}
  - {hostname: www.example.org, endpoint: ac74d9dd-3125-442a-a7c1-f9e49e05faca}
  - {hostname: ssh.example.org, endpoint: $aede1f6a-762b-45da-b937-b6632356555a}
  - {hostname: "*.twice.net", endpoint: 11111111-1111-1111-1111-111111111111}
  - {hostname: .twice.net, endpoint: 22222222-2222-2222-2222-222222222222}
  - {hostname: bad.example.org, endpoint: somewhere}
authers:
- name: staff
  auths:
  - {username: alice, password: "s3cret ${x}"}
  file: {path: users.txt}
"#;

#[test]
fn rules_become_tunnels_and_authers_become_users() {
    let done = beside(RULES, &[("/srv/gost/users.txt", "# staff\nbob  hunter2\n\n")]);
    let expected = r#"[[listener]]
name = "front"
bind = "0.0.0.0:8443"
protocol = "hub"
compat = "gost"
tls = [{ cert = "/srv/gost/cert.pem", key = "/etc/ssl/key.pem" }]

[[listener]]
name = "front-entrypoint"
bind = ":80"
protocol = "http"
compat = "gost"

[[tunnel]]
id = "4d21094e-b74c-4916-86c1-d9fa36ea677b"
gost = true
listener = "front-entrypoint"
hosts = ["example.com", "*.example.com"]

[[tunnel]]
id = "ac74d9dd-3125-442a-a7c1-f9e49e05faca"
gost = true
listener = "front-entrypoint"
hosts = ["example.org", "www.example.org"]

[[tunnel]]
id = "aede1f6a-762b-45da-b937-b6632356555a"
gost = true
private = true

[[tunnel]]
id = "22222222-2222-2222-2222-222222222222"
gost = true
listener = "front-entrypoint"
hosts = ["twice.net", "*.twice.net"]

[gost]
users = [{ name = "alice", password = "s3cret $${x}" }, { name = "bob", password = "hunter2" }]
entrypoint = "4b7f1eb8-6a4d-4f14-9d1c-0a9b1a3f6a11"
direct = true
tunnels = "any""#;
    // `tunnel.ttl` says something to plugins alone.
    assert_eq!(toml(&done), expected);
    assert_eq!(lost(&done), [""; 0]);
    assert!(said(&done, "ssh.example.org leads to the private tunnel").text.contains("not taken over"));
    assert!(said(&done, "a later rule for *.twice.net holds").advice.is_empty());
    assert_eq!(said(&done, "\"somewhere\" is no id of a tunnel").line, 26);
    loads(&done);
}

#[test]
fn rules_of_a_command_line_are_rules_and_no_other_tunnel_is_taken() {
    let done = line(
        "-L tunnel://:8443?entrypoint=:80&tunnel=.example.com:4d21094e-b74c-4916-86c1-d9fa36ea677b,x.org:ac74d9dd-3125-442a-a7c1-f9e49e05faca",
    );
    assert!(done.toml.contains("hosts = [\"example.com\", \"*.example.com\"]"), "{}", done.toml);
    assert!(!done.toml.contains("tunnels ="), "{}", done.toml);
    assert_eq!(lost(&done), [""; 0]);
    loads(&done);
}

#[test]
fn http_plugins_tls_tokens_and_timeouts_are_kept() {
    let done = file(
        "services:\n- addr: :8421\n  handler:\n    type: tunnel\n    metadata: {entrypoint: ':80', sd: s, ingress: i, tunnel.ttl: 20}\n  listener: {type: tcp}\n\
         sds:\n- name: s\n  plugin: {type: http, addr: 'http://127.0.0.1:8000/sd', token: one, timeout: 500ms}\n\
         ingresses:\n- name: i\n  plugin: {addr: 'plugin:8001', token: two, tls: {secure: true}}\n",
    );
    for says in [
        "sd = \"http://127.0.0.1:8000/sd\"",
        "ingress = \"grpcs://plugin:8001\"",
        "timeout = \"500ms\"",
        "renew = \"20s\"",
    ] {
        assert!(done.toml.contains(says), "{says}: {}", done.toml);
    }
    assert_eq!(lost(&done), ["sd \"s\": `token` differs from the other plugin's: one holds for both"]);
    assert_eq!(done.exit_code(false), 1);
    loads(&done);
}

#[test]
fn a_door_whose_users_are_not_known_stays_shut() {
    for (auther, says) in [
        ("redis: {addr: ':6379'}", "nobody of its authers is known"),
        ("auths: [{username: alice}]", "user alice has no password"),
        ("file: {path: /nowhere}", "/nowhere cannot be read"),
    ] {
        let text = format!(
            "services:\n- name: s\n  addr: :8421\n  handler: {{type: tunnel, auther: a}}\nauthers:\n- name: a\n  {auther}\n"
        );
        let done = file(&text);
        assert_eq!(said(&done, says).severity, Severity::Dropped, "{auther}");
        assert!(!done.toml.contains("[[listener]]"), "{}", done.toml);
        assert_eq!((done.exit_code(false), done.exit_code(true)), (1, 0));
    }
    let done = file("services:\n- addr: :8421\n  handler: {type: tunnel, auther: a}\n");
    assert!(!done.toml.contains("[[listener]]") && done.exit_code(true) == 1, "{}", done.toml);
}

#[test]
fn a_second_service_with_other_users_is_not_opened_by_the_first() {
    let done = file(
        "services:\n- {name: a, addr: ':1', handler: {type: tunnel}}\n- {name: b, addr: ':2', handler: {type: tunnel, auth: {username: u, password: p}}}\n- {name: c, addr: ':3', handler: {type: tunnel}, listener: {type: ws}}\n",
    );
    let names: Vec<&str> = done.toml.lines().filter(|line| line.starts_with("name")).collect();
    assert_eq!(names, ["name = \"a\"", "name = \"c\""], "{}", done.toml);
    assert_eq!(
        lost(&done),
        ["service \"b\": users differ from the first tunnel service's, which hold for all"]
    );
    loads(&done);
}

#[test]
fn carriers_that_are_not_spoken_and_certificates_that_are_made_up_are_told() {
    let done = file("services:\n- {name: q, addr: ':1', handler: {type: tunnel}, listener: {type: quic}}\n");
    assert_eq!(lost(&done), ["service \"q\": tunnels over listener `quic` are not taken over"]);
    assert_eq!(done.findings[0].line, 2);
    let done = file("services:\n- {name: t, addr: ':1', handler: {type: tunnel}, listener: {type: tls}}\n");
    let finding = said(&done, "it names no certificate");
    assert!(finding.advice.contains("openssl req") && done.exit_code(false) == 1, "{finding}");
    assert!(done.toml.contains("/etc/mainstay/gost.crt"), "{}", done.toml);
    let shared = file(
        "services:\n- {name: t, addr: ':1', handler: {type: tunnel}, listener: {type: tls}}\ntls: {certFile: /c, keyFile: /k}\n",
    );
    assert!(shared.toml.contains("cert = \"/c\"") && lost(&shared).is_empty(), "{}", shared.toml);
}

#[test]
fn what_is_not_taken_over_is_named_with_its_line_and_what_to_do() {
    let done = file(
        "services:\n- name: s\n  addr: :8421\n  admission: lan\n  limiter: l\n  handler:\n    type: tunnel\n    metadata:\n      mux.version: 1\n      mux.keepaliveInterval: 5s\n      entrypoint.ProxyProtocol: 1\n      wings: 2\n  metadata:\n    interface: eth0\napi:\n  addr: :18080\nrouters:\n- name: r\n",
    );
    let lines: Vec<(u32, Severity)> = done.findings.iter().map(|f| (f.line, f.severity)).collect();
    let d = Severity::Dropped;
    let n = Severity::Note;
    let expected = [(2, n), (4, d), (5, d), (9, d), (10, n), (11, d), (12, d), (14, d), (15, d), (17, d)];
    assert_eq!(lines, expected, "{:#?}", done.findings);
    assert!(said(&done, "`wings` is not understood").advice.contains("gost's documentation"));
    assert!(done.findings.iter().filter(|f| f.severity == d).all(|f| !f.advice.is_empty()));
    loads(&done);
}
