//! Segments: bridges in a namespace that only switches, and cuts in what they forward.
//!
//! A cut is a set of nft rules in the bridge family's forward hook: neither side sees a change of carrier, as when a switch
//! between two hosts fails. All cuts of a lab stand in one table, written anew as one transaction for each change.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, bail};

use crate::host::{Host, ip};

/// The namespace of all bridges of a lab.
#[derive(Debug)]
pub(crate) struct Switch {
    host: Host,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ports: u32,
    cuts: BTreeMap<u32, Vec<String>>,
    next_cut: u32,
}

/// One broadcast domain. Copies are the same segment.
#[derive(Clone, Debug)]
pub struct Segment {
    switch: Arc<Switch>,
    bridge: String,
}

/// Where an interface of a host is plugged into a segment. Copies are the same plug.
#[derive(Clone, Debug)]
pub struct Port {
    switch: Arc<Switch>,
    host: String,
    interface: String,
    /// The switch's end of the wire.
    end: String,
}

/// The direction of a cut, seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What the host sends.
    Out,
    /// What the host should hear.
    In,
    /// Both.
    Both,
}

/// Something that a segment stopped forwarding.
#[derive(Debug)]
#[must_use = "a cut stays until it is healed"]
pub struct Cut {
    switch: Arc<Switch>,
    number: u32,
}

impl Switch {
    pub(crate) fn new(prefix: &str, lab: &Path) -> Result<Self> {
        Ok(Self { host: Host::new(prefix, lab, "switch")?, state: Mutex::default() })
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn add_segment(this: &Arc<Self>, name: &str) -> Result<Segment> {
        if name.len() > 15 {
            bail!("segment {name:?}: an interface's name holds at most 15 letters");
        }
        this.host.ip(&format!(
            "link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set {name} up"
        ))?;
        Ok(Segment { switch: Arc::clone(this), bridge: name.to_owned() })
    }

    fn cut(this: &Arc<Self>, rules: Vec<String>) -> Result<Cut> {
        let mut state = this.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.next_cut;
        state.next_cut += 1;
        state.cuts.insert(number, rules);
        this.apply(&state)?;
        drop(state);
        Ok(Cut { switch: Arc::clone(this), number })
    }

    fn apply(&self, state: &State) -> Result<()> {
        let rules: String = state.cuts.values().flatten().map(|rule| format!("    {rule}\n")).collect();
        self.host.nft(&format!(
            "table bridge cuts\ndelete table bridge cuts\ntable bridge cuts {{\n  chain forward {{\n    \
             type filter hook forward priority 0; policy accept;\n{rules}  }}\n}}\n"
        ))
    }
}

impl Segment {
    /// The bridge's interface in [`crate::Lab::switch`].
    pub fn bridge(&self) -> &str {
        &self.bridge
    }

    pub(crate) fn plug(&self, host: &Host, interface: &str) -> Result<Port> {
        let number = {
            let mut state = self.switch.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.ports += 1;
            state.ports
        };
        let end = format!("p{number}");
        let (inside, switch) = (host.namespace(), self.switch.host.namespace());
        ip(&[
            "link", "add", interface, "netns", inside, "type", "veth", "peer", "name", &end, "netns", switch,
        ])?;
        self.switch.host.ip(&format!("link set {end} master {} up", self.bridge))?;
        let (host, interface) = (host.name().to_owned(), interface.to_owned());
        Ok(Port { switch: Arc::clone(&self.switch), host, interface, end })
    }
}

impl Port {
    /// The host's name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The interface's name in the host.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The interface's name in the switch.
    pub fn end(&self) -> &str {
        &self.end
    }

    /// Stops all frames to, from or to and from the host; its carrier stays.
    pub fn isolate(&self, way: Way) -> Result<Cut> {
        self.drop_frames("", way, "drop")
    }

    /// Stops VRRP (IP protocol 112, both families) and nothing else.
    pub fn cut_vrrp(&self, way: Way) -> Result<Cut> {
        let mut rules = self.rules("ip protocol 112 ", way, "drop");
        rules.extend(self.rules("ip6 nexthdr 112 ", way, "drop"));
        Switch::cut(&self.switch, rules)
    }

    /// Stops what a match of nft(8) names, e.g. `udp dport 7777`.
    pub fn cut_matching(&self, matches: &str, way: Way) -> Result<Cut> {
        self.drop_frames(&format!("{matches} "), way, "drop")
    }

    /// Stops all frames between this host and the others; everybody else still sees both.
    pub fn part_from(&self, others: &[Port]) -> Result<Cut> {
        partition(std::slice::from_ref(self), others)
    }

    /// Loses about `percent` of the frames, by chance.
    pub fn lose(&self, percent: u8, way: Way) -> Result<Cut> {
        self.drop_frames(&format!("numgen random mod 100 < {percent} "), way, "drop")
    }

    /// Takes the carrier away (or gives it back) from the switch's side.
    pub fn set_carrier(&self, carrier: bool) -> Result<()> {
        self.switch.host.ip(&format!("link set {} {}", self.end, if carrier { "up" } else { "down" }))
    }

    fn drop_frames(&self, matches: &str, way: Way, verdict: &str) -> Result<Cut> {
        Switch::cut(&self.switch, self.rules(matches, way, verdict))
    }

    fn rules(&self, matches: &str, way: Way, verdict: &str) -> Vec<String> {
        let from = format!("iifname {} {matches}{verdict}", self.end);
        let to = format!("oifname {} {matches}{verdict}", self.end);
        match way {
            Way::Out => vec![from],
            Way::In => vec![to],
            Way::Both => vec![from, to],
        }
    }
}

impl Cut {
    /// Forwards again what this cut stopped.
    pub fn heal(self) -> Result<()> {
        let mut state = self.switch.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.cuts.remove(&self.number);
        self.switch.apply(&state)
    }
}

/// Stops all frames between two sets of hosts of one lab; everybody else still sees both.
pub fn partition(these: &[Port], those: &[Port]) -> Result<Cut> {
    let Some(first) = these.first() else { bail!("a partition needs a host on each side") };
    let pairs = these.iter().flat_map(|one| those.iter().map(move |other| (one, other)));
    let rule = |from: &Port, to: &Port| format!("iifname {} oifname {} drop", from.end, to.end);
    let rules = pairs.flat_map(|(one, other)| [rule(one, other), rule(other, one)]).collect();
    Switch::cut(&first.switch, rules)
}
