//! Which agents offer which tunnel on this thread, and how long it is worth waiting for one.

use std::collections::HashMap;
use std::time::Duration;

use mainstay_core::time::Boot;

use crate::road::Offer;

/// Agents are back within a second of a hub's return, and take a moment to meet each thread of it; so long a request waits for
/// the first one after a start, or after the last one has left.
const RETURN: Duration = Duration::from_secs(5);

/// The tunnels of one thread.
#[derive(Debug)]
pub(super) struct Tunnels {
    /// When the first agents were to be expected.
    born: Boot,
    known: HashMap<Box<str>, Known>,
}

#[derive(Debug)]
struct Known {
    offers: Vec<Offer>,
    /// Until when one is waited for.
    awaited: Boot,
}

impl Tunnels {
    pub(super) fn new(born: Boot) -> Self {
        Self { born, known: HashMap::new() }
    }

    /// Who offers a tunnel, and until when it is worth waiting for somebody.
    pub(super) fn of(&self, id: &str) -> (&[Offer], Boot) {
        match self.known.get(id) {
            Some(known) => (&known.offers, known.awaited),
            None => (&[], self.born + RETURN),
        }
    }

    /// Nothing is known of it any more: as one that never was there, but that nobody is waited for.
    pub(super) fn forget(&mut self, id: &str) {
        self.known.remove(id);
    }

    /// Takes in who offers a tunnel; whether that is news.
    pub(super) fn replace(&mut self, id: &str, offers: Vec<Offer>, now: Boot) -> bool {
        match self.known.get_mut(id) {
            Some(known) if known.offers == offers => false,
            Some(known) => {
                known.awaited = if offers.is_empty() { now + RETURN } else { Boot::ZERO };
                known.offers = offers;
                true
            }
            None if offers.is_empty() => false,
            None => {
                self.known.insert(id.into(), Known { offers, awaited: Boot::ZERO });
                true
            }
        }
    }
}
