//! What can be seen of an agent.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::tunnel::hello::Answer;
use mainstay_link::tunnel::hello::Met;
use mainstay_sys::clock::boot_now;

use super::Agent;
use super::visit::Door;
use crate::status::{AgentCounts, AgentStatus, DoorStatus, HubSeen, OfferStatus};

/// What hubs have said.
#[derive(Default)]
pub(super) struct Heard {
    /// What became of offers, by hub and index.
    grants: BTreeMap<(String, u16), Answer>,
    /// Why addresses lead nowhere.
    unreachable: BTreeMap<String, String>,
    /// Those of them at which somebody refuses us.
    refusing: BTreeSet<String>,
}

/// What an agent counts.
#[derive(Default)]
pub(super) struct Counts {
    /// Dials that were begun.
    pub(super) dials: Cell<u64>,
    /// Those that came out at no hub.
    pub(super) failures: Cell<u64>,
    /// Those that a hub has sent away.
    pub(super) refusals: Cell<u64>,
    /// Payload of sessions that have ended.
    sent: Cell<u64>,
    received: Cell<u64>,
}

impl Counts {
    /// What a session that has ended had carried.
    pub(super) fn add(&self, ended: &mainstay_link::tunnel::Counts) {
        self.sent.set(self.sent.get() + ended.bytes_sent);
        self.received.set(self.received.get() + ended.bytes_received);
    }
}

impl Heard {
    /// A hub has answered the offers.
    pub(super) fn answered(&mut self, met: &Met) {
        for grant in &met.welcome.grants {
            self.grants.insert((met.hub.hub.clone(), grant.index), grant.answer.clone());
        }
    }

    /// A server has answered one offer or one wish; whether in another way than before.
    pub(super) fn granted(&mut self, hub: &str, index: u16, answer: Answer) -> bool {
        let before = self.grants.insert((hub.to_owned(), index), answer.clone());
        before != Some(answer)
    }

    /// An address leads to a hub.
    pub(super) fn reached(&mut self, url: &str) {
        self.unreachable.remove(url);
        self.refusing.remove(url);
    }

    /// An address does not.
    pub(super) fn lost(&mut self, url: &str, why: String) {
        self.unreachable.insert(url.to_owned(), why);
        self.refusing.remove(url);
    }

    /// Who is there does not let us in.
    pub(super) fn refused(&mut self, url: &str, why: String) {
        self.unreachable.insert(url.to_owned(), why);
        self.refusing.insert(url.to_owned());
    }
}

impl Agent {
    /// Whether it has met every place of the hubs that it knows, of which there is one.
    pub(super) fn is_settled(&self) -> bool {
        if let Some(servers) = &self.servers {
            let well: Vec<bool> = self.offered.borrow().iter().map(|offered| offered.healthy()).collect();
            return servers.is_settled(&well);
        }
        let hubs = self.roam.borrow().view(boot_now());
        let one = !self.doors.is_empty();
        let met = |hub: &mainstay_core::tunnel::roam::HubView| {
            let mut held = hub.places.iter().map(|place| place.session.is_some());
            !hub.places.is_empty() && if one { held.any(|held| held) } else { held.all(|held| held) }
        };
        !hubs.is_empty() && hubs.iter().all(met)
    }

    /// Tells how it does, in a line for each offer and each hub.
    pub(super) fn sum_up(&self) {
        let status = self.status();
        for offer in &status.offers {
            let well = offer.targets.iter().filter(|(_, well)| *well).count();
            let (tunnel, targets) = (&offer.tunnel, offer.targets.len());
            let (open, total, granted) = (offer.streams, offer.opened, offer.granted);
            tracing::info!(tunnel, open, total, well, targets, granted, "an offer");
        }
        for hub in &status.hubs {
            let (sessions, places, open) = (hub.sessions, hub.places, hub.streams);
            tracing::info!(hub = hub.hub, sessions, places, open, rtt_ms = hub.rtt_ms, "a hub");
        }
        let counts = status.counts;
        let (dials, failures, refusals) = (counts.dials, counts.failures, counts.refusals);
        tracing::info!(dials, failures, refusals, sent = counts.sent, received = counts.received, "in all");
    }

    /// Whether every hub that was asked refuses a door.
    pub(super) fn is_refused(&self, door: u16) -> bool {
        let heard = self.heard.borrow();
        let sent_away = self.roam.borrow().urls().all(|url| heard.refusing.contains(url));
        sent_away || self.ways.all_refuse(door)
    }

    /// Why a door leads nowhere.
    pub(super) fn why_not(&self, door: &Door) -> String {
        let heard = self.heard.borrow();
        let refused = heard.grants.iter().filter(|((_, index), _)| *index == door.index);
        let refused = refused.filter_map(|((hub, _), answer)| match answer {
            Answer::Refused(why) => Some(format!("hub {hub}: {why}")),
            Answer::Served(_) => None,
        });
        let lost = heard.unreachable.iter().map(|(url, why)| format!("{url}: {why}"));
        let all: Vec<String> = refused.chain(lost).collect();
        if all.is_empty() {
            "no hub could serve it; an agent may be missing".to_owned()
        } else {
            all.join("; ")
        }
    }

    /// What it has counted, sessions that are open included.
    fn counted(&self) -> AgentCounts {
        let sessions = self.sessions.borrow();
        let live = |of: fn(&mainstay_link::tunnel::Counts) -> u64| -> u64 {
            sessions.values().map(|session| of(&session.counters().counts)).sum()
        };
        AgentCounts {
            dials: self.counts.dials.get(),
            failures: self.counts.failures.get(),
            refusals: self.counts.refusals.get(),
            sent: self.counts.sent.get() + live(|counts| counts.bytes_sent),
            received: self.counts.received.get() + live(|counts| counts.bytes_received),
        }
    }

    fn hubs_seen(&self) -> Vec<HubSeen> {
        let sessions = self.sessions.borrow();
        if let Some(servers) = &self.servers {
            let counters = |number| sessions.get(&number).map(mainstay_link::tunnel::Session::counters);
            return servers.seen(self.offered.borrow().len(), counters);
        }
        let mut hubs = Vec::new();
        for hub in self.roam.borrow().view(boot_now()) {
            let there = hub.places.iter().filter_map(|place| sessions.get(&place.session?));
            let counters: Vec<_> = there.map(mainstay_link::tunnel::Session::counters).collect();
            let rtt = counters.iter().filter_map(|of| of.rtt).min();
            hubs.push(HubSeen {
                hub: hub.name,
                places: hub.places.len(),
                sessions: counters.len(),
                streams: counters.iter().map(|of| of.streams).sum(),
                rtt_ms: rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            });
        }
        hubs
    }

    pub(super) fn status(&self) -> AgentStatus {
        let heard = self.heard.borrow();
        let hubs = self.hubs_seen();
        // A visitor at gost's servers has no sessions: what it heard last is what is known.
        let sessionless = self.servers.is_some() && !self.doors.is_empty();
        let known =
            |hub: &str| sessionless || hubs.iter().any(|known| known.hub == hub && known.sessions > 0);
        let all = self.offered.borrow();
        let offers = all.iter().map(|offered| {
            let mut shown = OfferStatus {
                tunnel: offered.service.tunnel.clone(),
                udp: offered.service.udp,
                targets: offered.targets(),
                streams: offered.streams.open(),
                opened: offered.streams.total(),
                granted: 0,
                served: Vec::new(),
                refused: Vec::new(),
            };
            let grants = heard.grants.iter();
            for ((hub, _), answer) in grants.filter(|((hub, at), _)| *at == offered.index && known(hub)) {
                match answer {
                    Answer::Served(urls) => {
                        shown.granted += 1;
                        shown.served.extend(urls.iter().cloned());
                    }
                    Answer::Refused(why) => shown.refused.push((hub.clone(), why.clone())),
                }
            }
            shown.served.sort_unstable();
            shown.served.dedup();
            shown
        });
        let offers = offers.collect();
        let lost = heard.unreachable.iter().map(|(url, why)| format!("{url}: {why}"));
        let closed = self.doors.iter().filter_map(|door| door.trouble());
        let trouble = self.unusable.iter().cloned().chain(closed).chain(lost).collect();
        let counts = self.counted();
        let doors = self.doors.iter().map(|door| {
            let answers = heard.grants.iter();
            let answers = answers.filter(|((hub, index), _)| *index == door.index && known(hub));
            let mut shown = DoorStatus {
                tunnel: door.tunnel.clone(),
                listen: door.listen.to_string(),
                udp: door.udp,
                streams: door.open.get(),
                opened: door.opened.get(),
                lost: door.lost.get(),
                granted: 0,
                refused: Vec::new(),
            };
            for ((hub, _), answer) in answers {
                match answer {
                    Answer::Served(_) => shown.granted += 1,
                    Answer::Refused(why) => shown.refused.push((hub.clone(), why.clone())),
                }
            }
            shown
        });
        let doors = doors.collect();
        let visit = !self.doors.is_empty();
        AgentStatus { name: self.name.clone(), visit, hubs, offers, doors, trouble, counts }
    }
}
