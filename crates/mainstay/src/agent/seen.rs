//! What can be seen of an agent.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::tunnel::hello::Answer;
use mainstay_link::tunnel::hello::Met;
use mainstay_sys::clock::boot_now;

use super::Agent;
use super::visit::Door;
use crate::status::{AgentStatus, DoorStatus, HubSeen, OfferStatus};

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

impl Heard {
    /// A hub has answered the offers.
    pub(super) fn answered(&mut self, met: &Met) {
        for grant in &met.welcome.grants {
            self.grants.insert((met.hub.hub.clone(), grant.index), grant.answer.clone());
        }
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
        let hubs = self.roam.borrow().view(boot_now());
        let one = !self.doors.is_empty();
        let met = |hub: &mainstay_core::tunnel::roam::HubView| {
            let mut held = hub.places.iter().map(|place| place.session.is_some());
            !hub.places.is_empty() && if one { held.any(|held| held) } else { held.all(|held| held) }
        };
        !hubs.is_empty() && hubs.iter().all(met)
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

    pub(super) fn status(&self) -> AgentStatus {
        let (heard, sessions) = (self.heard.borrow(), self.sessions.borrow());
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
        let known = |hub: &str| hubs.iter().any(|known| known.hub == hub && known.sessions > 0);
        let offers = self.offered.iter().map(|offered| {
            let mut shown = OfferStatus {
                tunnel: offered.service.tunnel.clone(),
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
        AgentStatus { name: self.name.clone(), visit, hubs, offers, doors, trouble }
    }
}
