//! A holder whose service works for itself alone: those who do not hold the vip look through it and raise the alarm.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_lab::peer::Mainstay;
use mainstay_lab::{Host, wait_until};

use crate::rig::{LIMIT, Rig, VIP, binary, cluster};

/// Accepts on every address of a host, port 8080, until it is dropped.
struct Service {
    stop: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
    host: Host,
}

impl Service {
    fn start(host: &Host) -> Result<Self> {
        let listener = host.run(|| TcpListener::bind("0.0.0.0:8080"))??;
        let stop = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&stop);
        let task =
            std::thread::spawn(move || while listener.accept().is_ok() && !ends.load(Ordering::Relaxed) {});
        Ok(Self { stop, task: Some(task), host: host.clone() })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.host.run(|| TcpStream::connect("127.0.0.1:8080"));
        if let Some(task) = self.task.take() {
            let _ = task.join();
        }
    }
}

/// A probe through the vip that tells a script.
fn probe(host: &Host) -> Result<(String, std::path::PathBuf)> {
    let log = host.directory().join("through");
    fs::write(&log, "")?;
    let line = format!("echo $MAINSTAY_STATE $MAINSTAY_REASON $MAINSTAY_MESSAGE >> {}", log.display());
    let probe = format!(
        "[[probe]]\nname = \"front-service\"\nthrough = \"front\"\ntcp = \"{VIP}:8080\"\ninterval = \"200ms\"\nfall = \
         2\nnotify = [{{ exec = [\"/bin/sh\", \"-c\", \"{line}\"] }}]\n\n"
    );
    Ok((probe, log))
}

fn usable(node: &Mainstay) -> Result<bool> {
    Ok(node.status_json()?["through"][0]["unusable"].is_null())
}

fn count(node: &Mainstay) -> Result<usize> {
    Ok(node.say(&["events"])?.matches("and cannot be used: probe front-service").count())
}

#[test]
fn a_service_that_only_its_holder_can_use_is_told_of_by_backup_and_witness_and_moves_nothing() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let services = [Service::start(&rig.nodes[0])?, Service::start(&rig.nodes[1])?];
        let vip = |priority| {
            format!(
                "[[vip]]\nname = \"front\"\naddrs = [\"{VIP}\"]\ninterface = \"eth0\"\npriority = {priority}\nguard = \
                 \"quorum\"\npreempt = false\n"
            )
        };
        let start = |host: &Host, vip: &str| -> Result<(Mainstay, std::path::PathBuf)> {
            let (probe, log) = probe(host)?;
            Ok((Mainstay::start(host, &binary(), &(cluster(host, "300ms") + &probe + vip))?, log))
        };
        let (witness, told_witness) = start(&rig.witness, "")?;
        let (first, _) = start(&rig.nodes[0], &vip(150))?;
        first.wait_for_state("front", "active", LIMIT)?;
        let (second, told_second) = start(&rig.nodes[1], &vip(100))?;
        for node in [&witness, &second] {
            node.wait_until("it looks through", LIMIT, |status| {
                status["through"][0]["holder"] == "n1" && status["probes"][0]["verdict"] == "up"
            })?;
        }
        first.wait_until("the holder does not talk to itself", LIMIT, |status| {
            status["probes"][0]["detail"].as_str().is_some_and(|said| said.contains("not looked at"))
        })?;
        // Hand-offs raise nothing.
        first.say(&["vip", "move", "front"])?;
        second.wait_for_state("front", "active", LIMIT)?;
        first.wait_until("the other holds it", LIMIT, |status| status["through"][0]["holder"] == "n2")?;
        second.say(&["vip", "move", "front"])?;
        first.wait_for_state("front", "active", LIMIT)?;
        second
            .wait_until("the first holds it again", LIMIT, |status| status["through"][0]["holder"] == "n1")?;
        // A firewall on the holder: its own probes would pass.
        let epoch = first.vip("front")?["epoch"].clone();
        let begun = Instant::now();
        rig.nodes[0].nft("table inet wall { chain in { type filter hook input priority 0; iif eth0 tcp dport 8080 reject with tcp reset; }; }")?;
        for (node, log) in [(&second, &told_second), (&witness, &told_witness)] {
            wait_until("the script is told", LIMIT, || {
                let told = fs::read_to_string(log)?;
                Ok(told.contains("unusable unusable vip front is held by n1 and cannot be used"))
            })?;
            println!("{} said so after {:?}", node.status_json()?["node"], begun.elapsed());
            ensure!(!usable(node)?, "and status says so");
            ensure!(node.ctl(&["status"])?.status.code() == Some(4));
        }
        ensure!(begun.elapsed() < Duration::from_secs(5), "after {:?}", begun.elapsed());
        ensure!(first.vip("front")?["epoch"] == epoch, "it was moved");
        ensure!(usable(&first)?, "the holder has nothing to say");
        rig.nodes[0].nft("delete table inet wall")?;
        for (node, log) in [(&second, &told_second), (&witness, &told_witness)] {
            wait_until("the end is told", LIMIT, || {
                Ok(fs::read_to_string(log)?.contains("held by n1, can be used again"))
            })?;
            ensure!(usable(node)? && count(node)? == 1, "{}", node.say(&["events"])?);
        }
        // Nobody holds it: that is another alarm.
        drop(services);
        first.say(&["vip", "drain", "front"])?;
        second.say(&["vip", "drain", "front"])?;
        witness.wait_until("nobody holds it", LIMIT, |status| status["through"][0]["holder"].is_null())?;
        witness.wait_until("its probe fails", LIMIT, |status| status["probes"][0]["verdict"] == "down")?;
        for node in [&second, &witness] {
            ensure!(usable(node)? && count(node)? == 1, "{}", node.say(&["events"])?);
        }
        Ok(())
    });
}
