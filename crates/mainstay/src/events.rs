//! Events: made in one place, kept in a ring, told to those who follow.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::status::Event;

/// Events kept for those who ask later.
const KEPT: usize = 256;

/// The last events of a node.
#[derive(Debug, Default)]
pub struct Ring {
    events: VecDeque<Event>,
}

impl Ring {
    /// Keeps an event and forgets the oldest when there are too many.
    pub fn push(&mut self, event: Event) {
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Event> {
        self.events.iter().cloned().collect()
    }
}

/// Milliseconds since 1970.
#[must_use]
pub fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// An event that is not about a change of state.
#[must_use]
pub fn event(node: &str, kind: &str, about: &str, message: String) -> Event {
    Event {
        at_ms: wall_ms(),
        node: node.into(),
        kind: kind.into(),
        about: about.into(),
        from: None,
        to: None,
        reason: None,
        epoch: None,
        addrs: Vec::new(),
        priority: None,
        message,
    }
}
