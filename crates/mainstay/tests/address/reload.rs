//! A reload touches what differs and nothing else; a bad one changes nothing.

use anyhow::Result;
use mainstay_lab::peer::{Keeper, Mainstay};

use crate::rig::{
    LIMIT, Rig, VIP, cluster, counter, events, front, has, rewrite, vip, wait_for_address, wait_for_event,
};

fn one(rig: &Rig, config: &str) -> Result<Mainstay> {
    let node = rig.start(1, config)?;
    node.wait_for_state("front", "active", LIMIT)?;
    Ok(node)
}

#[test]
fn a_bad_configuration_is_refused_by_command_and_by_signal_and_the_old_one_stays() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let good = cluster(1, 1) + &front(150, "");
        let node = one(&rig, &good)?;
        rewrite(&node, &(good.clone() + "colour = \"red\"\n"))?;
        let refused = node.ctl(&["reload"])?;
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("colour") && said.contains("mainstay.toml"), "{said}");
        node.reload()?;
        node.wait_until("both refusals are counted", LIMIT, |status| {
            let all = status["counters"].as_array().into_iter().flatten();
            all.into_iter().any(|c| c["name"] == "reload_failures_total" && c["value"] == 2)
        })?;
        assert!(events(&node)?.contains("reload refused, the old configuration stays"));
        assert_eq!(node.vip("front")?["state"], "active");
        assert!(has(rig.host(1), VIP)?);
        assert_eq!(counter(&node, "", "reloads_total")?, 0);
        Ok(())
    });
}

#[test]
fn a_removed_vip_is_released_and_its_script_is_told() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let told = rig.host(1).directory().join("told");
        let notify = format!(
            "notify = [{{ exec = [\"/bin/sh\", \"-c\", \"echo $MAINSTAY_VIP $MAINSTAY_STATE $MAINSTAY_REASON >> \
             {}\"] }}]",
            told.display()
        );
        let front = front(150, "");
        let back = |priority, more: &str| vip("back", "10.0.4.98", 52, priority, more);
        let first = one(&rig, &(cluster(1, 2) + &front + &back(150, &notify)))?;
        first.wait_for_state("back", "active", LIMIT)?;
        let second = rig.start(2, &(cluster(2, 2) + &back(100, "")))?;
        second.wait_for_state("back", "backup", LIMIT)?;
        rewrite(&first, &(cluster(1, 2) + &front))?;
        first.reload()?;
        wait_for_address(rig.host(1), "10.0.4.98", false)?;
        second.wait_for_state("back", "active", LIMIT)?;
        let heard = || Ok(std::fs::read_to_string(&told)?.contains("back backup reloaded"));
        first.daemon().wait_until("its script is told", LIMIT, heard)?;
        assert_eq!(first.vip("front")?["epoch"], 1);
        Ok(())
    });
}

#[test]
fn a_priority_changes_in_place_and_decides_from_then_on() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let [first, second] = crate::rig::pair(&rig, "")?;
        rewrite(&second, &(cluster(2, 2) + &front(200, "")))?;
        second.say(&["reload"])?;
        second.wait_for_state("front", "active", LIMIT)?;
        first.wait_for_state("front", "backup", LIMIT)?;
        assert_eq!(second.vip("front")?["effective_priority"], 200);
        Ok(())
    });
}

#[test]
fn an_unchanged_probe_keeps_its_verdict_and_a_holder_that_requires_it_stays() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let probe = |name: &str, interval: &str| {
            format!("[[probe]]\nname = \"{name}\"\nfile = \"/proc/self/stat\"\ninterval = \"{interval}\"\n\n")
        };
        let vip = front(150, "requires = [\"slow\"]");
        // Its next result is a minute away: only a kept verdict can hold the vip.
        let node = one(&rig, &(cluster(1, 1) + &probe("slow", "60s") + &vip))?;
        rewrite(&node, &(cluster(1, 1) + &probe("new", "1s") + &probe("slow", "60s") + &vip))?;
        node.say(&["reload"])?;
        node.wait_until("both probes are up", LIMIT, |status| {
            status["probes"]
                .as_array()
                .is_some_and(|p| p.len() == 2 && p.iter().all(|p| p["verdict"] == "up"))
        })?;
        let passed = node.status_json()?["probes"][1]["passed"].as_u64();
        assert_eq!(passed, Some(1), "it was not asked again");
        assert_eq!(node.vip("front")?["epoch"], 1);
        Ok(())
    });
}

#[test]
fn a_reload_may_move_the_metrics_page_and_is_answered_all_the_same() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let config = |port: u16| {
            let metrics = format!("[node]\nmetrics = \"0.0.0.0:{port}\"\n");
            cluster(1, 1).replace("[node]\n", &metrics) + &front(150, "")
        };
        let node = one(&rig, &config(9105))?;
        let page = |port: u16| {
            rig.client.run(|| mainstay_lab::probe::fetch(([10, 0, 4, 1], port).into(), LIMIT).is_ok())
        };
        let fetched = |port: u16| crate::start::get(&rig.client, port, "/healthz");
        node.daemon().wait_until("the page is served", LIMIT, || Ok(fetched(9105)?.contains(" 200 ")))?;
        rewrite(&node, &config(9106))?;
        node.say(&["reload"])?;
        node.daemon().wait_until("it is served there", LIMIT, || Ok(fetched(9106)?.contains(" 200 ")))?;
        assert!(!page(9105)?);
        // A port that is taken: refused, and the old page stays.
        let _taken = rig.host(1).run(|| std::net::TcpListener::bind("0.0.0.0:9107"))??;
        rewrite(&node, &config(9107))?;
        assert_eq!(node.ctl(&["reload"])?.status.code(), Some(1));
        assert!(fetched(9106)?.contains(" 200 "));
        wait_for_event(&node, "9107")?;
        let status = node.status_json()?;
        let api = status["workers"].as_array().into_iter().flatten().filter(|w| w["role"] == "api");
        assert!(api.into_iter().all(|w| w["restarts"] == 0), "{status}");
        Ok(())
    });
}

#[test]
fn the_last_vip_may_go_and_come_again() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let full = cluster(1, 1) + &front(150, "");
        let node = one(&rig, &full)?;
        rewrite(&node, &cluster(1, 1))?;
        node.say(&["reload"])?;
        wait_for_address(rig.host(1), VIP, false)?;
        node.wait_until("no vip is left", LIMIT, |s| s["vips"].as_array().is_some_and(Vec::is_empty))?;
        rewrite(&node, &full)?;
        node.say(&["reload"])?;
        node.wait_for_state("front", "active", LIMIT)?;
        wait_for_address(rig.host(1), VIP, true)?;
        rig.client.output("ping", &["-c1", "-W2", VIP]).map(drop)
    });
}

#[test]
fn a_vip_that_a_reload_adds_calls_its_own_script_whatever_its_number_was_before() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let log = rig.host(1).directory().join("told");
        let notify = |who: &str| {
            let line = format!("echo {who} says $MAINSTAY_VIP $MAINSTAY_STATE >> {}", log.display());
            format!("notify = [{{ exec = [\"/bin/sh\", \"-c\", \"{line}\"] }}]")
        };
        let front = front(150, &notify("front"));
        let node = one(&rig, &(cluster(1, 1) + &front))?;
        let added = vip("added", "10.0.4.98", 52, 100, &notify("added"));
        rewrite(&node, &(cluster(1, 1) + &added + &front))?;
        node.say(&["reload"])?;
        let told = || std::fs::read_to_string(&log).unwrap_or_default();
        node.daemon().wait_until("its script is told", LIMIT, || Ok(told().contains("added active")))?;
        let expected = ["front says front", "added says added"];
        assert!(told().lines().all(|line| expected.iter().any(|e| line.starts_with(e))), "{}", told());
        Ok(())
    });
}
