//! An agent finds every place, comes back within its bounds, and dials no more than it has to.

use std::time::Duration;

use super::world::World;
use super::*;
use crate::time::Boot;
use crate::tunnel::hello::{Cause, Challenge, Place};

const SECOND: Duration = Duration::from_secs(1);

fn challenge(hub: &str, instance: u64, thread: u16, threads: u16) -> Challenge {
    let place = Place { process: 0, processes: 1, thread, threads };
    Challenge { version: 1, hub: hub.into(), instance, place, nonce: [0; 32] }
}

/// The dials that are to be made now.
fn dials(roam: &mut Roam) -> Vec<(u64, String)> {
    let next = std::iter::from_fn(|| roam.poll_effect());
    next.filter_map(|effect| match effect {
        Effect::Dial { dial, url, .. } => Some((dial, url)),
        Effect::Drain(_) => None,
    })
    .collect()
}

fn welcome(dial: u64) -> Input {
    Input::Welcome { dial, hubs: Vec::new(), names: Vec::new() }
}

#[test]
fn each_hub_of_the_list_is_dialled_at_once_and_each_of_its_places_after() {
    let now = Boot::from_nanos(1);
    let mut roam = Roam::new(["tcp://a", "tcp://b", "tcp://a"], now);
    roam.handle(Input::Tick, 1, now);
    let first = dials(&mut roam);
    assert_eq!(first.iter().map(|(_, url)| url.as_str()).collect::<Vec<_>>(), ["tcp://a", "tcp://b"]);
    assert!(roam.meets(first[0].0, &challenge("a", 1, 0, 3), now));
    roam.handle(welcome(first[0].0), 2, now);
    let more = dials(&mut roam);
    assert_eq!(more.len(), 2, "two places are lacking: {more:?}");
    assert!(more.iter().all(|(_, url)| url == "tcp://a"));
}

#[test]
fn a_place_that_is_held_or_about_to_be_is_not_wanted_again() {
    let now = Boot::from_nanos(1);
    let mut roam = Roam::new(["tcp://a"], now);
    roam.handle(Input::Tick, 1, now);
    let first = dials(&mut roam)[0].0;
    assert!(roam.meets(first, &challenge("a", 1, 0, 2), now));
    roam.handle(welcome(first), 2, now);
    let second = dials(&mut roam)[0].0;
    assert!(!roam.meets(second, &challenge("a", 1, 0, 2), now));
    roam.handle(Input::Known(second), 3, now);
    assert!(!roam.meets(99, &challenge("a", 1, 1, 2), now), "a dial that nobody asked for");
}

#[test]
fn the_session_of_a_run_that_is_over_gives_way() {
    let now = Boot::from_nanos(1);
    let mut roam = Roam::new(["tcp://a"], now);
    roam.handle(Input::Tick, 1, now);
    let first = dials(&mut roam)[0].0;
    assert!(roam.meets(first, &challenge("a", 1, 0, 2), now));
    roam.handle(welcome(first), 2, now);
    let second = dials(&mut roam)[0].0;
    let now = now + 2 * STEADY;
    assert!(roam.meets(second, &challenge("a", 2, 0, 2), now));
    assert_eq!(roam.poll_effect(), Some(Effect::Drain(first)));
    roam.handle(Input::Lost(first), 3, now);
    assert!(!roam.view(now)[0].places.iter().any(|place| place.session == Some(first)));
}

#[test]
fn waits_double_to_a_second_and_after_a_minute_to_five() {
    let mut now = Boot::from_nanos(1);
    let begun = now;
    let mut roam = Roam::new(["tcp://a"], now);
    roam.handle(Input::Tick, 1, now);
    let mut waits = Vec::new();
    for chance in 0..400_u64 {
        let dial = dials(&mut roam)[0].0;
        roam.handle(Input::Failed(dial), chance.wrapping_mul(0x1234_5678_9abc_def1), now);
        let next = roam.poll_timeout(now).unwrap();
        waits.push((now.since(begun), next.since(now)));
        now = next;
        roam.handle(Input::Tick, chance, now);
    }
    assert!(waits[0].1 <= FIRST_WAIT && waits[0].1 >= FIRST_WAIT / 2);
    let longest = |young: bool| {
        let of_age = waits.iter().filter(|(age, _)| (*age < YOUNG) == young);
        of_age.map(|(_, wait)| *wait).max().unwrap()
    };
    assert!(longest(true) <= YOUNG_WAIT && longest(true) > YOUNG_WAIT * 3 / 4, "{:?}", longest(true));
    assert!(longest(false) <= OLD_WAIT && longest(false) > OLD_WAIT * 3 / 4, "{:?}", longest(false));
}

#[test]
fn a_dial_without_an_answer_does_not_keep_others_waiting() {
    let mut world = World::new(1, &["tcp://hub-0"], 1);
    let mut roam = Roam::new(["tcp://a"], world.now);
    roam.handle(Input::Tick, 1, world.now);
    assert_eq!(dials(&mut roam).len(), 1);
    let mut all = 1;
    while let Some(at) = roam.poll_timeout(world.now) {
        world.now = at;
        roam.handle(Input::Tick, 1, at);
        all += dials(&mut roam).len();
        assert!(all <= AT_ONCE_SLOW, "no more than that hang at once");
    }
    assert_eq!(all, AT_ONCE_SLOW);
}

#[test]
fn who_refuses_is_asked_again_slowly_and_others_at_their_pace() {
    let now = Boot::from_nanos(1);
    let mut roam = Roam::new(["tcp://a"], now);
    roam.handle(Input::Tick, 1, now);
    let dial = dials(&mut roam)[0].0;
    assert!(roam.meets(dial, &challenge("a", 1, 0, 1), now));
    roam.handle(Input::Refused(dial, Cause::Key), 7, now);
    assert!(roam.view(now)[0].refuses);
    let mut at = now;
    let mut asked = Vec::new();
    while asked.len() < 20 {
        at = roam.poll_timeout(at).unwrap();
        roam.handle(Input::Tick, 1, at);
        for (dial, _) in dials(&mut roam) {
            asked.push(at.since(now));
            assert!(roam.meets(dial, &challenge("a", 1, 0, 1), at));
            roam.handle(Input::Refused(dial, Cause::Key), asked.len() as u64, at);
        }
    }
    assert!(asked[19] > REFUSED_WAIT * 5, "twenty dials in {:?}", asked[19]);
    // One that leaves is left at once.
    let mut roam = Roam::new(["tcp://a"], now);
    roam.handle(Input::Tick, 1, now);
    let dial = dials(&mut roam)[0].0;
    roam.handle(Input::Refused(dial, Cause::Leaving), 7, now);
    assert!(roam.poll_timeout(now).unwrap() <= now + FIRST_WAIT);
}

#[test]
fn one_name_with_three_hubs_behind_it_leads_to_all_twelve_threads() {
    for seed in 0..50 {
        let mut world = World::new(3, &["wss://edge"], seed);
        world.passes_on = seed % 2 == 0;
        world.names = (0..3).map(|hub| format!("hub-{hub}")).collect();
        assert!(world.until(SECOND * 20, World::complete), "seed {seed}: {:?}", world.sessions);
        assert_eq!(world.sessions.len(), 12, "none twice");
        let dials = world.dials;
        world.until(SECOND * 60, |_| false);
        assert!(world.dials - dials <= 5, "seed {seed}: {} dials in a minute of rest", world.dials - dials);
    }
}

#[test]
fn hubs_that_no_other_names_are_found_too() {
    for seed in 0..50 {
        let mut world = World::new(3, &["wss://edge"], seed);
        assert!(world.until(SECOND * 300, World::complete), "seed {seed}: {:?}", world.sessions);
    }
}

#[test]
fn hubs_that_are_told_join_the_list() {
    let mut world = World::new(3, &["tcp://hub-0"], 3);
    world.told = (0..3).map(|hub| format!("tcp://hub-{hub}")).collect();
    assert!(world.until(SECOND * 5, World::complete));
    world.told.truncate(2);
    world.kill(0);
    world.back(0);
    assert!(world.until(SECOND * 5, |world| world.places(0) == 4));
    assert_eq!(
        world.roam.urls().collect::<Vec<_>>(),
        ["tcp://hub-0", "tcp://hub-1"],
        "one is told of no more"
    );
}

#[test]
fn an_agent_is_back_within_a_second_of_its_hub() {
    for seed in 0..50 {
        let mut world = World::new(3, &["tcp://hub-0", "tcp://hub-1", "tcp://hub-2"], seed);
        assert!(world.until(SECOND * 5, World::complete));
        world.until(SECOND * 10, |_| false);
        world.kill(1);
        assert_eq!((world.places(0), world.places(2)), (4, 4), "the others are not touched");
        let down = Duration::from_millis(200 + world.draw() % 40_000);
        world.until(down, |_| false);
        world.back(1);
        assert!(world.until(SECOND, |world| world.places(1) > 0), "seed {seed} after {down:?}");
        assert!(world.until(SECOND * 3, World::complete), "seed {seed}: {:?}", world.sessions);
    }
}

#[test]
fn hubs_that_die_in_turn_behind_one_name_are_all_met_again() {
    for seed in 0..30 {
        let mut world = World::new(3, &["wss://edge"], seed);
        world.names = (0..3).map(|hub| format!("hub-{hub}")).collect();
        assert!(world.until(SECOND * 20, World::complete));
        for hub in [0, 1, 2, 1] {
            world.kill(hub);
            world.until(Duration::from_millis(900), |_| false);
            world.back(hub);
            assert!(world.until(SECOND * 20, World::complete), "seed {seed}: {:?}", world.sessions);
        }
    }
}

#[test]
fn a_hub_that_takes_sessions_and_drops_them_is_not_hammered() {
    let mut now = Boot::from_nanos(1);
    let mut roam = Roam::new(["tcp://a"], now);
    let mut all = 0;
    while now < Boot::from_nanos(1) + SECOND * 30 {
        roam.handle(Input::Tick, now.as_nanos(), now);
        for (dial, _) in dials(&mut roam) {
            all += 1;
            assert!(roam.meets(dial, &challenge("a", 1, 0, 1), now));
            roam.handle(welcome(dial), all, now);
            roam.handle(Input::Lost(dial), all, now);
        }
        now = roam.poll_timeout(now).unwrap();
    }
    assert!(all < 150, "{all} sessions in half a minute");
}

#[test]
fn a_session_whose_hub_leaves_keeps_its_streams_and_loses_its_place() {
    let now = Boot::from_nanos(1);
    let mut roam = Roam::new(["tcp://a"], now);
    roam.handle(Input::Tick, 1, now);
    let first = dials(&mut roam)[0].0;
    assert!(roam.meets(first, &challenge("a", 1, 0, 1), now));
    roam.handle(welcome(first), 2, now);
    assert_eq!(dials(&mut roam).len(), 1, "one looks whether others are behind the address");
    roam.handle(Input::Known(2), 3, now);
    roam.handle(Input::Leaving(first), 3, now);
    let soon = roam.poll_timeout(now).unwrap();
    assert!(soon <= now + FIRST_WAIT);
    roam.handle(Input::Tick, 4, soon);
    let next = dials(&mut roam);
    assert!(roam.meets(next[0].0, &challenge("a", 2, 0, 1), soon));
    roam.handle(welcome(next[0].0), 5, soon);
    roam.handle(Input::Lost(first), 6, soon);
    assert_eq!(roam.view(soon)[0].places[0].session, Some(next[0].0), "the old one's end changes nothing");
}

#[test]
fn who_is_content_with_one_session_at_each_hub_asks_for_no_more_and_finds_all_hubs() {
    for seed in 1..20 {
        let mut world = World::new(3, &["tcp://all"], seed);
        world.roam = Roam::one_each(["tcp://all"], world.now);
        world.names = (0..3).map(|hub| format!("hub-{hub}")).collect();
        let one_at_each =
            |world: &World| (0..3).all(|hub| world.places(hub) == usize::from(world.hubs[hub].up));
        assert!(world.until(SECOND * 10, one_at_each), "seed {seed}: {:?}", world.sessions);
        world.kill(1);
        assert!(world.until(SECOND, |world| world.places(0) == 1 && world.places(2) == 1), "seed {seed}");
        world.back(1);
        assert!(world.until(SECOND * 60, one_at_each), "seed {seed}: {:?}", world.sessions);
        // It looks around from time to time.
        let dials = world.dials;
        world.until(SECOND * 20, |_| false);
        assert!(
            one_at_each(&world) && world.dials <= dials + 4,
            "seed {seed}: {} dials",
            world.dials - dials
        );
    }
}

#[test]
fn of_one_session_at_each_hub_that_of_a_run_which_is_over_gives_way() {
    let now = Boot::from_nanos(1);
    let mut roam = Roam::one_each(["tcp://a"], now);
    roam.handle(Input::Tick, 1, now);
    let first = dials(&mut roam)[0].0;
    assert!(roam.meets(first, &challenge("a", 1, 0, 2), now));
    roam.handle(welcome(first), 2, now);
    let second = dials(&mut roam)[0].0;
    assert!(!roam.meets(second, &challenge("a", 1, 1, 2), now), "one is enough");
    roam.handle(Input::Known(second), 3, now);
    let later = now + 2 * STEADY;
    roam.handle(Input::Tick, 4, later);
    let third = dials(&mut roam)[0].0;
    assert!(roam.meets(third, &challenge("a", 2, 1, 2), later), "another run of the hub");
    assert_eq!(roam.poll_effect(), Some(Effect::Drain(first)));
    roam.handle(Input::Leaving(third), 5, later);
    assert!(!roam.view(later).iter().any(|hub| hub.places.iter().any(|place| place.session.is_some())));
}

#[test]
fn a_name_that_stands_for_several_hubs_leads_to_all_of_them_and_to_one_that_is_added() {
    for seed in 1..40 {
        let mut world = World::new(4, &["tcp://dns"], seed);
        world.hubs[3].up = false;
        world.listed = vec![0, 1, 2];
        // Each names itself alone: nobody else tells of the others.
        world.names = vec!["hub-0".into()];
        assert!(world.until(5 * SECOND, World::complete), "seed {seed}");
        world.back(3);
        world.listed.push(3);
        assert!(world.until(SCOUT + 2 * SECOND, World::complete), "seed {seed}: it is looked up again");
        let before = world.dials;
        world.until(60 * SECOND, |_| false);
        assert!(world.dials - before < 8, "seed {seed}: {} dials for nothing", world.dials - before);
    }
}

#[test]
fn of_several_addresses_behind_a_name_one_that_is_down_is_back_within_a_second() {
    for seed in 1..40 {
        let mut world = World::new(3, &["tcp://dns"], seed);
        world.listed = vec![0, 1, 2];
        assert!(world.until(5 * SECOND, World::complete), "seed {seed}");
        world.until(10 * SECOND, |_| false);
        world.kill(1);
        world.until(20 * SECOND, |_| false);
        world.back(1);
        assert!(world.until(SECOND + SECOND / 10, |world| world.places(1) > 0), "seed {seed}");
        assert!(world.until(5 * SECOND, World::complete), "seed {seed}");
    }
}

/// Dials of ten seconds to a hub that does this with each session once it has begun; whether each is with another run of the hub.
fn dials_of_ten_seconds(other_runs: bool, lives: Duration) -> u64 {
    let mut now = Boot::from_nanos(1);
    let mut roam = Roam::new(["tcp://a"], now);
    let (mut count, mut sessions) = (0, Vec::new());
    let end = now + 10 * SECOND;
    roam.handle(Input::Tick, 1, now);
    while now < end {
        for (dial, _) in dials(&mut roam) {
            count += 1;
            let instance = if other_runs { count } else { 1 };
            let met = roam.meets(dial, &challenge("a", instance, (count % 4) as u16, 4), now);
            let said = if met { welcome(dial) } else { Input::Known(dial) };
            roam.handle(said, count * 7919, now);
            if met {
                sessions.push((dial, now + lives));
            }
        }
        now += Duration::from_millis(1);
        for (session, _) in sessions.extract_if(.., |(_, ends)| *ends <= now) {
            roam.handle(Input::Lost(session), count * 104_729, now);
        }
        roam.handle(Input::Tick, count, now);
    }
    count
}

#[test]
fn a_hub_that_drops_what_it_has_let_in_is_not_hammered() {
    for lives in [Duration::from_millis(1), Duration::from_millis(50), SECOND] {
        for other_runs in [false, true] {
            let count = dials_of_ten_seconds(other_runs, lives);
            assert!(count < 120, "{count} dials, sessions of {lives:?}, other runs: {other_runs}");
        }
    }
}

/// Answers all that is dialled: which addresses answer, and the threads of the one hub that they lead to.
fn answer(
    roam: &mut Roam,
    now: Boot,
    chance: u64,
    answers: &dyn Fn(&str) -> bool,
    thread: &mut u16,
) -> Vec<(u64, String)> {
    let mut begun = Vec::new();
    loop {
        let all = dials(roam);
        if all.is_empty() {
            return begun;
        }
        for (dial, url) in all {
            if !answers(&url) {
                roam.handle(Input::Failed(dial), chance, now);
                continue;
            }
            let at = *thread;
            *thread = (at + 1) % 2;
            if roam.meets(dial, &challenge("hub", 1, at, 2), now) {
                begun.push((dial, url));
                roam.handle(welcome(dial), chance, now);
            } else {
                roam.handle(Input::Known(dial), chance, now);
            }
        }
    }
}

/// Time passes, and all is answered; the sessions that begin, and those that are drained, are kept count of.
fn lives(
    roam: &mut Roam,
    now: &mut Boot,
    within: Duration,
    answers: &dyn Fn(&str) -> bool,
) -> Vec<(u64, String)> {
    let (end, mut thread, mut chance) = (*now + within, 0, 7_u64);
    let mut begun = Vec::new();
    loop {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        roam.handle(Input::Tick, chance, *now);
        begun.extend(answer(roam, *now, chance, answers, &mut thread));
        match roam.poll_timeout(*now).filter(|at| *at <= end) {
            Some(at) => *now = at.max(*now + Duration::from_nanos(1)),
            None => {
                *now = end;
                return begun;
            }
        }
    }
}

/// How many sessions each kind of address has.
fn held(roam: &Roam, now: Boot, begun: &[(u64, String)]) -> (usize, usize) {
    let places = roam.view(now).into_iter().flat_map(|hub| hub.places);
    let held: Vec<u64> = places.filter_map(|place| place.session).collect();
    let by = |kind: &str| begun.iter().filter(|(id, url)| held.contains(id) && url.starts_with(kind)).count();
    (by("quic"), by("wss"))
}

#[test]
fn quic_is_taken_while_it_answers_and_otherwise_what_does() {
    for order in [["quic://h", "wss://h"], ["wss://h", "quic://h"]] {
        let mut now = Boot::from_nanos(1);
        let mut roam = Roam::new(order, now);
        let begun = lives(&mut roam, &mut now, SECOND * 40, &|_| true);
        assert_eq!(held(&roam, now, &begun), (2, 0), "{begun:?}");
        assert!(begun.iter().all(|(_, url)| url == "quic://h"), "none began otherwise: {begun:?}");

        // UDP is blocked: its sessions fall silent.
        for (session, _) in &begun {
            roam.handle(Input::Lost(*session), 3, now);
        }
        let without = |url: &str| !url.starts_with("quic");
        let mut all = begun;
        all.extend(lives(&mut roam, &mut now, SECOND * 2, &without));
        assert_eq!(held(&roam, now, &all), (0, 2), "{all:?}");

        // It is let through again.
        all.extend(lives(&mut roam, &mut now, SECOND * 90, &|_| true));
        assert_eq!(held(&roam, now, &all), (2, 0), "{all:?}");
    }
}

#[test]
fn where_quic_does_not_answer_the_other_address_waits_a_second_and_no_longer() {
    let mut now = Boot::from_nanos(1);
    let mut roam = Roam::new(["wss://h", "quic://h"], now);
    roam.handle(Input::Tick, 1, now);
    let first = dials(&mut roam);
    assert_eq!(first.iter().map(|(_, url)| url.as_str()).collect::<Vec<_>>(), ["quic://h"]);
    now = roam.poll_timeout(now).unwrap();
    assert_eq!(now, Boot::from_nanos(1) + SLOW);
    roam.handle(Input::Tick, 2, now);
    assert!(dials(&mut roam).iter().any(|(_, url)| url == "wss://h"), "no answer, no refusal: it hangs");

    let mut roam = Roam::new(["quic://h", "wss://h"], now);
    roam.handle(Input::Tick, 1, now);
    let (quic, _) = dials(&mut roam)[0];
    roam.handle(Input::Failed(quic), 2, now);
    assert_eq!(dials(&mut roam)[0].1, "wss://h", "it is refused: at once");
}

#[test]
fn quic_whose_sessions_are_lost_again_and_again_takes_no_place_of_others() {
    let mut now = Boot::from_nanos(1);
    let mut roam = Roam::new(["quic://h", "wss://h"], now);
    let mut begun = lives(&mut roam, &mut now, SECOND / 10, &|_| true);
    assert_eq!(held(&roam, now, &begun), (2, 0));
    for (session, _) in begun.clone() {
        roam.handle(Input::Lost(session), 3, now);
    }
    begun.extend(lives(&mut roam, &mut now, SECOND * 3, &|url| !url.starts_with("quic")));
    assert_eq!(held(&roam, now, &begun), (0, 2));
    let more = lives(&mut roam, &mut now, SECOND * 20, &|_| true);
    assert_eq!(more, [], "not for a minute");
    begun.extend(lives(&mut roam, &mut now, SECOND * 90, &|_| true));
    assert_eq!(held(&roam, now, &begun), (2, 0), "then it is given another try");
}

#[test]
fn a_visitor_has_one_session_and_that_by_quic_when_it_can() {
    let mut now = Boot::from_nanos(1);
    let mut roam = Roam::one_each(["wss://h", "quic://h"], now);
    let mut begun = lives(&mut roam, &mut now, SECOND * 5, &|url| !url.starts_with("quic"));
    assert_eq!(held(&roam, now, &begun), (0, 1));
    begun.extend(lives(&mut roam, &mut now, SECOND * 60, &|_| true));
    assert_eq!(held(&roam, now, &begun), (1, 0), "{begun:?}");
}
