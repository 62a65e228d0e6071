//! The edge role: its control thread, which passes the supervisor's words on to the threads that serve connections.

mod backends;
mod hub;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use mainstay_config::plan::edge::Pool;
use mainstay_config::plan::tunnel::{OPEN, made_name};
use mainstay_core::name::PoolId;
use mainstay_core::tunnel::record::{Record, TUNNELS_MAX};
use mainstay_proxy::pool::Ask;
use mainstay_proxy::route::{Question, Stage};
use mainstay_proxy::shared::{Cells, WORDS};
use mainstay_proxy::snapshot::Snapshot;
use mainstay_proxy::thread::Thread;
use mainstay_proxy::tls::TICKET_KEY;
use mainstay_proxy::worker::Process;
use mainstay_sys::shared::Shared;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use crate::ipc::{Channel, Closed, FromEdge, Received, RouteExplained, Sibling, ToEdge};
use backends::Backends;
pub(crate) use hub::LEAVING;

/// How often the supervisor hears that this process lives.
const ALIVE: Duration = Duration::from_secs(1);

/// How often it is looked whether a drained process has connections left.
const LOOK: Duration = Duration::from_millis(20);

/// How long lines of access logs may take to be written at the end.
const SETTLE: Duration = Duration::from_secs(1);

/// How long the supervisor's queue is given to make room.
const ROOM: Duration = Duration::from_millis(2);

/// Runs until the supervisor hangs up, or until it is drained.
///
/// # Errors
/// When the first message does not start it, a thread has died, or the channel fails.
pub fn run(channel: Channel) -> anyhow::Result<()> {
    mainstay_proxy::thread::TRIM.get_or_init(|| mainstay_sys::process::trim_memory);
    let first = channel.receive::<ToEdge>()?.context("no first message")?;
    let ToEdge::Start { column, threads, hub } = first.message else {
        bail!("the first message must start it")
    };
    let memory = first.fds.into_iter().next().context("no shared memory came with the first message")?;
    let shared = Shared::open(memory, WORDS)?;
    let process = Process::start(Cells::new(shared.words(), usize::from(column)), threads)
        .context("start the threads of the edge")?;
    let (hub, numbers) = (Arc::new(hub), Arc::new(AtomicU16::new(0)));
    let (news, told) = hub::HubNews::new();
    let offered = news.offered();
    let news = Arc::new(news);
    let hubs = watch::Sender::default();
    let siblings = watch::Sender::default();
    let node = hub.name.clone();
    let known = hub::Around { hubs: hubs.subscribe(), siblings: siblings.subscribe() };
    process.tell(move |thread| {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        hub::settle(thread, Arc::clone(&hub), Arc::clone(&news), known.clone(), number);
    });
    channel.set_nonblocking()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start tokio")?;
    runtime.block_on(async {
        let channel = crate::ipc::watched(channel).context("watch the channel")?;
        let backends = Backends::default();
        Control { channel, process, by: None, backends, node, told, offered, hubs, siblings }.serve().await
    })
}

/// The control thread.
struct Control {
    channel: AsyncFd<Channel>,
    process: Process,
    /// When a drained process ends with whatever it still has.
    by: Option<Instant>,
    backends: Backends,
    /// The node's id.
    node: String,
    /// What becomes of agents.
    told: mpsc::Receiver<hub::Told>,
    /// The tunnels that there are agents of.
    offered: watch::Receiver<BTreeSet<String>>,
    /// The hubs that registries know.
    hubs: watch::Sender<Arc<[Record]>>,
    /// The edge processes of this node.
    siblings: watch::Sender<Arc<[Sibling]>>,
}

impl Control {
    async fn serve(mut self) -> anyhow::Result<()> {
        let mut alive = interval(ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let heard = tokio::select! {
                biased;
                heard = listen(&self.channel) => heard?,
                _ = alive.tick() => {
                    ensure!(self.process.is_whole(), "a thread of the edge has died");
                    // The threads answer it, so that a stuck one shows.
                    self.process.come_round().await;
                    self.say(&FromEdge::Alive).await?;
                    self.look_at_backends().await?;
                    continue;
                }
                Some((about, word, message)) = self.told.recv() => {
                    let mut event = crate::events::event(&self.node, "tunnel", &about, message);
                    event.to = Some(word.to_owned());
                    self.say(&FromEdge::Event(event)).await?;
                    continue;
                }
                Ok(()) = self.offered.changed() => {
                    let tunnels = self.offered.borrow_and_update().iter().take(TUNNELS_MAX).cloned().collect();
                    self.say(&FromEdge::Offers(tunnels)).await?;
                    continue;
                }
                () = drained(&self.process, self.by) => {
                    self.process.settle_logs(SETTLE).await;
                    return self.say(&FromEdge::Status(Box::new(self.process.status().await))).await;
                }
            };
            let Some(heard) = heard else { return Ok(()) };
            for received in heard {
                self.obey(received.message, received.fds).await?;
            }
        }
    }

    async fn obey(&mut self, message: ToEdge, fds: Vec<OwnedFd>) -> anyhow::Result<()> {
        match message {
            ToEdge::Start { .. } => bail!("started twice"),
            ToEdge::Sockets(keys) => {
                ensure!(keys.len() == fds.len(), "{} sockets, {} descriptors", keys.len(), fds.len());
                keys.into_iter().zip(fds).for_each(|(key, fd)| self.process.take(key, fd));
            }
            ToEdge::Leave(keys) => keys.into_iter().for_each(|key| self.process.leave(key)),
            ToEdge::Finish(keys) => {
                self.process.finish(keys.clone()).await;
                self.say(&FromEdge::Finished(keys)).await?;
            }
            ToEdge::Plan(plan) => {
                let brief = self.backends.brief(plan.probes);
                match self.process.apply(plan.edge, plan.slots, brief).await {
                    Ok(()) => self.say(&FromEdge::Ready).await?,
                    Err(error) => self.say(&FromEdge::Refused(error.to_string())).await?,
                }
            }
            ToEdge::Health(status) => self.backends.heard(&self.process, status),
            ToEdge::Orders(orders) => self.backends.obey(&self.process, orders),
            ToEdge::Tickets(keys) => {
                let keys: Vec<[u8; TICKET_KEY]> = keys.iter().filter_map(|k| k[..].try_into().ok()).collect();
                self.process.tickets(&keys);
            }
            ToEdge::Sticky(key) => {
                self.process.sticky(key[..].try_into().context("a key of sticky cookies has 16 bytes")?);
            }
            ToEdge::Logs(targets) => {
                ensure!(targets.len() == fds.len(), "{} logs, {} descriptors", targets.len(), fds.len());
                for (to, fd) in targets.iter().zip(fds) {
                    self.process.log(to, fd).context("start a thread that writes a log")?;
                }
            }
            ToEdge::Hubs(hubs) => drop(self.hubs.send_replace(hubs.into())),
            ToEdge::Siblings(all) => drop(self.siblings.send_replace(all.into())),
            ToEdge::Sync(number) => {
                self.process.come_round().await;
                self.say(&FromEdge::Synced(number)).await?;
            }
            ToEdge::Explain { id, question } => {
                let explained = self.process.ask(move |thread| explain(thread, &question)).await;
                let explained = Box::new(explained.into_iter().next().unwrap_or_default());
                self.say(&FromEdge::Explained { id, explained }).await?;
            }
            ToEdge::Status => self.say(&FromEdge::Status(Box::new(self.process.status().await))).await?,
            ToEdge::Drain(within) => {
                self.process.drain().await;
                self.by = Some(Instant::now() + within);
                self.say(&FromEdge::Draining(self.process.open())).await?;
            }
        }
        Ok(())
    }

    /// Tells which backends stand elsewhere than they did.
    async fn look_at_backends(&mut self) -> anyhow::Result<()> {
        let changed = self.backends.changes(self.process.backends().await);
        if !changed.is_empty() {
            self.say(&FromEdge::Seen(changed)).await?;
        }
        Ok(())
    }

    async fn say(&self, message: &FromEdge) -> anyhow::Result<()> {
        while !self.channel.get_ref().send(message)? {
            sleep(ROOM).await;
        }
        Ok(())
    }
}

/// The way of a request as this thread would have it, and the backend that it would choose.
fn explain(thread: &Rc<Thread>, question: &Question) -> RouteExplained {
    let snapshot = thread.snapshot();
    let mut explanation = mainstay_proxy::route::explain(&snapshot, question);
    let mut pools = Vec::new();
    for way in &mut explanation.ways {
        let ask = Ask { client: way.client, ..Ask::default() };
        if way.pool.as_deref() == Some(&*made_name(OPEN)) {
            pools
                .extend(led(thread, &snapshot, way).and_then(|id| thread.pools.explain(&snapshot, id, &ask)));
            continue;
        }
        let named = |pool: &Pool| Some(&pool.name) == way.pool.as_ref();
        let Some(at) = snapshot.edge.pools.iter().position(named) else { continue };
        let id = PoolId(u32::try_from(at).unwrap_or(u32::MAX));
        pools.extend(thread.pools.explain(&snapshot, id, &ask));
    }
    RouteExplained { explanation, pools }
}

/// The pool of the tunnel that a request's host leads to at this moment; what is told of its way is changed accordingly.
fn led(thread: &Thread, snapshot: &Snapshot, way: &mut mainstay_proxy::route::Way) -> Option<PoolId> {
    let host = way.stages.iter().rev().find_map(|stage| match stage {
        Stage::Choice { host, .. } => Some(host.clone()),
        Stage::Note(_) => None,
    });
    let (sentence, found) = mainstay_proxy::lead::told(thread, snapshot, &host.unwrap_or_default(), 0);
    way.stages.push(Stage::Note(sentence.clone()));
    let Some((tunnel, id)) = found else {
        (way.outcome, way.pool, way.request) = (sentence, None, None);
        way.fields.clear();
        return None;
    };
    let name = made_name(&tunnel);
    way.outcome = way.outcome.replace(&made_name(OPEN), &name);
    way.pool = Some(name);
    Some(id)
}

/// Reads what there is; nothing when the supervisor has hung up.
async fn listen(channel: &AsyncFd<Channel>) -> anyhow::Result<Option<Vec<Received<ToEdge>>>> {
    let mut ready = channel.readable().await.context("wait for the supervisor")?;
    let mut heard = Vec::new();
    loop {
        match channel.get_ref().receive::<ToEdge>() {
            Ok(Some(received)) => heard.push(received),
            Ok(None) => break,
            Err(error) if error.is::<Closed>() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    ready.clear_ready();
    Ok(Some(heard))
}

/// Waits until no connection is left, or until the deadline; for ever while it is not drained.
async fn drained(process: &Process, by: Option<Instant>) {
    let Some(by) = by else { return std::future::pending().await };
    let empty = async {
        while process.open() > 0 {
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = empty => {}
        () = sleep_until(by) => tracing::info!(cut = process.open(), "the time to drain is over"),
    }
}
