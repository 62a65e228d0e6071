//! A redis that is flushed, stopped, hung, and plugins that are killed or told to end.

use std::time::Duration;

use anyhow::{Result, ensure};
use mainstay_lab::peer::Redis;
use rustix::process::Signal;

use crate::bed::{
    Bed, DONE, LABEL, LIMIT, ONE, TUNNEL, TWO, get, get_rule, listed, register, renew, rule, set_rule,
};

const REDIS: &str = "--redis.addr=127.0.0.1:6379";

/// No call takes longer, whatever the redis does: what the plugin waits for it, and what a busy machine adds.
const SOON: Duration = Duration::from_millis(1_000);

fn client(redis: &Redis, id: &str) -> Result<bool> {
    Ok(redis.ctl(&["HEXISTS", TUNNEL, id])?.trim() == "1")
}

#[test]
fn a_flush_costs_no_answer_and_heals() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let redis = bed.redis()?;
        let sd = bed.plugin("sd", 8000, &[REDIS])?;
        let ingress = bed.plugin("ingress", 8001, &[REDIS, "--domain=gost.local"])?;
        bed.calls(8000, "", &[register(ONE)])?;
        bed.calls(8001, "", &[set_rule(LABEL, TUNNEL)])?;
        redis.flush()?;
        ensure!(bed.calls(8000, "", &[get()])?[0].is(&listed(&[ONE])), "{}", sd.log());
        ensure!(client(&redis, ONE)?);
        mainstay_lab::wait_until("the host is known again", LIMIT, || {
            let said = bed.calls(8001, "", &[get_rule("b7de88a94729b931.gost.local")])?;
            ensure!(said[0].is(&rule(TUNNEL)), "{said:?}");
            Ok(redis.ctl(&["GET", LABEL])?.trim() == TUNNEL)
        })?;
        ensure!(ingress.log().contains("has lost everything"), "{}", ingress.log());
        // Nobody calls: it is noticed all the same, for others who read the redis.
        redis.flush()?;
        mainstay_lab::wait_until("both are written again", LIMIT, || {
            Ok(client(&redis, ONE)? && redis.ctl(&["GET", LABEL])?.trim() == TUNNEL)
        })?;
        // A field that is lost alone comes back with the next renewal.
        redis.ctl(&["HDEL", TUNNEL, ONE])?;
        ensure!(bed.calls(8000, "", &[renew(ONE)])?[0].is(DONE) && client(&redis, ONE)?);
        Ok(())
    });
}

#[test]
fn a_redis_that_hangs_or_is_killed_holds_nobody_up() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let redis = bed.redis()?;
        let sd = bed.plugin("sd", 8000, &[REDIS, "--redis.expiration=10m"])?;
        let ingress = bed.plugin("ingress", 8001, &[REDIS, "--domain=gost.local"])?;
        bed.calls(8000, "", &[register(ONE)])?;
        bed.calls(8001, "", &[set_rule(LABEL, TUNNEL)])?;
        for (round, hangs) in [(1, true), (2, false)] {
            let id = if hangs { TWO } else { "another" };
            if hangs {
                redis.daemon().freeze()?
            } else {
                redis.daemon().kill_all()?
            }
            let mut known = vec![ONE, TWO];
            if !hangs {
                known.push("another");
            }
            known.sort_unstable();
            let said = bed.calls(8000, "", &[renew(ONE), register(id), get(), get(), renew(ONE)])?;
            ensure!(said.iter().all(|said| said.took < SOON), "{said:?}");
            for (said, expected) in said.iter().zip([DONE, DONE, &listed(&known), &listed(&known), DONE]) {
                ensure!(said.is(expected), "{said:?}, not {expected}\n{}", sd.log());
            }
            let own = if hangs { "one.example" } else { "two.example" };
            let calls = [get_rule("b7de88a94729b931.gost.local"), set_rule(own, TUNNEL), get_rule(own)];
            let said = bed.calls(8001, "", &calls)?;
            ensure!(said.iter().all(|said| said.took < SOON), "{said:?}");
            for (said, expected) in said.iter().zip([rule(TUNNEL).as_str(), DONE, &rule(TUNNEL)]) {
                ensure!(said.is(expected), "{said:?}, not {expected}\n{}", ingress.log());
            }
            sd.wait_until("it is told that redis is silent", LIMIT, || {
                Ok(sd.log().contains("does not answer"))
            })?;
            if hangs {
                redis.daemon().resume()?
            } else {
                redis.start_again()?
            }
            mainstay_lab::wait_until("what was told is written, and redis known to be back", LIMIT, || {
                let back = sd.log().matches("answers again").count() >= round;
                Ok(back
                    && client(&redis, ONE)?
                    && client(&redis, id)?
                    && redis.ctl(&["GET", own])?.trim() == TUNNEL)
            })?;
        }
        Ok(())
    });
}

#[test]
fn what_a_killed_plugin_knew_stands_in_the_store_and_expires_there() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let redis = bed.redis()?;
        let sd = bed.plugin("sd", 8000, &[REDIS, "--redis.expiration=5s"])?;
        let other = bed.plugin("sd", 8002, &[REDIS, "--redis.expiration=5s"])?;
        // Its calls come from elsewhere, and may come to another.
        let said = bed.calls(8000, "", &[register(ONE), register(TWO)])?;
        ensure!(said.iter().all(|said| said.is(DONE)), "{said:?}");
        sd.kill_all()?;
        ensure!(bed.calls(8002, "", &[renew(ONE)])?[0].is(DONE), "it was registered at the other one");
        sd.start()?;
        bed.listens(&sd, 8000)?;
        mainstay_lab::wait_until("who is not renewed is over", LIMIT, || {
            ensure!(bed.calls(8002, "", &[renew(ONE)])?[0].is(DONE));
            Ok(bed.calls(8000, "", &[get()])?[0].is(&listed(&[ONE])))
        })?;
        mainstay_lab::wait_until("nothing is left behind", LIMIT, || {
            Ok(redis.ctl(&["EXISTS", TUNNEL])?.trim() == "0" && bed.calls(8000, "", &[get()])?[0].is(""))
        })?;
        for daemon in [&sd, &other] {
            daemon.signal(Signal::TERM)?;
            daemon.wait_ended(LIMIT)?;
        }
        Ok(())
    });
}
