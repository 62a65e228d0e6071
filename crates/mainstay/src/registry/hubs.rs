//! Where hubs find each other: what the keeper asks of the store goes out one call at a time, and what it says is told.

use std::time::Duration;

use mainstay_config::plan::registry::{Registry, Store};
use mainstay_core::time::Boot;
use mainstay_core::tunnel::keeper::{Effect, Input, Keeper, News};
use mainstay_core::tunnel::record::Record;
use mainstay_sys::clock::boot_now;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::shelf::{Listing, Shelf, open};
use super::store::Account;
use crate::ipc::FromRegistry;
use crate::status::{HubKnown, RegistryStatus};

/// A store in use, and what is known from it.
pub(super) struct Book {
    node: String,
    plan: Registry,
    keeper: Keeper,
    calls: mpsc::UnboundedSender<Call>,
    ended: mpsc::UnboundedReceiver<Ended>,
    attendant: JoinHandle<()>,
    account: Account,
    answered: Option<Boot>,
    /// Why it could not be read, and why it did not take our record.
    trouble: Option<String>,
    refusal: Option<String>,
    unreadable: usize,
}

/// What is asked of the store.
enum Call {
    Write(u64, Record, Duration),
    List(u64),
}

/// What came of it.
pub(super) struct Ended {
    call: u64,
    writes: bool,
    answer: anyhow::Result<Answer>,
    account: Account,
}

enum Answer {
    Written,
    Listed(Listing),
}

impl Book {
    /// A store in the Plan; what the one before it told of hubs stays known.
    ///
    /// # Errors
    /// When it cannot be spoken to at all, such as for a certificate that is none.
    pub(super) fn open(node: &str, plan: &Registry, before: Option<&Self>) -> anyhow::Result<Self> {
        let now = boot_now();
        let keeper = match before.filter(|before| before.node == node) {
            Some(before) => Keeper::after(&before.keeper, plan.ttl, now),
            None => Keeper::new(node, plan.ttl, now),
        };
        let (calls, asked) = mpsc::unbounded_channel();
        let (told, ended) = mpsc::unbounded_channel();
        let attendant = tokio::task::spawn_local(attend(open(plan)?, asked, told));
        Ok(Self {
            node: node.into(),
            plan: plan.clone(),
            keeper,
            calls,
            ended,
            attendant,
            account: Account::default(),
            answered: None,
            trouble: None,
            refusal: None,
            unreadable: 0,
        })
    }

    /// Whether it serves this node and Plan as it is.
    pub(super) fn serves(&self, node: &str, plan: &Registry) -> bool {
        self.node == node && self.plan == *plan
    }

    /// The next call that has ended.
    pub(super) async fn ended(&mut self) -> Option<Ended> {
        self.ended.recv().await
    }

    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        self.keeper.poll_timeout()
    }

    /// A call has ended; what is to be said of it.
    pub(super) fn take(&mut self, ended: Ended) -> Vec<FromRegistry> {
        let Ended { call, writes, answer, account } = ended;
        self.account = account;
        let input = match answer {
            Ok(answer) => {
                self.answered = Some(boot_now());
                match answer {
                    Answer::Written => {
                        self.refusal = None;
                        Input::Written { call }
                    }
                    Answer::Listed(Listing { records, unreadable }) => {
                        self.unreadable = unreadable;
                        self.trouble = None;
                        Input::Listed { call, records }
                    }
                }
            }
            Err(why) => {
                let slot = if writes { &mut self.refusal } else { &mut self.trouble };
                *slot = Some(format!("{why:#}"));
                Input::Failed { call }
            }
        };
        self.feed(input)
    }

    /// Something has happened; what is to be said of it.
    pub(super) fn feed(&mut self, input: Input) -> Vec<FromRegistry> {
        self.keeper.handle(input, boot_now());
        let mut said = Vec::new();
        while let Some(effect) = self.keeper.poll_effect() {
            match effect {
                // The attendant lives as long as this.
                Effect::Write { call, record, ttl } => drop(self.calls.send(Call::Write(call, record, ttl))),
                Effect::List { call } => drop(self.calls.send(Call::List(call))),
                Effect::Hubs(hubs) => said.push(FromRegistry::Hubs(hubs)),
                Effect::Tell(news) => {
                    let event =
                        crate::events::event(&self.node, "registry", self.kind(), self.sentence(&news));
                    said.push(FromRegistry::Event(event));
                }
            }
        }
        said
    }

    const fn kind(&self) -> &'static str {
        self.plan.store.name()
    }

    /// Where it is: what is spoken to, or was meant to be.
    fn place(&self) -> String {
        let first = || match &self.plan.store {
            Store::Redis(places) => places.first().map(ToString::to_string),
            Store::Etcd(members) => members.first().cloned(),
        };
        self.account.endpoint.clone().or_else(first).unwrap_or_default()
    }

    fn sentence(&self, news: &News) -> String {
        let store = format!("the {} at {}", self.kind(), self.place());
        let why = |of: &Option<String>| of.clone().unwrap_or_else(|| "nobody knows why".into());
        match news {
            News::Silent => {
                let known = match self.keeper.hubs().len() {
                    0 => "no hub is known from it".into(),
                    1 => "the hub that it told of stays known".into(),
                    count => format!("the {count} hubs that it told of stay known"),
                };
                format!("{store} does not answer: {}; {known}", why(&self.trouble))
            }
            News::Returned(after) => format!("{store} answers again, after {} s", after.as_secs()),
            News::Unwritten => format!("{store} does not take this hub's record: {}", why(&self.refusal)),
            News::Taken => format!("{store} takes this hub's record again"),
            News::Lost { all: true } => format!("{store} has lost every record: this hub's is written again"),
            News::Lost { all: false } => {
                format!("{store} has lost this hub's record, which is written again")
            }
            News::Twin(record) => format!(
                "somebody else writes the record of hub {} in {store}: it says that it is at {} and began at {}, in milliseconds \
                 since 1970",
                record.hub,
                if record.addrs.is_empty() { "no address".into() } else { record.addrs.join(", ") },
                record.epoch
            ),
        }
    }

    pub(super) fn status(&self, now: Boot) -> RegistryStatus {
        let ago = |at: Boot| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
        let view = self.keeper.view();
        let Account { endpoint, rtt, calls, failures } = &self.account;
        let known = |(record, missing): &(Record, Option<Boot>)| HubKnown {
            hub: record.hub.clone(),
            addrs: record.addrs.clone(),
            epoch: record.epoch,
            tunnels: record.tunnels.len(),
            missing_ms: missing.map(ago),
        };
        RegistryStatus {
            kind: self.kind().into(),
            endpoint: endpoint.clone().unwrap_or_else(|| self.place()),
            prefix: self.plan.prefix.clone(),
            answers: self.answered.is_some() && view.silent.is_none(),
            answered_ms_ago: self.answered.map(ago),
            silent_ms: view.silent.map(ago),
            rtt_ms: rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            calls: *calls,
            failures: *failures,
            lost: view.lost,
            unreadable: self.unreadable,
            left_out: view.left_out,
            own: view.stands,
            tells: view.own.as_ref().is_some_and(|own| !own.addrs.is_empty()),
            unwritten: view.unwritten,
            twin: view.twin.map(|record| record.addrs.join(", ")),
            hubs: view.hubs.iter().map(known).collect(),
            trouble: self.trouble.clone().or_else(|| self.refusal.clone()),
        }
    }
}

impl Drop for Book {
    fn drop(&mut self) {
        self.attendant.abort();
    }
}

/// Carries out one call after the other.
async fn attend(
    mut shelf: Box<dyn Shelf>,
    mut calls: mpsc::UnboundedReceiver<Call>,
    told: mpsc::UnboundedSender<Ended>,
) {
    while let Some(call) = calls.recv().await {
        let (call, writes, answer) = match call {
            Call::Write(call, record, ttl) => {
                (call, true, shelf.write(&record, ttl).await.map(|()| Answer::Written))
            }
            Call::List(call) => (call, false, shelf.list().await.map(Answer::Listed)),
        };
        let _ = told.send(Ended { call, writes, answer, account: shelf.account() });
    }
}
