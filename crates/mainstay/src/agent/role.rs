//! The agent role: the agents of the configuration, under the supervisor; no privilege.
//!
//! A reload leaves agents alone that are written as before. One that is written otherwise gets a successor, which meets the hubs before its
//! predecessor leaves them: at each moment somebody offers what both offer.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_config::plan::{Plan, agent as plan};
use mainstay_core::time::Boot;
use mainstay_link::tunnel::carrier::{Dialing, trusting};
use mainstay_link::tunnel::keys::SigningKey;
use mainstay_sys::clock::boot_now;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::sleep;

use super::voice::{Said, Voice};
use super::{Agent, Service, Settings};
use crate::ipc::{Channel, Closed, FromAgent, Outbox, ToAgent, watched};

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
        .build()
        .context("start the runtime")?;
    let result = LocalSet::new().block_on(&runtime, async { Worker::new(channel)?.serve().await });
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
    /// Why agents of the Plan do not run.
    failed: Vec<(String, String)>,
    /// Plans that are not confirmed, and when they are at the latest.
    owed: u32,
    ready_by: Boot,
    alive_at: Boot,
    ending: bool,
}

/// An agent that runs.
struct Running {
    plan: plan::Agent,
    agent: Rc<Agent>,
    task: JoinHandle<()>,
}

impl Running {
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
        for wanted in plan.agents {
            if let Some(at) = old.iter().position(|running| running.plan == wanted) {
                self.agents.push(old.swap_remove(at));
                continue;
            }
            let predecessor = old.iter().position(|running| running.plan.name == wanted.name);
            let predecessor = predecessor.map(|at| old.swap_remove(at));
            match self.start(&wanted) {
                Ok(running) => {
                    self.agents.push(running);
                    self.before.extend(predecessor.map(|it| (it, boot_now() + SUCCEED_MAX)));
                }
                Err(error) => {
                    // What was offered before is better than nothing.
                    self.agents.extend(predecessor);
                    let message = format!("the agent can't begin as it is written: {error:#}");
                    self.failed.push((wanted.name.clone(), message.clone()));
                    self.event(Said { agent: wanted.name, message, trouble: true });
                }
            }
        }
        for gone in old {
            gone.leave(Duration::MAX);
            self.leaving.push(gone);
        }
    }

    fn start(&self, plan: &plan::Agent) -> anyhow::Result<Running> {
        let (agent, inputs) = Agent::new(settings(plan)?, Voice::Node(self.tell.clone()))?;
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
        let settled = |name: &str| self.agents.iter().any(|it| it.plan.name == name && it.agent.is_settled());
        let over = |(before, by): &mut (Running, Boot)| *by <= now || settled(&before.plan.name);
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
        for (name, why) in &self.failed {
            match all.iter_mut().find(|status| status.name == *name) {
                Some(status) => status.trouble.push(why.clone()),
                None => all.push(crate::status::AgentStatus {
                    name: name.clone(),
                    hubs: Vec::new(),
                    offers: Vec::new(),
                    doors: Vec::new(),
                    trouble: vec![why.clone()],
                }),
            }
        }
        self.say(FromAgent::State(all));
    }

    fn event(&mut self, said: Said) {
        let event = crate::events::event(&self.node, "agent", &said.agent, said.message);
        let reason = said.trouble.then(|| "trouble".to_owned());
        self.say(FromAgent::Event(crate::status::Event { reason, ..event }));
    }

    fn say(&mut self, message: FromAgent) {
        self.outbox.say(message);
    }
}

/// What the configuration says, as an agent takes it.
fn settings(agent: &plan::Agent) -> anyhow::Result<Settings> {
    let hubs = agent.hubs.iter().map(|hub| hub.parse().with_context(|| hub.clone()));
    let tls = trusting(agent.ca.as_ref().map(String::as_bytes)).map_err(anyhow::Error::msg).context("ca")?;
    let proxy = agent.proxy.as_ref().map(|proxy| proxy.text().parse().map_err(anyhow::Error::msg));
    Ok(Settings {
        hubs: hubs.collect::<anyhow::Result<_>>()?,
        name: agent.name.clone(),
        key: SigningKey::parse(agent.key.text()).context("key")?,
        dialing: Dialing { tls, proxy: proxy.transpose().context("proxy")? },
        services: agent.offers.iter().map(service).collect(),
        wishes: Vec::new(),
        drain: agent.drain,
    })
}

fn service(offer: &plan::Offer) -> Service {
    let usual = Service { weight: offer.weight, host: offer.host.clone(), ..Service::new(&offer.tunnel) };
    match &offer.service {
        plan::Service::Tcp { targets, interval, header } => {
            Service { targets: targets.clone(), interval: *interval, header: *header, ..usual }
        }
        plan::Service::Udp { targets } => Service { targets: targets.clone(), udp: true, ..usual },
        plan::Service::Files { root } => Service { files: Some(root.clone()), ..usual },
    }
}
