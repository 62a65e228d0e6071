//! The rows: what happens to a fleet of gost's, and what it may cost.

use std::time::Duration;

use super::run::Reading;

/// Whose clients they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The peer on the real smux, in Go.
    Go,
    /// Ours, of a command line of gost's that was imported.
    Imported,
}

/// What becomes of the plugins, or of their redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    Flushed,
    StoreStopped,
    StoreHung,
    PluginsKilled,
    PluginsHung,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    KillClient(Kind),
    KillHub(Kind),
    Plugins(Harm),
    /// The client is connected for longer than a rule lasts.
    Expired,
    Rolled(Kind),
}

impl Case {
    pub(super) const ALL: [Self; 12] = [
        Self::KillClient(Kind::Go),
        Self::KillClient(Kind::Imported),
        Self::KillHub(Kind::Go),
        Self::KillHub(Kind::Imported),
        Self::Plugins(Harm::Flushed),
        Self::Plugins(Harm::StoreStopped),
        Self::Plugins(Harm::StoreHung),
        Self::Plugins(Harm::PluginsKilled),
        Self::Plugins(Harm::PluginsHung),
        Self::Expired,
        Self::Rolled(Kind::Go),
        Self::Rolled(Kind::Imported),
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::KillClient(Kind::Go) => "gost: kill -9 of one of two clients (Go)",
            Self::KillClient(Kind::Imported) => "gost: kill -9 of one of two clients (imported)",
            Self::KillHub(Kind::Go) => "gost: kill -9 of the only hub (Go)",
            Self::KillHub(Kind::Imported) => "gost: kill -9 of the only hub (imported)",
            Self::Plugins(Harm::Flushed) => "gost: FLUSHALL of the plugins' redis",
            Self::Plugins(Harm::StoreStopped) => "gost: the plugins' redis stopped for 8 s",
            Self::Plugins(Harm::StoreHung) => "gost: the plugins' redis hung for 8 s",
            Self::Plugins(Harm::PluginsKilled) => "gost: plugins killed for 8 s",
            Self::Plugins(Harm::PluginsHung) => "gost: plugins hung for 8 s",
            Self::Expired => "gost: client connected for 5 expirations of its rule",
            Self::Rolled(Kind::Go) => "gost: 3 hubs rolled as a Deployment (Go)",
            Self::Rolled(Kind::Imported) => "gost: 3 hubs rolled as a Deployment (imported)",
        }
    }

    /// The longest that clients may take to be back.
    const fn most(self) -> Option<Duration> {
        match self {
            // gost's and ours come again every 5 s at least.
            Self::KillHub(_) => Some(Duration::from_secs(6)),
            Self::KillClient(_) | Self::Plugins(_) | Self::Expired | Self::Rolled(_) => None,
        }
    }

    pub(super) const fn bound(self) -> &'static str {
        match self {
            Self::KillClient(_) => "only what is in flight",
            Self::KillHub(_) => "0 failed once it listens; 6000 ms",
            Self::Plugins(_) | Self::Expired | Self::Rolled(_) => "0 failed",
        }
    }

    /// Whether a run kept its bound.
    pub(super) fn holds(self, reading: &Reading) -> bool {
        let lost = match self {
            Self::KillClient(_) | Self::KillHub(_) => reading.strays,
            Self::Plugins(_) | Self::Expired | Self::Rolled(_) => reading.failed.len(),
        };
        let late = |most| reading.back.is_some_and(|back| back > most);
        lost == 0 && !self.most().is_some_and(late)
    }
}
