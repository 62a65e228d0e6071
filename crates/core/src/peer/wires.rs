//! Which wires to a peer carry: a wire is one of the peer's addresses, by its place in the peer's list.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Boot;

/// A wire is lost when this many beats in a row did not come over it.
const MISSED: u32 = 3;

/// And back when this many in a row did.
const PROOF: u32 = 3;

/// A wire's state has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WireChange {
    /// Nothing came over it for three beats.
    Lost(usize),
    /// Three beats in a row came over it after it was lost.
    Back(usize),
}

/// What is shown of a wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireView {
    /// Since when it is silent; `None` when nothing ever came over it.
    pub last_heard: Option<Boot>,
    /// Whether it counts as lost.
    pub lost: bool,
    /// Authentic datagrams that came over it.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those among them that had come over another wire before.
    pub duplicates: u64,
}

/// All wires to one peer.
#[derive(Clone, Debug)]
pub struct Wires {
    beat: Duration,
    wires: Vec<Wire>,
    changes: VecDeque<WireChange>,
}

#[derive(Clone, Debug)]
struct Wire {
    view: WireView,
    /// From when silence is counted.
    since: Boot,
    /// Beats in a row since it was lost, and when the last of them came.
    proof: u32,
    proved: Boot,
}

impl Wires {
    /// `count` wires over which a peer says something every `beat`; silence counts from `now` on.
    #[must_use]
    pub fn new(count: usize, beat: Duration, now: Boot) -> Self {
        let wire = Wire { view: WireView::default(), since: now, proof: 0, proved: Boot::ZERO };
        Self { beat, wires: vec![wire; count], changes: VecDeque::new() }
    }

    /// An authentic datagram came over a wire; a copy of what came over another one counts as much.
    pub fn heard(&mut self, wire: usize, bytes: usize, duplicate: bool, now: Boot) {
        let (beat, patience) = (self.beat, self.patience());
        let Some(at) = self.wires.get_mut(wire) else { return };
        let view = &mut at.view;
        view.datagrams += 1;
        view.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        view.duplicates += u64::from(duplicate);
        view.last_heard = Some(now);
        at.since = now;
        if !view.lost {
            return;
        }
        // Datagrams of one moment are one proof; a gap in which a beat is missing begins anew.
        let gap = now.since(at.proved);
        if at.proof == 0 || gap > patience / 2 {
            (at.proof, at.proved) = (1, now);
        } else if gap >= beat / 2 {
            (at.proof, at.proved) = (at.proof + 1, now);
        }
        if at.proof >= PROOF {
            (view.lost, at.proof) = (false, 0);
            self.changes.push_back(WireChange::Back(wire));
        }
    }

    /// The peer is there (again): a wire that was not lost has to be heard within three beats from now on.
    pub fn restart(&mut self, now: Boot) {
        for wire in &mut self.wires {
            wire.since = now;
        }
    }

    /// The peer says something every `beat` from now on.
    pub fn set_beat(&mut self, beat: Duration) {
        self.beat = beat;
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Boot) {
        let patience = self.patience();
        for (at, wire) in self.wires.iter_mut().enumerate() {
            if !wire.view.lost && now >= wire.since + patience {
                (wire.view.lost, wire.proof) = (true, 0);
                self.changes.push_back(WireChange::Lost(at));
            }
        }
    }

    /// When [`Self::tick`] has something to do next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Boot> {
        let patience = self.patience();
        self.wires.iter().filter(|wire| !wire.view.lost).map(|wire| wire.since + patience).min()
    }

    /// What has changed, oldest first.
    pub fn poll_change(&mut self) -> Option<WireChange> {
        self.changes.pop_front()
    }

    /// Each wire, in the order of the peer's addresses.
    pub fn view(&self) -> impl Iterator<Item = WireView> + '_ {
        self.wires.iter().map(|wire| wire.view)
    }

    /// Three beats, and half of one (at least 10 ms) for a busy host.
    fn patience(&self) -> Duration {
        self.beat * MISSED + (self.beat / 2).max(Duration::from_millis(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_millis(100);

    fn at(ms: u64) -> Boot {
        Boot::from_nanos(ms * 1_000_000)
    }

    fn changes(wires: &mut Wires) -> Vec<WireChange> {
        std::iter::from_fn(|| wires.poll_change()).collect()
    }

    /// The second of two wires, lost at 350 ms.
    fn half_lost() -> Wires {
        let mut wires = Wires::new(2, BEAT, at(0));
        for ms in [100, 200, 300] {
            wires.heard(0, 60, false, at(ms));
        }
        wires.tick(at(349));
        assert_eq!(changes(&mut wires), []);
        assert_eq!(wires.poll_timeout(), Some(at(350)));
        wires.tick(at(350));
        assert_eq!(changes(&mut wires), [WireChange::Lost(1)]);
        wires
    }

    #[test]
    fn a_wire_is_lost_after_three_beats_and_told_once() {
        let mut wires = half_lost();
        wires.tick(at(400));
        assert_eq!(changes(&mut wires), []);
        assert_eq!(wires.poll_timeout(), Some(at(650)));
        wires.tick(at(650));
        assert_eq!(changes(&mut wires), [WireChange::Lost(0)]);
        assert_eq!(wires.poll_timeout(), None);
    }

    #[test]
    fn a_wire_is_back_after_three_beats_in_a_row() {
        let mut wires = half_lost();
        for ms in [500, 600] {
            wires.heard(1, 60, true, at(ms));
            assert_eq!(changes(&mut wires), []);
        }
        wires.heard(1, 60, true, at(700));
        assert_eq!(changes(&mut wires), [WireChange::Back(1)]);
        let view = wires.view().nth(1).unwrap();
        assert_eq!((view.datagrams, view.bytes, view.duplicates, view.lost), (3, 180, 3, false));
    }

    #[test]
    fn a_burst_is_one_beat_and_a_gap_begins_anew() {
        let mut wires = half_lost();
        for ms in [500, 501, 502, 600, 900, 1000, 1300] {
            wires.heard(1, 60, true, at(ms));
        }
        assert_eq!(changes(&mut wires), []);
        for ms in [1400, 1500] {
            wires.heard(1, 60, true, at(ms));
        }
        assert_eq!(changes(&mut wires), [WireChange::Back(1)]);
    }

    #[test]
    fn a_wire_that_no_address_stands_for_is_nobodys() {
        let mut wires = Wires::new(1, BEAT, at(0));
        wires.heard(7, 60, false, at(1));
        assert_eq!(wires.view().map(|wire| wire.datagrams).sum::<u64>(), 0);
    }
}
