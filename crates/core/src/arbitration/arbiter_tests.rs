//! Rulings that follow from what a node hears over time.

use super::*;
use crate::arbitration::input::ReferenceAid;
use crate::arbitration::reference::ReferenceTerms;
use crate::arbitration::{LockTerms, Owner};
use crate::election::Doubt;

const MS: Duration = Duration::from_millis(1);
const VIP: VipId = VipId(0);
const PEER: NodeId = NodeId(1);

fn setup(sessions: bool, lock: bool) -> Setup {
    let terms = ReferenceTerms { interval: MS * 100, missed: 3 };
    Setup {
        references: vec![ReferenceAid { name: "eth0".to_owned(), terms }],
        vips: vec![VipAids {
            name: "front".to_owned(),
            reference: Some(0),
            locked: lock,
            window: MS * 1_200,
        }],
        peers: sessions.then(|| vec![PeerAid { node: PEER, id: "n2".to_owned(), holds: true }]),
        lock: lock.then_some(LockTerms { stale: MS * 5_000, timeout: MS * 100 }),
        me: Owner { node: "n1".to_owned(), instance: 1 },
        isolated: Some(MS * 5_000),
        beat: MS * 50,
    }
}

/// A node whose reference answers or not, and whose peer is heard or not.
struct Rig {
    arbiter: Arbiter,
    now: Boot,
    answers: bool,
    peer: bool,
    /// The peer's session carries, and says nothing of vips.
    silent: bool,
    sights: Sights,
    active: bool,
    heard: Option<Boot>,
    notices: Vec<Notice>,
}

impl Rig {
    fn new(sessions: bool, lock: bool) -> Self {
        let now = Boot::from_nanos(1_000_000_000);
        Self {
            arbiter: Arbiter::new(setup(sessions, lock), now),
            now,
            answers: true,
            peer: sessions,
            silent: false,
            sights: peer(false, Some(true)),
            active: false,
            heard: None,
            notices: Vec::new(),
        }
    }

    fn play(&mut self, time: Duration) -> Ruling {
        let end = self.now + time;
        while self.now < end {
            self.now += MS * 10;
            let stand =
                Input::Stand { vip: VIP, active: self.active, overdue: false, able: true, heard: self.heard };
            self.arbiter.handle_if_new(stand, self.now);
            self.arbiter.handle_if_new(Input::Peer { node: PEER, heard: self.peer }, self.now);
            if self.peer && !self.silent {
                self.arbiter.handle(Input::Said { node: PEER, sights: &self.sights }, self.now);
            }
            if self.arbiter.poll_timeout() <= self.now {
                self.arbiter.handle(Input::Tick, self.now);
            }
            assert!(self.arbiter.poll_timeout() > self.now, "it spins");
            while let Some(effect) = self.arbiter.poll_effect() {
                match effect {
                    Effect::Ask { reference } if self.answers => {
                        self.arbiter.handle(Input::Answered { reference }, self.now);
                    }
                    Effect::Notice(notice) => self.notices.push(notice),
                    Effect::Ask { .. } | Effect::Ruling { .. } | Effect::Say(_) | Effect::Disk { .. } => {}
                }
            }
        }
        self.arbiter.ruling(VIP)
    }
}

fn peer(active: bool, reference: Option<bool>) -> Sights {
    Sights { vips: vec![Sight { vip: "front".to_owned(), active, reference }], ..Sights::default() }
}

#[test]
fn until_the_reference_answered_nothing_is_taken() {
    let mut rig = Rig::new(true, false);
    rig.answers = false;
    assert_eq!(rig.play(MS * 150), Ruling::Wait(Doubt::NoReference));
    rig.answers = true;
    assert_eq!(rig.play(MS * 500), Ruling::Free);
}

#[test]
fn a_holder_is_demoted_within_the_bound_when_all_falls_silent() {
    let mut rig = Rig::new(true, false);
    rig.active = true;
    assert_eq!(rig.play(MS * 1_000), Ruling::Free);
    (rig.answers, rig.peer) = (false, false);
    let bound = ReferenceTerms { interval: MS * 100, missed: 3 }.bound();
    assert_eq!(rig.play(bound + MS * 10), Ruling::Leave(Doubt::Isolated));
    assert!(rig.notices.contains(&Notice::Isolated));
    assert!(!rig.notices.contains(&Notice::IsolatedTooLong));
    rig.active = false;
    rig.play(MS * 5_000);
    assert!(rig.notices.contains(&Notice::IsolatedTooLong));
}

#[test]
fn a_holder_gives_its_peer_the_time_to_lose_the_reference_as_well() {
    for also in [true, false] {
        let mut rig = Rig::new(true, false);
        rig.active = true;
        rig.play(MS * 1_000);
        rig.answers = false;
        assert_eq!(rig.play(MS * 700), Ruling::Free, "the peer's word may be old");
        rig.sights = peer(false, Some(!also));
        let expected = if also { Ruling::Free } else { Ruling::Leave(Doubt::NoReference) };
        assert_eq!(rig.play(MS * 2_000), expected);
    }
}

#[test]
fn when_it_comes_back_for_all_nobody_hands_over_to_whoever_sees_it_first() {
    let mut rig = Rig::new(true, false);
    rig.active = true;
    rig.play(MS * 1_000);
    rig.answers = false;
    rig.sights = peer(false, Some(false));
    rig.play(MS * 5_000);
    rig.answers = true;
    assert_eq!(rig.play(MS * 700), Ruling::Free);
    rig.sights = peer(false, Some(true));
    assert_eq!(rig.play(MS * 100), Ruling::Free, "the peer saw it first");
    assert_eq!(rig.play(MS * 2_000), Ruling::Free);
}

#[test]
fn a_reference_that_comes_and_goes_does_not_bring_the_vip_back() {
    let mut rig = Rig::new(true, false);
    rig.play(MS * 1_000);
    rig.answers = false;
    assert_eq!(rig.play(MS * 1_000), Ruling::Wait(Doubt::NoReference));
    for _ in 0..20 {
        rig.answers = !rig.answers;
        assert_eq!(rig.play(MS * 300), Ruling::Wait(Doubt::NoReference));
    }
    rig.answers = true;
    assert_eq!(rig.play(MS * 1_300), Ruling::Free);
}

#[test]
fn without_sessions_a_holder_that_loses_the_reference_leaves_and_one_that_was_asked_to_follow_stays() {
    let mut rig = Rig::new(false, false);
    rig.active = true;
    rig.play(MS * 1_000);
    rig.answers = false;
    assert_eq!(rig.play(MS * 500), Ruling::Leave(Doubt::Isolated));
    assert!(!rig.notices.contains(&Notice::Isolated), "nobody can tell that it is alone");
    // The other one hears that it resigns, and loses the reference itself.
    let mut rig = Rig::new(false, false);
    rig.play(MS * 1_000);
    rig.heard = Some(rig.now);
    rig.active = true;
    rig.answers = false;
    assert_eq!(rig.play(MS * 10_000), Ruling::Free);
    rig.answers = true;
    rig.play(MS * 2_000);
    rig.answers = false;
    assert_eq!(rig.play(MS * 500), Ruling::Leave(Doubt::Isolated), "the second time nobody asked");
}

#[test]
fn the_lock_is_asked_for_only_while_the_peer_is_silent_or_asks_for_it_itself() {
    let mut rig = Rig::new(true, true);
    rig.active = true;
    assert_eq!(rig.play(MS * 1_000), Ruling::Free);
    assert!(!rig.arbiter.lock.as_ref().is_some_and(Lock::is_wanted));
    // It hears us no more, though we hear it.
    rig.sights.lock_wanted = true;
    rig.play(MS * 50);
    assert!(rig.arbiter.lock.as_ref().is_some_and(Lock::is_wanted));
    rig.sights.lock_wanted = false;
    rig.play(MS * 50);
    assert!(!rig.arbiter.lock.as_ref().is_some_and(Lock::is_wanted));
    rig.peer = false;
    // Nobody answers for the disk here: the grace ends.
    assert_eq!(rig.play(MS * 100), Ruling::Free);
    assert_eq!(rig.play(MS * 600), Ruling::Leave(Doubt::NoLock));
    assert!(rig.notices.iter().any(|notice| matches!(notice, Notice::LockTrouble(_))));
}

#[test]
fn a_peer_that_is_heard_to_own_the_lock_makes_a_holder_leave() {
    let mut rig = Rig::new(true, true);
    rig.active = true;
    rig.play(MS * 1_000);
    rig.sights.lock_owned = true;
    assert_eq!(rig.play(MS * 50), Ruling::Leave(Doubt::NoLock));
}

#[test]
fn a_peer_without_aids_of_its_own_is_company_all_the_same() {
    let mut rig = Rig::new(true, false);
    rig.active = true;
    rig.silent = true;
    rig.play(MS * 1_000);
    rig.answers = false;
    assert_eq!(rig.play(MS * 10_000), Ruling::Free);
    assert!(!rig.notices.contains(&Notice::Isolated));
}

#[test]
fn a_reload_keeps_what_is_known() {
    let mut rig = Rig::new(true, false);
    rig.active = true;
    rig.play(MS * 1_000);
    let mut other = setup(true, false);
    other.vips.insert(0, VipAids { name: "back".to_owned(), ..VipAids::default() });
    rig.arbiter.reload(other, rig.now);
    assert_eq!(rig.arbiter.reference(VipId(1)).map(|(up, _)| up), Some(Some(true)));
    rig.arbiter.handle(Input::Tick, rig.now);
    assert_eq!(rig.arbiter.ruling(VipId(1)), Ruling::Free);
}
