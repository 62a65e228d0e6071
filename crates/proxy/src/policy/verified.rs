//! What a thread has found out about credentials, so that a slow hash or a signature is not paid for each request.
//!
//! Credentials are kept as a keyed hash alone; nobody outside knows the key, which lives and dies with the thread.

use std::collections::HashMap;

use aws_lc_rs::hmac;

/// The keyed hash of credentials.
pub(super) type Digest = [u8; 32];

thread_local! {
    static KEY: hmac::Key = hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new())
        .expect("the random generator has been seeded");
}

/// The keyed hash of what was shown, for one configuration and route.
pub(super) fn digest(configuration: u64, route: u32, shown: &[u8]) -> Digest {
    let tag = KEY.with(|key| {
        let mut context = hmac::Context::with_key(key);
        context.update(&configuration.to_le_bytes());
        context.update(&route.to_le_bytes());
        context.update(shown);
        context.sign()
    });
    let mut digest = Digest::default();
    digest.copy_from_slice(&tag.as_ref()[..32]);
    digest
}

/// A bounded memory: what was not asked for during the last two fillings is forgotten.
#[derive(Debug)]
pub(super) struct Verified<T> {
    /// Entries in each half.
    half: usize,
    young: HashMap<Digest, T>,
    old: HashMap<Digest, T>,
}

impl<T: Clone> Verified<T> {
    /// For so many entries.
    pub(super) fn new(entries: usize) -> Self {
        Self { half: entries / 2, young: HashMap::new(), old: HashMap::new() }
    }

    /// What is known of credentials.
    pub(super) fn get(&mut self, digest: &Digest) -> Option<T> {
        if let Some(found) = self.young.get(digest) {
            return Some(found.clone());
        }
        let found = self.old.remove(digest)?;
        self.put(*digest, found.clone());
        Some(found)
    }

    /// Remembers.
    pub(super) fn put(&mut self, digest: Digest, value: T) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_memory_is_bounded() {
        let mut verified = Verified::new(100);
        let often = digest(1, 0, b"often");
        verified.put(often, 0);
        for n in 0..1000_u32 {
            verified.put(digest(1, 0, &n.to_le_bytes()), n);
            assert_eq!(verified.get(&often), Some(0));
        }
        assert!(verified.young.len() + verified.old.len() <= 100);
        assert_eq!(verified.get(&digest(1, 0, &0_u32.to_le_bytes())), None);
    }

    #[test]
    fn another_configuration_or_route_shares_nothing() {
        assert_eq!(digest(1, 2, b"x"), digest(1, 2, b"x"));
        assert_ne!(digest(1, 2, b"x"), digest(2, 2, b"x"));
        assert_ne!(digest(1, 2, b"x"), digest(1, 3, b"x"));
    }
}
