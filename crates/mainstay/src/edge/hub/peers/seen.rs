//! What is told of other hubs: to agents, and to people.

use std::cell::Cell;

use mainstay_core::tunnel::hello::LIST_MAX;
use mainstay_link::tunnel::Session;
use mainstay_proxy::clock::boot_now;
use mainstay_proxy::road::HubSession;

use super::{Count, Guest, Line, Peers};
use crate::edge::hub::Desk;

/// Bytes of a welcome that addresses of hubs may take, and names of hubs: what is granted needs the others.
const URLS_MAX: usize = 3 << 10;
const NAMES_MAX: usize = 2 << 10;

impl Peers {
    /// Where agents reach the hubs of the cluster: what is written here, and what other hubs say of themselves.
    pub(in crate::edge::hub) fn urls(&self, desk: &Desk) -> Vec<String> {
        let mut urls = desk.addrs.borrow().clone();
        for (_, about) in self.book.borrow().hubs().filter(|(_, about)| !about.leaving) {
            let new = about.urls.iter().filter(|url| !urls.contains(url)).cloned().collect::<Vec<_>>();
            urls.extend(new);
        }
        let mut left = URLS_MAX;
        urls.retain(|url| {
            let fits = url.len() <= left;
            left -= if fits { url.len() } else { 0 };
            fits
        });
        urls.truncate(LIST_MAX);
        urls
    }

    /// The names of all hubs that are known to live: none rather than some, as who has met all that it was told looks for no more.
    pub(in crate::edge::hub) fn names(&self, desk: &Desk) -> Vec<String> {
        if !self.speaks() {
            return Vec::new();
        }
        let mut names = vec![desk.hub.name.clone()];
        names.extend(
            self.book.borrow().hubs().filter(|(_, about)| !about.leaving).map(|(hub, _)| hub.to_owned()),
        );
        names.extend(
            self.guests
                .borrow()
                .iter()
                .filter(|guest| !guest.session.is_closed())
                .map(|guest| guest.hub.clone()),
        );
        names.sort_unstable();
        names.dedup();
        let fits = names.len() <= LIST_MAX && names.iter().map(String::len).sum::<usize>() <= NAMES_MAX;
        if fits { names } else { Vec::new() }
    }

    /// Sessions of this thread with other hubs, and addresses that lead to none.
    pub(in crate::edge::hub) fn status(&self, desk: &Desk) -> Vec<HubSession> {
        let place = (desk.place.process, desk.place.thread);
        let mut all: Vec<HubSession> =
            self.lines.borrow().iter().map(|line| self.shown(desk, line)).collect();
        all.extend(self.guests.borrow().iter().map(|guest| guest.shown()));
        let dialled: Vec<String> = self.roam.borrow().urls().map(str::to_owned).collect();
        let troubles = desk.news.hub_troubles().into_iter().filter(|(at, _)| dialled.contains(at));
        let away = |(address, why)| HubSession { address, trouble: Some(why), ..HubSession::default() };
        all.extend(troubles.map(away));
        all.iter_mut().for_each(|session| session.place = place);
        all
    }

    fn shown(&self, desk: &Desk, line: &Line) -> HubSession {
        let book = self.book.borrow();
        let tunnels = desk.tunnels.borrow();
        let offers = |id: &&String| {
            book.offers(id).any(|told| told.session == line.number && told.agent.trouble.is_none())
        };
        let mut tunnels: Vec<String> = tunnels.keys().filter(offers).cloned().collect();
        tunnels.sort_unstable();
        HubSession {
            hub: line.hub.clone(),
            address: line.to.to_string(),
            seconds: boot_now().since(line.began).as_secs(),
            leaving: !line.serves(),
            tunnels,
            ..counted(&line.count, &line.session)
        }
    }
}

impl Guest {
    fn shown(&self) -> HubSession {
        HubSession {
            hub: self.hub.clone(),
            address: self.from.map(|from| from.to_string()).unwrap_or_default(),
            incoming: true,
            seconds: boot_now().since(self.began).as_secs(),
            leaving: self.session.is_closed() || self.session.has_left(),
            ..counted(&self.count, &self.session)
        }
    }
}

fn counted(count: &Count, session: &Session) -> HubSession {
    let Count { streams, opened, tally } = count;
    HubSession {
        rtt_ms: session.counters().rtt.map_or(0.0, |rtt| rtt.as_secs_f64() * 1000.0),
        streams: Cell::get(streams),
        opened: Cell::get(opened),
        sent: tally.sent.get(),
        received: tally.received.get(),
        ..HubSession::default()
    }
}
