//! Tunnels that no file names: a client of gost's brings its own, and its host leads to it at once, at every thread and every hub.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::peer::{Gost, Keeper as _, Mainstay};

use crate::bed::{Bed, LIMIT, TUNNEL, WEB, reload, talk};
use crate::peers::{HUBS, start_as};

/// The tunnels, and the hosts that are generated for them.
const ONE: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";
const ONE_HOST: &str = "b7de88a94729b931.gost.local";
const TWO: &str = "481433e1-7980-11ee-bbdb-60f262c1e32d";

const ANY: &str = "tunnels = \"any\"\nhosts = \"any\"";

/// A hub where gost's clients and visitors come in.
fn config(bed: &Bed, nth: usize, gost: &str) -> String {
    let (id, ip) = HUBS[nth];
    format!(
        "[node]\nid = \"{id}\"\nscript_user = \"root\"\n\n[edge]\ninstances = 2\nthreads = 2\ndrain = \"5s\"\n\n\
         [hub]\ndomain = \"gost.local\"\nbind = \"{ip}:7001\"\npeers = [\"10.0.4.20:7001\", \"10.0.4.21:7001\"]\nkey = \"a key that all hubs have\"\n\n\
         [[listener]]\nname = \"web\"\nbind = \"{ip}:80\"\ncompat = \"gost\"\n\n\
         [[listener]]\nname = \"agents\"\nbind = \"{ip}:7000\"\nprotocol = \"hub\"\ncompat = \"gost\"\n\n\
         [gost]\n{gost}\n\n\
         [[tunnel]]\nid = \"{TUNNEL}\"\nagents = [\"{}\"]\nhosts = [\"app.example.com\"]\n",
        bed.key.public()
    )
}

/// A client at a site, whose target says the site's name.
fn client(bed: &Bed, site: usize, name: &str, tunnel: &str, more: &[&str]) -> Result<Gost> {
    let mut all = vec!["-url", "tcp://10.0.4.20:7000", "-tunnel", tunnel, "-target", "127.0.0.1:8000"];
    all.extend(more);
    let client = Gost::start(&bed.sites[site].0, name, "client", &all)?;
    client.wait_for("bound", LIMIT)?;
    Ok(client)
}

/// Status and first line of what a host says at an address.
fn says(bed: &Bed, at: &str, host: &str) -> Result<(String, String)> {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = talk(&bed.client, at, &request)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?;
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok((status, body.lines().next().unwrap_or_default().to_owned()))
}

fn is(bed: &Bed, at: &str, host: &str, wanted: (&str, &str)) -> Result<()> {
    let got = says(bed, at, host)?;
    let fits = got.0 == wanted.0 && (wanted.1.is_empty() || got.1 == wanted.1);
    ensure!(fits, "{host} at {at}: {got:?} for {wanted:?}");
    Ok(())
}

fn until(node: &Mainstay, bed: &Bed, at: &str, host: &str, wanted: (&str, &str)) -> Result<()> {
    let what = format!("{host} at {at} answers {wanted:?}");
    node.daemon().wait_until(&what, LIMIT, || Ok(is(bed, at, host, wanted).is_ok()))
}

#[test]
fn a_client_brings_its_tunnel_and_its_hosts_lead_there_until_it_has_gone() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = start_as(&bed, 0, &config(&bed, 0, ANY))?;
        let one = client(&bed, 0, "client-1", ONE, &["-bind", "dash.example.com:0"])?;
        until(&node, &bed, WEB, ONE_HOST, ("200", "one"))?;
        for nth in 0..16 {
            is(&bed, WEB, ONE_HOST, ("200", "one")).with_context(|| format!("request {nth}"))?;
        }
        until(&node, &bed, WEB, "dash.example.com", ("200", "one"))?;
        // Another tunnel that wants the same host gets its own alone.
        let _two = client(&bed, 1, "client-2", TWO, &["-bind", "dash.example.com:0"])?;
        let host = generated(&node, TWO)?;
        until(&node, &bed, WEB, &host, ("200", "two"))?;
        for _ in 0..8 {
            is(&bed, WEB, "dash.example.com", ("200", "one"))?;
        }
        let events = node.say(&["events"])?;
        ensure!(events.contains(&format!("host dash.example.com is tunnel {ONE}'s")), "{events}");
        is(&bed, WEB, "nobody.example.com", ("404", ""))?;
        // Another client of the same tunnel takes turns with the first.
        let other = client(&bed, 1, "client-3", ONE, &[])?;
        node.daemon().wait_until("both serve", LIMIT, || {
            let mut all = (0..8).map(|_| Ok(says(&bed, WEB, ONE_HOST)?.1)).collect::<Result<Vec<_>>>()?;
            all.sort_unstable();
            all.dedup();
            Ok(all == ["one", "two"])
        })?;
        let way = node.say(&["explain", "route", &format!("http://{ONE_HOST}/")])?;
        ensure!(way.contains(&format!("host {ONE_HOST} is tunnel {ONE}'s")), "{way}");
        ensure!(way.contains(&format!("pool \"tunnel:{ONE}\" gets GET /")), "{way}");
        let way = node.say(&["explain", "route", "http://nobody.example.com/"])?;
        ensure!(way.contains("no tunnel has host nobody.example.com"), "{way}");
        let list = node.say(&["tunnel", "list"])?;
        ensure!(list.contains(ONE) && list.contains(TWO), "{list}");
        // One of them is killed: the other serves, and nobody notices.
        drop(one);
        for nth in 0..24 {
            is(&bed, WEB, ONE_HOST, ("200", "two"))
                .with_context(|| format!("request {nth} after the kill"))?;
        }
        drop(other);
        until(&node, &bed, WEB, ONE_HOST, ("503", ""))
    });
}

/// The host that the node has made for a tunnel.
fn generated(node: &Mainstay, tunnel: &str) -> Result<String> {
    let mut host = None;
    node.daemon().wait_until("the tunnel is known", LIMIT, || {
        let all: serde_json::Value = serde_json::from_str(&node.say(&["tunnel", "list", "--json"])?)?;
        let row = all.as_array().into_iter().flatten().find(|row| row["id"] == tunnel);
        host = row.and_then(|row| row["served"][0].as_str().map(str::to_owned));
        Ok(host.is_some())
    })?;
    host.context("it is known")
}

#[test]
fn a_host_of_a_client_at_one_hub_leads_there_from_another_and_a_private_one_nowhere() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = start_as(&bed, 0, &config(&bed, 0, ANY))?;
        let other = start_as(&bed, 1, &config(&bed, 1, ANY))?;
        let one = client(&bed, 0, "client-1", ONE, &["-bind", "dash.example.com:0"])?;
        let there = "10.0.4.21:80";
        for host in [ONE_HOST, "dash.example.com"] {
            until(&other, &bed, there, host, ("200", "one"))?;
            until(&node, &bed, WEB, host, ("200", "one"))?;
        }
        let private = format!("${TWO}");
        let _two = client(&bed, 1, "client-2", &private, &["-bind", "closed.example.com:0"])?;
        until(&node, &bed, WEB, "closed.example.com", ("502", ""))?;
        until(&other, &bed, there, "closed.example.com", ("502", ""))?;
        // A hub that names no others' tunnels any more does not serve them.
        reload(&other, &config(&bed, 1, "tunnels = \"listed\""))?;
        until(&other, &bed, there, ONE_HOST, ("404", ""))?;
        reload(&other, &config(&bed, 1, ANY))?;
        until(&other, &bed, there, ONE_HOST, ("200", "one"))?;
        drop(one);
        until(&other, &bed, there, ONE_HOST, ("503", ""))
    });
}

#[test]
fn a_request_that_comes_before_the_client_after_a_start_waits_for_it() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = start_as(&bed, 0, &config(&bed, 0, ANY))?;
        let _one = client(&bed, 0, "client-1", ONE, &[])?;
        until(&node, &bed, WEB, ONE_HOST, ("200", "one"))?;
        drop(node);
        let node = start_as(&bed, 0, &config(&bed, 0, ANY))?;
        // It comes back a second after it has lost its server.
        is(&bed, WEB, ONE_HOST, ("200", "one"))?;
        node.daemon().wait_until("who waits for nobody is told so", Duration::from_secs(20), || {
            Ok(is(&bed, WEB, "nobody.example.com", ("404", "")).is_ok())
        })
    });
}
