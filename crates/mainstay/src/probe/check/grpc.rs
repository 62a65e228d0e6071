//! The gRPC health protocol (grpc.health.v1): `Check` of one service over a connection of its own.
//!
//! Its messages have one field each, a string and a number, and are written and read by hand.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use h2::client::{ResponseFuture, SendRequest};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use hyper::{Method, Request, Version};
use mainstay_config::plan::GrpcCheck;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::{Report, host_and_port};
use crate::probe::dial::{Lane, connect};
use crate::probe::fetch::{AGENT, Trust};
use crate::probe::{AbortOnDrop, Tools};

/// Longer answers are none: a right one has seven bytes.
const ANSWER_MAX: usize = 4096;

/// What the answers of `ServingStatus` mean (health.proto).
const STATUS: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// A check, its target taken apart.
#[derive(Debug)]
pub(in crate::probe) struct Service {
    host: String,
    port: u16,
    authority: String,
    server_name: String,
    service: String,
    tls: bool,
    trust: Trust,
}

impl Service {
    /// Takes the target apart.
    pub(super) fn prepare(check: &GrpcCheck) -> anyhow::Result<Self> {
        let (host, port) = host_and_port(&check.target)?;
        Ok(Self {
            server_name: check.server_name.clone().unwrap_or_else(|| host.clone()),
            host,
            port,
            authority: check.target.clone(),
            service: check.service.clone(),
            tls: check.tls,
            trust: Trust { ca: check.ca.clone(), insecure: check.insecure },
        })
    }

    /// Asks and judges.
    pub(super) async fn ask(&self, tools: &Tools, lane: &Lane) -> anyhow::Result<Report> {
        let stream = connect(&self.host, self.port, lane).await?;
        if !self.tls {
            return self.speak(stream).await;
        }
        let name = ServerName::try_from(self.server_name.clone())
            .with_context(|| format!("\"{}\" is not a host name", self.server_name))?;
        let mut config = (*tools.tls.config(&self.trust, lane).await?).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.context("TLS")?;
        ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "the server speaks no HTTP/2 over TLS");
        self.speak(stream).await
    }

    async fn speak<S>(&self, stream: S) -> anyhow::Result<Report>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = h2::client::Builder::new()
            .enable_push(false)
            .handshake::<_, Bytes>(stream)
            .await
            .context("HTTP/2")?;
        let _driver = AbortOnDrop::spawn(async move {
            // What goes wrong with the connection, the request reports.
            let _ = connection.await;
        });
        let answer = self.send(sender).await?.await.context("no HTTP/2 answer")?;
        let status = answer.status();
        ensure!(status.is_success(), "{status}, which is no gRPC answer");
        // An answer without a body has gRPC's status among its first headers.
        if let Some(code) = grpc_status(answer.headers())? {
            return self.refused(&code, answer.headers());
        }
        let mut body = answer.into_body();
        let mut message = Vec::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.context("the answer broke off")?;
            ensure!(message.len() + chunk.len() <= ANSWER_MAX, "an answer of more than {ANSWER_MAX} bytes");
            message.extend_from_slice(&chunk);
            body.flow_control().release_capacity(chunk.len()).context("HTTP/2")?;
        }
        let trailers = body.trailers().await.context("the answer broke off")?.unwrap_or_default();
        match grpc_status(&trailers)? {
            Some(code) if code != "0" => self.refused(&code, &trailers),
            Some(_) => self.judge(&message),
            None => bail!("no grpc-status: the server speaks no gRPC"),
        }
    }

    async fn send(&self, sender: SendRequest<Bytes>) -> anyhow::Result<ResponseFuture> {
        let scheme = if self.tls { "https" } else { "http" };
        let request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(format!("{scheme}://{}/grpc.health.v1.Health/Check", self.authority))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header(USER_AGENT, AGENT)
            .body(())
            .context("the request")?;
        let mut sender = sender.ready().await.context("HTTP/2")?;
        let (answer, mut body) = sender.send_request(request, false).context("HTTP/2")?;
        body.send_data(question(&self.service).into(), true).context("HTTP/2")?;
        Ok(answer)
    }

    fn judge(&self, message: &[u8]) -> anyhow::Result<Report> {
        let status = read(message).context("the answer is no HealthCheckResponse")?;
        let known = usize::try_from(status).ok().and_then(|status| STATUS.get(status));
        let word = known.map_or_else(|| format!("status {status}"), |word| (*word).to_owned());
        Ok(Report::new(status == 1, format!("{}{word}", self.about())))
    }

    fn refused(&self, code: &str, fields: &HeaderMap) -> anyhow::Result<Report> {
        let said =
            fields.get("grpc-message").map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned());
        let meaning = match code {
            "5" => " (the server knows no such service)".to_owned(),
            "12" => " (the server has no grpc.health.v1)".to_owned(),
            _ => said.map_or_else(String::new, |said| format!(": {said}")),
        };
        Ok(Report::new(false, format!("{}grpc-status {code}{meaning}", self.about())))
    }

    fn about(&self) -> String {
        if self.service.is_empty() { String::new() } else { format!("{}: ", self.service) }
    }
}

fn grpc_status(fields: &HeaderMap) -> anyhow::Result<Option<String>> {
    let Some(value) = fields.get("grpc-status") else { return Ok(None) };
    let code =
        value.to_str().ok().filter(|code| code.len() <= 3 && code.bytes().all(|byte| byte.is_ascii_digit()));
    Ok(Some(code.context("a grpc-status that is no number")?.to_owned()))
}

/// A gRPC message (uncompressed, its length in front) that holds HealthCheckRequest: field 1, a string.
fn question(service: &str) -> Vec<u8> {
    let mut fields = Vec::new();
    if !service.is_empty() {
        fields.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            fields.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
            length >>= 7;
        }
        fields.push(u8::try_from(length).expect("seven bits"));
        fields.extend_from_slice(service.as_bytes());
    }
    let mut message = vec![0];
    message.extend_from_slice(&u32::try_from(fields.len()).expect("names are short").to_be_bytes());
    message.extend_from_slice(&fields);
    message
}

/// The status in a HealthCheckResponse: field 1, a number, 0 when it is absent. Fields that we don't know are skipped.
fn read(message: &[u8]) -> anyhow::Result<u64> {
    let (head, mut fields) = message.split_at_checked(5).context("shorter than its head")?;
    ensure!(head[0] == 0, "compressed, which was not asked for");
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    ensure!(usize::try_from(length).ok() == Some(fields.len()), "its length is not what it says");
    let mut status = 0;
    while !fields.is_empty() {
        let tag = varint(&mut fields)?;
        let skipped = match tag & 7 {
            0 => {
                let number = varint(&mut fields)?;
                if tag == 0x08 {
                    status = number;
                }
                0
            }
            1 => 8,
            2 => varint(&mut fields)?,
            5 => 4,
            other => bail!("a field of wire type {other}"),
        };
        let skipped = usize::try_from(skipped).context("a field longer than memory")?;
        fields = fields.get(skipped..).context("a field longer than the message")?;
    }
    Ok(status)
}

fn varint(fields: &mut &[u8]) -> anyhow::Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = fields.split_first().context("it ends within a number")?;
        *fields = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    bail!("a number of more than ten bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_protobuf() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("a.B"), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        assert_eq!(question(&"x".repeat(300))[..8], [0, 0, 0, 1, 0x2f, 0x0a, 0xac, 0x02]);
        assert_eq!(read(&[0, 0, 0, 0, 2, 8, 1]).unwrap(), 1);
        assert_eq!(read(&[0, 0, 0, 0, 0]).unwrap(), 0, "a field that has its default is absent");
        let with_unknown = [0, 0, 0, 0, 8, 0x12, 2, b'h', b'i', 0x08, 2, 0x18, 7];
        assert_eq!(read(&with_unknown).unwrap(), 2);
    }

    #[test]
    fn broken_messages_are_refused() {
        let broken: [&[u8]; 6] = [
            &[],
            &[1, 0, 0, 0, 0],
            &[0, 0, 0, 0, 2, 8],
            &[0, 0, 0, 0, 1, 8],
            &[0, 0, 0, 0, 2, 0x12, 9],
            &[0, 0, 0, 0, 11, 8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255],
        ];
        for message in broken {
            assert!(read(message).is_err(), "{message:?}");
        }
    }
}
