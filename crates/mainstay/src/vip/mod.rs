//! The vip role: one thread that owns every election of this node and waits on nobody.
//!
//! Packet, probe verdict, timer, link event or operator -> machine -> effects -> gate, address, advert, announcement.

mod arbitrate;
mod changes;
mod cluster;
mod conflicts;
mod datagrams;
mod echo;
mod enrol;
mod external;
mod kernel;
mod links;
mod members;
mod outbound;
mod owned;
mod quorum;
mod report;
mod services;
mod upkeep;
mod usable;
mod world;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_config::plan::Plan;
use mainstay_core::election::{Effect, Input, Packet, Vips};
use mainstay_core::name::{LinkId, VipId};
use mainstay_core::time::Boot;
use mainstay_sys::clock::boot_now;
use mainstay_sys::gate::{GateKind, GateOptions};
use mainstay_sys::netlink::Monitor;
use mainstay_sys::process::{Breath, Signals};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::ipc::{Channel, Closed, Deposit, FromVip, Identity, ToVip};
use changes::Changes;
use conflicts::Conflicts;
use kernel::Kernel;
pub(crate) use kernel::{clear_others, sweep};
use links::{Links, Socket};
use outbound::Outbound;
use owned::Sequences;
use quorum::{Quorum, Said};

/// How often the supervisor hears that this task runs.
const ALIVE: Duration = Duration::from_secs(1);

/// Packets taken from one socket before the others are looked at.
const PACKETS: usize = 1024;

/// Timers that are due within the shortest advert interval divided by this are handled in one go: a hundredth of
/// the interval is invisible to peers, and with a thousand vips it saves nine wake-ups of ten.
const COALESCE: u32 = 100;

/// The whole role.
struct Node {
    channel: Channel,
    plan: Plan,
    machine: Vips,
    links: Links,
    kernel: Kernel,
    outbound: Outbound,
    monitor: Monitor,
    sequences: Sequences,
    /// Who this node is to its peers.
    identity: Option<Identity>,
    /// This node among its peers, when it has any.
    quorum: Option<Quorum>,
    /// What helps to decide where nobody votes.
    arbitration: Option<arbitrate::Arbitration>,
    /// Why it is not among them, when it should be.
    alone: Option<String>,
    /// What the election has said of rights, to be told once it has been carried out.
    said: VecDeque<Said>,
    changes: Changes,
    conflicts: Conflicts,
    usable: usable::Usable,
    /// Sequences that are over, to be told to the machine once it has been drained.
    owned: VecDeque<(VipId, bool)>,
    /// Messages that the supervisor's queue had no room for.
    outbox: VecDeque<Vec<u8>>,
    outbox_dropped: u64,
    breath: Breath,
    quantum: Duration,
    ticked: Boot,
    alive_at: Boot,
    stopping: bool,
    orphaned: bool,
}

/// Runs until the supervisor says stop, or is gone.
///
/// # Errors
/// When the kernel denies what the role cannot do without: netlink, or the channel.
pub fn run(channel: Channel, signals: Signals) -> anyhow::Result<()> {
    let mut first = channel.receive::<ToVip>()?.context("no first message")?.message;
    let mut identity = None;
    if let ToVip::Identity(given) = first {
        identity = Some(*given);
        first = channel.receive::<ToVip>()?.context("no second message")?.message;
    }
    let ToVip::Plan(plan) = first else { anyhow::bail!("the first message must be the Plan") };
    channel.set_nonblocking()?;
    let now = boot_now();
    let machine = Vips::new(Vec::new(), Vec::new(), 0, now);
    let (kernel, swept) = Kernel::open(gate_options()).context("open the kernel's side")?;
    let mut monitor = Monitor::open()?;
    if let Err(error) = monitor.ignore(&kernel.route) {
        tracing::debug!("our own changes wake us: {error}");
    }
    let mut node = Node {
        channel,
        plan: Plan { vips: Vec::new(), links: Vec::new(), groups: Vec::new(), ..(*plan).clone() },
        machine,
        links: Links::default(),
        kernel,
        outbound: Outbound::default(),
        monitor,
        sequences: Sequences::new(now.as_nanos()),
        identity,
        quorum: None,
        arbitration: None,
        alone: None,
        said: VecDeque::new(),
        changes: Changes::new(now.as_nanos()),
        conflicts: Conflicts::default(),
        usable: usable::Usable::default(),
        owned: VecDeque::new(),
        outbox: VecDeque::new(),
        outbox_dropped: 0,
        breath: Breath::default(),
        quantum: Duration::ZERO,
        ticked: Boot::ZERO,
        alive_at: now,
        stopping: false,
        orphaned: false,
    };
    node.apply(*plan);
    node.clean_up(&swept);
    crate::confine::vip();
    node.watch(signals)?;
    node.kernel.close();
    Ok(())
}

/// Which gate to try: `MAINSTAY_GATE` = tc, nft or none overrides the order for tests and rehearsals.
fn gate_options() -> GateOptions {
    GateOptions { only: std::env::var("MAINSTAY_GATE").ok().and_then(|name| GateKind::from_name(&name)) }
}

impl Node {
    fn watch(&mut self, mut signals: Signals) -> anyhow::Result<()> {
        loop {
            self.breath.take();
            let ready = self.wait(&signals)?;
            let (mut packets, mut peers, mut echoes) = (Vec::new(), false, false);
            for (source, flags) in ready {
                match source {
                    Source::Signal => {
                        while signals.next_signal().context("read a signal")?.is_some() {
                            self.begin_stop();
                        }
                    }
                    Source::Supervisor => self.hear_supervisor(flags),
                    Source::Monitor => self.hear_kernel(),
                    Source::Gate => self.hear_gate(),
                    Source::Peers => peers = true,
                    Source::Echoes => echoes = true,
                    Source::Socket(link, socket) => packets.push((link, socket)),
                }
            }
            // Packets before timers: whoever is judged silent has had its say.
            for (link, socket) in packets {
                self.hear_packets(link, socket);
            }
            if peers {
                self.hear_peers();
            }
            if echoes {
                self.hear_echoes();
            }
            self.tick();
            self.arbitrate(boot_now());
            if self.stopping && self.machine.is_idle() && !self.lingers() {
                self.say(&FromVip::Stopped);
                self.farewell();
                return Ok(());
            }
        }
    }

    fn wait(&mut self, signals: &Signals) -> anyhow::Result<Vec<(Source, PollFlags)>> {
        let now = boot_now();
        let machine = self.machine.poll_timeout().unwrap_or(Boot::NEVER).max(self.ticked + self.quantum);
        let renew = self.kernel.renew(now);
        let peers = self.quorum.as_ref().map_or(Boot::NEVER, Quorum::next);
        let conflicts = self.conflicts.next();
        let wait = machine
            .min(renew)
            .min(self.alive_at)
            .min(peers)
            .min(conflicts)
            .min(self.next_ruling())
            .since(now);
        let mut sources = vec![Source::Signal, Source::Supervisor, Source::Monitor];
        let room = if self.outbox.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let mut fds = vec![
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(
                self.channel.as_fd(),
                if self.orphaned { room } else { PollFlags::IN | room },
            ),
            PollFd::from_borrowed_fd(self.monitor.as_fd(), PollFlags::IN),
        ];
        let gate = self.kernel.gate.monitor_fd().map(|fd| (Source::Gate, fd));
        for socket in self.quorum.iter().flat_map(Quorum::sockets) {
            sources.push(Source::Peers);
            fds.push(PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN));
        }
        for fd in self.arbitration.iter().flat_map(arbitrate::Arbitration::sockets) {
            sources.push(Source::Echoes);
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
        let sockets = self.links.sockets().map(|(link, socket, fd)| (Source::Socket(link, socket), fd));
        for (source, fd) in gate.into_iter().chain(sockets) {
            sources.push(source);
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(wait.as_secs().min(60)).expect("60 fits"),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for packets"),
        }
        let flags: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        Ok(sources.into_iter().zip(flags).filter(|(_, f)| !f.is_empty()).collect())
    }

    fn tick(&mut self) {
        let now = boot_now();
        if self.alive_at <= now {
            self.say(&FromVip::Alive);
            self.alive_at = now + ALIVE;
            self.rejoin(now);
            self.look_at_holders(now);
            self.ask_for_ours();
            self.look_through(now);
            // What no message told.
            self.mend_gate(None);
            for link in self.links.reopen() {
                self.link_changed(link);
            }
            for id in (0..).map(VipId).take(self.plan.vips.len()) {
                if let Some(view) = self.machine.view(id) {
                    self.changes.look_at(id, &view.counters.rejected, Changes::window(view.spec), now);
                }
            }
        }
        let due = self.machine.poll_timeout().is_some_and(|at| at <= now);
        if due && self.ticked + self.quantum <= now {
            self.ticked = now;
            self.feed(Input::Tick, now);
        }
        self.tick_peers(now);
        self.tick_conflicts(now);
    }

    /// Gives the machine one change and carries out what it asks for.
    fn feed(&mut self, input: Input<'_>, now: Boot) {
        self.machine.handle(input, now);
        self.drain();
    }

    fn hear_packets(&mut self, link: LinkId, socket: Socket) {
        let now = boot_now();
        let state = self.links.get_mut(link);
        let machine = &mut self.machine;
        let taken = match socket {
            Socket::Arp | Socket::Ndp => {
                self.hear_frames(link, socket);
                return;
            }
            Socket::Vrrp4 => state.vrrp4.as_mut(),
            Socket::Vrrp6 => state.vrrp6.as_mut(),
        };
        let Some(taken) = taken else { return };
        // Effects are drained after the batch: the machine queues them in order, and none of them depends on the
        // kernel having carried out another.
        let result = taken.receive(PACKETS, &mut |p| {
            let packet = Packet { link, from: p.from, to: p.to, ttl: p.ttl, payload: p.payload };
            machine.handle(Input::Packet(packet), now);
        });
        if let Err(error) = result {
            tracing::debug!(interface = state.name, "receive adverts: {error:#}");
        }
        self.drain();
        self.hear_strangers(now);
    }

    /// Carries out everything that the election and the leases ask for, then has peers told.
    fn drain(&mut self) {
        self.carry_out();
        self.flush_peers();
    }

    /// Carries out everything that the election and the leases ask for; what is said to peers waits for more.
    fn carry_out(&mut self) {
        loop {
            self.drain_machine();
            if !self.pump() {
                break;
            }
        }
    }

    /// Carries out every effect in the machine's queue: releases, then takes, then packets, batched over vips.
    fn drain_machine(&mut self) {
        let mut releases: Vec<VipId> = Vec::new();
        let mut takes: Vec<VipId> = Vec::new();
        let mut busy = false;
        while let Some(effect) = self.machine.poll_effect() {
            busy = true;
            // Within one vip the machine's order is kept.
            let conflict = match effect {
                Effect::Release { vip } | Effect::Arm { vip, .. } => {
                    takes.contains(&vip) || releases.contains(&vip)
                }
                Effect::Take { vip } => releases.contains(&vip),
                Effect::Advertise { .. }
                | Effect::Announce { .. }
                | Effect::Start { .. }
                | Effect::Stop { .. }
                | Effect::Stance { .. }
                | Effect::Gone { .. }
                | Effect::Changed { .. } => false,
            };
            if conflict {
                self.settle(&mut releases, &mut takes);
            }
            match effect {
                Effect::Arm { vip, until } => {
                    self.kernel.arm(&self.plan.vips[vip.index()], until, &self.links);
                }
                Effect::Take { vip } => takes.push(vip),
                Effect::Release { vip } => releases.push(vip),
                Effect::Advertise { vip, priority } => {
                    let spec = &self.plan.vips[vip.index()];
                    self.outbound.advertise(vip, spec, priority, &self.machine, &self.links);
                }
                Effect::Announce { vip } => self.outbound.announce(&self.plan.vips[vip.index()], &self.links),
                Effect::Start { vip } => self.sequence(vip, true),
                Effect::Stop { vip } => self.sequence(vip, false),
                // Told once what came before it has been carried out.
                Effect::Stance { right, stance } => self.said.push_back(Said::Stance(right, stance)),
                Effect::Gone { right } => self.said.push_back(Said::Gone(right)),
                Effect::Changed { vip, from, to, reason, epoch } => {
                    self.changed(vip, from, to, reason, epoch)
                }
            }
        }
        if busy {
            self.settle(&mut releases, &mut takes);
            self.tell_changes();
        }
        if let Some((vip, running)) = self.owned.pop_front() {
            self.feed(Input::Owned { vip, running }, boot_now());
        }
    }

    /// The kernel's part of a batch, then what goes on the wire.
    fn settle(&mut self, releases: &mut Vec<VipId>, takes: &mut Vec<VipId>) {
        if !releases.is_empty() {
            let vips: Vec<_> = releases.iter().map(|&v| (v, &self.plan.vips[v.index()])).collect();
            self.kernel.release(&vips, &self.links);
            let names = vips.iter().map(|(_, v)| v.spec.name.clone()).collect();
            self.say(&FromVip::Withdraw(names));
            releases.clear();
        }
        if !takes.is_empty() {
            let taken: Vec<_> = takes.iter().map(|&v| (v, &self.plan.vips[v.index()])).collect();
            let quorum = &mut self.quorum;
            let deposits = taken.iter().map(|(id, vip)| {
                let wills = quorum::wills(quorum.as_mut(), &self.machine, *id);
                let posted = quorum.as_ref().and_then(|quorum| quorum.outside_will(&self.machine, *id));
                Deposit { wills, posted, ..Kernel::deposit(*id, vip, &self.machine, &self.links) }
            });
            let message = FromVip::Deposit(deposits.collect());
            send(&self.channel, &mut self.outbox, &mut self.outbox_dropped, &message);
            self.kernel.commit();
            for (vip, error) in self.kernel.take(&taken, &self.links) {
                let name = self.plan.vips[vip.index()].spec.name.clone();
                tracing::error!(vip = name, "{error}");
                self.event("address", &name, error);
            }
            takes.clear();
        }
        self.flush();
    }

    /// Arms what is to be armed, then sends what is queued.
    fn flush(&mut self) {
        self.kernel.commit();
        self.outbound.flush(&mut self.links);
    }

    fn hear_supervisor(&mut self, flags: PollFlags) {
        if flags.contains(PollFlags::OUT) {
            self.flush_outbox();
        }
        loop {
            match self.channel.receive::<ToVip>() {
                Ok(Some(received)) => self.obey(received.message),
                Ok(None) => return,
                Err(error) => {
                    if !error.is::<Closed>() {
                        tracing::error!("the supervisor sent what cannot be read: {error:#}");
                    }
                    // Without the supervisor nobody would take our addresses away: give them up while we can.
                    self.orphaned = true;
                    self.begin_stop();
                    for vip in self.sequences.abandon() {
                        self.feed(Input::Owned { vip, running: false }, boot_now());
                    }
                    return;
                }
            }
        }
    }

    fn obey(&mut self, message: ToVip) {
        let now = boot_now();
        match message {
            ToVip::Identity(identity) => self.identity = Some(*identity),
            ToVip::Plan(plan) => self.apply(*plan),
            ToVip::Probe(status) => {
                if let Some(probe) = self.probe_id(&status.name) {
                    self.changes.probe(&status);
                    self.feed(Input::Probe { probe, verdict: status.verdict }, now);
                    if self.plan.probes[probe.index()].through.is_some() {
                        self.look_through(now);
                    }
                }
            }
            ToVip::Ran(outcome) => self.ran(&outcome),
            ToVip::Operator(word) => self.feed(Input::Operator(word), now),
            ToVip::LeftBehind(names) => {
                for (place, vip) in (0..).map(VipId).zip(&self.plan.vips) {
                    if names.contains(&vip.spec.name) {
                        self.machine.left_behind(place);
                    }
                }
            }
            ToVip::Status => {
                let status = self.status(now);
                self.say(&FromVip::Status(Box::new(status)));
            }
            ToVip::Cluster { number, action } => {
                let said = self.obey_cluster(&action);
                self.say(&FromVip::Cluster { number, said });
            }
            ToVip::Kept { epoch } => self.list_kept(epoch),
            ToVip::Heard(heard) => self.hear_external(heard),
            ToVip::External(state) => self.external_does(state),
            ToVip::Stop => self.begin_stop(),
        }
    }

    fn begin_stop(&mut self) {
        if !self.stopping {
            self.stopping = true;
            self.feed(Input::Shutdown, boot_now());
        }
    }

    fn lingers(&mut self) -> bool {
        self.quorum.as_mut().is_some_and(|quorum| quorum.lingers(boot_now()))
    }

    /// Says what is left and waits for nobody for longer than it takes.
    fn farewell(&mut self) {
        self.leave_lock(boot_now());
        self.leave_peers();
        self.flush_outbox();
    }

    /// Sends a message, or keeps it until there is room.
    fn say(&mut self, message: &FromVip) {
        if !self.orphaned {
            send(&self.channel, &mut self.outbox, &mut self.outbox_dropped, message);
        }
    }

    fn flush_outbox(&mut self) {
        while let Some(bytes) = self.outbox.front() {
            match self.channel.send_encoded(bytes, &[]) {
                Ok(true) => {
                    self.outbox.pop_front();
                }
                Ok(false) => return,
                Err(_) => {
                    self.outbox.clear();
                    return;
                }
            }
        }
    }
}

/// Messages kept for a supervisor that does not read; what comes beyond is dropped and counted.
const OUTBOX_MAX: usize = 4096;

fn send(channel: &Channel, outbox: &mut VecDeque<Vec<u8>>, dropped: &mut u64, message: &FromVip) {
    let bytes = match serde_json::to_vec(message) {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::error!("encode a message: {error}");
            return;
        }
    };
    if outbox.is_empty() && channel.send_encoded(&bytes, &[]).unwrap_or(true) {
        return;
    }
    if outbox.len() >= OUTBOX_MAX {
        *dropped += 1;
    } else {
        outbox.push_back(bytes);
    }
}

/// What woke the role.
#[derive(Clone, Copy)]
enum Source {
    Signal,
    Supervisor,
    Monitor,
    Gate,
    Peers,
    Echoes,
    Socket(LinkId, Socket),
}
