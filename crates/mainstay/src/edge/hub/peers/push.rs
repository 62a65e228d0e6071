//! What this place tells a hub that has dialled it: the agents that it has now, and each change.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::tunnel::directory::{About, Agent, Message, Offers, RECORDS, encode};
use mainstay_link::tunnel::Open;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::Guest;
use crate::edge::hub::Desk;

/// What changes within this goes in one.
const BATCH: Duration = Duration::from_millis(5);

/// What was told of each tunnel.
type Told = BTreeMap<String, Vec<Agent>>;

/// Tells for as long as the session lives.
pub(super) async fn run(desk: Rc<Desk>, guest: Rc<Guest>) {
    let open = Open { target: RECORDS.to_owned(), ..Open::default() };
    let Ok(mut stream) = guest.session.open(&open, &[]) else { return guest.session.close() };
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
        let all = desk.own_offers();
        for tunnel in told.keys().filter(|tunnel| !all.contains_key(*tunnel)) {
            bytes.extend(said(tunnel, Vec::new()));
        }
        for (tunnel, agents) in all.iter().filter(|(tunnel, agents)| told.get(*tunnel) != Some(agents)) {
            bytes.extend(said(tunnel, agents.clone()));
        }
        told = all;
        // A hub that takes nothing is silent, and its session ends.
        if stream.write_all(&bytes).await.is_err() {
            return guest.session.close();
        }
        if desk.draining.get() {
            // Nothing follows, and the session may end with the last connection: this stream ends when it has been read.
            stream.finish();
            let _ = stream.read(&mut [0]).await;
            return;
        }
        if changed.changed().await.is_err() {
            return guest.session.close();
        }
        sleep(BATCH).await;
    }
}

fn said(tunnel: &str, agents: Vec<Agent>) -> Vec<u8> {
    encode(&Message::Tunnel(Offers { tunnel: tunnel.to_owned(), agents, gost: None }))
}

impl Desk {
    /// The agents of this thread, by the tunnels that they offer.
    fn own_offers(&self) -> Told {
        let mut all = Told::new();
        for seat in self.seats.borrow().iter().filter(|seat| seat.serves()) {
            for offer in &seat.offers {
                let agents = all.entry(offer.tunnel.clone()).or_default();
                let trouble = offer.trouble.borrow().clone();
                match agents.iter_mut().find(|known| seat.is_called(&known.name)) {
                    Some(known) => {
                        known.bytes |= !offer.udp;
                        known.datagrams |= offer.udp;
                        known.trouble = known.trouble.take().or(trouble);
                    }
                    None => agents.push(Agent {
                        name: seat.label(),
                        bytes: !offer.udp,
                        datagrams: offer.udp,
                        weight: offer.weight,
                        trouble,
                        run: 0,
                        load: 0,
                    }),
                }
            }
        }
        all
    }
}
