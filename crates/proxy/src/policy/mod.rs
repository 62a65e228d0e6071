//! Who may come in and how often: sources, credentials, rates.
//!
//! [`check`] asks in nginx's order: rates and requests at once (its preaccess phase), then sources, then credentials,
//! where `satisfy_any` makes either of the last two enough. Rates and requests at once are counted for all processes
//! together, without a lock, in [`crate::shared::Cells`].

pub(crate) mod access;
mod basic;
mod budget;
mod compiled;
mod htpasswd;
mod jwt;
mod limits;
mod table;
pub mod tunnel;
mod verified;

use mainstay_config::plan::edge::Route;

pub use basic::{shut_out, user};
pub use compiled::{Compiled, Error};
pub use jwt::{Kept, keeps};

use crate::exchange::{Exchange, Render};
use crate::shared::Cells;
use crate::snapshot::Snapshot;
use compiled::Guard;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The status that the client gets, by way of the error pages.
    pub status: u16,
    /// Fields that its response carries: `WWW-Authenticate`, `Retry-After`.
    pub fields: Vec<(Box<str>, Vec<u8>)>,
    /// What refused, for counters and logs: `access`, `rate`, `concurrency`, `basic`, `jwt`.
    pub why: &'static str,
}

impl Denied {
    fn new(status: u16, why: &'static str) -> Self {
        Self { status, fields: Vec::new(), why }
    }

    fn with(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }
}

/// Whether a request may go on at `exchange.route`; sets `user`, `claims`, `delay` and `permits`.
///
/// Called for each route that a request comes to, internal redirects included: sources and credentials are asked each
/// time, rates and requests at once only at the first route that has any, as nginx does. Nothing is taken away from the
/// request here: what the backend gets of a token is decided when its fields are written ([`keeps`]).
///
/// # Errors
/// The refusal.
pub fn check(
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    cells: Cells,
    render: Render<'_>,
) -> Result<(), Denied> {
    let Some(id) = exchange.route else { return Ok(()) };
    let Some(route) = snapshot.edge.routes.get(id.index()) else { return Ok(()) };
    limits::rates(route, snapshot, exchange, cells, render)?;
    limits::concurrency(route, snapshot, exchange, cells, render)?;
    enter(route, snapshot, exchange, render)
}

/// The access phase.
fn enter(
    route: &Route,
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    render: Render<'_>,
) -> Result<(), Denied> {
    let source = access::verdict(&route.access, exchange.client);
    if source == Some(true) && route.satisfy_any {
        return Ok(());
    }
    let denied = (source == Some(false)).then(|| Denied::new(403, "access"));
    if let Some(denied) = denied
        && !(route.satisfy_any && route.auth.is_some())
    {
        return Err(denied);
    }
    if route.auth.is_none() {
        return Ok(());
    }
    let compiled = &snapshot.guards;
    let shown = match compiled.guard(exchange.route) {
        Guard::Open => Ok(true),
        Guard::Basic(basic) => basic::check(basic, compiled, exchange, render),
        Guard::Jwt(jwt) => jwt::check(jwt, compiled, exchange).map(|()| true),
    };
    match shown {
        // The realm reads `off`: nobody is asked, and the source alone decides.
        Ok(false) if source == Some(false) => Err(Denied::new(403, "access")),
        Ok(_) => Ok(()),
        Err(denied) => Err(denied),
    }
}

#[cfg(test)]
mod tests;
