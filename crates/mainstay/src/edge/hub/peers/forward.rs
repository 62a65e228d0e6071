//! Streams that another hub sends here: they go to an agent of this thread, or back untouched.

use std::rc::Rc;

use mainstay_link::tunnel::{Code, HOPS_MAX, Kind, Open, Stream};
use mainstay_proxy::policy::tunnel::Unbounded;
use mainstay_proxy::road::Agent;
use tokio::task::spawn_local;

use super::Guest;
use super::join::{Toll, join};
use crate::edge::hub::Desk;

/// Joins a stream with one to the agent that it is for.
pub(super) fn serve(desk: &Rc<Desk>, guest: &Rc<Guest>, open: Open, stream: Stream) {
    match onward(desk, &open) {
        Ok((far, toll)) => {
            guest.count.begin();
            let guest = Rc::clone(guest);
            let datagrams = open.kind == Kind::Datagrams;
            spawn_local(async move {
                let (there, back) = join(stream, far, datagrams, toll).await;
                guest.count.end();
                guest.count.tally.received.set(guest.count.tally.received.get() + there);
                guest.count.tally.sent.set(guest.count.tally.sent.get() + back);
            });
        }
        Err((code, why)) => {
            tracing::debug!(hub = guest.hub, target = open.target, why, "a stream of another hub is refused");
            stream.reset(code);
        }
    }
}

/// The stream to the agent. It is one of our own: what comes from a hub never goes to another.
fn onward(desk: &Rc<Desk>, open: &Open) -> Result<(Stream, Toll), (Code, &'static str)> {
    if open.hops.iter().any(|hop| *hop == desk.hub.name) {
        return Err((Code::Refused, "it has been here before"));
    }
    if open.hops.is_empty() || open.hops.len() >= HOPS_MAX {
        return Err((Code::Refused, "it does not say where it has been, or has been in too many places"));
    }
    let udp = open.kind == Kind::Datagrams;
    let tunnel = if udp { open.target.strip_suffix("/udp") } else { Some(open.target.as_str()) };
    let (Some(tunnel), Some(name)) = (tunnel, &open.host) else {
        return Err((Code::Refused, "it does not say to whom it goes"));
    };
    let agent = Agent { tunnel: tunnel.into(), name: name.as_str().into() };
    let (seat, offer) = desk.find(&agent, udp).ok_or((Code::Refused, "the agent has no session here"))?;
    if desk.draining.get() {
        return Err((Code::Refused, "this process is about to leave"));
    }
    let held = desk.hold(tunnel).map_err(|why| match why {
        None => (Code::Refused, "there is no such tunnel"),
        Some(Unbounded::Streams) => (Code::Refused, "the tunnel has as many connections as it may have"),
        Some(Unbounded::Rate) => (Code::Refused, "the tunnel opens connections faster than it may"),
    })?;
    let mut hops = open.hops.clone();
    hops.push(desk.hub.name.clone());
    let next = Open {
        kind: open.kind,
        target: offer.route.clone(),
        visitor: open.visitor,
        destination: open.destination,
        host: None,
        hops,
    };
    let stream = seat.session.open(&next, &[]).map_err(|_| (Code::Refused, "the agent takes no more"))?;
    Ok((stream, Toll::new(offer, held)))
}
