//! A key that nobody here has pinned knocks: the nodes that are known are asked whose it is, and the word of one of them
//! is enough. So a newcomer that one node has taken in, by a token, is taken in by all of them.

use std::net::SocketAddr;

use mainstay_core::name::NodeId;
use mainstay_core::peer::NAME_MAX;
use mainstay_core::time::Boot;

use crate::event::{Event, Means};
use crate::peer::HALF_OPEN;
use crate::session::inside;
use crate::sessions::Sessions;

/// Questions about one node are this far apart.
const ASK: std::time::Duration = std::time::Duration::from_secs(1);

impl Sessions {
    /// Somebody with this key says that it is a node whose key is not known: who else knows it?
    pub(crate) fn ask_whose(&mut self, id: &str, key: [u8; 32], from: SocketAddr, now: Boot) {
        let others = key == self.house.public || self.peers.iter().any(|peer| peer.spec.key == Some(key));
        if others || self.forgotten.contains(&key) {
            return;
        }
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.spec.id == id) else { return };
        // Not at once: a stranger's datagram makes us say nothing that is longer. One question at a time, about one key.
        // Who knocks from the node's own address comes before those who don't.
        if peer.asks_at.is_none() || peer.wire(from).is_some() {
            (peer.knocked, peer.asks_at) = (Some((key, now)), Some(now.max(peer.ask_from)));
        }
    }

    /// Asks what is due.
    pub(crate) fn ask_others(&mut self, now: Boot) {
        for at in 0..self.peers.len() {
            let Some(peer) = self.peers.get_mut(at) else { return };
            if peer.asks_at.take_if(|asks_at| *asks_at <= now).is_none() {
                continue;
            }
            peer.ask_from = now + ASK;
            let knocked = peer.knocked.filter(|_| peer.spec.key.is_none());
            let Some((key, text)) = knocked.and_then(|(key, _)| Some((key, named(&peer.spec.id)?))) else {
                continue;
            };
            // As long as the answer.
            let text = [&text[..], &key].concat();
            for (other, peer) in self.peers.iter_mut().enumerate() {
                if other != at {
                    peer.seal_to_all(inside::WHOSE, &text, &mut self.house);
                }
            }
        }
    }

    /// What a peer says of keys. Who it is has been proven; what it says is judged here.
    pub(crate) fn on_aside(&mut self, (from, wire): (NodeId, usize), kind: u8, text: &[u8], now: Boot) {
        let Some((id, rest)) = read(text) else {
            self.house.causes.bad_letter += 1;
            return;
        };
        if kind == inside::WHOSE {
            self.answer_whose((from, wire), id, now);
        } else if let Some(key) = rest.first_chunk::<32>() {
            self.take_word(from, id, *key, now);
        } else {
            self.house.causes.bad_letter += 1;
        }
    }

    fn answer_whose(&mut self, (asker, wire): (NodeId, usize), id: &str, now: Boot) {
        let known = self.peers.iter().find(|peer| peer.spec.id == id).and_then(|peer| peer.spec.key);
        let known = if id == self.house.id { Some(self.house.public) } else { known };
        let (Some(key), Some(mut text)) = (known, named(id)) else { return };
        text.extend(key);
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.node() == asker) else { return };
        if peer.asides.take(now) {
            peer.seal_to(wire, inside::VOUCH, &text, &mut self.house);
        } else {
            self.house.causes.limited += 1;
        }
    }

    /// Only for a node of our list whose key is not pinned, and only for the key that has knocked: no word replaces a key.
    fn take_word(&mut self, by: NodeId, id: &str, key: [u8; 32], now: Boot) {
        let taken = key == self.house.public || self.peers.iter().any(|peer| peer.spec.key == Some(key));
        let peer = self.peers.iter_mut().find(|peer| peer.spec.id == id && peer.node() != by);
        let Some(peer) = peer.filter(|peer| peer.spec.key.is_none()) else { return };
        let Some((knocked, _)) = peer.knocked.filter(|(_, at)| now < *at + HALF_OPEN) else { return };
        if knocked != key {
            if peer.warns(now) {
                self.house.tell(Event::Disputed { node: peer.node(), by });
            }
            return;
        }
        if !taken && !self.forgotten.contains(&key) {
            peer.enrolled(key, Means::Voucher(by), &mut self.house, now);
        }
    }
}

/// Length, name.
fn named(id: &str) -> Option<Vec<u8>> {
    let length = u8::try_from(id.len()).ok().filter(|length| usize::from(*length) <= NAME_MAX)?;
    Some([&[length], id.as_bytes()].concat())
}

fn read(text: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = text.split_first()?;
    let (id, rest) = rest.split_at_checked(usize::from(*length))?;
    let id = std::str::from_utf8(id).ok().filter(|id| !id.is_empty() && id.len() <= NAME_MAX)?;
    Some((id, rest))
}
