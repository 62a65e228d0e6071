//! What one node may do with one vip, from what it hears. The table is in docs/operating/arbitration.md.

use crate::election::{Doubt, Ruling};

/// What is known when a vip is ruled on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// This node is active.
    pub(super) active: bool,
    /// Whether a reference address answers, when the vip has one: `Some(None)` before anybody knows.
    pub(super) reference: Option<Option<bool>>,
    /// A peer that could hold it is heard, by its session or by an advert of late.
    pub(super) company: bool,
    /// This node took it knowing that no reference answers, or was told by an advert that it is not the only one who lost
    /// it; only where there are no sessions to ask.
    pub(super) excused: bool,
    /// A peer whose session is heard has a reference, and had the time to lose it too.
    pub(super) peer_has: bool,
    /// A peer whose session is heard says that it is active, while its adverts are missed.
    pub(super) peer_holds: bool,
    /// The vip is held under the lock while peers are silent.
    pub(super) locked: bool,
    /// How the lock stands for this vip.
    pub(super) lock: LockSays,
}

/// What the lock says of a vip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LockSays {
    /// There is none, or every peer is heard.
    Nothing,
    /// It is ours, or may become so in time.
    Yes,
    /// It is not ours.
    No,
}

/// The ruling. Whatever speaks loudest comes first: what can't be held, then what is not to be taken.
pub(super) const fn rule(facts: &Facts) -> Ruling {
    let lost = matches!(facts.reference, Some(Some(false)));
    if lost && !facts.company && !(facts.active && facts.excused) {
        return Ruling::Leave(Doubt::Isolated);
    }
    if lost && facts.active && facts.company && facts.peer_has {
        return Ruling::Leave(Doubt::NoReference);
    }
    match facts.lock {
        LockSays::No if facts.active => return Ruling::Leave(Doubt::NoLock),
        LockSays::No => return Ruling::Wait(Doubt::NoLock),
        LockSays::Nothing | LockSays::Yes => {}
    }
    if facts.active {
        return Ruling::Free;
    }
    match facts.reference {
        Some(None | Some(false)) => Ruling::Wait(Doubt::NoReference),
        // It has a reference itself, or gives the vip up in a moment: its word counts for more than its silence.
        Some(Some(true)) if facts.peer_holds => Ruling::Wait(Doubt::HeldByPeer),
        None if facts.peer_holds && facts.locked => Ruling::Wait(Doubt::HeldByPeer),
        Some(Some(true)) | None => Ruling::Free,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Facts = Facts {
        active: false,
        reference: Some(Some(true)),
        company: true,
        excused: false,
        peer_has: true,
        peer_holds: false,
        locked: false,
        lock: LockSays::Nothing,
    };

    /// Every combination of facts.
    fn all() -> impl Iterator<Item = Facts> {
        let locks = [LockSays::Nothing, LockSays::Yes, LockSays::No];
        let references = [None, Some(None), Some(Some(false)), Some(Some(true))];
        (0_u32..32).flat_map(move |bits| {
            references.into_iter().flat_map(move |reference| {
                locks.into_iter().map(move |lock| Facts {
                    active: bits & 1 != 0,
                    company: bits & 2 != 0,
                    excused: bits & 4 != 0,
                    peer_has: bits & 8 != 0,
                    peer_holds: bits & 16 != 0,
                    locked: lock != LockSays::Nothing,
                    reference,
                    lock,
                })
            })
        })
    }

    #[test]
    fn without_a_reference_nobody_takes_on_silence() {
        for facts in all().filter(|facts| !facts.active) {
            if matches!(facts.reference, Some(None | Some(false))) {
                assert_ne!(rule(&facts), Ruling::Free, "{facts:?}");
            }
        }
    }

    #[test]
    fn a_holder_that_hears_neither_peer_nor_reference_leaves() {
        for facts in all().filter(|facts| !facts.company && !facts.excused) {
            if facts.reference == Some(Some(false)) {
                assert_eq!(rule(&facts), Ruling::Leave(Doubt::Isolated), "{facts:?}");
            }
        }
    }

    #[test]
    fn when_all_have_lost_it_the_holder_stays() {
        for facts in all().filter(|facts| facts.active && facts.company && !facts.peer_has) {
            if facts.lock != LockSays::No {
                assert_eq!(rule(&facts), Ruling::Free, "{facts:?}");
            }
        }
    }

    #[test]
    fn a_holder_that_alone_has_lost_it_hands_over() {
        let facts = Facts { active: true, reference: Some(Some(false)), ..CALM };
        assert_eq!(rule(&facts), Ruling::Leave(Doubt::NoReference));
    }

    #[test]
    fn whoever_has_no_lock_does_not_hold() {
        for facts in all().filter(|facts| facts.lock == LockSays::No) {
            assert_ne!(rule(&facts), Ruling::Free, "{facts:?}");
        }
    }

    #[test]
    fn a_peer_that_is_heard_to_hold_it_is_not_silent() {
        let facts = Facts { peer_holds: true, ..CALM };
        assert_eq!(rule(&facts), Ruling::Wait(Doubt::HeldByPeer));
        // Without a reference nothing tells a holder that its clients can't reach it: VRRP decides as ever.
        assert_eq!(rule(&Facts { reference: None, ..facts }), Ruling::Free);
        // With a lock not every heartbeat is lost.
        let locked = Facts { reference: None, locked: true, ..facts };
        assert_eq!(rule(&locked), Ruling::Wait(Doubt::HeldByPeer));
    }
}
