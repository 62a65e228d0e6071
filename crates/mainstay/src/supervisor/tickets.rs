//! Keys of TLS session tickets: made here, the same for all edge processes, a new one every hour.

use std::io::Read as _;
use std::time::Duration;

use mainstay_core::time::Boot;
use mainstay_proxy::tls::TICKET_KEY;
use serde::{Deserialize, Serialize};

/// How long a key seals.
const HOUR: Duration = Duration::from_secs(3600);

/// Keys that open: a ticket lives six hours.
const KEPT: usize = 7;

/// The keys, the newest first.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct TicketKeys {
    keys: Vec<Vec<u8>>,
    next: Boot,
}

impl std::fmt::Debug for TicketKeys {
    /// Without the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketKeys").field("keys", &self.keys.len()).finish()
    }
}

impl TicketKeys {
    /// Makes a new key when it is time; whether it has.
    pub(super) fn turn(&mut self, now: Boot) -> bool {
        if !self.keys.is_empty() && now < self.next {
            return false;
        }
        let mut key = vec![0; TICKET_KEY];
        let drawn = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut key));
        if let Err(error) = drawn {
            tracing::error!("no new key for session tickets: {error}");
            self.next = now + HOUR;
            return false;
        }
        self.keys.insert(0, key);
        self.keys.truncate(KEPT);
        self.next = now + HOUR;
        true
    }

    /// When `turn` has something to do.
    pub(super) const fn next(&self) -> Boot {
        self.next
    }

    /// The newest first.
    pub(super) fn keys(&self) -> &[Vec<u8>] {
        &self.keys
    }
}
