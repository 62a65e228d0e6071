//! Streams that come from elsewhere: from another hub, and from another thread of this node. They go to an agent of this thread; one
//! of a hub may go one step further, to the thread that has the agent. Else they go back untouched.

use std::rc::Rc;

use mainstay_link::tunnel::{Code, HOPS_MAX, Kind, Open, Stream};
use mainstay_proxy::policy::tunnel::Unbounded;
use mainstay_proxy::road::Agent;
use tokio::task::spawn_local;

use super::Count;
use super::join::{Counted, To, Toll, join};
use crate::edge::hub::Desk;

/// What a thread says to another of its node when the agent that was asked for is not there: it has left, and the other has not
/// heard so yet. No other side of a session says it.
pub(in crate::edge::hub) const ELSEWHERE: Code = Code::Other(0x4553);

/// Where a stream comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::edge::hub) enum Whence {
    /// From another hub: it is counted here.
    Hub,
    /// From another thread of this node, which has counted it: it goes no further than to this one's agents.
    Sibling,
}

/// Joins a stream with one to the agent that it is for.
pub(in crate::edge::hub) fn serve(
    desk: &Rc<Desk>,
    count: &Rc<Count>,
    whence: Whence,
    (open, stream): (Open, Stream),
) {
    let ready = match whence {
        Whence::Hub => from_hub(desk, &open),
        Whence::Sibling => from_sibling(desk, &open),
    };
    match ready {
        Ok((far, toll)) => {
            count.begin();
            let count = Rc::clone(count);
            let datagrams = open.kind == Kind::Datagrams;
            spawn_local(async move {
                let (there, back) = join(stream, far, datagrams, toll).await;
                count.end();
                count.tally.received.set(count.tally.received.get() + there);
                count.tally.sent.set(count.tally.sent.get() + back);
            });
        }
        Err((code, why)) => {
            tracing::debug!(?whence, target = open.target, why, "a stream from elsewhere is refused");
            stream.reset(code);
        }
    }
}

/// Where a stream goes on, and who pays for it; else why it does not.
type Onward = Result<(Stream, Toll), (Code, &'static str)>;

/// The tunnel and the agent that a stream is for.
fn goal(open: &Open) -> Result<Agent, (Code, &'static str)> {
    let udp = open.kind == Kind::Datagrams;
    let tunnel = if udp { open.target.strip_suffix("/udp") } else { Some(open.target.as_str()) };
    match (tunnel, &open.host) {
        (Some(tunnel), Some(name)) => Ok(Agent { tunnel: tunnel.into(), name: name.as_str().into() }),
        _ => Err((Code::Refused, "it does not say to whom it goes")),
    }
}

fn from_sibling(desk: &Rc<Desk>, open: &Open) -> Onward {
    let went = to_agent(desk, &goal(open)?, open, open.hops.clone());
    let (stream, counted) = went.map_err(|(_, why)| (ELSEWHERE, why))?;
    Ok((stream, Toll::new(To::Agent(counted), None)))
}

/// The agent is one of this node: what comes from a hub never goes to another.
fn from_hub(desk: &Rc<Desk>, open: &Open) -> Onward {
    if open.hops.iter().any(|hop| *hop == desk.hub.name) {
        return Err((Code::Refused, "it has been here before"));
    }
    if open.hops.is_empty() || open.hops.len() >= HOPS_MAX {
        return Err((Code::Refused, "it does not say where it has been, or has been in too many places"));
    }
    let agent = goal(open)?;
    let udp = open.kind == Kind::Datagrams;
    let near = desk.find(&agent, udp).is_some();
    let lent = if near { None } else { desk.siblings.find(&agent, udp) };
    if !near && lent.is_none() {
        return Err((Code::Refused, "the agent has no session here"));
    }
    let held = desk.hold(&agent.tunnel).map_err(|why| match why {
        None => (Code::Refused, "there is no such tunnel"),
        Some(Unbounded::Streams) => (Code::Refused, "the tunnel has as many connections as it may have"),
        Some(Unbounded::Rate) => (Code::Refused, "the tunnel opens connections faster than it may"),
    })?;
    let mut hops = open.hops.clone();
    hops.push(desk.hub.name.clone());
    let (stream, to) = match lent {
        None => {
            let (stream, counted) = to_agent(desk, &agent, open, hops)?;
            (stream, To::Agent(counted))
        }
        Some(via) => {
            let opened = via.open(desk, Open { hops, ..open.clone() });
            let (stream, lent) = opened.map_err(|_| (Code::Refused, "its thread takes no more"))?;
            (stream, To::Sibling(lent))
        }
    };
    Ok((stream, Toll::new(to, Some(held))))
}

fn to_agent(
    desk: &Rc<Desk>,
    agent: &Agent,
    open: &Open,
    hops: Vec<String>,
) -> Result<(Stream, Counted), (Code, &'static str)> {
    let found = desk.find(agent, open.kind == Kind::Datagrams);
    let (seat, offer) = found.ok_or((Code::Refused, "the agent has no session here"))?;
    let host = seat.gost.as_ref().and_then(|gost| desk.shown_host(gost, &agent.tunnel));
    let next = Open { target: offer.route.clone(), host, hops, ..open.clone() };
    let stream = seat.session.open(&next, &[]).map_err(|_| (Code::Refused, "the agent takes no more"))?;
    Ok((stream, Counted::new(seat, offer)))
}
