//! The half that sd is: the clients of tunnels, as they were told and as the store lists them.

use std::collections::{BTreeMap, BTreeSet};

use super::{CLIENTS_ALL, CLIENTS_MAX, Record, Service};

/// One client.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) record: Record,
    /// It was told here, not only read from the store: it is written again when the store loses it.
    pub(super) ours: bool,
    /// It has gone, which the store is not told yet.
    pub(super) gone: bool,
    /// Changes so far; a step that writes an older one leaves it unwritten.
    pub(super) version: u64,
    pub(super) unwritten: bool,
}

/// All clients.
#[derive(Debug, Default)]
pub(super) struct Clients {
    tunnels: BTreeMap<String, BTreeMap<String, Client>>,
    /// What is known from elsewhere.
    seen: BTreeMap<String, Vec<Service>>,
    count: usize,
    versions: u64,
}

impl Clients {
    pub(super) fn get(&self, name: &str, id: &str) -> Option<&Client> {
        self.tunnels.get(name)?.get(id)
    }

    fn get_mut(&mut self, name: &str, id: &str) -> Option<&mut Client> {
        self.tunnels.get_mut(name)?.get_mut(id)
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.tunnels.len(), self.count)
    }

    /// Whether another client of this tunnel has room.
    pub(super) fn has_room(&self, name: &str, id: &str) -> bool {
        let of = self.tunnels.get(name);
        of.is_some_and(|of| of.contains_key(id))
            || self.count < CLIENTS_ALL && of.is_none_or(|of| of.len() < CLIENTS_MAX)
    }

    /// A client as we are told it is, to be written.
    pub(super) fn tell(&mut self, name: &str, id: &str, record: Record, gone: bool) {
        self.versions += 1;
        let client = Client { record, ours: true, gone, version: self.versions, unwritten: true };
        self.put(name, id, client);
    }

    /// It is there still.
    pub(super) fn renew(&mut self, name: &str, id: &str, unix: u64) -> bool {
        self.versions += 1;
        let version = self.versions;
        let Some(client) = self.get_mut(name, id).filter(|client| !client.gone) else { return false };
        client.record.renewed = unix;
        (client.ours, client.unwritten, client.version) = (true, true, version);
        true
    }

    fn put(&mut self, name: &str, id: &str, client: Client) {
        let of = self.tunnels.entry(name.to_owned()).or_default();
        self.count += usize::from(of.insert(id.to_owned(), client).is_none());
    }

    pub(super) fn remove(&mut self, name: &str, id: &str) {
        let Some(of) = self.tunnels.get_mut(name) else { return };
        self.count -= usize::from(of.remove(id).is_some());
        if of.is_empty() {
            self.tunnels.remove(name);
        }
    }

    /// A write of this version has been carried out; whether that was the last word.
    pub(super) fn written(&mut self, name: &str, id: &str, version: u64) -> bool {
        let Some(client) = self.get_mut(name, id) else { return true };
        if client.version != version {
            return false;
        }
        client.unwritten = false;
        if client.gone {
            self.remove(name, id);
        }
        true
    }

    /// What the store has of a tunnel takes the place of all that is not waiting to be written.
    pub(super) fn listed(&mut self, name: &str, found: Vec<(String, Record)>, now: u64, lasts: u64) {
        let of = self.tunnels.get(name).into_iter().flatten();
        let ids: BTreeSet<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
        let over = of.filter(|(id, client)| !client.unwritten && !ids.contains(id.as_str()));
        let over: Vec<String> = over.map(|(id, _)| id.clone()).collect();
        over.iter().for_each(|id| self.remove(name, id));
        for (id, record) in found {
            let is_old = now.saturating_sub(record.renewed) > lasts;
            let has_room = self.has_room(name, &id);
            match self.get_mut(name, &id) {
                Some(client) if client.unwritten => {}
                Some(client) => client.record = record,
                None if is_old || !has_room => {}
                None => {
                    let client = Client { record, ours: false, gone: false, version: 0, unwritten: false };
                    self.put(name, &id, client);
                }
            }
        }
    }

    /// What is known from elsewhere.
    pub(super) fn see(&mut self, services: Vec<Service>) {
        self.seen.clear();
        for service in services {
            self.seen.entry(service.name.clone()).or_default().push(service);
        }
    }

    /// Who serves a tunnel: those that were renewed within `lasts` of now, or, where the store told of them, of `heard`, which is
    /// when it last answered.
    pub(super) fn of(&self, name: &str, now: u64, heard: u64, lasts: u64) -> Vec<Service> {
        let lives = |client: &Client| {
            let at = if client.ours { now } else { heard };
            !client.gone && at.saturating_sub(client.record.renewed) <= lasts
        };
        let mut services: Vec<Service> = (self.tunnels.get(name).into_iter().flatten())
            .filter(|(_, client)| lives(client))
            .map(|(id, Client { record, .. })| Service {
                id: id.clone(),
                name: name.to_owned(),
                node: record.node.clone(),
                network: record.network.clone(),
                address: record.address.clone(),
            })
            .collect();
        let told = services.len();
        for seen in self.seen.get(name).into_iter().flatten() {
            if !services[..told].iter().any(|service| service.id == seen.id) {
                services.push(seen.clone());
            }
        }
        services
    }

    /// Those that were told here and are alive: what a store that has lost everything is told again.
    pub(super) fn tell_again(&mut self, now: u64, lasts: u64) -> Vec<(String, String)> {
        let mut again = Vec::new();
        for (name, of) in &mut self.tunnels {
            for (id, client) in of {
                let lives = now.saturating_sub(client.record.renewed) <= lasts;
                if client.ours && !client.gone && lives {
                    client.unwritten = true;
                    again.push((name.clone(), id.clone()));
                }
            }
        }
        again
    }

    /// Forgets those that nobody renews.
    pub(super) fn sweep(&mut self, heard: u64, lasts: u64) {
        let is_over = |client: &Client| heard.saturating_sub(client.record.renewed) > lasts.saturating_mul(2);
        let mut over = Vec::new();
        for (name, of) in &self.tunnels {
            let old = of.iter().filter(|(_, client)| is_over(client));
            over.extend(old.map(|(id, _)| (name.clone(), id.clone())));
        }
        over.iter().for_each(|(name, id)| self.remove(name, id));
    }
}
