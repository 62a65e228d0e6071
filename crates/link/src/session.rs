//! One session that a handshake has made: seals, opens, takes each number once.

use mainstay_core::time::Boot;
use snow::{HandshakeState, StatelessTransportState};

use crate::noise::TAG;
use crate::packet::{self, Greeting, WILL};
use crate::window::{Place, Window};

/// The version of what is inside that we speak at most.
pub(crate) const VERSION: u8 = 1;

/// What the first byte inside says.
pub(crate) mod inside {
    /// Nothing but that the session is in use.
    pub(crate) const CONFIRM: u8 = 0;
    pub(crate) const LETTER: u8 = 1;
}

/// Keys of both directions, and what has come and gone under them.
pub(crate) struct Session {
    transport: StatelessTransportState,
    pub(crate) mine: u32,
    theirs: u32,
    pub(crate) born: Boot,
    /// Since when there is a newer one.
    pub(crate) replaced: Option<Boot>,
    /// This side began the handshake.
    pub(crate) initiated: bool,
    /// The process at the other end.
    pub(crate) instance: u64,
    /// What both sides speak.
    pub(crate) version: u8,
    /// The next number, also how many were sent.
    pub(crate) sent: u64,
    wills: u64,
    window: Window,
    will_window: Window,
    /// How the other side's hello began, and what it was answered; a copy that comes over another wire gets the same.
    pub(crate) hello: [u8; 32],
    pub(crate) answer: Vec<u8>,
}

/// What became of a sealed datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    Fresh(Vec<u8>),
    /// Authentic, but taken already.
    Duplicate,
    /// Too old to know whether it was taken.
    Old,
    /// Not sealed under these keys.
    Bad,
}

impl Session {
    pub(crate) fn new(
        handshake: HandshakeState,
        (mine, theirs): (u32, u32),
        greeting: &Greeting,
        now: Boot,
    ) -> Option<Self> {
        let transport = handshake.into_stateless_transport_mode().ok()?;
        Some(Self {
            initiated: transport.is_initiator(),
            transport,
            mine,
            theirs,
            born: now,
            replaced: None,
            instance: greeting.instance,
            version: greeting.version.min(VERSION),
            sent: 0,
            wills: 0,
            window: Window::new(),
            will_window: Window::new(),
            hello: [0; 32],
            answer: Vec::new(),
        })
    }

    pub(crate) fn replaced_at(mut self, now: Boot) -> Self {
        self.replaced = Some(now);
        self
    }

    pub(crate) fn seal(&mut self, kind: u8, text: &[u8]) -> Option<Vec<u8>> {
        if self.sent >= WILL {
            return None;
        }
        let datagram = self.sealed(self.sent, kind, text)?;
        self.sent += 1;
        Some(datagram)
    }

    /// Sealed now, to be sent by somebody else later.
    pub(crate) fn seal_will(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        let datagram = self.sealed(WILL | self.wills, inside::LETTER, text)?;
        self.wills += 1;
        Some(datagram)
    }

    fn sealed(&self, number: u64, kind: u8, text: &[u8]) -> Option<Vec<u8>> {
        let mut datagram = packet::data(self.theirs, number);
        let head = datagram.len();
        let plain = [&[kind], text].concat();
        datagram.resize(head + plain.len() + TAG, 0);
        self.transport.write_message(number, &plain, &mut datagram[head..]).ok()?;
        Some(datagram)
    }

    pub(crate) fn open(&mut self, number: u64, sealed: &[u8]) -> Opened {
        let (window, at) = match number & WILL {
            0 => (&mut self.window, number),
            _ => (&mut self.will_window, number & !WILL),
        };
        let place = window.place(at);
        if place == Place::Old {
            return Opened::Old;
        }
        // A copy is opened as well: only what is authentic says that a wire carries.
        let mut plain = vec![0; sealed.len()];
        match self.transport.read_message(number, sealed, &mut plain) {
            Ok(len) if place == Place::Fresh => {
                window.take(at);
                plain.truncate(len);
                Opened::Fresh(plain)
            }
            Ok(_) => Opened::Duplicate,
            Err(_) => Opened::Bad,
        }
    }
}
