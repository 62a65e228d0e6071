//! What is claimed of a voter.

use super::*;

const T: Duration = Duration::from_millis(100);
const MARK: Mark = Mark { epoch: 1, hash: 7 };
const A: Asker = Asker { node: NodeId(0), instance: 10, heir_of: None };
const B: Asker = Asker { node: NodeId(1), instance: 20, heir_of: None };
const C: Asker = Asker { node: NodeId(2), instance: 30, heir_of: None };

fn at(ms: u64) -> Boot {
    Boot::ZERO + Duration::from_millis(ms)
}

fn voter() -> Voter {
    Voter::new(MARK, T, Boot::ZERO)
}

fn ask(voter: &mut Voter, asker: Asker, epoch: u64, renewal: bool, now: u64) -> Verdict {
    let asking = Asking { mark: MARK, number: now, term: T };
    let mut granted = vec![];
    let verdict =
        voter.ask(asker, asking, &Asked { right: "r".into(), epoch, renewal }, at(now), &mut granted);
    assert!(granted.is_empty(), "{granted:?}");
    verdict
}

fn free(voter: &mut Voter, asker: Asker, epoch: u64, next: Option<NodeId>, now: u64) -> Vec<(NodeId, u64)> {
    let mut granted = vec![];
    voter.free(asker, "r", epoch, next, at(now), &mut granted);
    granted.into_iter().map(|granted| (granted.to, granted.number)).collect()
}

fn expire(voter: &mut Voter, now: u64) -> Vec<(NodeId, u64)> {
    let mut granted = vec![];
    voter.expire(at(now), &mut granted);
    granted.into_iter().map(|granted| (granted.to, granted.number)).collect()
}

const fn granted(epoch: u64) -> Verdict {
    Verdict::Granted { epoch }
}

fn held(by: Asker, epoch: u64, left: u64) -> Verdict {
    Verdict::Held { by: by.node, epoch, left: Duration::from_millis(left) }
}

#[test]
fn one_holder_is_promised_for_the_term_and_a_renewal_extends_it() {
    let mut voter = voter();
    assert_eq!(ask(&mut voter, A, 1, false, 0), granted(1));
    assert_eq!(ask(&mut voter, B, 2, false, 40), held(A, 1, 60));
    assert_eq!(ask(&mut voter, A, 1, true, 50), granted(1));
    assert_eq!(voter.promise("r", at(149)).map(|promise| promise.node), Some(A.node));
    assert_eq!(voter.promise("r", at(150)), None);
}

#[test]
fn a_pending_acquisition_is_granted_the_moment_the_promise_runs_out() {
    let mut voter = voter();
    ask(&mut voter, A, 1, false, 0);
    ask(&mut voter, B, 2, false, 30);
    ask(&mut voter, B, 2, false, 60);
    assert_eq!(voter.due(), Some(at(100)));
    assert_eq!(expire(&mut voter, 99), []);
    assert_eq!(expire(&mut voter, 100), [(B.node, 60)], "the newest request counts");
    assert_eq!(ask(&mut voter, A, 1, true, 110), held(B, 2, 90));
}

#[test]
fn a_pending_acquisition_is_forgotten_after_its_term() {
    let mut voter = voter();
    ask(&mut voter, A, 1, false, 0);
    ask(&mut voter, B, 2, false, 10);
    ask(&mut voter, A, 1, true, 90);
    assert_eq!(expire(&mut voter, 190), []);
    assert_eq!((voter.promise("r", at(190)), voter.due()), (None, None));
}

#[test]
fn a_release_grants_to_the_named_successor_before_the_first_that_came() {
    let mut voter = voter();
    ask(&mut voter, A, 1, false, 0);
    ask(&mut voter, B, 2, false, 10);
    ask(&mut voter, C, 2, false, 20);
    assert_eq!(free(&mut voter, A, 1, Some(C.node), 30), [(C.node, 20)]);
    assert_eq!(ask(&mut voter, B, 3, false, 40), held(C, 2, 90));
}

#[test]
fn without_a_named_successor_the_first_that_came_is_next() {
    let mut voter = voter();
    ask(&mut voter, A, 1, false, 0);
    ask(&mut voter, B, 2, false, 10);
    ask(&mut voter, C, 3, false, 20);
    ask(&mut voter, B, 2, false, 25);
    assert_eq!(free(&mut voter, A, 1, None, 30), [(B.node, 25)]);
}

#[test]
fn the_right_is_kept_a_moment_for_a_successor_whose_request_is_on_its_way() {
    let mut voter = voter();
    ask(&mut voter, A, 1, false, 0);
    ask(&mut voter, B, 2, false, 10);
    assert_eq!(free(&mut voter, A, 1, Some(C.node), 30), []);
    assert_eq!(ask(&mut voter, C, 2, false, 32), granted(2));
    let mut voter = self::voter();
    ask(&mut voter, A, 1, false, 0);
    ask(&mut voter, B, 2, false, 10);
    free(&mut voter, A, 1, Some(C.node), 30);
    assert_eq!(voter.due(), Some(at(37)));
    assert_eq!(expire(&mut voter, 37), [(B.node, 10)], "who never comes is not waited for");
}

#[test]
fn only_who_was_promised_the_right_gives_it_back() {
    let mut voter = voter();
    ask(&mut voter, A, 5, false, 0);
    let stranger = Asker { instance: 11, ..A };
    for (asker, epoch) in [(B, 5), (A, 4), (A, 6), (stranger, 5)] {
        free(&mut voter, asker, epoch, None, 10);
        assert!(voter.promise("r", at(10)).is_some(), "{asker:?} {epoch}");
    }
    free(&mut voter, A, 5, None, 10);
    assert_eq!(voter.promise("r", at(10)), None);
}

#[test]
fn what_was_given_back_is_not_renewed_by_a_request_that_comes_late() {
    let mut voter = voter();
    ask(&mut voter, A, 5, false, 0);
    free(&mut voter, A, 5, None, 10);
    assert_eq!(ask(&mut voter, A, 5, true, 20), Verdict::Stale { epoch: 5 });
    assert_eq!(ask(&mut voter, A, 5, false, 20), Verdict::Stale { epoch: 5 });
    assert_eq!(ask(&mut voter, B, 5, false, 20), Verdict::Stale { epoch: 5 });
    assert_eq!(ask(&mut voter, B, 6, false, 20), granted(6));
}

#[test]
fn a_holder_gets_a_vote_back_that_a_rival_has_had_for_a_while() {
    let mut voter = voter();
    ask(&mut voter, B, 9, false, 0);
    assert_eq!(ask(&mut voter, A, 8, true, 10), held(B, 9, 90));
    free(&mut voter, B, 9, None, 20);
    assert_eq!(ask(&mut voter, A, 8, true, 30), granted(8));
}

#[test]
fn the_heir_of_a_dead_process_is_the_same_holder_and_a_stranger_of_the_same_name_is_not() {
    let mut voter = voter();
    ask(&mut voter, A, 5, false, 0);
    assert_eq!(ask(&mut voter, Asker { instance: 11, ..A }, 6, false, 10), held(A, 5, 90));
    let heir = Asker { instance: 12, heir_of: Some(10), ..A };
    assert_eq!(ask(&mut voter, heir, 5, true, 10), Verdict::Stale { epoch: 5 });
    assert_eq!(ask(&mut voter, heir, 6, false, 10), granted(6));
    assert_eq!(ask(&mut voter, A, 5, true, 20), held(heir, 6, 90), "what the dead one sent comes too late");
}

#[test]
fn a_voter_that_has_just_started_is_mute_and_keeps_what_is_asked() {
    let mut voter: Voter = Voter::new(MARK, T, at(60));
    assert_eq!(ask(&mut voter, A, 1, true, 0), Verdict::Mute { left: Duration::from_millis(60) });
    ask(&mut voter, B, 2, false, 10);
    assert_eq!(voter.due(), Some(at(60)));
    assert_eq!(expire(&mut voter, 59), []);
    assert_eq!(expire(&mut voter, 60), [(B.node, 10)]);
}

#[test]
fn another_list_and_a_term_that_is_too_long_are_refused() {
    let mut voter = voter();
    let asked = Asked { right: "r".into(), epoch: 1, renewal: false };
    for asking in [
        Asking { mark: Mark { hash: 8, ..MARK }, number: 1, term: T },
        Asking { mark: Mark { epoch: 2, ..MARK }, number: 1, term: T },
        Asking { mark: MARK, number: 1, term: T + Duration::from_nanos(1) },
        Asking { mark: MARK, number: 1, term: Duration::ZERO },
    ] {
        assert_eq!(voter.ask(A, asking, &asked, at(0), &mut vec![]), Verdict::Mismatch);
    }
    assert_eq!(ask(&mut voter, A, 1, false, 0), granted(1));
    voter.set(Mark { epoch: 2, hash: 9 }, T);
    assert_eq!(ask(&mut voter, A, 1, true, 10), Verdict::Mismatch);
    assert!(voter.promise("r", at(99)).is_some(), "promises outlive a change of the list");
}

#[test]
fn room_is_bounded_and_what_nobody_has_makes_room() {
    let mut voter = voter();
    let asking = Asking { mark: MARK, number: 1, term: T };
    let mut ask = |name: String, now| {
        let asked = Asked { right: name, epoch: 1 + now, renewal: false };
        voter.ask(A, asking, &asked, at(now), &mut vec![])
    };
    assert_eq!(ask("x".repeat(NAME_MAX + 1), 0), Verdict::Full);
    assert_eq!(ask(String::new(), 0), Verdict::Full);
    for n in 0..RIGHTS_MAX {
        assert_eq!(ask(format!("r{n}"), 0), granted(1));
    }
    assert_eq!(ask("one more".into(), 0), Verdict::Full);
    assert_eq!(ask("r0".into(), 0), granted(1));
    assert_eq!(ask("one more".into(), 200), granted(201), "all promises have run out");
}
