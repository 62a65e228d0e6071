//! Other hubs, as one node sees them.

use mainstay_proxy::road::HubSession;
use serde::{Deserialize, Serialize};

/// One other hub, or an address that leads to none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HubStatus {
    /// Its name; empty when nobody knows it.
    pub hub: String,
    /// Where it is reached, or where it was tried.
    pub address: String,
    /// Threads of this node that have a session with it.
    pub sessions: usize,
    /// Threads of this node, each of which wants one.
    pub places: usize,
    /// Sessions that it has with this node.
    pub incoming: usize,
    /// Sessions that take no further connections.
    pub leaving: usize,
    /// Seconds since the oldest of its sessions began.
    pub seconds: u64,
    /// The longest of the sessions' round trips, in milliseconds; 0 before the first.
    pub rtt_ms: f64,
    /// Tunnels of this node that it has agents of.
    pub tunnels: Vec<String>,
    /// Connections to its agents, or of it to ours, that are open.
    pub streams: u64,
    /// The same so far.
    pub opened: u64,
    /// Bytes towards it.
    pub sent: u64,
    /// Bytes from it.
    pub received: u64,
    /// Why it is not reached.
    pub trouble: Option<String>,
    /// It is one of gost's plugins, and connections are calls: those of them that came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
}

impl HubStatus {
    /// Every hub of these sessions, by name, then the addresses that lead to none.
    #[must_use]
    pub fn all(places: usize, sessions: &[HubSession]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for session in sessions {
            let same = |one: &Self| {
                one.hub == session.hub && (!session.hub.is_empty() || one.address == session.address)
            };
            let one = match all.iter().position(same) {
                Some(at) => &mut all[at],
                None => {
                    all.push(Self { hub: session.hub.clone(), places, ..Self::default() });
                    all.last_mut().expect("it was just put there")
                }
            };
            one.add(session);
        }
        all.sort_by(|a, b| {
            (a.hub.is_empty(), &a.hub, &a.address).cmp(&(b.hub.is_empty(), &b.hub, &b.address))
        });
        all
    }

    fn add(&mut self, session: &HubSession) {
        match (session.incoming, session.leaving) {
            _ if session.trouble.is_some() => {}
            (_, true) => self.leaving += 1,
            (true, false) => self.incoming += 1,
            (false, false) => self.sessions += 1,
        }
        // Where it comes from says less than where it is.
        if self.address.is_empty() || !session.incoming {
            self.address.clone_from(&session.address);
        }
        self.seconds = self.seconds.max(session.seconds);
        self.rtt_ms = self.rtt_ms.max(session.rtt_ms);
        let new = session.tunnels.iter().filter(|id| !self.tunnels.contains(id)).cloned().collect::<Vec<_>>();
        self.tunnels.extend(new);
        self.streams += session.streams;
        self.opened += session.opened;
        self.sent += session.sent;
        self.received += session.received;
        self.failed = self.failed.into_iter().chain(session.failed).reduce(|all, one| all + one);
        self.trouble = self.trouble.take().or_else(|| session.trouble.clone());
    }

    /// Whether it is one of gost's plugins, whose tunnels other nodes serve.
    #[must_use]
    pub const fn is_plugin(&self) -> bool {
        self.failed.is_some()
    }

    /// A word for how it is.
    #[must_use]
    pub const fn state(&self) -> &'static str {
        match (self.sessions, self.incoming, self.leaving) {
            (1.., _, _) => "up",
            (0, 1.., _) => "comes in",
            (0, 0, 1..) => "leaving",
            (0, 0, 0) => "away",
        }
    }

    /// What is wrong with it, as a sentence.
    #[must_use]
    pub fn degraded(&self) -> Option<String> {
        let why = self.trouble.as_ref()?;
        if self.is_plugin() {
            return Some(format!("the {} at {} does not answer: {why}", self.hub, self.address));
        }
        Some(format!("no hub is reached at {}: {why}", self.address))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A session with a hub.
    pub(crate) fn session(hub: &str, incoming: bool) -> HubSession {
        HubSession {
            hub: hub.into(),
            address: if incoming { "10.0.4.21:51234".into() } else { "10.0.4.21:7001".into() },
            incoming,
            seconds: 90,
            rtt_ms: 0.4,
            tunnels: if incoming { Vec::new() } else { vec!["office".into()] },
            streams: 1,
            opened: 12,
            sent: 4000,
            received: 90_000,
            ..HubSession::default()
        }
    }

    #[test]
    fn sessions_of_one_hub_are_one_line_and_addresses_without_one_come_last() {
        let away = HubSession {
            address: "10.0.4.29:7001".into(),
            trouble: Some("it has not the same key of hubs as this one".into()),
            ..HubSession::default()
        };
        let all = [away.clone(), session("b", true), session("b", false), session("a", true), away];
        let shown = HubStatus::all(4, &all);
        let rows: Vec<_> =
            shown.iter().map(|one| (one.hub.as_str(), one.state(), one.address.as_str())).collect();
        assert_eq!(
            rows,
            [
                ("a", "comes in", "10.0.4.21:51234"),
                ("b", "up", "10.0.4.21:7001"),
                ("", "away", "10.0.4.29:7001")
            ]
        );
        assert_eq!((shown[1].sessions, shown[1].incoming, shown[1].opened), (1, 1, 24));
        let said: Vec<String> = shown.iter().filter_map(HubStatus::degraded).collect();
        assert_eq!(
            said,
            ["no hub is reached at 10.0.4.29:7001: it has not the same key of hubs as this one"]
        );
    }
}
