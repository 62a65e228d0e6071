//! Any letters and inputs in any order at any time: the leases never panic, never spin, say no more than an input is
//! worth, and never hold a right that the votes do not give.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mainstay_core::lease::{
    Answered, Asked, Beat, Effect, Freed, Input, Leases, Letter, Mark, Member, Message, Outcome, Reply, Request, Setup,
    Stance, Standing, Terms, VoterList,
};
use mainstay_core::name::{NodeId, RightId};
use mainstay_core::time::Boot;

/// More than that for one input is a flood: each of two rights to four nodes, requests, releases, beats and answers.
const EFFECTS_MAX: usize = 200;

fuzz_target!(|input: &[u8]| {
    let (Some(setup), Some(script)) = (input.get(..4), input.get(4..)) else { return };
    let mut now = Boot::from_nanos(u64::from(setup[0]) << 24);
    let term = Duration::from_millis([20, 300, 1_500, 60_000][usize::from(setup[1] & 3)]);
    let setup = Setup {
        me: NodeId(u32::from(setup[2] & if setup[1] & 16 != 0 { 1 } else { 3 })),
        // Two nodes whose promises last, or many.
        list: if setup[1] & 16 != 0 { pair() } else { list(1, setup[3]) },
        terms: Terms { term, term_max: term, drift_ppm: 1_000, gate_error: Duration::from_millis(1) },
        salt: 7,
        instance: u64::from(setup[0]),
        heir_of: (setup[1] & 4 != 0).then_some(9),
        epoch_floor: u64::from(setup[1]),
        remembers: setup[1] & 8 != 0,
        lasting: setup[1] & 16 != 0,
    };
    let mut leases = Leases::new(setup, vec!["vip/a".into(), "node/n0".into()], now);
    drain(&mut leases, now);
    let mut rest = script;
    while let Some((step, tail)) = rest.split_first_chunk::<8>() {
        rest = tail;
        now += Duration::from_micros(u64::from(step[7]) * [0, 10, 1_000, 50_000][usize::from(step[6] & 3)]);
        give(&mut leases, step, now);
        drain(&mut leases, now);
        assert!(leases.held(now).all(|(right, _, until)| right.index() < 2 && until > now));
    }
});

fn list(epoch: u32, how: u8) -> VoterList {
    let member = |n: u8| Member { id: format!("n{n}"), votes: how & (1 << n) == 0 || n == 0, holds: n != 3 };
    VoterList { epoch, members: (0..3 + (how >> 7) + 1).map(member).collect() }
}

fn pair() -> VoterList {
    let member = |id: &str| Member { id: id.to_owned(), votes: true, holds: true };
    VoterList { epoch: 1, members: vec![member("n0"), member("n1")] }
}

fn give(leases: &mut Leases, step: &[u8; 8], now: Boot) {
    let [what, who, which, how, more, epoch, _, _] = *step;
    let right = RightId(u32::from(which & 3));
    match what % 8 {
        0..=3 => {
            let mark = if who & 64 == 0 { leases.mark() } else { Mark { epoch: u32::from(epoch), hash: 1 } };
            let messages = vec![message(leases, what >> 3, which, how, more, epoch)];
            let heir_of = (who & 32 != 0).then_some(u64::from(more));
            let letter = Letter { instance: u64::from(who >> 3 & 3), heir_of, mark, messages };
            leases.handle(Input::Heard { from: NodeId(u32::from(who & 7)), letter: &letter }, now);
        }
        4 => {
            let ready = Stance::Ready { priority: more, preempts: epoch & 1 == 0 };
            let stance = if how & 1 == 0 { Stance::Unable } else { ready };
            leases.handle(Input::Stance { right, stance }, now);
        }
        5 => leases.handle(Input::Gone { right }, now),
        6 if how & 1 == 0 => leases.handle(Input::Successor { right, next: NodeId(u32::from(who & 7)) }, now),
        6 if how & 4 == 0 => {
            // What is taken on an operator's word is held only where a promise lasts and the other is not heard.
            let taken = leases.take(right, NodeId(u32::from(who & 3)), now);
            assert!(taken.is_err() || leases.list().members.len() == 2);
        }
        6 if how & 2 == 0 => {
            let changed = leases.change(&list(u32::from(epoch), more), now);
            assert!(changed.is_err() || leases.list().epoch == u32::from(epoch));
        }
        6 => leases.set_rights(vec!["node/n0".into(), "vip/a".into()], now),
        _ => {
            leases.handle(Input::Tick, now);
            assert!(leases.poll_timeout().is_none_or(|due| due > now), "a tick leaves nothing due");
        }
    }
}

fn message(leases: &Leases, what: u8, which: u8, how: u8, more: u8, epoch: u8) -> Message {
    let right = ["vip/a", "node/n0", "strange", ""][usize::from(which & 3)].to_owned();
    let number = u64::from(how);
    let epoch = if epoch == 255 { u64::MAX } else { u64::from(epoch) };
    let by = ["n0", "n1", "n2", "x"][usize::from(which >> 2 & 3)].to_owned();
    let left = if more == 255 { Duration::MAX } else { Duration::from_millis(u64::from(more)) };
    match what % 6 {
        0 => {
            let (ready, preempts) = (how & 1 == 0, how & 2 == 0);
            let standing = Standing { right, epoch, ready, preempts, priority: more };
            Message::Beat(Beat { number, rights: vec![standing; usize::from(which >> 4)] })
        }
        1 => {
            let asked = Asked { right, epoch, renewal: how & 1 == 0 };
            Message::Request(Request { number, term: left, rights: vec![asked; usize::from(which >> 4)] })
        }
        2 | 3 => {
            let outcome = match how % 6 {
                0 | 1 => Outcome::Granted { epoch },
                2 => Outcome::Held { by, epoch, left },
                3 => Outcome::Stale { epoch },
                4 => Outcome::Mute { left },
                _ => Outcome::Mismatch { mark: leases.mark(), term_max: left },
            };
            Message::Reply(Reply { number: number / 6, rights: vec![Answered { right, outcome }] })
        }
        4 => Message::Free(vec![Freed { right, epoch, next: (how & 1 == 0).then_some(by) }]),
        _ => Message::List(list(u32::try_from(epoch).unwrap_or(u32::MAX), more)),
    }
}

fn drain(leases: &mut Leases, now: Boot) {
    for _ in 0..EFFECTS_MAX {
        match leases.poll_effect() {
            None => return,
            Some(Effect::Held { until, .. }) => assert!(until > now),
            Some(Effect::Send { to, .. }) => assert!(to.index() < 5),
            Some(Effect::Yield { .. } | Effect::Adopted(_) | Effect::Notice(_)) => {}
        }
    }
    panic!("effects without end");
}
