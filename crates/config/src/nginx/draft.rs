//! What the import has so far: our tables, in the order of their making.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::toml::Table;
use crate::import::report::{Pos, Report};

/// As many of a kind as our own file may have; maps in `proxy_pass` multiply routes.
const MOST: usize = 4096;
/// Our own names are no longer.
const LONGEST_NAME: usize = 56;

/// A kind of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Log,
    Zone,
    Map,
    Pool,
    Listener,
    Route,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Log, Self::Zone, Self::Map, Self::Pool, Self::Listener, Self::Route];

    const fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Zone => "zone",
            Self::Map => "map",
            Self::Pool => "pool",
            Self::Listener => "listener",
            Self::Route => "route",
        }
    }
}

/// The tables.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// `[edge]`.
    pub(super) edge: Table,
    lists: HashMap<Kind, Vec<(Pos, Table)>>,
    names: HashMap<Kind, HashSet<String>>,
    full: bool,
}

impl Draft {
    /// Another table; false when there are too many.
    pub(super) fn push(&mut self, kind: Kind, pos: Pos, table: Table, report: &mut Report) {
        let list = self.lists.entry(kind).or_default();
        if list.len() < MOST {
            list.push((pos, table));
        } else if !std::mem::replace(&mut self.full, true) {
            let text = format!("more than {MOST} tables of [[{}]]", kind.word());
            report.error(pos, text, "import the files one by one, with --context");
        }
    }

    /// A name of this kind that nobody has, as close to `wanted` as can be.
    pub(super) fn name(&mut self, kind: Kind, wanted: &str) -> String {
        let plain: String = wanted
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._/@:~^*-+=[]".contains(c) { c } else { '_' })
            .take(LONGEST_NAME)
            .collect();
        let plain = if plain.is_empty() { kind.word().to_owned() } else { plain };
        let taken = self.names.entry(kind).or_default();
        let mut name = plain.clone();
        let mut number = 2usize;
        while !taken.insert(name.clone()) {
            name = format!("{plain}-{number}");
            number += 1;
        }
        name
    }

    /// The configuration's text.
    pub(super) fn toml(&self, path: &Path, report: &Report) -> String {
        let clean: String = path.display().to_string().chars().filter(|c| !c.is_control()).collect();
        let mut out = format!("# Imported from {clean}.\n");
        if !self.edge.is_empty() {
            self.edge.write("[edge]", "edge", "", &[], &mut out);
        }
        for kind in Kind::ALL {
            let word = kind.word();
            let apart: &[&str] = match kind {
                Kind::Route => &["forward", "files"],
                Kind::Pool | Kind::Log | Kind::Zone | Kind::Map | Kind::Listener => &[],
            };
            for (pos, table) in self.lists.get(&kind).into_iter().flatten() {
                table.write(&format!("[[{word}]]"), word, &report.place(*pos), apart, &mut out);
            }
        }
        out
    }
}
