//! What this place tells a hub that has dialled it, and the node's other threads: the agents that there are now, and each change.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::tunnel::directory::{About, Agent, Gost, Message, Offers, RECORDS, Reader, Wrong, encode};
use mainstay_link::tunnel::{Open, Session, Stream};
use mainstay_proxy::clock::boot_now;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use crate::edge::hub::Desk;
use crate::edge::hub::siblings::EXCLUSIVE;

/// What changes within this after a message goes in the next.
const BATCH: Duration = Duration::from_millis(5);

/// With thousands of agents to look through it is as many times what that took, so that it costs a thread no more than this share.
const SHARE: u32 = 8;
const BATCH_MAX: Duration = Duration::from_millis(100);

/// What was told of each tunnel.
type Told = BTreeMap<String, (Vec<Agent>, Option<Gost>)>;

/// How often threads of this node tell each other how busy agents are, when they are busier or less so.
const LOADS: Duration = Duration::from_secs(1);

/// What is read at once of what is pushed.
const READ: usize = 16 << 10;

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::edge::hub) enum To {
    /// Another hub: it hears of every agent that this node has, on whatever thread, for it has one session with one of them.
    Hub,
    /// Another thread of this node: it hears of this thread's own agents alone, how busy they are among it.
    Sibling,
}

/// Tells for as long as the session lives.
pub(in crate::edge::hub) async fn run(desk: Rc<Desk>, session: Session, to: To) {
    let open = Open { target: RECORDS.to_owned(), ..Open::default() };
    let Ok(mut stream) = session.open(&open, &[]) else { return session.close() };
    let mut changed = desk.peers.changed.subscribe();
    let (mut about, mut told) = (None, Told::new());
    loop {
        changed.mark_unchanged();
        let mut bytes = Vec::new();
        let now = About { urls: desk.addrs.borrow().clone(), leaving: desk.draining.get() };
        if about.as_ref() != Some(&now) {
            bytes = encode(&Message::Hub(now.clone()));
            about = Some(now);
        }
        let began = boot_now();
        let all = desk.offers_for(to);
        for tunnel in told.keys().filter(|tunnel| !all.contains_key(*tunnel)) {
            bytes.extend(said(tunnel, (Vec::new(), None)));
        }
        for (tunnel, offers) in all.iter().filter(|(tunnel, offers)| told.get(*tunnel) != Some(offers)) {
            bytes.extend(said(tunnel, offers.clone()));
        }
        told = all;
        let pushed = boot_now();
        let rest = (pushed.since(began) * SHARE).clamp(BATCH, BATCH_MAX);
        // One that takes nothing is silent, and its session ends.
        if stream.write_all(&bytes).await.is_err() {
            return session.close();
        }
        if desk.draining.get() && to == To::Hub {
            // Nothing follows, and the session may end with the last connection: this stream ends when it has been read.
            stream.finish();
            let _ = stream.read(&mut [0]).await;
            return;
        }
        tokio::select! {
            lives = changed.changed() => if lives.is_err() {
                return session.close();
            },
            () = sleep(LOADS), if to == To::Sibling => continue,
        }
        // What stands alone goes at once.
        sleep(rest.saturating_sub(boot_now().since(pushed))).await;
    }
}

/// Takes in what is pushed, until it ends.
///
/// # Errors
/// When it is nothing that would be pushed.
pub(in crate::edge::hub) async fn read(
    mut stream: Stream,
    mut said: impl FnMut(Message),
) -> Result<(), Wrong> {
    let (mut reader, mut buffer) = (Reader::default(), vec![0; READ]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        reader.feed(&buffer[..count]);
        while let Some(message) = reader.take()? {
            said(message);
        }
    }
    Ok(())
}

fn said(tunnel: &str, (agents, gost): (Vec<Agent>, Option<Gost>)) -> Vec<u8> {
    encode(&Message::Tunnel(Offers { tunnel: tunnel.to_owned(), agents, gost }))
}

impl Desk {
    /// The agents that somebody is told of, by the tunnels that they offer.
    fn offers_for(&self, to: To) -> Told {
        let mut all = Told::new();
        for seat in self.seats.borrow().iter().filter(|seat| seat.serves()) {
            let (run, load) = match to {
                To::Hub => (0, 0),
                To::Sibling => (seat.run(), seat.busy()),
            };
            // Each thread of the node sees for itself whether one takes all.
            for offer in seat.offers.iter().filter(|offer| to == To::Sibling || !offer.aside.get()) {
                let trouble = offer.trouble.borrow().clone();
                let agent = Agent {
                    name: seat.label(),
                    bytes: !offer.udp,
                    datagrams: offer.udp,
                    weight: if to == To::Sibling && seat.is_exclusive() { EXCLUSIVE } else { offer.weight },
                    trouble,
                    run,
                    load,
                };
                let told = all.entry(offer.tunnel.clone()).or_default();
                add(&mut told.0, agent);
                if let Some(gost) = &seat.gost {
                    want(&mut told.1, gost.private, self.has(&offer.tunnel, &gost.own_host));
                }
            }
        }
        match to {
            To::Hub => {
                self.siblings.lent(|tunnel, agent| {
                    add(&mut all.entry(tunnel.to_owned()).or_default().0, agent);
                });
                for (tunnel, (_, wanted)) in &mut all {
                    self.siblings.gost(tunnel, |gost| want(wanted, gost.private, gost.hosts.clone()));
                }
            }
            To::Sibling => {}
        }
        all
    }
}

/// What one of gost's clients wants goes with what the others want.
fn want(all: &mut Option<Gost>, private: bool, hosts: Vec<String>) {
    let all = all.get_or_insert_default();
    all.private |= private;
    let new: Vec<String> = hosts.into_iter().filter(|host| !all.hosts.contains(host)).collect();
    all.hosts.extend(new);
}

/// Bytes and datagrams of one agent are one: the worse of the two is told.
fn add(agents: &mut Vec<Agent>, agent: Agent) {
    match agents.iter_mut().find(|known| known.name == agent.name) {
        Some(known) => {
            known.bytes |= agent.bytes;
            known.datagrams |= agent.datagrams;
            known.trouble = known.trouble.take().or(agent.trouble);
        }
        None => agents.push(agent),
    }
}
