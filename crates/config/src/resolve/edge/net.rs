//! Networks, and rules about them.

use std::net::IpAddr;

use crate::plan::edge::{Access, Net};
use crate::resolve::Resolver;
use crate::source::{At, Span};

type List = Option<At<Vec<At<String>>>>;

impl Resolver<'_> {
    pub(super) fn nets(&mut self, list: &List, who: &str) -> Vec<Net> {
        let entries = list.iter().flat_map(|list| &list.value);
        entries.filter_map(|text| self.net(&text.value, text.span, who)).collect()
    }

    /// An address alone is a network of one.
    pub(super) fn net(&mut self, text: &str, span: Span, who: &str) -> Option<Net> {
        let parsed = parse(text.trim());
        let Some((net, exact)) = parsed else {
            let help = "write \"10.0.0.0/8\", \"10.0.4.21\" or \"2001:db8::/32\"";
            self.error(span, format!("{who}: \"{}\" is not a network", text.escape_debug()), help);
            return None;
        };
        if !exact {
            let message = format!("{who}: {text} is not the first address of its network");
            self.findings.warn(span, message, format!("write \"{}/{}\"", net.addr, net.prefix));
        }
        Some(net)
    }

    pub(super) fn access(&mut self, list: &List, who: &str) -> Vec<Access> {
        let who = &format!("{who}: access");
        let mut rules = Vec::new();
        let mut decided: Option<Span> = None;
        for text in list.iter().flat_map(|list| &list.value) {
            if let Some(first) = decided {
                let place = self.findings.line_of(first);
                let message = format!(
                    "{who}: \"{}\" is never asked: everybody is decided on before, at {place}",
                    text.value
                );
                self.findings.warn(
                    text.span,
                    message,
                    "the first rule that matches decides: move it up, or take it out",
                );
            }
            let (word, whom) = text.value.trim().split_once(char::is_whitespace).unwrap_or((&text.value, ""));
            let allow = match word {
                "allow" => true,
                "deny" => false,
                _ => {
                    let message = format!("{who}: \"{}\" is no rule", text.value.escape_debug());
                    self.error(
                        text.span,
                        message,
                        "write \"allow 10.0.0.0/8\", \"deny 10.0.4.21\" or \"deny all\"",
                    );
                    continue;
                }
            };
            let net = match whom.trim() {
                "all" => {
                    decided = Some(text.span);
                    None
                }
                whom => match self.net(whom, text.span, who) {
                    Some(net) => Some(net),
                    None => continue,
                },
            };
            rules.push(Access { allow, net });
        }
        rules
    }
}

/// A network and whether its host bits were zero.
fn parse(text: &str) -> Option<(Net, bool)> {
    let (addr, prefix) = match text.split_once('/') {
        Some((addr, prefix)) => (addr, Some(prefix)),
        None => (text, None),
    };
    let addr: IpAddr = addr.parse().ok()?;
    let longest = if addr.is_ipv6() { 128 } else { 32 };
    let prefix: u8 = match prefix {
        Some(prefix) if prefix.bytes().all(|b| b.is_ascii_digit()) => prefix.parse().ok()?,
        Some(_) => return None,
        None => longest,
    };
    if prefix > longest {
        return None;
    }
    let first = match addr {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(u32::from(32 - prefix)).unwrap_or(0);
            IpAddr::from((v4.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(u32::from(128 - prefix)).unwrap_or(0);
            IpAddr::from((v6.to_bits() & mask).to_be_bytes())
        }
    };
    Some((Net { addr: first, prefix }, first == addr))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_cleared_and_told() {
        let net =
            |text: &str| parse(text).map(|(net, exact)| (format!("{}/{}", net.addr, net.prefix), exact));
        assert_eq!(net("10.1.2.3/8"), Some(("10.0.0.0/8".to_owned(), false)));
        assert_eq!(net("10.0.0.0/8"), Some(("10.0.0.0/8".to_owned(), true)));
        assert_eq!(net("0.0.0.0/0"), Some(("0.0.0.0/0".to_owned(), true)));
        assert_eq!(net("10.1.2.3"), Some(("10.1.2.3/32".to_owned(), true)));
        assert_eq!(net("2001:db8::1/32"), Some(("2001:db8::/32".to_owned(), false)));
        assert_eq!(net("::/0"), Some(("::/0".to_owned(), true)));
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "x", "10.0.0.0/+8", "10.0.0.0/"] {
            assert_eq!(net(wrong), None, "{wrong}");
        }
    }
}
