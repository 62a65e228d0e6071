//! Turns: who sends next.

use super::rig::{Rig, SMALL, Told, effects, fill};
use crate::tunnel::{HEADER, Key, Limits, STAGE, TURN};

const WIDE: Limits = Limits { budget: 64 << 20, window: 8 << 20, window_max: 8 << 20, ..SMALL };

/// The streams whose turn it is send what they may; the others' names are kept.
fn take_turns(rig: &mut Rig, busy: &[Key]) {
    for told in effects(&mut rig.hub) {
        if let Told::Writable(key) = told
            && busy.contains(&key)
        {
            fill(&mut rig.hub, key);
        }
    }
}

#[test]
fn a_small_message_waits_for_what_is_staged_and_one_turn_of_each_busy_stream() {
    behind(true, STAGE);
}

#[test]
fn less_is_staged_where_the_carrier_has_to_be_waited_for() {
    behind(false, TURN);
}

/// Sends a small message behind busy streams, over a carrier that takes all that it is given or not.
fn behind(free: bool, stage: usize) {
    let mut rig = Rig::new(WIDE);
    rig.hub.carried(free);
    let busy: Vec<Key> = (0..6).map(|_| rig.open().0).collect();
    busy.iter().for_each(|key| {
        fill(&mut rig.hub, *key);
    });
    let (small, theirs) = {
        let (key, _) = rig.hub.open(&crate::tunnel::Open::default(), b"", rig.now).unwrap();
        (key, key.id())
    };
    assert_eq!(rig.hub.send(small, b"small"), Ok(0), "it has to wait");
    let (mut ahead, mut sent) = (0, false);
    while !sent {
        // The carrier takes little at a time.
        let bytes = rig.hub.output()[..rig.hub.output().len().min(10_000)].to_vec();
        rig.hub.sent(bytes.len());
        rig.hub.carried(free);
        ahead += bytes.len();
        let told = effects(&mut rig.hub);
        for told in &told {
            match told {
                Told::Writable(key) if *key == small => sent = rig.hub.send(small, b"small").unwrap() == 5,
                Told::Writable(key) if busy.contains(key) => {
                    fill(&mut rig.hub, *key);
                }
                _ => {}
            }
        }
    }
    ahead += rig.hub.output().len();
    let most = stage + TURN + busy.len() * (TURN + HEADER) + 1000;
    assert!(ahead <= most, "{ahead} bytes before stream {theirs}, at most {most}");
}

#[test]
fn busy_streams_share_alike() {
    let mut rig = Rig::new(WIDE);
    let busy: Vec<Key> = (0..5).map(|_| rig.open().0).collect();
    busy.iter().for_each(|key| {
        fill(&mut rig.hub, *key);
    });
    let before: Vec<u32> = busy.iter().map(|key| rig.hub.streams.get(*key).unwrap().unacked).collect();
    for _ in 0..500 {
        let count = rig.hub.output().len().min(20_000);
        rig.hub.sent(count);
        take_turns(&mut rig, &busy);
    }
    let sent =
        busy.iter().zip(before).map(|(key, before)| rig.hub.streams.get(*key).unwrap().unacked - before);
    let sent: Vec<u32> = sent.collect();
    let (least, most) = (*sent.iter().min().unwrap(), *sent.iter().max().unwrap());
    assert!(most - least <= 2 * TURN as u32, "{sent:?}");
}

#[test]
fn who_does_not_use_its_turn_stops_nobody() {
    let mut rig = Rig::new(WIDE);
    let busy: Vec<Key> = (0..30).map(|_| rig.open().0).collect();
    busy.iter().for_each(|key| {
        fill(&mut rig.hub, *key);
    });
    let last = *busy.last().unwrap();
    let mut rounds = 0;
    loop {
        rig.hub.sent(rig.hub.output().len());
        rig.hub.turn();
        // All but the last have nothing to send any more.
        if effects(&mut rig.hub).contains(&Told::Writable(last)) {
            break;
        }
        rounds += 1;
        assert!(rounds < 40, "the last one never has its turn");
    }
    assert!(fill(&mut rig.hub, last) > 0);
}

#[test]
fn control_frames_do_not_wait_for_turns() {
    let mut rig = Rig::new(WIDE);
    let busy: Vec<Key> = (0..10).map(|_| rig.open().0).collect();
    busy.iter().for_each(|key| {
        fill(&mut rig.hub, *key);
    });
    let staged = rig.hub.output().len();
    rig.pass(WIDE.ping);
    assert!(rig.hub.output().len() > staged);
    assert!(staged <= STAGE + TURN + HEADER);
}
