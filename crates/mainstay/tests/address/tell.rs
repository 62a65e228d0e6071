//! Who is told of a change, how and in which order.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use mainstay_lab::peer::{Keeper, Mainstay};
use mainstay_lab::{Host, wait_until};
use rustix::process::Signal;

use crate::rig::{LIMIT, Rig, VIP, cluster, front, has, wait_for_address, write_script};

/// Writes its arguments, the state it is told and whether the address stands there.
fn scribe(host: &Host, before: &str) -> Result<(String, std::path::PathBuf)> {
    let (script, log) = (host.directory().join("scribe"), host.directory().join("told"));
    let text = format!(
        "#!/bin/sh\n{before}\nip -o addr show dev eth0 | grep -q 'inet {VIP}/' && at=with || at=without\necho \
         \"$@ $MAINSTAY_STATE $at\" >> {}\n",
        log.display()
    );
    write_script(&script, &text)?;
    fs::write(&log, "")?;
    Ok((script.display().to_string(), log))
}

fn lines(log: &std::path::Path) -> Result<Vec<String>> {
    Ok(fs::read_to_string(log)?.lines().map(str::to_owned).collect())
}

#[test]
fn scripts_get_what_keepalived_gives_them_in_the_order_of_the_changes() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let (script, log) = scribe(rig.host(1), "")?;
        let notify = format!("notify = [{{ exec = [\"{script}\", \"mine\"], args = true }}]");
        let node = rig.start(1, &(cluster(1, 1) + &front(150, &notify)))?;
        node.wait_for_state("front", "active", LIMIT)?;
        rig.host(1).ip("link set eth0 down")?;
        node.wait_for_state("front", "fault", LIMIT)?;
        rig.host(1).ip("link set eth0 up")?;
        node.wait_for_state("front", "active", LIMIT)?;
        node.daemon().stop()?;
        node.daemon().wait_ended(LIMIT)?;
        let told = lines(&log)?;
        let arguments: Vec<&str> = told.iter().filter_map(|line| line.rsplitn(3, ' ').nth(2)).collect();
        let expected = ["BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER", "STOP"]
            .map(|state| format!("mine INSTANCE front {state} 150"));
        assert_eq!(arguments, expected);
        // The stop is told once the address has gone, and before the daemon ends.
        assert_eq!(told.last().map(String::as_str), Some("mine INSTANCE front STOP 150 stop without"));
        Ok(())
    });
}

#[test]
fn a_script_for_one_change_is_called_for_no_other_and_as_it_stands() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let (script, log) = scribe(rig.host(1), "")?;
        let notify = format!("notify = [{{ on = [\"active\"], exec = [\"{script}\", \"up now\"] }}]");
        let node = rig.start(1, &(cluster(1, 1) + &front(150, &notify)))?;
        wait_until("it is told", LIMIT, || Ok(!lines(&log)?.is_empty()))?;
        node.daemon().stop()?;
        node.daemon().wait_ended(LIMIT)?;
        assert_eq!(lines(&log)?, ["up now active with"]);
        Ok(())
    });
}

#[test]
fn a_second_term_ends_a_node_whose_stop_script_hangs_and_leaves_no_address() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let latch = rig.host(1).directory().join("latch");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &latch,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )?;
        let (script, log) =
            scribe(rig.host(1), &format!("test $MAINSTAY_STATE != stop || read line < {}", latch.display()))?;
        let notify = format!("notify = [{{ exec = [\"{script}\"] }}]");
        let node = rig.start(1, &(cluster(1, 1) + &front(150, &notify)))?;
        wait_for_address(rig.host(1), VIP, true)?;
        node.daemon().signal(Signal::TERM)?;
        wait_for_address(rig.host(1), VIP, false)?;
        assert!(node.daemon().running(), "it waits for its script");
        let asked = std::time::Instant::now();
        node.daemon().signal(Signal::TERM)?;
        node.daemon().wait_ended(LIMIT)?;
        assert!(asked.elapsed() < Duration::from_secs(3), "it ended after {:?}", asked.elapsed());
        assert!(!has(rig.host(1), VIP)? && !lines(&log)?.iter().any(|line| line.contains("stop")));
        Ok(())
    });
}

/// A web server that keeps the bodies of what it is sent; the first answer is a failure.
struct Sink {
    bodies: Arc<Mutex<Vec<String>>>,
    _thread: JoinHandle<()>,
}

impl Sink {
    fn start(host: &Host) -> Result<Self> {
        let listener = host.run(|| TcpListener::bind("127.0.0.1:8080"))??;
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&bodies);
        let _thread = std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let mut stream = stream;
                let Some(body) = read_body(&mut stream) else { continue };
                let status = if number == 0 { "500 Not Now" } else { "200 OK" };
                let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                if number > 0 {
                    shared.lock().unwrap_or_else(PoisonError::into_inner).push(body);
                }
            }
        });
        Ok(Self { bodies, _thread })
    }
}

fn read_body(stream: &mut std::net::TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    let (mut text, mut buffer) = (String::new(), [0_u8; 4096]);
    loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        text += &String::from_utf8_lossy(&buffer[..read]);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(body.to_owned());
        }
    }
}

#[test]
fn a_webhook_gets_json_with_reason_and_epoch_is_tried_again_and_hears_of_the_stop() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let sink = Sink::start(rig.host(1))?;
        let notify = "notify = [{ on = [\"active\", \"stop\"], webhook = \"http://127.0.0.1:8080/hook\", retries = 5 }]";
        let node: Mainstay = rig.start(1, &(cluster(1, 1) + &front(150, notify)))?;
        let told = || sink.bodies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        wait_until("it is told", LIMIT, || Ok(!told().is_empty()))?;
        node.daemon().stop()?;
        node.daemon().wait_ended(LIMIT)?;
        let told: Result<Vec<serde_json::Value>, _> =
            told().iter().map(|body| serde_json::from_str(body)).collect();
        let told = told?;
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0]["epoch"], 1);
        assert_eq!(told[0]["to"], "active");
        assert_eq!(told[1]["reason"], "stopping");
        Ok(())
    });
}
