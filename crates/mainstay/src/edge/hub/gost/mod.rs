//! gost's clients and visitors: who comes, what it wants, and whether it may (docs/operating/gost.md).
//!
//! On listeners with `compat` the first byte tells who is there: one of gost's, somebody who asks for an upgrade to WebSocket, or an
//! agent or visitor of ours. Until all is said that lets one in it waits in the lobby, as ours do.

mod bind;
mod visit;
mod visitor;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use mainstay_config::plan::edge::{Gost, Protocol};
use mainstay_core::gost::ask::Ask;
use mainstay_core::gost::relay::{Login, Status};
use mainstay_core::gost::step::{self, PATIENCE};
use mainstay_link::tunnel::gost::{self, Failed, is_login};
use mainstay_proxy::http1;
use mainstay_proxy::road::{Ahead, Arrival, Counted, Way};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

use super::Desk;
use super::carrier::{Carrier, carrier_of};
use super::hello::{self, shown};
use super::seat::GostSeat;
use super::visitor::Came;

/// The first byte of gost's relay protocol: its version.
const RELAY: u8 = 1;

/// The first byte of `GET`.
const GET: u8 = b'G';

/// What one that is sent away is counted and told as.
#[derive(Debug)]
struct No {
    /// The word of the counter.
    counted: &'static str,
    status: Status,
    /// For people.
    why: String,
}

impl No {
    fn new(counted: &'static str, status: Status, why: impl Into<String>) -> Self {
        Self { counted, status, why: why.into() }
    }
}

/// Who has come.
struct Caller {
    came: Came,
    /// Where its listener counts.
    counts: u32,
    /// Clients serve tunnels here, not only visitors.
    serves: bool,
}

impl Caller {
    const fn from(&self) -> Option<SocketAddr> {
        self.came.from
    }
}

/// What a connection turned out to be.
enum Comes {
    /// One of gost's.
    Relay(Carrier, Caller),
    /// It asks for an upgrade.
    Upgrade(Arrival),
    /// One of ours.
    Own(Carrier, Came),
}

/// Takes a connection of a listener with `compat`.
pub(super) async fn greet(desk: Rc<Desk>, arrival: Arrival) {
    let from = arrival.from;
    let Some(comes) = desk.greeted.wait(sniff(&desk, arrival)).await else {
        return desk.news.refused(&shown(from), &desk.greeted.full());
    };
    match comes {
        Ok(Comes::Relay(carrier, caller)) => relay(desk, carrier, caller).await,
        Ok(Comes::Own(carrier, came)) => hello::begin(desk, carrier, came).await,
        Ok(Comes::Upgrade(arrival)) => {
            let Some(thread) = desk.thread.upgrade() else { return };
            drop(desk);
            Box::pin(http1::upgrade(thread, arrival)).await;
        }
        Err(error) => tracing::debug!(?from, "nothing comes of a connection: {error}"),
    }
}

/// Reads the byte that tells who is there.
async fn sniff(desk: &Desk, arrival: Arrival) -> io::Result<Comes> {
    let thread = desk.thread.upgrade().ok_or(io::ErrorKind::NotConnected)?;
    let snapshot = thread.snapshot();
    let listener = snapshot.edge.listeners.iter().find(|listener| *listener.name == *arrival.listener);
    let hub = listener.is_some_and(|listener| listener.protocol == Protocol::Hub);
    let serves = hub || arrival.way == Way::WebSocket;
    let caller = |came: Came, counts| Caller { came, counts, serves };
    let (counts, plain) = (arrival.connection.counts, super::carrier::name(&arrival));
    let (way, ours) = (arrival.way, arrival.connection.local);
    let mut arrival = arrival;
    if way == Way::Straight {
        let first = match arrival.early.first() {
            Some(first) => *first,
            None => {
                let first = first_of(&mut arrival.io).await?;
                arrival.early.push(first);
                first
            }
        };
        if first == GET {
            return Ok(Comes::Upgrade(arrival));
        }
        let Arrival { io, early, from, open, .. } = arrival;
        let carrier = carrier_of(io, early, way);
        return Ok(came(carrier, first, plain, (from, ours, open), |came| caller(came, counts)));
    }
    let Arrival { io, early, from, open, .. } = arrival;
    let mut carrier = carrier_of(io, early, way);
    let first = first_of(&mut carrier).await?;
    let carrier: Carrier = Box::new(Ahead::new(vec![first], carrier));
    Ok(came(carrier, first, plain, (from, ours, open), |came| caller(came, counts)))
}

fn came(
    carrier: Carrier,
    first: u8,
    plain: &'static str,
    (from, ours, open): (Option<SocketAddr>, Option<SocketAddr>, Counted),
    caller: impl FnOnce(Came) -> Caller,
) -> Comes {
    if first == RELAY {
        return Comes::Relay(carrier, caller(Came { from, ours, carrier: of_gosts(plain), open }));
    }
    Comes::Own(carrier, Came { from, ours, carrier: plain, open })
}

/// What a connection of gost's is called.
fn of_gosts(plain: &'static str) -> &'static str {
    match plain {
        "tls" => "gost+tls",
        "ws" => "gost+ws",
        "wss" => "gost+wss",
        _ => "gost+tcp",
    }
}

async fn first_of(from: &mut (impl AsyncRead + Unpin)) -> io::Result<u8> {
    timeout(PATIENCE, from.read_u8()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Hears what one of gost's wants, and serves it, or sends it away.
async fn relay(desk: Rc<Desk>, mut carrier: Carrier, caller: Caller) {
    let Some(met) = desk.greeted.wait(gost::meet(&mut carrier)).await else {
        return desk.news.refused(&shown(caller.from()), &desk.greeted.full());
    };
    match met {
        Ok((Ask::Bind(bind), _)) => bind::receive(desk, carrier, caller, bind).await,
        Ok((Ask::Connect(connect), _)) => visit::receive(desk, carrier, caller, connect).await,
        Err(failed) => desk.failed(&caller, &failed),
    }
}

impl Desk {
    /// What holds for gost's.
    fn gost<R>(&self, with: impl FnOnce(&Gost) -> R) -> Option<R> {
        let thread = self.thread.upgrade()?;
        let snapshot = thread.snapshot();
        snapshot.edge.gost.as_ref().map(with)
    }

    /// Whether a login is one of those that are asked for.
    pub(super) fn knows(&self, login: Option<&Login>) -> bool {
        self.gost(|gost| knows(gost, login)).unwrap_or(false)
    }

    /// Whether anybody has to say who it is.
    fn asks(&self) -> bool {
        self.gost(|gost| !gost.users.is_empty()).unwrap_or(true)
    }

    fn count_refused(&self, counts: u32, why: &'static str) {
        if let Some(thread) = self.thread.upgrade() {
            thread.counters.refused(counts, why);
        }
    }

    /// Somebody did not come as far as to be understood.
    fn failed(&self, caller: &Caller, failed: &Failed) {
        let from = caller.from();
        let word = match failed {
            Failed::Broken(error) => return tracing::debug!(?from, "a connection of gost's: {error}"),
            Failed::Step(step::Failed::Late) => "gost:late",
            Failed::Step(step::Failed::Broken(_) | step::Failed::Refused(_) | step::Failed::Told(_)) => {
                "gost:malformed"
            }
        };
        self.count_refused(caller.counts, word);
        self.news.refused(&shown(from), &format!("gost's protocol: {failed}"));
        tracing::debug!(?from, "somebody does not speak gost's protocol: {failed}");
    }

    /// Whether gost's come to a listener.
    pub(super) fn is_compat(&self, name: &str) -> bool {
        let Some(thread) = self.thread.upgrade() else { return false };
        let snapshot = thread.snapshot();
        snapshot.edge.listeners.iter().any(|listener| listener.name == name && listener.compat.is_some())
    }

    /// The host that gost's clients are told a connection is for, where there is one.
    pub(super) fn shown_host(&self, gost: &GostSeat, tunnel: &str) -> Option<String> {
        if gost.own_host.is_some() {
            return gost.own_host.clone();
        }
        let tunnels = self.tunnels.borrow();
        let plain = |host: &&String| !host.contains(['*', '~', '/']);
        let written = tunnels.get(tunnel).and_then(|spec| spec.hosts.iter().find(plain).cloned());
        written.or_else(|| self.hosts.of(tunnel).into_iter().find(|host| !host.starts_with('.')))
    }

    /// Sends somebody away.
    async fn turn_down(&self, mut carrier: Carrier, caller: &Caller, no: &No) {
        let from = caller.from();
        self.count_refused(caller.counts, no.counted);
        self.news.refused(&shown(from), &no.why);
        tracing::debug!(?from, why = %no.why, "one of gost's is refused");
        gost::refuse(&mut carrier, no.status).await;
    }
}

/// Whether a login is one of those that are asked for; all of them are looked at, whichever it is.
fn knows(gost: &Gost, login: Option<&Login>) -> bool {
    let known = |login: &Login| {
        gost.users.iter().fold(false, |known, user| known | is_login(login, &user.name, &user.password.text))
    };
    gost.users.is_empty() || login.is_some_and(known)
}
