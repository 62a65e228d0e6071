//! Records of hubs in a redis: one key for each, which ends by itself, and an index of their names.
//!
//! The index (a sorted set, `PREFIX:hubs`) is there so that nobody has to walk through all keys of a store that is shared with
//! others. It needs no care: a name whose record is over is taken out by whoever notices, and a hub that finds its own record
//! missing writes both again. Sentinels and redis' cluster mode are not spoken to.

mod link;

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use mainstay_config::plan::cluster::Access;
use mainstay_config::plan::registry::Redis as Place;
use mainstay_core::resp::{Bounds, Reply};
use mainstay_core::tunnel::keeper::RECORD_MAX;
use mainstay_core::tunnel::record::Record;

pub(crate) use self::link::{Beyond, Client};
use super::shelf::{Calling, LIST_MAX, Listing, Shelf, key};
use super::store::Account;

/// What is borne of any answer; records are asked for no further than they can be long.
const BOUNDS: Bounds = Bounds { value: 1 << 20, list: LIST_MAX };

/// The index ends so many lifetimes of a record after the last was written: nothing stays behind.
const INDEX_LASTS: u32 = 10;

/// A redis that keeps hubs' records.
pub(super) struct RedisShelf {
    client: Client,
    prefix: String,
    /// Names in the index that had no record when we last looked.
    over: Vec<Vec<u8>>,
}

impl RedisShelf {
    pub(super) fn new(places: &[Place], access: &Access, prefix: &str) -> anyhow::Result<Self> {
        Ok(Self { client: Client::new(places, access, BOUNDS)?, prefix: prefix.into(), over: Vec::new() })
    }

    fn index(&self) -> Vec<u8> {
        format!("{}:hubs", self.prefix).into_bytes()
    }

    async fn put(&mut self, record: &Record, ttl: Duration) -> anyhow::Result<()> {
        let (index, hub) = (self.index(), record.hub.as_bytes());
        let value = serde_json::to_vec(record).context("encode a record")?;
        let (name, epoch) = (key(&self.prefix, &record.hub), record.epoch.to_string());
        let (lasts, longer) = (ttl.as_millis().to_string(), (ttl * INDEX_LASTS).as_millis().to_string());
        let mut commands: Vec<Vec<&[u8]>> = vec![
            vec![b"SET", name.as_bytes(), &value, b"PX", lasts.as_bytes()],
            vec![b"ZADD", &index, epoch.as_bytes(), hub],
            vec![b"PEXPIRE", &index, longer.as_bytes()],
        ];
        let over: Vec<Vec<u8>> = std::mem::take(&mut self.over);
        let over = over.iter().filter(|name| *name != hub);
        let gone: Vec<&[u8]> = [&b"ZREM"[..], &index].into_iter().chain(over.map(Vec::as_slice)).collect();
        if gone.len() > 2 {
            commands.push(gone);
        }
        self.client.call(&commands).await?;
        Ok(())
    }

    async fn all(&mut self) -> anyhow::Result<Listing> {
        let (index, last) = (self.index(), (LIST_MAX - 1).to_string());
        // The latest runs first, so that what nobody writes any more never crowds out who lives.
        let names = self.client.call(&[vec![b"ZREVRANGE", &index, b"0", last.as_bytes()]]).await?;
        let hubs = names.into_iter().next().context("redis answers nothing")?;
        let hubs: Vec<Vec<u8>> = bytes(hubs)?.into_iter().flatten().collect();
        if hubs.is_empty() {
            return Ok(Listing::default());
        }
        let first = key(&self.prefix, "").into_bytes();
        let keys: Vec<Vec<u8>> = hubs.iter().map(|hub| [&first, hub.as_slice()].concat()).collect();
        // No more of a value than a record can have, and a byte by which one that is longer is known.
        let most = RECORD_MAX.to_string();
        let get = keys.iter().map(|key| vec![&b"GETRANGE"[..], key, b"0", most.as_bytes()]);
        let get: Vec<Vec<&[u8]>> = get.collect();
        let values = self.client.ask(&get, |why| why.starts_with("WRONGTYPE")).await?;
        ensure!(values.len() == hubs.len(), "redis answers {} of {} questions", values.len(), hubs.len());
        let mut listing = Listing::default();
        self.over.clear();
        for (hub, value) in hubs.into_iter().zip(values) {
            match value {
                // What is not there is said to be empty.
                Reply::Bytes(value) if value.is_empty() => self.over.push(hub),
                Reply::Bytes(value) => listing.add(&hub, &value),
                Reply::Error(_) => listing.unreadable += 1,
                _ => bail!("redis answers GETRANGE with what is no value"),
            }
        }
        Ok(listing)
    }
}

impl Shelf for RedisShelf {
    fn write<'a>(&'a mut self, record: &'a Record, ttl: Duration) -> Calling<'a, ()> {
        Box::pin(self.put(record, ttl))
    }

    fn list(&mut self) -> Calling<'_, Listing> {
        Box::pin(self.all())
    }

    fn account(&self) -> Account {
        self.client.account()
    }
}

/// A list of values, some of which are not there.
fn bytes(reply: Reply) -> anyhow::Result<Vec<Option<Vec<u8>>>> {
    let Reply::List(list) = reply else { bail!("redis answers no list") };
    let value = |reply| match reply {
        Reply::Bytes(bytes) => Ok(Some(bytes)),
        Reply::Nothing => Ok(None),
        Reply::Word(_) | Reply::Error(_) | Reply::Number(_) | Reply::List(_) => {
            bail!("redis lists what is no value")
        }
    };
    list.into_iter().map(value).collect()
}
