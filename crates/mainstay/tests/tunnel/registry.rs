//! Two hubs that find each other by a store alone, with a real redis and a real etcd.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_lab::peer::{Etcd, Keeper as _, Mainstay, Redis};
use mainstay_lab::{Host, Lab, Segment};
use serde_json::Value;

use crate::bed;
use crate::bed::{LIMIT, binary};
use crate::peers::{HUBS, agent, config, start_as, whose};

/// Where the store is.
const STORE: &str = "10.0.4.30";

/// A look at the store, and what a busy machine adds.
const SOON: Duration = Duration::from_millis(2_500);

/// Two hubs and a host for the store.
struct Bed {
    hubs: Vec<Host>,
    store: Host,
    _lan: Segment,
    _lab: Lab,
}

impl Bed {
    fn make() -> Result<Self> {
        let lab = Lab::new("registry")?;
        let lan = lab.segment("lan")?;
        let plugged = |name: &str, addr: &str| -> Result<Host> {
            let host = lab.host(name)?;
            host.plug(&lan, "eth0", &[addr])?;
            Ok(host)
        };
        let hubs = vec![plugged("h1", "10.0.4.21/24")?, plugged("h2", "10.0.4.22/24")?];
        let store = plugged("store", "10.0.4.30/24")?;
        Ok(Self { hubs, store, _lan: lan, _lab: lab })
    }

    /// Hub 1 or 2 with this registry.
    fn start(&self, n: usize, registry: &str) -> Result<Mainstay> {
        let config = format!(
            "[node]\nid = \"h{n}\"\nscript_user = \"root\"\n\n[edge]\ninstances = 1\nthreads = 1\n\n[hub]\n\
             bind = \"10.0.4.2{n}:7001\"\nkey = \"0123456789abcdef\"\n\n[registry]\n{registry}\n"
        );
        Mainstay::start(&self.hubs[n - 1], &binary(), &config)
    }

    /// Both, and each knows the other.
    fn up(&self, registry: &str) -> Result<[Mainstay; 2]> {
        let both = [self.start(1, registry)?, self.start(2, registry)?];
        for (node, other) in both.iter().zip(["h2", "h1"]) {
            node.wait_until("the other hub is known", LIMIT, |status| {
                knows(status, other) && status["registry"]["own"] == true
            })?;
        }
        Ok(both)
    }
}

fn redis() -> String {
    format!("redis = [\"redis://{STORE}\"]\nttl = \"3s\"")
}

fn known(status: &Value) -> Vec<String> {
    let hubs = status["registry"]["hubs"].as_array().cloned().unwrap_or_default();
    hubs.iter().filter_map(|hub| hub["hub"].as_str().map(str::to_owned)).collect()
}

fn knows(status: &Value, hub: &str) -> bool {
    known(status) == [hub]
}

/// Waits until a hub says that its store is silent, and that the other stays known.
fn silent(node: &Mainstay, other: &str) -> Result<()> {
    node.wait_until("the store is missed", LIMIT, |status| {
        status["degraded"].to_string().contains("has not answered for") && knows(status, other)
    })
}

/// Waits until the store answers and has this hub's record.
fn well(node: &Mainstay) -> Result<()> {
    node.wait_until("the store answers", LIMIT, |status| {
        status["registry"]["answers"] == true && status["registry"]["own"] == true
    })
}

#[test]
fn hubs_find_each_other_in_a_redis_and_their_records_are_back_a_look_after_a_flush() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let store = Redis::start(&bed.store, &[])?;
        let both = bed.up(&redis())?;
        let status = both[0].status_json()?;
        ensure!(status["registry"]["hubs"][0]["addrs"][0] == "10.0.4.22:7001", "{status}");
        ensure!(
            both[0].say(&["status"])?.contains("this hub's record stands there; knows h2 (10.0.4.22:7001)")
        );
        store.flush()?;
        let flushed = Instant::now();
        store.daemon().wait_until("both records are back", LIMIT, || {
            Ok(store.ctl(&["EXISTS", "mainstay:hub:h1", "mainstay:hub:h2"])?.trim() == "2")
        })?;
        let took = flushed.elapsed();
        println!("records were back {took:?} after the flush");
        ensure!(took < SOON, "it took {took:?}");
        for (node, other) in both.iter().zip(["h2", "h1"]) {
            node.wait_until("the loss is told", LIMIT, |status| status["registry"]["lost"] != 0)?;
            ensure!(node.say(&["events"])?.contains("has lost"), "{}", node.say(&["events"])?);
            ensure!(knows(&node.status_json()?, other), "nobody was lost");
        }
        let lasts: i64 = store.ctl(&["PTTL", "mainstay:hub:h1"])?.trim().parse()?;
        let index: i64 = store.ctl(&["PTTL", "mainstay:hubs"])?.trim().parse()?;
        ensure!((1..=3_000).contains(&lasts) && (1..=30_000).contains(&index), "{lasts} ms, {index} ms");
        Ok(())
    });
}

#[test]
fn what_stands_under_a_hubs_key_and_is_no_record_costs_the_others_nothing() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let store = Redis::start(&bed.store, &[])?;
        let big = "redis.call('SET', KEYS[1], string.rep('x', 3000000))";
        store.ctl(&["EVAL", big, "1", "mainstay:hub:big"])?;
        store.ctl(&["HSET", "mainstay:hub:hash", "a", "b"])?;
        store.ctl(&["ZADD", "mainstay:hubs", "9", "big", "8", "hash", "7", "over"])?;
        let [first, _second] = bed.up(&redis())?;
        first.wait_until("both are counted", LIMIT, |status| status["registry"]["unreadable"] == 2)?;
        store.daemon().wait_until("the name of nobody is taken out", LIMIT, || {
            Ok(store.ctl(&["ZRANGE", "mainstay:hubs", "0", "-1"])?.lines().count() == 4)
        })
    });
}

#[test]
fn while_a_redis_hangs_or_is_gone_hubs_stay_known_also_to_one_that_restarts() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let store = Redis::start(&bed.store, &[])?;
        let [first, second] = bed.up(&redis())?;
        store.daemon().freeze()?;
        silent(&first, "h2")?;
        silent(&second, "h1")?;
        ensure!(first.ctl(&["status"])?.status.code() == Some(4), "it is degraded");
        store.daemon().resume()?;
        well(&first)?;
        well(&second)?;
        store.daemon().kill_all()?;
        silent(&first, "h2")?;
        second.daemon().stop()?;
        second.daemon().wait_ended(LIMIT)?;
        second.daemon().start()?;
        silent(&second, "h1")?;
        store.start_again()?;
        well(&first)?;
        well(&second)?;
        let events = first.say(&["events"])?;
        ensure!(events.contains("does not answer") && events.contains("answers again"), "{events}");
        ensure!(!events.contains("somebody else writes"), "{events}");
        Ok(())
    });
}

#[test]
fn a_hub_that_is_gone_leaves_when_its_record_has_been_missing_for_its_time() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let _store = Redis::start(&bed.store, &["--requirepass", "geheim"])?;
        let registry = format!("{}\npassword = \"geheim\"\nprefix = \"shop\"", redis());
        let [first, second] = bed.up(&registry)?;
        second.daemon().kill_all()?;
        first.wait_until("it is missed", LIMIT, |status| {
            status["registry"]["hubs"][0]["missing_ms"].as_u64().is_some_and(|ms| ms > 0)
        })?;
        first.wait_until("it is gone", LIMIT, |status| known(status).is_empty())?;
        Ok(())
    });
}

#[test]
fn a_redis_that_takes_nothing_and_one_with_another_password_say_why() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let store = Redis::start(&bed.store, &["--requirepass", "geheim"])?;
        let node = bed.start(1, &format!("{}\npassword = \"other\"", redis()))?;
        node.wait_until("the password is refused", LIMIT, |status| {
            status["degraded"].to_string().contains("WRONGPASS")
        })?;
        let mut config = std::fs::read_to_string(node.config_path())?;
        config = config.replace("\"other\"", "\"geheim\"");
        std::fs::write(node.config_path(), config)?;
        node.say(&["reload"])?;
        well(&node)?;
        // A replica answers and takes nothing.
        store.ctl(&["REPLICAOF", "10.0.4.99", "6379"])?;
        store.ctl(&["CONFIG", "SET", "replica-serve-stale-data", "yes"])?;
        node.wait_until("it takes nothing", LIMIT, |status| {
            status["degraded"].to_string().contains("does not take this hub's record")
                && status["registry"]["unwritten"] == true
        })?;
        store.ctl(&["REPLICAOF", "NO", "ONE"])?;
        well(&node)
    });
}

#[test]
fn hubs_find_each_other_in_an_etcd_and_stay_known_while_it_is_away() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let store = Etcd::start(&bed.store, &[])?;
        let registry = format!("etcd = [\"http://{STORE}:2379\"]\nttl = \"3s\"");
        let [first, second] = bed.up(&registry)?;
        store.ctl(&["del", "--prefix", "mainstay:hub:"])?;
        let flushed = Instant::now();
        store.daemon().wait_until("both records are back", LIMIT, || {
            Ok(store.ctl(&["get", "--prefix", "--keys-only", "mainstay:hub:"])?.split_whitespace().count()
                == 2)
        })?;
        println!("records were back {:?} after the flush", flushed.elapsed());
        ensure!(flushed.elapsed() < SOON, "it took {:?}", flushed.elapsed());
        store.daemon().freeze()?;
        silent(&first, "h2")?;
        silent(&second, "h1")?;
        store.daemon().resume()?;
        well(&first)?;
        well(&second)?;
        ensure!(first.status_json()?["registry"]["kind"] == "etcd");
        Ok(())
    });
}

/// Requests to the hub without the agent until a condition holds, none of which may fail.
fn all_served(bed: &bed::Bed, until: impl Fn() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + LIMIT;
    let mut served = 0;
    while served < 20 || !until()? {
        ensure!(Instant::now() < end, "the condition never held");
        ensure!(whose(bed, 0)? == "one", "after {served} requests");
        served += 1;
    }
    println!("{served} requests, none failed");
    Ok(())
}

#[test]
fn requests_reach_the_agent_of_a_hub_that_only_a_registry_told_of_whatever_becomes_of_it() {
    mainstay_lab::test(|| {
        let bed = bed::Bed::make()?;
        let store = Redis::start(&bed.sites[1].0, &[])?;
        let text = |nth: usize| {
            let among = format!("bind = \"{}:7001\"\nkey = \"a key that all hubs have\"", HUBS[nth].1);
            config(&bed, nth, &among) + "\n[registry]\nredis = [\"redis://10.0.4.42\"]\nttl = \"3s\"\n"
        };
        let (near, _far) = (start_as(&bed, 0, &text(0))?, start_as(&bed, 1, &text(1))?);
        let _agent = agent(&bed, 0, 1, bed.who(0)?)?;
        near.daemon()
            .wait_until("it is found", LIMIT, || Ok(whose(&bed, 0).is_ok_and(|name| name == "one")))?;
        // A record that is written between a flush and the next look is not missed: it is flushed until one is.
        all_served(&bed, || {
            store.flush()?;
            Ok(near.status_json()?["registry"]["lost"] != 0)
        })?;
        let silent =
            || Ok(near.status_json()?["registry"]["silent_ms"].as_u64().is_some_and(|ms| ms > 4_000));
        let answers = || Ok(near.status_json()?["registry"]["own"] == true);
        store.daemon().freeze()?;
        all_served(&bed, silent)?;
        store.daemon().resume()?;
        all_served(&bed, answers)?;
        store.daemon().kill_all()?;
        all_served(&bed, silent)?;
        // A hub that starts while the store is away dials the hubs that its former run knew.
        near.daemon().stop()?;
        near.daemon().wait_ended(LIMIT)?;
        near.daemon().start()?;
        near.daemon()
            .wait_until("it is found again", LIMIT, || Ok(whose(&bed, 0).is_ok_and(|name| name == "one")))?;
        store.start_again()?;
        all_served(&bed, answers)
    });
}
