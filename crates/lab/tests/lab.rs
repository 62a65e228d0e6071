//! The lab itself: nothing is left behind, cuts cut what they name, and root is not needed.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use mainstay_lab::peer::Nginx;
use mainstay_lab::probe::{Echo, HttpClient, UdpClient, Web, fetch};
use mainstay_lab::{Daemon, Host, Lab, Segment, Way, partition, process, wait_until};

const LIMIT: Duration = Duration::from_secs(10);

/// Three hosts `a`, `b`, `c` at 10.0.4.1 to .3 and fd00:4::1 to ::3.
fn three() -> Result<(Lab, Segment, [Host; 3])> {
    let lab = Lab::new("three")?;
    let lan = lab.segment("lan")?;
    let plugged = |name: &str, number: u8| -> Result<Host> {
        let host = lab.host(name)?;
        host.plug(&lan, "eth0", &[&format!("10.0.4.{number}/24"), &format!("fd00:4::{number}/64")])?;
        Ok(host)
    };
    let hosts = [plugged("a", 1)?, plugged("b", 2)?, plugged("c", 3)?];
    Ok((lab, lan, hosts))
}

fn reaches(from: &Host, to: &str) -> bool {
    from.output("ping", &["-c1", "-W1", "-i0.2", to]).is_ok()
}

fn left_of(pid: u32) -> Vec<String> {
    let folders =
        [Path::new("/run/netns"), Path::new("/dev/shm"), &std::env::temp_dir()].map(std::fs::read_dir);
    let entries = folders.into_iter().flatten().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&format!("mainstay-lab-{pid}-"))).collect()
}

#[test]
fn hosts_of_a_segment_reach_each_other_over_both_families_at_once() {
    mainstay_lab::test(|| {
        let (_lab, _lan, [a, _b, _c]) = three()?;
        assert!(reaches(&a, "10.0.4.2"));
        assert!(reaches(&a, "fd00:4::3"));
        Ok(())
    });
}

#[test]
fn a_partition_parts_two_sides_and_a_third_host_sees_both() {
    mainstay_lab::test(|| {
        let (_lab, _lan, [a, b, c]) = three()?;
        let cut = partition(&a.ports(), &b.ports())?;
        assert!(!reaches(&a, "10.0.4.2") && !reaches(&b, "10.0.4.1"));
        assert!(reaches(&c, "10.0.4.1") && reaches(&c, "10.0.4.2"));
        cut.heal()?;
        // A neighbour that was asked for in vain is asked for again once a second.
        wait_until("a reaches b again", Duration::from_secs(10), || Ok(reaches(&a, "10.0.4.2")))
    });
}

#[test]
fn a_one_way_cut_loses_what_is_sent_and_keeps_what_is_heard() {
    mainstay_lab::test(|| {
        let (_lab, _lan, [a, b, _c]) = three()?;
        // Neighbours are known before the cut, so that only the datagrams themselves are stopped.
        assert!(reaches(&a, "10.0.4.2"));
        let at_a = a.run(|| std::net::UdpSocket::bind("10.0.4.1:9000"))??;
        let at_b = b.run(|| std::net::UdpSocket::bind("10.0.4.2:9000"))??;
        for socket in [&at_a, &at_b] {
            socket.set_read_timeout(Some(Duration::from_millis(300)))?;
        }
        let cut = a.port("eth0")?.isolate(Way::Out)?;
        at_a.send_to(b"lost", "10.0.4.2:9000")?;
        at_b.send_to(b"heard", "10.0.4.1:9000")?;
        let mut buffer = [0; 16];
        assert_eq!(at_a.recv(&mut buffer)?, 5);
        assert!(at_b.recv(&mut buffer).is_err());
        cut.heal()
    });
}

#[test]
fn loss_by_chance_loses_some_and_not_all() {
    mainstay_lab::test(|| {
        let (_lab, _lan, [a, b, _c]) = three()?;
        let target: SocketAddr = "10.0.4.2:7777".parse()?;
        let _echo = Echo::start(&b, target)?;
        let client = UdpClient::start(&a, target, Duration::from_millis(1))?;
        client.wait_for("b", LIMIT)?;
        let cut = b.port("eth0")?.lose(30, Way::In)?;
        let from = std::time::Instant::now();
        wait_until("a thousand requests are sent", LIMIT, || {
            Ok(client.record().requests(&(from..std::time::Instant::now())) > 1000)
        })?;
        cut.heal()?;
        let record = client.stop();
        let lost = record.lost(&(from..std::time::Instant::now()));
        assert!((100..600).contains(&lost), "{lost} lost");
        Ok(())
    });
}

#[test]
fn an_echo_waits_for_an_address_of_either_family_that_comes_later() {
    mainstay_lab::test(|| {
        let (_lab, _lan, [a, b, _c]) = three()?;
        for (addr, add) in [("10.0.4.99", "10.0.4.99/32"), ("fd00:4::99", "fd00:4::99/128")] {
            let target = SocketAddr::new(addr.parse()?, 7777);
            let _echo = Echo::start(&b, target)?;
            let client = UdpClient::start(&a, target, Duration::from_millis(2))?;
            assert!(client.last().is_none());
            b.ip(&format!("addr add {add} dev eth0{}", if addr.contains(':') { " nodad" } else { "" }))?;
            client.wait_for("b", LIMIT)?;
        }
        Ok(())
    });
}

#[test]
fn nginx_and_our_own_web_serve_their_page() {
    mainstay_lab::test(|| {
        let (_lab, _lan, [a, b, c]) = three()?;
        let nginx = Nginx::start(&b, "from nginx")?;
        let _web = Web::start(&c, "10.0.4.3:80".parse()?, "from us")?;
        let get = |addr: &'static str| {
            let target = SocketAddr::new(addr.parse().expect("an address"), 80);
            a.run(move || fetch(target, Duration::from_secs(1)))
        };
        nginx.daemon().wait_until("it serves", LIMIT, || Ok(get("10.0.4.2")?? == "from nginx"))?;
        assert_eq!(get("10.0.4.3")??, "from us");
        let client = HttpClient::start(
            &a,
            "10.0.4.2:80".parse()?,
            Duration::from_millis(10),
            Duration::from_millis(100),
        )?;
        nginx.daemon().kill_all()?;
        wait_until("a fetch fails", LIMIT, || Ok(client.fetches().failures() > 0))?;
        assert!(
            client
                .stop()
                .all
                .iter()
                .filter_map(|(_, page)| page.as_ref().ok())
                .all(|page| page == "from nginx")
        );
        Ok(())
    });
}

#[test]
fn killing_a_daemon_kills_children_that_left_its_process_group() {
    mainstay_lab::test(|| {
        let (_lab, _lan, [a, _b, _c]) = three()?;
        let daemon =
            Daemon::new(&a, "family", "sh").args(["-c", "setsid sleep 600 & setsid sleep 601 & wait"]);
        daemon.start()?;
        wait_until("its children run", LIMIT, || Ok(daemon.tree()?.len() == 3))?;
        let family = daemon.tree()?;
        daemon.kill_all()?;
        wait_until("all are dead", LIMIT, || Ok(!family.iter().any(|pid| process::alive(*pid))))
    });
}

#[test]
fn a_dropped_lab_leaves_no_namespace_no_file_and_no_process() {
    mainstay_lab::test(|| {
        let (lab, _lan, [a, b, c]) = three()?;
        let daemon = Daemon::new(&a, "orphan", "sh").args(["-c", "setsid sleep 602 >/dev/null & echo $!"]);
        daemon.start()?;
        wait_until("the orphan's number is known", LIMIT, || Ok(daemon.log().trim().parse::<i32>().is_ok()))?;
        let orphan = rustix::process::Pid::from_raw(daemon.log().trim().parse()?).context("a pid")?;
        assert!(process::alive(orphan));
        let names: Vec<String> =
            [&a, &b, &c, lab.switch()].iter().map(|host| host.namespace().to_owned()).collect();
        let directory = lab.directory().to_owned();
        drop(lab);
        assert!(names.iter().all(|name| !Path::new("/run/netns").join(name).exists()));
        assert!(!directory.exists());
        wait_until("the orphan is dead", LIMIT, || Ok(!process::alive(orphan)))
    });
}

#[test]
fn a_panic_removes_the_lab_all_the_same() {
    mainstay_lab::test(|| {
        let (sender, names) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let (lab, _lan, _hosts) = three().expect("a lab");
            sender.send(lab.switch().namespace().to_owned()).expect("a listener");
            panic!("on purpose");
        });
        let name = names.recv()?;
        assert!(thread.join().is_err());
        assert!(!Path::new("/run/netns").join(name).exists());
        Ok(())
    });
}

/// Starts a program of its own that builds a lab and waits, and waits until the lab stands.
fn start_bystander() -> Result<std::process::Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay-bench"));
    let mut child = command.arg("stand").stdout(Stdio::piped()).process_group(0).spawn()?;
    let output = std::io::BufReader::new(child.stdout.take().context("a pipe")?);
    let mut lines = std::io::BufRead::lines(output);
    let stands =
        |line: &std::io::Result<String>| line.as_ref().is_ok_and(|line| line.starts_with("it stands"));
    lines.find(stands).context("the lab did not stand")??;
    Ok(child)
}

#[test]
fn an_interrupted_program_removes_its_lab_and_dies_of_the_signal() {
    mainstay_lab::test(|| {
        let mut child = start_bystander()?;
        assert!(!left_of(child.id()).is_empty());
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::INT,
        )?;
        let status = child.wait()?;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2));
        assert_eq!(left_of(child.id()), Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn what_a_killed_program_left_is_swept_by_the_next_lab() {
    mainstay_lab::test(|| {
        let mut child = start_bystander()?;
        child.kill()?;
        child.wait()?;
        let _next = Lab::new("next")?;
        assert_eq!(left_of(child.id()), Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn an_unprivileged_user_builds_the_same_lab_in_a_user_namespace() {
    if !rustix::process::geteuid().is_root() || !whole_uid_map() {
        return; // Every test of this file runs that way here.
    }
    // `nobody` can't read the build's directory: it gets a copy of this program.
    let folder = std::env::temp_dir().join(format!("lab-for-nobody-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let copy = folder.join("lab-test");
    std::fs::copy("/proc/self/exe", &copy).expect("a copy");
    let mut command = Command::new(&copy);
    command.args(["--exact", "a_partition_parts_two_sides_and_a_third_host_sees_both", "--nocapture"]);
    let output = command.uid(65534).gid(65534).current_dir("/").output().expect("a run");
    let _ = std::fs::remove_dir_all(&folder);
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

/// Whether we are in the first user namespace, where every user exists.
fn whole_uid_map() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.contains("4294967295"))
}
