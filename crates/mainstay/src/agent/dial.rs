//! One dial, from an address to a session and to its end.

use std::net::SocketAddr;
use std::rc::Rc;

use mainstay_core::tunnel::address::Address;
use mainstay_core::tunnel::hello::{Answer, Cause, Challenge};
use mainstay_core::tunnel::roam::Input;
use mainstay_link::tunnel::carrier::{self, connect_among};
use mainstay_link::tunnel::hello::{Dialer, Failed, Met, dial};
use mainstay_link::tunnel::{Carrier, Closed, Limits, Session, Side};
use mainstay_sys::clock::boot_now;
use tokio::task::spawn_local;

use super::{Agent, Listen, leaves, news};

/// How a dial ends without a session.
enum Ended {
    /// It has led to a place that we have.
    Known,
    /// There is no way, or no hub at its end.
    Carrier(carrier::Error),
    /// The hub and we did not come together.
    Hello(Failed),
}

impl From<Failed> for Ended {
    fn from(failed: Failed) -> Self {
        Self::Hello(failed)
    }
}

impl Agent {
    /// Dials, and stays with the session to its end.
    pub(super) async fn dial(self: Rc<Self>, number: u64, url: String, turn: u32) {
        let input = match self.call(number, &url, turn).await {
            Ok((met, carrier)) => {
                self.said.borrow_mut().remove(&url);
                self.heard.borrow_mut().reached(&url);
                return self.begin(number, &url, met, carrier).await;
            }
            Err(Ended::Known) => {
                self.heard.borrow_mut().reached(&url);
                Input::Known(number)
            }
            Err(Ended::Hello(Failed::Refused(refused))) => {
                if refused.cause != Cause::Leaving {
                    self.refused_at(&url, &refused.sentence);
                    self.ways.refused();
                }
                Input::Refused(number, refused.cause)
            }
            Err(Ended::Hello(why)) => self.failed(number, &url, &why),
            Err(Ended::Carrier(why)) => self.failed(number, &url, &why),
        };
        let _ = self.inputs.send(input);
    }

    /// Who is at an address does not let us in.
    pub(super) fn refused_at(&self, url: &str, why: &dyn std::fmt::Display) {
        self.counts.refusals.set(self.counts.refusals.get() + 1);
        let why = format!("refused: {why}");
        if self.once(&format!("{url} {why}")) {
            self.voice.warn(&self.name, format!("{url}: {why}"));
        }
        self.heard.borrow_mut().refused(url, why);
    }

    fn failed(&self, number: u64, url: &str, why: &dyn std::fmt::Display) -> Input {
        self.failed_at(url, why);
        Input::Failed(number)
    }

    /// An address leads to nobody.
    pub(super) fn failed_at(&self, url: &str, why: &dyn std::fmt::Display) {
        self.counts.failures.set(self.counts.failures.get() + 1);
        if self.once(url) {
            self.voice.warn(&self.name, format!("{url} cannot be reached: {why}; it is tried on"));
        } else {
            tracing::debug!(hub = url, "{why}");
        }
        self.heard.borrow_mut().lost(url, format!("cannot be reached: {why}"));
    }

    async fn call(&self, number: u64, url: &str, turn: u32) -> Result<(Met, Box<dyn Carrier>), Ended> {
        let address: Address = url.parse().expect("addresses are read before they are dialled");
        self.counts.dials.set(self.counts.dials.get() + 1);
        let found = |addrs: &[SocketAddr]| {
            let _ = self.inputs.send(Input::Found(number, addrs.to_vec()));
        };
        let connected = connect_among(&address, turn, &self.dialing, found).await;
        let mut connected = connected.map_err(Ended::Carrier)?;
        let offers = self.offers();
        let key = Rc::clone(&self.key.borrow());
        let dialer = Dialer {
            caller: self.caller(),
            name: &self.name,
            instance: self.instance,
            key: &key,
            offers: &offers,
            // Of TLS over TCP no end here can tell its exporter yet, and an Ingress may be what ends it.
            binding: &connected.binding,
        };
        let look = |challenge: &Challenge| {
            let wanted = !self.leaving.get()
                && !self.succeeded.get()
                && self.roam.borrow_mut().meets(number, challenge, boot_now());
            if wanted { Ok(()) } else { Err(Ended::Known) }
        };
        let met = dial(&mut connected.carrier, dialer, look).await?;
        Ok((met, connected.carrier))
    }

    async fn begin(self: Rc<Self>, number: u64, url: &str, met: Met, carrier: Box<dyn Carrier>) {
        if self.leaving.get() {
            return;
        }
        let (session, incoming) = Session::start(carrier, Side::Agent, Limits::default());
        session.tell(news::of(&self.offered.borrow(), &self.load));
        session.set_load(&self.load);
        self.sessions.borrow_mut().insert(number, session.clone());
        self.ways.begun(number, &session, &met);
        spawn_local(Rc::clone(&self).serve(incoming));
        let place = met.hub.place;
        let (process, thread) = (place.process, place.thread);
        tracing::debug!(hub = met.hub.hub, url, process, thread, "a session has begun");
        self.say_what_is_served(&met);
        let hubs = met.welcome.hubs.iter().filter_map(|url| url.parse::<Address>().ok());
        let hubs = hubs.filter(|hub| !hub.gost);
        let hubs =
            hubs.filter(|hub| !self.sealed || hub.way.is_sealed()).map(|hub| hub.to_string()).collect();
        let _ = self.inputs.send(Input::Welcome { dial: number, hubs, names: met.welcome.names });
        let why = self.follow(number, &session).await;
        self.sessions.borrow_mut().remove(&number);
        self.counts.add(&session.counters().counts);
        self.ways.ended(number);
        tracing::info!(hub = met.hub.hub, process, thread, "a session has ended: {why}");
        let _ = self.inputs.send(Input::Lost(number));
    }

    /// Stays with a session to its end. One whose hub takes no new streams, or soon will not, is to be replaced by another.
    async fn follow(&self, number: u64, session: &Session) -> Closed {
        let mut known = 0;
        loop {
            tokio::select! {
                why = session.closed() => return why,
                now = session.changed(known) => known = now,
            }
            if leaves(session) {
                let _ = self.inputs.send(Input::Leaving(number));
                return session.closed().await;
            }
        }
    }

    fn say_what_is_served(&self, met: &Met) {
        self.heard.borrow_mut().answered(met);
        let hub = &met.hub.hub;
        self.say_what_is_reached(met);
        for grant in &met.welcome.grants {
            let all = self.offered.borrow();
            let Some(offered) = all.iter().find(|offered| offered.index == grant.index) else { continue };
            let tunnel = &offered.service.tunnel;
            match &grant.answer {
                Answer::Served(urls) if urls.is_empty() => {
                    if self.once(&format!("{tunnel} {hub}")) {
                        let message = format!("tunnel {tunnel} is served by hub {hub} where its routes say");
                        self.voice.inform(&self.name, message);
                    }
                }
                Answer::Served(urls) => {
                    for url in urls.iter().filter(|url| self.once(&format!("{tunnel} {url}"))) {
                        self.voice.inform(&self.name, format!("tunnel {tunnel} is served at {url}"));
                    }
                }
                Answer::Refused(why) => {
                    if self.once(&format!("{tunnel} {hub} {why}")) {
                        let message = format!("hub {hub} does not serve tunnel {tunnel}: {why}");
                        self.voice.warn(&self.name, message);
                    }
                }
            }
        }
    }

    /// What a visitor is told.
    fn say_what_is_reached(&self, met: &Met) {
        let hub = &met.hub.hub;
        for grant in &met.welcome.grants {
            let Some(door) = self.doors.iter().find(|door| door.index == grant.index) else { continue };
            let (tunnel, listen) = (&door.tunnel, door.listen);
            match &grant.answer {
                Answer::Served(_) if door.listen == Listen::Stdio => {}
                Answer::Served(_) => {
                    if self.once(&format!("{tunnel} {hub}")) {
                        let message = format!("tunnel {tunnel} is reached at {listen}, through hub {hub}");
                        self.voice.inform(&self.name, message);
                    }
                }
                Answer::Refused(why) => {
                    if self.once(&format!("{tunnel} {hub} {why}")) {
                        let message = format!("hub {hub} does not lead to tunnel {tunnel}: {why}");
                        self.voice.warn(&self.name, message);
                    }
                }
            }
        }
    }
}
