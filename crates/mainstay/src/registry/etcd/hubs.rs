//! Records of hubs in etcd: each with a lease of its own, granted anew with each writing; all of them read as a range.

use std::time::Duration;

use mainstay_config::plan::cluster::Access;
use mainstay_core::tunnel::record::Record;

use super::client::Client;
use super::wire;
use crate::registry::shelf::{ANSWER_MAX, Calling, DEADLINE, Listing, Shelf, key};
use crate::registry::store::Account;

/// An etcd cluster that keeps hubs' records.
pub(in crate::registry) struct EtcdShelf {
    client: Client,
    prefix: String,
}

impl EtcdShelf {
    pub(in crate::registry) fn new(
        members: &[String],
        access: &Access,
        prefix: &str,
    ) -> anyhow::Result<Self> {
        let client = Client::new(members, access, DEADLINE, ANSWER_MAX)?;
        Ok(Self { client, prefix: prefix.into() })
    }
}

impl Shelf for EtcdShelf {
    fn write<'a>(&'a mut self, record: &'a Record, ttl: Duration) -> Calling<'a, ()> {
        Box::pin(async move {
            let lease = self.client.grant(ttl).await?;
            let put = wire::put(&key(&self.prefix, &record.hub), record, lease)?;
            self.client.call("kv/put", &put).await?;
            Ok(())
        })
    }

    fn list(&mut self) -> Calling<'_, Listing> {
        Box::pin(async move {
            let first = key(&self.prefix, "");
            let answer = self.client.call("kv/range", &wire::range(&first)).await?;
            wire::listing(&first, &answer)
        })
    }

    fn account(&self) -> Account {
        self.client.account()
    }
}
