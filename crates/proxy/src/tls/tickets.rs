//! Session tickets whose keys come from outside, so that every process opens what any of them has sealed (RFC 5077, RFC 8446 4.6.1).

use std::fmt;
use std::sync::{Arc, RwLock};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

/// Bytes of a key as the supervisor hands it out: 16 that name it, then 32 of AES-256-GCM-SIV.
pub const TICKET_KEY: usize = NAME + 32;

/// Bytes that tell which key has sealed a ticket.
const NAME: usize = 16;

/// Bytes of the AEAD's tag.
const TAG: usize = 16;

/// What a client may keep a ticket for, in seconds. Keys are rotated by the supervisor; a ticket whose key is gone costs a full
/// handshake, nothing else.
const LIFETIME: u32 = 6 * 60 * 60;

/// Longer tickets are not opened: ours hold a session's secrets and, with client certificates, one chain.
const TICKET_MAX: usize = 32 * 1024;

/// Older keys that are kept, the newest one among them.
const KEYS_MAX: usize = 8;

/// The keys in force; clones share them.
#[derive(Clone, Default)]
pub struct Tickets {
    keys: Arc<RwLock<Arc<[Key]>>>,
}

/// One key.
struct Key {
    name: [u8; NAME],
    aead: LessSafeKey,
}

impl Tickets {
    /// Without keys: sessions are not resumed until [`Self::rotate`] brings some.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a key of this process's own, for tests and for tools.
    #[must_use]
    pub fn private() -> Self {
        let tickets = Self::new();
        let mut key = [0; TICKET_KEY];
        if rand::fill(&mut key).is_ok() {
            tickets.rotate(&[key]);
        }
        tickets
    }

    /// These keys from here on: the first one seals, all of them open.
    pub fn rotate(&self, keys: &[[u8; TICKET_KEY]]) {
        let keys: Arc<[Key]> = keys.iter().take(KEYS_MAX).filter_map(Key::new).collect();
        *self.keys.write().unwrap_or_else(std::sync::PoisonError::into_inner) = keys;
    }

    fn keys(&self) -> Arc<[Key]> {
        Arc::clone(&self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Key {
    fn new(bytes: &[u8; TICKET_KEY]) -> Option<Self> {
        let (name, key) = bytes.split_at(NAME);
        let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, key).ok()?);
        Some(Self { name: name.try_into().ok()?, aead })
    }
}

impl fmt::Debug for Tickets {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("keys", &self.keys().len()).finish()
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        !self.keys().is_empty()
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    /// name, nonce, ciphertext, tag. The AEAD forgives a nonce that is drawn twice.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys();
        let key = keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(NAME + NONCE_LEN + plain.len() + TAG);
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let (head, text) = ticket.split_at_mut(NAME + NONCE_LEN);
        let tag = key
            .aead
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&head[..NAME]), text)
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        if cipher.len() < NAME + NONCE_LEN + TAG || cipher.len() > TICKET_MAX {
            return None;
        }
        let (name, rest) = cipher.split_at(NAME);
        let (nonce, text) = rest.split_at(NONCE_LEN);
        let keys = self.keys();
        // The name is no secret: it is read off the wire.
        let key = keys.iter().find(|key| key.name == name)?;
        let mut text = text.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = key.aead.open_in_place(nonce, Aad::from(name), &mut text).ok()?.len();
        text.truncate(plain);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instance_with_the_key_opens_what_one_has_sealed() {
        let (one, other) = (Tickets::new(), Tickets::new());
        one.rotate(&[[7; TICKET_KEY]]);
        other.rotate(&[[7; TICKET_KEY]]);
        let ticket = one.encrypt(b"session").unwrap();
        assert_eq!(other.decrypt(&ticket).unwrap(), b"session");
    }

    #[test]
    fn a_rotated_key_opens_until_it_is_gone() {
        let tickets = Tickets::new();
        let (old, new) = ([1; TICKET_KEY], [2; TICKET_KEY]);
        tickets.rotate(&[old]);
        let ticket = tickets.encrypt(b"session").unwrap();
        tickets.rotate(&[new, old]);
        assert_eq!(tickets.decrypt(&ticket).unwrap(), b"session");
        assert!(tickets.encrypt(b"x").unwrap().starts_with(&new[..NAME]));
        tickets.rotate(&[new]);
        assert_eq!(tickets.decrypt(&ticket), None);
    }

    #[test]
    fn without_keys_nothing_is_sealed_or_opened() {
        let tickets = Tickets::new();
        assert!(!tickets.enabled());
        assert_eq!(tickets.encrypt(b"x"), None);
        assert_eq!(tickets.decrypt(&[0; 100]), None);
    }

    #[test]
    fn a_ticket_that_was_touched_is_refused() {
        let tickets = Tickets::private();
        let ticket = tickets.encrypt(b"session").unwrap();
        for at in 0..ticket.len() {
            let mut bad = ticket.clone();
            bad[at] ^= 1;
            assert_eq!(tickets.decrypt(&bad), None, "byte {at}");
            assert_eq!(tickets.decrypt(&ticket[..at]), None, "length {at}");
        }
        assert_eq!(tickets.decrypt(&vec![0; TICKET_MAX + 1]), None);
    }

    #[test]
    fn keys_are_not_shown() {
        assert_eq!(format!("{:?}", Tickets::private()), "Tickets { keys: 1 }");
    }
}
