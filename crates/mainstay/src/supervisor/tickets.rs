//! Keys that all edge processes have in common: of TLS session tickets, a new one every hour, and of sticky cookies.

use std::io::Read as _;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_core::time::Boot;
use mainstay_link::tunnel::siblings::SECRET;
use mainstay_proxy::tls::TICKET_KEY;
use serde::{Deserialize, Serialize};

use crate::ipc::RunSecret;

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

/// So many random bytes.
fn draw(bytes: usize) -> std::io::Result<Vec<u8>> {
    let mut key = vec![0; bytes];
    std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut key))?;
    Ok(key)
}

/// What agents of tunnels and other hubs tell this run of the node by.
pub(super) fn hub_instance() -> anyhow::Result<u64> {
    let drawn = draw(8).context("draw a number for the hub")?;
    Ok(drawn.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)))
}

/// What edge processes of this run of the node know each other by.
///
/// # Errors
/// When the kernel gives no random bytes: a secret that can be guessed is none.
pub(super) fn run_secret() -> anyhow::Result<RunSecret> {
    Ok(RunSecret(draw(SECRET).context("draw a secret for the edge processes")?))
}

/// A key of sticky cookies.
///
/// # Errors
/// When the kernel gives no random bytes: a key that can be guessed is none.
pub(super) fn sticky_key() -> anyhow::Result<Vec<u8>> {
    draw(16).context("draw a key for sticky cookies")
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
        let key = match draw(TICKET_KEY) {
            Ok(key) => key,
            Err(error) => {
                tracing::error!("no new key for session tickets: {error}");
                self.next = now + HOUR;
                return false;
            }
        };
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
