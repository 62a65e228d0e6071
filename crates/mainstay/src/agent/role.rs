//! The agent role: the agents and visits of the configuration, under the supervisor; no privilege.
//!
//! A reload leaves agents alone that are written as before. One that is written otherwise gets a successor, which meets the hubs before its
//! predecessor leaves them: at each moment somebody offers what both offer.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_config::plan::{Plan, agent as plan, cluster::ClusterKey, visit};
use mainstay_core::gost::relay::Login;
use mainstay_core::time::Boot;
use mainstay_core::tunnel::address::Address;
use mainstay_link::SystemEntropy;
use mainstay_link::tunnel::carrier::{Dialing, believing, trusting};
use mainstay_link::tunnel::keys::SigningKey;
use mainstay_sys::clock::boot_now;
use tokio::io::unix::AsyncFd;
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::voice::{Said, Voice};
use super::{Agent, Listen, Service, Settings, Wish};
use crate::ipc::{Channel, Closed, FromAgent, Outbox, ToAgent, watched};
use crate::status::AgentStatus;

/// How often the supervisor hears how the agents do.
const ALIVE: Duration = Duration::from_secs(1);

/// How often it is looked whether a change is done, while there is one.
const LOOK: Duration = Duration::from_millis(100);

/// The supervisor hears of a Plan that it is in force, whether or not all hubs were met by then.
const READY_MAX: Duration = Duration::from_secs(2);

/// A predecessor leaves after this, whether or not its successor has met all hubs.
const SUCCEED_MAX: Duration = Duration::from_secs(10);

/// Messages kept for a supervisor that does not read; the oldest go first.
const OUTBOX: usize = 256;

/// Threads that look names up, and how long each lives without work.
const BLOCKING_THREADS: usize = 4;
const BLOCKING_STACK: usize = 256 * 1024;
const BLOCKING_IDLE: Duration = Duration::from_secs(10);

/// Serves the supervisor until it closes the channel and the agents have left.
///
/// # Errors
/// When the channel fails or says something that cannot be understood, or the runtime cannot be started.
pub(crate) fn run(channel: Channel) -> anyhow::Result<()> {
    channel.set_nonblocking()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(BLOCKING_STACK)
        .thread_keep_alive(BLOCKING_IDLE)
        .build_local(LocalOptions::default())
        .context("start the runtime")?;
    let result = runtime.block_on(async { Worker::new(channel)?.serve().await });
    // A thread that hangs in a resolver must not hold up the end.
    runtime.shutdown_background();
    result
}

/// The role's state.
struct Worker {
    channel: AsyncFd<Channel>,
    outbox: Outbox<FromAgent>,
    node: String,
    agents: Vec<Running>,
    /// Those that have successors, and until when they wait for them.
    before: Vec<(Running, Boot)>,
    /// Those that leave.
    leaving: Vec<Running>,
    events: UnboundedReceiver<Said>,
    tell: UnboundedSender<Said>,
    /// Why agents and visits of the Plan do not run.
    failed: Vec<(Written, String)>,
    /// Plans that are not confirmed, and when they are at the latest.
    owed: u32,
    ready_by: Boot,
    alive_at: Boot,
    ending: bool,
}

/// What the configuration has written.
#[derive(Clone, PartialEq)]
enum Written {
    Agent(plan::Agent),
    Visit(visit::Visit),
}

impl Written {
    fn name(&self) -> &str {
        match self {
            Self::Agent(agent) => &agent.name,
            Self::Visit(visit) => &visit.name,
        }
    }

    /// The word for it.
    const fn word(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::Visit(_) => "visit",
        }
    }

    /// Whether both are the same one, as it was and as it is.
    fn is_same(&self, other: &Self) -> bool {
        (self.word(), self.name()) == (other.word(), other.name())
    }
}

/// An agent or a visit that runs.
struct Running {
    plan: Written,
    agent: Rc<Agent>,
    task: JoinHandle<()>,
}

impl Running {
    /// The same agent as it is wanted, when that takes no other sessions; else as it was.
    fn retarget(&mut self, wanted: &Written) -> bool {
        let (Written::Agent(is), Written::Agent(to_be)) = (&self.plan, wanted) else { return false };
        if told_to_hubs(is) != told_to_hubs(to_be) || !self.agent.unusable.is_empty() {
            return false;
        }
        let services: Vec<Service> = to_be.offers.iter().map(service).collect();
        // What keeps it from that, a successor would tell.
        if self.agent.retarget(&services).is_err() {
            return false;
        }
        self.agent.drain.set(to_be.drain);
        self.plan = wanted.clone();
        true
    }

    fn leave(&self, within: Duration) {
        self.agent.drain.set(self.agent.drain.get().min(within));
        self.agent.stop.notify_one();
    }
}

/// What woke the loop.
enum Woken {
    Channel,
    Said(Said),
    Time,
}

impl Worker {
    fn new(channel: Channel) -> anyhow::Result<Self> {
        let (tell, events) = unbounded_channel();
        Ok(Self {
            channel: watched(channel).context("watch the supervisor's channel")?,
            outbox: Outbox::new(OUTBOX),
            node: String::new(),
            agents: Vec::new(),
            before: Vec::new(),
            leaving: Vec::new(),
            events,
            tell,
            failed: Vec::new(),
            owed: 0,
            ready_by: boot_now(),
            alive_at: boot_now(),
            ending: false,
        })
    }

    async fn serve(&mut self) -> anyhow::Result<()> {
        loop {
            match self.wait().await? {
                Woken::Channel => match self.listen() {
                    Ok(()) => {}
                    Err(error) if error.is::<Closed>() => self.leave(Duration::MAX),
                    Err(error) => return Err(error),
                },
                Woken::Said(said) => self.event(said),
                Woken::Time => {}
            }
            self.tick();
            self.outbox.flush(self.channel.get_ref());
            if self.ending && self.leaving.is_empty() {
                return Ok(());
            }
        }
    }

    async fn wait(&mut self) -> anyhow::Result<Woken> {
        let soon = self.owed > 0 || !self.before.is_empty() || !self.leaving.is_empty();
        let next = if soon { LOOK } else { self.alive_at.since(boot_now()) };
        tokio::select! {
            biased;
            guard = self.channel.readable(), if !self.ending => {
                guard.context("wait for the supervisor")?.clear_ready();
                Ok(Woken::Channel)
            }
            Some(said) = self.events.recv() => Ok(Woken::Said(said)),
            () = sleep(next) => Ok(Woken::Time),
        }
    }

    fn listen(&mut self) -> anyhow::Result<()> {
        while let Some(received) = self.channel.get_ref().receive::<ToAgent>()? {
            match received.message {
                ToAgent::Plan(plan) => self.adopt(*plan),
                ToAgent::Leave(within) => self.leave(within),
            }
        }
        Ok(())
    }

    /// Puts a Plan in force.
    fn adopt(&mut self, plan: Plan) {
        self.node = plan.node;
        self.owed += 1;
        self.ready_by = boot_now() + READY_MAX;
        self.failed.clear();
        let mut old = std::mem::take(&mut self.agents);
        let agents = plan.agents.into_iter().map(Written::Agent);
        for wanted in agents.chain(plan.visits.into_iter().map(Written::Visit)) {
            if let Some(at) = old.iter().position(|running| running.plan == wanted) {
                self.agents.push(old.swap_remove(at));
                continue;
            }
            let predecessor = old.iter().position(|running| running.plan.is_same(&wanted));
            let mut predecessor = predecessor.map(|at| old.swap_remove(at));
            if let Some(running) = predecessor.take_if(|running| running.retarget(&wanted)) {
                self.agents.push(running);
                continue;
            }
            let before = old.iter().chain(&predecessor).chain(&self.leaving);
            let before: Vec<Rc<Agent>> = before.map(|running| Rc::clone(&running.agent)).collect();
            match self.start(&wanted, &before, predecessor.as_ref().map(|it| it.agent.instance)) {
                Ok(running) => {
                    self.agents.push(running);
                    if let Some(predecessor) = &predecessor {
                        predecessor.agent.succeeded.set(true);
                    }
                    self.before.extend(predecessor.map(|it| (it, boot_now() + SUCCEED_MAX)));
                }
                Err(error) => {
                    // What was offered before is better than nothing.
                    self.agents.extend(predecessor);
                    let (kind, agent) = (wanted.word(), wanted.name().to_owned());
                    let message = format!("the {kind} can't begin as it is written: {error:#}");
                    self.failed.push((wanted, message.clone()));
                    self.event(Said { kind, agent, message, trouble: true });
                }
            }
        }
        for gone in old {
            gone.leave(Duration::MAX);
            self.leaving.push(gone);
        }
    }

    /// Starts an agent or a visit. It takes the places of the one whose run it goes on with, and may have the sockets of those before it.
    fn start(&self, plan: &Written, before: &[Rc<Agent>], instance: Option<u64>) -> anyhow::Result<Running> {
        let settings = match plan {
            Written::Agent(agent) => settings(agent)?,
            Written::Visit(visit) => visitor(visit, before)?,
        };
        let voice = Voice::Node(plan.word(), self.tell.clone());
        let (agent, inputs) = Agent::new(settings, voice, instance.unwrap_or_else(super::chance))?;
        let task = spawn_local(Rc::clone(&agent).run(inputs));
        Ok(Running { plan: plan.clone(), agent, task })
    }

    /// All agents end.
    fn leave(&mut self, within: Duration) {
        self.ending = true;
        let all = self.agents.drain(..).chain(self.before.drain(..).map(|(running, _)| running));
        for running in all {
            running.leave(within);
            self.leaving.push(running);
        }
    }

    fn tick(&mut self) {
        let now = boot_now();
        let settled =
            |old: &Written| self.agents.iter().any(|it| it.plan.is_same(old) && it.agent.is_settled());
        let over = |(before, by): &mut (Running, Boot)| *by <= now || settled(&before.plan);
        let over: Vec<(Running, Boot)> = self.before.extract_if(.., over).collect();
        for (running, _) in over {
            running.leave(Duration::MAX);
            self.leaving.push(running);
        }
        self.leaving.retain(|running| !running.task.is_finished());
        if self.owed > 0 && (self.ready_by <= now || self.agents.iter().all(|it| it.agent.is_settled())) {
            (0..std::mem::take(&mut self.owed)).for_each(|_| self.say(FromAgent::Ready));
            self.alive_at = now;
        }
        if self.alive_at <= now {
            self.alive_at = now + ALIVE;
            self.report();
        }
    }

    fn report(&mut self) {
        let mut all: Vec<_> = self.agents.iter().map(|running| running.agent.status()).collect();
        for (written, why) in &self.failed {
            let name = written.name();
            let visit = matches!(written, Written::Visit(_));
            let same = |status: &&mut AgentStatus| status.name == name && status.visit == visit;
            match all.iter_mut().find(same) {
                Some(status) => status.trouble.push(why.clone()),
                None => all.push(AgentStatus {
                    name: name.to_owned(),
                    visit,
                    hubs: Vec::new(),
                    offers: Vec::new(),
                    doors: Vec::new(),
                    trouble: vec![why.clone()],
                    counts: crate::status::AgentCounts::default(),
                }),
            }
        }
        self.say(FromAgent::State(all));
    }

    fn event(&mut self, said: Said) {
        let event = crate::events::event(&self.node, said.kind, &said.agent, said.message);
        let reason = said.trouble.then(|| "trouble".to_owned());
        self.say(FromAgent::Event(crate::status::Event { reason, ..event }));
    }

    fn say(&mut self, message: FromAgent) {
        self.outbox.say(message);
    }
}

/// An agent without what hubs need not know: where its offers lead, and how long it takes its leave.
fn told_to_hubs(agent: &plan::Agent) -> plan::Agent {
    let mut agent = agent.clone();
    agent.drain = Duration::ZERO;
    agent.key_file = None;
    for offer in &mut agent.offers {
        offer.service = match &offer.service {
            plan::Service::Tcp { .. } => plan::Service::Tcp { targets: Vec::new(), look: None, header: None },
            plan::Service::Udp { .. } => plan::Service::Udp { targets: Vec::new() },
            plan::Service::Files { .. } => plan::Service::Files { root: std::path::PathBuf::new() },
        };
    }
    agent
}

/// What the configuration says, as an agent takes it.
fn settings(agent: &plan::Agent) -> anyhow::Result<Settings> {
    Ok(Settings {
        hubs: hubs(&agent.hubs)?,
        name: agent.name.clone(),
        key: key(&agent.key)?,
        login: agent.login.as_ref().map(login),
        // The supervisor follows it, which may read what this role may not.
        key_file: None,
        dialing: dialing(agent.verify, agent.ca.as_ref().map(|(_, text)| text), agent.proxy.as_ref())?,
        services: agent.offers.iter().map(service).collect(),
        wishes: Vec::new(),
        drain: agent.drain,
    })
}

/// The same of a visit; sockets that are there already are taken over.
fn visitor(visit: &visit::Visit, before: &[Rc<Agent>]) -> anyhow::Result<Settings> {
    let wish = |door: &visit::Door| {
        let listen = Listen::At(door.listen);
        let bound = before.iter().find_map(|agent| agent.socket_of(listen, door.udp));
        Wish { bound, host: door.host.clone(), ..Wish::new(&door.tunnel, listen, door.udp) }
    };
    Ok(Settings {
        hubs: hubs(&visit.hubs)?,
        name: visit.name.clone(),
        key: key(&visit.key)?,
        login: visit.login.as_ref().map(login),
        key_file: None,
        dialing: dialing(visit.verify, visit.ca.as_ref(), visit.proxy.as_ref())?,
        services: Vec::new(),
        wishes: visit.doors.iter().map(wish).collect(),
        drain: visit.drain,
    })
}

/// The key; gost's servers ask for none.
fn key(key: &ClusterKey) -> anyhow::Result<SigningKey> {
    match key.text() {
        "" => Ok(SigningKey::generate(&mut SystemEntropy)),
        text => SigningKey::parse(text).context("key"),
    }
}

fn login(login: &plan::Login) -> Login {
    Login { user: login.user.clone(), password: login.password.text().to_owned() }
}

fn hubs(hubs: &[String]) -> anyhow::Result<Vec<Address>> {
    hubs.iter().map(|hub| hub.parse().with_context(|| hub.clone())).collect()
}

fn dialing(verify: bool, ca: Option<&String>, proxy: Option<&ClusterKey>) -> anyhow::Result<Dialing> {
    let tls = if verify { trusting(ca.map(String::as_bytes)) } else { believing() };
    let tls = tls.map_err(anyhow::Error::msg).context("ca")?;
    let proxy = proxy.map(|proxy| proxy.text().parse().map_err(anyhow::Error::msg));
    Ok(Dialing { tls, proxy: proxy.transpose().context("proxy")? })
}

fn service(offer: &plan::Offer) -> Service {
    let usual = Service { weight: offer.weight, host: offer.host.clone(), ..Service::new(&offer.tunnel) };
    match &offer.service {
        plan::Service::Tcp { targets, look, header } => {
            Service { targets: targets.clone(), look: look.as_deref().cloned(), header: *header, ..usual }
        }
        plan::Service::Udp { targets } => Service { targets: targets.clone(), udp: true, ..usual },
        plan::Service::Files { root } => Service { files: Some(root.clone()), ..usual },
    }
}
