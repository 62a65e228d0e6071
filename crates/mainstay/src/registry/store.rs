//! What a store must be able to do to be an external voter. etcd is one; a Kubernetes Lease can be another: one object
//! whose resourceVersion is every record's version, and whose promises count as ended when the object was seen unchanged
//! for as long as they last.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use mainstay_config::plan::cluster::{Cluster, External};
use mainstay_core::lease::external::{Done, Step};

use super::etcd::Etcd;

/// What comes of a step, some time.
pub(super) type Taking<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Done>> + 'a>>;

/// A store with compare-and-swap over several records, and records that end by themselves.
///
/// A step happens at one moment or not at all, and is read from no copy that may be behind. A promise that is written lasts
/// for `Write::lasts` from a moment after the step was asked for, and is never made shorter or longer by anything but
/// a later write: whatever keeps records alive without a write of ours is not used. Each call has a deadline. An error says
/// that the step has failed, or that nobody knows: then it may be taken at any time later.
pub(super) trait Store {
    /// Takes one step.
    fn take<'a>(&'a mut self, step: &'a Step) -> Taking<'a>;

    /// Where it was taken, and how that went.
    fn account(&self) -> Account;
}

/// What is known of the store beside its records.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    /// The member that is spoken to.
    pub(super) endpoint: Option<String>,
    /// How long the last call took.
    pub(super) rtt: Option<Duration>,
    /// Calls so far, and those that came to nothing.
    pub(super) calls: u64,
    pub(super) failures: u64,
}

/// The store that the Plan names.
pub(super) fn open(cluster: &Cluster) -> anyhow::Result<Option<(String, Box<dyn Store>)>> {
    let Some((peer, external)) = cluster.external() else { return Ok(None) };
    let store: Box<dyn Store> = match external {
        External::Etcd { endpoints, access } => {
            Box::new(Etcd::new(endpoints, access, &cluster.name, cluster.terms.term)?)
        }
    };
    Ok(Some((peer.id.clone(), store)))
}
