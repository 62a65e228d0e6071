//! Which hub a connection of a visitor goes by.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_core::tunnel::hello::Answer;
use mainstay_link::tunnel::Session;
use mainstay_link::tunnel::hello::Met;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::agent::{Agent, leaves};

/// How long a connection waits for the first hub.
pub(super) const FIRST: Duration = Duration::from_secs(10);

/// How long one that a hub could not serve waits for another.
const ANOTHER: Duration = Duration::from_millis(500);

/// A session, and the doors that its hub has granted.
struct Way {
    session: Session,
    granted: Vec<u16>,
}

/// The sessions of a visitor.
#[derive(Default)]
pub(in crate::agent) struct Ways {
    all: RefCell<BTreeMap<u64, Way>>,
    /// There is another, or a hub has refused.
    changed: Notify,
}

impl Ways {
    /// A session has begun.
    pub(in crate::agent) fn begun(&self, number: u64, session: &Session, met: &Met) {
        let served = |answer: &Answer| matches!(answer, Answer::Served(_));
        let granted = met.welcome.grants.iter().filter(|grant| served(&grant.answer));
        let granted = granted.map(|grant| grant.index).collect();
        self.all.borrow_mut().insert(number, Way { session: session.clone(), granted });
        self.changed.notify_waiters();
    }

    /// It has ended.
    pub(in crate::agent) fn ended(&self, number: u64) {
        self.all.borrow_mut().remove(&number);
    }

    /// A hub sends us away.
    pub(in crate::agent) fn refused(&self) {
        self.changed.notify_waiters();
    }

    /// Whether there are sessions, and by none of them a door leads anywhere.
    pub(in crate::agent) fn all_refuse(&self, door: u16) -> bool {
        let all = self.all.borrow();
        !all.is_empty() && !all.values().any(|way| way.granted.contains(&door))
    }

    /// The nearest that has not been tried; one whose hub leaves only when there is no other.
    fn best(&self, door: u16, tried: &[u64]) -> Option<(u64, Session)> {
        let all = self.all.borrow();
        let fits = |(number, way): &(&u64, &Way)| {
            !tried.contains(number) && way.granted.contains(&door) && way.session.may_open().is_ok()
        };
        let rank = |(_, way): &(&u64, &Way)| (leaves(&way.session), way.session.counters().rtt);
        let (number, way) = all.iter().filter(fits).min_by_key(rank)?;
        Some((*number, way.session.clone()))
    }
}

impl Agent {
    /// A session by which a door's connection can go that was not tried yet; waits for one. None when no hub lets us in, or none came.
    pub(super) async fn way(&self, door: u16, tried: &[u64]) -> Option<(u64, Session)> {
        let patience = if tried.is_empty() { FIRST } else { ANOTHER };
        let until = Instant::now() + patience;
        loop {
            let changed = self.ways.changed.notified();
            if let Some(way) = self.ways.best(door, tried) {
                return Some(way);
            }
            if self.leaving.get() || self.is_refused(door) {
                return None;
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(until) => return None,
            }
        }
    }
}
