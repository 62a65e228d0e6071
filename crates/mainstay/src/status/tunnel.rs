//! Tunnels and their agents, as one node sees them.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_config::plan::edge::Tunnel;
use mainstay_proxy::road::{OfferStatus, SessionStatus};
use serde::{Deserialize, Serialize};

/// One tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunnelStatus {
    /// Its id.
    pub id: String,
    /// Hosts and ports that lead to it.
    pub served: Vec<String>,
    /// Threads of this hub, each of which wants a session of every agent.
    pub places: usize,
    /// Who offers it, by name.
    pub agents: Vec<TunnelAgent>,
    /// Nobody reaches it but its visitors.
    #[serde(default)]
    pub private: bool,
    /// Visitors that have sessions, by name.
    #[serde(default)]
    pub visitors: Vec<TunnelVisitor>,
    /// The file does not name it.
    #[serde(default)]
    pub open: bool,
}

/// One visitor of a private tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunnelVisitor {
    /// What it calls itself.
    pub visitor: String,
    /// Its address, of several sessions the first one's.
    pub from: String,
    /// Its carrier: `tcp`, `tls`, `ws`, `wss`.
    pub carrier: String,
    /// Sessions with this hub.
    pub sessions: usize,
    /// Seconds since the oldest of them began.
    pub seconds: u64,
    /// The longest of their round trips, in milliseconds; 0 before the first.
    pub rtt_ms: f64,
    /// Whether it carries datagrams.
    pub udp: bool,
    /// Connections that are open.
    pub streams: u64,
    /// Connections so far.
    pub opened: u64,
    /// Bytes to the visitor.
    pub sent: u64,
    /// Bytes from it.
    pub received: u64,
}

/// One agent of a tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunnelAgent {
    /// Its name.
    pub agent: String,
    /// Its address.
    pub from: String,
    /// Its carrier: `tcp`, `tls`, `ws`, `wss`.
    pub carrier: String,
    /// Process and thread of each place of this hub that it has a session to.
    pub places: Vec<(u16, u16)>,
    /// Seconds since the oldest of its sessions began.
    pub seconds: u64,
    /// The longest of the sessions' round trips, in milliseconds; 0 before the first.
    pub rtt_ms: f64,
    /// Its share.
    pub weight: u32,
    /// Whether it carries datagrams.
    pub udp: bool,
    /// Connections that its targets have, of all hubs, as it last said.
    #[serde(default)]
    pub load: u32,
    /// Sessions that take no further connections.
    pub leaving: usize,
    /// Why its target cannot serve; nothing when it can.
    pub trouble: Option<String>,
    /// Connections that are open.
    pub streams: u64,
    /// Connections so far.
    pub opened: u64,
    /// Bytes towards the agent.
    pub sent: u64,
    /// Bytes from it.
    pub received: u64,
}

impl TunnelStatus {
    /// A tunnel with what all sessions say of it.
    #[must_use]
    pub fn new(tunnel: &Tunnel, places: usize, sessions: &[SessionStatus]) -> Self {
        Self {
            id: tunnel.id.clone(),
            served: tunnel.served.clone(),
            places,
            agents: agents(&tunnel.id, sessions),
            private: tunnel.visitors.is_some(),
            visitors: visitors(&tunnel.id, sessions),
            open: false,
        }
    }

    /// The tunnels that the file does not name, so many at most; and how many there are.
    #[must_use]
    pub fn open_ones(places: usize, most: usize, sessions: &[SessionStatus]) -> (Vec<Self>, usize) {
        let mut served: BTreeMap<&str, (BTreeSet<&String>, Vec<SessionStatus>)> = BTreeMap::new();
        for session in sessions.iter().filter(|session| !session.visitor) {
            for offer in &session.offers {
                let Some(hosts) = &offer.open else { continue };
                let known = served.entry(&offer.tunnel).or_default();
                known.0.extend(hosts);
                known.1.push(session.clone());
            }
        }
        let all = served.len();
        let shown = served.into_iter().take(most).map(|(id, (hosts, sessions))| Self {
            id: id.to_owned(),
            served: hosts.into_iter().cloned().collect(),
            places,
            agents: agents(id, &sessions),
            private: false,
            visitors: Vec::new(),
            open: true,
        });
        (shown.collect(), all)
    }
}

/// Those of a tunnel.
fn agents(id: &str, sessions: &[SessionStatus]) -> Vec<TunnelAgent> {
    let mut agents: Vec<TunnelAgent> = Vec::new();
    for session in sessions.iter().filter(|session| !session.visitor) {
        for offer in session.offers.iter().filter(|offer| offer.tunnel == id) {
            let same = |one: &&mut TunnelAgent| (&one.agent, one.udp) == (&session.agent, offer.udp);
            match agents.iter_mut().find(same) {
                Some(known) => known.add(session, offer),
                None => agents.push(TunnelAgent::new(session, offer)),
            }
        }
    }
    agents.sort_by(|a, b| (&a.agent, a.udp).cmp(&(&b.agent, b.udp)));
    agents.iter_mut().for_each(|agent| agent.places.sort_unstable());
    agents
}

/// Those of a tunnel. What calls itself the same and comes from elsewhere is another.
fn visitors(id: &str, sessions: &[SessionStatus]) -> Vec<TunnelVisitor> {
    let host = |from: &str| from.rsplit_once(':').map(|(host, _)| host.to_owned());
    let mut visitors: Vec<TunnelVisitor> = Vec::new();
    for session in sessions.iter().filter(|session| session.visitor) {
        for wish in session.offers.iter().filter(|wish| wish.tunnel == id) {
            let same = |one: &TunnelVisitor| {
                (&one.visitor, one.udp, host(&one.from)) == (&session.agent, wish.udp, host(&session.from))
            };
            let at = visitors.iter().position(same);
            let at = at.unwrap_or_else(|| {
                visitors.push(TunnelVisitor::new(session, wish.udp));
                visitors.len() - 1
            });
            visitors[at].add(session, wish);
        }
    }
    visitors.sort_by(|a, b| (&a.visitor, &a.from, a.udp).cmp(&(&b.visitor, &b.from, b.udp)));
    visitors
}

impl TunnelVisitor {
    fn new(session: &SessionStatus, udp: bool) -> Self {
        Self {
            visitor: session.agent.clone(),
            from: session.from.clone(),
            carrier: session.carrier.clone(),
            sessions: 0,
            seconds: 0,
            rtt_ms: 0.0,
            udp,
            streams: 0,
            opened: 0,
            sent: 0,
            received: 0,
        }
    }

    fn add(&mut self, session: &SessionStatus, wish: &OfferStatus) {
        self.sessions += 1;
        self.seconds = self.seconds.max(session.seconds);
        self.rtt_ms = self.rtt_ms.max(session.rtt_ms);
        self.streams += wish.streams;
        self.opened += wish.opened;
        self.sent += wish.sent;
        self.received += wish.received;
    }
}

impl TunnelAgent {
    fn new(session: &SessionStatus, offer: &OfferStatus) -> Self {
        let mut agent = Self {
            agent: session.agent.clone(),
            from: session.from.clone(),
            carrier: session.carrier.clone(),
            places: Vec::new(),
            seconds: 0,
            rtt_ms: 0.0,
            weight: offer.weight,
            udp: offer.udp,
            load: 0,
            leaving: 0,
            trouble: None,
            streams: 0,
            opened: 0,
            sent: 0,
            received: 0,
        };
        agent.add(session, offer);
        agent
    }

    fn add(&mut self, session: &SessionStatus, offer: &OfferStatus) {
        if session.leaving {
            self.leaving += 1;
        } else {
            self.places.push(session.place);
        }
        self.seconds = self.seconds.max(session.seconds);
        self.rtt_ms = self.rtt_ms.max(session.rtt_ms);
        self.load = self.load.max(session.load);
        self.trouble = self.trouble.take().or_else(|| offer.trouble.clone());
        self.streams += offer.streams;
        self.opened += offer.opened;
        self.sent += offer.sent;
        self.received += offer.received;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A session of an agent that offers a tunnel.
    pub(crate) fn session(agent: &str, place: (u16, u16), trouble: Option<&str>) -> SessionStatus {
        SessionStatus {
            agent: agent.into(),
            visitor: false,
            from: "192.0.2.7:40000".into(),
            carrier: "wss".into(),
            place,
            seconds: 90,
            rtt_ms: 1.5,
            load: 7,
            leaving: false,
            offers: vec![OfferStatus {
                open: None,
                tunnel: "office".into(),
                udp: false,
                weight: 1,
                trouble: trouble.map(str::to_owned),
                streams: 2,
                opened: 10,
                sent: 1000,
                received: 5000,
            }],
        }
    }

    pub(crate) fn tunnel() -> Tunnel {
        Tunnel {
            id: "office".into(),
            agents: Vec::new(),
            gost: false,
            visitors: None,
            served: vec!["app.example.com".into()],
            streams: 0,
            rate_millis: 0,
            bandwidth: 0,
        }
    }

    #[test]
    fn sessions_of_one_agent_are_one_line_and_the_worst_is_told() {
        let sessions = [
            session("b", (0, 0), None),
            session("a", (1, 0), Some("no target of it answers")),
            session("a", (0, 0), None),
        ];
        let status = TunnelStatus::new(&tunnel(), 4, &sessions);
        let names: Vec<_> = status.agents.iter().map(|agent| agent.agent.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let first = &status.agents[0];
        assert_eq!(
            (first.places.as_slice(), first.streams, first.received),
            (&[(0, 0), (1, 0)][..], 4, 10_000)
        );
        assert_eq!(first.load, 7, "it is said of the agent as a whole");
        assert_eq!(first.trouble.as_deref(), Some("no target of it answers"));
    }
}
