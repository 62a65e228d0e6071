//! Whose keys move, and what a change of the list leaves alone.

use mainstay_core::balance::{Input, MemberSpec, Order, Policy, Roster};
use mainstay_core::election::Verdict;

use crate::rig::{Draw, World, member, members, ms, pick, roster, spec};

/// Keys that are followed.
const KEYS: usize = 10_000;

#[test]
fn only_the_keys_of_a_backend_that_goes_down_move_and_they_spread_and_come_back() {
    for size in [2, 3, 10, 50] {
        let mut roster = roster(Policy::Hash, &vec![1; size]);
        let before = owners(&mut roster, size);
        roster.handle(Input::Verdict { member: 0, verdict: Verdict::Down }, ms(0));
        let during = owners(&mut roster, size);
        let mut heirs = vec![0_usize; size];
        for (old, new) in before.iter().zip(&during) {
            assert!(old == new || *old == 0, "a key of {old} has moved to {new}");
            if *old == 0 {
                heirs[*new] += 1;
            }
        }
        let lost = before.iter().filter(|owner| **owner == 0).count();
        let most = heirs.iter().max().unwrap();
        assert!(most * (size - 1) < lost * 2 + 100, "of {size}: {most} of {lost} keys went to one");
        roster.handle(Input::Verdict { member: 0, verdict: Verdict::Up }, ms(0));
        assert_eq!(owners(&mut roster, size), before);
    }
}

#[test]
fn a_newcomer_takes_hardly_more_than_its_share_of_the_keys() {
    for size in [2_usize, 5, 10, 40] {
        let mut roster = roster(Policy::Hash, &vec![1; size]);
        let before = owners(&mut roster, size);
        roster.replace(spec(Policy::Hash), &members(&vec![1; size + 1]), ms(0));
        let after = owners(&mut roster, size + 1);
        let moved = before.iter().zip(&after).filter(|(old, new)| old != new).count();
        let share = KEYS / (size + 1);
        assert!(moved < share + KEYS / 15, "of {size}: {moved} moved, {share} had to");
    }
}

#[test]
fn nine_of_ten_down_still_serve_every_key_and_agree() {
    let mut one = roster(Policy::Hash, &[1; 10]);
    let mut turned: Vec<MemberSpec> = members(&[1; 10]);
    turned.reverse();
    let mut other = Roster::new(spec(Policy::Hash));
    other.replace(spec(Policy::Hash), &turned, ms(0));
    for down in 0..9 {
        one.handle(Input::Verdict { member: down, verdict: Verdict::Down }, ms(0));
        other.handle(Input::Verdict { member: 9 - down, verdict: Verdict::Down }, ms(0));
        let mirrored: Vec<usize> = owners(&mut other, 10).into_iter().map(|member| 9 - member).collect();
        assert_eq!(owners(&mut one, 10), mirrored, "{} are down", down + 1);
    }
}

#[test]
fn a_changed_list_keeps_verdicts_orders_and_turns() {
    let mut roster = roster(Policy::Turns, &[1, 1, 1]);
    roster.handle(Input::Verdict { member: 2, verdict: Verdict::Down }, ms(0));
    roster.handle(Input::Order { member: 1, order: Order::Drain }, ms(0));
    roster.replace(spec(Policy::Turns), &[member(2), member(7), member(1), member(0)], ms(0));
    let mut seen: Vec<usize> =
        (0..4).map(|_| pick(&mut roster, 0, &mut Draw(0), &World::of(4)).unwrap().member()).collect();
    seen.sort_unstable();
    assert_eq!(seen, [1, 1, 3, 3]);
    let unprobed = MemberSpec { probed: false, ..member(2) };
    roster.replace(spec(Policy::Turns), &[unprobed, member(1)], ms(0));
    assert_eq!(
        pick(&mut roster, 0, &mut Draw(0), &World::of(2)).unwrap().member(),
        0,
        "no probe, no verdict"
    );
}

fn owners(roster: &mut Roster, size: usize) -> Vec<usize> {
    let (mut keys, world) = (Draw(7), World::of(size));
    (0..KEYS)
        .map(|_| {
            let key = keys.next();
            pick(roster, key, &mut Draw(0), &world).unwrap().member()
        })
        .collect()
}
