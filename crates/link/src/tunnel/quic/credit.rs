//! Credit of a stream of datagrams, some of which come beside the lanes.
//!
//! One that goes beside may be lost, and nobody can tell: its sender has its cost back at once. So who takes it must not return that,
//! though its machine, which counts all alike, says so; and whether there is room is looked at here.

/// What a stream has cost on its way in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    window: u32,
    /// Came, and was not returned.
    held: u32,
    /// What of it came beside.
    beside: u32,
}

impl Account {
    /// Of a stream with this window.
    pub(super) const fn new(window: u32) -> Self {
        Self { window, held: 0, beside: 0 }
    }

    /// One has come over a lane.
    pub(super) const fn came(&mut self, cost: u32) {
        self.held = self.held.saturating_add(cost);
    }

    /// One has come beside the lanes: whether there is room for it.
    pub(super) const fn takes(&mut self, cost: u32) -> bool {
        if self.held.saturating_add(cost) > self.window {
            return false;
        }
        self.held += cost;
        self.beside += cost;
        true
    }

    /// The machine returns so much, and grants this window: what of that is to be told, when anything is.
    pub(super) fn returns(&mut self, count: u32, window: u32) -> Option<u32> {
        self.held = self.held.saturating_sub(count);
        let beside = self.beside.min(count);
        self.beside -= beside;
        let grown = window > self.window;
        self.window = self.window.max(window);
        let rest = count - beside;
        (rest > 0 || grown).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_beside_is_not_returned_and_never_more_is_taken_than_there_is_room_for() {
        let mut account = Account::new(1000);
        account.came(300);
        assert!(account.takes(700) && !account.takes(1));
        assert_eq!(account.returns(500, 1000), None, "it came beside");
        assert_eq!(account.returns(500, 1000), Some(300), "what came over the lane is told");
        assert!(account.takes(1000));
        assert_eq!(account.returns(1000, 4000), Some(0), "a wider window is told by itself");
        assert!(account.takes(4000) && !account.takes(1));
    }
}
