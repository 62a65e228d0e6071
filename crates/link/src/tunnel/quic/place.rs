//! Identifiers of connections that say where the connection is.
//!
//! The kernel gives a datagram to the socket that the hash of its addresses names. When an agent's address changes, or the sockets do (an
//! upgrade, a process that dies), that is another thread than the one that has the connection. Hence identifiers: the socket's number
//! (1 byte, which a program in the kernel may read), the tag of the thread's endpoint (4), chance (7).
//!
//! Who watches the network can tell which thread of a hub a connection is with. Whose it is, it cannot.

use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};

use crate::noise::{SystemEntropy, draw};

/// How long an identifier is.
pub(super) const LENGTH: usize = 12;

/// What a thread's endpoint is known by, among all that have ever run on this host lately.
pub(super) type Tag = [u8; 4];

/// Makes identifiers of one endpoint's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) socket: u8,
    pub(super) tag: Tag,
}

impl ConnectionIdGenerator for Names {
    fn generate_cid(&mut self) -> ConnectionId {
        let chance: [u8; LENGTH - 5] = draw(&mut SystemEntropy);
        let mut name = [0; LENGTH];
        name[0] = self.socket;
        name[1..5].copy_from_slice(&self.tag);
        name[5..].copy_from_slice(&chance);
        ConnectionId::new(&name)
    }

    fn validate(&self, _: &ConnectionId) -> Result<(), InvalidCid> {
        // One of an endpoint that is gone gets its answer too: whoever still calls it hears at once that it is.
        Ok(())
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

/// The endpoint that a datagram names, when it names one; and whether it begins a connection, whose first name is the caller's own choice.
pub(super) fn of(datagram: &[u8]) -> Option<(Tag, bool)> {
    let first = *datagram.first()?;
    // RFC 9000 17.2 and 17.3: form, version, length; or the name at once.
    let (name, begins) = if first & 0x80 == 0 {
        (datagram.get(1..=LENGTH)?, false)
    } else {
        let version = datagram.get(1..5)?;
        if usize::from(*datagram.get(5)?) != LENGTH {
            return None;
        }
        (datagram.get(6..6 + LENGTH)?, version == [0; 4] || first & 0x30 == 0)
    };
    Some((name[1..5].try_into().expect("four of them"), begins))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_names_the_endpoint_that_it_is_for() {
        let mut names = Names { socket: 3, tag: *b"abcd" };
        let name = names.generate_cid();
        assert_eq!((name.len(), name[0]), (LENGTH, 3));
        assert_ne!(name, names.generate_cid(), "each is another");

        let short = [&[0x43][..], &name[..], &[9; 30]].concat();
        assert_eq!(of(&short), Some((*b"abcd", false)));
        let long = |first: u8| [&[first, 0, 0, 0, 1, 12][..], &name[..], &[0]].concat();
        assert_eq!(of(&long(0xe0)), Some((*b"abcd", false)), "a handshake goes on");
        assert_eq!(of(&long(0xc0)), Some((*b"abcd", true)), "an Initial");
    }

    #[test]
    fn what_is_cut_short_or_has_another_length_names_nobody() {
        let names = [&[][..], &[0x43], &[0x43; 12], &[0xc0, 0, 0, 0, 1], &[0xc0, 0, 0, 0, 1, 12, 7]];
        assert!(names.iter().all(|datagram| of(datagram).is_none()));
        assert_eq!(of(&[&[0xc0, 0, 0, 0, 1, 20][..], &[7; 40]].concat()), None);
    }
}
