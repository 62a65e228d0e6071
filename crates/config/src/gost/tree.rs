//! Values of a configuration with their places. What is understood is taken out; what is left has to be told of.
//!
//! gost reads keys by viper, which knows no case, and values of metadata by whatever they can be read as: so do we.

use std::time::Duration;

use super::known::{self, Verdict};
use crate::import::report::{Pos, Report};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) pos: Pos,
    pub(super) value: Value,
}

/// What stands there.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Nothing,
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

/// A text and its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) pos: Pos,
}

/// Names and values.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    pub(super) pos: Pos,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: String,
    /// The name in lower case.
    key: String,
    /// Where the name stands.
    at: Pos,
    node: Node,
}

impl Map {
    /// An empty one.
    pub(super) const fn new(pos: Pos) -> Self {
        Self { pos, entries: Vec::new() }
    }

    /// Adds an entry; false when the name is there.
    pub(super) fn add(&mut self, name: &str, node: Node) -> bool {
        self.add_at(name, node.pos, node)
    }

    /// Adds an entry whose name stands elsewhere than its value.
    pub(super) fn add_at(&mut self, name: &str, at: Pos, node: Node) -> bool {
        let key = name.to_lowercase();
        if self.entries.iter().any(|entry| entry.key == key) {
            return false;
        }
        self.entries.push(Entry { name: name.to_owned(), key, at, node });
        true
    }

    /// Adds a text.
    pub(super) fn say(&mut self, name: &str, text: impl Into<String>, pos: Pos) {
        self.add(name, Node { pos, value: Value::Text(text.into()) });
    }

    /// Adds what another has and this one has not.
    pub(super) fn inherit(&mut self, other: &Self) {
        for entry in &other.entries {
            self.add_at(&entry.name, entry.at, entry.node.clone());
        }
    }

    /// What stands in it.
    pub(super) fn values(&self) -> impl Iterator<Item = &Node> {
        self.entries.iter().map(|entry| &entry.node)
    }

    /// Whether a name is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// All texts of several lines, and where each begins.
    pub(super) fn blocks(&self) -> Vec<(String, Pos)> {
        let block = |entry: &Entry| match &entry.node.value {
            Value::Text(text) if text.contains('\n') => Some((text.clone(), entry.node.pos)),
            Value::Text(_) | Value::Nothing | Value::List(_) | Value::Map(_) => None,
        };
        self.entries.iter().filter_map(block).collect()
    }

    /// Whether nothing is in it.
    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes out the first of these names that is there, when its value is what `fits` asks for.
    fn take(&mut self, keys: &[&str], fits: fn(&Value) -> bool) -> Option<Node> {
        let at = keys.iter().find_map(|key| self.entries.iter().position(|entry| entry.key == *key))?;
        fits(&self.entries[at].node.value).then(|| self.entries.remove(at).node)
    }

    /// A text, number or flag by the first of these names, in lower case; an empty one is none.
    pub(super) fn text(&mut self, keys: &[&str]) -> Option<Said> {
        let node = self.take(keys, |value| matches!(value, Value::Text(_) | Value::Nothing))?;
        match node.value {
            Value::Text(text) if !text.trim().is_empty() => {
                Some(Said { text: text.trim().to_owned(), pos: node.pos })
            }
            Value::Text(_) | Value::Nothing | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// A text as it stands, blanks and all: a password.
    pub(super) fn exact(&mut self, key: &str) -> Option<Said> {
        let node = self.take(&[key], |value| matches!(value, Value::Text(_)))?;
        let Value::Text(text) = node.value else { return None };
        Some(Said { text, pos: node.pos })
    }

    /// Whether it says yes.
    pub(super) fn flag(&mut self, keys: &[&str]) -> Option<(bool, Pos)> {
        let said = self.text(keys)?;
        let yes = ["1", "t", "true", "y", "yes", "on"].contains(&said.text.to_lowercase().as_str());
        Some((yes, said.pos))
    }

    /// A list of texts, or one.
    pub(super) fn texts(&mut self, key: &str) -> Vec<Said> {
        let only_texts = |value: &Value| match value {
            Value::List(list) => list.iter().all(|node| matches!(node.value, Value::Text(_))),
            Value::Text(_) | Value::Nothing => true,
            Value::Map(_) => false,
        };
        let Some(node) = self.take(&[key], only_texts) else { return Vec::new() };
        let list = match node.value {
            Value::List(list) => list,
            Value::Text(_) => vec![node],
            Value::Nothing | Value::Map(_) => Vec::new(),
        };
        let text = |node: Node| match node.value {
            Value::Text(text) => Some(Said { text, pos: node.pos }),
            Value::Nothing | Value::List(_) | Value::Map(_) => None,
        };
        list.into_iter().filter_map(text).collect()
    }

    /// A map; an empty one when there is none.
    pub(super) fn map(&mut self, key: &str) -> Self {
        self.maybe_map(key).unwrap_or(Self::new(self.pos))
    }

    /// A map, when there is one.
    pub(super) fn maybe_map(&mut self, key: &str) -> Option<Self> {
        let node = self.take(&[key], |value| matches!(value, Value::Map(_) | Value::Nothing))?;
        match node.value {
            Value::Map(map) => Some(map),
            Value::Nothing | Value::Text(_) | Value::List(_) => None,
        }
    }

    /// A list of maps.
    pub(super) fn maps(&mut self, key: &str) -> Vec<Self> {
        let only_maps = |value: &Value| match value {
            Value::List(list) => list.iter().all(|n| matches!(n.value, Value::Map(_) | Value::Nothing)),
            Value::Nothing => true,
            Value::Text(_) | Value::Map(_) => false,
        };
        let Some(Node { value: Value::List(list), .. }) = self.take(&[key], only_maps) else {
            return Vec::new();
        };
        let map = |node: Node| match node.value {
            Value::Map(map) => Some(map),
            Value::Nothing | Value::Text(_) | Value::List(_) => None,
        };
        list.into_iter().filter_map(map).collect()
    }

    /// Tells of everything that nobody took out.
    pub(super) fn left(&self, whose: &str, report: &mut Report) {
        for entry in &self.entries {
            let pos = entry.at;
            let text = match &entry.node.value {
                Value::Text(text) => Some(text.as_str()),
                Value::Nothing => continue,
                Value::List(list) if list.is_empty() => continue,
                Value::Map(map) if map.is_empty() => continue,
                Value::List(_) | Value::Map(_) => None,
            };
            let name = &entry.name;
            match known::verdict(&entry.key, text) {
                Verdict::Nothing => {}
                Verdict::Otherwise(why) => {
                    report.note(pos, format!("{whose}: `{name}` is left out: {why}"), "")
                }
                Verdict::Lost(advice) => {
                    report.dropped(pos, format!("{whose}: `{name}` is left out"), advice)
                }
                Verdict::Unknown => report.dropped(
                    pos,
                    format!("{whose}: `{name}` is not understood"),
                    "see what it does in gost's documentation, and whether it is missed",
                ),
            }
        }
    }
}

/// A time as gost reads it: Go's notation, or a number of seconds.
pub(super) fn time(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[unit..];
    }
    (!total.is_zero()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_gos_or_seconds() {
        assert_eq!(time("15"), Some(Duration::from_secs(15)));
        assert_eq!(time("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(time("1.5s"), Some(Duration::from_millis(1500)));
        for wrong in ["", "s", "5 parsecs", "1e9999h", "-3s", "99999999999999999999h"] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_have_no_case_and_what_is_of_another_kind_stays() {
        let mut map = Map::default();
        map.say("TunnelID", " x ", Pos::default());
        map.add("hops", Node { pos: Pos::default(), value: Value::List(Vec::new()) });
        assert!(!map.add("tunnelid", Node { pos: Pos::default(), value: Value::Nothing }));
        assert!(map.text(&["hops"]).is_none());
        assert_eq!(map.text(&["tunnel.id", "tunnelid"]).map(|said| said.text).as_deref(), Some("x"));
        assert!(map.text(&["tunnelid"]).is_none());
    }
}
