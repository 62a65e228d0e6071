//! Sets of networks: is an address in one of them, and what does the narrowest one say.
//!
//! Networks are kept as disjoint ranges in ascending order, so that a look-up is one binary search however many there
//! are. An IPv4 address that is written inside IPv6 (`::ffff:10.0.0.1`) is taken for the IPv4 address that it is.

use std::net::IpAddr;

/// Networks with a value each; of those that hold an address the narrowest decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetMap<T> {
    v4: Vec<Range>,
    v6: Vec<Range>,
    values: Vec<T>,
}

/// A set of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(NetMap<()>);

/// Addresses that one network decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u128,
    last: u128,
    value: u32,
}

impl<T> Default for NetMap<T> {
    fn default() -> Self {
        Self { v4: Vec::new(), v6: Vec::new(), values: Vec::new() }
    }
}

impl<T> NetMap<T> {
    /// Networks as address, prefix length and value; of equal networks the last counts.
    pub fn new(nets: impl IntoIterator<Item = (IpAddr, u8, T)>) -> Self {
        let (mut v4, mut v6, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (addr, prefix, value) in nets {
            let (family, bits, number, prefix) = match (plain(addr), addr) {
                (IpAddr::V4(a), IpAddr::V4(_)) => (&mut v4, 32, u128::from(a.to_bits()), prefix),
                (IpAddr::V4(a), IpAddr::V6(_)) if prefix >= 96 => {
                    (&mut v4, 32, u128::from(a.to_bits()), prefix - 96)
                }
                (IpAddr::V4(_), IpAddr::V6(a)) | (IpAddr::V6(a), _) => (&mut v6, 128, a.to_bits(), prefix),
            };
            let open = bits - u32::from(prefix).min(bits);
            let mask = if open == 128 { u128::MAX } else { (1 << open) - 1 };
            let value_at = u32::try_from(values.len()).unwrap_or(u32::MAX);
            family.push((Range { first: number & !mask, last: number | mask, value: value_at }, prefix));
            values.push(value);
        }
        Self { v4: flatten(v4), v6: flatten(v6), values }
    }

    /// The value of the narrowest network that holds an address.
    #[must_use]
    pub fn get(&self, addr: IpAddr) -> Option<&T> {
        let (ranges, number) = match plain(addr) {
            IpAddr::V4(a) => (&self.v4, u128::from(a.to_bits())),
            IpAddr::V6(a) => (&self.v6, a.to_bits()),
        };
        let before = ranges.partition_point(|r| r.first <= number);
        let range = ranges.get(before.checked_sub(1)?)?;
        if number <= range.last { self.values.get(range.value as usize) } else { None }
    }
}

impl<T> NetMap<T> {
    /// Each value.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.values.iter()
    }
}

impl Networks {
    /// Networks as address and prefix length.
    pub fn new(nets: impl IntoIterator<Item = (IpAddr, u8)>) -> Self {
        Self(NetMap::new(nets.into_iter().map(|(addr, prefix)| (addr, prefix, ()))))
    }

    /// Whether one of them holds an address.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.0.get(addr).is_some()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.values.is_empty()
    }
}

/// An IPv4 address inside IPv6 as what it is.
#[must_use]
pub const fn plain(addr: IpAddr) -> IpAddr {
    addr.to_canonical()
}

/// Nested ranges cut into disjoint ones, the narrowest on top.
fn flatten(mut nets: Vec<(Range, u8)>) -> Vec<Range> {
    // Stable: of equal networks the later one stays later, and so covers the earlier.
    nets.sort_by_key(|(range, prefix)| (range.first, *prefix));
    let mut flat: Vec<Range> = Vec::with_capacity(nets.len());
    let mut open: Vec<Range> = Vec::new();
    let mut next: u128 = 0;
    for (range, _) in nets {
        while let Some(top) = open.last().copied().filter(|top| top.last < range.first) {
            close(&mut flat, &mut next, top);
            open.pop();
        }
        if let Some(top) = open.last()
            && next < range.first
        {
            flat.push(Range { first: next, last: range.first - 1, value: top.value });
        }
        next = range.first;
        open.push(range);
    }
    while let Some(top) = open.pop() {
        close(&mut flat, &mut next, top);
    }
    flat
}

/// Ends a range; what follows belongs to the one below it.
fn close(flat: &mut Vec<Range>, next: &mut u128, top: Range) {
    if *next <= top.last && flat.last().is_none_or(|last| last.last < top.last) {
        flat.push(Range { first: *next, last: top.last, value: top.value });
    }
    *next = top.last.saturating_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn map(nets: &[(&str, u8, u32)]) -> NetMap<u32> {
        NetMap::new(nets.iter().map(|(a, p, v)| (ip(a), *p, *v)))
    }

    #[test]
    fn the_narrowest_network_decides() {
        let map =
            map(&[("10.0.0.0", 8, 1), ("10.1.0.0", 16, 2), ("10.1.2.3", 32, 3), ("10.255.255.255", 32, 4)]);
        for (addr, value) in [
            ("9.255.255.255", None),
            ("10.0.0.0", Some(1)),
            ("10.1.2.2", Some(2)),
            ("10.1.2.3", Some(3)),
            ("10.1.2.4", Some(2)),
            ("10.2.0.0", Some(1)),
            ("10.255.255.254", Some(1)),
            ("10.255.255.255", Some(4)),
            ("11.0.0.0", None),
        ] {
            assert_eq!(map.get(ip(addr)).copied(), value, "{addr}");
        }
    }

    #[test]
    fn of_equal_networks_the_last_counts() {
        assert_eq!(map(&[("10.0.0.0", 8, 1), ("10.0.0.0", 8, 2)]).get(ip("10.9.9.9")), Some(&2));
    }

    #[test]
    fn everything_and_nothing() {
        let all = map(&[("0.0.0.0", 0, 1), ("::", 0, 2), ("::1", 128, 3)]);
        assert_eq!(all.get(ip("255.255.255.255")), Some(&1));
        assert_eq!(all.get(ip("::")), Some(&2));
        assert_eq!(all.get(ip("::1")), Some(&3));
        assert_eq!(all.get(ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")), Some(&2));
        assert!(!Networks::default().contains(ip("127.0.0.1")));
    }

    #[test]
    fn ipv4_inside_ipv6_is_ipv4() {
        let nets = Networks::new([(ip("10.0.0.0"), 8), (ip("::ffff:192.168.0.0"), 112)]);
        assert!(nets.contains(ip("::ffff:10.1.1.1")));
        assert!(nets.contains(ip("192.168.7.7")));
        assert!(!nets.contains(ip("192.169.0.0")));
        assert!(!nets.contains(ip("::10.1.1.1")));
    }

    #[test]
    fn many_networks_answer_as_one_by_one() {
        // A small own generator: core draws no lots.
        let mut seed = 7_u32;
        let mut draw = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed >> 8
        };
        let nets: Vec<(IpAddr, u8, usize)> = (0..300)
            .map(|n| {
                let prefix = 8 + u8::try_from(draw() % 25).unwrap();
                (IpAddr::from((0x0a00_0000 | (draw() & 0xffff)).to_be_bytes()), prefix, n)
            })
            .collect();
        let map = NetMap::new(nets.clone());
        for _ in 0..5000 {
            let addr = 0x0a00_0000 | (draw() & 0x1_ffff);
            let holds = |(net, prefix, _): &&(IpAddr, u8, usize)| {
                let IpAddr::V4(net) = net else { return false };
                (net.to_bits() ^ addr) >> (32 - u32::from(*prefix)) == 0
            };
            let widest = nets.iter().filter(holds).max_by_key(|(_, prefix, n)| (*prefix, *n));
            let ip = IpAddr::from(addr.to_be_bytes());
            assert_eq!(map.get(ip).copied(), widest.map(|w| w.2), "{ip}");
        }
    }
}
