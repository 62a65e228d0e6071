//! Becoming another program without letting go of anything: sockets, memory and workers stay, and the new program replaces the workers.
//!
//! The new program is asked first whether it understands our [`State`] and the configuration. Then this process executes it; the
//! pid stays, and with it our children. The successor starts its own workers beside ours; when those are ready the old
//! edge processes drain, and exec, probe and api end. The vip worker goes on as it is: only when the versions differ it
//! is told at the very end to give its vips up, which moves them as a restart does, and has a successor once it is gone. A successor that
//! cannot take over executes us again.

use std::collections::HashMap;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mainstay_config::plan::Plan;
use mainstay_core::name::CommandId;
use mainstay_core::time::Boot;
use mainstay_sys::clock::boot_now;
use mainstay_sys::process::{Exit, PidFd, at_leisure, inherit, keep_over_exec};
use mainstay_sys::shared::Shared;

use super::handover::{self, State, VERSION};
use super::hubs::Run;
use super::worker::{Place, Worker};
use super::{Options, Role, Supervisor};
use crate::ipc::{ApiReply, ToApi, ToVip};

/// How long the new program may take to say that it can take over.
const CHECK_MAX: Duration = Duration::from_secs(20);

/// What it says then.
#[must_use]
pub fn word() -> String {
    format!("handover {VERSION}")
}

/// The new program is being asked.
pub(super) struct Upgrade {
    child: PidFd,
    out: ChildStdout,
    err: ChildStderr,
    pub(super) by: Boot,
    asker: Option<(usize, u64)>,
}

impl Upgrade {
    pub(super) const fn process(&self) -> &PidFd {
        &self.child
    }
}

/// The file that we were started from, as it is called in the file system; another may stand there by now.
pub(super) fn program() -> PathBuf {
    let path = std::env::current_exe().unwrap_or_default();
    let text = path.to_string_lossy();
    text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from)
}

impl Supervisor {
    /// Asks the new program whether it can take over.
    pub(super) fn begin_upgrade(&mut self, asker: Option<(usize, u64)>) {
        let begun = if self.stop.is_some() {
            Err(anyhow::anyhow!("this node is stopping"))
        } else if self.upgrade.is_some() || self.upgraded.is_some() {
            Err(anyhow::anyhow!("an upgrade is under way"))
        } else {
            self.ask_program(asker)
        };
        match begun {
            Ok(upgrade) => self.upgrade = Some(upgrade),
            Err(error) => self.not_upgraded(asker, &format!("{error:#}")),
        }
    }

    fn ask_program(&self, asker: Option<(usize, u64)>) -> anyhow::Result<Upgrade> {
        let mut child = Command::new(&self.program)
            .arg("handover")
            .arg("--config")
            .arg(&self.options.config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        let (out, err) =
            (child.stdout.take().context("its output")?, child.stderr.take().context("its errors")?);
        let child = PidFd::open(child.id()).context("watch it")?;
        Ok(Upgrade { child, out, err, by: boot_now() + CHECK_MAX, asker })
    }

    /// The new program has answered, or its time is over.
    pub(super) fn press_upgrade(&mut self, now: Boot) {
        let Some(upgrade) = &self.upgrade else { return };
        let ended = match upgrade.child.try_wait() {
            Ok(Some(ended)) => ended,
            Ok(None) if now < upgrade.by => return,
            Ok(None) | Err(_) => {
                let _ = upgrade.child.signal(libc::SIGKILL);
                Exit::Signal(libc::SIGKILL)
            }
        };
        let Some(upgrade) = self.upgrade.take() else { return };
        let (said, complained) = if ended == Exit::Signal(libc::SIGKILL) {
            (String::new(), format!("it did not answer within {} s", CHECK_MAX.as_secs()))
        } else {
            (read_what_is_there(upgrade.out), read_what_is_there(upgrade.err))
        };
        let knows = said.lines().any(|line| line == word());
        let result = if ended == Exit::Code(0) && knows {
            self.become_program(upgrade.asker)
        } else if ended == Exit::Code(0) {
            Err(anyhow::anyhow!("it does not know our handover: restart instead"))
        } else {
            Err(anyhow::anyhow!("it does not take over: {}", complained.trim()))
        };
        if let Err(error) = result {
            self.not_upgraded(upgrade.asker, &format!("{error:#}"));
        }
    }

    fn not_upgraded(&mut self, asker: Option<(usize, u64)>, why: &str) {
        let message = format!("no upgrade to {}: {why}", self.program.display());
        self.news.push_back(crate::events::event(&self.plan.node, "config", "upgrade", message.clone()));
        if let Some((slot, id)) = asker {
            self.workers[slot].send(&ToApi::Reply { id, reply: ApiReply::Refused { message } });
        }
    }

    /// Executes the new program; comes back only when the kernel refuses.
    fn become_program(&mut self, asker: Option<(usize, u64)>) -> anyhow::Result<()> {
        for worker in &mut self.workers {
            if let Some(running) = &mut worker.running {
                let _ = running.flush();
            }
        }
        let back = std::fs::File::open("/proc/self/exe").context("open our own program")?;
        let mut state = self.state(asker);
        state.back = Some(back.as_raw_fd());
        let memory = state.write()?;
        let mut args = std::env::args_os();
        let name = args.next().unwrap_or_else(|| "mainstay".into());
        let error = Command::new(&self.program)
            .arg0(name)
            .args(args)
            .env(handover::STATE, memory.as_raw_fd().to_string())
            .exec();
        state.withdraw();
        Err(error).with_context(|| format!("execute {}", self.program.display()))
    }

    fn state(&self, asker: Option<(usize, u64)>) -> State {
        let (deposits, redeemed) = self.deposits.left();
        State {
            version: VERSION,
            pid: std::process::id(),
            from: env!("CARGO_PKG_VERSION").into(),
            program: self.program.clone(),
            back: None,
            failed: None,
            sockets: self.edges.listeners.iter().map(|(k, held)| (k.clone(), held.fd.as_raw_fd())).collect(),
            control: self.sockets.numbers().0,
            metrics: self.sockets.numbers().1,
            lock: self.sockets.numbers().2,
            plugins: self.sockets.numbers().3,
            cells: self.edges.cells.as_ref().map(|c| std::os::fd::AsFd::as_fd(c).as_raw_fd()),
            slots: self.edges.slots.given().clone(),
            gone: self.edges.gone.clone(),
            orders: self.orders.clone(),
            tickets: self.edges.tickets.clone(),
            sticky: self.edges.sticky.clone(),
            run: self.edges.run,
            secret: self.edges.secret.clone(),
            told: self.edges.told.iter().map(|(key, state)| (key.clone(), *state)).collect(),
            workers: self.workers.iter().map(Worker::state).collect(),
            written: serde_json::to_value(&*self.written).unwrap_or_default(),
            plan: serde_json::to_value(&*self.plan).unwrap_or_default(),
            exec_plan: serde_json::to_value(&*self.exec_plan).unwrap_or_default(),
            deposits,
            redeemed,
            probes: self.probes.values().cloned().collect(),
            events: self.events.all(),
            runs: self.calls.runs.iter().map(|((a, id), (c, slot))| (*a, *id, c.0, *slot)).collect(),
            started: self.started,
            reloads: self.reloads,
            reload_failures: self.reload_failures,
            deliveries_failed: self.deliveries_failed,
            upgrades: self.upgrades,
            asker,
        }
    }

    /// All workers of this program are ready: those who wait are told, and old ones that have no successor of their role go.
    pub(super) fn finish_upgrade(&mut self) {
        let Some(upgraded) = self.upgraded.take() else { return };
        if let Some(why) = upgraded.failed {
            self.not_upgraded(upgraded.asker, &why);
        } else {
            self.upgrades += 1;
            let message = format!("{} {} has taken over", self.program.display(), env!("CARGO_PKG_VERSION"));
            self.news.push_back(crate::events::event(&self.plan.node, "config", "upgrade", message.clone()));
            if let Some((slot, id)) = upgraded.asker {
                self.workers[slot].send(&ToApi::Reply { id, reply: ApiReply::Done { message } });
            }
        }
        for role in Role::ALL {
            self.retire_replaced(role);
        }
        if upgraded.from == env!("CARGO_PKG_VERSION") {
            return;
        }
        let vip = self.workers.iter().position(|w| w.role == Role::Vip && w.is_current());
        if let Some(slot) = vip {
            tracing::info!("the vip worker gives its vips up and has a successor of this version");
            self.retire(slot);
        }
    }
}

/// A pipe that somebody else still holds is not waited for.
fn read_what_is_there(mut pipe: impl std::io::Read + std::os::fd::AsFd) -> String {
    let mut bytes = Vec::new();
    if rustix::io::ioctl_fionbio(&pipe, true).is_ok() {
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An upgrade that has led to this program, until all its workers are ready.
pub(super) struct Upgraded {
    asker: Option<(usize, u64)>,
    from: String,
    failed: Option<String>,
}

/// Takes over from the program that was here before.
///
/// # Errors
/// When neither the configuration nor what the other had made of it can be used; nothing has been touched then.
pub(super) fn adopt(options: Options, state: State) -> anyhow::Result<Supervisor> {
    let old: Option<Plan> = serde_json::from_value(state.plan).ok();
    let before: Option<Plan> = serde_json::from_value(state.written).ok();
    let loaded = at_leisure(|| crate::cli::load(&options.config));
    let mut orders = state.orders;
    let (written, refused) = match (loaded, before) {
        (Ok(loaded), before) => {
            before.iter().for_each(|before| orders.prune(before, &loaded.plan));
            (loaded.plan, None)
        }
        (Err(error), Some(before)) => (before, Some(format!("{error:#}"))),
        (Err(error), None) => return Err(error),
    };
    let plan = orders.on(&written);
    let now = boot_now();
    let sockets = super::Sockets::adopt(state.control, state.metrics, state.lock, state.plugins, &plan)?;
    let mut s = Supervisor::new(options, Arc::new(plan), sockets, state.program, now);
    (s.written, s.orders) = (Arc::new(written), orders);
    s.edges.tickets = state.tickets;
    s.edges.sticky = if state.sticky.is_empty() { super::tickets::sticky_key()? } else { state.sticky };
    s.edges.run = if state.run == Run::default() { Run::begin()? } else { state.run };
    s.edges.secret = if state.secret.0.is_empty() { super::tickets::run_secret()? } else { state.secret };
    s.edges.hubs = super::registry::recall(&s.options.dirs.state, &s.plan);
    adopt_edges(&mut s, state.sockets, state.cells, state.slots, now);
    s.edges.gone = state.gone;
    s.edges.told = state.told.into_iter().collect();
    let old = old.map_or_else(|| Arc::clone(&s.plan), Arc::new);
    let exec_plan = serde_json::from_value(state.exec_plan).map_or_else(|_| Arc::clone(&old), Arc::new);
    s.workers = state.workers.into_iter().map(|w| Worker::adopt(w, &old, &exec_plan, now)).collect();
    s.deposits.adopt(state.deposits, state.redeemed);
    s.heard = state.probes.iter().map(|p| (p.name.clone(), now)).collect();
    s.probes = state.probes.into_iter().map(|p| (p.name.clone(), p)).collect();
    state.events.into_iter().for_each(|e| s.events.push(e));
    let run = |(asker, id, command, slot)| ((asker, id), (CommandId(command), slot));
    s.calls.runs = state.runs.into_iter().map(run).collect::<HashMap<_, _>>();
    (s.started, s.reloads, s.reload_failures) = (state.started, state.reloads, state.reload_failures);
    (s.deliveries_failed, s.upgrades) = (state.deliveries_failed, state.upgrades);
    if s.plan.cluster.is_some() {
        // The vip worker goes on: it is still who the disk says it is.
        s.state_lock = super::identity::lock(&s.options.dirs.state).ok();
        s.identity = super::identity::current(&s.options.dirs.state).ok();
    }
    if let Some(fd) = state.back {
        drop(inherit(fd));
    }
    if let Some(why) = refused {
        let message = format!("the configuration is refused, what was made of the old one stays: {why}");
        s.news.push_back(crate::events::event(&s.plan.node, "config", "upgrade", message));
    }
    s.upgraded = Some(Upgraded { asker: state.asker, from: state.from, failed: state.failed });
    Ok(s)
}

fn adopt_edges(
    s: &mut Supervisor,
    sockets: Vec<(mainstay_proxy::worker::SocketKey, RawFd)>,
    cells: Option<RawFd>,
    slots: HashMap<String, u32>,
    now: Boot,
) {
    for (key, fd) in sockets {
        match inherit(fd) {
            Ok(fd) => s.edges.listeners.adopt(key, fd),
            Err(error) => tracing::error!("{key}: its socket did not survive: {error}"),
        }
    }
    let shared = cells
        .map(|fd| Shared::open(inherit(fd)?, mainstay_proxy::shared::WORDS).map_err(std::io::Error::other));
    match shared.transpose() {
        Ok(shared) => s.edges.cells = shared,
        Err(error) => tracing::error!("the edge's shared memory did not survive: {error}"),
    }
    s.edges.slots.adopt(slots);
    let plan = Arc::clone(&s.plan);
    let fresh = s.edges.listeners.prepare(&plan.edge).unwrap_or_else(|error| {
        let message = format!("some listeners are not served: {error:#}");
        s.news.push_back(crate::events::event(&plan.node, "config", "upgrade", message));
        Vec::new()
    });
    s.edges.listeners.commit(&plan.edge, fresh, now);
    if let Err(error) = s.edges.slots.assign(&plan.edge) {
        tracing::error!("{error:#}");
    }
    s.reopen_logs();
    s.edges.secrets.follow(&plan, now);
    s.edges.tickets.turn(now);
}

/// Makes what was adopted run: the vip worker gets the Plan, the others have successors.
pub(super) fn succeed(s: &mut Supervisor, now: Boot) {
    for slot in 0..s.workers.len() {
        let worker = &mut s.workers[slot];
        if worker.running.is_none() {
            worker.place = Place::Vacant;
        } else if worker.is_current() && worker.role != Role::Vip {
            worker.place = Place::Replaced;
        } else if worker.is_current() {
            let plan = Arc::clone(&s.plan);
            if let Some(running) = worker.running.as_mut() {
                running.sent.push_back(Arc::clone(&plan));
            }
            worker.send(&ToVip::Plan(Box::new(super::plans::part(&plan, Role::Vip))));
        }
    }
    s.fill_slots();
    s.start_wanted(now);
}

/// This program cannot take over: the one before it goes on.
pub(super) fn go_back(why: &anyhow::Error, back: Option<RawFd>, memory: OwnedFd) -> anyhow::Error {
    let back_to = || -> anyhow::Result<std::convert::Infallible> {
        let back = back.context("there is no way back")?;
        let mut state = handover::reread(&memory)?;
        if !state["failed"].is_null() {
            bail!("the program before this one cannot go on either");
        }
        state["failed"] = format!("{why:#}").into();
        let memory = handover::rewrite(&state)?;
        keep_over_exec(memory.as_raw_fd(), true).context("keep the handover")?;
        let mut args = std::env::args_os();
        let name = args.next().unwrap_or_else(|| "mainstay".into());
        let mut command = Command::new(format!("/proc/self/fd/{back}"));
        command.arg0(name).args(args).env(handover::STATE, memory.as_raw_fd().to_string());
        Err(command.exec()).context("execute the program before this one")
    };
    match back_to() {
        Ok(never) => match never {},
        Err(error) => anyhow::anyhow!("{why:#}; and {error:#}"),
    }
}
