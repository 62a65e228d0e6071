//! What an import has understood so far, in the order and the words of our configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::report::Pos;

/// The whole of it.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) globals: Globals,
    pub(super) probes: Vec<Probe>,
    pub(super) vips: Vec<Vip>,
    pub(super) groups: Vec<Group>,
}

/// `global_defs`: our `[node]` and `[mail]`, and defaults of the vips.
#[derive(Debug, Default)]
pub(super) struct Globals {
    pub(super) id: Option<(String, Pos)>,
    pub(super) start_delay: Option<Duration>,
    pub(super) script_user: Option<String>,
    /// Nobody wrote script_user: keepalived's own default stands in it.
    pub(super) script_user_assumed: bool,
    pub(super) mail_to: Vec<String>,
    pub(super) mail_from: Option<String>,
    pub(super) mail_pos: Pos,
    pub(super) smtp: Option<String>,
    pub(super) smtp_helo: Option<String>,
    pub(super) smtp_timeout: Option<Duration>,
    /// smtp_alert and smtp_alert_vrrp.
    pub(super) alert: Option<bool>,
    pub(super) alert_vrrp: Option<bool>,
    pub(super) version: Option<u8>,
    pub(super) strict: bool,
    pub(super) skip_check_addrs: bool,
    pub(super) check_unicast_src: bool,
    pub(super) down_adverts: Option<u32>,
    pub(super) group4: Option<IpAddr>,
    pub(super) group6: Option<IpAddr>,
    pub(super) interface: Option<String>,
    pub(super) announce: Announce,
    pub(super) min_garp: bool,
    pub(super) garp_interval: Option<Duration>,
    pub(super) gna_interval: Option<Duration>,
    /// garp_group: intervals for an interface, ARP first.
    pub(super) intervals: BTreeMap<String, (Option<Duration>, Option<Duration>)>,
}

/// Gratuitous ARP and NA, as far as it was configured.
#[derive(Clone, Debug, Default)]
pub(super) struct Announce {
    pub(super) delay: Option<Duration>,
    pub(super) repeat: Option<u32>,
    pub(super) refresh: Option<Duration>,
    pub(super) refresh_repeat: Option<u32>,
    pub(super) lower_delay: Option<(Duration, Pos)>,
    pub(super) lower_repeat: Option<u32>,
}

/// A user's command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) argv: Vec<String>,
    pub(super) user: Option<String>,
    pub(super) pos: Pos,
}

/// vrrp_script, vrrp_track_process, track_file, or an interface that is tracked.
#[derive(Clone, Debug, Default)]
pub(super) struct Probe {
    pub(super) pos: Pos,
    /// What keepalived calls it.
    pub(super) name: String,
    /// What our configuration calls it.
    pub(super) ours: String,
    pub(super) check: Check,
    pub(super) interval: Option<Duration>,
    pub(super) timeout: Option<Duration>,
    pub(super) fall: Option<u32>,
    pub(super) rise: Option<u32>,
    pub(super) init_fail: bool,
    pub(super) weight: i32,
    pub(super) reverse: bool,
    pub(super) used: bool,
    /// What a script does that must become `requires`, whatever its weight.
    pub(super) stops_keepalived: bool,
    pub(super) restart: Option<Vec<String>>,
    pub(super) restart_wait: Option<Duration>,
    /// Comment lines above it.
    pub(super) remarks: Vec<String>,
}

/// What a probe looks at.
#[derive(Clone, Debug, Default)]
pub(super) enum Check {
    /// Nothing understood.
    #[default]
    Nothing,
    Exec(Command),
    Process {
        name: String,
        args: Option<Vec<String>>,
        min: u32,
        max: Option<u32>,
    },
    File(String),
    Up(String),
}

/// Which list a tracked name is looked up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Script,
    Process,
    File,
    Interface,
}

/// An entry of track_script and its like.
#[derive(Clone, Debug)]
pub(super) struct Track {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) pos: Pos,
    pub(super) weight: Option<i32>,
    pub(super) reverse: Option<bool>,
}

/// One who is told.
#[derive(Clone, Debug)]
pub(super) struct Notify {
    /// `active`, `backup`, `fault` or `stop`; absent for all.
    pub(super) on: Option<&'static str>,
    pub(super) command: Command,
}

/// An address, as our configuration will name it.
#[derive(Clone, Debug)]
pub(super) struct Addr {
    pub(super) addr: IpAddr,
    pub(super) interface: Option<String>,
    pub(super) pos: Pos,
}

/// A weight that stays a weight.
#[derive(Clone, Debug)]
pub(super) struct Weight {
    pub(super) probe: String,
    pub(super) weight: i32,
    pub(super) reverse: bool,
}

/// vrrp_instance.
#[derive(Debug, Default)]
pub(super) struct Vip {
    pub(super) pos: Pos,
    pub(super) name: String,
    pub(super) master: Option<Pos>,
    pub(super) interface: Option<String>,
    pub(super) vrid: Option<u8>,
    pub(super) version: Option<u8>,
    pub(super) native_ipv6: bool,
    pub(super) priority: Option<u8>,
    pub(super) advert: Option<(Duration, Pos)>,
    pub(super) nopreempt: Option<Pos>,
    pub(super) preempt_delay: Option<(Duration, Pos)>,
    pub(super) down_adverts: Option<u32>,
    pub(super) password: Option<(String, Pos)>,
    pub(super) source: Option<IpAddr>,
    pub(super) unicast: Vec<IpAddr>,
    pub(super) ttl_min: Option<u8>,
    pub(super) check_source: Option<bool>,
    pub(super) multicast: Option<IpAddr>,
    pub(super) skip_check_addrs: Option<bool>,
    pub(super) strict: Option<bool>,
    pub(super) dont_track_primary: Option<Pos>,
    pub(super) announce: Announce,
    pub(super) addrs: Vec<Addr>,
    pub(super) unadvertised: Vec<Addr>,
    pub(super) tracks: Vec<Track>,
    pub(super) notify: Vec<Notify>,
    pub(super) alert: Option<bool>,
    /// Filled when the tracks are resolved.
    pub(super) requires: BTreeSet<String>,
    pub(super) weights: Vec<Weight>,
}

impl Vip {
    /// Whether it speaks IPv6: its first address decides, as in keepalived.
    pub(super) fn is_v6(&self) -> bool {
        self.addrs.first().map_or(self.native_ipv6, |addr| addr.addr.is_ipv6())
    }

    /// keepalived's default: the owner's 255 for `state MASTER` without a priority, else 100.
    pub(super) fn effective_priority(&self) -> u8 {
        self.priority.unwrap_or(if self.master.is_some() { 255 } else { 100 })
    }
}

/// vrrp_sync_group.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) pos: Pos,
    pub(super) name: String,
    pub(super) vips: Vec<(String, Pos)>,
    pub(super) tracks: Vec<Track>,
    pub(super) notify: Vec<Notify>,
    pub(super) alert: Option<bool>,
    pub(super) weighted: bool,
}
