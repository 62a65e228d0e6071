//! The files that people have: a pair of web servers, and a pair of gateways in a cloud, imported as they stand. What
//! their authors describe is what happens.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mainstay_lab::peer::{Keeper, Mainstay, Nginx};
use mainstay_lab::probe::{AdvertWatch, fetch};
use mainstay_lab::{Fault, Host, Lab, Segment, process, wait_until};
use rustix::process::{Signal, kill_process};

use crate::bed::{Ground, Kind, LIMIT, Member, Pair, mainstay, said};
use crate::boxed;

const WEB1: &str = include_str!("../../../config/tests/keepalived/web1.conf");
const WEB2: &str = include_str!("../../../config/tests/keepalived/web2.conf");
const WEB1_CHECKED: &str = include_str!("../../../config/tests/keepalived/web1-checked.conf");
const CK_NG: &str = include_str!("../../../config/tests/keepalived/ck_ng.sh");
const GATEWAY: &str = include_str!("../../../config/tests/keepalived/gateway.conf");
const TRAP: &str = include_str!("../../../config/tests/keepalived/trap.conf");
const VIP: &str = "192.168.189.150";

/// Two servers and a browser's host on one segment.
struct Servers {
    hosts: [Host; 2],
    browser: Host,
    _lan: Segment,
    _lab: Lab,
}

impl Servers {
    fn lay() -> Result<Self> {
        let lab = Lab::new("servers")?;
        let lan = lab.segment("lan")?;
        let plugged = |name: &str, number: u8| -> Result<Host> {
            let host = lab.host(name)?;
            host.plug(&lan, "ens33", &[&format!("192.168.189.{number}/24")])?;
            Ok(host)
        };
        let hosts = [plugged("server1", 148)?, plugged("server2", 149)?];
        let browser = plugged("browser", 9)?;
        Ok(Self { hosts, browser, _lan: lan, _lab: lab })
    }

    /// Waits until the page behind the vip is this one.
    fn shows(&self, page: &str) -> Result<()> {
        let target = SocketAddr::new(VIP.parse()?, 80);
        wait_until(&format!("the page is {page}"), LIMIT, || {
            Ok(self.browser.run(|| fetch(target, Duration::from_millis(300)))?? == page)
        })
    }
}

#[test]
fn the_page_of_two_web_servers_flips_when_one_loses_its_network_and_back() {
    mainstay_lab::test(|| {
        let servers = Servers::lay()?;
        let pages = ["web1", "web2"];
        let start = |number: usize, conf: &str| -> Result<(Nginx, Member)> {
            let nginx = Nginx::start(&servers.hosts[number], pages[number])?;
            let mut member = Member::start(&servers.hosts[number], Kind::Mainstay, conf)?;
            member.node.interface = "ens33".into();
            Ok((nginx, member))
        };
        let (_nginx1, server1) = start(0, WEB1)?;
        let (_nginx2, _server2) = start(1, WEB2)?;
        servers.shows("web1")?;
        for fault in [Fault::Isolation, Fault::LinkDown] {
            let damage = fault.strike(&server1.node)?;
            servers.shows("web2")?;
            damage.heal()?;
            servers.shows("web1")?;
        }
        Ok(())
    });
}

/// A web server like the author's: its own /etc, its own `service nginx start`.
struct Server {
    mainstay: Mainstay,
    host: Host,
}

impl Server {
    fn start(host: &Host, conf: &str, page: &str) -> Result<Self> {
        let boxed = boxed::build(
            host,
            &[("etc/keepalived/keepalived.conf", conf), ("etc/keepalived/ck_ng.sh", CK_NG)],
        )?;
        boxed::put_nginx(host, page)?;
        let output =
            Mainstay::ctl_on(host, &boxed, &["import", "keepalived", "/etc/keepalived/keepalived.conf"])?;
        ensure!(output.status.success(), "{}", said(&output));
        let findings = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(findings.contains("ck_ng.sh:11 stops keepalived"), "{findings}");
        let toml = String::from_utf8(output.stdout)?;
        ensure!(toml.contains("process = \"nginx\"") && toml.contains("restart = {"), "{toml}");
        Ok(Self { mainstay: Mainstay::start(host, &boxed, &toml)?, host: host.clone() })
    }

    /// All nginx processes of this server.
    fn nginx(&self) -> Result<Vec<rustix::process::Pid>> {
        let tree = self.mainstay.daemon().tree()?;
        Ok(tree.into_iter().filter(|pid| is_nginx(&process::command_line(*pid))).collect())
    }

    fn stop_nginx(&self) -> Result<()> {
        self.nginx()?.into_iter().try_for_each(|pid| Ok(kill_process(pid, Signal::KILL)?))
    }

    fn restarts(&self) -> Result<u64> {
        self.mainstay.status_json()?["probes"][0]["restarts"].as_u64().context("restarts are counted")
    }

    /// Waits until the service has outlived the wait of its restart, which may then be tried again.
    fn proves_itself(&self) -> Result<()> {
        const WAIT_AND_A_CHECK: u64 = 7_100_000_000;
        self.mainstay.wait_until("nginx has run for a while", LIMIT, |status| {
            let probe = &status["probes"][0];
            let at = |field: &str| probe[field].as_u64().unwrap_or_default();
            probe["verdict"] == "up" && at("checked") > at("since") + WAIT_AND_A_CHECK
        })
    }
}

/// `nginx: master process ...`, or the program itself where it works in one process.
fn is_nginx(command_line: &str) -> bool {
    let program = command_line.split([' ', ':']).next().unwrap_or_default();
    program.rsplit('/').next() == Some("nginx")
}

#[test]
fn a_stopped_nginx_is_started_again_without_a_move_and_a_broken_one_moves_the_vip() {
    mainstay_lab::test(|| {
        let servers = Servers::lay()?;
        let conf2 = WEB1_CHECKED.replace("priority 100", "priority 99").replace(".148", ".149");
        // Each finds its nginx stopped, and starts it: the author's script would, if it were not ended first.
        let server1 = Server::start(&servers.hosts[0], WEB1_CHECKED, "web1")?;
        server1.mainstay.wait_for_state("VI_1", "active", LIMIT)?;
        let server2 = Server::start(&servers.hosts[1], &conf2, "web2")?;
        server2.mainstay.wait_for_state("VI_1", "backup", LIMIT)?;
        servers.shows("web1")?;

        server1.proves_itself()?;
        let (epoch, restarts) = (server1.mainstay.vip("VI_1")?["epoch"].clone(), server1.restarts()?);
        server1.stop_nginx()?;
        server1.mainstay.daemon().wait_until("nginx runs again", LIMIT, || {
            Ok(server1.restarts()? > restarts && !server1.nginx()?.is_empty())
        })?;
        servers.shows("web1")?;
        let vip = server1.mainstay.vip("VI_1")?;
        ensure!(vip["state"] == "active" && vip["epoch"] == epoch, "it moved: {vip:#}");

        fs::remove_file(server1.host.directory().join("etc/nginx/nginx.conf"))?;
        server1.stop_nginx()?;
        servers.shows("web2")?;
        let vip = server1.mainstay.vip("VI_1")?;
        ensure!(vip["state"] == "fault" && vip["reason"]["kind"] == "probe-down", "{vip:#}");

        boxed::put_nginx(&server1.host, "web1")?;
        boxed::run_inside(server1.mainstay.daemon(), &["service", "nginx", "start"])?;
        servers.shows("web1")
    });
}

/// The gateways' file for a node, its scripts in a folder of the host's, with what the check script looks at.
fn gateway(text: &str, host: &Host, number: usize, priority: u8) -> Result<String> {
    let folder = host.directory().join("scripts");
    fs::create_dir_all(&folder)?;
    let well = well(host);
    fs::write(&well, "")?;
    script(&folder.join("check_nginx.sh"), &format!("test -e {}\n", well.display()))?;
    script(&folder.join("keepalived_notify.sh"), &format!("echo $1 >> {}\n", told(host).display()))?;
    let [own, other] = [number, 1 - number].map(|number| format!("10.0.4.{}", number + 1));
    Ok(text
        .replace("/etc/keepalived", &folder.to_string_lossy())
        .replace("10.0.4.21", &own)
        .replace("10.0.4.20", &other)
        .replace("priority 50", &format!("priority {priority}")))
}

fn script(path: &Path, body: &str) -> Result<()> {
    fs::write(path, format!("#!/bin/sh\n{body}"))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// The file whose presence means that all is well.
fn well(host: &Host) -> PathBuf {
    host.directory().join("well")
}

/// Where the notify script writes.
fn told(host: &Host) -> PathBuf {
    host.directory().join("told")
}

/// The words that the notify script got.
fn words(host: &Host) -> String {
    fs::read_to_string(told(host)).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Longer than a backup that meant to take over would wait.
const STAYS: Duration = Duration::from_secs(5);

#[test]
fn a_gateway_whose_check_fails_gives_the_vip_up_and_does_not_take_it_back() {
    mainstay_lab::test(|| {
        let ground = Ground::lay("gateway")?;
        let confs = [gateway(GATEWAY, &ground.hosts[0], 0, 100)?, gateway(GATEWAY, &ground.hosts[1], 1, 50)?];
        let pair = Pair::start(ground, "10.0.4.99", [Kind::Mainstay; 2], |number| confs[number].clone())?;
        let [first, second] = &pair.members;
        let (one, two) = (&first.node.host, &second.node.host);
        let ours = first.mainstay.as_ref().expect("it is ours");

        fs::remove_file(well(one))?;
        pair.settles_on(1)?;
        let vip = ours.vip("VI_1")?;
        ensure!(vip["state"] == "fault" && vip["reason"]["kind"] == "probe-down", "{vip:#}");

        fs::write(well(one), "")?;
        ours.wait_for_state("VI_1", "backup", LIMIT)?;
        pair.client.wait_for_steady("two", STAYS, LIMIT)?;

        Fault::Stop.strike(&second.node)?.heal()?;
        pair.settles_on(0)?;
        wait_until("every change was told", LIMIT, || {
            Ok(words(one) == "BACKUP MASTER FAULT BACKUP MASTER" && words(two) == "BACKUP MASTER STOP BACKUP")
        })
        .with_context(|| format!("one was told {:?}, two {:?}", words(one), words(two)))
    });
}

#[test]
fn the_weight_that_never_moves_keepalived_is_reported_and_moves_us() {
    mainstay_lab::test(|| {
        let ground = Ground::lay("trap")?;
        let confs = [gateway(TRAP, &ground.hosts[0], 0, 60)?, gateway(TRAP, &ground.hosts[1], 1, 50)?];
        let path = ground.hosts[0].directory().join("keepalived.conf");
        fs::write(&path, &confs[0])?;
        let output = mainstay(&ground.hosts[0], &["import", "keepalived", &path.to_string_lossy()])?;
        let told = said(&output);
        let line =
            confs[0].lines().position(|line| line.trim() == "checkhaproxy").context("it is tracked")? + 1;
        ensure!(output.status.success() && told.contains("requires = [\"checkhaproxy\"]"), "{told}");
        ensure!(told.contains(&format!("keepalived.conf:{line}: weight -20 of checkhaproxy")), "{told}");
        ensure!(told.contains("can never cause a failover"), "{told}");

        let pair = Pair::start(ground, "10.0.4.99", [Kind::Mainstay; 2], |number| confs[number].clone())?;
        fs::remove_file(well(&pair.members[0].node.host))?;
        pair.settles_on(1)
    });
}

#[test]
fn keepalived_itself_stays_where_it_is_under_that_weight() {
    mainstay_lab::test(|| {
        let ground = Ground::lay("weight")?;
        let confs = [gateway(TRAP, &ground.hosts[0], 0, 60)?, gateway(TRAP, &ground.hosts[1], 1, 50)?];
        let watch = AdvertWatch::start(&ground.lab, &ground.lan)?;
        let pair = Pair::start(ground, "10.0.4.99", [Kind::Keepalived; 2], |number| confs[number].clone())?;
        fs::remove_file(well(&pair.members[0].node.host))?;
        let lowered = || watch.adverts().iter().filter(|advert| advert.priority == 40).count();
        // More adverts with the lower priority than a backup would have to miss.
        wait_until("it advertises its lower priority for a while", LIMIT, || Ok(lowered() > 5))?;
        ensure!(!watch.adverts().iter().any(|advert| advert.priority == 50), "the backup took over");
        pair.settles_on(0)
    });
}
