//! Fields inside frames: type 1, length 2, bytes. Who does not know a type skips it.

/// Writes a field; bytes beyond what a length can say are the caller's mistake and are cut off.
pub(super) fn put(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
    out.push(kind);
    out.extend((bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The fields of a block, each with its type; ends with an error when the block breaks off.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

/// A block of fields that ends within one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u8, &'a [u8]), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.0);
        let Some((&[kind, a, b], rest)) = rest.split_first_chunk::<3>() else { return Some(Err(Broken)) };
        let Some((bytes, rest)) = rest.split_at_checked(u16::from_be_bytes([a, b]).into()) else {
            return Some(Err(Broken));
        };
        self.0 = rest;
        Some(Ok((kind, bytes)))
    }
}

/// Four bytes as a number.
pub(super) fn number(bytes: &[u8]) -> Result<u32, Broken> {
    bytes.try_into().map(u32::from_be_bytes).map_err(|_| Broken)
}

/// A text of at most so many bytes, without control characters.
pub(super) fn text(bytes: &[u8], max: usize) -> Result<String, Broken> {
    let text = std::str::from_utf8(bytes).map_err(|_| Broken)?;
    if text.len() > max || text.chars().any(char::is_control) { Err(Broken) } else { Ok(text.to_owned()) }
}
