//! A service dies behind its probe: how long clients wait.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mainstay_lab::peer::Keeper;
use mainstay_lab::probe::Web;

use crate::rig::{
    CALM, LIMIT, Rig, SERVICE, VIP, cluster, events, front, has, wait_for_address, wait_for_event,
};

const PROBE: &str = "[[probe]]\nname = \"web\"\nhttp = \"http://127.0.0.1:80/\"\ninterval = \"100ms\"\n\n";

#[test]
fn a_dead_service_moves_the_vip_within_its_probe_and_an_advert_and_its_return_brings_it_back() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let webs: Result<Vec<Web>> =
            rig.nodes.iter().map(|host| Web::start(host, "0.0.0.0:80".parse()?, host.name())).collect();
        let mut webs: Vec<Option<Web>> = webs?.into_iter().map(Some).collect();
        let config = |n, priority| cluster(n, 2) + PROBE + &front(priority, "requires = [\"web\"]");
        let first = rig.start(1, &config(1, 150))?;
        first.wait_for_state("front", "active", LIMIT)?;
        let second = rig.start(2, &config(2, 100))?;
        second.wait_for_state("front", "backup", LIMIT)?;
        let client = rig.ask(SERVICE, Duration::from_millis(2))?;
        client.wait_for_steady("n1", CALM, LIMIT)?;
        let died = Instant::now();
        drop(webs[0].take());
        client.wait_for("n2", LIMIT)?;
        let moved = client.last().context("it answers")?.1 - died;
        println!("the vip moved {moved:?} after the death of its service");
        assert!(moved <= Duration::from_millis(500), "it moved after {moved:?}");
        assert!(events(&first)?.contains("probe web, which it requires, is down"));
        webs[0] = Some(Web::start(rig.host(1), "0.0.0.0:80".parse()?, "n1")?);
        client.wait_for_steady("n1", CALM, LIMIT)
    });
}

#[test]
fn a_restart_revives_a_service_without_a_move() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let up = rig.host(1).directory().join("up");
        std::fs::write(&up, "")?;
        let probe = format!(
            "[[probe]]\nname = \"unit\"\nfile = \"{0}\"\ninterval = \"100ms\"\nrestart = {{ exec = \
             [\"/bin/touch\", \"{0}\"], wait = \"2s\" }}\n\n",
            up.display()
        );
        let config = cluster(1, 1) + &probe + &front(150, "requires = [\"unit\"]");
        let node = rig.start(1, &config)?;
        node.wait_for_state("front", "active", LIMIT)?;
        let epoch = node.vip("front")?["epoch"].clone();
        std::fs::remove_file(&up)?;
        node.wait_until("a restart was tried and it is up", LIMIT, |status| {
            let probe = &status["probes"][0];
            probe["restarts"].as_u64() >= Some(1) && probe["verdict"] == "up" && up.exists()
        })?;
        assert_eq!(node.vip("front")?["epoch"], epoch, "the vip never moved");
        assert!(has(rig.host(1), VIP)?);
        Ok(())
    });
}

#[test]
fn the_death_of_a_process_is_noticed_in_less_than_an_interval() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        // A name of its own: processes are looked for in the whole machine.
        let program = rig.host(1).directory().join(format!("svc{}", std::process::id()));
        std::fs::copy("/bin/sleep", &program)?;
        let name = program.file_name().context("a name")?.to_string_lossy().into_owned();
        let service = mainstay_lab::Daemon::new(rig.host(1), "service", &program).arg("1000");
        service.start()?;
        let probe = format!("[[probe]]\nname = \"svc\"\nprocess = \"{name}\"\ninterval = \"3s\"\n\n");
        let config = cluster(1, 1) + &probe + &front(150, "requires = [\"svc\"]");
        let node = rig.start(1, &config)?;
        node.wait_for_state("front", "active", LIMIT)?;
        let died = Instant::now();
        service.kill_all()?;
        wait_for_address(rig.host(1), VIP, false)?;
        let noticed = died.elapsed();
        assert!(noticed < Duration::from_secs(1), "noticed after {noticed:?} of an interval of 3 s");
        wait_for_event(&node, "probe svc")
    });
}

#[test]
fn a_weight_moves_the_vip_to_whoever_has_more_and_back() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let flag = rig.host(1).directory().join("well");
        std::fs::write(&flag, "")?;
        let probe =
            format!("[[probe]]\nname = \"well\"\nfile = \"{}\"\ninterval = \"100ms\"\n\n", flag.display());
        let weighed = front(150, "weights = [{ probe = \"well\", weight = -100 }]");
        let first = rig.start(1, &(cluster(1, 2) + &probe + &weighed))?;
        first.wait_for_state("front", "active", LIMIT)?;
        let second = rig.start(2, &(cluster(2, 2) + &front(100, "")))?;
        second.wait_for_state("front", "backup", LIMIT)?;
        std::fs::remove_file(&flag)?;
        second.wait_for_state("front", "active", LIMIT)?;
        first.wait_for_state("front", "backup", LIMIT)?;
        assert_eq!(first.vip("front")?["effective_priority"], 50);
        std::fs::write(&flag, "")?;
        first.wait_for_state("front", "active", LIMIT)?;
        first.daemon().stop()?;
        second.wait_for_state("front", "active", LIMIT)
    });
}
