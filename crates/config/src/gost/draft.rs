//! What the import has so far: our tables, in the order in which they are written.

use std::collections::HashSet;
use std::path::Path;

use crate::import::report::{Pos, Report};
use crate::import::toml::Table;

/// Our own names are no longer.
const LONGEST_NAME: usize = 56;

/// A table and where it comes from.
pub(super) type Placed = (Pos, Table);

/// An agent or a visit: what it says of its hubs, and what it offers or reaches.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) pos: Pos,
    pub(super) name: String,
    /// Hubs, user, authorities.
    pub(super) hubs: Table,
    /// Tunnel and whether it is UDP, and the table.
    pub(super) parts: Vec<(String, bool, Placed)>,
}

/// All tables.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) listeners: Vec<Placed>,
    pub(super) pools: Vec<Placed>,
    pub(super) routes: Vec<Placed>,
    pub(super) hub: Table,
    pub(super) gost: Option<Placed>,
    pub(super) tunnels: Vec<Placed>,
    pub(super) agents: Vec<Client>,
    pub(super) visits: Vec<Client>,
    names: HashSet<(&'static str, String)>,
}

impl Draft {
    /// A name of this kind that nobody has, as close to `wanted` as can be.
    pub(super) fn name(&mut self, kind: &'static str, wanted: &str) -> String {
        let plain: String = wanted
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' })
            .take(LONGEST_NAME)
            .collect();
        let plain = if plain.is_empty() { kind.to_owned() } else { plain };
        let mut name = plain.clone();
        let mut number = 2usize;
        while !self.names.insert((kind, name.clone())) {
            name = format!("{plain}-{number}");
            number += 1;
        }
        name
    }

    /// The configuration's text.
    pub(super) fn toml(&self, from: &Path, report: &Report) -> String {
        let clean: String = from.display().to_string().chars().filter(|c| !c.is_control()).collect();
        let mut out = format!("# Imported from {clean}.\n");
        let mut all = |word: &str, tables: &[Placed]| {
            for (pos, table) in tables {
                table.write(&format!("[[{word}]]"), word, &report.place(*pos), &["files"], &mut out);
            }
        };
        all("listener", &self.listeners);
        all("pool", &self.pools);
        all("route", &self.routes);
        all("tunnel", &self.tunnels);
        if !self.hub.is_empty() {
            self.hub.write("[hub]", "hub", "", &[], &mut out);
        }
        if let Some((pos, gost)) = &self.gost {
            gost.write("[gost]", "gost", &report.place(*pos), &[], &mut out);
        }
        for (clients, word, part) in
            [(&self.agents, "agent", "agent.offer"), (&self.visits, "visit", "visit.tunnel")]
        {
            for client in clients {
                let mut table = Table::of("name", client.name.as_str());
                table.append(client.hubs.clone());
                table.write(&format!("[[{word}]]"), word, &report.place(client.pos), &[], &mut out);
                for (_, _, (pos, table)) in &client.parts {
                    table.write(&format!("[[{part}]]"), part, &report.place(*pos), &[], &mut out);
                }
            }
        }
        out
    }
}

/// The client of these hubs that has no such part yet, or a new one.
pub(super) fn client<'c>(
    clients: &'c mut Vec<Client>,
    hubs: &Table,
    part: (&str, bool),
    make: impl FnOnce() -> (Pos, String),
) -> &'c mut Client {
    let fits = |client: &Client| {
        client.hubs == *hubs && !client.parts.iter().any(|(id, udp, _)| (id.as_str(), *udp) == part)
    };
    let at = clients.iter().position(fits).unwrap_or_else(|| {
        let (pos, name) = make();
        clients.push(Client { pos, name, hubs: hubs.clone(), parts: Vec::new() });
        clients.len() - 1
    });
    &mut clients[at]
}
