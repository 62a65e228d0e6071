//! Which rule drops VRRP: a look through what `nft list ruleset` and iptables' save commands print.
//!
//! The wire has proved already that something drops it; this only names the likely rule and the command that mends it.

use super::analyse::Case;

/// Which way the packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Into this host.
    In,
    /// Out of it.
    Out,
}

/// A rule, or a chain's policy, that may drop VRRP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Culprit {
    /// Family of its table: `ip`, `ip6`, `inet`, `netdev`; `iptables` where a save command printed it.
    pub(super) family: String,
    /// Its table.
    pub(super) table: String,
    /// Its chain.
    pub(super) chain: String,
    /// The rule as it is printed, or the policy.
    pub(super) rule: String,
    /// It names the protocol; else it drops all that nothing accepted before.
    named: bool,
}

/// Named rules are enough to show; few, or nobody reads them.
const SHOWN: usize = 3;

/// A sentence with the rules that are likely to blame.
pub(super) fn with_rules(says: String, case: &Case<'_>, way: Way) -> String {
    let found = culprits(&case.seen.rules, case.vip.spec.ipv6, way);
    let shown: Vec<String> = found
        .iter()
        .take(SHOWN)
        .map(|c| format!("`{}` in {} {} {}", c.rule, c.family, c.table, c.chain))
        .collect();
    if shown.is_empty() { says } else { format!("{says}: {}", shown.join(", ")) }
}

/// The command that lets VRRP through.
pub(super) fn remedy(case: &Case<'_>, way: Way) -> String {
    command(&case.seen.rules, case.vip.spec.ipv6, case.interface, way)
}

fn command(rules: &str, ipv6: bool, interface: &str, way: Way) -> String {
    let hook = match way {
        Way::In => "INPUT",
        Way::Out => "OUTPUT",
    };
    if rules.contains("table inet firewalld") {
        return "firewall-cmd --permanent --add-protocol=vrrp && firewall-cmd --reload".to_owned();
    }
    let found = culprits(rules, ipv6, way);
    let iptables = if ipv6 { "ip6tables" } else { "iptables" };
    match found.first() {
        Some(c) if c.chain.starts_with("ufw") || rules.contains("ufw-before-input") => {
            let chain = hook.to_lowercase();
            format!(
                "add `-A ufw-before-{chain} -p vrrp -j ACCEPT` to /etc/ufw/before.rules, then: ufw reload"
            )
        }
        Some(c) if c.family == "iptables" || (c.table == "filter" && c.chain == hook) => {
            format!("{iptables} -I {hook} -p 112 -j ACCEPT (and keep it: netfilter-persistent save)")
        }
        Some(c) => {
            let (family, table, chain) = (&c.family, &c.table, &c.chain);
            let matches = if family == "ip" { "ip protocol" } else { "meta l4proto" };
            format!(
                "nft insert rule {family} {table} {chain} {matches} 112 accept (and write it into /etc/nftables.conf)"
            )
        }
        None => {
            let strict = format!("sysctl net.ipv4.conf.{interface}.rp_filter");
            format!(
                "no rule of nft or iptables names it: look at eBPF and XDP programs, at a security module, and at {strict}; \
                 for nft: nft insert rule inet filter {} meta l4proto 112 accept",
                hook.to_lowercase()
            )
        }
    }
}

/// Where a line of a ruleset stands.
#[derive(Default)]
struct Place<'a> {
    family: &'a str,
    table: &'a str,
    chain: &'a str,
    /// The hook of a base chain.
    hook: Option<&'a str>,
    /// Something in this chain accepts VRRP before.
    accepted: bool,
}

/// Rules that may drop VRRP, those that name it first.
pub(super) fn culprits(rules: &str, ipv6: bool, way: Way) -> Vec<Culprit> {
    let mut found = Vec::new();
    let mut place = Place::default();
    // A chain's policy is its last rule, though it is printed first.
    let mut policy: Option<Culprit> = None;
    for line in rules.lines().map(str::trim) {
        let mut words = line.split_whitespace();
        match (words.next(), line.ends_with('{')) {
            (Some("table"), true) => {
                place = Place {
                    family: words.next().unwrap_or(""),
                    table: words.next().unwrap_or(""),
                    ..Place::default()
                };
            }
            (Some("chain"), true) => {
                place = Place { chain: words.next().unwrap_or(""), hook: None, accepted: false, ..place };
            }
            (Some("type"), _) if line.contains(" hook ") => {
                place.hook = line.split(" hook ").nth(1).and_then(|rest| rest.split_whitespace().next());
                let drops = line.contains("policy drop") && relevant(&place, ipv6, way);
                policy = drops.then(|| culprit(&place, "policy drop", false));
            }
            (Some("}"), _) => {
                if !place.chain.is_empty() {
                    found.extend(policy.take().filter(|_| !place.accepted));
                }
                place.chain = "";
            }
            (Some(first), _) if first.starts_with("-A") || first.starts_with(':') => {
                found.extend(saved(line, way));
            }
            (Some(_), _) if !place.chain.is_empty() && relevant(&place, ipv6, way) => {
                found.extend(rule(line, &mut place));
            }
            (Some(_) | None, _) => {}
        }
    }
    found.sort_by_key(|c| !c.named);
    found
}

fn culprit(place: &Place<'_>, rule: &str, named: bool) -> Culprit {
    let own = |text: &str| text.to_owned();
    Culprit {
        family: own(place.family),
        table: own(place.table),
        chain: own(place.chain),
        rule: own(rule),
        named,
    }
}

/// Whether packets of this family and way may pass the chain. One without a hook may be jumped to from anywhere.
fn relevant(place: &Place<'_>, ipv6: bool, way: Way) -> bool {
    let family = match place.family {
        "inet" | "netdev" => true,
        "ip" => !ipv6,
        "ip6" => ipv6,
        _ => false,
    };
    let hook = match (place.hook, way) {
        (None, _) => true,
        (Some(hook), Way::In) => matches!(hook, "input" | "prerouting" | "ingress"),
        (Some(hook), Way::Out) => matches!(hook, "output" | "postrouting" | "egress"),
    };
    // Our own gate drops by address, not by protocol.
    family && hook && place.table != "mainstay_gate"
}

fn rule(line: &str, place: &mut Place<'_>) -> Option<Culprit> {
    let words: Vec<&str> =
        line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let has = |word: &str| words.contains(&word);
    let protocol = has("protocol") || has("l4proto") || has("nexthdr");
    let named = has("vrrp") || (protocol && has("112"));
    let drops = has("drop") || has("reject");
    if named && has("accept") {
        place.accepted = true;
    }
    let bare = words
        .iter()
        .find(|w| !matches!(**w, "counter" | "packets" | "bytes") && !w.bytes().all(|b| b.is_ascii_digit()));
    let all = drops && bare.is_some_and(|w| matches!(*w, "drop" | "reject"));
    ((named && drops) || (all && !place.accepted)).then(|| culprit(place, line, named))
}

/// A line of `iptables-save`.
fn saved(line: &str, way: Way) -> Option<Culprit> {
    let chain = match way {
        Way::In => "INPUT",
        Way::Out => "OUTPUT",
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    let named = words.windows(2).any(|w| w[0] == "-p" && matches!(w[1], "112" | "vrrp"));
    let drops = words.windows(2).any(|w| w[0] == "-j" && matches!(w[1], "DROP" | "REJECT"));
    let rule = named && drops && words.contains(&chain);
    let policy = words.first() == Some(&format!(":{chain}").as_str()) && words.get(1) == Some(&"DROP");
    (rule || policy).then(|| Culprit {
        family: "iptables".to_owned(),
        table: "filter".to_owned(),
        chain: chain.to_owned(),
        rule: line.to_owned(),
        named,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMED: &str = "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\
        \t\tip protocol vrrp counter packets 3 bytes 120 drop\n\t}\n\tchain output {\n\
        \t\ttype filter hook output priority filter; policy accept;\n\t}\n}\n";

    const POLICY: &str = "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n\
        \t\ttcp dport 22 accept\n\t}\n}\n";

    fn rules(text: &str, way: Way) -> Vec<String> {
        culprits(text, false, way).into_iter().map(|c| c.rule).collect()
    }

    #[test]
    fn a_rule_that_names_the_protocol_is_found_by_its_hook() {
        assert_eq!(rules(NAMED, Way::In), ["ip protocol vrrp counter packets 3 bytes 120 drop"]);
        assert_eq!(rules(NAMED, Way::Out), [""; 0]);
        assert_eq!(
            command(NAMED, false, "eth0", Way::In),
            "nft insert rule inet filter input meta l4proto 112 accept (and write it into /etc/nftables.conf)"
        );
        assert_eq!(rules(&NAMED.replace("vrrp", "112"), Way::In).len(), 1);
    }

    #[test]
    fn a_policy_of_drop_is_to_blame_unless_vrrp_was_accepted() {
        assert_eq!(rules(POLICY, Way::In), ["policy drop"]);
        let open = POLICY.replace("tcp dport 22 accept", "meta l4proto { 50, 112 } accept");
        assert_eq!(rules(&open, Way::In), [""; 0]);
    }

    #[test]
    fn a_last_rule_that_drops_everything_is_to_blame() {
        let text = POLICY.replace("policy drop", "policy accept").replace(
            "tcp dport 22 accept",
            "tcp dport 22 accept\n\t\tcounter packets 1 bytes 40 reject with icmpx admin-prohibited",
        );
        assert_eq!(rules(&text, Way::In).len(), 1);
        assert_eq!(rules(&POLICY.replace("policy drop", "policy accept"), Way::In), [""; 0]);
    }

    #[test]
    fn the_other_family_and_our_own_gate_are_not_to_blame() {
        assert_eq!(culprits(&NAMED.replace("inet", "ip6"), false, Way::In), []);
        assert_eq!(culprits(&POLICY.replace("inet filter", "inet mainstay_gate"), false, Way::In), []);
    }

    #[test]
    fn the_remedy_is_said_in_the_firewalls_own_words() {
        let tables = "table ip filter {\n\tchain INPUT {\n\t\ttype filter hook input priority filter; policy accept;\n\
            \t\tip protocol vrrp counter packets 0 bytes 0 drop\n\t}\n}\n";
        assert!(command(tables, false, "eth0", Way::In).starts_with("iptables -I INPUT -p 112 -j ACCEPT"));
        let saved = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n";
        assert!(command(saved, true, "eth0", Way::In).starts_with("ip6tables -I INPUT"));
        let daemon = "table inet firewalld {\n}\n";
        assert!(command(daemon, false, "eth0", Way::In).starts_with("firewall-cmd --permanent"));
        assert!(command("", false, "eth0", Way::In).contains("rp_filter"));
    }
}
