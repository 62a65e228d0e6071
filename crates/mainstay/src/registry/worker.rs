//! The role's loop: what vip posts and time passing for the deputy, its steps for the store.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use mainstay_config::plan::Plan;
use mainstay_config::plan::cluster::Cluster;
use mainstay_core::lease::external::{Ability, Deputy, Done, Effect, Input, Step};
use mainstay_core::time::Boot;
use mainstay_sys::clock::boot_now;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::store::{Account, Store, open};
use crate::ipc::{Channel, Closed, FromRegistry, Outbox, ToRegistry, watched};
use crate::status::ExternalStatus;

/// How often the supervisor hears that this task runs, and how the store does.
const ALIVE: Duration = Duration::from_secs(1);

/// Messages kept for a supervisor that does not read; the oldest go first, as replies that come late count for little.
const OUTBOX: usize = 64;

/// After the supervisor has hung up, what is being given back may take so long.
const LINGER: Duration = Duration::from_secs(2);

/// One step that came to nothing is no news.
const TOLD: u32 = 2;

/// What a step has come to, and how the store does.
type Taken = (u64, anyhow::Result<Done>, Account);

/// The role's state.
pub(super) struct Worker {
    channel: AsyncFd<Channel>,
    outbox: Outbox<FromRegistry>,
    node: String,
    cluster: Option<Cluster>,
    post: Option<Post>,
    alive_at: Boot,
}

/// The store that is in use, and its deputy.
struct Post {
    id: String,
    deputy: Deputy,
    steps: mpsc::UnboundedSender<(u64, Step)>,
    taken: mpsc::UnboundedReceiver<Taken>,
    attendant: JoinHandle<()>,
    account: Account,
    /// When it last answered, and what is wrong.
    answered: Option<Boot>,
    trouble: Option<String>,
    /// Steps that came to nothing, one after the other.
    failed: u32,
}

/// What woke the loop.
enum Woken {
    Channel,
    Taken(Taken),
    Time,
}

impl Worker {
    pub(super) fn new(channel: Channel) -> anyhow::Result<Self> {
        Ok(Self {
            channel: watched(channel).context("watch the supervisor's channel")?,
            outbox: Outbox::new(OUTBOX),
            node: String::new(),
            cluster: None,
            post: None,
            alive_at: boot_now(),
        })
    }

    /// Serves until the channel is closed, then finishes what is being given back.
    pub(super) async fn serve(&mut self) -> anyhow::Result<()> {
        let mut end = None;
        loop {
            let woken = self.wait(end).await?;
            match woken {
                Woken::Channel => match self.listen() {
                    Ok(()) => {}
                    Err(error) if error.is::<Closed>() => end = Some(boot_now() + LINGER),
                    Err(error) => return Err(error),
                },
                Woken::Taken((step, done, account)) => self.taken(step, done, account),
                Woken::Time => {}
            }
            self.tick();
            self.outbox.flush(self.channel.get_ref());
            let busy = self.post.as_ref().is_some_and(|post| post.deputy.is_busy());
            if end.is_some_and(|end| !busy || end <= boot_now()) {
                return Ok(());
            }
        }
    }

    async fn wait(&mut self, end: Option<Boot>) -> anyhow::Result<Woken> {
        let due = self.post.as_ref().and_then(|post| post.deputy.poll_timeout()).unwrap_or(Boot::NEVER);
        let next = due.min(self.alive_at).min(end.unwrap_or(Boot::NEVER)).since(boot_now());
        let open = end.is_none();
        let taken = async {
            match &mut self.post {
                Some(post) => post.taken.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(taken) = taken => Ok(Woken::Taken(taken)),
            guard = self.channel.readable(), if open => {
                guard.context("wait for the supervisor")?.clear_ready();
                Ok(Woken::Channel)
            }
            () = sleep(next) => Ok(Woken::Time),
        }
    }

    fn listen(&mut self) -> anyhow::Result<()> {
        while let Some(received) = self.channel.get_ref().receive::<ToRegistry>()? {
            match received.message {
                ToRegistry::Plan(plan) => self.adopt(*plan),
                ToRegistry::Posted(posted) => self.feed(Input::Posted(posted)),
                // A voter's store keeps no hubs.
                ToRegistry::Own(_) => {}
            }
        }
        Ok(())
    }

    /// Puts a Plan in force; the deputy goes on when its store stays the same.
    fn adopt(&mut self, plan: Plan) {
        self.node.clone_from(&plan.node);
        let before = self.cluster.take();
        let store =
            |cluster: &Cluster| (cluster.name.clone(), cluster.external().map(|(peer, _)| peer.clone()));
        let same = before.as_ref().map(store) == plan.cluster.as_ref().map(store);
        self.cluster = plan.cluster;
        let Some(cluster) = &self.cluster else {
            self.post = None;
            return self.say(FromRegistry::Ready);
        };
        let ability = Ability { node: self.node.clone(), terms: cluster.terms, epoch_floor: wall_ms() };
        let terms_same = before.is_some_and(|before| before.terms.term == cluster.terms.term);
        match self.post.as_mut().filter(|_| same && terms_same) {
            Some(post) => post.deputy.set(ability),
            None => match open(cluster) {
                Ok(opened) => {
                    let now = boot_now();
                    let deputy = match &self.post {
                        Some(post) => Deputy::after(&post.deputy, ability, now),
                        None => Deputy::new(ability, now),
                    };
                    self.post = opened.map(|(id, store)| Post::new(id, store, deputy));
                }
                Err(error) => {
                    self.post = None;
                    let message = format!("the external voter cannot be spoken to: {error:#}");
                    self.event("voter", message);
                }
            },
        }
        self.say(FromRegistry::Ready);
    }

    fn feed(&mut self, input: Input) {
        let Some(post) = &mut self.post else { return };
        post.deputy.handle(input, boot_now());
        let mut said = Vec::new();
        while let Some(effect) = post.deputy.poll_effect() {
            match effect {
                // The attendant lives as long as the post.
                Effect::Step { step, what } => drop(post.steps.send((step, what))),
                Effect::Say(heard) => said.push(FromRegistry::Heard(heard)),
                Effect::Mute(length) => {
                    let message = format!(
                        "{} remembers no promises: it makes none for {} ms, until all that it may have made are over",
                        post.id,
                        length.as_millis()
                    );
                    said.push(event(&self.node, &post.id, message));
                }
                Effect::Open => {
                    said.push(event(&self.node, &post.id, format!("{} promises from here on", post.id)));
                }
            }
        }
        said.into_iter().for_each(|message| self.say(message));
    }

    fn taken(&mut self, step: u64, done: anyhow::Result<Done>, account: Account) {
        let Some(post) = &mut self.post else { return };
        post.account = account;
        let at = post.account.endpoint.clone().unwrap_or_else(|| "none of its members".into());
        let mut news = None;
        let input = match done {
            Ok(done) => {
                post.answered = Some(boot_now());
                post.trouble = None;
                if std::mem::take(&mut post.failed) >= TOLD {
                    news = Some(format!("{} answers again, at {at}", post.id));
                }
                Input::Done { step, done }
            }
            Err(error) => {
                let why = format!("{error:#}");
                post.failed = post.failed.saturating_add(1);
                if post.failed == TOLD {
                    news = Some(format!("{} does not answer: {why}", post.id));
                }
                post.trouble = Some(why);
                Input::Failed { step }
            }
        };
        if let Some(message) = news {
            let id = post.id.clone();
            self.event(&id, message);
            self.alive_at = boot_now();
        }
        self.feed(input);
    }

    fn tick(&mut self) {
        let now = boot_now();
        let due = |post: &Post| post.deputy.poll_timeout().is_some_and(|at| at <= now);
        if self.post.as_ref().is_some_and(due) {
            self.feed(Input::Tick);
        }
        if self.alive_at <= now {
            self.alive_at = now + ALIVE;
            let state = self.post.as_ref().map(|post| post.status(now));
            self.say(FromRegistry::State(state));
        }
    }

    fn event(&mut self, about: &str, message: String) {
        self.say(event(&self.node, about, message));
    }

    fn say(&mut self, message: FromRegistry) {
        self.outbox.say(message);
    }
}

impl Post {
    fn new(id: String, store: Box<dyn Store>, deputy: Deputy) -> Self {
        let (steps, asked) = mpsc::unbounded_channel();
        let (told, taken) = mpsc::unbounded_channel();
        let attendant = tokio::task::spawn_local(attend(store, asked, told));
        let account = Account::default();
        Self { id, deputy, steps, taken, attendant, account, answered: None, trouble: None, failed: 0 }
    }

    fn status(&self, now: Boot) -> ExternalStatus {
        let Account { endpoint, rtt, calls, failures } = &self.account;
        ExternalStatus {
            endpoint: endpoint.clone(),
            rtt_ms: rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            answers: self.answered.is_some() && self.trouble.is_none(),
            answered_ms_ago: self
                .answered
                .map(|at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX)),
            trouble: self.trouble.clone(),
            calls: *calls,
            failures: *failures,
        }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        self.attendant.abort();
    }
}

/// Takes one step after the other.
async fn attend(
    mut store: Box<dyn Store>,
    mut steps: mpsc::UnboundedReceiver<(u64, Step)>,
    told: mpsc::UnboundedSender<Taken>,
) {
    while let Some((number, step)) = steps.recv().await {
        let done = store.take(&step).await;
        let _ = told.send((number, done, store.account()));
    }
}

fn event(node: &str, about: &str, message: String) -> FromRegistry {
    FromRegistry::Event(crate::events::event(node, "cluster", about, message))
}

/// Milliseconds of the wall clock.
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
