//! What is promised of a store that forgets, hangs and returns.

use std::collections::BTreeSet;
use std::time::Duration;

use super::world::{DEADLINE, TTL, Without, World, ms, record};
use super::*;
use crate::time::Boot;
use crate::tunnel::record::Record;

const START: Boot = Boot::from_nanos(5_000_000_000);

/// A keeper of hub "a" whose record has been written, with an empty store before.
fn written(now: Boot) -> Keeper {
    let mut keeper = Keeper::new("a", TTL, now);
    keeper.handle(Input::Own(record("a", 7)), now);
    listed(&mut keeper, Vec::new(), now);
    let call = writes(&mut keeper).expect("it is written").0;
    keeper.handle(Input::Written { call }, now);
    keeper
}

fn effects(keeper: &mut Keeper) -> Vec<Effect> {
    std::iter::from_fn(|| keeper.poll_effect()).collect()
}

/// The write that is asked for, if one is.
fn writes(keeper: &mut Keeper) -> Option<(u64, Record)> {
    effects(keeper).into_iter().find_map(|effect| match effect {
        Effect::Write { call, record, .. } => Some((call, record)),
        Effect::List { .. } | Effect::Hubs(_) | Effect::Tell(_) => None,
    })
}

/// Answers the listing that is asked for at this time.
fn listed(keeper: &mut Keeper, records: Vec<Record>, now: Boot) {
    keeper.handle(Input::Tick, now);
    let asked = effects(keeper).into_iter().find_map(|effect| match effect {
        Effect::List { call } => Some(call),
        Effect::Write { .. } | Effect::Hubs(_) | Effect::Tell(_) => None,
    });
    keeper.handle(Input::Listed { call: asked.expect("a listing is due"), records }, now);
}

/// The same each second from a moment on, writes answered; returns what was asked for and told.
fn each_second(keeper: &mut Keeper, records: &[Record], from: Boot, seconds: u64) -> Vec<Effect> {
    let mut all = Vec::new();
    for n in 0..seconds * 10 {
        let now = from + ms(n * 100);
        keeper.handle(Input::Tick, now);
        while let Some(effect) = keeper.poll_effect() {
            match &effect {
                Effect::List { call } => {
                    keeper.handle(Input::Listed { call: *call, records: records.to_vec() }, now);
                }
                Effect::Write { call, .. } => keeper.handle(Input::Written { call: *call }, now),
                Effect::Hubs(_) | Effect::Tell(_) => {}
            }
            all.push(effect);
        }
    }
    all
}

fn told(effects: &[Effect]) -> Vec<&News> {
    fn news(effect: &Effect) -> Option<&News> {
        match effect {
            Effect::Tell(news) => Some(news),
            Effect::Write { .. } | Effect::List { .. } | Effect::Hubs(_) => None,
        }
    }
    effects.iter().filter_map(news).collect()
}

#[test]
fn what_the_store_has_is_looked_at_before_anything_is_written() {
    let mut keeper = Keeper::new("a", TTL, START);
    keeper.handle(Input::Own(record("a", 7)), START);
    assert!(matches!(effects(&mut keeper)[..], [Effect::List { call: 1 }]));
    keeper.handle(Input::Tick, START + POLL);
    assert!(effects(&mut keeper).is_empty(), "one call at a time");
    assert_eq!(keeper.poll_timeout(), None);
    keeper.handle(Input::Listed { call: 1, records: Vec::new() }, START);
    assert!(matches!(&effects(&mut keeper)[..], [Effect::Write { call: 2, .. }]));
}

#[test]
fn who_cannot_be_dialled_is_not_written_and_knows_others_all_the_same() {
    let mut keeper = Keeper::new("a", TTL, START);
    keeper.handle(Input::Own(Record { addrs: Vec::new(), ..record("a", 7) }), START);
    listed(&mut keeper, vec![record("b", 1)], START);
    assert_eq!(effects(&mut keeper), [Effect::Hubs(vec![record("b", 1)])]);
}

#[test]
fn a_record_is_renewed_each_third_of_its_time() {
    let mut keeper = written(START);
    let all = each_second(&mut keeper, &[record("a", 7)], START + ms(100), 10);
    let writes = all.iter().filter(|effect| matches!(effect, Effect::Write { .. })).count();
    assert_eq!(writes, 2, "{all:?}");
}

#[test]
fn changes_that_come_together_are_written_once_and_the_last_of_them() {
    let mut keeper = written(START);
    let later = START + ms(500);
    keeper.handle(Input::Own(Record { tunnels: vec!["t".into()], ..record("a", 7) }), later);
    let (call, first) = writes(&mut keeper).expect("at once");
    assert_eq!(first.tunnels, ["t"]);
    let last = Record { tunnels: vec!["u".into()], ..record("a", 7) };
    keeper.handle(Input::Own(record("a", 7)), later);
    keeper.handle(Input::Own(last.clone()), later);
    keeper.handle(Input::Written { call }, later + ms(1));
    assert_eq!(writes(&mut keeper), None, "within the gap");
    assert_eq!(keeper.poll_timeout(), Some(later + GAP));
    keeper.handle(Input::Tick, later + GAP);
    assert_eq!(writes(&mut keeper).map(|(_, record)| record), Some(last));
}

#[test]
fn a_store_that_was_flushed_has_our_record_again_with_the_next_look_and_it_is_told_once() {
    let mut keeper = written(START);
    let now = START + POLL;
    listed(&mut keeper, Vec::new(), now);
    let all = effects(&mut keeper);
    assert!(matches!(&all[..], [Effect::Tell(News::Lost { all: true }), Effect::Write { .. }]), "{all:?}");
    assert_eq!((keeper.view().lost, keeper.view().stands), (1, false));
    // A store that drops everything at once says so once.
    let Effect::Write { call, .. } = all[1] else { panic!("{all:?}") };
    keeper.handle(Input::Written { call }, now);
    let all = each_second(&mut keeper, &[], now + ms(100), 20);
    assert!(told(&all).is_empty(), "{all:?}");
    assert!(keeper.view().lost > 10);
}

#[test]
fn a_hub_leaves_when_the_store_has_answered_without_it_for_longer_than_a_record_lasts() {
    let mut keeper = written(START);
    let own = record("a", 7);
    let now = START + POLL;
    each_second(&mut keeper, &[own.clone(), record("b", 1)], now, 1);
    assert_eq!(keeper.hubs(), [record("b", 1)]);
    each_second(&mut keeper, std::slice::from_ref(&own), now + POLL, 10);
    assert_eq!(keeper.hubs(), [record("b", 1)], "not longer than it lasts");
    let all = each_second(&mut keeper, &[own], now + POLL * 11, 2);
    assert!(all.contains(&Effect::Hubs(Vec::new())), "{all:?}");
}

#[test]
fn a_silent_store_costs_nothing_that_is_known_and_what_it_lacks_then_is_missing_from_then_on() {
    let mut keeper = written(START);
    let own = record("a", 7);
    let now = START + POLL;
    each_second(&mut keeper, &[own.clone(), record("b", 1)], now, 1);
    // It is missing once, then nobody answers for a minute.
    each_second(&mut keeper, std::slice::from_ref(&own), now + POLL, 1);
    let mut at = now + POLL * 2;
    let mut all = Vec::new();
    for _ in 0..600 {
        at += ms(100);
        keeper.handle(Input::Tick, at);
        while let Some(effect) = keeper.poll_effect() {
            match &effect {
                Effect::List { call } | Effect::Write { call, .. } => {
                    keeper.handle(Input::Failed { call: *call }, at);
                }
                Effect::Hubs(_) | Effect::Tell(_) => {}
            }
            all.push(effect);
        }
    }
    assert_eq!(told(&all), [&News::Silent]);
    assert!(!all.iter().any(|effect| matches!(effect, Effect::Hubs(_))), "{all:?}");
    assert!(keeper.view().silent.is_some());
    let back = each_second(&mut keeper, std::slice::from_ref(&own), at + ms(1_000), 5);
    let news = told(&back);
    assert!(matches!(news[..], [News::Returned(_)]), "{news:?}");
    assert_eq!(keeper.hubs(), [record("b", 1)]);
}

#[test]
fn of_two_runs_of_one_hub_the_later_counts_whatever_came_last() {
    let mut keeper = written(START);
    let own = record("a", 7);
    let now = START + POLL;
    each_second(&mut keeper, &[own.clone(), record("b", 5)], now, 1);
    each_second(&mut keeper, &[own.clone(), record("b", 4)], now + POLL, 5);
    assert_eq!(keeper.hubs(), [record("b", 5)]);
    each_second(&mut keeper, &[own.clone(), record("b", 4), record("b", 6)], now + POLL * 6, 1);
    assert_eq!(keeper.hubs(), [record("b", 6)]);
    // A hub whose clock went back is known by what it says now once its former record would be over.
    each_second(&mut keeper, &[own, record("b", 4)], now + POLL * 7, 13);
    assert_eq!(keeper.hubs(), [record("b", 4)]);
}

#[test]
fn our_own_earlier_run_is_written_over_in_silence_and_a_twin_is_told() {
    let mut keeper = Keeper::new("a", TTL, START);
    keeper.handle(Input::Own(record("a", 7)), START);
    listed(&mut keeper, vec![record("a", 6)], START);
    let (call, _) = writes(&mut keeper).expect("over the earlier one");
    keeper.handle(Input::Written { call }, START);
    let all = each_second(&mut keeper, &[record("a", 6)], START + POLL, 3);
    assert!(all.iter().filter(|effect| matches!(effect, Effect::Write { .. })).count() >= 3, "{all:?}");
    assert_eq!(told(&all), [&News::Twin(record("a", 6))]);
}

#[test]
fn a_later_run_of_ours_is_not_written_over_and_is_told_when_it_stays() {
    let mut keeper = written(START);
    let all = each_second(&mut keeper, &[record("a", 9)], START + POLL, 9);
    assert!(told(&all).is_empty() && !keeper.view().stands);
    let more = each_second(&mut keeper, &[record("a", 9)], START + POLL * 10, 5);
    assert_eq!(told(&more), [&News::Twin(record("a", 9))]);
    assert!(!all.iter().chain(&more).any(|effect| matches!(effect, Effect::Write { .. })));
    // It was an earlier run whose clock was ahead: when its record has ended, ours is written.
    let after = each_second(&mut keeper, &[], START + POLL * 15, 1);
    assert!(after.iter().any(|effect| matches!(effect, Effect::Write { .. })), "{after:?}");
}

#[test]
fn a_store_that_answers_and_takes_nothing_is_told_and_still_read() {
    let mut keeper = written(START);
    let mut all = Vec::new();
    for n in 0..100 {
        let now = START + TTL + ms(n * 100);
        keeper.handle(Input::Tick, now);
        while let Some(effect) = keeper.poll_effect() {
            match &effect {
                Effect::List { call } => {
                    keeper.handle(Input::Listed { call: *call, records: vec![record("b", 1)] }, now);
                }
                Effect::Write { call, .. } => keeper.handle(Input::Failed { call: *call }, now),
                Effect::Hubs(_) | Effect::Tell(_) => {}
            }
            all.push(effect);
        }
    }
    assert_eq!(told(&all), [&News::Unwritten]);
    let lists = all.iter().filter(|effect| matches!(effect, Effect::List { .. })).count();
    assert!(lists >= 8, "{lists} in ten seconds");
    assert_eq!(keeper.hubs(), [record("b", 1)]);
    let back = each_second(&mut keeper, &[record("a", 7)], START + TTL * 2 + POLL, 3);
    assert_eq!(told(&back), [&News::Taken]);
}

#[test]
fn no_more_hubs_are_known_than_the_most_and_the_others_are_counted() {
    let mut keeper = written(START);
    let many: Vec<Record> = (0..HUBS_MAX + 5).map(|n| record(&format!("h{n:03}"), 1)).collect();
    each_second(&mut keeper, &many, START + POLL, 1);
    assert_eq!((keeper.hubs().len(), keeper.view().left_out), (HUBS_MAX, 5));
}

#[test]
fn answers_to_calls_that_are_over_are_nothing() {
    let mut keeper = written(START);
    for call in [0, 1, 2, 99] {
        keeper.handle(Input::Listed { call, records: vec![record("b", 1)] }, START);
        keeper.handle(Input::Failed { call }, START);
        keeper.handle(Input::Written { call }, START);
    }
    assert!(effects(&mut keeper).is_empty() && keeper.hubs().is_empty());
}

/// A run of hubs under faults; what goes wrong as a sentence.
fn play(seed: u64, without: Without) -> Result<(), String> {
    let mut world = World::new(seed, 4, without);
    world.pass(Duration::from_secs(4));
    let mut dead: BTreeSet<usize> = BTreeSet::new();
    for _ in 0..60 {
        match world.dice.roll(12) {
            0 | 1 => world.flush(),
            2 | 3 => {
                let time = ms(100 + world.dice.roll(30_000));
                world.hang(time);
            }
            4 if dead.len() < 2 => {
                let n = world.dice.roll(4) as usize;
                if dead.insert(n) {
                    world.kill(n);
                }
            }
            5 | 6 => {
                if let Some(n) = dead.pop_first() {
                    world.start(n);
                }
            }
            7 | 8 => {
                let n = world.dice.roll(4) as usize;
                if !dead.contains(&n) {
                    world.retunnel(n);
                }
            }
            _ => {}
        }
        let before: Vec<Vec<Record>> = world.hubs.iter().map(|hub| hub.known.clone()).collect();
        let time = ms(10 + world.dice.roll(6_000));
        world.pass(time);
        alive_are_known(&world, &before, &dead)?;
    }
    calm(&mut world, &dead)
}

/// Whom somebody knew and who lives is known still, and never as an earlier run than before.
fn alive_are_known(world: &World, before: &[Vec<Record>], dead: &BTreeSet<usize>) -> Result<(), String> {
    for (n, hub) in world.hubs.iter().enumerate().filter(|(n, _)| !dead.contains(n)) {
        for other in &before[n] {
            let lives = !dead.iter().any(|dead| other.hub == format!("h{dead}"));
            match hub.known.iter().find(|known| known.hub == other.hub) {
                Some(known) if known.epoch < other.epoch => {
                    return Err(format!("h{n} went back from {other:?} to {known:?}"));
                }
                None if lives => return Err(format!("h{n} lost {}, which lives", other.hub)),
                Some(_) | None => {}
            }
        }
    }
    Ok(())
}

/// Without faults all who live are known to each other as they are, and nobody else is.
fn calm(world: &mut World, dead: &BTreeSet<usize>) -> Result<(), String> {
    world.pass(Duration::from_secs(30) + TTL * 3);
    let living: Vec<usize> = (0..world.hubs.len()).filter(|n| !dead.contains(n)).collect();
    for n in &living {
        if !world.stands(*n) {
            return Err(format!("the record of h{n} does not stand"));
        }
        let hub = &world.hubs[*n];
        let mut wanted: Vec<_> = living
            .iter()
            .filter(|other| *other != n)
            .filter_map(|other| world.hubs[*other].keeper.own.clone())
            .collect();
        wanted.sort_by(|a, b| a.hub.cmp(&b.hub));
        if hub.known != wanted {
            return Err(format!("h{n} knows {:?}, not {wanted:?}", hub.known));
        }
        if hub.news.iter().any(|news| matches!(news, News::Twin(_))) {
            return Err(format!("h{n} saw a twin: {:?}", hub.news));
        }
    }
    Ok(())
}

#[test]
fn whatever_the_store_does_no_hub_that_lives_is_lost() {
    for seed in 0..200 {
        if let Err(wrong) = play(seed, Without::Nothing) {
            panic!("seed {seed}: {wrong}");
        }
    }
}

#[test]
fn each_rule_is_needed() {
    for without in [Without::Patience, Without::Anew] {
        let breaks = (0..200).any(|seed| play(seed, without).is_err());
        assert!(breaks, "without {without:?} nothing goes wrong");
    }
}

#[test]
fn after_a_flush_every_record_stands_again_within_a_look_and_its_answers() {
    for seed in 0..50 {
        let mut world = World::new(seed, 4, Without::Nothing);
        world.pass(Duration::from_secs(4));
        let early = ms(world.dice.roll(3_000));
        world.pass(early);
        world.flush();
        world.pass(POLL + ms(100));
        for n in 0..4 {
            assert!(world.stands(n), "seed {seed}: h{n}");
        }
        assert_eq!(world.dropped, 0, "seed {seed}: nobody is lost");
    }
}

#[test]
fn a_store_that_has_hung_has_every_record_again_soon_after() {
    for seed in 0..50 {
        let mut world = World::new(seed, 4, Without::Nothing);
        world.pass(Duration::from_secs(4));
        let time = ms(2_000 + world.dice.roll(60_000));
        world.hang(time);
        world.pass(time);
        world.pass(DEADLINE + POLL + ms(200));
        for n in 0..4 {
            assert!(world.stands(n), "seed {seed}: h{n} after {time:?}");
        }
        assert_eq!(world.dropped, 0, "seed {seed}: nobody is lost");
    }
}
