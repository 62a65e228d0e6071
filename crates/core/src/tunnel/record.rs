//! What hubs tell each other of themselves: the registry's records.
//!
//! A record is one hub's, and says where other hubs reach it and which tunnels it has agents of. Who owns it writes it with
//! its epoch; of two records of one hub the one with the higher epoch counts, whatever came last.

use serde::{Deserialize, Serialize};

/// The most tunnels that a record names.
pub const TUNNELS_MAX: usize = 4096;

/// The most addresses of one hub.
pub const ADDRS_MAX: usize = 16;

/// One hub.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name, unique in its cluster.
    pub hub: String,
    /// Which run of it this is: a later one has a higher number.
    pub epoch: u64,
    /// Where other hubs reach it: `HOST:PORT`.
    pub addrs: Vec<String>,
    /// The tunnels that it has agents of.
    pub tunnels: Vec<String>,
}

impl Record {
    /// Whether it takes the place of what is known of the same hub.
    #[must_use]
    pub const fn replaces(&self, known: &Self) -> bool {
        self.epoch >= known.epoch
    }

    /// Whether it is one that a hub would write: anything else is thrown away.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let name = |name: &String| {
            let length = name.len();
            (1..=super::hello::NAME_MAX).contains(&length) && !name.chars().any(char::is_control)
        };
        name(&self.hub)
            && self.addrs.len() <= ADDRS_MAX
            && self.tunnels.len() <= TUNNELS_MAX
            && self.addrs.iter().chain(&self.tunnels).all(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_run_counts_whatever_came_last_and_nonsense_is_none() {
        let first = Record { hub: "a".into(), epoch: 1, ..Record::default() };
        let later = Record { epoch: 2, ..first.clone() };
        assert!(later.replaces(&first) && first.replaces(&first) && !first.replaces(&later));
        assert!(first.is_sound());
        assert!(!Record::default().is_sound());
        assert!(!Record { tunnels: vec!["a\n".into()], ..first.clone() }.is_sound());
        assert!(!Record { addrs: vec!["a:1".into(); ADDRS_MAX + 1], ..first }.is_sound());
    }
}
