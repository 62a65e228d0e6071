//! The api role: the control socket and the HTTP listener for metrics and health, without any privilege.

mod control;
mod http;
mod metrics;
mod plugins;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::unix::AsyncFd;
use tokio::sync::{broadcast, oneshot};
use tokio::time::Instant;

use mainstay_config::plan::Plan;

use crate::ipc::{ApiCall, ApiReply, Channel, Closed, FromApi, ToApi};
use crate::status::Event;
use plugins::Plugins;

/// How long the supervisor may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How long an upgrade may take.
const UPGRADE_MAX: Duration = Duration::from_secs(35);

/// How long connections may go on once another worker accepts.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// How often it is looked whether they are gone.
const LOOK: Duration = Duration::from_millis(20);

/// Events that a follower may lag behind before it loses some (and is told so by a gap in time).
const FOLLOW_BACKLOG: usize = 512;

/// Those who want the status: one question at a time serves them all, because an answer may be megabytes.
#[derive(Default)]
struct Statuses {
    /// The question under way, and those who asked before it was put.
    asked: Option<(u64, Vec<oneshot::Sender<Rc<ApiReply>>>)>,
    /// Those who came later: what they did themselves must show in their answer.
    next: Vec<oneshot::Sender<Rc<ApiReply>>>,
}

/// What every connection shares.
struct Desk {
    channel: AsyncFd<Channel>,
    waiting: RefCell<HashMap<u64, oneshot::Sender<ApiReply>>>,
    statuses: RefCell<Statuses>,
    next: Cell<u64>,
    events: broadcast::Sender<Event>,
    /// The tasks that accept: from the control socket, from the metrics listener.
    control: RefCell<Option<tokio::task::JoinHandle<()>>>,
    metrics: RefCell<Option<tokio::task::JoinHandle<()>>>,
    /// gost's plugins that the node is itself.
    plugins: RefCell<Plugins>,
    /// Connections that are open.
    open: Cell<usize>,
    /// When a worker that has a successor exits, whoever is still there.
    leave_by: Cell<Option<Instant>>,
}

/// Runs until the supervisor hangs up.
///
/// # Errors
/// When the first message is not a Plan with its sockets, or a socket cannot be used.
pub fn run(channel: Channel) -> anyhow::Result<()> {
    let first = channel.receive::<ToApi>()?.context("no first message")?;
    let ToApi::Plan(plan) = first.message else { bail!("the first message must be the Plan") };
    let mut fds = first.fds.into_iter();
    let control = UnixListener::from(fds.next().context("no control socket came with the Plan")?);
    let metrics: Option<OwnedFd> = plan.metrics.and_then(|_| fds.next());
    let plugins: Vec<OwnedFd> = fds.collect();
    channel.set_nonblocking()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start tokio")?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, serve(channel, control, metrics.map(TcpListener::from), &plan, plugins))
}

async fn serve(
    channel: Channel,
    control: UnixListener,
    metrics: Option<TcpListener>,
    plan: &Plan,
    plugins: Vec<OwnedFd>,
) -> anyhow::Result<()> {
    let desk = Rc::new(Desk {
        channel: crate::ipc::watched(channel).context("watch the channel")?,
        waiting: RefCell::default(),
        statuses: RefCell::default(),
        next: Cell::new(0),
        events: broadcast::channel(FOLLOW_BACKLOG).0,
        control: RefCell::default(),
        metrics: RefCell::default(),
        plugins: RefCell::default(),
        open: Cell::new(0),
        leave_by: Cell::new(None),
    });
    control.set_nonblocking(true).context("control socket")?;
    let control = tokio::net::UnixListener::from_std(control).context("control socket")?;
    let task = tokio::task::spawn_local(control::serve(Rc::clone(&desk), control));
    desk.control.replace(Some(task));
    desk.serve_metrics(metrics)?;
    desk.plugins.borrow_mut().adopt(plan, Some(plugins))?;
    desk.say(&FromApi::Ready)?;
    desk.listen().await
}

impl Desk {
    /// Serves another metrics listener from here on, or none; requests under way end as they would have.
    fn serve_metrics(self: &Rc<Self>, listener: Option<TcpListener>) -> anyhow::Result<()> {
        if let Some(old) = self.metrics.take() {
            old.abort();
        }
        let Some(listener) = listener else { return Ok(()) };
        listener.set_nonblocking(true).context("metrics listener")?;
        let listener = tokio::net::TcpListener::from_std(listener).context("metrics listener")?;
        let task = tokio::task::spawn_local(http::serve(Rc::clone(self), listener));
        self.metrics.replace(Some(task));
        Ok(())
    }

    /// Passes the supervisor's words on until it hangs up.
    async fn listen(self: &Rc<Self>) -> anyhow::Result<()> {
        loop {
            let ready = async { self.channel.readable().await.context("wait for the supervisor") };
            let mut ready = tokio::select! {
                ready = ready => ready?,
                () = self.left() => return Ok(()),
            };
            loop {
                match self.channel.get_ref().receive::<ToApi>() {
                    Ok(Some(received)) => self.hear(received.message, received.fds)?,
                    Ok(None) => break,
                    Err(error) if error.is::<Closed>() => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            ready.clear_ready();
        }
    }

    fn hear(self: &Rc<Self>, message: ToApi, fds: Vec<OwnedFd>) -> anyhow::Result<()> {
        match message {
            ToApi::Plan(plan) => {
                // The control socket comes first, and with it the listeners when a reload changed any.
                let mut fds = fds.into_iter();
                let again = fds.next().is_some();
                if again {
                    self.serve_metrics(plan.metrics.and_then(|_| fds.next()).map(TcpListener::from))?;
                }
                self.plugins.borrow_mut().adopt(&plan, again.then(|| fds.collect()))?;
                self.say(&FromApi::Ready)?;
            }
            ToApi::Reply { id, reply } => {
                if let Some(waiter) = self.waiting.borrow_mut().remove(&id) {
                    let _ = waiter.send(reply);
                } else {
                    self.status_came(id, reply);
                }
            }
            ToApi::Event(event) => {
                let _ = self.events.send(event);
            }
            ToApi::Leave => {
                for task in self.control.take().into_iter().chain(self.metrics.take()) {
                    task.abort();
                }
                self.plugins.borrow_mut().leave();
                self.leave_by.set(Some(Instant::now() + LEAVE_MAX));
            }
        }
        Ok(())
    }

    /// Waits until this worker may go: nobody is left who waits for an answer, or their time is over.
    async fn left(&self) {
        let Some(by) = self.leave_by.get() else { return std::future::pending().await };
        while self.open.get() > 0 && Instant::now() < by {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn say(&self, message: &FromApi) -> anyhow::Result<()> {
        anyhow::ensure!(self.channel.get_ref().send(message)?, "the supervisor does not read");
        Ok(())
    }

    /// The node's status, asked for after this call began.
    async fn status(&self) -> Rc<ApiReply> {
        let (tx, rx) = oneshot::channel();
        self.statuses.borrow_mut().next.push(tx);
        if self.statuses.borrow().asked.is_none() {
            self.ask_status();
        }
        match tokio::time::timeout(ANSWER_MAX, rx).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) | Err(_) => {
                Rc::new(ApiReply::Refused { message: "the supervisor did not answer in time".into() })
            }
        }
    }

    /// Puts the question for all who wait for it.
    fn ask_status(&self) {
        let id = self.next.get();
        self.next.set(id + 1);
        let mut statuses = self.statuses.borrow_mut();
        statuses.next.retain(|waiter| !waiter.is_closed());
        statuses.asked = None;
        if statuses.next.is_empty() {
            return;
        }
        let waiters = std::mem::take(&mut statuses.next);
        if let Err(error) = self.say(&FromApi::Call { id, call: ApiCall::Status }) {
            // Who waits is told so by the end of its channel.
            tracing::warn!("ask for the status: {error:#}");
            return;
        }
        statuses.asked = Some((id, waiters));
    }

    fn status_came(&self, id: u64, reply: ApiReply) {
        let Some((_, waiters)) = self.statuses.borrow_mut().asked.take_if(|(asked, _)| *asked == id) else {
            return;
        };
        let reply = Rc::new(reply);
        for waiter in waiters {
            let _ = waiter.send(Rc::clone(&reply));
        }
        self.ask_status();
    }

    /// Asks the supervisor; the answer is a refusal when it stays silent.
    async fn ask(&self, call: ApiCall) -> Rc<ApiReply> {
        if matches!(call, ApiCall::Status) {
            return self.status().await;
        }
        Rc::new(self.ask_once(call).await)
    }

    async fn ask_once(&self, call: ApiCall) -> ApiReply {
        let id = self.next.get();
        self.next.set(id + 1);
        let limit = if matches!(call, ApiCall::Upgrade) { UPGRADE_MAX } else { ANSWER_MAX };
        let (tx, rx) = oneshot::channel();
        self.waiting.borrow_mut().insert(id, tx);
        if let Err(error) = self.say(&FromApi::Call { id, call }) {
            self.waiting.borrow_mut().remove(&id);
            return ApiReply::Refused { message: format!("the supervisor cannot be asked: {error:#}") };
        }
        let Ok(Ok(reply)) = tokio::time::timeout(limit, rx).await else {
            self.waiting.borrow_mut().remove(&id);
            let message = format!("the supervisor did not answer within {} s", limit.as_secs());
            return ApiReply::Refused { message };
        };
        reply
    }
}
