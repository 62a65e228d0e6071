//! The sessions of a thread, and those of one tunnel or under one label at once: a hub may have thousands, and each request asks.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::seat::Seat;

/// All sessions, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Seats {
    all: Vec<Rc<Seat>>,
    tunnels: HashMap<String, Vec<Rc<Seat>>>,
    labels: HashMap<String, Vec<Rc<Seat>>>,
}

impl Seats {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Rc<Seat>> {
        self.all.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// All of them, for who changes them meanwhile.
    pub(super) fn to_vec(&self) -> Vec<Rc<Seat>> {
        self.all.clone()
    }

    /// Those that offer a tunnel.
    pub(super) fn of(&self, tunnel: &str) -> &[Rc<Seat>] {
        self.tunnels.get(tunnel).map(Vec::as_slice).unwrap_or_default()
    }

    /// Those that go by a label.
    pub(super) fn called(&self, label: &str) -> &[Rc<Seat>] {
        self.labels.get(label).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn push(&mut self, seat: Rc<Seat>) {
        for tunnel in seat.tunnels().collect::<BTreeSet<_>>() {
            self.tunnels.entry(tunnel.to_owned()).or_default().push(Rc::clone(&seat));
        }
        self.labels.entry(seat.label()).or_default().push(Rc::clone(&seat));
        self.all.push(seat);
    }

    /// Takes one out; whether it was there.
    pub(super) fn remove(&mut self, seat: &Rc<Seat>) -> bool {
        let before = self.all.len();
        self.all.retain(|one| !Rc::ptr_eq(one, seat));
        for tunnel in seat.tunnels() {
            take_out(&mut self.tunnels, tunnel, seat);
        }
        take_out(&mut self.labels, &seat.label(), seat);
        self.all.len() < before
    }

    /// One that is there goes by another label from now on.
    pub(super) fn call(&mut self, seat: &Rc<Seat>, label: &str) {
        take_out(&mut self.labels, &seat.label(), seat);
        seat.label.replace(label.to_owned());
        self.labels.entry(label.to_owned()).or_default().push(Rc::clone(seat));
    }

    /// Those that go by another label than their name.
    pub(super) fn apart(&self) -> Vec<Rc<Seat>> {
        self.all.iter().filter(|seat| !seat.is_called(&seat.name)).map(Rc::clone).collect()
    }
}

fn take_out(index: &mut HashMap<String, Vec<Rc<Seat>>>, key: &str, seat: &Rc<Seat>) {
    if let Some(seats) = index.get_mut(key) {
        seats.retain(|one| !Rc::ptr_eq(one, seat));
        if seats.is_empty() {
            index.remove(key);
        }
    }
}
