//! Services without a tunnel: forwarded ports, folders, and what is left to gost.

use super::{file, line, loads, lost, said, toml};

#[test]
fn a_forwarded_port_is_a_listener_with_a_pool() {
    let done = line("-L tcp://:2222/10.0.0.1:22,10.0.0.2:22?strategy=fifo -L udp://127.0.0.1:53/9.9.9.9:53");
    let expected = r#"[[listener]]
name = "service-0"
bind = ":2222"
protocol = "tcp"
pool = "service-0"

[[listener]]
name = "service-1"
bind = "127.0.0.1:53"
protocol = "udp"
pool = "service-1"

[[pool]]
name = "service-0"
backends = ["10.0.0.1:22", { addr = "10.0.0.2:22", backup = true }]

[[pool]]
name = "service-1"
backends = ["9.9.9.9:53"]"#;
    assert_eq!((toml(&done).as_str(), lost(&done)), (expected, vec![]));
    loads(&done);
}

#[test]
fn ranges_of_ports_are_services_and_pair_with_their_targets() {
    let done = line("-L tcp://:8000-8001/a:1-2");
    let pools: Vec<&str> = done.toml.lines().filter(|line| line.starts_with("backends")).collect();
    assert_eq!(pools, ["backends = [\"a:1\"]", "backends = [\"a:2\"]"]);
    loads(&done);
}

#[test]
fn a_folder_is_served_with_listings() {
    let done = line("-L file://:8000?file.dir=www");
    assert!(done.toml.contains("[route.files]\nroot = \"/srv/gost/www\"\nlisting = true"), "{}", done.toml);
    assert_eq!(lost(&done), [""; 0]);
    loads(&done);
}

#[test]
fn proxies_and_whatever_else_gost_is_stay_with_gost() {
    let done = line("-L :1080 -L socks5+wss://:443 -L ss://aes-256-gcm:p@:8338");
    assert_eq!(
        lost(&done),
        [
            "service \"service-0\": handler `auto` over listener `tcp` is not taken over",
            "service \"service-1\": handler `socks5` over listener `wss` is not taken over",
            "service \"service-2\": handler `ss` over listener `tcp` is not taken over",
        ]
    );
    assert_eq!((done.exit_code(false), done.exit_code(true)), (1, 0));
}

#[test]
fn hosts_that_choose_a_target_by_looking_inside_are_told() {
    let done = file(
        "services:\n- name: https\n  addr: :443\n  handler: {type: tcp, metadata: {sniffing: true}}\n  listener: {type: tcp}\n  forwarder:\n    nodes:\n    - name: a\n      addr: a:443\n      filter: {host: a.example.com}\n    - {name: b, addr: 'b:443'}\n",
    );
    assert_eq!(said(&done, "`sniffing` is left out").line, 4);
    assert!(said(&done, "target a:443: `filter` is left out").advice.contains("[[route]]"));
    loads(&done);
}

#[test]
fn other_options_of_a_command_line_are_told() {
    let done = line("-L tcp://:1/a:1 -D -api :18080 -metrics :9000 -X");
    assert_eq!(lost(&done), ["-api is left out", "-metrics is left out", "-X is left out"]);
}

#[test]
fn a_file_of_a_command_line_is_read_beside_it() {
    let files = super::Memory(
        [(
            "/srv/gost/g.yml".into(),
            "services:\n- {name: f, addr: ':1', handler: {type: tcp}, forwarder: {nodes: [{addr: 'a:1'}]}}\n"
                .to_owned(),
        )]
        .into(),
    );
    let args = ["-C", "g.yml", "-L", "tcp://:2/b:2"].map(str::to_owned);
    let done = mainstay_config::gost::import_line(&args, &files, &super::options());
    assert!(done.toml.contains("bind = \":1\"") && done.toml.contains("bind = \":2\""), "{}", done.toml);
    let args = ["-C", "none.yml"].map(str::to_owned);
    let done = mainstay_config::gost::import_line(&args, &files, &super::options());
    assert_eq!(lost(&done), ["/srv/gost/none.yml cannot be read: no such file"]);
}
