//! One request over one connection to a backend, until the head of its response and from there to its end.

use std::task::{Context, Poll};
use std::time::Duration;

use mainstay_config::plan::edge::Forward;
use mainstay_core::time::Boot;

use super::flow::{Fault, Flow, Waits};
use super::replay::{Body, Replay};
use super::{Backend, Broken, Client};
use crate::deadline::Watch;

/// How long each side may keep the other waiting.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// The client sends nothing of the request's body.
    pub(super) client_body: Duration,
    /// The client takes nothing of the response.
    pub(super) client_send: Duration,
    /// The backend takes nothing of the request.
    pub(super) backend_send: Duration,
    /// The backend says nothing.
    pub(super) backend_read: Duration,
}

impl Patience {
    pub(super) fn new(limits: &mainstay_config::plan::edge::HttpLimits, forward: &Forward) -> Self {
        Self {
            client_body: limits.body_timeout,
            client_send: limits.send_timeout,
            backend_send: forward.send_timeout,
            backend_read: forward.read_timeout,
        }
    }
}

/// How long a backend may think before it matters whether the client is still there.
const WATCHED_AFTER: Duration = Duration::from_millis(300);

/// Why a try came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The client's connection.
    Client(Broken),
    /// The client sends its body too slowly.
    ClientSlow,
    /// The client takes nothing in.
    ClientDeaf,
    /// The request's body is larger than it may be.
    TooLarge,
    /// The backend's connection, or what it said.
    Backend(Broken),
    /// The backend takes nothing in, or says nothing.
    BackendSlow,
}

/// The request's body on its way to the backend.
pub(super) struct Upload<'a> {
    pub(super) flow: Flow<'a>,
    pub(super) replay: Option<&'a mut Replay>,
    /// The backend takes no more of it.
    pub(super) stopped: bool,
}

impl Upload<'_> {
    pub(super) fn is_over(&self) -> bool {
        self.stopped || self.flow.is_done()
    }

    /// Moves what can be moved; when it waits, until when. A backend that takes no more may still answer.
    fn poll<C: Client, B: Backend>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        backend: &mut B,
    ) -> Poll<Result<(), Trouble>> {
        let mut body = Body { client, replay: self.replay.as_deref_mut() };
        match self.flow.poll(cx, &mut body, backend) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(Fault::Sink(Broken::Refused))) => {
                Poll::Ready(Err(Trouble::Backend(Broken::Refused)))
            }
            Poll::Ready(Err(Fault::Sink(_))) => {
                self.stopped = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(Fault::Source(broken))) => Poll::Ready(Err(Trouble::Client(broken))),
            Poll::Ready(Err(Fault::TooMany)) => Poll::Ready(Err(Trouble::TooLarge)),
        }
    }

    fn due(&self, patience: &Patience) -> (Boot, Trouble) {
        let (due, waits) = self.flow.due(patience.client_body, patience.backend_send);
        let trouble = match waits {
            Waits::Source => Trouble::ClientSlow,
            Waits::Sink | Waits::Pace => Trouble::BackendSlow,
        };
        (due, trouble)
    }
}

/// Sends the request as its body comes and waits for the head of a response.
pub(super) async fn head<C: Client, B: Backend>(
    watch: &Watch,
    patience: &Patience,
    client: &mut C,
    backend: &mut B,
    upload: &mut Upload<'_>,
) -> Result<(), Trouble> {
    let mut asked = upload.is_over().then(|| watch.now());
    let done = std::future::poll_fn(|cx| {
        loop {
            let mut due = None;
            if !upload.is_over() {
                match upload.poll(cx, client, backend) {
                    Poll::Ready(done) => {
                        done?;
                        asked = Some(watch.now());
                    }
                    Poll::Pending => due = Some(upload.due(patience)),
                }
            }
            match backend.poll_head(cx) {
                Poll::Ready(head) => return Poll::Ready(head.map_err(Trouble::Backend)),
                Poll::Pending => {}
            }
            let since = asked.unwrap_or_else(|| watch.now());
            let (mut due, trouble) = match due {
                Some(due) => due,
                None => (since + patience.backend_read, Trouble::BackendSlow),
            };
            let mut early = false;
            if upload.is_over() {
                // Most backends answer before it is worth the while to watch whether the client stays.
                let soon = !client.is_watched() && watch.now() < since + WATCHED_AFTER;
                if soon && since + WATCHED_AFTER < due {
                    due = since + WATCHED_AFTER;
                    early = true;
                } else if client.poll_gone(cx).is_ready() {
                    return Poll::Ready(Err(Trouble::Client(Broken::Gone)));
                }
            }
            if !watch.has_passed(cx, due) {
                return Poll::Pending;
            }
            if watch.now() >= due && !early {
                return Poll::Ready(Err(trouble));
            }
        }
    })
    .await;
    watch.disarm();
    done
}

/// Passes the response's body, and what is left of the request's, until the response is at its end.
pub(super) async fn body<C: Client, B: Backend>(
    watch: &Watch,
    patience: &Patience,
    client: &mut C,
    backend: &mut B,
    upload: &mut Upload<'_>,
    download: &mut Flow<'_>,
) -> Result<(), Trouble> {
    let done = std::future::poll_fn(|cx| {
        loop {
            if let Poll::Ready(done) = download.poll(cx, backend, client) {
                return Poll::Ready(done.map_err(|fault| match fault {
                    Fault::Source(broken) => Trouble::Backend(broken),
                    Fault::Sink(broken) => Trouble::Client(broken),
                    Fault::TooMany => Trouble::Backend(Broken::Gone),
                }));
            }
            let (mut due, waits) = download.due(patience.backend_read, patience.client_send);
            let mut trouble = match waits {
                Waits::Source => Trouble::BackendSlow,
                Waits::Sink | Waits::Pace => Trouble::ClientDeaf,
            };
            if !upload.is_over() {
                match upload.poll(cx, client, backend) {
                    Poll::Ready(done) => {
                        // What the client still sends matters only while its response can go on.
                        if let Err(trouble) = done {
                            match trouble {
                                Trouble::Client(Broken::Gone) => upload.stopped = true,
                                other => return Poll::Ready(Err(other)),
                            }
                        }
                    }
                    Poll::Pending => {
                        let (earlier, other) = upload.due(patience);
                        if waits == Waits::Source && earlier < due {
                            (due, trouble) = (earlier, other);
                        }
                    }
                }
            }
            if !watch.has_passed(cx, due) {
                return Poll::Pending;
            }
            if watch.now() >= due {
                return Poll::Ready(Err(trouble));
            }
        }
    })
    .await;
    watch.disarm();
    done
}

/// Passes bytes both ways after an upgrade, until both directions are closed or nothing goes for `idle`.
pub(super) async fn tunnel<C: Client, B: Backend>(
    watch: &Watch,
    idle: Duration,
    client: &mut C,
    backend: &mut B,
    up: &mut Flow<'_>,
    down: &mut Flow<'_>,
) -> Result<(), Trouble> {
    let fault = |source: fn(Broken) -> Trouble, sink: fn(Broken) -> Trouble| {
        move |fault| match fault {
            Fault::Source(broken) => source(broken),
            Fault::Sink(broken) => sink(broken),
            Fault::TooMany => Trouble::TooLarge,
        }
    };
    let done = std::future::poll_fn(|cx| {
        loop {
            if let Poll::Ready(Err(error)) = down.poll(cx, backend, client) {
                return Poll::Ready(Err(fault(Trouble::Backend, Trouble::Client)(error)));
            }
            if let Poll::Ready(Err(error)) = up.poll(cx, client, backend) {
                return Poll::Ready(Err(fault(Trouble::Client, Trouble::Backend)(error)));
            }
            if up.is_done() && down.is_done() {
                return Poll::Ready(Ok(()));
            }
            let due = up.since().max(down.since()) + idle;
            if !watch.has_passed(cx, due) {
                return Poll::Pending;
            }
            if watch.now() >= due {
                return Poll::Ready(Err(Trouble::ClientSlow));
            }
        }
    })
    .await;
    watch.disarm();
    done
}
