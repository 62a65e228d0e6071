//! Plugins that answer anything, in any order, and visitors that ask for anything: no panic, bounded calls, and who waits is always let go.
#![no_main]

use std::collections::BTreeSet;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mainstay_core::gost::book::{
    Answer, Asked, Book, CALLS_MAX, Effect, Input, Look, NODES_MAX, Node, Plugin, Rule, Service, Settings,
};
use mainstay_core::time::Boot;

fuzz_target!(|input: &[u8]| {
    let settings = |bits: u8| Settings {
        node: format!("n{}", bits & 1),
        address: "10.0.0.1:80".into(),
        sd: bits & 2 == 0,
        ingress: bits & 4 == 0,
        renew: Duration::from_secs(u64::from(bits >> 4) + 1),
    };
    let mut now = Boot::from_nanos(1_000_000_000);
    let mut book = Book::new(settings(0), 7, now);
    let mut under: Vec<u64> = Vec::new();
    let mut waits: BTreeSet<Asked> = BTreeSet::new();
    for step in input.chunks(4) {
        let [what, a, b, c] = [0, 1, 2, 3].map(|at| step.get(at).copied().unwrap_or(0));
        let name = format!("x{}", a % 8);
        now += Duration::from_millis(u64::from(c) * 40);
        match what % 10 {
            0 => book.handle(Input::Tick, now),
            1 => book.handle(Input::Settings { settings: settings(a), anew: plugins(b) }, now),
            2 => {
                let service = Service {
                    id: format!("c{b}"),
                    tunnel: name,
                    datagrams: c & 1 == 1,
                    private: c & 2 == 2,
                    hosts: vec![format!("h{b}")],
                };
                book.handle(Input::Bound(service), now);
            }
            3 => book.handle(Input::Unbound(format!("c{b}")), now),
            4 => book.handle(Input::Wanted((0..b % 9).map(|n| format!("x{n}")).collect()), now),
            5 => book.handle(Input::Doubt(name), now),
            6 if book.rule(&name, now) == Look::Asked => drop(waits.insert(Asked::Host(name))),
            7 if book.nodes(&name, now) == Look::Asked => drop(waits.insert(Asked::Tunnel(name))),
            8 if !under.is_empty() => {
                let call = under.swap_remove(usize::from(a) % under.len());
                book.handle(Input::Answered { call, answer: answer(b, step) }, now);
            }
            9 if !under.is_empty() => {
                let call = under.swap_remove(usize::from(a) % under.len());
                book.handle(Input::Failed { call, why: String::from_utf8_lossy(step).into() }, now);
            }
            _ => {}
        }
        drain(&mut book, &mut under, &mut waits);
        for n in 0..8 {
            assert!(book.known_nodes(&format!("x{n}")).len() <= NODES_MAX);
        }
    }
    // Whatever was asked for ends when every call does; what waits for its turn begins by and by.
    for _ in 0..1_000 {
        if waits.is_empty() {
            return;
        }
        now += Duration::from_secs(2);
        book.handle(Input::Tick, now);
        drain(&mut book, &mut under, &mut waits);
        for call in std::mem::take(&mut under) {
            book.handle(Input::Failed { call, why: String::new() }, now);
            drain(&mut book, &mut under, &mut waits);
        }
    }
    assert!(waits.is_empty(), "somebody waits for nothing");
});

fn drain(book: &mut Book, under: &mut Vec<u64>, waits: &mut BTreeSet<Asked>) {
    while let Some(effect) = book.poll_effect() {
        match effect {
            Effect::Call { call, .. } => under.push(call),
            Effect::Settled(asked) => drop(waits.remove(&asked)),
            Effect::Nodes(_) | Effect::Tell(_) => {}
        }
    }
    let view = book.view();
    for plugin in [view.sd, view.ingress].into_iter().flatten() {
        assert!(plugin.under_way <= CALLS_MAX);
    }
}

fn plugins(bits: u8) -> Vec<Plugin> {
    let all = [(1, Plugin::Sd), (2, Plugin::Ingress)];
    all.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, plugin)| plugin).collect()
}

fn answer(kind: u8, bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes).into_owned();
    match kind % 5 {
        0 => Answer::Done(kind & 8 == 0),
        1 => Answer::Rule(None),
        2 => Answer::Rule(Some(Rule { tunnel: text, private: false, made: kind & 8 == 0 })),
        _ => Answer::Nodes(
            (0..kind)
                .map(|n| Node { node: text.clone(), address: format!("{text}:{n}"), datagrams: n & 1 == 1 })
                .collect(),
        ),
    }
}
