//! What a vip owns runs on its holder only: started before the vip is announced, stopped before it is released.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use mainstay_lab::peer::Keeper;
use mainstay_lab::probe::ArpProbe;
use mainstay_lab::wait_until;
use std::time::Duration;

use crate::rig::{
    LIMIT, Rig, VIP, cluster, front, has, kill, rewrite, vip, wait_for_address, wait_for_event, write_script,
};

/// A service that notes who is started and stopped, and whether the address stood there.
struct Services {
    script: PathBuf,
    log: PathBuf,
}

impl Services {
    /// `before` runs first, in the shell.
    fn new(rig: &Rig, n: usize, before: &str) -> Result<Self> {
        let folder = rig.host(n).directory();
        let (script, log) = (folder.join("service"), folder.join("service.log"));
        let text = format!(
            "#!/bin/sh\n{before}\nif ip -o addr show dev eth0 | grep -q 'inet {VIP}/'; then at=with; else \
             at=without; fi\necho \"$1 $2 $at\" >> {}\n",
            log.display()
        );
        write_script(&script, &text)?;
        fs::write(&log, "")?;
        Ok(Self { script, log })
    }

    /// The line of the configuration.
    fn owns(&self, names: &[&str]) -> String {
        let script = self.script.display();
        let each = names.iter().map(|name| {
            format!("{{ start = [\"{script}\", \"start\", \"{name}\"], stop = [\"{script}\", \"stop\", \"{name}\"] }}")
        });
        format!("owns = [{}]", each.collect::<Vec<_>>().join(", "))
    }

    fn lines(&self) -> Result<Vec<String>> {
        Ok(fs::read_to_string(&self.log)?.lines().map(str::to_owned).collect())
    }

    fn wait_for(&self, last: &[&str]) -> Result<()> {
        wait_until(&format!("the services' log ends with {last:?}"), LIMIT, || {
            Ok(self.lines()?.ends_with(&last.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()))
        })
    }
}

/// A pipe on which a script waits until the test says go.
fn latch(path: &Path) -> Result<()> {
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o666),
        0,
    )?;
    Ok(())
}

#[test]
fn services_start_in_order_before_the_address_and_stop_in_reverse_before_it_goes() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let services = Services::new(&rig, 1, "")?;
        let node = rig.start(1, &(cluster(1, 1) + &front(150, &services.owns(&["db", "app"]))))?;
        wait_for_address(rig.host(1), VIP, true)?;
        services.wait_for(&["start db without", "start app without"])?;
        node.daemon().stop()?;
        node.daemon().wait_ended(LIMIT)?;
        services.wait_for(&["stop app with", "stop db with"])?;
        assert!(!has(rig.host(1), VIP)?);
        Ok(())
    });
}

#[test]
fn nobody_answers_before_the_start_has_ended_and_no_other_node_takes_the_vip_meanwhile() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let go = rig.lab.directory().join("go");
        latch(&go)?;
        let wait = format!("test $1 = stop || read line < {}", go.display());
        let services = Services::new(&rig, 1, &wait)?;
        let first = rig.start(1, &(cluster(1, 2) + &front(150, &services.owns(&["db"]))))?;
        first.wait_for_state("front", "active", LIMIT)?;
        let second = rig.start(2, &(cluster(2, 2) + &front(100, "")))?;
        second.wait_for_state("front", "backup", LIMIT)?;
        let adverts = rig.adverts()?;
        let arp = ArpProbe::start(&rig.watcher, "eth0", VIP.parse()?, Duration::from_millis(5))?;
        wait_until("ten adverts were sent meanwhile", LIMIT, || Ok(adverts.adverts().len() >= 10))?;
        assert!(!has(rig.host(1), VIP)? && !has(rig.host(2), VIP)?);
        assert!(arp.answers().claims.is_empty(), "somebody answered before the service ran");
        assert_eq!(second.vip("front")?["state"], "backup");
        fs::write(&go, "go\n")?;
        wait_for_address(rig.host(1), VIP, true)?;
        wait_until("it answers", LIMIT, || Ok(!arp.answers().claims.is_empty()))
    });
}

#[test]
fn a_service_that_does_not_start_is_a_fault_and_the_next_node_takes_the_vip() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let broken = Services::new(&rig, 1, "test $1 = stop || exit 7")?;
        let second = rig.start(2, &(cluster(2, 2) + &front(100, "")))?;
        second.wait_for_state("front", "active", LIMIT)?;
        let first = rig.start(1, &(cluster(1, 2) + &front(150, &broken.owns(&["db", "app"]))))?;
        first.wait_for_state("front", "fault", LIMIT)?;
        wait_for_event(&first, "exit code 7")?;
        second.wait_for_state("front", "active", LIMIT)?;
        wait_for_address(rig.host(2), VIP, true)?;
        assert!(!has(rig.host(1), VIP)?);
        // What was begun is ended.
        broken.wait_for(&["stop app without", "stop db without"])
    });
}

#[test]
fn after_a_kill_of_the_vip_worker_services_are_stopped_before_they_may_be_started_again() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let services = Services::new(&rig, 1, "")?;
        let owns = services.owns(&["db"]) + "\npreempt = false";
        let first = rig.start(1, &(cluster(1, 2) + &front(150, &owns)))?;
        wait_for_address(rig.host(1), VIP, true)?;
        services.wait_for(&["start db without"])?;
        let second = rig.start(2, &(cluster(2, 2) + &front(100, "preempt = false")))?;
        second.wait_for_state("front", "backup", LIMIT)?;
        kill(first.worker_pid("vip")?)?;
        services.wait_for(&["start db without", "stop db without"])?;
        second.wait_for_state("front", "active", LIMIT)?;
        first.wait_for_state("front", "backup", LIMIT)
    });
}

#[test]
fn a_reload_that_removes_a_vip_stops_all_that_it_owned() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let services = Services::new(&rig, 1, "")?;
        let node = rig.start(1, &(cluster(1, 1) + &front(150, &services.owns(&["db", "app"]))))?;
        wait_for_address(rig.host(1), VIP, true)?;
        services.wait_for(&["start db without", "start app without"])?;
        rewrite(&node, &cluster(1, 1))?;
        node.say(&["reload"])?;
        services.wait_for(&["stop app without", "stop db without"])?;
        assert!(!has(rig.host(1), VIP)?);
        Ok(())
    });
}

#[test]
fn a_reload_while_a_service_starts_goes_on_with_the_start_and_one_that_changes_it_begins_again() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let go = rig.lab.directory().join("go");
        latch(&go)?;
        let wait = format!("test $1.$2 != start.db || read line < {}", go.display());
        let services = Services::new(&rig, 1, &wait)?;
        // A script before it gives every command of the vip another number.
        let other = vip("aside", "10.0.4.98", 52, 100, "notify = [{ exec = [\"/bin/true\"] }]");
        let config = |first: &str, owns: &[&str]| cluster(1, 1) + first + &front(150, &services.owns(owns));
        let node = rig.start(1, &config("", &["db", "app"]))?;
        node.wait_for_state("front", "active", LIMIT)?;
        rewrite(&node, &config(&other, &["db", "app"]))?;
        node.say(&["reload"])?;
        node.wait_for_state("aside", "active", LIMIT)?;
        assert!(!has(rig.host(1), VIP)? && services.lines()?.len() == 2, "{:?}", services.lines()?);
        fs::write(&go, "go\n")?;
        wait_for_address(rig.host(1), VIP, true)?;
        services.wait_for(&["start db without", "start app without"])?;
        node.say(&["vip", "move", "front"])?;
        services.wait_for(&["stop app with", "stop db with"])?;
        // It starts again, since nobody else takes it; now with another service.
        node.wait_for_state("front", "active", LIMIT)?;
        rewrite(&node, &config("", &["new"]))?;
        node.say(&["reload"])?;
        fs::write(&go, "go\n")?;
        // What had begun is ended, one after the other.
        services.wait_for(&[
            "start db without",
            "stop app without",
            "stop db without",
            "start new without",
        ])?;
        wait_for_address(rig.host(1), VIP, true)
    });
}

#[test]
fn a_reload_of_the_holder_stops_what_it_owns_no_more_and_starts_what_is_new() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let services = Services::new(&rig, 1, "")?;
        let config = |owns: &[&str]| cluster(1, 1) + &front(150, &services.owns(owns));
        let node = rig.start(1, &config(&["db", "app"]))?;
        wait_for_address(rig.host(1), VIP, true)?;
        rewrite(&node, &config(&["new", "db"]))?;
        node.say(&["reload"])?;
        services.wait_for(&["start db without", "start app without", "stop app with", "start new with"])?;
        assert_eq!(node.vip("front")?["epoch"], 1);
        node.daemon().stop()?;
        node.daemon().wait_ended(LIMIT)?;
        services.wait_for(&["stop db with", "stop new with"])
    });
}
