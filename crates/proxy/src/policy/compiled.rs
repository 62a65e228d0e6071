//! What routes ask for, made ready once: users by name, keys parsed.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use mainstay_config::plan::edge::{Auth, Edge};
use mainstay_core::name::RouteId;

use super::basic::Basic;
use super::jwt::Jwt;
use super::limits;
use crate::snapshot::Snapshot;

/// Configurations that a thread has at hand; connections of older ones end soon.
const KEPT: usize = 4;

/// A route's credentials that nobody can be checked against.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A hash in no format that we know.
    #[error("route \"{route}\": the hash of user \"{user}\" is in no known format")]
    Hash {
        /// Which route.
        route: String,
        /// Whose hash.
        user: String,
    },
    /// A key that does not fit its algorithm.
    #[error("route \"{route}\": jwt key {key}: {says}")]
    Key {
        /// Which route.
        route: String,
        /// Which key: its id, or its number.
        key: String,
        /// What is wrong with it.
        says: String,
    },
}

/// What a route asks for before it lets a request in.
#[derive(Debug)]
pub(super) enum Guard {
    /// Nothing.
    Open,
    /// User and password.
    Basic(Basic),
    /// A token.
    Jwt(Box<Jwt>),
    /// Something that could not be made ready: nobody comes in.
    Broken,
}

/// The guards of a configuration, made ready.
#[derive(Debug)]
pub struct Compiled {
    /// Unlike that of any other in this process: what was verified under another one does not count.
    pub(super) number: u64,
    guards: Vec<Guard>,
    /// By zone: the hash of its name, with which the hashes of its keys begin.
    pub(super) zones: Vec<u64>,
    faults: Vec<Error>,
}

impl Compiled {
    /// Makes a configuration's guards ready. What can't be is told by [`Self::faults`], and lets nobody in.
    #[must_use]
    pub fn new(edge: &Edge) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let mut faults = Vec::new();
        let mut guards = Vec::with_capacity(edge.routes.len());
        for route in &edge.routes {
            guards.push(match &route.auth {
                None => Guard::Open,
                Some(Auth::Basic { realm, users, .. }) => {
                    Guard::Basic(Basic::new(&route.name, realm, users, &mut faults))
                }
                Some(Auth::Jwt(jwt)) => match Jwt::new(&route.name, jwt) {
                    Ok(jwt) => Guard::Jwt(Box::new(jwt)),
                    Err(fault) => {
                        faults.push(fault);
                        Guard::Broken
                    }
                },
            });
        }
        let zones = edge.zones.iter().map(|zone| limits::hash_of(zone.name.as_bytes())).collect();
        Self { number: NUMBERS.fetch_add(1, Ordering::Relaxed), guards, zones, faults }
    }

    /// What is wrong with the credentials of a configuration: a reason to refuse it.
    #[must_use]
    pub fn faults(&self) -> &[Error] {
        &self.faults
    }

    /// The same, to be handed on.
    #[must_use]
    pub fn into_faults(self) -> Vec<Error> {
        self.faults
    }

    pub(super) fn guard(&self, route: Option<RouteId>) -> &Guard {
        route.and_then(|id| self.guards.get(id.index())).unwrap_or(&Guard::Open)
    }
}

/// A configuration and the place that it is at: enough to tell those of one process apart.
type Which = (u64, usize);

thread_local! {
    static AT_HAND: RefCell<Vec<(Which, Rc<Compiled>)>> = const { RefCell::new(Vec::new()) };
}

/// The guards of a snapshot, made ready when a thread first asks for them.
pub(super) fn of(snapshot: &Snapshot) -> Rc<Compiled> {
    let which = (snapshot.generation, std::ptr::from_ref(&snapshot.edge).addr());
    AT_HAND.with_borrow_mut(|at_hand| {
        if let Some((_, compiled)) = at_hand.iter().find(|(known, _)| *known == which) {
            return Rc::clone(compiled);
        }
        let compiled = Rc::new(Compiled::new(&snapshot.edge));
        for fault in compiled.faults() {
            tracing::error!("{fault}");
        }
        at_hand.truncate(KEPT - 1);
        at_hand.insert(0, (which, Rc::clone(&compiled)));
        compiled
    })
}
