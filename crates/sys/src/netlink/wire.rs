//! The bytes of netlink: messages and attributes, written and read in host order with four-byte alignment.

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Marks an attribute that holds attributes.
pub(crate) const NESTED: u16 = 1 << 15;
/// The bits of an attribute's type that name it.
const TYPE_MASK: u16 = 0x3fff;

/// Messages written one after another, to be sent in one system call.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    start: usize,
}

impl Batch {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Starts a message; everything put until the next `begin` or `bytes` belongs to it.
    pub(crate) fn begin(&mut self, kind: u16, flags: u16, seq: u32) {
        self.finish();
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&seq.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
    }

    /// Adds flags to the message that was begun last.
    pub(crate) fn add_flags(&mut self, flags: u16) {
        let at = self.start + 6;
        let old = u16_at(&self.bytes, at).unwrap_or(0);
        self.bytes[at..at + 2].copy_from_slice(&(old | flags).to_ne_bytes());
    }

    /// Appends a family header's bytes and pads them.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    /// Appends one attribute.
    pub(crate) fn attr(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(value.len() + 4).expect("our attributes are short");
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.put(value);
    }

    /// Appends an attribute of text, ended by a zero byte.
    pub(crate) fn attr_text(&mut self, kind: u16, text: &str) {
        let mut value = Vec::with_capacity(text.len() + 1);
        value.extend_from_slice(text.as_bytes());
        value.push(0);
        self.attr(kind, &value);
    }

    /// Appends an attribute that holds what `inside` appends.
    pub(crate) fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) {
        let at = self.bytes.len();
        self.attr(kind | NESTED, &[]);
        inside(self);
        let len = u16::try_from(self.bytes.len() - at).expect("our nests are short");
        self.bytes[at..at + 2].copy_from_slice(&len.to_ne_bytes());
    }

    /// The messages, ready to be sent.
    pub(crate) fn bytes(&mut self) -> &[u8] {
        self.finish();
        &self.bytes
    }

    /// Forgets the messages and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(&mut self) {
        let Some(len) = self.bytes.len().checked_sub(self.start).filter(|len| *len >= HEADER) else { return };
        let len = u32::try_from(len).expect("a message is far below 4 GiB");
        self.bytes[self.start..self.start + 4].copy_from_slice(&len.to_ne_bytes());
    }
}

/// One message as it came from the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// `nlmsg_type`.
    pub(crate) kind: u16,
    /// `nlmsg_flags`.
    pub(crate) flags: u16,
    /// The number of the request it answers; zero for a notification.
    pub(crate) seq: u32,
    /// What follows the header.
    pub(crate) body: &'a [u8],
}

/// Walks the messages of one datagram; ends at the first one that is cut short.
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let len = usize::try_from(u32_at(self.0, 0)?).ok()?;
        let message = Message {
            kind: u16_at(self.0, 4)?,
            flags: u16_at(self.0, 6)?,
            seq: u32_at(self.0, 8)?,
            body: self.0.get(HEADER..len)?,
        };
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// Walks attributes as (type, value); ends at the first one that is cut short.
pub(crate) struct Attrs<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attrs<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let len = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & TYPE_MASK;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// The value of the first attribute of this type.
pub(crate) fn attr(attrs: &[u8], kind: u16) -> Option<&[u8]> {
    Attrs(attrs).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A number of four bytes in host order.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// A number of two bytes in host order.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

/// Text up to its zero byte.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut batch = Batch::new();
        batch.begin(20, 5, 7);
        batch.put(&[1, 2, 3]);
        batch.attr_text(3, "eth0");
        batch.nest(9, |inside| inside.attr(1, &8u32.to_ne_bytes()));
        batch.begin(21, 0, 8);
        let bytes = batch.bytes().to_vec();
        let read: Vec<_> = Messages(&bytes).collect();
        assert_eq!(
            read.iter().map(|m| (m.kind, m.flags, m.seq)).collect::<Vec<_>>(),
            [(20, 5, 7), (21, 0, 8)]
        );
        let attrs = &read[0].body[4..];
        assert_eq!(text(attr(attrs, 3).expect("the name")), "eth0");
        assert_eq!(attr(attr(attrs, 9).expect("the nest"), 1), Some(&8u32.to_ne_bytes()[..]));
    }

    #[test]
    fn a_cut_message_ends_the_walk_without_a_panic() {
        let mut batch = Batch::new();
        batch.begin(20, 5, 7);
        batch.attr(3, &[9; 40]);
        let bytes = batch.bytes().to_vec();
        for cut in 0..bytes.len() {
            assert_eq!(Messages(&bytes[..cut]).count(), 0);
            assert!(Attrs(&bytes[16..cut.max(16)]).count() <= 1);
        }
        assert_eq!(Attrs(&[0, 0, 0, 0, 1, 1]).count(), 0);
    }
}
