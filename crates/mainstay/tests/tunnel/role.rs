//! The agents of a configuration, under a supervisor.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_sys::clock::boot_now;
use rustix::process::{Signal, kill_process};

use crate::bed::{Bed, HUB, LIMIT, STRANGER, TUNNEL, reload};

/// A killed worker is back, and has met the hub again, within this.
const BACK: Duration = Duration::from_secs(1);

/// The agent of a site, as a file has it.
fn config(bed: &Bed, name: &str, more: &str) -> String {
    format!(
        "[node]\nid = \"{name}\"\nscript_user = \"root\"\n\n[[agent]]\nhubs = [\"tcp://{HUB}\"]\nkey = \"{}\"\n\n\
         [[agent.offer]]\ntunnel = \"{TUNNEL}\"\nto = [\"127.0.0.1:8000\"]\n{more}",
        *bed.key.secret()
    )
}

/// Starts the agent of a site and waits until hubs have granted what it offers.
pub(crate) fn start(bed: &Bed, site: usize, more: &str) -> Result<Mainstay> {
    let name = ["one", "two"][site];
    let node = Mainstay::start(&bed.sites[site].0, &crate::bed::binary(), &config(bed, name, more))?;
    node.daemon()
        .wait_until("every place of the hub is met", LIMIT, || Ok(granted(&node, TUNNEL) && met(&node)))?;
    Ok(node)
}

fn granted(node: &Mainstay, tunnel: &str) -> bool {
    let Ok(status) = node.status_json() else { return false };
    let offers = status["agents"][0]["offers"].as_array().cloned().unwrap_or_default();
    offers.iter().any(|offer| offer["tunnel"] == tunnel && offer["granted"].as_u64() > Some(0))
}

fn met(node: &Mainstay) -> bool {
    let Ok(status) = node.status_json() else { return false };
    let hub = &status["agents"][0]["hubs"][0];
    hub["places"].as_u64() == Some(4) && hub["sessions"] == hub["places"]
}

/// Sends requests for as long as `meanwhile` takes; how many, and the first that failed.
fn under_load<T>(bed: &Bed, meanwhile: impl FnOnce() -> Result<T>) -> Result<(u32, T)> {
    let (over, count) = (AtomicBool::new(false), AtomicU32::new(0));
    let (done, sent) = std::thread::scope(|scope| {
        let load = scope.spawn(|| -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                bed.whose().with_context(|| format!("request {}", count.load(Ordering::Relaxed)))?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let done = meanwhile();
        over.store(true, Ordering::Relaxed);
        (done, load.join().expect("the load does not panic"))
    });
    sent?;
    Ok((count.into_inner(), done?))
}

#[test]
fn an_agent_of_a_file_serves_and_is_back_after_its_worker_was_killed() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let hub = bed.start(&bed.config(""))?;
        let node = start(&bed, 0, "")?;
        ensure!(bed.whose()? == "one");
        let shown = node.say(&["status"])?;
        ensure!(shown.contains("4 of 4") && shown.contains("127.0.0.1:8000"), "{shown}");
        let events = node.say(&["events"])?;
        ensure!(events.contains("tunnel office is served at http"), "{events}");
        let pid = node.worker_pid("agent")?;
        let of = |what: &str| -> Result<String> {
            let at = Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join(what);
            Ok(String::from_utf8_lossy(&std::fs::read(at)?).into_owned())
        };
        for public in ["cmdline", "environ"] {
            ensure!(!of(public)?.contains("mst1_"), "the key is in {public}");
        }
        let uids = of("status")?.lines().find(|line| line.starts_with("Uid:")).map(str::to_owned);
        ensure!(uids.as_deref().is_some_and(|uids| !uids.contains("\t0")), "it runs as root: {uids:?}");
        let killed = boot_now();
        kill_process(pid, Signal::KILL)?;
        node.daemon().wait_until("another worker is there", LIMIT, || {
            Ok(node.worker_pid("agent").is_ok_and(|other| other != pid))
        })?;
        hub.daemon().wait_until("requests are served again", LIMIT, || {
            Ok(bed.whose().is_ok_and(|who| who == "one"))
        })?;
        let took = boot_now().since(killed);
        println!("back after {took:?}");
        ensure!(took < BACK, "back after {took:?}");
        Ok(())
    });
}

#[test]
fn a_reload_adds_an_offer_and_no_request_to_the_others_fails() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let depot = format!(
            "[[tunnel]]\nid = \"depot\"\nagents = [\"{}\"]\nhosts = [\"depot.example.com\"]\n",
            bed.key.public()
        );
        let hub = bed.start(&bed.config(&depot))?;
        let node = start(&bed, 0, "")?;
        let offer = "\n[[agent.offer]]\ntunnel = \"depot\"\nto = [\"127.0.0.1:8000\"]\n";
        let (requests, said) = under_load(&bed, || {
            let said = reload(&node, &config(&bed, "one", offer))?;
            hub.daemon().wait_until("the new offer is served", LIMIT, || {
                Ok(bed.get("depot.example.com")?.0 == "HTTP/1.1 200 OK")
            })?;
            // Its predecessor has left: the hub has one agent of this name and site.
            hub.daemon().wait_until("one agent is left", LIMIT, || {
                let listed = hub.say(&["tunnel", "list"])?;
                Ok(listed.lines().filter(|line| line.contains("10.0.4.41")).count() <= 2
                    && granted(&node, "depot"))
            })?;
            Ok(said)
        })?;
        ensure!(said.contains("agent \"one\" has other offers"), "{said}");
        println!("{requests} requests while the offer was added");
        ensure!(requests > 0);
        reload(&node, "[node]\nid = \"one\"\nscript_user = \"root\"\n")?;
        hub.daemon().wait_until("nobody offers any more", LIMIT, || Ok(bed.whose().is_err()))?;
        node.daemon().wait_until("the worker has ended", LIMIT, || Ok(node.worker_pid("agent").is_err()))?;
        Ok(())
    });
}

#[test]
fn a_node_with_an_agent_that_stops_loses_no_request() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let hub = bed.start(&bed.config(""))?;
        let (one, _two) = (start(&bed, 0, "")?, start(&bed, 1, "")?);
        hub.daemon().wait_until("both serve", LIMIT, || Ok(bed.all(12)? == ["one", "two"]))?;
        let (requests, ()) = under_load(&bed, || {
            kill_process(one.daemon().pid()?, Signal::TERM)?;
            hub.daemon().wait_until("only the other serves", LIMIT, || Ok(bed.all(12)? == ["two"]))
        })?;
        ensure!(requests > 0);
        Ok(())
    });
}

#[test]
fn status_tells_why_a_hub_does_not_serve_an_offer() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let _hub = bed.start(&bed.config(""))?;
        let other = "\n[[agent.offer]]\ntunnel = \"nobodys\"\nto = [\"127.0.0.1:1\"]\n";
        let node = start(&bed, 0, other)?;
        let degraded = |what: &str| -> Result<bool> {
            let status = node.status_json()?;
            let said = status["degraded"].as_array().cloned().unwrap_or_default();
            Ok(said.iter().any(|sentence| sentence.as_str().is_some_and(|it| it.contains(what))))
        };
        for what in ["does not serve tunnel nobodys: ", "no target of tunnel nobodys answers"] {
            node.daemon().wait_until(what, LIMIT, || degraded(what))?;
        }
        ensure!(bed.whose()? == "one", "the other offer is served");
        let stranger = config(&bed, "one", "").replace(&*bed.key.secret(), STRANGER);
        reload(&node, &stranger)?;
        node.daemon().wait_until("the key is refused", LIMIT, || degraded("may not offer tunnel office"))?;
        let shown = String::from_utf8_lossy(&node.ctl(&["status"])?.stdout).into_owned();
        ensure!(shown.contains("office") && !shown.contains("mst1_"), "{shown}");
        let log = node.daemon().log();
        ensure!(
            log.contains("WARN hub edge does not serve tunnel nobodys") && !log.contains("mst1_"),
            "{log}"
        );
        Ok(())
    });
}
