//! gost's clients: each has one session, over which it serves one tunnel.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mainstay_config::plan::gost::Gost;
use mainstay_config::plan::tunnel::label;
use mainstay_core::gost::ask::{Bind, Grant};
use mainstay_core::gost::relay::Status;
use mainstay_link::tunnel::gost::{Limits, connector};
use mainstay_link::tunnel::{Closed, Kind, Session, Side};
use mainstay_proxy::clock::boot_now;
use mainstay_proxy::road::Load;
use tokio::task::spawn_local;

use super::{Caller, No};
use crate::edge::hub::Desk;
use crate::edge::hub::carrier::Carrier;
use crate::edge::hub::seat::{self, GostSeat, Offered, Seat};
use crate::edge::hub::visitor::Came;

/// Clients of one tunnel at one thread: more is an attack, or a client that does not end its old sessions.
const CLIENTS_MAX: usize = 256;

/// The weight of a client that takes all of its tunnel's connections.
const EXCLUSIVE: u8 = 255;

/// Lets a client in, or not; then keeps its session.
pub(super) async fn receive(desk: Rc<Desk>, carrier: Carrier, caller: Caller, bind: Bind) {
    let own_host = match desk.judge_client(&caller, &bind) {
        Ok(own_host) => own_host,
        Err(no) => return desk.turn_down(carrier, &caller, &no).await,
    };
    let tunnel = bind.tunnel.to_string();
    let host = own_host.clone().unwrap_or_else(|| label(&tunnel));
    let number = connector();
    let grant = Grant::new(&bind, &host, number);
    let id = grant.connector.to_string();
    let (session, incoming) =
        Session::start_gost(carrier, Side::Hub, bind.kind, &grant.message().bytes(), Limits::default());
    let Caller { came: Came { from, carrier: kind, open, .. }, counts, .. } = caller;
    let name = format!("gost-{}", &id[..8]);
    let private = bind.tunnel.is_private();
    tracing::info!(agent = %name, connector = %id, %tunnel, private, ?from, carrier = kind, %host, "one of gost's clients joins");
    let (half, _) = number.split_first_chunk::<8>().expect("a UUID has two halves");
    let exclusive = bind.tunnel.weight == EXCLUSIVE;
    let seat = Rc::new(Seat {
        name: name.clone(),
        label: RefCell::new(name.clone()),
        told_as: name,
        key: [0; 32],
        instance: u64::from_be_bytes(*half),
        from,
        carrier: kind,
        began: boot_now(),
        session,
        offers: vec![Rc::new(offered(&tunnel, &bind, exclusive))],
        refused: Vec::new(),
        load: Load::default(),
        told: Cell::new(0),
        superseded: Cell::new(false),
        leaving: Cell::new(false),
        gost: Some(GostSeat { connector: id, own_host, exclusive, private, login: bind.login }),
    });
    desk.seat(Rc::clone(&seat));
    spawn_local(async move {
        let kept = Rc::clone(&seat);
        let why = seat::keep(Rc::clone(&desk), seat, incoming).await;
        if let Some(gost) = &kept.gost {
            tracing::info!(connector = %gost.connector, private = gost.private, %why, "one of gost's clients has gone");
        }
        if let Closed::Wrong(_) = why {
            desk.count_refused(counts, "gost:session");
        }
        drop(open);
    });
}

fn offered(tunnel: &str, bind: &Bind, exclusive: bool) -> Offered {
    // 0 is what those say who say nothing.
    let weight = if exclusive { 1 } else { bind.tunnel.weight.max(1) };
    Offered {
        tunnel: tunnel.to_owned(),
        route: tunnel.to_owned(),
        udp: bind.kind == Kind::Datagrams,
        weight: u32::from(weight),
        trouble: RefCell::default(),
        streams: Cell::new(0),
        opened: Cell::new(0),
        forwarded: Cell::new(0),
        tally: Rc::default(),
        aside: Cell::new(false),
    }
}

impl Desk {
    /// Whether a client may serve its tunnel; the host of its own that it gets.
    fn judge_client(&self, caller: &Caller, bind: &Bind) -> Result<Option<String>, No> {
        let tunnel = bind.tunnel.to_string();
        if !caller.serves {
            let why = format!("a client of tunnel {tunnel} comes where only visitors come in");
            return Err(No::new("gost:listener", Status::Forbidden, why));
        }
        if self.draining.get() {
            let why = "this process of the hub is about to leave: dial again";
            return Err(No::new("gost:leaving", Status::Unavailable, why));
        }
        if !self.knows(bind.login.as_ref()) {
            let why = format!("a client of tunnel {tunnel} has no login that is known");
            return Err(No::new("gost:login", Status::Unauthorized, why));
        }
        if self.gost(|gost| gost.entrypoint.as_deref() == Some(&*tunnel)).unwrap_or(false) {
            let why = format!("{tunnel} is the id of the entrypoint: no client serves it");
            return Err(No::new("gost:tunnel", Status::Forbidden, why));
        }
        if let Err(why) = self.may_bind(&tunnel) {
            return Err(No::new("gost:tunnel", Status::Forbidden, why));
        }
        let clients = self.seats.borrow().of(&tunnel).iter().filter(|seat| seat.gost.is_some()).count();
        if clients >= CLIENTS_MAX {
            let why = format!("tunnel {tunnel} has {CLIENTS_MAX} clients at this thread");
            return Err(No::new("gost:clients", Status::Unavailable, why));
        }
        Ok(self.own_host(&tunnel, bind))
    }

    /// The host of its own that a client gets, when it wants one and it is nobody else's. Who does not get it is served under the
    /// generated one all the same, as by gost.
    fn own_host(&self, tunnel: &str, bind: &Bind) -> Option<String> {
        let wanted = bind.own_host()?;
        let judged = self.may_have_host(tunnel, wanted);
        judged.inspect_err(|why| self.holds_back(tunnel, wanted, why)).ok()
    }

    /// Whether a client that is there may still be there.
    pub(in crate::edge::hub) fn may_stay(&self, now: Option<&Gost>, gost: &GostSeat, tunnel: &str) -> bool {
        self.may_bind(tunnel).is_ok() && now.is_some_and(|now| super::knows(now, gost.login.as_ref()))
    }

    /// Puts aside who gets nothing while another client takes all of its tunnel's connections, here or at another thread of the node;
    /// whether one takes all bytes, and all datagrams.
    pub(in crate::edge::hub) fn set_aside(&self, tunnel: &str) -> [bool; 2] {
        let seats = self.seats.borrow();
        let takes_all = |udp: bool| {
            (seats.of(tunnel).iter())
                .filter(|seat| seat.serves() && seat.is_exclusive())
                .any(|seat| seat.offers.iter().any(|offer| offer.tunnel == tunnel && offer.udp == udp))
        };
        let taken = [false, true].map(|udp| takes_all(udp) || self.siblings.takes_all(tunnel, udp));
        for seat in seats.of(tunnel) {
            for offer in seat.offers.iter().filter(|offer| offer.tunnel == tunnel) {
                offer.aside.set(taken[usize::from(offer.udp)] && !seat.is_exclusive());
            }
        }
        taken
    }
}
