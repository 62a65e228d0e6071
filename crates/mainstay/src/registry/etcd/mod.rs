//! etcd over its JSON gateway (`/v3/`, part of every etcd from 3.4 on): one connection, to one member at a time.
//!
//! A lease is granted anew for each promise and never kept alive: a keepalive is answered by a leader that may have been
//! deposed, and one that was paused may revoke what was kept alive elsewhere (etcd issue 15247). A lease that is granted
//! has been agreed on by a majority of etcd's members, and nobody ends it before its time.

mod client;
mod hubs;
mod wire;

use std::time::Duration;

use mainstay_config::plan::cluster::Access;
use mainstay_core::lease::external::{Done, Step};

use self::client::Client;
use self::wire::Prefix;
use super::store::{Account, Store, Taking};

pub(super) use hubs::EtcdShelf;

/// Longer than the answer to the largest step: forty rights of 128 bytes with their records.
const ANSWER_MAX: usize = 1 << 20;

/// The longest that one call may take: whoever waits asks again meanwhile.
const CALL_MAX: Duration = Duration::from_secs(2);

/// An etcd cluster.
pub(super) struct Etcd {
    client: Client,
    prefix: Prefix,
}

impl Store for Etcd {
    fn take<'a>(&'a mut self, step: &'a Step) -> Taking<'a> {
        Box::pin(self.step(step))
    }

    fn account(&self) -> Account {
        self.client.account()
    }
}

impl Etcd {
    pub(super) fn new(
        endpoints: &[String],
        access: &Access,
        cluster: &str,
        term: Duration,
    ) -> anyhow::Result<Self> {
        let client = Client::new(endpoints, access, (term / 5).min(CALL_MAX), ANSWER_MAX)?;
        Ok(Self { client, prefix: Prefix::new(cluster) })
    }

    async fn step(&mut self, step: &Step) -> anyhow::Result<Done> {
        let lasts = match step {
            Step::Read(_) => None,
            Step::Write(write) => write.lasts,
        };
        let lease = match lasts {
            Some(lasts) => Some(self.client.grant(lasts).await?),
            None => None,
        };
        let body = wire::transaction(&self.prefix, step, lease)?;
        let answer = self.client.call("kv/txn", &body).await?;
        wire::done(step, &answer)
    }
}
