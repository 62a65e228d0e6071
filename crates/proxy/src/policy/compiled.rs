//! What routes ask for, made ready once: users by name, keys parsed.

use std::sync::atomic::{AtomicU64, Ordering};

use mainstay_config::plan::edge::{Auth, Edge};
use mainstay_core::name::RouteId;

use super::basic::Basic;
use super::jwt::Jwt;
use super::limits;

/// A route's credentials that nobody can be checked against.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
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
}

/// The guards of a configuration, made ready.
#[derive(Debug)]
pub struct Compiled {
    /// Unlike that of any other in this process: what was verified under another one does not count.
    pub(super) number: u64,
    guards: Vec<Guard>,
    /// By zone: the hash of its name, with which the hashes of its keys begin.
    pub(super) zones: Vec<u64>,
}

impl Compiled {
    /// Makes a configuration's guards ready.
    ///
    /// # Errors
    /// A hash or a key that nobody could be checked against.
    pub fn new(edge: &Edge) -> Result<Self, Error> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let mut guards = Vec::with_capacity(edge.routes.len());
        for route in &edge.routes {
            guards.push(match &route.auth {
                None => Guard::Open,
                Some(Auth::Basic { realm, users, .. }) => Guard::Basic(Basic::new(&route.name, realm, users)),
                Some(Auth::Jwt(jwt)) => Guard::Jwt(Box::new(Jwt::new(&route.name, jwt)?)),
            });
        }
        let zones = edge.zones.iter().map(|zone| limits::hash_of(zone.name.as_bytes())).collect();
        Ok(Self { number: NUMBERS.fetch_add(1, Ordering::Relaxed), guards, zones })
    }

    pub(super) fn guard(&self, route: Option<RouteId>) -> &Guard {
        route.and_then(|id| self.guards.get(id.index())).unwrap_or(&Guard::Open)
    }
}
