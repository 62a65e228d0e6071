//! The loop: hears the supervisor and the tasks, gives gauges their time, tells verdicts.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use mainstay_core::election::Verdict;
use mainstay_core::name::ProbeId;
use mainstay_core::probe::{Effect, Gauge, Input};
use mainstay_core::time::Boot;
use mainstay_sys::clock::boot_now;
use rustix::io::fcntl_dupfd_cloexec;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::check::process::{WATCHED_MAX, watch};
use super::check::{Report, Work, check, words};
use super::plan::{Heard, Task, View};
use super::slot::{Slot, word};
use super::{AbortOnDrop, Tools, watched};
use crate::ipc::{Channel, Closed, FromProbe};
use crate::notify::delivery::{Book, Delivery, Trouble};
use crate::status::Event;

/// First checks of probes that start together are so far apart.
const SPREAD: Duration = Duration::from_millis(2);

/// First checks are not put off by more than this, nor by more than an interval.
const SPREAD_MAX: Duration = Duration::from_secs(1);

/// Events that wait for the supervisor; beyond this the oldest are dropped.
const EVENTS_MAX: usize = 1024;

/// What tasks tell the loop.
pub(super) enum Word {
    /// A check has ended.
    Checked {
        /// Whose.
        token: u64,
        /// How.
        report: Report,
        /// How long it took.
        took: Duration,
    },
    /// A restart has ended.
    Restarted {
        /// Whose.
        token: u64,
        /// Whether the command succeeded.
        ok: bool,
        /// What it said.
        detail: String,
    },
    /// A watched process has ended.
    Died {
        /// Of which probe.
        token: u64,
        /// Which.
        pid: u32,
    },
    /// A verdict that a pool's probe counts has changed.
    Recount {
        /// Of which probe.
        token: u64,
    },
    /// A delivery has failed.
    Trouble(Trouble),
    /// Tell the supervisor.
    Say(FromProbe),
}

/// How long deliveries may go on after the supervisor has hung up: less than it waits for them.
const LINGER: Duration = Duration::from_millis(4500);

/// The role's state.
pub(super) struct Worker {
    channel: Channel,
    /// The same socket, for epoll.
    ready: AsyncFd<OwnedFd>,
    heard: mpsc::UnboundedReceiver<Word>,
    tools: Rc<Tools>,
    delivery: Delivery,
    book: Book,
    node: String,
    slots: Vec<Slot>,
    /// The vips that are held here.
    held: Vec<String>,
    next_token: u64,
    /// Positions of the slots, by token.
    positions: HashMap<u64, usize>,
    /// When each gauge wants its tick, by position.
    agenda: BTreeSet<(Boot, usize)>,
    /// What the channel was too full to take, beside the slots that are dirty.
    outbox: VecDeque<FromProbe>,
    /// Positions of slots whose status has to be told.
    dirty: BTreeSet<usize>,
}

impl Worker {
    /// A worker without probes.
    pub(super) fn new(
        channel: Channel,
        tools: Tools,
        heard: mpsc::UnboundedReceiver<Word>,
    ) -> anyhow::Result<Self> {
        let socket = fcntl_dupfd_cloexec(&channel, 0).context("watch the supervisor's channel")?;
        let ready = watched(socket, Interest::READABLE | Interest::WRITABLE)
            .context("watch the supervisor's channel")?;
        let said = tools.said.clone();
        let delivery = Delivery::new(move |trouble| {
            // The worker that receives it lives as long as any delivery.
            let _ = said.send(Word::Trouble(trouble));
        });
        Ok(Self {
            channel,
            ready,
            heard,
            tools: Rc::new(tools),
            delivery,
            book: Book::default(),
            node: String::new(),
            slots: Vec::new(),
            held: Vec::new(),
            next_token: 0,
            positions: HashMap::new(),
            agenda: BTreeSet::new(),
            outbox: VecDeque::new(),
            dirty: BTreeSet::new(),
        })
    }

    /// Serves until the channel is closed, then delivers what is under way.
    pub(super) async fn serve(&mut self) -> anyhow::Result<()> {
        loop {
            let served = self.turn().await;
            match served {
                Ok(()) => {}
                Err(error) if error.is::<Closed>() => {
                    let _ = tokio::time::timeout(LINGER, self.delivery.finish()).await;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for one thing and does what follows from it.
    async fn turn(&mut self) -> anyhow::Result<()> {
        let blocked = !self.outbox.is_empty() || !self.dirty.is_empty();
        let interest = if blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let next = self.agenda.first().map_or(Duration::from_secs(3600), |(wake, _)| wake.since(boot_now()));
        let mut readable = false;
        tokio::select! {
            biased;
            Some(word) = self.heard.recv() => {
                self.hear(word);
                while let Ok(word) = self.heard.try_recv() {
                    self.hear(word);
                }
            }
            guard = self.ready.ready(interest) => {
                let mut guard = guard.context("wait for the supervisor")?;
                readable = guard.ready().is_readable() || guard.ready().is_read_closed();
                // Both are tried below; the kernel tells again when there is more.
                guard.clear_ready();
            }
            () = sleep(next) => {}
        }
        if readable {
            self.listen()?;
        }
        self.tick();
        self.flush()
    }

    fn listen(&mut self) -> anyhow::Result<()> {
        while let Some(received) = self.channel.receive::<Heard>()? {
            match received.message {
                Heard::Plan(view) => self.adopt(view),
                Heard::Ran(outcome) => self.tools.ran(outcome),
                Heard::Held(vips) => self.held = vips,
                Heard::Notice(notice) => self.delivery.accept(notice, &self.book, &self.tools),
            }
        }
        Ok(())
    }

    /// Puts a Plan in force: what did not change keeps its verdict and its schedule.
    fn adopt(&mut self, view: View) {
        let now = boot_now();
        let tasks = view.tasks();
        self.node.clone_from(&view.node);
        self.book = view.into_book();
        self.tools.tls.clear();
        let mut before: Vec<Option<Slot>> = self.slots.drain(..).map(Some).collect();
        let mut fresh = 0;
        for task in tasks {
            let same_name =
                |slot: &&mut Option<Slot>| slot.as_ref().is_some_and(|one| one.task.name == task.name);
            let old = before.iter_mut().find(same_name).and_then(Option::take);
            let slot = self.succeed(old, task, now, &mut fresh);
            self.slots.push(slot);
        }
        debug!(probes = self.slots.len(), fresh, "plan in force");
        self.positions = self.slots.iter().enumerate().map(|(index, slot)| (slot.token, index)).collect();
        self.agenda = self.slots.iter().enumerate().map(|(index, slot)| (slot.wake, index)).collect();
        self.dirty = (0..self.slots.len()).collect();
        for index in 0..self.slots.len() {
            self.carry_out(index, now);
        }
        self.outbox.push_back(FromProbe::Ready);
    }

    fn succeed(&mut self, old: Option<Slot>, task: Task, now: Boot, fresh: &mut u32) -> Slot {
        let old = match old {
            Some(mut same) if same.task.is_same(&task) => {
                // Commands may have other indices now.
                same.task = Rc::new(task);
                return same;
            }
            other => other,
        };
        self.next_token += 1;
        let step = SPREAD * *fresh;
        *fresh += 1;
        let most = task.spec.interval.min(SPREAD_MAX).as_nanos().max(1);
        let delay = Duration::from_nanos(u64::try_from(step.as_nanos() % most).unwrap_or(0));
        let gauge = match &old {
            Some(old) => Gauge::after(&old.gauge, task.spec, now, now + delay),
            None => Gauge::new(task.spec, now, now + delay),
        };
        let told = old.map_or(Verdict::Pending, |old| old.told_verdict);
        Slot::new(task, gauge, self.next_token, told)
    }

    fn hear(&mut self, word: Word) {
        let now = boot_now();
        match word {
            Word::Checked { token, report, took } => {
                let Some(index) = self.position(token) else { return };
                let slot = &mut self.slots[index];
                // A handle keeps its finished task's memory.
                slot.check = None;
                slot.note(&report, took, now);
                self.watch(index, &report, now);
                self.give(index, Input::Result(report.finding), now);
            }
            Word::Restarted { token, ok, detail } => {
                let Some(index) = self.position(token) else { return };
                let slot = &mut self.slots[index];
                slot.restart = None;
                let end = if ok { "succeeded" } else { "failed" };
                let message = format!("the restart of probe {} {end}{}", slot.task.name, after(&detail));
                let about = slot.task.name.clone();
                self.event("probe", about, message, |event| event.reason = Some("restarted".into()));
                self.give(index, Input::Restarted { ok }, now);
            }
            Word::Died { token, pid } => {
                let Some(index) = self.position(token) else { return };
                self.slots[index].watched.remove(&pid);
                self.give(index, Input::Nudge, now);
            }
            Word::Recount { token } => {
                let Some(index) = self.position(token) else { return };
                self.give(index, Input::Nudge, now);
            }
            Word::Trouble(Trouble { about, message }) => self.event("notify", about, message, |_| {}),
            Word::Say(message) => self.outbox.push_back(message),
        }
    }

    /// Gives every gauge its tick that wants it.
    fn tick(&mut self) {
        let now = boot_now();
        while let Some((wake, index)) = self.agenda.first().copied()
            && wake <= now
        {
            self.give(index, Input::Tick, now);
        }
    }

    fn give(&mut self, index: usize, input: Input, now: Boot) {
        self.slots[index].gauge.handle(input, now);
        self.carry_out(index, now);
    }

    /// Does what a gauge asks for and notes when it wants its next tick.
    fn carry_out(&mut self, index: usize, now: Boot) {
        while let Some(effect) = self.slots[index].gauge.poll_effect() {
            match effect {
                Effect::Check => self.start_check(index, now),
                Effect::Restart { attempt } => self.start_restart(index, attempt),
                Effect::Verdict(verdict) => self.changed(index, verdict),
            }
        }
        let slot = &mut self.slots[index];
        if slot.dirty {
            self.dirty.insert(index);
        }
        self.agenda.remove(&(slot.wake, index));
        slot.wake = slot.gauge.poll_timeout();
        self.agenda.insert((slot.wake, index));
    }

    fn start_check(&mut self, index: usize, now: Boot) {
        if let Work::Pool(members) = &self.slots[index].task.work {
            let verdict =
                |id: ProbeId| self.slots.get(id.index()).map_or(Verdict::Pending, |one| one.gauge.verdict());
            let report = members.judge(verdict);
            let token = self.slots[index].token;
            // By the way of all other results: what asks for a check does not expect one before it has returned.
            return self.tools.say(Word::Checked { token, report, took: Duration::ZERO });
        }
        let through = self.slots[index].task.through.as_ref();
        if let Some(vip) = through.filter(|vip| self.held.contains(vip)) {
            // It would talk to itself.
            let report = Report::new(true, format!("not looked at: this node holds vip {vip}"));
            let token = self.slots[index].token;
            return self.tools.say(Word::Checked { token, report, took: Duration::ZERO });
        }
        let slot = &mut self.slots[index];
        let (token, known, lane) = (slot.token, slot.known(now), slot.lane.clone());
        let (tools, task) = (Rc::clone(&self.tools), Rc::clone(&slot.task));
        slot.check = Some(AbortOnDrop::spawn(async move {
            let failed = Report::new(false, "the check broke off: a bug of ours");
            let word = Word::Checked { token, report: failed, took: Duration::ZERO };
            let mut promise = Promise { tools: &tools, word: Some(word) };
            let started = boot_now();
            let report = check(&tools, &task, &lane, known).await;
            promise.word = Some(Word::Checked { token, report, took: boot_now().since(started) });
        }));
    }

    fn start_restart(&mut self, index: usize, attempt: u32) {
        let slot = &mut self.slots[index];
        slot.restarts += 1;
        slot.dirty = true;
        let (token, tools, task) = (slot.token, Rc::clone(&self.tools), Rc::clone(&slot.task));
        slot.restart = Some(AbortOnDrop::spawn(async move {
            let failed = Word::Restarted { token, ok: false, detail: "a bug of ours".to_owned() };
            let mut promise = Promise { tools: &tools, word: Some(failed) };
            let (ok, detail) = restart(&tools, &task, attempt).await;
            promise.word = Some(Word::Restarted { token, ok, detail });
        }));
        let message =
            format!("probe {} failed{}; restart {attempt} is tried", slot.task.name, after(slot.detail()));
        let about = slot.task.name.clone();
        self.event("probe", about, message, |event| event.reason = Some("restart".into()));
    }

    fn changed(&mut self, index: usize, verdict: Verdict) {
        let slot = &mut self.slots[index];
        slot.dirty = true;
        let from = std::mem::replace(&mut slot.told_verdict, verdict);
        self.recount(index);
        let slot = &self.slots[index];
        if from == verdict {
            return;
        }
        let name = slot.task.name.clone();
        let message = match verdict {
            Verdict::Unknown => format!("probe {name} is unknown: no check has ended for too long"),
            Verdict::Pending | Verdict::Up | Verdict::Down => {
                format!("probe {name} is {}{}", word(verdict), after(slot.detail()))
            }
        };
        self.event("probe", name, message, |event| {
            event.from = Some(word(from).to_owned());
            event.to = Some(word(verdict).to_owned());
        });
    }

    /// Has the pools counted anew that a probe belongs to.
    fn recount(&mut self, index: usize) {
        let counts = |slot: &Slot| match &slot.task.work {
            Work::Pool(members) => members.probes.iter().any(|probe| probe.index() == index),
            Work::Exec(_)
            | Work::Tcp { .. }
            | Work::Http(_)
            | Work::Grpc(_)
            | Work::Ping(_)
            | Work::Process(_)
            | Work::Interface(_)
            | Work::File { .. }
            | Work::Broken(_) => false,
        };
        for slot in self.slots.iter().filter(|slot| counts(slot)) {
            self.tools.say(Word::Recount { token: slot.token });
        }
    }

    /// Watches what a check found, and nothing else.
    fn watch(&mut self, index: usize, report: &Report, now: Boot) {
        let slot = &mut self.slots[index];
        let Some(pids) = &report.pids else { return };
        slot.scanned = now;
        slot.watched.retain(|pid, _| pids.contains(pid));
        for pid in pids.iter().copied().take(WATCHED_MAX) {
            if slot.watched.contains_key(&pid) {
                continue;
            }
            let (token, tools) = (slot.token, Rc::clone(&self.tools));
            match watch(pid, move || tools.say(Word::Died { token, pid })) {
                Some(task) => drop(slot.watched.insert(pid, task)),
                None => self.tools.say(Word::Died { token, pid }),
            }
        }
    }

    /// None for a probe that a reload took away or changed.
    fn position(&self, token: u64) -> Option<usize> {
        self.positions.get(&token).copied()
    }

    fn event(&mut self, kind: &str, about: String, message: String, fill: impl FnOnce(&mut Event)) {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut event = Event {
            at_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
            node: self.node.clone(),
            kind: kind.to_owned(),
            about,
            from: None,
            to: None,
            reason: None,
            epoch: None,
            addrs: Vec::new(),
            priority: None,
            message,
        };
        fill(&mut event);
        let events = self.outbox.iter().filter(|message| matches!(message, FromProbe::Event(_))).count();
        if events >= EVENTS_MAX
            && let Some(oldest) = self.outbox.iter().position(|one| matches!(one, FromProbe::Event(_)))
        {
            self.outbox.remove(oldest);
        }
        self.outbox.push_back(FromProbe::Event(event));
    }

    /// Tells what has to be told as far as the channel takes it; statuses are made when they go, so the newest goes.
    fn flush(&mut self) -> anyhow::Result<()> {
        while let Some(index) = self.dirty.first().copied() {
            let status = self.slots[index].status(ProbeId(u32::try_from(index)?), boot_now());
            if !self.channel.send(&FromProbe::Verdict(status))? {
                return Ok(());
            }
            self.slots[index].dirty = false;
            self.dirty.remove(&index);
        }
        while let Some(message) = self.outbox.front() {
            if !self.channel.send(message)? {
                return Ok(());
            }
            self.outbox.pop_front();
        }
        Ok(())
    }
}

/// Says its word at a task's end, also when the task panicked: a gauge that hears nothing would wait for ever.
struct Promise<'a> {
    tools: &'a Tools,
    word: Option<Word>,
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        if let Some(word) = self.word.take() {
            self.tools.say(word);
        }
    }
}

async fn restart(tools: &Tools, task: &Task, attempt: u32) -> (bool, String) {
    let Some(order) = task.restart else { return (false, "there is no restart".to_owned()) };
    let env = vec![
        ("MAINSTAY_PROBE".to_owned(), task.name.clone()),
        ("MAINSTAY_ATTEMPT".to_owned(), attempt.to_string()),
    ];
    match timeout(order.patience, tools.run(order.command, env)).await {
        Ok(Some(outcome)) => (outcome.ok(), words(&outcome)),
        Ok(None) | Err(_) => (false, format!("no outcome within {:?}", order.patience)),
    }
}

/// What a check or a restart said, as the end of a sentence: its first line, if it said anything.
fn after(detail: &str) -> String {
    match detail.lines().find(|line| !line.trim().is_empty()) {
        Some(line) => format!(": {}", line.trim()),
        None => String::new(),
    }
}
