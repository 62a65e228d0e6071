//! Tables of our own configuration, filled key by key and written in the order of filling.

use std::fmt::Write;
use std::time::Duration;

use super::quote;
use crate::values::written;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<Value>),
    Table(Table),
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table(Vec<(&'static str, Value)>);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Self {
        Self::Text(written(time))
    }
}

impl From<Table> for Value {
    fn from(table: Table) -> Self {
        Self::Table(table)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Value {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

impl Table {
    /// A table of one key.
    pub(crate) fn of(key: &'static str, value: impl Into<Value>) -> Self {
        Self(vec![(key, value.into())])
    }

    /// The same with one key more.
    pub(crate) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.set(key, value);
        self
    }

    /// Sets a key; in the place where it was, when it was there.
    pub(crate) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value.into(),
            None => self.0.push((key, value.into())),
        }
    }

    /// Sets a key when there is a value for it.
    pub(crate) fn maybe(&mut self, key: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    /// Sets a key to a list that is not empty.
    pub(crate) fn list<T: Into<Value>>(&mut self, key: &'static str, list: Vec<T>) {
        if !list.is_empty() {
            self.set(key, list);
        }
    }

    /// Takes over all keys of another.
    pub(crate) fn append(&mut self, other: Self) {
        for (key, value) in other.0 {
            self.set(key, value);
        }
    }

    /// What a key has.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Takes a key away.
    pub(crate) fn remove(&mut self, key: &str) {
        self.0.retain(|(known, _)| *known != key);
    }

    /// How many keys it has.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is in it.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes it under `[[path]]` or `[path]`: keys first, then the tables of `apart` under headers of their own.
    pub(crate) fn write(&self, header: &str, path: &str, comment: &str, apart: &[&str], out: &mut String) {
        let clean: String = comment.chars().filter(|c| !c.is_control()).collect();
        let comment = if clean.is_empty() { clean } else { format!(" # {clean}") };
        let _ = writeln!(out, "\n{header}{comment}");
        let is_apart = |key: &str, value: &Value| {
            apart.contains(&key) && matches!(value, Value::Table(table) if !table.is_empty())
        };
        for (key, value) in self.0.iter().filter(|(key, value)| !is_apart(key, value)) {
            let _ = writeln!(out, "{key} = {}", value.inline());
        }
        for (key, value) in self.0.iter().filter(|(key, value)| is_apart(key, value)) {
            if let Value::Table(table) = value {
                table.write(&format!("[{path}.{key}]"), path, "", &[], out);
            }
        }
    }
}

impl Value {
    fn inline(&self) -> String {
        match self {
            Self::Text(text) => quote(text),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::List(list) => {
                let all: Vec<String> = list.iter().map(Self::inline).collect();
                format!("[{}]", all.join(", "))
            }
            Self::Table(table) => {
                let all: Vec<String> =
                    table.0.iter().map(|(key, value)| format!("{key} = {}", value.inline())).collect();
                if all.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", all.join(", ")) }
            }
        }
    }
}
