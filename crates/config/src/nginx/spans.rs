//! Ranges of addresses (`geo` with `ranges`): a later one takes its part of the earlier ones.

use std::net::IpAddr;

/// Ranges beyond this are no work of people, and each insertion looks at all.
const MOST: usize = 2000;

/// Ranges that do not overlap, ascending.
#[derive(Debug, Default)]
pub(super) struct Spans(Vec<Span>);

#[derive(Clone, Debug)]
struct Span {
    v6: bool,
    low: u128,
    high: u128,
    value: String,
}

impl Spans {
    /// Puts a range over what is there; false when it is none.
    pub(super) fn insert(&mut self, range: &str, value: &str) -> bool {
        let Some((v6, low, high)) = parse(range) else { return false };
        if self.0.len() > MOST {
            return false;
        }
        let mut all = Vec::new();
        for span in self.0.drain(..) {
            if span.v6 != v6 || span.high < low || span.low > high {
                all.push(span);
                continue;
            }
            if span.low < low {
                all.push(Span { high: low - 1, ..span.clone() });
            }
            if span.high > high {
                all.push(Span { low: high + 1, ..span });
            }
        }
        all.push(Span { v6, low, high, value: value.to_owned() });
        all.sort_by_key(|span| (span.v6, span.low));
        self.0 = all;
        true
    }

    /// Takes exactly this range away.
    pub(super) fn remove(&mut self, range: &str) {
        if let Some((v6, low, high)) = parse(range) {
            self.0.retain(|span| (span.v6, span.low, span.high) != (v6, low, high));
        }
    }

    /// The networks that the ranges are made of, and their values.
    pub(super) fn networks(&self) -> Vec<(String, String)> {
        let one =
            |span: &Span| networks(span).into_iter().map(|net| (net, span.value.clone())).collect::<Vec<_>>();
        self.0.iter().flat_map(one).collect()
    }
}

fn parse(text: &str) -> Option<(bool, u128, u128)> {
    let (low, high) = text.split_once('-')?;
    let (low, high): (IpAddr, IpAddr) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
    let number = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => u128::from(u32::from(addr)),
        IpAddr::V6(addr) => u128::from(addr),
    };
    let span = (low.is_ipv6(), number(low), number(high));
    (low.is_ipv6() == high.is_ipv6() && span.1 <= span.2).then_some(span)
}

/// At most 254 networks fill a range.
fn networks(span: &Span) -> Vec<String> {
    let bits: u32 = if span.v6 { 128 } else { 32 };
    let mut all = Vec::new();
    let mut low = span.low;
    loop {
        let mut free = low.trailing_zeros().min(bits);
        let last = |free: u32| 1u128.checked_shl(free).map_or(u128::MAX, |size| size - 1);
        while free > 0 && last(free) > span.high - low {
            free -= 1;
        }
        let addr = if span.v6 {
            IpAddr::from(low.to_be_bytes())
        } else {
            IpAddr::from(u32::try_from(low).unwrap_or(u32::MAX).to_be_bytes())
        };
        all.push(format!("{addr}/{}", bits - free));
        match low.checked_add(last(free)).and_then(|last| last.checked_add(1)) {
            Some(next) if next <= span.high => low = next,
            Some(_) | None => return all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ranges: &[&str]) -> Vec<String> {
        let mut spans = Spans::default();
        for (nth, range) in ranges.iter().enumerate() {
            match range.strip_prefix('!') {
                Some(range) => spans.remove(range),
                None => assert!(spans.insert(range, &nth.to_string()), "{range}"),
            }
        }
        spans.networks().into_iter().map(|(net, to)| format!("{net} {to}")).collect()
    }

    #[test]
    fn a_range_becomes_the_networks_that_fill_it() {
        assert_eq!(of(&["10.0.0.0-10.0.0.255"]), ["10.0.0.0/24 0"]);
        assert_eq!(of(&["10.0.0.1-10.0.0.4"]), ["10.0.0.1/32 0", "10.0.0.2/31 0", "10.0.0.4/32 0"]);
        assert_eq!(of(&["0.0.0.0-255.255.255.255"]), ["0.0.0.0/0 0"]);
        assert_eq!(of(&["::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]), ["::/0 0"]);
        assert!(!Spans::default().insert("10.0.0.2-10.0.0.1", "x"));
    }

    #[test]
    fn a_later_range_takes_its_part_of_an_earlier_one() {
        assert_eq!(of(&["10.0.0.0-10.0.0.3", "10.0.0.0-10.0.0.1"]), ["10.0.0.0/31 1", "10.0.0.2/31 0"]);
        assert_eq!(of(&["10.0.0.0-10.0.0.1", "10.0.0.0-10.0.0.3"]), ["10.0.0.0/30 1"]);
        assert_eq!(of(&["10.0.0.0-10.0.0.3", "!10.0.0.0-10.0.0.3"]), Vec::<String>::new());
    }
}
