//! Two at one place, a port that is taken, and the pages that machines read.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail};
use mainstay_lab::peer::{Keeper, Mainstay};
use mainstay_lab::{Daemon, Host};
use mainstay_sys::netlink::{AddrSpec, Route};

use crate::rig::{LIMIT, Rig, VIP, binary, cluster, front, has};

/// The whole answer of n1 to a GET.
pub(crate) fn get(from: &Host, port: u16, path: &str) -> Result<String> {
    let answer = from.run(|| -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&([10, 0, 4, 1], port).into(), LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })?;
    Ok(answer?)
}

fn with_metrics(more: &str) -> String {
    cluster(1, 1).replace("[node]\n", "[node]\nmetrics = \"0.0.0.0:9105\"\n") + &front(150, more)
}

fn metered(rig: &Rig, more: &str) -> Result<Mainstay> {
    let node = rig.start(1, &with_metrics(more))?;
    node.daemon().wait_until("its page is served", LIMIT, || {
        Ok(get(&rig.client, 9105, "/healthz")?.contains(" 200 "))
    })?;
    Ok(node)
}

/// The vip as a killed run would have left it.
fn leave_marked(host: &Host) -> Result<()> {
    host.run(|| -> Result<()> {
        let mut route = Route::open()?;
        let links = route.links()?;
        let index = links.iter().find(|link| link.name == "eth0").context("eth0")?.index;
        let spec = AddrSpec { index, addr: VIP.parse()?, prefix: 32, valid: LIMIT * 10 };
        route.set_addrs(&[spec]).remove(0).context("add the vip")
    })?
}

#[test]
fn a_second_supervisor_in_one_runtime_directory_is_refused_with_a_sentence() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let node = rig.start(1, &(cluster(1, 1) + &front(150, "")))?;
        node.wait_for_state("front", "active", LIMIT)?;
        let config = node.config_path().display().to_string();
        let second = node.ctl(&["run", "--config", &config])?;
        assert_eq!(second.status.code(), Some(1));
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(said.contains("another mainstay runs with the runtime directory"), "{said}");
        assert_eq!(node.vip("front")?["state"], "active");
        assert!(has(rig.host(1), VIP)?);
        Ok(())
    });
}

#[test]
fn a_metrics_port_that_is_taken_is_refused_before_a_vip_is_touched() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let _taken = rig.host(1).run(|| std::net::TcpListener::bind("0.0.0.0:9105"))??;
        let path = rig.host(1).directory().join("taken.toml");
        std::fs::write(&path, with_metrics(""))?;
        // Left by hand under our mark: a start that goes on would sweep it.
        leave_marked(rig.host(1))?;
        let run = Daemon::new(rig.host(1), "refused", binary()).arg("run").arg("--config").arg(&path);
        let run = run.arg("--runtime-dir").arg(rig.host(1).directory().join("r"));
        let run = run.arg("--state-dir").arg(rig.host(1).directory().join("s"));
        run.start()?;
        run.wait_ended(LIMIT)?;
        assert!(run.log().contains("cannot listen there"), "{}", run.log());
        assert!(has(rig.host(1), VIP)?);
        Ok(())
    });
}

/// What promtool checks: each family described once and before its samples, names and values in form.
fn check(page: &str) -> Result<HashMap<String, f64>> {
    let (mut helped, mut typed, mut samples) = (HashSet::new(), HashMap::new(), HashMap::new());
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, text) = rest.split_once(' ').with_context(|| line.to_owned())?;
            assert!(!text.is_empty() && text != "See the reference.", "{name} is not explained");
            assert!(helped.insert(name.to_owned()), "{name} is explained twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').with_context(|| line.to_owned())?;
            assert!(helped.contains(name), "{name} has a type and no help");
            assert!(typed.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} has two types");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        } else {
            let (series, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
            let name = series.split('{').next().unwrap_or(series);
            if !typed.contains_key(name) {
                bail!("{name} has no type");
            }
            assert!(
                name.starts_with("mainstay_") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            );
            assert!(samples.insert(series.to_owned(), value.parse()?).is_none(), "{series} twice");
        }
    }
    Ok(samples)
}

#[test]
fn the_metrics_page_is_as_prometheus_reads_it_and_says_who_holds() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let probe = "\n[[probe]]\nname = \"here\"\nfile = \"/proc/self/stat\"\n";
        let node = metered(&rig, &format!("requires = [\"here\"]\n{probe}"))?;
        node.wait_for_state("front", "active", LIMIT)?;
        let answer = get(&rig.client, 9105, "/metrics")?;
        assert!(answer.contains("text/plain; version=0.0.4"), "{answer}");
        let (_, page) = answer.split_once("\r\n\r\n").context("a body")?;
        let samples = check(page)?;
        assert_eq!(samples.get("mainstay_vip_holder{vip=\"front\"}"), Some(&1.0));
        assert_eq!(samples.get("mainstay_probe_up{probe=\"here\"}"), Some(&1.0));
        assert!(samples.keys().any(|k| k.starts_with("mainstay_vip_transitions_total{")));
        assert!(samples.keys().any(|k| k.starts_with("mainstay_vip_adverts_total{")));
        Ok(())
    });
}

#[test]
fn healthz_means_alive_and_readyz_means_well() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let node = metered(&rig, "")?;
        node.wait_for_state("front", "active", LIMIT)?;
        assert!(get(&rig.client, 9105, "/readyz")?.starts_with("HTTP/1.1 200 "));
        node.say(&["vip", "drain", "front"])?;
        node.wait_for_state("front", "backup", LIMIT)?;
        let unwell = get(&rig.client, 9105, "/readyz")?;
        assert!(unwell.starts_with("HTTP/1.1 503 ") && unwell.contains("drained"), "{unwell}");
        assert!(get(&rig.client, 9105, "/healthz")?.starts_with("HTTP/1.1 200 "));
        assert!(get(&rig.client, 9105, "/nothing")?.starts_with("HTTP/1.1 404 "));
        assert!(get(&rig.client, 9105, "/v1/status")?.contains("\"schema\":1"));
        Ok(())
    });
}

#[test]
fn a_witness_has_no_vip_and_a_process_for_its_votes() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let cluster = "[node]\nid = \"w\"\n[cluster]\nname = \"lab\"\nkey = \"0123456789abcdef\"\npeers = [\
                       { id = \"w\", witness = true }, { id = \"n2\", addrs = [\"10.0.4.2\"] }]\n";
        let node = rig.start(1, cluster)?;
        node.wait_until("the vip worker runs", LIMIT, |status| {
            let workers = status["workers"].as_array().into_iter().flatten();
            workers.into_iter().any(|w| w["role"] == "vip" && w["pid"].is_number() && w["restarts"] == 0)
        })?;
        let status = node.status_json()?;
        assert!(status["vips"].as_array().is_some_and(Vec::is_empty), "{status:#}");
        let refused = |arguments: &[&str], why: &str| -> Result<()> {
            let said = node.ctl(arguments)?;
            let text = String::from_utf8_lossy(&said.stderr).into_owned();
            assert!(said.status.code() == Some(1) && text.contains(why), "{text}");
            Ok(())
        };
        refused(&["cluster", "add", "n2"], "n2 is in the voter list already")?;
        refused(&["cluster", "remove", "n3"], "n3 is not in the voter list; there are: n2, w")?;
        refused(&["cluster", "add", "n3"], "n3 is not in [cluster] peers of this node's file")?;
        Ok(())
    });
}
