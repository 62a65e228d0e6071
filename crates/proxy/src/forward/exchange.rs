//! A request for a pool: what of it is kept for another try, which backend is asked, and when no other is.

use std::pin::pin;
use std::rc::Rc;

use mainstay_config::plan::edge::{Action, Balance, Fallback, Forward, Place, Pool, RetryOn};
use mainstay_core::http1::BodyLength;
use mainstay_core::name::PoolId;
use smallvec::SmallVec;

use super::attempt::Patience;
use super::replay::Replay;
use super::{Broken, Client, More, Way, once};
use crate::buffers;
use crate::exchange::{Decision, Exchange};
use crate::lead::Lost;
use crate::pool::{Ask, Lease, Outcome, Refused};
use crate::route::{self, Aim};

/// What one try came to.
pub(super) enum Tried {
    /// The response went to the client, whole or cut.
    Done,
    /// Something of ours takes the response's place.
    Instead(Decision),
    /// Another backend may be asked; when there is none, this status tells so.
    Again(u16),
    /// There is no response; this status tells so.
    Failed(u16),
    /// It is the client's doing: this status, if it still can be told.
    Client(Option<u16>),
}

/// A request on its way to a pool.
pub(super) struct Job<'a> {
    pub(super) way: Way<'a>,
    pub(super) forward: &'a Forward,
    pub(super) pool: &'a Pool,
    pub(super) pool_id: PoolId,
    /// What is asked instead of a backend of the pool.
    pub(super) place: Option<Place>,
    pub(super) patience: Patience,
    pub(super) method: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) body: BodyLength,
    /// Bytes that the body may have.
    pub(super) most: Option<u64>,
    /// Bytes per second of the response; 0 is without bound.
    pub(super) rate: u64,
    /// No further backend is asked.
    last: bool,
}

/// The way to a backend, if the action is one or ends in one.
fn forward_of(action: &Action) -> Option<&Forward> {
    match action {
        Action::Forward(forward) => Some(forward),
        Action::Files(files) => match &files.fallback {
            Some(Fallback::Action(action)) => forward_of(action),
            Some(Fallback::Path(_) | Fallback::Route(_) | Fallback::Status(_)) | None => None,
        },
        Action::Answer(_) => None,
    }
}

/// Passes a request to its route's pool; what is to be done instead when that comes to nothing.
pub(super) async fn forward<C: Client>(
    way: Way<'_>,
    exchange: &mut Exchange,
    client: &mut C,
) -> Option<Decision> {
    let route = exchange.route.and_then(|id| way.snapshot.edge.routes.get(id.index()));
    let found = route.and_then(|route| {
        let forward = forward_of(&route.action)?;
        Some((route, forward, way.snapshot.edge.pools.get(forward.pool.index())?))
    });
    let Some((route, forward, mut pool)) = found else {
        return Some(route::failed(way.snapshot, way.thread, exchange, 500));
    };
    let (mut method, mut target) = (buffers::text(), buffers::text());
    route::request_method(way.snapshot, exchange, &mut method);
    route::request_target(way.snapshot, exchange, &mut target);
    let (mut pool_id, mut place) = (forward.pool, None);
    if forward.to.is_some() {
        match Box::pin(asked(way, exchange, forward, &mut target)).await {
            Some(To::Pool(id)) => {
                pool_id = id;
                pool = way.snapshot.edge.pools.get(id.index()).unwrap_or(pool);
            }
            Some(To::Place(there)) => place = Some(there),
            None => return Some(route::failed(way.snapshot, way.thread, exchange, 502)),
        }
    } else if way.snapshot.is_template(pool_id) {
        match Box::pin(led(way, exchange)).await {
            Ok(id) => pool_id = id,
            Err(lost) => return Some(astray(way, exchange, client, lost)),
        }
    }
    let mut job = Job {
        way,
        forward,
        pool,
        pool_id,
        place,
        patience: Patience::new(way.limits(exchange), forward),
        method,
        target,
        body: if forward.pass_body { exchange.request.body } else { BodyLength::None },
        most: route.body_max,
        rate: route.rate_bytes,
        last: false,
    };
    let decision = pin!(job.run(exchange, client)).await;
    buffers::give_back_text(job.method);
    buffers::give_back_text(job.target);
    decision
}

/// Finds the pool of the tunnel that the request's host leads to.
async fn led(way: Way<'_>, exchange: &Exchange) -> Result<PoolId, Lost> {
    let authority = exchange.request.bytes(exchange.request.authority);
    let host = route::host_of(authority).unwrap_or_default().to_owned();
    let port = exchange.connection.local.map_or(0, |ours| ours.port());
    crate::lead::lead(way.thread, way.snapshot, &host, port).await
}

/// Tells a client whose host leads to no tunnel.
fn astray<C: Client>(way: Way<'_>, exchange: &mut Exchange, client: &mut C, lost: Lost) -> Decision {
    let status = match lost {
        Lost::Nowhere => 404,
        Lost::Private => {
            client.close_after();
            502
        }
    };
    route::failed(way.snapshot, way.thread, exchange, status)
}

/// What a route's text leads to.
enum To {
    Pool(PoolId),
    Place(Place),
}

/// Finds what `forward.to` names; names of hosts are looked up.
async fn asked(way: Way<'_>, exchange: &mut Exchange, forward: &Forward, target: &mut Vec<u8>) -> Option<To> {
    let (host, port) = match route::aim(way.snapshot, exchange, target)? {
        Aim::Pool(id) => return Some(To::Pool(id)),
        Aim::Unix(path) => return Some(To::Place(Place::Unix(path))),
        Aim::Nowhere => return None,
        Aim::Host(host, port) => (host, port),
    };
    if let Ok(ip) = host.parse::<std::net::IpAddr>() {
        return Some(To::Place(Place::Inet((ip, port).into())));
    }
    let found =
        tokio::time::timeout(forward.connect_timeout, tokio::net::lookup_host((host.as_str(), port))).await;
    found.ok()?.ok()?.next().map(|address| To::Place(Place::Inet(address)))
}

impl<'a> Job<'a> {
    async fn run<C: Client>(&mut self, exchange: &mut Exchange, client: &mut C) -> Option<Decision> {
        let mut replay = None;
        if self.body != BodyLength::None && self.forward.buffer_request {
            if let Err(status) = Box::pin(self.take_body(client, replay.insert(Replay::default()))).await {
                return self.stop(exchange, client, status);
            }
        } else if self.body != BodyLength::None && self.may_resend_at_all() {
            replay = Some(Replay::default());
        } else if self.body == BodyLength::None && exchange.request.body != BodyLength::None {
            replay = Some(Replay::nothing());
        }
        pin!(self.ask_around(exchange, client, replay)).await
    }

    /// Asks one backend after the other.
    async fn ask_around<C: Client>(
        &mut self,
        exchange: &mut Exchange,
        client: &mut C,
        mut replay: Option<Replay>,
    ) -> Option<Decision> {
        let (way, retry) = (self.way, &self.forward.retry);
        let began = way.watch.now();
        let mut asked: SmallVec<[u32; 4]> = SmallVec::new();
        let mut status = 503;
        loop {
            let leased = pin!(self.lease(exchange, &asked)).await;
            let lease = match leased {
                Ok(lease) => lease,
                Err(refused) => {
                    tracing::debug!(pool = %self.pool.name, "{refused}");
                    return Some(route::failed(way.snapshot, way.thread, exchange, status));
                }
            };
            asked.push(lease.backend());
            self.last = (retry.tries > 0 && asked.len() >= retry.tries as usize)
                || (!retry.within.is_zero() && way.watch.now().since(began) >= retry.within);
            let came = pin!(once::ask(self, exchange, client, &mut replay, lease)).await;
            match came {
                Tried::Done => return None,
                Tried::Instead(decision) => return Some(decision),
                Tried::Client(status) => return self.stop(exchange, client, status),
                Tried::Failed(status) => {
                    return Some(route::failed(way.snapshot, way.thread, exchange, status));
                }
                Tried::Again(failed) => {
                    status = failed;
                    if let Some(replay) = &mut replay {
                        replay.rewind();
                    }
                }
            }
        }
    }

    async fn lease(&self, exchange: &Exchange, asked: &[u32]) -> Result<Lease, Refused> {
        let mut key = None;
        if let Balance::Hash(template) = &self.pool.balance {
            let mut text = buffers::text();
            route::render(template, self.way.snapshot, exchange, &mut text);
            key = Some(text);
        }
        let cookie = self.pool.sticky.as_ref().and_then(|sticky| cookie(exchange, &sticky.cookie));
        let ask = Ask { client: exchange.client, key: key.as_deref(), cookie, tried: asked };
        let leased = pin!(self.way.thread.pools.lease(self.way.snapshot, self.pool_id, &ask)).await;
        if let Some(text) = key {
            buffers::give_back_text(text);
        }
        leased
    }

    /// Whether another backend is asked after this one failed; `sent` says that it may have got bytes of the request.
    /// Takes from the pool's budget of retries, but for a connect that was refused: no backend has had any work with it, so that
    /// asking another one multiplies nothing.
    pub(super) fn may_ask_again(
        &self,
        on: RetryOn,
        outcome: Outcome,
        sent: bool,
        replay: Option<&Replay>,
    ) -> bool {
        let refused = outcome == Outcome::ConnectFailed && on == RetryOn::Error;
        // RFC 9110 9.2.2: what is not idempotent is not sent twice, unless the operator says so.
        let resend = !sent || self.may_resend_at_all();
        let body = self.body == BodyLength::None || replay.is_some_and(|replay| !replay.lost);
        !self.last
            && self.forward.retry.on.contains(&on)
            && resend
            && (body || !sent)
            && (refused || self.way.thread.pools.may_retry(self.way.snapshot, self.pool_id))
    }

    /// Whether the request may be sent twice.
    pub(super) fn may_resend_at_all(&self) -> bool {
        const IDEMPOTENT: [&[u8]; 8] =
            [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PROPFIND", b"REPORT", b"SEARCH"];
        self.forward.retry.non_idempotent || IDEMPOTENT.contains(&self.method.as_slice())
    }

    /// Takes the whole body in before a backend is asked.
    async fn take_body<C: Client>(&mut self, client: &mut C, replay: &mut Replay) -> Result<(), Option<u16>> {
        loop {
            let waited = self.way.watch.within(self.patience.client_body, |cx| client.poll_data(cx)).await;
            match waited.ok_or(Some(408))?.map_err(status_of)? {
                More::End => break,
                More::Data => {
                    let data = client.data();
                    let count = data.len();
                    if self.most.is_some_and(|most| replay.len() + count as u64 > most) {
                        return Err(Some(413));
                    }
                    replay.store(data).map_err(|_| Some(500))?;
                    client.consume(count);
                }
            }
        }
        replay.complete(client.trailers());
        self.body = match replay.len() {
            0 => BodyLength::None,
            count => BodyLength::Known(count),
        };
        Ok(())
    }

    /// Ends a request without asking a backend further.
    fn stop<C: Client>(
        &self,
        exchange: &mut Exchange,
        client: &mut C,
        status: Option<u16>,
    ) -> Option<Decision> {
        client.close_after();
        match status {
            Some(status) => Some(route::failed(self.way.snapshot, self.way.thread, exchange, status)),
            None => {
                // nginx's number for a client that went away.
                exchange.status = 499;
                client.abort();
                None
            }
        }
    }
}

/// The status for a client whose request's body broke; none when nobody is there to hear it.
pub(super) fn status_of(broken: Broken) -> Option<u16> {
    match broken {
        Broken::Malformed(reject) => Some(reject.status()),
        Broken::Gone | Broken::Refused => None,
    }
}

/// The value of a cookie.
fn cookie<'e>(exchange: &'e Exchange, name: &str) -> Option<&'e [u8]> {
    let lines = exchange.request.fields().filter(|(field, _)| field.eq_ignore_ascii_case(b"cookie"));
    let mut pairs = lines.flat_map(|(_, value)| value.split(|b| *b == b';')).map(<[u8]>::trim_ascii);
    pairs.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// A name that is asked for by TLS, without port.
pub(super) fn host_of(name: &str) -> Rc<str> {
    let host = match name.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        Some(_) | None => name,
    };
    host.trim_start_matches('[').trim_end_matches(']').into()
}
