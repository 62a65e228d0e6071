//! The desk: calls go to the machine, its steps to the store, its answers back.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mainstay_config::plan::tunnel::label;
use mainstay_core::gost::plugin::{self as core, Ask, Effect, Input, Moment, News, Plugin, Reply, Step};
use mainstay_core::time::Boot;
use mainstay_sys::clock::boot_now;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::sleep;

use super::redis::RedisShelf;
use super::shelf::Shelf;
use super::{Kind, Settings};

/// The longest that the machine is left alone.
const IDLE: Duration = Duration::from_secs(60);

/// What was counted, for the operator.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) connections: Cell<u64>,
    pub(super) calls: Cell<u64>,
    /// Bytes that are no call: of HTTP, of gRPC, of protobuf, of JSON; a name or an address that is none.
    pub(super) malformed: Cell<u64>,
    /// Callers without the token.
    pub(super) refused: Cell<u64>,
    /// Connections beyond the bound.
    pub(super) crowded: Cell<u64>,
}

pub(super) fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

/// A plugin at work, on one thread.
pub struct Desk {
    pub(super) kind: Kind,
    pub(super) token: Option<String>,
    pub(super) counts: Counts,
    plugin: RefCell<Plugin>,
    answers: RefCell<HashMap<u64, oneshot::Sender<Reply>>>,
    steps: Option<mpsc::UnboundedSender<(u64, Step)>>,
    /// Where the store is.
    place: String,
    /// Why it did not answer last.
    trouble: RefCell<String>,
    next: Cell<u64>,
    changed: Notify,
}

impl Desk {
    /// Sets it up; its tasks live as long as it is held, on the thread's local set.
    ///
    /// # Errors
    /// When the store cannot be spoken to at all, such as for a certificate that is none.
    pub fn open(settings: &Settings) -> anyhow::Result<Rc<Self>> {
        let shelf = match &settings.redis {
            Some((places, access)) => Some(RedisShelf::new(places, access, settings.expiration)?),
            None => None,
        };
        let plugin = Plugin::new(
            core::Settings {
                stored: shelf.is_some(),
                lasts: settings.expiration,
                domains: settings.domains.clone(),
                generate: label,
            },
            moment(),
        );
        let (steps, asked) = mpsc::unbounded_channel();
        let desk = Rc::new(Self {
            kind: settings.kind,
            token: settings.token.clone(),
            counts: Counts::default(),
            plugin: RefCell::new(plugin),
            answers: RefCell::default(),
            steps: shelf.is_some().then_some(steps),
            place: shelf.as_ref().map_or_else(|| "memory".into(), Shelf::place),
            trouble: RefCell::default(),
            next: Cell::new(0),
            changed: Notify::new(),
        });
        if let Some(shelf) = shelf {
            tokio::task::spawn_local(attend(Box::new(shelf), asked, Rc::downgrade(&desk)));
        }
        let kept = Rc::downgrade(&desk);
        tokio::task::spawn_local(async move {
            loop {
                let Some(desk) = kept.upgrade() else { return };
                let due = desk.plugin.borrow().poll_timeout().since(boot_now()).min(IDLE);
                tokio::select! {
                    () = sleep(due) => desk.feed(Input::Tick),
                    () = desk.changed.notified() => {}
                }
            }
        });
        desk.drain();
        Ok(desk)
    }

    /// Puts a call and waits for its answer, which comes within what the machine bears to wait.
    pub(super) async fn ask(&self, ask: Ask) -> Reply {
        let call = self.next.get();
        self.next.set(call + 1);
        let (answer, answered) = oneshot::channel();
        self.answers.borrow_mut().insert(call, answer);
        self.feed(Input::Call { call, ask });
        answered.await.unwrap_or(Reply::Full)
    }

    fn feed(&self, input: Input) {
        self.plugin.borrow_mut().handle(input, moment());
        self.drain();
    }

    fn drain(&self) {
        loop {
            let Some(effect) = self.plugin.borrow_mut().poll_effect() else { break };
            match effect {
                Effect::Answer { call, reply } => {
                    if let Some(answer) = self.answers.borrow_mut().remove(&call) {
                        // Whoever asked may have gone.
                        let _ = answer.send(reply);
                    }
                }
                Effect::Take { step, what } => {
                    if let Some(steps) = &self.steps {
                        let _ = steps.send((step, what));
                    }
                }
                Effect::Tell(news) => self.tell(news),
            }
        }
        self.changed.notify_one();
    }

    fn tell(&self, news: News) {
        let (redis, why) = (&self.place, self.trouble.borrow());
        match news {
            News::Silent => {
                tracing::warn!(
                    redis,
                    "redis does not answer: {why}; what is known is served, what is told is kept"
                );
            }
            News::Returned(after) => {
                tracing::info!(redis, "redis answers again, after {} s", after.as_secs())
            }
            News::Lost => {
                tracing::warn!(redis, "redis has lost everything: what was told here is written again")
            }
        }
    }

    /// Says in the log how it goes.
    pub(super) fn sum_up(&self) {
        let (counts, of) = (self.plugin.borrow().counts(), &self.counts);
        let silent = self.plugin.borrow().silent().map(|since| boot_now().since(since).as_secs());
        tracing::info!(
            plugin = self.kind.name(),
            tunnels = counts.tunnels,
            clients = counts.clients,
            hosts = counts.rules,
            unwritten = counts.unwritten,
            "what is known"
        );
        tracing::info!(
            connections = of.connections.get(),
            calls = of.calls.get(),
            malformed = of.malformed.get(),
            refused = of.refused.get(),
            crowded = of.crowded.get(),
            strange = counts.strange,
            "callers"
        );
        tracing::info!(
            store = self.place,
            failed = counts.failed,
            from_memory = counts.from_memory,
            silent_seconds = silent,
            "the store"
        );
    }

    /// Where all is kept.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// How many calls could not be read.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.counts.malformed.get()
    }
}

fn moment() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let boot: Boot = boot_now();
    Moment { boot, unix: since.as_secs() }
}

/// Has the store take steps, all that wait in one go.
async fn attend(
    mut shelf: Box<dyn Shelf>,
    mut asked: mpsc::UnboundedReceiver<(u64, Step)>,
    desk: std::rc::Weak<Desk>,
) {
    let mut batch = Vec::new();
    while asked.recv_many(&mut batch, core::STEPS_MAX).await > 0 {
        let (numbers, steps): (Vec<u64>, Vec<Step>) = batch.drain(..).unzip();
        let taken = shelf.take(&steps).await;
        let Some(desk) = desk.upgrade() else { return };
        match taken {
            Ok(taken) => {
                for (step, found) in numbers.into_iter().zip(taken.found) {
                    desk.feed(Input::Taken { step, found, epoch: taken.epoch.clone() });
                }
            }
            Err(why) => {
                desk.trouble.replace(format!("{why:#}"));
                numbers.into_iter().for_each(|step| desk.feed(Input::Failed { step }));
            }
        }
    }
}
