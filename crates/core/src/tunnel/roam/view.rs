//! What can be seen of an agent's way about.

use crate::time::Boot;
use crate::tunnel::roam::Roam;
use crate::tunnel::roam::hubs::Held;

/// A hub that was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubView {
    /// What it calls itself.
    pub name: String,
    /// Its run.
    pub instance: u64,
    /// Its threads.
    pub places: Vec<PlaceView>,
    /// Whether it refuses us.
    pub refuses: bool,
}

/// A thread of a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceView {
    /// Which process.
    pub process: u16,
    /// Which thread of it.
    pub thread: u16,
    /// The session that ends there.
    pub session: Option<u64>,
}

impl Roam {
    /// All hubs that were met.
    #[must_use]
    pub fn view(&self, now: Boot) -> Vec<HubView> {
        let hub = |hub: &super::hubs::Hub| HubView {
            name: hub.name.clone(),
            instance: hub.instance,
            refuses: now < hub.refused_until,
            places: hub.slots.iter().map(place).collect(),
        };
        self.hubs.all.iter().map(hub).collect()
    }

    /// The addresses that are dialled, those told by hubs among them.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|source| source.url.as_str())
    }
}

fn place(slot: &super::hubs::Slot) -> PlaceView {
    let session = match slot.held {
        Held::Session(session, _) => Some(session),
        Held::Free | Held::Dial(_) => None,
    };
    PlaceView { process: slot.process, thread: slot.thread, session }
}
