//! Any order of calls, steps and failures for the machine behind gost's plugins: no panic, every call is answered, what
//! is kept stays within its bounds.

#![no_main]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mainstay_core::gost::plugin::{
    self as core, Ask, CALLS_MAX, Effect, Found, Input, Moment, Plugin, Record, Service,
};
use mainstay_core::time::Boot;

const FROM: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fuzz_target!(|bytes: &[u8]| {
    let [first, choice, rest @ ..] = bytes else { return };
    if first % 2 == 0 { texts(*choice, rest) } else { machine(*choice, rest) }
});

/// Calls of any text, each answered at once by a machine without a store.
fn texts(choice: u8, bytes: &[u8]) {
    let now = Moment { boot: Boot::from_nanos(1 << 50), unix: 1 << 31 };
    let settings = core::Settings {
        stored: false,
        lasts: Duration::from_secs(60),
        domains: vec!["gost.local".into(), "d".into()],
        generate: |endpoint| endpoint.chars().take(16).collect(),
    };
    let mut plugin = Plugin::new(settings, now);
    let text = String::from_utf8_lossy(bytes);
    let mut texts = text.split('\0').map(str::to_owned);
    for call in 0..20 {
        let mut next = || texts.next().unwrap_or_default();
        let mut whole =
            || Service { id: next(), name: next(), node: next(), network: next(), address: next() };
        let ask = match (call + usize::from(choice)) % 6 {
            0 => Ask::Register { service: whole(), from: FROM },
            1 => Ask::Renew(whole()),
            2 => Ask::Deregister(whole()),
            3 => Ask::Get(next()),
            4 => Ask::GetRule(next()),
            _ => Ask::SetRule { host: next(), endpoint: next() },
        };
        plugin.handle(Input::Call { call: call as u64, ask }, now);
        let answers = std::iter::from_fn(|| plugin.poll_effect());
        let answers =
            answers.filter(|effect| matches!(effect, Effect::Answer { call: of, .. } if *of == call as u64));
        assert_eq!(answers.count(), 1, "a call is answered once");
    }
}

/// A machine that is fed two bytes at a time, over a store that does what they say.
fn machine(choice: u8, bytes: &[u8]) {
    let mut now = Moment { boot: Boot::from_nanos(1 << 50), unix: 1 << 31 };
    let settings = core::Settings {
        stored: choice & 1 == 0,
        lasts: Duration::from_secs(u64::from(choice >> 4) + 1),
        domains: vec!["d".into()],
        generate: |endpoint| endpoint.chars().take(2).collect(),
    };
    let mut plugin = Plugin::new(settings, now);
    let (mut steps, mut open, mut next): (Vec<u64>, BTreeSet<u64>, u64) = (Vec::new(), BTreeSet::new(), 0);
    for pair in bytes.chunks_exact(2) {
        let (what, of) = (pair[0], usize::from(pair[1]));
        let id = (of % 5).to_string();
        let name = format!("{}81433e1-7980-11ee-bbdb-60f262c1e32d", of / 5 % 5);
        let endpoint = format!("{}81433e1-7980-11ee-bbdb-60f262c1e32d", of % 3);
        let service = service(&id, &name);
        let record =
            Record { node: "n".into(), network: "tcp".into(), address: "a:80".into(), renewed: now.unix };
        let found = match of % 4 {
            0 => Found::Done,
            1 => Found::Clients(vec![(id.clone(), record)]),
            2 => Found::Owner((of > 99).then(|| endpoint.clone())),
            _ => Found::Unfit,
        };
        let step = steps.get(of % steps.len().max(1)).copied().unwrap_or(0);
        let ask = match what % 10 {
            0 => Some(Ask::Register { service, from: FROM }),
            1 => Some(Ask::Renew(service)),
            2 => Some(Ask::Deregister(service)),
            3 => Some(Ask::Get(name)),
            4 => Some(Ask::GetRule(format!("{id}.d"))),
            5 => Some(Ask::SetRule { host: id, endpoint }),
            _ => None,
        };
        match (ask, what % 10) {
            (Some(ask), _) => {
                next += 1;
                open.insert(next);
                plugin.handle(Input::Call { call: next, ask }, now);
            }
            (None, 6) => plugin.handle(Input::Taken { step, found, epoch: vec![pair[1] >> 7] }, now),
            (None, 7) => plugin.handle(Input::Failed { step }, now),
            (None, _) => {
                let millis = 1 << (of % 16);
                now =
                    Moment { boot: now.boot + Duration::from_millis(millis), unix: now.unix + millis / 1000 };
                plugin.handle(Input::Tick, now);
            }
        }
        while let Some(effect) = plugin.poll_effect() {
            match effect {
                Effect::Answer { call, .. } => assert!(open.remove(&call), "a call is answered once"),
                Effect::Take { step, .. } => steps.push(step),
                Effect::Tell(_) => {}
            }
        }
        assert!(open.len() <= CALLS_MAX);
    }
    now.boot += Duration::from_secs(1);
    plugin.handle(Input::Tick, now);
    while let Some(effect) = plugin.poll_effect() {
        if let Effect::Answer { call, .. } = effect {
            assert!(open.remove(&call), "a call is answered once");
        }
    }
    assert!(open.is_empty(), "nobody waits longer than the machine's patience");
}

fn service(id: &str, name: &str) -> Service {
    let (node, network) = ("n".into(), "tcp".into());
    Service { id: id.into(), name: name.into(), node, network, address: ":80".into() }
}
