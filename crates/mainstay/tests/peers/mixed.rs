//! A pair of one Mainstay and one keepalived, over every wire that both speak: whoever is active, the other one is a
//! full partner. Each Mainstay runs what it imported from the file that keepalived would have read in its place.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use mainstay_lab::peer::Mainstay;
use mainstay_lab::{Fault, wait_until};

use crate::bed::{Ground, Kind, LIMIT, Pair};

/// How the adverts of a pair travel.
#[derive(Clone, Copy, Debug)]
struct Wire {
    version: u8,
    ipv6: bool,
    unicast: bool,
}

impl Wire {
    const fn new(version: u8, ipv6: bool, unicast: bool) -> Self {
        Self { version, ipv6, unicast }
    }

    const fn vip(self) -> &'static str {
        if self.ipv6 { "fd00:4::99" } else { "10.0.4.99" }
    }

    fn node(self, number: usize) -> String {
        format!("{}{}", if self.ipv6 { "fd00:4::" } else { "10.0.4." }, number + 1)
    }

    /// The keepalived.conf of node `number`; the first has the higher priority.
    fn conf(self, number: usize) -> String {
        let mut instance = String::new();
        let priority = 150 - 50 * number;
        let advert = if self.version == 2 { "1" } else { "0.2" };
        let _ = writeln!(instance, "  priority {priority}\n  advert_int {advert}");
        if self.version == 2 {
            instance += "  authentication {\n    auth_type PASS\n    auth_pass s3cret\n  }\n";
        }
        if self.unicast {
            let (own, other) = (self.node(number), self.node(1 - number));
            let _ = writeln!(instance, "  unicast_src_ip {own}\n  unicast_peer {{\n    {other}\n  }}");
        }
        let vips = if self.ipv6 { "fe80::99/64\n    fd00:4::99/64" } else { "10.0.4.99/24" };
        format!(
            "global_defs {{\n  router_id node-{number}\n  vrrp_version {}\n}}\nvrrp_instance front {{\n  state BACKUP\n  \
             interface eth0\n  virtual_router_id 51\n{instance}  virtual_ipaddress {{\n    {vips}\n  }}\n}}\n",
            self.version
        )
    }
}

/// What an operator does and what breaks, with `kinds[0]` as the preferred node.
fn partners(wire: Wire, kinds: [Kind; 2]) -> Result<()> {
    let pair = Pair::start(Ground::lay("mixed")?, wire.vip(), kinds, |number| wire.conf(number))?;
    let [first, second] = &pair.members;

    let stopped = Fault::Stop.strike(&first.node)?;
    pair.settles_on(1)?;
    stopped.heal()?;
    pair.settles_on(0)?;

    let killed = Fault::KillAll.strike(&first.node)?;
    if first.keepalived.is_some() {
        // A killed keepalived leaves its address behind: somebody has to clean up.
        let prefix = if wire.ipv6 { 64 } else { 24 };
        first.node.host.ip(&format!("addr del {}/{prefix} dev eth0", wire.vip()))?;
    }
    pair.answers(1)?;
    killed.heal()?;
    pair.settles_on(0)?;

    for isolated in [first, second] {
        let cut = Fault::Isolation.strike(&isolated.node)?;
        wait_until("the second takes the vip for itself", LIMIT, || second.holds(wire.vip()))?;
        cut.heal()?;
        pair.settles_on(0)?;
    }

    for member in &pair.members {
        if let Some(mainstay) = &member.mainstay {
            has_refused_nothing(mainstay)?;
        }
    }
    has_complained_of_nothing(&pair)
}

/// No advert of the partner's was rejected, for whatever reason.
fn has_refused_nothing(mainstay: &Mainstay) -> Result<()> {
    let vip = mainstay.vip("front")?;
    for counter in vip["adverts"].as_array().into_iter().flatten() {
        let result = counter["labels"][0][1].as_str().unwrap_or_default();
        let accepted = ["sent", "sent-resign", "received", "received-resign"].contains(&result);
        ensure!(accepted || counter["value"] == 0, "an advert was refused: {counter}");
    }
    let strays = mainstay.status_json()?["counters"].to_string();
    ensure!(!strays.contains("vrrp_strays"), "{strays}");
    Ok(())
}

/// Keepalived's log speaks of states and of nothing that it did not understand.
fn has_complained_of_nothing(pair: &Pair) -> Result<()> {
    const COMPLAINTS: [&str; 9] =
        ["bogus", "mismatch", "invalid", "wrong", "ignor", "checksum", "unexpected", "too short", "differ"];
    for keepalived in pair.members.iter().filter(|member| member.keepalived.is_some()) {
        let log = keepalived.node.keeper.daemon().log();
        for line in log.lines() {
            let lower = line.to_ascii_lowercase();
            ensure!(!COMPLAINTS.iter().any(|complaint| lower.contains(complaint)), "{line}\n{log}");
        }
    }
    Ok(())
}

const OURS_ACTIVE: [Kind; 2] = [Kind::Mainstay, Kind::Keepalived];
const OURS_BACKUP: [Kind; 2] = [Kind::Keepalived, Kind::Mainstay];

macro_rules! pairs {
    ($($claim:ident: $wire:expr, $kinds:expr;)*) => {$(
        #[test]
        fn $claim() {
            mainstay_lab::test(|| partners($wire, $kinds));
        }
    )*};
}

pairs! {
    over_v2_multicast_with_a_password_keepalived_backs_us_up: Wire::new(2, false, false), OURS_ACTIVE;
    over_v2_multicast_with_a_password_we_back_keepalived_up: Wire::new(2, false, false), OURS_BACKUP;
    over_v2_unicast_keepalived_backs_us_up: Wire::new(2, false, true), OURS_ACTIVE;
    over_v2_unicast_we_back_keepalived_up: Wire::new(2, false, true), OURS_BACKUP;
    over_v3_multicast_keepalived_backs_us_up: Wire::new(3, false, false), OURS_ACTIVE;
    over_v3_multicast_we_back_keepalived_up: Wire::new(3, false, false), OURS_BACKUP;
    over_v3_unicast_keepalived_backs_us_up: Wire::new(3, false, true), OURS_ACTIVE;
    over_v3_unicast_we_back_keepalived_up: Wire::new(3, false, true), OURS_BACKUP;
    over_ipv6_multicast_keepalived_backs_us_up: Wire::new(3, true, false), OURS_ACTIVE;
    over_ipv6_multicast_we_back_keepalived_up: Wire::new(3, true, false), OURS_BACKUP;
    over_ipv6_unicast_keepalived_backs_us_up: Wire::new(3, true, true), OURS_ACTIVE;
    over_ipv6_unicast_we_back_keepalived_up: Wire::new(3, true, true), OURS_BACKUP;
}
