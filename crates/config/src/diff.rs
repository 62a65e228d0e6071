//! What a reload changes, by the operator's names.
//!
//! Two Plans may number the same probe, command or interface differently. That alone is no change: things are
//! compared by what their numbers stand for.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::plan::cluster::Cluster;
use crate::plan::edge::{Edge, Gost};
use crate::plan::registry::Registry;
use crate::plan::{Command, Plan};

/// What differs between two Plans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The node's id.
    pub node: bool,
    /// Keys of `[cluster]`.
    pub cluster: Vec<String>,
    /// Vips by name.
    pub vips: Kind,
    /// Groups by name.
    pub groups: Kind,
    /// Probes by name.
    pub probes: Kind,
    /// Commands by their command line.
    pub commands: Kind,
    /// Where e-mail goes.
    pub mail: bool,
    /// Where metrics are served.
    pub metrics: bool,
    /// Agents by name.
    pub agents: Kind,
    /// Visits by name.
    pub visits: Kind,
    /// Keys of `[edge]`.
    pub edge: Vec<String>,
    /// Listeners by name.
    pub listeners: Kind,
    /// Routes by name.
    pub routes: Kind,
    /// Routes that are in both Plans stand in another order, which decides among expressions.
    pub route_order: bool,
    /// Pools by name.
    pub pools: Kind,
    /// Zones by name.
    pub zones: Kind,
    /// Maps by name.
    pub maps: Kind,
    /// Access logs by name.
    pub logs: Kind,
    /// What agents are told.
    pub hub: bool,
    /// Keys of `[gost]`.
    pub gost: Vec<String>,
    /// Keys of `[registry]`.
    pub registry: Vec<String>,
    /// Tunnels by id.
    pub tunnels: Kind,
}

/// What differs among things of one kind, each list in the order of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// In the new Plan only.
    pub added: Vec<String>,
    /// In the old Plan only.
    pub removed: Vec<String>,
    /// In both, with the keys that differ.
    pub changed: Vec<Changed>,
}

/// Something that is in both Plans and differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Its name.
    pub name: String,
    /// What differs of it.
    pub keys: Vec<String>,
}

impl Kind {
    /// Whether nothing differs.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// Whether the thing of this name is the same in both Plans, numbers apart.
    #[must_use]
    pub fn keeps(&self, name: &str) -> bool {
        !self.added.iter().chain(&self.removed).any(|other| other == name)
            && !self.changed.iter().any(|other| other.name == name)
    }

    fn between(old: &BTreeMap<String, Facts>, new: &BTreeMap<String, Facts>) -> Self {
        let only = |here: &BTreeMap<String, Facts>, there: &BTreeMap<String, Facts>| {
            here.keys().filter(|name| !there.contains_key(*name)).cloned().collect()
        };
        let differ = |(name, new): (&String, &Facts)| {
            let old = old.get(name).filter(|old| *old != new)?;
            let keys = new.keys().chain(old.keys().filter(|key| !new.contains_key(*key)));
            let keys = keys.filter(|key| old.get(*key) != new.get(*key)).cloned().collect();
            Some(Changed { name: name.clone(), keys })
        };
        Self {
            added: only(new, old),
            removed: only(old, new),
            changed: new.iter().filter_map(differ).collect(),
        }
    }

    fn sentences(&self, kind: &str, out: &mut Vec<String>) {
        out.extend(self.removed.iter().map(|name| format!("{kind} \"{name}\" is gone")));
        out.extend(self.added.iter().map(|name| format!("{kind} \"{name}\" is new")));
        out.extend(
            self.changed
                .iter()
                .map(|Changed { name, keys }| format!("{kind} \"{name}\" has other {}", keys.join(", "))),
        );
    }
}

impl Changes {
    /// Whether the two Plans do the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// One sentence for each change.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let mut out = Vec::new();
        if self.node {
            out.push("the node has another id".to_owned());
        }
        if !self.cluster.is_empty() {
            out.push(format!("the cluster has other {}", self.cluster.join(", ")));
        }
        self.vips.sentences("vip", &mut out);
        self.groups.sentences("group", &mut out);
        self.probes.sentences("probe", &mut out);
        self.commands.sentences("command", &mut out);
        if self.mail {
            out.push("e-mail goes another way".to_owned());
        }
        if self.metrics {
            out.push("metrics are served elsewhere".to_owned());
        }
        self.agents.sentences("agent", &mut out);
        self.visits.sentences("visit", &mut out);
        if !self.edge.is_empty() {
            out.push(format!("the edge has other {}", self.edge.join(", ")));
        }
        self.listeners.sentences("listener", &mut out);
        self.routes.sentences("route", &mut out);
        if self.route_order {
            out.push("routes stand in another order".to_owned());
        }
        self.pools.sentences("pool", &mut out);
        self.zones.sentences("zone", &mut out);
        self.maps.sentences("map", &mut out);
        self.logs.sentences("log", &mut out);
        if self.hub {
            out.push("agents are told of other hubs or hosts".to_owned());
        }
        if !self.gost.is_empty() {
            out.push(format!("gost's clients have other {}", self.gost.join(", ")));
        }
        if !self.registry.is_empty() {
            out.push(format!("the registry has other {}", self.registry.join(", ")));
        }
        self.tunnels.sentences("tunnel", &mut out);
        out
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changes");
        }
        f.write_str(&self.sentences().join("\n"))
    }
}

/// What `new` changes of `old`.
#[must_use]
pub fn diff(old: &Plan, new: &Plan) -> Changes {
    Changes {
        node: old.node != new.node,
        cluster: cluster_keys(old.cluster.as_ref(), new.cluster.as_ref()),
        vips: Kind::between(&vips(old), &vips(new)),
        groups: Kind::between(&groups(old), &groups(new)),
        probes: Kind::between(&probes(old), &probes(new)),
        commands: Kind::between(&commands(old), &commands(new)),
        mail: old.mail != new.mail,
        metrics: old.metrics != new.metrics,
        agents: between(old, new, |plan| all(plan, &plan.agents, |agent| &agent.name)),
        visits: between(old, new, |plan| all(plan, &plan.visits, |visit| &visit.name)),
        edge: edge_keys(&old.edge, &new.edge),
        listeners: between(old, new, |plan| all(plan, &plan.edge.listeners, |listener| &listener.name)),
        routes: between(old, new, |plan| all(plan, &plan.edge.routes, |route| &route.name)),
        route_order: order(&old.edge, &new.edge) != order(&new.edge, &old.edge),
        pools: between(old, new, |plan| all(plan, &plan.edge.pools, |pool| &pool.name)),
        zones: between(old, new, |plan| all(plan, &plan.edge.zones, |zone| &zone.name)),
        maps: between(old, new, |plan| all(plan, &plan.edge.maps, |map| &map.name)),
        logs: between(old, new, |plan| all(plan, &plan.edge.logs, |log| &log.name)),
        hub: old.edge.hub != new.edge.hub,
        gost: gost_keys(old.edge.gost.as_ref(), new.edge.gost.as_ref()),
        registry: registry_keys(old.registry.as_ref(), new.registry.as_ref()),
        tunnels: between(old, new, |plan| all(plan, &plan.edge.tunnels, |tunnel| &tunnel.id)),
    }
}

fn between(old: &Plan, new: &Plan, facts: impl Fn(&Plan) -> BTreeMap<String, Facts>) -> Kind {
    Kind::between(&facts(old), &facts(new))
}

/// What `[cluster]` says to nodes that speak with each other.
fn cluster_keys(old: Option<&Cluster>, new: Option<&Cluster>) -> Vec<String> {
    let (old, new) = match (old, new) {
        (None, None) => return Vec::new(),
        (Some(old), Some(new)) => (old, new),
        (None, Some(_)) | (Some(_), None) => return vec!["sessions".to_owned()],
    };
    [
        ("name", old.name != new.name),
        ("key", old.key != new.key || old.own_key != new.own_key),
        ("peers", old.list != new.list || old.peers != new.peers),
        ("listen", old.listen != new.listen),
        ("term", old.terms.term != new.terms.term),
        ("term_max", old.terms.term_max != new.terms.term_max),
        ("clock_drift", old.terms.drift_ppm != new.terms.drift_ppm),
        ("lock", old.lock != new.lock),
        ("isolated", old.isolated != new.isolated),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(key, _)| key.to_owned())
    .collect()
}

/// What `[registry]` says.
fn registry_keys(old: Option<&Registry>, new: Option<&Registry>) -> Vec<String> {
    let (old, new) = match (old, new) {
        (None, None) => return Vec::new(),
        (Some(old), Some(new)) => (old, new),
        (None, Some(_)) | (Some(_), None) => return vec!["stores".to_owned()],
    };
    [
        ("addresses", old.store != new.store),
        ("prefix", old.prefix != new.prefix),
        ("ttl", old.ttl != new.ttl),
        ("access", old.access != new.access),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(key, _)| key.to_owned())
    .collect()
}

/// What `[gost]` says.
fn gost_keys(old: Option<&Gost>, new: Option<&Gost>) -> Vec<String> {
    let (old, new) = match (old, new) {
        (None, None) => return Vec::new(),
        (Some(old), Some(new)) => (old, new),
        (None, Some(_)) | (Some(_), None) => return vec!["listeners".to_owned()],
    };
    [
        ("users", old.users != new.users),
        ("tunnels", old.tunnels != new.tunnels),
        ("entrypoint", old.entrypoint != new.entrypoint),
        ("direct", old.direct != new.direct),
        ("hosts", old.hosts != new.hosts),
        ("advertise", old.advertise != new.advertise),
        ("sd", old.sd != new.sd),
        ("ingress", old.ingress != new.ingress),
        ("token", old.token != new.token),
        ("ca", old.ca != new.ca),
        ("timeout", old.timeout != new.timeout),
        ("renew", old.renew != new.renew),
        ("plugin", old.serves != new.serves),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(key, _)| key.to_owned())
    .collect()
}

/// What `[edge]` itself says.
fn edge_keys(old: &Edge, new: &Edge) -> Vec<String> {
    [
        ("instances", old.instances != new.instances),
        ("threads", old.threads != new.threads),
        ("drain", old.drain != new.drain),
        ("resolve", old.resolve != new.resolve),
        ("types", old.types != new.types),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(key, _)| key.to_owned())
    .collect()
}

/// Names of the routes that the other Plan has as well.
fn order<'a>(edge: &'a Edge, other: &Edge) -> Vec<&'a str> {
    let known: HashSet<&str> = other.routes.iter().map(|route| route.name.as_str()).collect();
    edge.routes.iter().map(|route| route.name.as_str()).filter(|name| known.contains(name)).collect()
}

/// The keys of a thing and their values, numbers replaced by what they stand for.
type Facts = Map<String, Value>;

fn vips(plan: &Plan) -> BTreeMap<String, Facts> {
    let facts = |vip| {
        let mut facts = facts(vip);
        if let Some(Value::Object(spec)) = facts.remove("spec") {
            // Both the list of addresses and whether something is owned are told by the vip's own keys.
            facts.extend(spec.into_iter().filter(|(key, _)| key != "addrs" && key != "owns"));
            // What follows for the vip from how many peers there are; no key of the file is called so.
            let sole = facts.remove("sole_successor");
            facts.extend(sole.map(|sole| ("number of peers".to_owned(), sole)));
        }
        named(&mut facts, plan);
        facts
    };
    plan.vips.iter().map(|vip| (vip.spec.name.clone(), facts(vip))).collect()
}

fn groups(plan: &Plan) -> BTreeMap<String, Facts> {
    let facts = |group| {
        let mut facts = facts(group);
        if let Some(Value::Object(spec)) = facts.remove("spec") {
            facts.extend(spec);
        }
        named(&mut facts, plan);
        facts
    };
    plan.groups.iter().map(|group| (group.spec.name.clone(), facts(group))).collect()
}

fn probes(plan: &Plan) -> BTreeMap<String, Facts> {
    all(plan, &plan.probes, |probe| &probe.name)
}

/// Things of one kind by name.
fn all<T: Serialize>(plan: &Plan, list: &[T], name: fn(&T) -> &String) -> BTreeMap<String, Facts> {
    let facts = |thing| {
        let mut facts = facts(thing);
        named(&mut facts, plan);
        facts
    };
    list.iter().map(|thing| (name(thing).clone(), facts(thing))).collect()
}

fn commands(plan: &Plan) -> BTreeMap<String, Facts> {
    let line = |command: &Command| command.argv.join(" ");
    let mut commands = BTreeMap::new();
    for command in &plan.commands {
        // The same line may run as two users: then both are facts of it.
        let all: &mut Facts = commands.entry(line(command)).or_default();
        all.insert(command.user.clone().unwrap_or_default(), Value::Object(facts(command)));
    }
    commands
}

fn facts(thing: &impl Serialize) -> Facts {
    match serde_json::to_value(thing) {
        Ok(Value::Object(facts)) => facts,
        Ok(_) | Err(_) => Facts::new(),
    }
}

/// Replaces the numbers of links, probes, commands and the edge's things wherever they stand.
fn named(facts: &mut Facts, plan: &Plan) {
    let edge = &plan.edge;
    for (key, value) in facts.iter_mut() {
        match key.as_str() {
            // A check of a pool is called as the pool in it.
            _ if value.is_object() => within(value, plan),
            "link" => look_up(value, |at| plan.links.get(at).cloned().map(Value::from)),
            "probe" | "requires" => {
                look_up(value, |at| plan.probes.get(at).map(|probe| probe.name.clone().into()))
            }
            "command" | "start" | "stop" => {
                look_up(value, |at| plan.commands.get(at).map(|command| Value::Object(self::facts(command))));
            }
            "listeners" => look_up(value, |at| edge.listeners.get(at).map(|it| it.name.clone().into())),
            "route" => look_up(value, |at| edge.routes.get(at).map(|it| it.name.clone().into())),
            "pool" => look_up(value, |at| edge.pools.get(at).map(|it| it.name.clone().into())),
            "zone" => look_up(value, |at| edge.zones.get(at).map(|it| it.name.clone().into())),
            "log" => look_up(value, |at| edge.logs.get(at).map(|it| it.name.clone().into())),
            _ => within(value, plan),
        }
    }
}

fn within(value: &mut Value, plan: &Plan) {
    match value {
        Value::Object(facts) => named(facts, plan),
        Value::Array(items) => items.iter_mut().for_each(|item| within(item, plan)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn look_up(value: &mut Value, find: impl Fn(usize) -> Option<Value> + Copy) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| look_up(item, find)),
        Value::Number(number) => {
            let at = number.as_u64().and_then(|at| usize::try_from(at).ok());
            if let Some(found) = at.and_then(find) {
                *value = found;
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Object(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Checks, parse_str};

    fn plan(text: &str) -> Plan {
        let loaded = parse_str("t.toml", text, &|_| None, Checks::NONE);
        loaded.unwrap_or_else(|report| panic!("{report}")).plan
    }

    const OLD: &str = "
        [[probe]]
        name = \"web\"
        tcp = \"127.0.0.1:80\"
        [[vip]]
        name = \"front\"
        addrs = [\"10.0.4.99\"]
        interface = \"eth0\"
        vrid = 51
        requires = [\"web\"]
        notify = [{ exec = [\"/bin/n\"] }]
        [[vip]]
        name = \"back\"
        addrs = [\"10.0.5.99\"]
        interface = \"eth1\"
        vrid = 52
    ";

    #[test]
    fn other_numbers_for_the_same_things_are_no_change() {
        let (front, back) = OLD.split_once("[[vip]]\n        name = \"back\"").unwrap();
        let (probe, front) = front.split_once("[[vip]]").unwrap();
        let turned = format!("[[vip]]\n        name = \"back\"{back}[[vip]]{front}{probe}");
        assert_ne!(plan(OLD).links, plan(&turned).links);
        assert_eq!(diff(&plan(OLD), &plan(&turned)), Changes::default());
        assert_eq!(diff(&plan(OLD), &plan(OLD)).to_string(), "nothing changes");
    }

    #[test]
    fn a_change_names_the_thing_and_the_key_and_leaves_the_others_alone() {
        let new = OLD.replace("vrid = 51", "vrid = 51\npriority = 150").replace(":80", ":81");
        let changes = diff(&plan(OLD), &plan(&new));
        let expected = "vip \"front\" has other priority\nprobe \"web\" has other check";
        assert_eq!(changes.to_string(), expected);
        assert!(changes.vips.keeps("back") && !changes.vips.keeps("front"));
    }

    #[test]
    fn a_third_node_is_told_as_one_and_not_by_what_we_call_it() {
        let of = |peers: &str| plan(&format!("{OLD}\n[cluster]\nname = \"c\"\npeers = [{peers}]\n"));
        let (two, three) = (of("{ id = \"b\" }"), of("{ id = \"b\" }, { id = \"c\" }"));
        let changes = diff(&two, &three);
        let expected = "vip \"back\" has other number of peers\nvip \"front\" has other number of peers";
        assert_eq!(changes.to_string(), expected);
        assert!(!changes.vips.keeps("front"), "it is still a change");
    }

    const EDGE: &str = "
        [[listener]]
        name = \"a\"
        bind = \":80\"
        [[listener]]
        name = \"b\"
        bind = \":81\"
        [[pool]]
        name = \"p\"
        backends = [\"10.0.0.1:80\"]
        probe = { tcp = true }
        [[pool]]
        name = \"q\"
        backends = [\"10.0.0.2:80\"]
        [[route]]
        name = \"one\"
        listener = \"a\"
        pool = \"p\"
        [[route]]
        name = \"two\"
        listener = \"b\"
        pool = \"q\"
        [[probe]]
        name = \"enough\"
        pool = \"q\"
    ";

    #[test]
    fn the_edge_is_told_by_its_names() {
        let (head, tail) = EDGE.split_once("[[pool]]\n        name = \"q\"").unwrap();
        let (middle, tail) = tail.split_once("[[route]]").unwrap();
        let turned = format!("[[pool]]\n        name = \"q\"{middle}{head}[[route]]{tail}");
        assert_ne!(plan(EDGE).edge.pools, plan(&turned).edge.pools);
        assert_eq!(diff(&plan(EDGE), &plan(&turned)).to_string(), "nothing changes");
        let new = EDGE.replace("pool = \"q\"", "pool = \"p\"").replace(":81", ":82");
        let expected = "probe \"enough\" has other check\nlistener \"b\" has other places\nroute \"two\" has other action";
        assert_eq!(diff(&plan(EDGE), &plan(&new)).to_string(), expected);
        let (before, two) = EDGE.split_once("[[route]]\n        name = \"two\"").unwrap();
        let (before, one) = before.split_once("[[route]]").unwrap();
        let (two, probe) = two.split_once("[[probe]]").unwrap();
        let swapped = format!("{before}[[route]]\n        name = \"two\"{two}[[route]]{one}[[probe]]{probe}");
        let swapped = format!("[edge]\ndrain = \"1m\"\n{swapped}");
        let expected = "the edge has other drain\nroutes stand in another order";
        assert_eq!(diff(&plan(EDGE), &plan(&swapped)).to_string(), expected);
    }

    #[test]
    fn the_cluster_s_keys_are_told_and_the_order_of_its_entries_is_none() {
        let cluster = |peers: &str, rest: &str| {
            let head = "[node]\nid = \"a\"\n[cluster]\nname = \"c\"\nkey = \"0123456789abcdef\"\n";
            plan(&format!("{head}peers = [{peers}]\n{rest}"))
        };
        let (b, c) = ("{ id = \"b\", addrs = [\"10.0.0.2\"] }", "{ id = \"c\", addrs = [\"10.0.0.3\"] }");
        let old = cluster(&format!("{b}, {c}"), "");
        assert!(diff(&old, &cluster(&format!("{c}, {b}"), "term = \"1500ms\"")).is_empty());
        let new = cluster(&format!("{b}, {c}").replace("0.3", "0.4"), "term = \"2s\"");
        assert_eq!(diff(&old, &new).to_string(), "the cluster has other peers, term, term_max");
        assert_eq!(diff(&plan("[node]\nid = \"a\""), &new).to_string(), "the cluster has other sessions");
    }

    #[test]
    fn what_comes_and_goes_is_told() {
        let new = OLD.replace("\"back\"", "\"rear\"").replace("/bin/n", "/bin/m");
        let new = format!("[node]\nmetrics = \"127.0.0.1:9105\"\n{new}");
        let told = diff(&plan(OLD), &plan(&new)).to_string();
        for sentence in [
            "vip \"back\" is gone",
            "vip \"rear\" is new",
            "vip \"front\" has other notify",
            "command \"/bin/n\" is gone",
            "command \"/bin/m\" is new",
            "metrics are served elsewhere",
        ] {
            assert!(told.contains(sentence), "{sentence}: {told}");
        }
    }
}
