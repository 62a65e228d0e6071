//! The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B), read only: what we send is not packed.
//!
//! The code is canonical, so the lengths below are all of it: codes are given out by length, then by symbol.

/// Bits of each symbol's code; the last one is EOS, which is never sent.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// Longest code.
const LONGEST: usize = 30;

/// Bits that are looked up at once.
const PEEK: u32 = 8;

/// What the first bits of the input stand for.
struct Table {
    /// By the next `PEEK` bits: symbol and length of its code; length 0 for longer codes.
    short: [(u8, u8); 1 << PEEK],
    /// By length: the first code of it.
    first: [u32; LONGEST + 1],
    /// By length: how many codes there are of it.
    count: [u16; LONGEST + 1],
    /// By length: where its symbols begin in `symbols`.
    start: [u16; LONGEST + 1],
    /// Symbols in the order of their codes.
    symbols: [u16; 257],
}

static TABLE: Table = table();

const fn table() -> Table {
    let mut table = Table {
        short: [(0, 0); 1 << PEEK],
        first: [0; LONGEST + 1],
        count: [0; LONGEST + 1],
        start: [0; LONGEST + 1],
        symbols: [0; 257],
    };
    let (mut code, mut at, mut length) = (0_u32, 0_u16, 1);
    while length <= LONGEST {
        code <<= 1;
        table.first[length] = code;
        table.start[length] = at;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol as usize] as usize == length {
                table.symbols[at as usize] = symbol;
                table.count[length] += 1;
                at += 1;
                if length <= PEEK as usize {
                    let shift = PEEK - length as u32;
                    let mut low = 0;
                    while low < 1 << shift {
                        table.short[((code << shift) | low) as usize] = (symbol as u8, length as u8);
                        low += 1;
                    }
                }
                code += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    table
}

/// Appends what `packed` stands for to `out`; false when it is no Huffman text: a code that is cut, EOS, or padding that is
/// longer than seven bits or not all ones.
pub(super) fn unpack(packed: &[u8], out: &mut Vec<u8>) -> bool {
    let (mut bits, mut count, mut at) = (0_u64, 0_u32, 0);
    loop {
        while count <= 56 && at < packed.len() {
            bits = bits << 8 | u64::from(packed[at]);
            count += 8;
            at += 1;
        }
        if count < PEEK {
            break;
        }
        let (symbol, length) = TABLE.short[(bits >> (count - PEEK)) as usize & 0xff];
        if length > 0 {
            out.push(symbol);
            count -= u32::from(length);
            continue;
        }
        match long(bits, count) {
            Some((symbol, length)) => {
                out.push(symbol);
                count -= length;
            }
            None => return false,
        }
    }
    // Fewer than eight bits: short codes, then ones.
    while count > 0 {
        let left = (bits & ((1 << count) - 1)) as usize;
        let (symbol, length) = TABLE.short[(left << (PEEK - count)) & 0xff];
        if length == 0 || u32::from(length) > count {
            return left == (1 << count) - 1;
        }
        out.push(symbol);
        count -= u32::from(length);
    }
    true
}

/// A symbol whose code is longer than `PEEK` bits.
fn long(bits: u64, count: u32) -> Option<(u8, u32)> {
    for length in PEEK + 1..=(LONGEST as u32).min(count) {
        let code = (bits >> (count - length)) as u32 & ((1 << length) - 1);
        let at = length as usize;
        let offset = code.checked_sub(TABLE.first[at])?;
        if offset < u32::from(TABLE.count[at]) {
            let symbol = TABLE.symbols[TABLE.start[at] as usize + offset as usize];
            // EOS is no symbol that may be sent.
            return u8::try_from(symbol).ok().map(|symbol| (symbol, length));
        }
    }
    None
}

/// Packs text, for tests of what reads it.
#[cfg(test)]
pub(super) fn pack(text: &[u8]) -> Vec<u8> {
    let mut codes = [(0_u32, 0_u8); 257];
    for length in 1..=LONGEST {
        for n in 0..TABLE.count[length] {
            let symbol = TABLE.symbols[usize::from(TABLE.start[length] + n)];
            codes[usize::from(symbol)] = (TABLE.first[length] + u32::from(n), length as u8);
        }
    }
    let (mut out, mut bits, mut count) = (Vec::new(), 0_u64, 0);
    for byte in text {
        let (code, length) = codes[usize::from(*byte)];
        bits = bits << length | u64::from(code);
        count += u32::from(length);
        while count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        out.push(((bits << (8 - count)) as u8) | (0xff >> count));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        unpack(packed, &mut out).then_some(out)
    }

    #[test]
    fn the_examples_of_rfc_7541() {
        let example = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(unpacked(&example).unwrap(), b"www.example.com");
        assert_eq!(pack(b"www.example.com"), example);
        assert_eq!(unpacked(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).unwrap(), b"no-cache");
        assert_eq!(unpacked(&[0x64, 0x02]).unwrap(), b"302");
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        assert_eq!(unpacked(&pack(&all)).unwrap(), all);
        for byte in 0..=255 {
            assert_eq!(unpacked(&pack(&[byte])).unwrap(), [byte]);
        }
    }

    #[test]
    fn padding_is_seven_ones_at_most() {
        // `0` is 00000: then three ones, then eleven, then a zero among them.
        assert_eq!(unpacked(&[0b0000_0111]).unwrap(), b"0");
        assert_eq!(unpacked(&[0b0000_0111, 0xff]), None);
        assert_eq!(unpacked(&[0b0000_0110]), None);
        assert_eq!(unpacked(&[0xff]), None);
        assert_eq!(unpacked(&[]).unwrap(), b"");
    }

    #[test]
    fn eos_is_refused() {
        assert_eq!(unpacked(&[0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(unpacked(&[0xff, 0xff, 0xff, 0xfc]), None);
    }
}
