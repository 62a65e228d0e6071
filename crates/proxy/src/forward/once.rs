//! One try: a connection to the backend, the request over it, and its response to the client.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use mainstay_config::plan::edge::{BackendHttp, Gzip, ProxyHeader, RetryOn};
use mainstay_core::http1::Reject;
use mainstay_core::time::Boot;

use super::attempt::{self, Trouble, Upload};
use super::exchange::{Job, Tried, host_of, status_of};
use super::flow::Flow;
use super::packed::Packed;
use super::replay::Replay;
use super::{Ask, Backend, Broken, Client, ResponseBody, answer};
use crate::clock::{boot_now, recent};
use crate::dial::{Dial, DialError};
use crate::exchange::{Attempt, Exchange, Verdict};
use crate::gzip::{self, Choice, Encoder};
use crate::http1::{self, Keep, Key};
use crate::http2::{self, Link, Links, Turn};
use crate::pool::{Lease, Outcome};
use crate::request::Version;
use crate::response::ResponseHead;
use crate::road::{Ends, Goal, NoRoad};
use crate::route;
use crate::transport::Io;

/// How long who lacks a descriptor waits before another look.
const STARVED: Duration = Duration::from_millis(10);

/// A try that is under way.
struct Try<'j, 'a> {
    job: &'j Job<'a>,
    lease: Lease,
    began: Boot,
    connect: Option<Duration>,
    header: Option<Duration>,
    status: Option<u16>,
    /// The exchange has it among its attempts.
    told: bool,
    /// The response came to its end: the connection may serve another request.
    whole: bool,
}

/// What came of a request over a connection.
enum Over {
    Tried(Tried),
    /// The connection was kept, and closed before it saw the request.
    Stale,
}

/// The client, as far as it is known, and where it came in.
fn visitor(exchange: &Exchange) -> Option<Ends> {
    let connection = &exchange.connection;
    let ours = connection.proxy.map(|(_, ours)| ours).or(connection.local)?;
    Some((std::net::SocketAddr::new(exchange.client?, exchange.client_port), ours))
}

/// Whether a backend's response is compressed, and by what.
fn packing(
    gzip: &Gzip,
    exchange: &Exchange,
    status: u16,
    body: ResponseBody,
    head: &dyn ResponseHead,
) -> (Choice, Option<Encoder>) {
    let length = match body {
        ResponseBody::None(_) => return (Choice::Leave, None),
        ResponseBody::Known(length) => Some(length),
        ResponseBody::Open => None,
    };
    let choice = gzip::choose(gzip, &exchange.request, status, length, |name| head.field(name));
    let encoder = (choice == Choice::Compress).then(|| Encoder::new(gzip)).flatten();
    match (choice, &encoder) {
        (Choice::Compress, None) => (Choice::LeaveAndVary, None),
        (Choice::Compress | Choice::Leave | Choice::LeaveAndVary, _) => (choice, encoder),
    }
}

/// Asks the leased backend.
pub(super) async fn ask<C: Client>(
    job: &Job<'_>,
    exchange: &mut Exchange,
    client: &mut C,
    replay: &mut Option<Replay>,
    lease: Lease,
) -> Tried {
    let mut this = Try {
        job,
        lease,
        began: recent(),
        connect: None,
        header: None,
        status: None,
        told: false,
        whole: false,
    };
    let tried = pin!(this.ask(exchange, client, replay)).await;
    if this.status.is_none() {
        // As nginx tells it: 502 or 504 of a backend that did not answer.
        this.status = match tried {
            Tried::Again(status) | Tried::Failed(status) => Some(status),
            Tried::Done | Tried::Instead(_) | Tried::Client(_) => None,
        };
    }
    this.tell(exchange, true);
    tried
}

impl Try<'_, '_> {
    /// Puts this try among the attempts, as far as it is: headers of the response ask for them too.
    fn tell(&mut self, exchange: &mut Exchange, over: bool) {
        let (status, connect, header) = (self.status, self.connect, self.header);
        let total = over.then(|| recent().since(self.began));
        match exchange.attempts.last_mut().filter(|_| self.told) {
            Some(told) => {
                (told.status, told.connect, told.header, told.total) = (status, connect, header, total);
            }
            None => {
                let addr = match &self.job.place {
                    Some(place) => crate::pool::written(place).into(),
                    None => Rc::clone(self.lease.address()),
                };
                exchange.attempts.push(Attempt { addr, status, connect, header, total });
            }
        }
        self.told = true;
    }

    async fn ask<C: Client>(
        &mut self,
        exchange: &mut Exchange,
        client: &mut C,
        replay: &mut Option<Replay>,
    ) -> Tried {
        match self.job.pool.http {
            BackendHttp::Http1 => {}
            BackendHttp::Http2 => return Box::pin(self.ask_by_stream(exchange, client, replay)).await,
        }
        let thread = self.job.way.thread;
        let keep = self.keep();
        let key = Key { backend: self.lease.backend(), name: self.tls_name(exchange) };
        let mut kept =
            (keep.most > 0).then(|| thread.kept.borrow_mut().take(&key, keep, self.began)).flatten();
        loop {
            let connection = match kept.take() {
                Some(connection) => connection,
                None => match Box::pin(self.dial(exchange, &key)).await {
                    Ok(io) => http1::BackendConnection::new(io, key.clone()),
                    Err(tried) => return tried,
                },
            };
            let mut backend = http1::BackendExchange::new(Rc::clone(thread), connection, keep);
            let came = pin!(self.over(&mut backend, exchange, client, replay)).await;
            match came {
                Over::Tried(tried) => {
                    if self.whole {
                        backend.release();
                    }
                    return tried;
                }
                Over::Stale => {
                    if let Some(replay) = replay {
                        replay.rewind();
                    }
                }
            }
        }
    }

    /// The same over a stream of a connection that others share.
    async fn ask_by_stream<C: Client>(
        &mut self,
        exchange: &mut Exchange,
        client: &mut C,
        replay: &mut Option<Replay>,
    ) -> Tried {
        let thread = self.job.way.thread;
        let keep = self.keep();
        let key = Key { backend: self.lease.backend(), name: self.tls_name(exchange) };
        loop {
            let turn = if keep.most > 0 { Some(Links::turn(thread, &key).await) } else { None };
            let link = match turn {
                Some(Turn::Take(link)) => link,
                Some(Turn::Failed) => return self.failed_before(RetryOn::Error),
                turn @ (Some(Turn::Dial(_)) | None) => {
                    let io = match self.dial(exchange, &key).await {
                        Ok(io) => io,
                        Err(tried) => return tried,
                    };
                    let place = match turn {
                        Some(Turn::Dial(place)) => Some(place),
                        Some(Turn::Take(_) | Turn::Failed) | None => None,
                    };
                    Link::new(thread, io, key.clone(), keep, place)
                }
            };
            let mut backend = http2::BackendExchange::new(link, key.name.is_some());
            match self.over(&mut backend, exchange, client, replay).await {
                Over::Tried(tried) => {
                    if self.whole {
                        backend.release();
                    }
                    return tried;
                }
                Over::Stale => {
                    if let Some(replay) = replay {
                        replay.rewind();
                    }
                }
            }
        }
    }

    fn keep(&self) -> Keep {
        let pool = self.job.pool;
        let most = if pool.proxy == ProxyHeader::Off && self.job.place.is_none() { pool.keep } else { 0 };
        Keep {
            // Those of tunnels that no file names share the bound of what they are made of.
            pool: self.job.way.snapshot.place_of(self.job.pool_id).unwrap_or(self.job.pool_id).0,
            most,
            requests: pool.keep_requests,
            time: pool.keep_timeout,
            bare_lf: pool.bare_lf,
        }
    }

    /// The name that TLS asks for.
    fn tls_name(&self, exchange: &Exchange) -> Option<Rc<str>> {
        let tls = self.job.pool.tls.as_ref()?;
        let Some(template) = &tls.name else { return Some(Rc::clone(self.lease.host())) };
        let mut name = Vec::new();
        route::render(template, self.job.way.snapshot, exchange, &mut name);
        Some(host_of(&String::from_utf8_lossy(&name)))
    }

    async fn dial(&mut self, exchange: &Exchange, key: &Key) -> Result<Io, Tried> {
        let (job, way) = (self.job, self.job.way);
        let began = recent();
        let connection = &exchange.connection;
        let tls = match &key.name {
            None => None,
            Some(name) => match way.thread.client_tls(way.snapshot, job.pool_id) {
                Some(config) => Some((config, Rc::clone(name))),
                None => return Err(self.failed(RetryOn::Error, Outcome::ConnectFailed, false, None)),
            },
        };
        let dial = Dial {
            pool: job.pool,
            tls,
            ends: connection.proxy.or(connection.peer.zip(connection.local)),
            visitor: visitor(exchange),
            thread: way.thread,
            timeout: job.forward.connect_timeout,
        };
        match self.connect(&dial).await {
            Ok(io) => {
                self.connect = Some(recent().since(began));
                Ok(io)
            }
            Err(error) if error.is_starved() => {
                way.thread.starved(connection.counts);
                self.lease.tell(Outcome::Cancelled, recent().since(self.began));
                Err(Tried::Failed(503))
            }
            Err(error) => {
                tracing::debug!(backend = %self.lease.address(), "{error}");
                let on = match error {
                    DialError::Timeout(_) => RetryOn::Timeout,
                    DialError::Connect(_) | DialError::Tls(_) | DialError::Road(NoRoad::Gone) => {
                        RetryOn::Error
                    }
                    DialError::Road(NoRoad::Full | NoRoad::TooMany) => {
                        // The agent has no part in it, and another one of the tunnel may not take it either.
                        self.lease.tell(Outcome::Cancelled, recent().since(self.began));
                        return Err(Tried::Failed(503));
                    }
                };
                Err(self.failed_before(on))
            }
        }
    }

    /// Without a descriptor it waits for one as long as a connect may take; those that are kept for later go first.
    async fn connect(&self, dial: &Dial<'_>) -> Result<Io, DialError> {
        let by = boot_now() + dial.timeout;
        loop {
            let connected = match &self.job.place {
                Some(place) => dial.connect(&Goal::Place(place.clone())).await,
                None => dial.connect(self.lease.goal()).await,
            };
            let starved = connected.as_ref().is_err_and(DialError::is_starved);
            if !starved || boot_now() >= by {
                return connected;
            }
            if !self.job.way.thread.kept.borrow_mut().shed() {
                tokio::time::sleep(STARVED).await;
            }
        }
    }

    fn failed_before(&mut self, on: RetryOn) -> Tried {
        self.failed(on, Outcome::ConnectFailed, false, None)
    }

    /// There will be no response of this backend.
    fn failed(&mut self, on: RetryOn, outcome: Outcome, sent: bool, replay: Option<&Replay>) -> Tried {
        self.lease.tell(outcome, recent().since(self.began));
        let status = match on {
            RetryOn::Timeout => 504,
            RetryOn::Error | RetryOn::InvalidHeader => 502,
            RetryOn::Status(status) => status,
        };
        if self.job.may_ask_again(on, outcome, sent, replay) {
            Tried::Again(status)
        } else {
            Tried::Failed(status)
        }
    }

    /// Sends the request over a connection and brings its response.
    async fn over<C: Client, B: Backend>(
        &mut self,
        backend: &mut B,
        exchange: &mut Exchange,
        client: &mut C,
        replay: &mut Option<Replay>,
    ) -> Over {
        let (job, way) = (self.job, self.job.way);
        let upgrade = exchange.request.upgrade.filter(|_| job.forward.upgrade);
        backend.start_head(&Ask {
            method: &job.method,
            target: &job.target,
            body: job.body,
            upgrade: upgrade.map(|span| exchange.request.bytes(span)),
        });
        route::request_fields(way.snapshot, exchange, backend);
        backend.end_head();
        let mut flow = Flow::new(way);
        flow.most = job.most.filter(|_| replay.as_ref().is_none_or(|replay| !replay.whole));
        flow.moved = 0;
        let mut upload = Upload { flow, replay: replay.as_mut(), stopped: false };
        loop {
            let headed = pin!(attempt::head(way.watch, &job.patience, client, backend, &mut upload)).await;
            if let Err(trouble) = headed {
                let stale = backend.is_stale();
                return self.no_head(trouble, stale, upload.flow.moved > 0, upload.replay.as_deref());
            }
            let status = backend.head().status();
            if status == 101 && !upload.flow.is_done() {
                // What is left of the body would be said in the other protocol.
                let trouble = Trouble::Backend(Broken::Malformed(Reject::StatusLine));
                return self.no_head(trouble, false, true, upload.replay.as_deref());
            }
            if status >= 200 || status == 101 {
                break;
            }
            if exchange.request.version != Version::Http10
                && self.pass_interim(backend, client).await.is_err()
            {
                self.lease.tell(Outcome::Cancelled, Duration::ZERO);
                return Over::Tried(Tried::Client(None));
            }
        }
        let tried = pin!(self.pass(backend, exchange, client, &mut upload)).await;
        Over::Tried(tried)
    }

    /// What a try without a head came to.
    fn no_head(&mut self, trouble: Trouble, stale: bool, body_sent: bool, replay: Option<&Replay>) -> Over {
        let replayable = !body_sent || replay.is_some_and(|replay| !replay.lost);
        Over::Tried(match trouble {
            Trouble::Backend(Broken::Gone) if stale && replayable && self.job.may_resend_at_all() => {
                return Over::Stale;
            }
            Trouble::Backend(Broken::Gone) => self.failed(RetryOn::Error, Outcome::Broken, true, replay),
            // Nothing was done with it, but a body that is gone cannot be sent to another.
            Trouble::Backend(Broken::Refused) => {
                self.failed(RetryOn::Error, Outcome::ConnectFailed, !replayable, replay)
            }
            Trouble::Backend(Broken::Malformed(reject)) => {
                tracing::debug!(backend = %self.lease.address(), "no HTTP: {reject}");
                self.failed(RetryOn::InvalidHeader, Outcome::Broken, true, replay)
            }
            Trouble::BackendSlow => self.failed(RetryOn::Timeout, Outcome::Timeout, true, replay),
            Trouble::TooLarge => self.cancelled(Some(413)),
            Trouble::ClientSlow => self.cancelled(Some(408)),
            Trouble::ClientDeaf => self.cancelled(None),
            Trouble::Client(broken) => self.cancelled(status_of(broken)),
        })
    }

    fn cancelled(&mut self, status: Option<u16>) -> Tried {
        self.lease.tell(Outcome::Cancelled, recent().since(self.began));
        Tried::Client(status)
    }

    /// Passes a 1xx on.
    async fn pass_interim<C: Client, B: Backend>(&self, backend: &B, client: &mut C) -> Result<(), Broken> {
        let head = backend.head();
        client.start_head(head.status(), backend.reason(), ResponseBody::None(None));
        head.each(&mut |name, value| {
            const HOP: [&[u8]; 5] =
                [b"connection", b"content-length", b"transfer-encoding", b"upgrade", b"keep-alive"];
            if !HOP.iter().any(|hop| name.eq_ignore_ascii_case(hop)) {
                client.field(name, value);
            }
        });
        client.end_head();
        answer::flush(self.job.way.watch, self.job.patience.client_send, client).await
    }

    /// Passes the response on, the head of which is here.
    async fn pass<C: Client, B: Backend>(
        &mut self,
        backend: &mut B,
        exchange: &mut Exchange,
        client: &mut C,
        upload: &mut Upload<'_>,
    ) -> Tried {
        let (job, way) = (self.job, self.job.way);
        let status = backend.head().status();
        let header = recent().since(self.began);
        self.status = Some(status);
        self.header = Some(header);
        let unwanted = RetryOn::Status(status);
        if job.forward.retry.on.contains(&unwanted) {
            let replay = upload.replay.as_deref();
            // What is not there or forbidden is no fault of the backend.
            let outcome = if matches!(status, 403 | 404) {
                Outcome::Answered(status)
            } else {
                Outcome::Unwanted(status)
            };
            let again = self.failed(unwanted, outcome, true, replay);
            if matches!(again, Tried::Again(_)) {
                return again;
            }
        } else {
            self.lease.tell(Outcome::Answered(status), header);
        }
        self.tell(exchange, false);
        match route::verdict(way.snapshot, way.thread, exchange, backend.head()) {
            Verdict::Pass => {}
            Verdict::Instead(decision) => return Tried::Instead(decision),
        }
        if status == 101 {
            return Box::pin(self.switch(backend, exchange, client)).await;
        }
        let mut download = Flow::new(way);
        download.hold_back(self.rate(backend));
        let (watch, patience) = (way.watch, &job.patience);
        let done = match self.write_head(backend, exchange, client) {
            None => {
                let done = pin!(attempt::body(watch, patience, client, backend, upload, &mut download)).await;
                exchange.body_sent += download.moved;
                done
            }
            Some(encoder) => {
                let mut packed = Packed::new(client, encoder);
                let body = attempt::body(watch, patience, &mut packed, backend, upload, &mut download);
                let done = Box::pin(body).await;
                exchange.body_sent += packed.sent;
                done
            }
        };
        match done {
            Ok(()) => {
                exchange.complete = true;
                self.whole = true;
            }
            Err(trouble) => {
                tracing::debug!(backend = %self.lease.address(), ?trouble, "a response was cut");
                match trouble {
                    Trouble::Backend(_) => self.lease.tell(Outcome::Broken, header),
                    Trouble::BackendSlow => self.lease.tell(Outcome::Timeout, header),
                    Trouble::Client(_) | Trouble::ClientSlow | Trouble::ClientDeaf | Trouble::TooLarge => {}
                }
                // What came before the fault is still the client's.
                if matches!(trouble, Trouble::Backend(_) | Trouble::BackendSlow) {
                    let _ = answer::flush(way.watch, job.patience.client_send, client).await;
                }
                client.abort();
            }
        }
        Tried::Done
    }

    /// Writes the head; its body goes through the encoder, if there is one.
    fn write_head<C: Client, B: Backend>(
        &self,
        backend: &B,
        exchange: &mut Exchange,
        client: &mut C,
    ) -> Option<Encoder> {
        let way = self.job.way;
        let head = backend.head();
        let own = head.status();
        let status = route::shown_status(exchange, own);
        exchange.status = status;
        if way.thread.draining() {
            client.close_after();
        }
        let reason: &[u8] = if status == own { backend.reason() } else { b"" };
        let route = exchange.route.and_then(|id| way.snapshot.edge.routes.get(id.index()));
        let mut body = backend.body();
        let (gzip, choice, encoder) = match route.and_then(|route| route.gzip.as_ref()) {
            None => (None, Choice::Leave, None),
            Some(gzip) => {
                let (choice, encoder) = packing(gzip, exchange, status, body, head);
                (Some(gzip), choice, encoder)
            }
        };
        if encoder.is_some() {
            body = ResponseBody::Open;
        }
        client.start_head(status, reason, body);
        match gzip.filter(|_| choice != Choice::Leave) {
            None => route::response_fields(way.snapshot, exchange, head, client),
            Some(gzip) => {
                let mut fields = gzip::Fields::new(gzip, choice, client);
                route::response_fields(way.snapshot, exchange, head, &mut fields);
                fields.end();
            }
        }
        if let Some(cookie) = self.lease.set_cookie() {
            client.field(b"Set-Cookie", cookie.as_bytes());
        }
        client.end_head();
        encoder
    }

    /// Bytes a second of the response's body; those before compression count.
    fn rate<B: Backend>(&self, backend: &B) -> u64 {
        let said = self.job.forward.accel.then(|| backend.head().field("x-accel-limit-rate")).flatten();
        let said = said.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        said.unwrap_or(self.job.rate)
    }

    /// The backend speaks another protocol from here on.
    async fn switch<C: Client, B: Backend>(
        &mut self,
        backend: &mut B,
        exchange: &mut Exchange,
        client: &mut C,
    ) -> Tried {
        let (job, way) = (self.job, self.job.way);
        exchange.status = 101;
        client.start_head(101, backend.reason(), ResponseBody::None(None));
        if let Some(protocol) = backend.head().field("upgrade") {
            client.field(b"Upgrade", protocol);
        }
        route::response_fields(way.snapshot, exchange, backend.head(), client);
        client.end_head();
        client.tunnel();
        backend.tunnel();
        let (mut up, mut down) = (Flow::new(way), Flow::new(way));
        let idle = job.forward.read_timeout;
        let done = attempt::tunnel(way.watch, idle, client, backend, &mut up, &mut down).await;
        exchange.body_sent += down.moved;
        exchange.complete = done.is_ok();
        if done.is_err() {
            client.abort();
        }
        Tried::Done
    }
}
