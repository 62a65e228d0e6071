//! Dialling other hubs: one session with each, by the policy that agents dial by.

use std::cell::Cell;
use std::rc::Rc;

use mainstay_core::tunnel::address::{self, PEERS_PORT};
use mainstay_core::tunnel::directory::{self, RECORDS};
use mainstay_core::tunnel::hello::{Caller, Cause, Challenge};
use mainstay_core::tunnel::roam::{Effect, Input};
use mainstay_link::tunnel::carrier::{Connected, Error, plain};
use mainstay_link::tunnel::hello::{Dialer, Failed, dial};
use mainstay_link::tunnel::hubs::{HubKeys, Sealed, Stranger};
use mainstay_link::tunnel::{Code, Incoming, Limits, Session, Side, Stream};
use mainstay_link::{Entropy as _, SystemEntropy};
use mainstay_proxy::clock::boot_now;
use mainstay_proxy::road::Load;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use super::{Count, Line, push};
use crate::edge::hub::Desk;

/// How a dial ends without a session.
enum Ended {
    /// It has led to a hub that we have a session with.
    Known,
    /// It has led to ourselves.
    Own,
    /// Another has our name, or that of a hub that we have a session with: the sentence says which.
    Twin(String),
    /// There is no way, or no hub of ours at its end.
    Failed(String),
    /// The hub sends us away.
    Refused(Cause, String),
}

impl From<Failed> for Ended {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Refused(refused) => Self::Refused(refused.cause, refused.sentence),
            Failed::Broken(_)
            | Failed::Late
            | Failed::Garbled(_)
            | Failed::Turn
            | Failed::Unfit(_)
            | Failed::Version(_)
            | Failed::Signature(_) => Self::Failed(failed.to_string()),
        }
    }
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<Stranger> for Ended {
    fn from(stranger: Stranger) -> Self {
        Self::Failed(stranger.to_string())
    }
}

/// Dials for as long as the thread lives.
pub(super) async fn run(desk: Rc<Desk>, mut heard: UnboundedReceiver<Input>) {
    let mut known = desk.peers.known.clone();
    loop {
        let due = desk.peers.roam.borrow().poll_timeout(boot_now());
        let at = due.map_or_else(Instant::now, |at| Instant::now() + at.since(boot_now()));
        tokio::select! {
            Some(input) = heard.recv() => desk.feed(input),
            () = sleep_until(at), if due.is_some() => desk.feed(Input::Tick),
            Ok(()) = known.changed() => {
                known.mark_unchanged();
                desk.peers.tell_addresses();
            }
        }
    }
}

impl Desk {
    fn feed(self: &Rc<Self>, input: Input) {
        let mut roam = self.peers.roam.borrow_mut();
        let mut word = [0; 8];
        SystemEntropy.fill(&mut word);
        roam.handle(input, u64::from_ne_bytes(word), boot_now());
        while let Some(effect) = roam.poll_effect() {
            match effect {
                Effect::Dial { dial, url, turn } => {
                    spawn_local(Rc::clone(self).dial(dial, url, turn));
                }
                Effect::Drain(session) => {
                    if let Some(line) = self.peers.line(session) {
                        line.leave(self.drain_time());
                    }
                }
            }
        }
    }

    /// Dials, and stays with the session to its end.
    async fn dial(self: Rc<Self>, number: u64, url: String, turn: u32) {
        let keys = self.peers.keys.borrow().clone();
        let called = match keys.filter(|_| !self.draining.get()) {
            Some(keys) => self.call(&keys, number, &url, turn).await,
            None => Err(Ended::Failed("this hub speaks to no other".to_owned())),
        };
        let input = match called {
            Ok((line, incoming)) => {
                self.news.hub_reached(&url);
                return self.stay(line, incoming).await;
            }
            Err(Ended::Known) => {
                self.news.hub_reached(&url);
                Input::Known(number)
            }
            // The place is ours for good: nobody needs to dial it again.
            Err(Ended::Own) => {
                self.news.hub_reached(&url);
                Input::Welcome { dial: number, hubs: Vec::new(), names: Vec::new() }
            }
            Err(Ended::Twin(why)) => {
                self.news.hub_trouble(&url, &why);
                Input::Refused(number, Cause::Forbidden)
            }
            Err(Ended::Failed(why)) => {
                if !self.draining.get() {
                    self.news.hub_trouble(&url, &why);
                }
                Input::Failed(number)
            }
            Err(Ended::Refused(cause, why)) => {
                if cause != Cause::Leaving {
                    self.news.hub_trouble(&url, &format!("it refuses: {why}"));
                }
                Input::Refused(number, cause)
            }
        };
        let _ = self.peers.inputs.send(input);
    }

    async fn call(
        &self,
        keys: &HubKeys,
        number: u64,
        url: &str,
        turn: u32,
    ) -> Result<(Rc<Line>, Incoming), Ended> {
        let (host, port) =
            address::authority(url, PEERS_PORT).map_err(|why| Ended::Failed(why.to_string()))?;
        let Connected { carrier, to, .. } = plain(host, port, turn).await?;
        let Sealed { mut carrier, binding, shown } = keys.connect(carrier).await?;
        let own = &self.hub.name;
        let dialer = Dialer {
            caller: Caller::Hub,
            name: own,
            instance: self.hub.instance,
            key: keys.hello(),
            offers: &[],
            binding: &binding,
        };
        let met = dial(&mut carrier, dialer, |hub| {
            if !shown.is(&hub.hub) {
                return Err(Ended::Failed(format!(
                    "it calls itself {}, and its certificate does not",
                    hub.hub
                )));
            }
            self.look(number, hub, &to.to_string())
        });
        let met = met.await?;
        let (session, incoming) = Session::start(carrier, Side::Agent, Limits::default());
        let line = Line {
            number,
            hub: met.hub.hub,
            instance: met.hub.instance,
            to,
            session,
            began: boot_now(),
            leaving: Cell::new(false),
            load: Load::default(),
            count: Count::default(),
        };
        Ok((Rc::new(line), incoming))
    }

    /// Whether a hub that has answered is wanted.
    fn look(&self, number: u64, hub: &Challenge, at: &str) -> Result<(), Ended> {
        let own = hub.hub == self.hub.name;
        if own && hub.instance != self.hub.instance {
            let why = format!(
                "the hub at {at} is called {} as this one is: give one of them another [node] id",
                hub.hub
            );
            return Err(Ended::Twin(why));
        }
        let lines = self.peers.lines.borrow();
        let later = |line: &&Rc<Line>| {
            line.hub == hub.hub && line.instance > hub.instance && !line.session.is_closed()
        };
        if let Some(line) = lines.iter().find(later) {
            let why = format!(
                "two hubs are called {}, at {} and at {at}: give one of them another [node] id",
                hub.hub, line.to
            );
            return Err(Ended::Twin(why));
        }
        let wanted = self.peers.roam.borrow_mut().meets(number, hub, boot_now());
        match (wanted, own) {
            (true, true) => Err(Ended::Own),
            (true, false) => Ok(()),
            (false, _) => Err(Ended::Known),
        }
    }

    /// Keeps a session until it ends.
    async fn stay(self: Rc<Self>, line: Rc<Line>, mut incoming: Incoming) {
        let peers = &self.peers;
        tracing::info!(hub = line.hub, to = %line.to, "a hub has been reached");
        peers.lines.borrow_mut().push(Rc::clone(&line));
        let began =
            directory::Input::Began { session: line.number, hub: line.hub.clone(), epoch: line.instance };
        peers.book.borrow_mut().handle(began);
        peers.settle();
        self.news.hub_joined(&line.hub, line.instance, &line.to.to_string());
        let welcome = Input::Welcome { dial: line.number, hubs: Vec::new(), names: Vec::new() };
        let _ = peers.inputs.send(welcome);
        let why = loop {
            tokio::select! {
                why = line.session.closed() => break why,
                Some((open, stream)) = incoming.next() => {
                    if open.target == RECORDS {
                        spawn_local(Rc::clone(&self).listen(Rc::clone(&line), stream));
                    } else {
                        stream.reset(Code::Denied);
                    }
                }
            }
        };
        tracing::info!(hub = line.hub, to = %line.to, %why, "a hub is gone");
        peers.lost(&line, &why.to_string());
    }

    /// Takes in what a hub pushes.
    async fn listen(self: Rc<Self>, line: Rc<Line>, stream: Stream) {
        if let Err(why) = push::read(stream, |message| self.peers.said(line.number, message)).await {
            tracing::warn!(hub = line.hub, to = %line.to, "{why}: its session is ended");
            return line.session.close();
        }
        // Without it nobody knows any more what is there; who leaves has said so, and lets connections end.
        if !line.leaving.get() {
            line.session.close();
        }
    }
}
