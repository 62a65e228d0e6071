//! A relayed TCP connection: two sockets, two directions, and where it stands.

use std::os::fd::OwnedFd;

use mainstay_core::time::Boot;
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::flow::{End, Flow, Turn};
use super::pipes::Pipes;

/// Where a session stands after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It waits for its sockets.
    Waits,
    /// It wants another turn at once.
    More,
    /// Both directions have ended.
    Over,
    /// One of the sockets broke.
    Broken(Errno),
}

/// The sockets of a session and what is under way between them.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: End,
    pub(super) backend: End,
    /// From the client.
    pub(super) inward: Flow,
    /// To the client.
    pub(super) outward: Flow,
    /// The client's socket is watched; before, nobody waits for it.
    pub(super) client_watched: bool,
    /// The connect to the backend is under way until then.
    pub(super) connecting: Option<Boot>,
    /// The backend's socket sends small pieces at once; set when a second piece comes.
    pub(super) no_delay: bool,
    /// The tick at which something last moved.
    pub(super) active: u64,
}

impl Session {
    /// A session whose connect is under way; `first` goes to the backend before anything else. `drained` says that the client has
    /// said no more than that.
    pub(super) fn new(
        client: OwnedFd,
        backend: OwnedFd,
        first: &[u8],
        drained: bool,
        connecting: Boot,
    ) -> Self {
        Self {
            client: End::new(client, !drained, true),
            backend: End::new(backend, false, false),
            inward: Flow::with(first),
            outward: Flow::default(),
            client_watched: false,
            connecting: Some(connecting),
            no_delay: false,
            active: 0,
        }
    }

    /// Sends `first` on a connect that may be done already; false while it is not.
    ///
    /// # Errors
    /// When the backend cannot be reached.
    pub(super) fn send_first(&mut self, first: &[u8]) -> Result<bool, Errno> {
        match rustix::net::send(&self.backend.fd, first, SendFlags::NOSIGNAL) {
            Ok(sent) => {
                self.inward = Flow::with(&first[sent..]);
                self.inward.moved = sent as u64;
                self.backend.writable = sent == first.len();
                self.connecting = None;
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Moves what can be moved in both directions.
    pub(super) fn turn(&mut self, pipes: &Pipes, buffer: &mut [u8]) -> Standing {
        let before = self.inward.moved;
        let last = self.outward.done;
        let inward = match self.inward.pump(&mut self.client, &mut self.backend, last, pipes, buffer) {
            Ok(turn) => turn,
            Err(error) => return self.broken(error, pipes, buffer),
        };
        if before > 0 && self.inward.moved > before && !self.no_delay {
            self.no_delay = true;
            // A socket that is no TCP needs none of it.
            let _ = rustix::net::sockopt::set_tcp_nodelay(&self.backend.fd, true);
        }
        let last = self.inward.done;
        let outward = match self.outward.pump(&mut self.backend, &mut self.client, last, pipes, buffer) {
            Ok(turn) => turn,
            Err(error) => return Standing::Broken(error),
        };
        if self.inward.done && self.outward.done {
            return Standing::Over;
        }
        if inward == Turn::More || outward == Turn::More { Standing::More } else { Standing::Waits }
    }

    /// A backend that refuses more may have answered already: that still goes to the client.
    fn broken(&mut self, error: Errno, pipes: &Pipes, buffer: &mut [u8]) -> Standing {
        self.backend.readable = true;
        self.backend.hung = true;
        match self.outward.pump(&mut self.backend, &mut self.client, true, pipes, buffer) {
            Ok(Turn::More) => Standing::More,
            Ok(Turn::Waits) | Err(_) => Standing::Broken(error),
        }
    }

    /// Gives back what was borrowed.
    pub(super) fn close(&mut self, pipes: &Pipes) {
        self.inward.close(pipes);
        self.outward.close(pipes);
    }
}
