//! From raw to Plan: names are looked up, defaults filled in, ranges checked, secrets read.
//!
//! A function here always returns a value. What it could not make sense of it has noted, and a Plan whose load has
//! an error is thrown away; so one bad key does not hide the next.

mod addrs;
mod agent;
mod arbitration;
mod cluster;
mod command;
mod edge;
mod guard;
mod look;
mod notify;
mod probe;
mod registry;
mod secret;
mod servers;
mod store;
mod target;
mod vip;
mod visit;
mod weight;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use mainstay_core::election::GroupSpec;
use mainstay_core::name::{CommandId, LinkId, ProbeId};

use crate::Checks;
use crate::findings::Findings;
use crate::plan::{Command, Group, Mail, Plan, Vip};
use crate::raw;
use crate::read::Header;
use crate::source::{At, Span};
use crate::suggest;
use crate::values::{Time, written};

pub(crate) struct Resolver<'a> {
    findings: &'a mut Findings,
    env: &'a dyn Fn(&str) -> Option<String>,
    checks: Checks,
    script_user: String,
    start_delay: Duration,
    standing: cluster::Standing,
    has_mail: bool,
    metrics_at: Option<(std::net::SocketAddr, Span)>,
    edge: edge::State,
    links: Vec<String>,
    link_ids: HashMap<String, LinkId>,
    commands: Vec<Command>,
    command_ids: HashMap<Command, CommandId>,
    probes: HashMap<String, ProbeId>,
}

/// More vips than this on one node is a mistake in a template.
const MOST_VIPS: usize = 4096;
/// A longer name breaks the tables that show it.
const LONGEST_NAME: usize = 64;

/// The meaning of what was written; to be used only when `findings` has no error afterwards.
pub(crate) fn resolve(
    mut root: raw::Root,
    findings: &mut Findings,
    env: &dyn Fn(&str) -> Option<String>,
    checks: Checks,
) -> Plan {
    let mut tables = edge::Tables::of(&mut root);
    let node = root.node.map(|node| node.value).unwrap_or_default();
    let mut r = Resolver {
        findings,
        env,
        checks,
        script_user: String::new(),
        start_delay: Duration::ZERO,
        standing: cluster::Standing::default(),
        has_mail: root.mail.is_some(),
        metrics_at: None,
        edge: edge::State::default(),
        links: Vec::new(),
        link_ids: HashMap::new(),
        commands: Vec::new(),
        command_ids: HashMap::new(),
        probes: HashMap::new(),
    };
    r.script_user = r.user(node.script_user.as_ref(), "[node]");
    r.start_delay = r.time(&node.start_delay, Duration::ZERO, Duration::ZERO..=HOUR, "[node]", "start_delay");
    let id = r.node_id(&node);
    let metrics = r.metrics(&node);
    r.metrics_at = metrics.zip(node.metrics.as_ref().map(|at| at.span));
    let mut cluster = root.cluster.and_then(|cluster| r.cluster(&cluster.value, &id));
    let mail = root.mail.map(|mail| r.mail(&mail.value));
    let raw_probes = root.probe.map(|list| list.value).unwrap_or_default();
    let raw_vips = root.vip.map(|list| list.value).unwrap_or_default();
    let raw_groups = root.group.map(|list| list.value).unwrap_or_default();
    r.edge_names(&mut tables);
    let mut probes = r.all_probes(&raw_probes);
    let pools = r.pools_of(&tables, &mut probes);
    let gost_span = tables.plugin_span();
    let edge = r.edge(&tables, pools);
    let agents = r.agents(&root.agent.map(|list| list.value).unwrap_or_default(), &id);
    let registry = root.registry.as_ref().and_then(|at| r.registry(at, &edge.hub));
    r.gost_store(edge.gost.as_ref(), registry.as_ref(), gost_span);
    let visits = r.visits(&root.visit.map(|list| list.value).unwrap_or_default(), &id);
    let vips = r.all_vips(&raw_vips);
    let groups = r.all_groups(&raw_groups, &vips);
    if let Some(cluster) = &mut cluster {
        cluster::strict(cluster, &vips);
    }
    r.aids(&vips);
    if !r.findings.has_errors() {
        r.unused_probes(&raw_probes, &vips);
    }
    r.probes_through(&raw_probes, &vips);
    Plan {
        node: id,
        cluster,
        links: r.links,
        vips,
        groups,
        probes,
        commands: r.commands,
        mail,
        metrics,
        agents,
        registry,
        visits,
        edge,
    }
}

const HOUR: Duration = Duration::from_secs(3600);

impl Resolver<'_> {
    fn error(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.findings.error(span, message, help);
    }

    /// What to write for a name that nothing has.
    fn advice<'n>(&self, name: &str, what: &str, known: impl Iterator<Item = &'n str>) -> String {
        if self.findings.full() {
            return String::new();
        }
        let mut known: Vec<&str> = known.collect();
        known.sort_unstable();
        suggest::advice(name, what, &known)
    }

    /// The value of a key that must be there.
    fn required<T: Clone>(
        &mut self,
        slot: &Option<At<T>>,
        header: &Header,
        who: &str,
        key: &str,
    ) -> Option<At<T>> {
        if slot.is_none() && !header.spoiled.iter().any(|spoiled| spoiled == key) {
            let help = format!("write {key} = {}", example(key));
            self.error(header.span, format!("{who}: `{key}` is missing"), help);
        }
        slot.clone()
    }

    fn number(
        &mut self,
        slot: &Option<At<i64>>,
        default: i64,
        range: RangeInclusive<i64>,
        who: &str,
        key: &str,
    ) -> i64 {
        let Some(At { value, span }) = slot else { return default };
        if range.contains(value) {
            return *value;
        }
        let (low, high) = (range.start(), range.end());
        let help = format!("write a number from {low} to {high}");
        self.error(*span, format!("{who}: {key} {value} is out of range"), help);
        default
    }

    /// A number whose range fits a byte.
    fn byte(&mut self, slot: &Option<At<i64>>, default: u8, least: u8, who: &str, key: &str) -> u8 {
        let range = i64::from(least)..=i64::from(u8::MAX);
        u8::try_from(self.number(slot, i64::from(default), range, who, key)).unwrap_or(default)
    }

    fn time(
        &mut self,
        slot: &Option<At<Time>>,
        default: Duration,
        range: RangeInclusive<Duration>,
        who: &str,
        key: &str,
    ) -> Duration {
        let Some(At { value: Time(value), span }) = slot else { return default };
        if range.contains(value) {
            return *value;
        }
        let help = format!("write a duration from {} to {}", written(*range.start()), written(*range.end()));
        self.error(*span, format!("{who}: {key} {} is out of range", written(*value)), help);
        default
    }

    fn ip(&mut self, text: &At<String>, who: &str) -> Option<IpAddr> {
        let parsed = text.value.trim().parse();
        if parsed.is_err() {
            let message = format!("{who}: \"{}\" is not an address", text.value);
            self.error(text.span, message, "write an IPv4 or IPv6 address in full, such as \"10.0.4.21\"");
        }
        parsed.ok()
    }

    /// A name that is not empty, not too long and has no blanks.
    fn name(&mut self, name: Option<At<String>>, what: &str) -> Option<At<String>> {
        let name = name?;
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '"';
        if name.value.is_empty() || name.value.chars().count() > LONGEST_NAME || name.value.contains(odd) {
            let message = format!("\"{}\" can't be the name of a {what}", name.value.escape_debug());
            self.error(name.span, message, "write 1 to 64 characters without blanks and quotes");
            return None;
        }
        Some(name)
    }

    /// An interface's index in the Plan's list.
    fn link(&mut self, name: &At<String>, who: &str) -> LinkId {
        let odd = |c: char| c.is_whitespace() || c == '/' || c == ':' || c.is_control();
        if name.value.is_empty() || name.value.len() > 15 || name.value.contains(odd) {
            let message = format!("{who}: \"{}\" can't be an interface", name.value.escape_debug());
            self.error(name.span, message, "write the name that `ip link` shows, at most 15 characters");
        }
        if let Some(link) = self.link_ids.get(&name.value) {
            return *link;
        }
        let link = LinkId(u32::try_from(self.links.len()).expect("256 files of 1 MiB name fewer interfaces"));
        self.links.push(name.value.clone());
        self.link_ids.insert(name.value.clone(), link);
        link
    }

    fn node_id(&mut self, node: &raw::Node) -> String {
        if node.id.is_some() {
            return self.name(node.id.clone(), "node").map(|id| id.value).unwrap_or_default();
        }
        let host =
            if self.checks.files { std::fs::read_to_string("/proc/sys/kernel/hostname").ok() } else { None };
        host.map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "node".to_owned())
    }

    fn metrics(&mut self, node: &raw::Node) -> Option<std::net::SocketAddr> {
        let metrics = node.metrics.as_ref()?;
        let parsed = metrics.value.parse();
        if parsed.is_err() {
            let message = format!("[node]: metrics \"{}\" is not address:port", metrics.value);
            self.error(metrics.span, message, "write \"127.0.0.1:9105\", or \"[::]:9105\" for every address");
        }
        parsed.ok()
    }

    fn mail(&mut self, mail: &raw::Mail) -> Mail {
        let who = "[mail]";
        let smtp = self.required(&mail.smtp, &mail.head, who, "smtp");
        let from = self.required(&mail.from, &mail.head, who, "from");
        let to = self.required(&mail.to, &mail.head, who, "to");
        if let Some(smtp) = &smtp {
            self.host_port(smtp, who);
        }
        let to = to.map(|to| {
            if to.value.is_empty() {
                self.error(to.span, "[mail]: `to` names nobody", "write to = [\"ops@example.com\"]");
            }
            to.value
        });
        for address in from.iter().chain(to.iter().flatten()) {
            if !address.value.contains('@') || address.value.contains(char::is_whitespace) {
                let message = format!("[mail]: \"{}\" is not an e-mail address", address.value);
                self.error(address.span, message, "write \"name@example.com\"");
            }
        }
        Mail {
            smtp: smtp.map(|smtp| smtp.value).unwrap_or_default(),
            helo: mail.helo.as_ref().map(|helo| helo.value.clone()),
            from: from.map(|from| from.value).unwrap_or_default(),
            to: to.into_iter().flatten().map(|to| to.value).collect(),
            timeout: self.time(&mail.timeout, Duration::from_secs(30), SECOND..=HOUR, who, "timeout"),
        }
    }

    fn all_groups(&mut self, groups: &[At<raw::Group>], resolved_vips: &[Vip]) -> Vec<Group> {
        let known: HashSet<&str> = resolved_vips.iter().map(|vip| vip.spec.name.as_str()).collect();
        let mut names: HashMap<String, Span> = HashMap::new();
        let mut member_of: HashMap<String, String> = HashMap::new();
        let mut resolved = Vec::new();
        for At { value: group, .. } in groups {
            let name = self.required(&group.name, &group.head, "[[group]]", "name");
            let name = self.unique(name, &mut names, "group").unwrap_or_default();
            let who = format!("group \"{name}\"");
            let vips = self.required(&group.vips, &group.head, &who, "vips");
            if let Some(At { value, span }) = &vips
                && value.is_empty()
            {
                self.error(*span, format!("{who} has no vip"), "write vips = [\"a\", \"b\"]");
            }
            let vips = vips.map(|vips| vips.value).unwrap_or_default();
            for vip in &vips {
                if !known.contains(vip.value.as_str()) {
                    let message = format!("{who}: there is no vip \"{}\"", vip.value);
                    let help = self.advice(&vip.value, "vip", known.iter().copied());
                    self.error(vip.span, message, help);
                } else if let Some(other) = member_of.insert(vip.value.clone(), name.clone()) {
                    let message = format!("{who}: vip \"{}\" is already in group \"{other}\"", vip.value);
                    self.error(
                        vip.span,
                        message,
                        "a vip belongs to one group, once: join the groups, or take it out",
                    );
                }
            }
            self.one_guard(&vips, resolved_vips, &who);
            let vips = vips.into_iter().map(|vip| vip.value).collect();
            let notify = self.notify(group.notify.as_ref(), &who);
            resolved.push(Group { spec: GroupSpec { name, vips }, notify });
        }
        resolved
    }

    /// A name that no other of its kind has.
    fn unique(
        &mut self,
        name: Option<At<String>>,
        taken: &mut HashMap<String, Span>,
        what: &str,
    ) -> Option<String> {
        let name = self.name(name, what)?;
        if let Some(first) = taken.get(&name.value) {
            let place = self.findings.line_of(*first);
            let message = format!("there is already a {what} \"{}\" at {place}", name.value);
            self.error(name.span, message, format!("give each {what} its own name"));
        } else {
            taken.insert(name.value.clone(), name.span);
        }
        Some(name.value)
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// What to write for a missing key.
fn example(key: &str) -> &'static str {
    match key {
        "addrs" => "[\"10.0.4.99\"]",
        "interface" => "\"eth0\"",
        "agents" => "[\"ed25519:...\"], public keys as `mainstay tunnel key` prints them",
        "etcd" => "[\"http://10.0.5.1:2379\"]",
        "vrid" => "51, the same number on each node of the pair",
        "vips" => "[\"a\", \"b\"]",
        "exec" => "[\"/path/to/program\", \"argument\"]",
        "smtp" => "\"localhost:25\"",
        "from" => "\"mainstay@example.com\"",
        "to" => "[\"ops@example.com\"]",
        "weight" => "-20",
        "probe" => "\"nginx\"",
        "bind" => "\":80\"",
        "visitors" => "[\"ed25519:...\"], as `mainstay tunnel key` prints them",
        "hubs" => "[\"wss://edge.example.com\"]",
        "listen" => "\"127.0.0.1:8022\"",
        "tunnel" => "the id that [[tunnel]] on the hub has",
        "backends" => "[\"10.0.4.20:8080\", \"10.0.4.21:8080\"]",
        "trusted" => "[\"10.0.0.0/8\"]",
        "codes" => "[404, \"500-504\"]",
        "root" => "\"/srv/www\"",
        "keys" => "[{ algorithm = \"RS256\", key = { file = \"/path.pem\" } }]",
        "key" => "\"{remote_addr}\", or the path of a key",
        "max" => "10",
        "percent" => "\"50\"",
        "net" => "\"10.0.0.0/8\"",
        "exists" => "\"file\"",
        _ => "\"...\"",
    }
}
