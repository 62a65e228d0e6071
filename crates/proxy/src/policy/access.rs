//! Rules about sources.

use std::net::IpAddr;

use mainstay_config::plan::edge::Access;

/// What the first rule that matches says; `None` when none does. A client without an address (a unix socket that says
/// nothing) is matched by rules for everybody alone.
pub(crate) fn verdict(rules: &[Access], client: Option<IpAddr>) -> Option<bool> {
    rules
        .iter()
        .find(|rule| match (rule.net, client) {
            (None, _) => true,
            (Some(net), Some(client)) => net.holds(client),
            (Some(_), None) => false,
        })
        .map(|rule| rule.allow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_config::plan::edge::Net;

    fn rule(allow: bool, net: &str) -> Access {
        if net == "all" {
            return Access { allow, net: None };
        }
        let (addr, prefix) = net.split_once('/').expect("a network");
        let net = Net { addr: addr.parse().expect("an address"), prefix: prefix.parse().expect("a length") };
        Access { allow, net: Some(net) }
    }

    fn ask(rules: &[Access], client: &str) -> Option<bool> {
        verdict(rules, client.parse().ok())
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = [
            rule(false, "10.0.0.9/32"),
            rule(true, "10.0.0.0/8"),
            rule(true, "2001:db8::/32"),
            rule(false, "all"),
        ];
        assert_eq!(ask(&rules, "10.0.0.9"), Some(false));
        assert_eq!(ask(&rules, "10.9.9.9"), Some(true));
        assert_eq!(ask(&rules, "11.0.0.1"), Some(false));
        assert_eq!(ask(&rules, "2001:db8:1::1"), Some(true));
        assert_eq!(ask(&rules, "2001:db9::1"), Some(false));
    }

    #[test]
    fn nobody_is_refused_when_no_rule_matches() {
        assert_eq!(ask(&[rule(false, "10.0.0.0/8")], "192.0.2.1"), None);
        assert_eq!(ask(&[], "192.0.2.1"), None);
    }

    #[test]
    fn an_ipv4_client_on_an_ipv6_socket_is_an_ipv4_client() {
        assert_eq!(ask(&[rule(true, "10.0.0.0/8")], "::ffff:10.1.2.3"), Some(true));
    }

    #[test]
    fn a_prefix_of_zero_holds_one_family() {
        assert_eq!(ask(&[rule(true, "0.0.0.0/0")], "192.0.2.1"), Some(true));
        assert_eq!(ask(&[rule(true, "0.0.0.0/0")], "2001:db8::1"), None);
        assert_eq!(ask(&[rule(true, "::/0")], "2001:db8::1"), Some(true));
    }

    #[test]
    fn a_client_without_an_address_is_only_matched_by_rules_for_everybody() {
        assert_eq!(verdict(&[rule(true, "0.0.0.0/0"), rule(false, "all")], None), Some(false));
    }
}
