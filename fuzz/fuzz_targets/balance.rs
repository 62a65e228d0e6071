//! Any inputs in any order at any time: a pool's machine never panics, never has more aside than it may, never picks who is
//! out, full or was asked, and finds somebody as long as anybody may be asked.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mainstay_core::balance::hash::mix;
use mainstay_core::balance::{
    Admits, Input, MemberSpec, Nobody, Order, OutlierSpec, Policy, Roster, Spec, State, Ticket, View,
};
use mainstay_core::election::Verdict;
use mainstay_core::time::Boot;

const POLICIES: [Policy; 5] =
    [Policy::Turns, Policy::Least, Policy::TwoChoices, Policy::Hash, Policy::Random];

fuzz_target!(|input: &[u8]| {
    let (Some(setup), Some(script)) = (input.get(..4), input.get(4..)) else { return };
    let mut spec = spec(setup);
    let mut roster = Roster::new(spec);
    let mut list = list(setup[2], setup[3]);
    let mut now = Boot::from_nanos(u64::from(setup[3]) << 20);
    roster.replace(spec, &list, now);
    let mut out: Vec<Ticket> = Vec::new();
    let mut state = 0;
    for step in script.chunks_exact(3) {
        let &[what, which, how] = step else { return };
        now += Duration::from_millis(u64::from(how & 31)) * (1 << (how >> 5));
        match what % 8 {
            0..=2 => {
                roster.handle(Input::Tick, now);
                out.extend(pick(&mut roster, &Sight { which, how }, now, &mut state));
            }
            3 if !out.is_empty() => {
                let ticket = out.swap_remove(usize::from(which) % out.len());
                let input = match how % 4 {
                    0 => Input::Answered(ticket),
                    1 => Input::Unanswered(ticket),
                    _ => Input::Failed(ticket),
                };
                roster.handle(input, now);
            }
            4 => {
                // Tickets that nobody has been given: old positions, old terms.
                let ticket = Ticket { member: u32::from(which), term: u32::from(how & 3), trial: how & 4 != 0 };
                roster.handle(Input::Failed(ticket), now);
            }
            5 => {
                let verdicts = [Verdict::Pending, Verdict::Up, Verdict::Down, Verdict::Unknown];
                let verdict = verdicts[usize::from(how % 4)];
                roster.handle(Input::Verdict { member: usize::from(which % 20), verdict }, now);
            }
            6 => {
                let order = match how % 6 {
                    0 => Order::Ready,
                    1 => Order::Drain,
                    2 => Order::Down,
                    3 => Order::Weight(u32::from(which)),
                    _ => Order::AsWritten,
                };
                roster.handle(Input::Order { member: usize::from(which % 20), order }, now);
            }
            7 => {
                spec = self::spec(&[which, how]);
                list = self::list(how, which);
                roster.replace(spec, &list, now);
            }
            _ => roster.handle(Input::Tick, now),
        }
        assert!(roster.asides() * 100 <= spec.share_max as usize * list.len(), "more aside than may be");
        assert!(roster.poll_timeout() > now, "a tick that is due at once is due for ever");
        while roster.poll_effect().is_some() {}
    }
});

struct Sight {
    which: u8,
    how: u8,
}

impl View for Sight {
    fn admits(&self, member: usize) -> Admits {
        match mix(u64::from(self.which) << 8 | member as u64) % 4 {
            0 if self.how & 1 != 0 => Admits::Full,
            1 if self.how & 2 != 0 => Admits::Tried,
            _ => Admits::Yes,
        }
    }

    fn load(&self, member: usize) -> u64 {
        mix(member as u64 ^ u64::from(self.how)) >> (self.which & 63)
    }

    fn latency(&self, member: usize) -> Duration {
        Duration::from_nanos(mix(member as u64) >> (self.which & 63))
    }
}

fn pick(roster: &mut Roster, sight: &Sight, now: Boot, state: &mut u64) -> Option<Ticket> {
    let mut draw = || {
        *state += 1;
        mix(*state)
    };
    let picked = roster.pick(u64::from(sight.which), &mut draw, sight);
    let out = |one: usize| {
        let state = roster.view(one, now).expect("it is in the list").state;
        matches!(state, State::DownByProbe | State::DownByOrder | State::DownAsWritten | State::Drained)
    };
    match picked {
        Ok(ticket) => {
            assert!(!out(ticket.member()) && sight.admits(ticket.member()) == Admits::Yes);
            roster.handle(Input::Sent(ticket), now);
            Some(ticket)
        }
        Err(why) => {
            let open = |one: &usize| !out(*one) && sight.admits(*one) == Admits::Yes;
            // Who waits for a full one of the first tier is not sent to the second.
            assert!(why == Nobody::Full || !(0..roster.len()).any(|one| open(&one)), "somebody is there");
            None
        }
    }
}

fn spec(setup: &[u8]) -> Spec {
    Spec {
        policy: POLICIES[usize::from(setup[0] % 5)],
        share_max: u32::from(setup[1] % 101),
        slow_start: Duration::from_millis(u64::from(setup[0] >> 3) * 100),
    }
}

fn list(size: u8, kind: u8) -> Vec<MemberSpec> {
    let member = |number: u8| {
        let bits = mix(u64::from(number) << 8 | u64::from(kind));
        let small = |shift: u32, below: u64| u32::try_from((bits >> shift) % below).expect("it is small");
        MemberSpec {
            key: mix(u64::from(number)),
            weight: 1 + small(0, 300),
            backup: small(10, 4) == 0,
            down: small(14, 8) == 0,
            probed: small(18, 2) == 0,
            outlier: OutlierSpec {
                failures: small(22, 4),
                window: Duration::from_millis(u64::from(small(26, 5000))),
                aside: Duration::from_millis(u64::from(small(40, 5000))),
            },
        }
    };
    (0..size % 12).map(|number| member(number.wrapping_add(kind & 3))).collect()
}
