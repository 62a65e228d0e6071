//! What a reload changes, by the operator's names.
//!
//! Two Plans may number the same probe, command or interface differently. That alone is no change: things are
//! compared by what their numbers stand for.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::plan::{Command, Plan};

/// What differs between two Plans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The node's id.
    pub node: bool,
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
        vips: Kind::between(&vips(old), &vips(new)),
        groups: Kind::between(&groups(old), &groups(new)),
        probes: Kind::between(&probes(old), &probes(new)),
        commands: Kind::between(&commands(old), &commands(new)),
        mail: old.mail != new.mail,
        metrics: old.metrics != new.metrics,
    }
}

/// The keys of a thing and their values, numbers replaced by what they stand for.
type Facts = Map<String, Value>;

fn vips(plan: &Plan) -> BTreeMap<String, Facts> {
    let facts = |vip| {
        let mut facts = facts(vip);
        if let Some(Value::Object(spec)) = facts.remove("spec") {
            // Both the list of addresses and whether something is owned are told by the vip's own keys.
            facts.extend(spec.into_iter().filter(|(key, _)| key != "addrs" && key != "owns"));
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
    let facts = |probe| {
        let mut facts = facts(probe);
        named(&mut facts, plan);
        facts
    };
    plan.probes.iter().map(|probe| (probe.name.clone(), facts(probe))).collect()
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

/// Replaces the numbers of links, probes and commands wherever they stand.
fn named(facts: &mut Facts, plan: &Plan) {
    for (key, value) in facts.iter_mut() {
        match key.as_str() {
            "link" => look_up(value, |at| plan.links.get(at).cloned().map(Value::from)),
            "probe" | "requires" => {
                look_up(value, |at| plan.probes.get(at).map(|probe| probe.name.clone().into()))
            }
            "command" | "start" | "stop" => {
                look_up(value, |at| plan.commands.get(at).map(|command| Value::Object(self::facts(command))));
            }
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
