//! One session that a handshake has made: seals, opens, takes each number once.

use std::time::Duration;

use mainstay_core::time::Boot;
use snow::{HandshakeState, StatelessTransportState};

use crate::noise::TAG;
use crate::packet::{self, Greeting, WILL};
use crate::window::{Place, Window};

/// The version of what is inside that we speak at most.
pub(crate) const VERSION: u8 = 1;

/// No node is silent for longer by intention.
const BEAT_MAX: Duration = Duration::from_secs(10);

/// What the first byte inside says.
pub(crate) mod inside {
    /// Nothing but that the session is in use.
    pub(crate) const CONFIRM: u8 = 0;
    pub(crate) const LETTER: u8 = 1;
    /// Whose key is it?
    pub(crate) const WHOSE: u8 = 2;
    /// This key is that node's.
    pub(crate) const VOUCH: u8 = 3;
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
    /// How often the other side says something, when it told.
    pub(crate) beat: Option<Duration>,
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
            beat: Some(greeting.beat.min(BEAT_MAX)).filter(|beat| !beat.is_zero()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Secret;
    use crate::noise::{self, SystemEntropy};

    fn pair(versions: [u8; 2]) -> [Session; 2] {
        let (one, two) = (Secret::new([1; 32]), Secret::new([2; 32]));
        let mut a = noise::pinned("shop", &one, Some(&two.public()), &mut SystemEntropy).unwrap();
        let mut b = noise::pinned("shop", &two, None, &mut SystemEntropy).unwrap();
        let (mut wire, mut text) = ([0; 300], [0; 300]);
        let len = a.write_message(b"", &mut wire).unwrap();
        b.read_message(&wire[..len], &mut text).unwrap();
        let len = b.write_message(b"", &mut wire).unwrap();
        a.read_message(&wire[..len], &mut text).unwrap();
        let greeting = |version| Greeting { version, ..Greeting::default() };
        let now = Boot::from_nanos(1);
        let a = Session::new(a, (1, 2), &greeting(versions[1]), now).unwrap();
        [a, Session::new(b, (2, 1), &greeting(versions[0]), now).unwrap()]
    }

    fn open(session: &mut Session, datagram: &[u8]) -> Opened {
        let Some(packet::Packet::Data { number, sealed, .. }) = packet::parse(datagram) else {
            panic!("no data")
        };
        session.open(number, sealed)
    }

    #[test]
    fn the_lower_version_is_spoken() {
        let [a, b] = pair([VERSION, VERSION + 1]);
        assert_eq!((a.version, b.version), (VERSION, VERSION));
    }

    #[test]
    fn a_letter_opens_once_and_a_will_has_a_window_of_its_own() {
        let [mut a, mut b] = pair([1, 1]);
        let will = a.seal_will(b"w").unwrap();
        let first = a.seal(inside::LETTER, b"1").unwrap();
        for _ in 0..5_000 {
            let datagram = a.seal(inside::LETTER, b"x").unwrap();
            assert!(matches!(open(&mut b, &datagram), Opened::Fresh(_)));
        }
        assert_eq!(open(&mut b, &first), Opened::Old);
        assert_eq!(open(&mut b, &will), Opened::Fresh(b"\x01w".to_vec()));
        assert_eq!(open(&mut b, &will), Opened::Duplicate);
        let mut other = a.seal(inside::LETTER, b"2").unwrap();
        other[12] ^= 1;
        assert_eq!(open(&mut b, &other), Opened::Bad, "the number is sealed with it");
        assert_eq!(open(&mut a, &will), Opened::Bad, "and so is the direction");
    }
}
