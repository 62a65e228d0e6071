//! Services that offer something through a tunnel, or reach one.

use mainstay_config::gost::Severity;

use super::{SEED_ID, file, line, loads, lost, said, toml};

const SEED_LINE: &str = "-L file://:8000 -L rtcp://:0/:8000 -F tunnel+ws://gost.local:80?tunnel.id=381433e1-7980-11ee-bbdb-60f262c1e32d";

#[test]
fn the_seeds_line_offers_the_folder_and_serves_it_at_its_port() {
    let done = line(SEED_LINE);
    let expected = r#"[[listener]]
name = "service-0"
bind = ":8000"

[[route]]
name = "service-0"
listener = "service-0"

[route.files]
root = "/srv/gost"
listing = true

[[agent]]
name = "chain-0"
hubs = ["gost+ws://gost.local:80"]

[[agent.offer]]
tunnel = "381433e1-7980-11ee-bbdb-60f262c1e32d"
files = "/srv/gost""#;
    assert_eq!(toml(&done), expected);
    assert_eq!((lost(&done), done.exit_code(false)), (vec![], 0));
    let finding = said(&done, "the tunnel offers the folder itself");
    assert_eq!((finding.file.display().to_string().as_str(), finding.line), ("arguments", 2));
    loads(&done);
    // As people copy it.
    assert_eq!(line(&format!("gost {SEED_LINE}")).toml, done.toml);
    assert_eq!(line(&SEED_LINE.replace("-L ", "-L=").replace("-F ", "--F=")).toml, done.toml);
}

#[test]
fn the_same_as_a_file_says_the_same() {
    let done = file(
        "services:\n- name: service-0\n  addr: :8000\n  handler: {type: file}\n  listener: {type: tcp}\n\
         - name: service-1\n  addr: :0\n  handler: {type: rtcp}\n  listener: {type: rtcp, chain: chain-0}\n  forwarder:\n    nodes:\n    - {name: target-0, addr: ':8000'}\n\
         chains:\n- name: chain-0\n  hops:\n  - name: hop-0\n    nodes:\n    - name: node-0\n      addr: gost.local:80\n      connector:\n        type: tunnel\n        metadata: {tunnel.id: 381433e1-7980-11ee-bbdb-60f262c1e32d}\n      dialer: {type: ws}\n",
    );
    assert_eq!(toml(&done), toml(&line(SEED_LINE)));
}

#[test]
fn carriers_paths_users_weights_and_hosts_of_ones_own_are_kept() {
    for (via, hub) in [
        ("tunnel://h:8443", "gost+tcp://h:8443"),
        ("tunnel+tcp://:8443", "gost+tcp://127.0.0.1:8443"),
        ("tunnel+ws://h:80?path=/ws", "gost+ws://h:80"),
        ("tunnel+ws://h:80?path=/a/b", "gost+ws://h:80/a/b"),
        ("tunnel+ws://[2001:db8::1]:80?ws.path=x", "gost+ws://[2001:db8::1]:80/x"),
    ] {
        let joint = if via.contains('?') { '&' } else { '?' };
        let done = line(&format!("-L rtcp://:0/web:80 -F {via}{joint}tunnelID={SEED_ID}"));
        assert!(done.toml.contains(&format!("hubs = [\"{hub}\"]")), "{via}: {}", done.toml);
        assert_eq!(lost(&done), [""; 0], "{via}");
        loads(&done);
    }
    let done = line(&format!(
        "-L rtcp://dash:0/10.0.0.1:80,10.0.0.2:80 -F tunnel://al%69ce:p%40ss@h:1,i:2?tunnel.id={SEED_ID}&tunnel.weight=255"
    ));
    let expected = format!(
        "[[agent]]\nname = \"chain-0\"\nhubs = [\"gost+tcp://h:1\", \"gost+tcp://i:2\"]\nuser = \"alice\"\npassword = \"p@ss\"\n\n\
         [[agent.offer]]\ntunnel = \"{SEED_ID}\"\nto = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\nweight = 255\nhost = \"dash\""
    );
    assert_eq!(toml(&done), expected);
    assert!(said(&done, "all its nodes are dialled at once").advice.is_empty());
    loads(&done);
    let done = line(&format!("-L rudp://:0/dns:53 -F tunnel://h:1?tunnel.id={SEED_ID}&auth=YWxpY2U6cHc="));
    assert!(done.toml.contains("to = [\"dns:53\"]\nudp = true"), "{}", done.toml);
    assert!(done.toml.contains("user = \"alice\"\npassword = \"pw\""), "{}", done.toml);
    loads(&done);
}

#[test]
fn offers_of_one_chain_are_one_agents_and_what_collides_is_anothers() {
    let done = line(&format!(
        "-L rtcp://:0/a:1 -L rudp://:0/a:2 -L rtcp://:0/b:1 -F tunnel://h:1?tunnel.id={SEED_ID}"
    ));
    let heads: Vec<&str> = done
        .toml
        .lines()
        .filter(|l| l.starts_with("[["))
        .map(|l| l.split(" #").next().unwrap_or(l))
        .collect();
    assert_eq!(heads, ["[[agent]]", "[[agent.offer]]", "[[agent.offer]]", "[[agent]]", "[[agent.offer]]"]);
    loads(&done);
}

#[test]
fn certificates_are_checked_where_they_were() {
    let way = format!("-L rtcp://:0/a:1 -F tunnel+wss://h:443?tunnel.id={SEED_ID}");
    let done = line(&way);
    assert!(done.toml.contains("verify = false"), "{}", done.toml);
    assert!(said(&done, "is not checked, as with gost").advice.contains("`ca`"));
    loads(&done);
    let done = line(&format!("{way}&secure=true"));
    assert!(!done.toml.contains("verify") && lost(&done).is_empty(), "{}", done.toml);
    let done = line(&format!("{way}&ca=ca.pem&servername=other&cert=c.pem&key=k.pem"));
    assert!(
        done.toml.contains("ca = \"/srv/gost/ca.pem\"") && !done.toml.contains("verify"),
        "{}",
        done.toml
    );
    assert_eq!(lost(&done).len(), 2, "{:#?}", done.findings);
}

#[test]
fn a_port_that_leads_through_a_chain_is_a_visit() {
    let done = line(&format!(
        "-L tcp://127.0.0.1:8022/ssh.home:22 -L udp://:53/dns:53 -F tunnel+ws://h:80?tunnel.id={SEED_ID}"
    ));
    let expected = format!(
        "[[visit]]\nname = \"chain-0\"\nhubs = [\"gost+ws://h:80\"]\n\n[[visit.tunnel]]\nid = \"{SEED_ID}\"\nlisten = \"127.0.0.1:8022\"\nhost = \"ssh.home:22\"\n\n\
         [[visit.tunnel]]\nid = \"{SEED_ID}\"\nlisten = \"[::]:53\"\nudp = true\nhost = \"dns:53\""
    );
    assert_eq!(toml(&done), expected);
    assert_eq!(lost(&done), [""; 0]);
    loads(&done);
}

#[test]
fn a_folder_with_a_password_is_not_offered_without_it() {
    let done = line(&format!(
        "-L file://u:p@:8000?dir=/srv/www -L rtcp://:0/:8000 -F tunnel://h:1?tunnel.id={SEED_ID}"
    ));
    assert!(done.toml.contains("to = [\"127.0.0.1:8000\"]"), "{}", done.toml);
    assert!(done.toml.contains("basic_auth = { file = "), "{}", done.toml);
    assert_eq!(said(&done, "its users are not in the TOML").severity, Severity::Dropped);
}

#[test]
fn ways_that_have_no_counterpart_are_left_out_as_a_whole() {
    let offer = "-L rtcp://:0/a:1";
    for (rest, says) in [
        (
            format!("-F tunnel+quic://h:1?tunnel.id={SEED_ID}"),
            "dialer `quic` of chain \"chain-0\" is not taken over",
        ),
        (
            format!("-F relay+tls://h:1?tunnel.id={SEED_ID}"),
            "connector `relay` of chain \"chain-0\" is not taken over",
        ),
        (format!("-F http://p:3128 -F tunnel://h:1?tunnel.id={SEED_ID}"), "has 2 hops"),
        ("-F tunnel://h:1".to_owned(), "names no tunnel"),
        (format!("-F tunnel://h?tunnel.id={SEED_ID}"), "\"h\" is no address of a server"),
        ("-F tunnel://h:1?tunnel.id=me".to_owned(), "\"me\" is no UUID"),
        (String::new(), "it names no chain"),
    ] {
        let done = line(&format!("{offer} {rest}"));
        let finding = said(&done, says);
        assert!(!finding.advice.is_empty() && finding.severity != Severity::Note, "{finding}");
        assert!(!done.toml.contains("[[agent"), "{}", done.toml);
        assert_eq!(done.exit_code(false), 1);
    }
    let done = line(&format!("-L socks5+rtcp://:0 -F tunnel://h:1?tunnel.id={SEED_ID}"));
    assert_eq!(lost(&done), ["service \"service-0\": a `socks5` offered through a tunnel is not taken over"]);
}
