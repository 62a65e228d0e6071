//! One HTTP/1.1 request over a connection of its own, with or without TLS; redirects are answers.

use std::path::PathBuf;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::dial::{Lane, connect};
use super::{AbortOnDrop, Tools};

/// What we call ourselves.
pub(crate) const AGENT: &str = concat!("mainstay/", env!("CARGO_PKG_VERSION"));

/// An http or https URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) tls: bool,
    /// Host without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Host and port as they were written.
    pub(crate) authority: String,
    /// Path and query.
    path: String,
}

impl Url {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// When it is none, or of another scheme.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let uri: Uri = text.parse().with_context(|| format!("\"{text}\" is not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => bail!("\"{text}\" is neither an http nor an https URL"),
        };
        let authority = uri.authority().context("a URL without a host")?;
        let host = authority.host();
        Ok(Self {
            tls,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().rsplit('@').next().unwrap_or_default().to_owned(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }
}

/// Whom an https client believes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Trust {
    /// A CA bundle; the system's roots when absent.
    pub(crate) ca: Option<PathBuf>,
    /// Everybody.
    pub(crate) insecure: bool,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) url: &'a Url,
    pub(crate) method: &'a str,
    /// Host header, and name in TLS, when it differs from the URL's.
    pub(crate) host: Option<&'a str>,
    /// Name in TLS when it differs from both.
    pub(crate) server_name: Option<&'a str>,
    pub(crate) headers: &'a [(String, String)],
    pub(crate) body: Vec<u8>,
    pub(crate) trust: &'a Trust,
    /// Of the answer's body so many bytes are read.
    pub(crate) answer_max: usize,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// `503 Service Unavailable`.
    pub(crate) fn line(&self) -> String {
        let name = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        format!("{} {}", self.status, name.unwrap_or_default()).trim_end().to_owned()
    }
}

/// Connects, asks, reads the answer. The caller sets the deadline.
///
/// # Errors
/// When any step fails; the text says which.
pub(crate) async fn fetch(ask: Ask<'_>, tools: &Tools, lane: &Lane) -> anyhow::Result<Answer> {
    let request = request(&ask)?;
    let stream = connect(&ask.url.host, ask.url.port, lane).await?;
    if !ask.url.tls {
        return speak(stream, request, ask.answer_max).await;
    }
    let host = ask.host.map_or(ask.url.host.as_str(), without_port);
    let name = ask.server_name.unwrap_or(host).to_owned();
    let server =
        ServerName::try_from(name.clone()).with_context(|| format!("\"{name}\" is not a host name"))?;
    let connector = TlsConnector::from(tools.tls.config(ask.trust, lane).await?);
    let stream = connector.connect(server, stream).await.context("TLS")?;
    speak(stream, request, ask.answer_max).await
}

/// The same over a connection that there is, without TLS.
///
/// # Errors
/// When any step fails; the text says which.
pub(crate) async fn fetch_over<S>(stream: S, ask: &Ask<'_>) -> anyhow::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    speak(stream, request(ask)?, ask.answer_max).await
}

fn request(ask: &Ask<'_>) -> anyhow::Result<Request<Full<Bytes>>> {
    let host = ask.host.unwrap_or(&ask.url.authority);
    let mut request = Request::new(Full::new(Bytes::from(ask.body.clone())));
    *request.method_mut() = Method::from_bytes(ask.method.as_bytes())
        .with_context(|| format!("\"{}\" is not an HTTP method", ask.method))?;
    *request.uri_mut() = ask.url.path.parse().context("the URL's path")?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(host).context("the Host header")?);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in ask.headers {
        let key = HeaderName::from_bytes(name.as_bytes()).with_context(|| format!("header \"{name}\""))?;
        headers.insert(key, HeaderValue::from_str(value).with_context(|| format!("header \"{name}\""))?);
    }
    Ok(request)
}

async fn speak<S>(stream: S, request: Request<Full<Bytes>>, most: usize) -> anyhow::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("HTTP")?;
    let _driver = AbortOnDrop::spawn(async move {
        // What goes wrong with the connection, the request reports.
        let _ = connection.await;
    });
    let response = sender.send_request(request).await.context("no HTTP answer")?;
    read(response, most).await
}

async fn read(mut response: Response<Incoming>, most: usize) -> anyhow::Result<Answer> {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while body.len() < most {
        let Some(frame) = response.frame().await else { break };
        let frame = frame.with_context(|| format!("the body broke off after {} bytes", body.len()))?;
        if let Some(data) = frame.data_ref() {
            let room = most - body.len();
            body.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(Answer { status, body })
}

fn without_port(host: &str) -> &str {
    if let Some(inside) = host.strip_prefix('[') {
        return inside.split(']').next().unwrap_or(inside);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_with_their_default_ports() {
        let url = Url::parse("https://iam.example.com/healthz?deep=1").unwrap();
        assert_eq!((url.tls, url.port, url.path.as_str()), (true, 443, "/healthz?deep=1"));
        let url = Url::parse("http://user:secret@[::1]:8080").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("::1", 8080, "/"));
        assert_eq!(url.authority, "[::1]:8080", "what is told of a URL holds no password");
        assert!(Url::parse("ftp://example.com/").is_err());
        assert!(Url::parse("/healthz").is_err());
    }

    #[test]
    fn the_name_for_tls_comes_without_its_port() {
        assert_eq!(without_port("iam.example.com:8443"), "iam.example.com");
        assert_eq!(without_port("iam.example.com"), "iam.example.com");
        assert_eq!(without_port("[::1]:8443"), "::1");
    }
}
