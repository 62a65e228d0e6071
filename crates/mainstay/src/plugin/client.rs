//! gost's sd and ingress plugins, called: by gRPC over one connection of HTTP/2, or as JSON over HTTP/1.1.
//!
//! A call is over within its deadline, and its answer has at most [`ANSWER_MAX`] bytes. A connection is kept for the next call; one
//! on which a call was not answered in time is not asked again.

mod carrier;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mainstay_config::plan::cluster::Access;
use mainstay_config::plan::gost::{Gost, Plugin, Via};
use mainstay_core::gost::book::{Answer, Call};
use prost::Message;
use rustls::ClientConfig;
use tokio::sync::Mutex;
use tokio::time::timeout;

use self::carrier::{Bound, Carrier};
use super::say::{self, Caller, Json};
use super::wire::TOKEN;
use crate::probe::AbortOnDrop;
use crate::probe::dial::Lane;
use crate::probe::fetch::AGENT;
use crate::registry::tls;

/// The longest answer that is read: some thousands of clients of one tunnel.
const ANSWER_MAX: usize = 1 << 20;

/// Connections of HTTP/1.1 that are kept, one for each call that may be under way.
const IDLE_MAX: usize = 8;

/// The longest complaint of a plugin that is shown.
const COMPLAINT: usize = 200;

/// What is said of an answer that is an error.
pub(crate) const REFUSES: &str = "it answers with an error";

/// One plugin, as one thread calls it.
pub(crate) struct Client {
    place: Plugin,
    token: Option<HeaderValue>,
    tls: Option<Arc<ClientConfig>>,
    limit: Duration,
    lane: Lane,
    /// One connects at a time; who waited finds the connection.
    connecting: Mutex<()>,
    grpc: RefCell<Option<Grpc>>,
    idle: RefCell<Vec<Http>>,
}

/// A connection of HTTP/2, which many calls share.
#[derive(Clone)]
struct Grpc {
    sender: http2::SendRequest<Full<Bytes>>,
    driver: Rc<AbortOnDrop>,
    bound: Bound,
}

/// A connection of HTTP/1.1, which one call has for itself.
struct Http {
    sender: http1::SendRequest<Full<Bytes>>,
    _driver: AbortOnDrop,
    bound: Bound,
}

/// Runs what hyper asks for on this thread.
#[derive(Clone, Copy)]
struct Here;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.place)
    }
}

impl Client {
    /// Knows how to call a plugin; nothing is dialled yet.
    pub(crate) fn new(place: &Plugin, gost: &Gost) -> anyhow::Result<Self> {
        let ca = gost.ca.as_ref().map(|(_, pem)| pem.clone());
        let tls = place.tls.then(|| tls::client(&Access { ca, ..Access::default() })).transpose()?;
        let tls = tls.map(|config| {
            let mut config = ClientConfig::clone(&config);
            if place.via == Via::Grpc {
                config.alpn_protocols = vec![b"h2".to_vec()];
            }
            Arc::new(config)
        });
        let token = gost.token.as_ref().map(|token| {
            let mut text = if place.via == Via::Http { b"Bearer ".to_vec() } else { Vec::new() };
            text.extend_from_slice(token.text.as_bytes());
            HeaderValue::from_bytes(&text).map(|mut value| {
                value.set_sensitive(true);
                value
            })
        });
        Ok(Self {
            place: place.clone(),
            token: token.transpose().context("the plugins' token has characters that no header takes")?,
            tls,
            limit: gost.timeout,
            lane: Lane::default(),
            connecting: Mutex::new(()),
            grpc: RefCell::default(),
            idle: RefCell::default(),
        })
    }

    /// Calls it.
    pub(crate) async fn call(&self, call: &Call, caller: &Caller) -> anyhow::Result<Answer> {
        let called = async {
            match self.place.via {
                Via::Grpc => self.by_grpc(call, caller).await,
                Via::Http => self.by_http(call, caller).await,
            }
        };
        match timeout(self.limit, called).await {
            Ok(answer) => answer,
            Err(_) => {
                // Whatever holds it up may hold up the next one.
                self.grpc.take();
                self.idle.borrow_mut().clear();
                bail!("no answer within {} ms", self.limit.as_millis())
            }
        }
    }

    async fn by_grpc(&self, call: &Call, caller: &Caller) -> anyhow::Result<Answer> {
        let (path, message) = say::message(call, caller);
        let mut body = vec![0];
        body.extend(u32::try_from(message.len()).context("the message is too long")?.to_be_bytes());
        body.extend(message);
        let authority = self.authority();
        let scheme = if self.place.tls { "https" } else { "http" };
        let mut request = Request::post(format!("{scheme}://{authority}{path}"))
            .header(CONTENT_TYPE, "application/grpc")
            .header(USER_AGENT, AGENT)
            .header(TE, "trailers");
        if let Some(token) = &self.token {
            request = request.header(HeaderName::from_static(TOKEN), token);
        }
        let request = request.body(Full::new(Bytes::from(body))).context("put a request together")?;
        let mut link = self.grpc_link().await?;
        link.bound.refill();
        let response = link.sender.send_request(request).await;
        let response = response.inspect_err(|_| self.forget(&link)).context("send")?;
        let (status, headers) = (response.status(), response.headers().clone());
        ensure!(status == StatusCode::OK, "HTTP status {status}");
        let read = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let read = read.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
        let trailers = read.trailers().cloned().unwrap_or_default();
        judge(&headers, &trailers)?;
        say::answer(call, unframed(&read.to_bytes())?)
    }

    async fn grpc_link(&self) -> anyhow::Result<Grpc> {
        if let Some(link) = self.grpc.borrow().as_ref().filter(|link| !link.sender.is_closed()) {
            return Ok(link.clone());
        }
        let _turn = self.connecting.lock().await;
        if let Some(link) = self.grpc.borrow().as_ref().filter(|link| !link.sender.is_closed()) {
            return Ok(link.clone());
        }
        let (carrier, bound) = self.carrier().await?;
        let io = TokioIo::new(carrier);
        let (sender, connection) =
            http2::Builder::new(Here).max_concurrent_streams(0).handshake(io).await.context("HTTP/2")?;
        let driver = AbortOnDrop::spawn(async move {
            // What goes wrong with the connection, each call reports.
            let _ = connection.await;
        });
        let link = Grpc { sender, driver: Rc::new(driver), bound };
        self.grpc.replace(Some(link.clone()));
        Ok(link)
    }

    /// The connection is not asked again.
    fn forget(&self, link: &Grpc) {
        let mut kept = self.grpc.borrow_mut();
        if kept.as_ref().is_some_and(|kept| Rc::ptr_eq(&kept.driver, &link.driver)) {
            kept.take();
        }
    }

    async fn by_http(&self, call: &Call, caller: &Caller) -> anyhow::Result<Answer> {
        let Json { method, query, body } = say::json(call, caller);
        let path = match (query, self.place.path.contains('?')) {
            (None, _) => self.place.path.clone(),
            (Some(query), false) => format!("{}?{query}", self.place.path),
            (Some(query), true) => format!("{}&{query}", self.place.path),
        };
        // A connection that was kept may have been closed meanwhile: asking twice changes nothing.
        let kept = self.idle.borrow_mut().pop();
        if let Some(link) = kept.filter(|link| !link.sender.is_closed()) {
            let asked = self.ask(link, self.request(&method, &path, &body)?).await;
            if let Ok((status, read)) = asked {
                return judged(call, status, &read);
            }
        }
        let link = {
            let _turn = self.connecting.lock().await;
            let (carrier, bound) = self.carrier().await?;
            let (sender, connection) = http1::handshake(TokioIo::new(carrier)).await.context("HTTP")?;
            let driver = AbortOnDrop::spawn(async move {
                let _ = connection.await;
            });
            Http { sender, _driver: driver, bound }
        };
        let (status, read) = self.ask(link, self.request(&method, &path, &body)?).await?;
        judged(call, status, &read)
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        body: &Option<String>,
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.authority())
            .header(USER_AGENT, AGENT);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let body = Bytes::from(body.clone().unwrap_or_default());
        request.body(Full::new(body)).context("put a request together")
    }

    /// Asks over a connection, and keeps it when it may serve again.
    async fn ask(
        &self,
        mut link: Http,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        link.bound.refill();
        link.sender.ready().await.context("send")?;
        let response: Response<Incoming> = link.sender.send_request(request).await.context("send")?;
        let status = response.status();
        let read = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let read = read.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes();
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push(link);
        }
        Ok((status, read))
    }

    async fn carrier(&self) -> anyhow::Result<(Carrier, Bound)> {
        let wire = tls::wire(&self.place.host, self.place.port, &self.lane, self.tls.as_ref()).await?;
        Ok(Carrier::new(wire))
    }

    fn authority(&self) -> String {
        format!("{}:{}", self.place.host, self.place.port)
    }
}

fn judged(call: &Call, status: StatusCode, body: &[u8]) -> anyhow::Result<Answer> {
    ensure!(status == StatusCode::OK, "{REFUSES}: HTTP status {status}");
    say::answer_of_json(call, body)
}

/// What gRPC's status says, which stands behind the answer, or before it when there is none.
fn judge(headers: &HeaderMap, trailers: &HeaderMap) -> anyhow::Result<()> {
    let of = |name: &str| trailers.get(name).or_else(|| headers.get(name)).map(HeaderValue::as_bytes);
    let Some(status) = of("grpc-status") else { bail!("the answer has no status of gRPC") };
    if status == b"0" {
        return Ok(());
    }
    let why = unescaped(of("grpc-message").unwrap_or_default());
    let why: String = why.chars().filter(|c| !c.is_control()).take(COMPLAINT).collect();
    bail!(
        "{REFUSES}: gRPC status {}: {why}",
        String::from_utf8_lossy(status).chars().take(4).collect::<String>()
    )
}

/// Text as gRPC has it in a header: what is not printable stands there as `%` and two digits.
fn unescaped(bytes: &[u8]) -> String {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let byte = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            (_, _, _) => None,
        };
        plain.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// The one message of an answer.
fn unframed(body: &[u8]) -> anyhow::Result<&[u8]> {
    let Some((head, message)) = body.split_first_chunk::<5>() else { bail!("the answer has no message") };
    ensure!(head[0] == 0, "the answer is compressed, which was not asked for");
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    ensure!(message.len() == length, "the answer's message is not as long as it says");
    Ok(message)
}

/// A message of an answer.
pub(super) fn decoded<M: Message + Default>(bytes: &[u8]) -> anyhow::Result<M> {
    M::decode(bytes).context("the answer cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_complains_of_is_read_as_it_was_meant() {
        for (text, meant) in [
            ("the token is missing", "the token is missing"),
            ("100%25 of %C3%A4", "100% of \u{e4}"),
            ("%", "%"),
            ("a%2", "a%2"),
            ("%zz%41", "%zzA"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(unescaped(text.as_bytes()), meant, "{text}");
        }
    }
}
