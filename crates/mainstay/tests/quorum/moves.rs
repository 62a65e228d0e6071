//! The address moves by agreement: a stop, an operator's word, a failed probe.

use std::time::Instant;

use mainstay_lab::peer::Keeper as _;

use crate::rig::{CALM, LIMIT, Rig, never_two};

#[test]
fn an_address_is_granted_and_handed_over_at_a_stop() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second, _witness] = rig.up("1.5s", "")?;
        let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
        first.daemon().stop()?;
        second.wait_for_state("front", "active", LIMIT)?;
        client.wait_for_steady("n2", CALM, LIMIT)?;
        never_two(watch, begun)?;
        let line = client.stop();
        println!("a stop cost {:?}", line.outage(&line.whole()));
        Ok(())
    });
}
