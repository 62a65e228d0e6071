//! Small numbers that stand for the things a Plan names: an index is looked up once, at the border.

use serde::{Deserialize, Serialize};

macro_rules! index {
    ($(#[$doc:meta] $name:ident)*) => {$(
        #[$doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// The position in the Plan's list.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

index! {
    /// A vip.
    VipId
    /// A sync group.
    GroupId
    /// A probe.
    ProbeId
    /// A command that the exec role may run.
    CommandId
    /// A network interface that vips stand on; the I/O layer maps it to the kernel's index.
    LinkId
    /// A route of the edge.
    RouteId
    /// A pool of backends.
    PoolId
    /// Something that the edge counts by key.
    ZoneId
    /// An access log.
    LogId
    /// A node of the cluster, this one included.
    NodeId
    /// Something that at most one node holds under a lease.
    RightId
}
