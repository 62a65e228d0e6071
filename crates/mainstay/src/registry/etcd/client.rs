//! One connection to one member of an etcd cluster at a time, over its JSON gateway (`/v3/`).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use mainstay_config::plan::cluster::{Access, ClusterKey};
use mainstay_sys::clock::boot_now;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::wire;
use crate::probe::AbortOnDrop;
use crate::probe::dial::{Lane, connect};
use crate::probe::fetch::{AGENT, Url};
use crate::registry::store::Account;
use crate::registry::tls;

/// How its members are spoken to.
pub(super) struct Client {
    endpoints: Vec<Url>,
    /// Which of them is spoken to.
    at: usize,
    link: Option<Link>,
    tls: Option<Arc<ClientConfig>>,
    user: Option<(String, ClusterKey)>,
    token: Option<HeaderValue>,
    limit: Duration,
    /// The longest answer that is read.
    most: usize,
    lane: Lane,
    account: Account,
}

/// A connection that is kept.
struct Link {
    sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDrop,
}

/// What a member answered.
struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Client {
    /// A client that waits so long for an answer of so many bytes at most.
    pub(super) fn new(
        endpoints: &[String],
        access: &Access,
        limit: Duration,
        most: usize,
    ) -> anyhow::Result<Self> {
        let endpoints: Vec<Url> =
            endpoints.iter().map(|url| Url::parse(url)).collect::<anyhow::Result<_>>()?;
        let tls = endpoints.iter().any(|url| url.tls).then(|| tls::client(access)).transpose()?;
        Ok(Self {
            endpoints,
            at: 0,
            link: None,
            tls,
            user: access.user.clone(),
            token: None,
            limit,
            most,
            lane: Lane::default(),
            account: Account::default(),
        })
    }

    pub(super) fn account(&self) -> Account {
        self.account.clone()
    }

    /// A lease that lasts for so long at least: whole seconds, and no fewer.
    pub(super) async fn grant(&mut self, lasts: Duration) -> anyhow::Result<i64> {
        let seconds = lasts.as_secs() + u64::from(lasts.subsec_nanos() > 0);
        let body = self.call("lease/grant", &json!({ "TTL": seconds.to_string() })).await?;
        wire::lease(&body, seconds)
    }

    /// One call; who is not known any more says anew who it is.
    pub(super) async fn call(&mut self, path: &str, body: &Value) -> anyhow::Result<Bytes> {
        if self.user.is_some() && self.token.is_none() {
            self.authenticate().await?;
        }
        let mut answer = self.ask(path, body).await?;
        // It was refused before anything was done.
        if answer.status == StatusCode::UNAUTHORIZED && self.user.is_some() {
            self.authenticate().await?;
            answer = self.ask(path, body).await?;
        }
        self.good(path, answer)
    }

    async fn authenticate(&mut self) -> anyhow::Result<()> {
        self.token = None;
        let Some((name, password)) = &self.user else { return Ok(()) };
        let password = String::from_utf8_lossy(password.as_bytes()).into_owned();
        let body = json!({ "name": name, "password": password });
        let answer = self.ask("auth/authenticate", &body).await?;
        let token = wire::token(&self.good("auth/authenticate", answer)?)?;
        let mut token = HeaderValue::from_str(&token).context("etcd's token")?;
        token.set_sensitive(true);
        self.token = Some(token);
        Ok(())
    }

    fn good(&mut self, path: &str, answer: Answer) -> anyhow::Result<Bytes> {
        if answer.status == StatusCode::OK {
            return Ok(answer.body);
        }
        self.account.failures += 1;
        let at = &self.endpoints[self.at].authority;
        let said = format!("{path} at {at}: {}: {}", answer.status, wire::complaint(&answer.body));
        // Another member may have a leader.
        self.move_on();
        bail!(said)
    }

    /// Asks the member that is spoken to, within the limit; after a failure the next one has its turn.
    async fn ask(&mut self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.account.calls += 1;
        let (limit, began) = (self.limit, boot_now());
        let asked = timeout(limit, self.ask_now(path, body)).await;
        match asked {
            Ok(Ok(answer)) => {
                self.account.rtt = Some(boot_now().since(began));
                Ok(answer)
            }
            Ok(Err(error)) => {
                self.account.failures += 1;
                self.move_on();
                Err(error)
            }
            Err(_) => {
                self.account.failures += 1;
                let at = self.endpoints[self.at].authority.clone();
                self.move_on();
                bail!("{path} at {at}: no answer within {} ms", limit.as_millis())
            }
        }
    }

    fn move_on(&mut self) {
        self.link = None;
        self.at = (self.at + 1) % self.endpoints.len();
    }

    async fn ask_now(&mut self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        if self.link.as_ref().is_none_or(|link| link.sender.is_closed()) {
            self.link = Some(self.connect().await?);
        }
        let url = &self.endpoints[self.at];
        self.account.endpoint = Some(url.authority.clone());
        let mut request = Request::post(format!("/v3/{path}"))
            .header(HOST, &url.authority)
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request =
            request.body(Full::new(Bytes::from(body.to_string()))).context("put a request together")?;
        let at = format!("{path} at {}", url.authority);
        let link = self.link.as_mut().context("the connection is open")?;
        let response = link.sender.send_request(request).await.with_context(|| at.clone())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), self.most).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("{at}: the answer broke off: {error}"))?.to_bytes();
        Ok(Answer { status, body })
    }

    /// Connects to the first member that can be reached, from the one whose turn it is.
    async fn connect(&mut self) -> anyhow::Result<Link> {
        let share = self.limit / 3;
        let mut last = None;
        for _ in 0..self.endpoints.len() {
            let url = self.endpoints[self.at].clone();
            let linked = timeout(share, self.link_to(&url)).await;
            match linked {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(error)) => last = Some(error),
                Err(_) => last = Some(anyhow::anyhow!("{} does not answer", url.authority)),
            }
            self.at = (self.at + 1) % self.endpoints.len();
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("there is no member")))
    }

    async fn link_to(&self, url: &Url) -> anyhow::Result<Link> {
        let stream = connect(&url.host, url.port, &self.lane).await?;
        // A request is one small segment.
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let Some(tls) = self.tls.as_ref().filter(|_| url.tls) else { return shake(stream).await };
        let name = ServerName::try_from(url.host.clone()).context("the host's name")?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        shake(stream.with_context(|| format!("TLS with {}", url.authority))?).await
    }
}

async fn shake<S>(stream: S) -> anyhow::Result<Link>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("HTTP")?;
    let driver = AbortOnDrop::spawn(async move {
        // What goes wrong with the connection, the request reports.
        let _ = connection.await;
    });
    Ok(Link { sender, _driver: driver })
}
