//! What a store must be able to do so that hubs find each other in it: keep a record for a while, and list all of them.
//!
//! Each hub's record is JSON under a key of its own, `PREFIX:hub:ID`, and ends by itself. What others wrote there is bounded and
//! looked at before it is believed.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use mainstay_config::plan::registry::{Registry, Store};
use mainstay_core::tunnel::keeper::{HUBS_MAX, RECORD_MAX};
use mainstay_core::tunnel::record::Record;

use super::etcd::EtcdShelf;
use super::redis::RedisShelf;
use super::store::Account;

/// No call takes longer.
pub(super) const DEADLINE: Duration = Duration::from_secs(1);

/// The most records that are read at once: some that are over, or nobody's, leave room for all that can be known.
pub(super) const LIST_MAX: usize = 2 * HUBS_MAX;

/// The longest answer to a listing, in bytes.
pub(super) const ANSWER_MAX: usize = 8 << 20;

/// What comes of a call, some time.
pub(super) type Calling<'a, T> = Pin<Box<dyn Future<Output = anyhow::Result<T>> + 'a>>;

/// A store in which hubs find each other. Each call has a deadline; one that failed may be carried out at any time later.
pub(super) trait Shelf {
    /// Writes a record, which ends so long after.
    fn write<'a>(&'a mut self, record: &'a Record, ttl: Duration) -> Calling<'a, ()>;

    /// Reads all of them.
    fn list(&mut self) -> Calling<'_, Listing>;

    /// Where it is spoken to, and how that went.
    fn account(&self) -> Account;
}

/// What a store has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) records: Vec<Record>,
    /// Those that no hub would write.
    pub(super) unreadable: usize,
}

impl Listing {
    /// Takes what stands under the key of this hub.
    pub(super) fn add(&mut self, hub: &[u8], value: &[u8]) {
        let record =
            (value.len() <= RECORD_MAX).then(|| serde_json::from_slice::<Record>(value).ok()).flatten();
        match record.filter(|record| record.is_sound() && record.hub.as_bytes() == hub) {
            Some(record) => self.records.push(record),
            None => self.unreadable += 1,
        }
    }
}

/// The key of a hub.
pub(super) fn key(prefix: &str, hub: &str) -> String {
    format!("{prefix}:hub:{hub}")
}

/// The store that the Plan names.
pub(super) fn open(registry: &Registry) -> anyhow::Result<Box<dyn Shelf>> {
    Ok(match &registry.store {
        Store::Redis(places) => Box::new(RedisShelf::new(places, &registry.access, &registry.prefix)?),
        Store::Etcd(members) => Box::new(EtcdShelf::new(members, &registry.access, &registry.prefix)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_hub_would_write_is_counted_and_left_out() {
        let record =
            Record { hub: "a".into(), epoch: 3, addrs: vec!["a:1".into()], tunnels: vec!["t".into()] };
        let json = serde_json::to_vec(&record).unwrap();
        let mut listing = Listing::default();
        listing.add(b"a", &json);
        // Another's name, no JSON, a name that is none, and one that is too long.
        listing.add(b"b", &json);
        listing.add(b"a", b"\xff");
        listing.add(
            b"a",
            &serde_json::to_vec(&Record { tunnels: vec!["\n".into()], ..record.clone() }).unwrap(),
        );
        listing.add(b"a", &[&json[..], &vec![b' '; RECORD_MAX]].concat());
        assert_eq!(listing, Listing { records: vec![record], unreadable: 4 });
    }
}
