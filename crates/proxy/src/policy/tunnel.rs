//! Bounds of a tunnel: connections at once, new connections, bytes. All processes of the node count together.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use mainstay_config::plan::edge::Tunnel;
use mainstay_core::rate::{Rate, Verdict};
use tokio::time::{Sleep, sleep};

use super::{limits, table};
use crate::clock::boot_now;
use crate::shared::{Cells, Permit};

/// A tunnel may be so far ahead of its bandwidth before its connections wait.
const AHEAD: Duration = Duration::from_millis(100);

/// The bounds of one tunnel.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// What it is counted by: connections at once, new ones, bytes.
    keys: [u64; 3],
    streams: u32,
    rate: Option<Rate>,
    bandwidth: u64,
}

/// Why a connection is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbounded {
    /// There are as many as there may be.
    Streams,
    /// They come too fast.
    Rate,
}

/// A connection's place among those of its tunnel; given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    _permit: Option<Permit>,
    /// Bytes a second and where they are counted.
    bandwidth: Option<(Cells, u64, u64)>,
    wait: RefCell<Option<Pin<Box<Sleep>>>>,
}

impl Bounds {
    /// Those of a tunnel.
    #[must_use]
    pub fn new(tunnel: &Tunnel) -> Self {
        let key = |what: &str| limits::hash_of(format!("tunnel\n{what}\n{}", tunnel.id).as_bytes());
        // A second's worth may come at once.
        let burst = u32::try_from(tunnel.rate_millis / 1000).unwrap_or(u32::MAX);
        Self {
            keys: [key("streams"), key("rate"), key("bytes")],
            streams: tunnel.streams,
            rate: (tunnel.rate_millis > 0).then(|| Rate::new(tunnel.rate_millis, burst, burst)),
            bandwidth: tunnel.bandwidth,
        }
    }

    /// None at all.
    #[must_use]
    pub const fn none() -> Self {
        Self { keys: [0; 3], streams: 0, rate: None, bandwidth: 0 }
    }

    /// A place for one more connection.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(&self, cells: Cells) -> Result<Held, Unbounded> {
        let permit = match self.streams {
            0 => None,
            most => Some(table::hold(cells, self.keys[0], most).ok_or(Unbounded::Streams)?),
        };
        if let Some(rate) = self.rate
            && matches!(table::ask(cells, self.keys[1], rate, boot_now()), Verdict::Refuse(_))
        {
            return Err(Unbounded::Rate);
        }
        let bandwidth = (self.bandwidth > 0).then_some((cells, self.keys[2], self.bandwidth));
        Ok(Held { _permit: permit, bandwidth, wait: RefCell::new(None) })
    }
}

impl Held {
    /// Whether bytes may have to wait.
    #[must_use]
    pub const fn is_bounded(&self) -> bool {
        self.bandwidth.is_some()
    }

    /// So many bytes went through.
    pub fn spend(&self, bytes: usize) {
        let Some((cells, key, rate)) = self.bandwidth else { return };
        let nanos = u128::from(bytes as u64) * 1_000_000_000 / u128::from(rate);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let ahead = table::spend(cells, key, cost, boot_now());
        if ahead > AHEAD {
            self.wait.replace(Some(Box::pin(sleep(ahead - AHEAD))));
        }
    }

    /// Waits until bytes may go through.
    pub fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.bandwidth.is_none() {
            return Poll::Ready(());
        }
        let mut wait = self.wait.borrow_mut();
        if let Some(sleep) = wait.as_mut() {
            std::task::ready!(sleep.as_mut().poll(cx));
            *wait = None;
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel(streams: u32, rate_millis: u64, bandwidth: u64) -> Tunnel {
        Tunnel {
            gost: false,
            id: "office".to_owned(),
            agents: Vec::new(),
            visitors: None,
            served: Vec::new(),
            streams,
            rate_millis,
            bandwidth,
        }
    }

    #[test]
    fn a_place_is_given_back_and_all_threads_count_together() {
        let cells = Cells::private();
        let (one, other) = (Bounds::new(&tunnel(2, 0, 0)), Bounds::new(&tunnel(2, 0, 0)));
        let held = [one.open(cells).unwrap(), other.open(cells).unwrap()];
        assert_eq!(one.open(cells).unwrap_err(), Unbounded::Streams);
        drop(held);
        other.open(cells).unwrap();
    }

    #[test]
    fn connections_beyond_a_seconds_worth_are_refused() {
        let cells = Cells::private();
        let bounds = Bounds::new(&tunnel(0, 5_000, 0));
        let passed = (0..20).filter(|_| bounds.open(cells).is_ok()).count();
        assert!((5..=8).contains(&passed), "{passed}");
        assert_eq!(bounds.open(cells).unwrap_err(), Unbounded::Rate);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_wait_for_their_turn() {
        let cells = Cells::private();
        let held = Bounds::new(&tunnel(0, 0, 1000)).open(cells).unwrap();
        let other = Bounds::new(&tunnel(0, 0, 1000)).open(cells).unwrap();
        let began = tokio::time::Instant::now();
        held.spend(1000);
        other.spend(1000);
        std::future::poll_fn(|cx| held.poll_turn(cx)).await;
        let first = began.elapsed();
        std::future::poll_fn(|cx| other.poll_turn(cx)).await;
        let both = began.elapsed();
        let near = |took: Duration, wanted: u64| took.as_millis().abs_diff(u128::from(wanted)) < 60;
        assert!(near(first, 900) && near(both, 1900), "{first:?} {both:?}");
        std::future::poll_fn(|cx| other.poll_turn(cx)).await;
    }
}
