//! The rows: what happens, and what it may cost.

use std::time::Duration;

use super::run::Reading;
use crate::Way;
use crate::hubs::Shape;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    KillHub,
    KillAgent,
    RestartHubs,
    RestartAgents,
    UpgradeHubs,
    UpgradeAgents,
    HalfOpen(Way),
    TargetDies,
}

impl Case {
    pub(super) const ALL: [Self; 10] = [
        Self::KillHub,
        Self::KillAgent,
        Self::RestartHubs,
        Self::RestartAgents,
        Self::UpgradeHubs,
        Self::UpgradeAgents,
        Self::HalfOpen(Way::Both),
        Self::HalfOpen(Way::In),
        Self::HalfOpen(Way::Out),
        Self::TargetDies,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::KillHub => "kill -9 of a hub",
            Self::KillAgent => "kill -9 of an agent",
            Self::RestartHubs => "rolling restart of 3 hubs behind a vip",
            Self::RestartAgents => "rolling restart of both agents",
            Self::UpgradeHubs => "upgrade of 3 hubs behind a vip",
            Self::UpgradeAgents => "upgrade of both agents",
            Self::HalfOpen(Way::Both) => "half-open: an agent's link is cut",
            Self::HalfOpen(Way::In) => "half-open: an agent hears nothing",
            Self::HalfOpen(Way::Out) => "half-open: an agent is not heard",
            Self::TargetDies => "target of one of two agents dies",
        }
    }

    /// Whether what was under way with the victim may be lost.
    const fn may_lose_flying(self) -> bool {
        match self {
            Self::KillHub | Self::KillAgent => true,
            Self::RestartHubs
            | Self::RestartAgents
            | Self::UpgradeHubs
            | Self::UpgradeAgents
            | Self::HalfOpen(_)
            | Self::TargetDies => false,
        }
    }

    /// The longest that the times of a run may be.
    const fn most(self) -> Option<Duration> {
        match self {
            Self::KillHub | Self::KillAgent => Some(Duration::from_secs(1)),
            Self::HalfOpen(_) => Some(Duration::from_millis(3500)),
            // A target is looked at every second.
            Self::TargetDies => Some(Duration::from_secs(1)),
            Self::RestartHubs | Self::RestartAgents | Self::UpgradeHubs | Self::UpgradeAgents => None,
        }
    }

    pub(super) fn bound(self) -> String {
        let lost = if self.may_lose_flying() { "only what is in flight" } else { "0 failed" };
        match self.most() {
            Some(most) => format!("{lost}; {} ms", most.as_millis()),
            None => lost.to_owned(),
        }
    }

    /// Whether a run kept its bound.
    pub(super) fn holds(self, reading: &Reading) -> bool {
        let lost = if self.may_lose_flying() { reading.strays } else { reading.failed.len() };
        let late = |most| reading.times.iter().any(|(_, time)| *time > most);
        lost == 0 && !self.most().is_some_and(late)
    }

    pub(super) fn shape(self, target: (std::path::PathBuf, Vec<String>)) -> Shape {
        let vip = matches!(self, Self::RestartHubs | Self::UpgradeHubs);
        let upgrades = matches!(self, Self::UpgradeHubs | Self::UpgradeAgents);
        Shape { vip, upgrades, target: Some(target), ..Shape::default() }
    }
}
