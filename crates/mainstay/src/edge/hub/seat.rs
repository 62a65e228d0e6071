//! One session of an agent at one thread.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::balance::hash::hash;
use mainstay_core::gost::relay::Login;
use mainstay_core::time::Boot;
use mainstay_link::tunnel::{Closed, Code, Health, Incoming, News, Session, Tally};
use mainstay_proxy::clock::boot_now;
use mainstay_proxy::road::{Load, OfferStatus, SessionStatus};

use super::Desk;

/// A session.
pub(super) struct Seat {
    /// What the agent calls itself.
    pub(super) name: String,
    /// The same, unique on this thread.
    pub(super) label: RefCell<String>,
    /// Under which label its coming was told.
    pub(super) told_as: String,
    pub(super) key: [u8; 32],
    /// Which run of the agent it is.
    pub(super) instance: u64,
    pub(super) from: Option<SocketAddr>,
    pub(super) carrier: &'static str,
    pub(super) began: Boot,
    pub(super) session: Session,
    pub(super) offers: Vec<Rc<Offered>>,
    /// Tunnels that it wanted to offer and may not.
    pub(super) refused: Vec<String>,
    /// What its targets are kept busy with from elsewhere.
    pub(super) load: Load,
    /// All that they are, as it last said.
    pub(super) told: Cell<u32>,
    /// A later session has its name.
    pub(super) superseded: Cell<bool>,
    /// It takes no further streams.
    pub(super) leaving: Cell<bool>,
    /// It is one of gost's clients.
    pub(super) gost: Option<GostSeat>,
}

/// What only gost's clients have.
#[derive(Debug)]
pub(super) struct GostSeat {
    /// The number that we gave it: a UUID.
    pub(super) connector: String,
    /// The host that it wanted and got, beside the generated one; in lower case.
    pub(super) own_host: Option<String>,
    /// It has all of the tunnel's connections while it is there (weight 255).
    pub(super) exclusive: bool,
    /// Who knows the tunnel's host does not reach it (`$` before its id).
    pub(super) private: bool,
    /// Who it said it is.
    pub(super) login: Option<Login>,
}

/// What it offers under one tunnel.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) tunnel: String,
    /// How streams are opened to it and its health is told.
    pub(super) route: String,
    pub(super) udp: bool,
    pub(super) weight: u32,
    /// Why its target cannot serve.
    pub(super) trouble: RefCell<Option<String>>,
    pub(super) streams: Cell<u64>,
    pub(super) opened: Cell<u64>,
    /// Those of the open ones that came from other threads of the node, and from other hubs.
    pub(super) forwarded: Cell<u64>,
    /// Bytes to it and from it.
    pub(super) tally: Rc<Tally>,
    /// Another client takes all of the tunnel's connections.
    pub(super) aside: Cell<bool>,
}

/// What tells agents of one name apart, the same on all threads of all hubs.
pub(super) fn run_of(instance: u64, key: &[u8; 32]) -> u64 {
    hash([instance, 0], key)
}

/// A name for one of several agents that call themselves so.
pub(super) fn apart(name: &str, run: u64) -> String {
    format!("{name}~{:06x}", run & 0xff_ffff)
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("label", &self.label()).field("from", &self.from).finish_non_exhaustive()
    }
}

impl Seat {
    /// The agent's name, unique on this thread.
    pub(super) fn label(&self) -> String {
        self.label.borrow().clone()
    }

    /// Whether it goes by this name.
    pub(super) fn is_called(&self, label: &str) -> bool {
        *self.label.borrow() == label
    }

    /// Whether another agent goes by this name. One that leaves needs it no more.
    pub(super) fn is_other(&self, label: &str, instance: u64, key: &[u8; 32]) -> bool {
        self.is_called(label) && (self.instance, &self.key) != (instance, key) && self.serves()
    }

    /// Whether streams may be opened to it.
    pub(super) fn serves(&self) -> bool {
        let gone = self.leaving.get() || self.superseded.get() || self.session.is_closed();
        !gone && !self.session.has_left()
    }

    /// What tells it from other agents of its name, and its sessions elsewhere from those.
    pub(super) fn run(&self) -> u64 {
        run_of(self.instance, &self.key)
    }

    /// Connections that it has, as far as is known here: it tells of all of them, now and then, or not at all.
    pub(super) fn busy(&self) -> u32 {
        let ours = self.offers.iter().map(|offer| offer.streams.get()).fold(0, u64::saturating_add);
        self.told.get().max(u32::try_from(ours).unwrap_or(u32::MAX))
    }

    /// What this thread's own requests give it is counted by the pools, from moment to moment; the rest is its load.
    pub(super) fn recount(&self) {
        let own = self.offers.iter().map(|offer| offer.streams.get() - offer.forwarded.get());
        let own = own.fold(0, u64::saturating_add);
        self.load.set(self.busy().saturating_sub(u32::try_from(own).unwrap_or(u32::MAX)));
    }

    /// What it gets connections for.
    pub(super) fn offered(&self) -> impl Iterator<Item = &Rc<Offered>> {
        self.offers.iter().filter(|offer| !offer.aside.get())
    }

    /// Whether it takes all of its tunnel's connections.
    pub(super) fn is_exclusive(&self) -> bool {
        self.gost.as_ref().is_some_and(|gost| gost.exclusive)
    }

    /// The tunnels that it offers.
    pub(super) fn tunnels(&self) -> impl Iterator<Item = &str> {
        self.offers.iter().map(|offer| offer.tunnel.as_str())
    }

    /// Opens no further streams to it; those that there are go on for as long.
    pub(super) fn leave(&self, within: Duration) {
        self.leaving.set(true);
        self.session.drain(within);
    }

    pub(super) fn status(&self, place: (u16, u16)) -> SessionStatus {
        SessionStatus {
            agent: self.label(),
            visitor: false,
            from: self.from.map(|from| from.to_string()).unwrap_or_default(),
            carrier: self.carrier.to_owned(),
            place,
            seconds: boot_now().since(self.began).as_secs(),
            rtt_ms: self.session.counters().rtt.map_or(0.0, |rtt| rtt.as_secs_f64() * 1000.0),
            load: self.told.get(),
            leaving: !self.serves(),
            offers: self.offers.iter().map(|offer| offer.status()).collect(),
        }
    }

    /// Takes in what the agent says of its targets; whether anything of it is news to the pools.
    fn hear(&self, news: &News) -> bool {
        self.told.set(news.load);
        self.recount();
        let mut changed = false;
        for offer in &self.offers {
            let Some((_, health)) = news.targets.iter().find(|(target, _)| *target == offer.route) else {
                continue;
            };
            let trouble = match health {
                Health::Up => None,
                Health::Down => Some("no target of it answers".to_owned()),
                // What was known last stands.
                Health::Unknown => continue,
            };
            if *offer.trouble.borrow() != trouble {
                offer.trouble.replace(trouble);
                changed = true;
            }
        }
        changed
    }
}

impl Offered {
    fn status(&self) -> OfferStatus {
        OfferStatus {
            open: None,
            tunnel: self.tunnel.clone(),
            udp: self.udp,
            weight: self.weight,
            trouble: self.trouble.borrow().clone(),
            streams: self.streams.get(),
            opened: self.opened.get(),
            sent: self.tally.sent.get(),
            received: self.tally.received.get(),
        }
    }
}

/// Keeps a session until it ends.
pub(super) async fn keep(desk: Rc<Desk>, seat: Rc<Seat>, mut incoming: Incoming) -> Closed {
    let mut known = 0;
    let why = loop {
        tokio::select! {
            why = seat.session.closed() => break why,
            Some((open, stream)) = incoming.next() => {
                tracing::debug!(agent = %seat.label(), target = %open.target, "an agent opens no connections");
                stream.reset(Code::Denied);
            }
            now = seat.session.changed(known) => {
                known = now;
                let left = seat.session.has_left() && !seat.leaving.replace(true);
                if seat.hear(&seat.session.heard()) || left {
                    desk.publish(seat.tunnels());
                }
                if left {
                    desk.let_go();
                    desk.call_by_name();
                }
            }
        }
    };
    desk.unseat(&seat, &why.to_string());
    tracing::info!(agent = %seat.label(), from = ?seat.from, %why, "an agent has left");
    why
}
