//! The process that starts workers, relays between them and takes a dead vip role's addresses away.
//!
//! It parses nothing from the network, so it has no reason to die.

mod agents;
mod calls;
mod cluster;
mod deposits;
mod edges;
mod handover;
mod hubs;
mod identity;
mod introduce;
mod listeners;
mod logs;
mod orders;
mod plans;
mod registry;
mod relay;
mod reload;
mod secrets;
mod seen;
mod slots;
mod sockets;
mod stop;
mod stuck;
mod tickets;
mod upgrade;
mod watchdog;
mod worker;

use std::collections::{HashMap, VecDeque};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_config::plan::Plan;
use mainstay_core::lease::VoterList;
use mainstay_core::time::Boot;
use mainstay_sys::clock::boot_now;
use mainstay_sys::process::{Breath, Exit, PidFd, Signals};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::dirs::Dirs;
use crate::events::{self, Ring};
use crate::ipc::{Identity, ToAgent, ToApi, ToExec, ToProbe, ToRegistry, ToVip};
use crate::role::Role;
use crate::status::{AgentStatus, Event, ProbeStatus, RegistryStatus};

pub(crate) use introduce::lock_state;
pub use upgrade::word;
pub use worker::PARENT;

use calls::Calls;
use deposits::Deposits;
use edges::Edges;
use handover::Found;
use orders::Orders;
use sockets::Sockets;
use stop::Stop;
use upgrade::{Upgrade, Upgraded};
use worker::{Place, Worker};

/// A loop of ours that never waits is ended by the kernel after this many microseconds of real-time CPU.
const REAL_TIME_BUDGET: u64 = 2_000_000;

/// The signals that mean something to a node.
pub const SIGNALS: [i32; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

/// What `mainstay run` was asked for.
#[derive(Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Where the socket and the state are.
    pub dirs: Dirs,
}

/// Everything the supervisor knows.
struct Supervisor {
    options: Options,
    /// The configuration.
    written: Arc<Plan>,
    /// What operators have said of pools since.
    orders: Orders,
    /// Both together: what is in force.
    plan: Arc<Plan>,
    /// What exec was given: the Plan, with commands of its predecessor that may still be asked for.
    exec_plan: Arc<Plan>,
    workers: Vec<Worker>,
    sockets: Sockets,
    edges: Edges,
    deposits: Deposits,
    /// Who the vip worker that runs is to its peers.
    identity: Option<Identity>,
    /// The voter list that the vip worker before it counted by.
    known_list: Option<VoterList>,
    /// When a state directory that could not be used is tried again.
    introduce_at: Boot,
    /// The watchdog that reboots this host once it is fed no more.
    watchdog: Option<watchdog::Watchdog>,
    /// This node has been alone for too long.
    alone: bool,
    /// Keeps the state directory ours.
    state_lock: Option<std::fs::File>,
    /// Why this node must end, when it must.
    unfit: Option<String>,
    probes: HashMap<String, ProbeStatus>,
    /// How the agents do.
    agents: Vec<AgentStatus>,
    /// How the store does in which hubs find each other.
    registry: Option<RegistryStatus>,
    /// The vips that are held here, for probes that look through them.
    held: Vec<String>,
    /// When each probe was last heard of.
    heard: HashMap<String, Boot>,
    calls: Calls,
    events: Ring,
    stop: Option<Stop>,
    /// The file of our program, as it was called when we were started.
    program: PathBuf,
    upgrade: Option<Upgrade>,
    upgraded: Option<Upgraded>,
    started: Boot,
    /// When the loop last looked round, and the latest that it meant to do so again.
    looked: Boot,
    look_by: Boot,
    reloads: u64,
    reload_failures: u64,
    deliveries_failed: u64,
    upgrades: u64,
    breath: Breath,
    /// Events to be recorded once the present message has been dealt with.
    news: VecDeque<Event>,
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// When the configuration is refused, another supervisor uses the runtime directory, or a socket cannot be bound.
pub fn run(options: Options, signals: Signals) -> anyhow::Result<()> {
    let now = boot_now();
    let mut supervisor = match handover::find() {
        Found::Nothing => start(options, now)?,
        Found::State(state, memory) => {
            let back = state.back;
            match upgrade::adopt(options, *state) {
                Ok(supervisor) => supervisor,
                Err(error) => return Err(upgrade::go_back(&error, back, memory)),
            }
        }
        Found::Foreign(why, back, memory) => return Err(upgrade::go_back(&why, back, memory)),
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        node = supervisor.plan.node,
        config = %supervisor.options.config.display(),
        vips = supervisor.plan.vips.len(),
        listeners = supervisor.plan.edge.listeners.len(),
        "mainstay starts"
    );
    if let Err(error) = mainstay_sys::process::real_time(1, REAL_TIME_BUDGET) {
        tracing::debug!("the supervisor runs without real-time priority: {error}");
    }
    upgrade::succeed(&mut supervisor, now);
    supervisor.watch(signals)
}

/// An ordinary start, with nothing there before.
fn start(options: Options, now: Boot) -> anyhow::Result<Supervisor> {
    let loaded = crate::cli::load(&options.config)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let sockets = Sockets::bind(&options.dirs, &loaded.plan)?;
    let state_lock = introduce::claim(&options.dirs.state, &loaded.plan)?;
    let mut supervisor = Supervisor::new(options, Arc::new(loaded.plan), sockets, upgrade::program(), now);
    supervisor.state_lock = state_lock;
    let edges = &mut supervisor.edges;
    let fresh = edges.listeners.prepare(&supervisor.plan.edge)?;
    edges.listeners.commit(&supervisor.plan.edge, fresh, now);
    edges.slots.assign(&supervisor.plan.edge)?;
    edges.logs = logs::Logs::open(&supervisor.plan.edge)?;
    edges.secrets.follow(&supervisor.plan, now);
    edges.tickets.turn(now);
    edges.sticky = tickets::sticky_key()?;
    edges.run = hubs::Run::begin()?;
    edges.secret = tickets::run_secret()?;
    edges.hubs = registry::recall(&supervisor.options.dirs.state, &supervisor.plan);
    if !Role::Vip.wanted(&supervisor.plan) {
        clean_up();
    }
    Ok(supervisor)
}

/// Without vips no worker removes what a killed run left behind.
fn clean_up() {
    let swept = mainstay_sys::netlink::Route::open().map_err(anyhow::Error::from);
    match swept.and_then(|mut route| crate::vip::sweep(&mut route)) {
        Ok(swept) if swept.is_empty() => {}
        Ok(swept) => {
            let list: Vec<String> = swept.iter().map(ToString::to_string).collect();
            tracing::warn!("removed what an earlier run left behind: {}", list.join(", "));
        }
        Err(error) => tracing::warn!("look for addresses of an earlier run: {error:#}"),
    }
    crate::vip::clear_others(mainstay_sys::gate::GateKind::None);
}

impl Supervisor {
    fn new(options: Options, plan: Arc<Plan>, sockets: Sockets, program: PathBuf, now: Boot) -> Self {
        Self {
            options,
            exec_plan: Arc::clone(&plan),
            written: Arc::clone(&plan),
            orders: Orders::default(),
            plan,
            workers: Vec::new(),
            sockets,
            edges: Edges::default(),
            deposits: Deposits::default(),
            identity: None,
            known_list: None,
            introduce_at: now,
            watchdog: None,
            alone: false,
            state_lock: None,
            unfit: None,
            probes: HashMap::new(),
            agents: Vec::new(),
            registry: None,
            held: Vec::new(),
            heard: HashMap::new(),
            calls: Calls::default(),
            events: Ring::default(),
            stop: None,
            program,
            upgrade: None,
            upgraded: None,
            started: now,
            looked: now,
            look_by: now,
            reloads: 0,
            reload_failures: 0,
            deliveries_failed: 0,
            upgrades: 0,
            breath: Breath::default(),
            news: VecDeque::new(),
        }
    }

    fn watch(&mut self, mut signals: Signals) -> anyhow::Result<()> {
        let mut watchdog = Watchdog::from_systemd();
        let mut announced = false;
        loop {
            let now = boot_now();
            self.tick(now);
            self.tell_news();
            watchdog.ping(now);
            if !announced && self.is_ready() {
                announced = true;
                self.finish_upgrade();
                mainstay_sys::process::trim_memory();
                tell_systemd(&[sd_notify::NotifyState::Ready]);
            }
            if self.stop.as_ref().is_some_and(|s| s.done(now, self)) {
                return self.unfit.take().map_or(Ok(()), |why| Err(anyhow::anyhow!(why)));
            }
            let wait = self.next_wake(now).min(watchdog.next(now));
            self.look_by = now + wait;
            let ready = self.wait(&signals, wait)?;
            self.attend(&ready, &mut signals)?;
        }
    }

    /// Waits for something to do; tells which slots are readable, the signal descriptor being the last.
    fn wait(&self, signals: &Signals, wait: Duration) -> anyhow::Result<Vec<(Source, PollFlags)>> {
        let mut sources = vec![Source::Signal];
        let mut fds = vec![PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        if let Some(upgrade) = &self.upgrade {
            sources.push(Source::Upgrade);
            fds.push(PollFd::from_borrowed_fd(upgrade.process().as_fd(), PollFlags::IN));
        }
        for (slot, worker) in self.workers.iter().enumerate() {
            let Some(running) = &worker.running else { continue };
            let room = if running.has_backlog() { PollFlags::OUT } else { PollFlags::empty() };
            sources.push(Source::Dead(slot));
            fds.push(PollFd::from_borrowed_fd(running.process.as_fd(), PollFlags::IN));
            if !running.closed {
                sources.push(Source::Channel(slot));
                fds.push(PollFd::from_borrowed_fd(running.channel.as_fd(), PollFlags::IN | room));
            }
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for workers"),
        }
        let flags: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        Ok(sources.into_iter().zip(flags).filter(|(_, f)| !f.is_empty()).collect())
    }

    /// Deaths first: a dead vip role's addresses are taken away before anything else is looked at.
    fn attend(&mut self, ready: &[(Source, PollFlags)], signals: &mut Signals) -> anyhow::Result<()> {
        for (source, _) in ready {
            if let Source::Dead(slot) = *source {
                self.bury(slot);
            }
        }
        for (source, flags) in ready {
            match *source {
                // The next tick looks.
                Source::Dead(_) | Source::Upgrade => {}
                Source::Channel(slot) => self.hear(slot, *flags),
                Source::Signal => {
                    while let Some(signal) = signals.next_signal().context("read a signal")? {
                        self.obey(signal);
                    }
                }
            }
        }
        Ok(())
    }

    fn bury(&mut self, slot: usize) {
        let now = boot_now();
        let role = self.workers[slot].role;
        if role == Role::Vip {
            self.deposits.redeem();
        }
        // What it said before it died still counts, a last deposit not: its addresses are gone or will be.
        self.hear(slot, PollFlags::IN);
        if role == Role::Vip {
            self.deposits.redeem();
        }
        let Some(running) = self.workers[slot].running.as_mut() else { return };
        let how = ending(&running.process);
        let expected = self.stop.is_some() || !self.is_wanted(slot);
        self.workers[slot].buried(now);
        if role == Role::Edge {
            self.bury_edge(slot);
        }
        self.forget_calls(slot);
        self.bury_registry(role);
        if role == Role::Exec {
            self.fail_runs(slot);
        }
        if expected {
            tracing::debug!(%role, how, "worker ended");
        } else {
            tracing::warn!(%role, how, "worker died; starting it again");
            self.news.push_back(self.worker_died(role, &how));
        }
        if self.stop.is_none() {
            self.fill_slots();
        }
    }

    /// Whether a slot's worker is to run.
    fn is_wanted(&self, slot: usize) -> bool {
        let worker = &self.workers[slot];
        worker.is_current() && worker.role.wanted(&self.plan)
    }

    /// Makes slots for every worker that the Plan asks for; edge processes beyond that let their connections end.
    fn fill_slots(&mut self) {
        for role in Role::ALL {
            let count = role.instances(&self.plan);
            for instance in 0..count {
                // There are never two vip workers: its successor waits until it is gone.
                let there = |w: &Worker| {
                    let alone = role == Role::Vip && w.place != Place::Vacant;
                    w.role == role && w.instance == instance && (w.is_current() || alone)
                };
                if self.workers.iter().any(there) {
                    continue;
                }
                let vacant = self.workers.iter().position(|w| w.place == Place::Vacant);
                match vacant {
                    Some(slot) => self.workers[slot] = Worker::new(role, instance),
                    None => self.workers.push(Worker::new(role, instance)),
                }
            }
            let surplus = |w: &Worker| w.role == role && w.is_current() && w.instance >= count;
            let surplus: Vec<usize> =
                (0..self.workers.len()).filter(|s| surplus(&self.workers[*s])).collect();
            surplus.into_iter().for_each(|slot| self.retire(slot));
        }
    }

    fn obey(&mut self, signal: i32) {
        match signal {
            libc::SIGHUP => {
                if let Err(report) = self.reload() {
                    tracing::error!("reload refused, the old configuration stays:\n{report}");
                }
            }
            libc::SIGUSR1 => self.reopen_logs(),
            libc::SIGUSR2 => self.begin_upgrade(None),
            libc::SIGTERM | libc::SIGINT => self.begin_stop(false),
            libc::SIGQUIT => self.begin_stop(true),
            // The others are blocked only so that they do not end us.
            _ => {}
        }
    }

    /// Starts what should run and does not.
    fn start_wanted(&mut self, now: Boot) {
        for slot in 0..self.workers.len() {
            let worker = &self.workers[slot];
            let due = worker.again_at.is_none_or(|at| at <= now);
            if worker.running.is_some() || !due || self.stop.is_some() || !self.is_wanted(slot) {
                continue;
            }
            let plan = Arc::clone(if worker.role == Role::Exec { &self.exec_plan } else { &self.plan });
            if let Err(error) = self.workers[slot].start(&plan, now) {
                tracing::error!("{error:#}");
                self.workers[slot].buried(now);
                continue;
            }
            self.greet(slot, &plan);
        }
    }

    /// Gives a fresh worker its Plan and what its predecessor knew.
    fn greet(&mut self, slot: usize, plan: &Arc<Plan>) {
        if self.workers[slot].role == Role::Edge {
            if let Err(error) = self.greet_edge(slot, plan) {
                tracing::error!("the edge worker cannot be given what it needs: {error:#}; killing it");
                self.workers[slot].running.iter().for_each(worker::Running::kill);
            }
            return;
        }
        if self.workers[slot].role == Role::Vip {
            // What its predecessor counted by: the disk may have lost it since.
            self.known_list = self.identity.take().and_then(|identity| identity.list);
            self.introduce(slot, plan);
        }
        let worker = &mut self.workers[slot];
        let plan = Box::new(plans::part(plan, worker.role));
        match worker.role {
            Role::Edge => {}
            Role::Exec => worker.send(&ToExec::Plan(plan)),
            Role::Probe => {
                worker.send(&ToProbe::Held(self.held.clone()));
                worker.send(&ToProbe::Plan(plan));
            }
            Role::Registry => {
                self.remind_registry(slot);
                self.workers[slot].send(&ToRegistry::Plan(plan));
                self.introduce_hub(slot);
            }
            Role::Agent => worker.send(&ToAgent::Plan(plan)),
            Role::Vip => {
                worker.send(&ToVip::Plan(plan));
                worker.send(&ToVip::LeftBehind(self.deposits.take_redeemed()));
                for status in self.probes.values() {
                    worker.send(&ToVip::Probe(status.clone()));
                }
            }
            Role::Api => self.lend_sockets(slot, plan),
        }
    }

    /// Sends an api worker its Plan with the control socket and the metrics listener, if there is one.
    fn lend_sockets(&self, slot: usize, plan: Box<Plan>) {
        let Some(running) = self.workers[slot].running.as_ref() else { return };
        let lent = running.channel.send_with(&ToApi::Plan(plan), &self.sockets.lend());
        if !matches!(lent, Ok(true)) {
            tracing::error!("the api worker cannot be handed its sockets: {lent:?}; killing it");
            running.kill();
        }
    }

    fn tick(&mut self, now: Boot) {
        self.kill_stuck(now);
        self.start_wanted(now);
        self.introduce_again(now);
        self.expire_calls(now);
        self.finish_sockets(now);
        self.turn_tickets(now);
        self.count(now);
        self.look_at_secrets();
        self.press_retired(now);
        self.press_upgrade(now);
        self.press_stop(now);
    }

    fn next_wake(&self, now: Boot) -> Duration {
        let restarts = self.workers.iter().filter(|w| {
            w.running.is_none() && w.is_current() && w.role.wanted(&self.plan) && self.stop.is_none()
        });
        let restarts = restarts.filter_map(|w| w.again_at);
        let others = self.calls.deadline().into_iter().chain(self.stop.as_ref().map(|s| s.deadline(now)));
        let others = others.chain(self.edges.listeners.next()).chain(self.upgrade.as_ref().map(|u| u.by));
        let others = others.chain(self.edges.secrets.next());
        let unknown = self.plan.cluster.is_some() && self.identity.is_none();
        let others = others.chain(unknown.then_some(self.introduce_at));
        let tickets =
            (!self.plan.edge.is_empty()).then(|| self.edges.tickets.next().min(self.edges.count_at));
        let others = others.chain(tickets).chain(self.workers.iter().filter_map(|w| w.retire_by));
        let next = restarts.chain(self.next_judgement()).chain(others).min().unwrap_or(Boot::NEVER);
        next.since(now).clamp(Duration::from_millis(1), Duration::from_secs(60))
    }

    fn is_ready(&self) -> bool {
        let wanted = self.workers.iter().filter(|w| w.is_current() && w.role.wanted(&self.plan));
        wanted.into_iter().all(|w| w.running.as_ref().is_some_and(|r| r.ready))
    }

    /// Keeps news for `events` and tells those who follow.
    fn tell_news(&mut self) {
        while let Some(event) = self.news.pop_front() {
            log(&event);
            for worker in self.workers.iter_mut().filter(|w| w.role == Role::Api) {
                worker.send(&ToApi::Event(event.clone()));
            }
            self.events.push(event);
        }
    }

    fn worker_died(&self, role: Role, how: &str) -> Event {
        events::event(
            &self.plan.node,
            "worker",
            role.name(),
            format!("the {role} worker died ({how}) and is started again"),
        )
    }
}

/// An event as a line of the log: what somebody should look at is a warning.
fn log(event: &Event) {
    let broken = matches!(event.to.as_deref(), Some("fault" | "down" | "unknown"));
    let odd =
        matches!(event.kind.as_str(), "worker" | "address" | "gate" | "notify" | "conflict" | "unusable");
    if broken || odd || matches!(event.reason.as_deref(), Some("late" | "trouble")) {
        tracing::warn!(kind = event.kind, about = event.about, "{}", event.message);
    } else {
        tracing::info!(kind = event.kind, about = event.about, "{}", event.message);
    }
}

/// How a process ended, which its descriptor has told.
fn ending(process: &PidFd) -> String {
    match process.try_wait() {
        Ok(Some(Exit::Code(code))) => format!("exit code {code}"),
        Ok(Some(Exit::Signal(signal))) => format!("signal {signal}"),
        Ok(None) => "it is ending".into(),
        Err(error) => error.to_string(),
    }
}

/// What woke the supervisor.
#[derive(Clone, Copy)]
enum Source {
    Signal,
    Upgrade,
    Dead(usize),
    Channel(usize),
}

/// systemd's watchdog, when it asks to be pinged.
struct Watchdog {
    every: Option<Duration>,
    next: Boot,
}

impl Watchdog {
    fn from_systemd() -> Self {
        let every = sd_notify::watchdog_enabled().map(|timeout| timeout / 2);
        Self { every, next: Boot::ZERO }
    }

    fn ping(&mut self, now: Boot) {
        if let Some(every) = self.every
            && self.next <= now
        {
            tell_systemd(&[sd_notify::NotifyState::Watchdog]);
            self.next = now + every;
        }
    }

    fn next(&self, now: Boot) -> Duration {
        self.every.map_or(Duration::from_secs(60), |_| self.next.since(now))
    }
}

fn tell_systemd(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
