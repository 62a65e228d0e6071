//! What is shown of a hub's dealings with a registry.

use super::Keeper;
use crate::time::Boot;
use crate::tunnel::record::Record;

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Our record, when there is one to be written.
    pub own: Option<Record>,
    /// Whether the store has it as it is, as far as we know.
    pub stands: bool,
    /// How often the store has lost it before its time.
    pub lost: u64,
    /// Since when the store is silent, if it is.
    pub silent: Option<Boot>,
    /// Other hubs, and since when the store answers without them.
    pub hubs: Vec<(Record, Option<Boot>)>,
    /// Hubs beyond the most that are known.
    pub left_out: usize,
}

impl Keeper {
    /// How things stand.
    #[must_use]
    pub fn view(&self) -> View {
        let since = |missed: (Boot, u32)| missed.0;
        View {
            own: self.own.clone(),
            stands: self.stands && self.silent.is_none(),
            lost: self.lost,
            silent: self.silent,
            hubs: self.hubs.values().map(|known| (known.record.clone(), known.missed.map(since))).collect(),
            left_out: self.left_out,
        }
    }

    /// Every other hub that is known, in the order of their names.
    #[must_use]
    pub fn hubs(&self) -> Vec<Record> {
        self.hubs.values().map(|known| known.record.clone()).collect()
    }
}
