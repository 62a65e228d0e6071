//! The works: what a client asks of a proxy, and how many units of it were done.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::peers::Peer;
use crate::Host;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// 1 KiB over kept HTTP/1.1 connections, 64 of them.
    Http,
    /// The same over TLS 1.3.
    Https,
    /// A connection with a full TLS 1.3 handshake for each request.
    Handshake,
    /// 1 KiB over HTTP/2 and TLS, 8 connections of 16 streams.
    H2,
    /// Bodies of 10 MiB over HTTP.
    Bodies,
    /// Bodies of 10 MiB through a TCP listener.
    TcpBulk,
    /// A TCP connection for each request.
    TcpShort,
}

/// Connections of the loads that keep them.
const CONNECTIONS: &str = "-c64";

impl Work {
    /// All, in the order of the table.
    pub const ALL: [Self; 7] =
        [Self::Http, Self::Https, Self::Handshake, Self::H2, Self::Bodies, Self::TcpBulk, Self::TcpShort];

    /// As the table says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http: keep-alive, 1 KiB",
            Self::Https => "https: TLS 1.3 keep-alive, 1 KiB",
            Self::Handshake => "handshake: TLS 1.3, one request",
            Self::H2 => "h2: HTTP/2 over TLS, 1 KiB",
            Self::Bodies => "bodies: HTTP, 10 MiB",
            Self::TcpBulk => "tcp: 10 MiB",
            Self::TcpShort => "tcp: short connections",
        }
    }

    /// What a unit is called, with its time.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Http | Self::Https | Self::H2 => "us/request",
            Self::Handshake | Self::TcpShort => "us/connection",
            Self::Bodies | Self::TcpBulk => "ms/GiB",
        }
    }

    /// Nanoseconds in what the unit is told in.
    pub(super) const fn scale(self) -> f64 {
        match self {
            Self::Http | Self::Https | Self::H2 | Self::Handshake | Self::TcpShort => 1e3,
            Self::Bodies | Self::TcpBulk => 1e6,
        }
    }
}

/// Puts the load on and tells how many units were done.
pub(super) fn run(host: &Host, peer: &Peer, work: Work, time: Duration) -> Result<f64> {
    let [http, https, tcp] = peer.ports();
    let close = ["-H", "Connection: close"];
    match work {
        Work::Http => wrk(host, &format!("http://127.0.0.1:{http}/api/1k"), time, &[CONNECTIONS]),
        Work::Https => wrk(host, &format!("https://127.0.0.1:{https}/api/1k"), time, &[CONNECTIONS]),
        Work::Handshake => {
            wrk(host, &format!("https://127.0.0.1:{https}/api/1k"), time, &["-c16", close[0], close[1]])
        }
        Work::H2 => h2load(host, &format!("https://127.0.0.1:{https}/api/1k"), time),
        Work::Bodies => bulk(host, &format!("http://127.0.0.1:{http}/api/10m"), time),
        Work::TcpBulk => bulk(host, &format!("http://127.0.0.1:{tcp}/api/10m"), time),
        Work::TcpShort => {
            wrk(host, &format!("http://127.0.0.1:{tcp}/api/1k"), time, &["-c16", close[0], close[1]])
        }
    }
}

/// Gibibytes of bodies.
fn bulk(host: &Host, url: &str, time: Duration) -> Result<f64> {
    let requests = wrk(host, url, time, &["-c8"])?;
    Ok(requests * 10.0 / 1024.0)
}

fn wrk(host: &Host, url: &str, time: Duration, more: &[&str]) -> Result<f64> {
    let seconds = format!("-d{}s", time.as_secs().max(1));
    let mut arguments = vec!["-c", "1", "wrk", "-t1", &seconds];
    arguments.extend(more);
    arguments.push(url);
    let said = host.output("taskset", &arguments)?;
    if let Some(line) = said.lines().find(|line| line.contains("Non-2xx")) {
        bail!("{url}: {}", line.trim());
    }
    // wrk counts the end of a connection that we asked for as a read error in some versions: only connects are errors here.
    if let Some(line) =
        said.lines().find(|line| line.contains("Socket errors: connect") && !line.contains("connect 0"))
    {
        bail!("{url}: {}", line.trim());
    }
    let line =
        said.lines().find(|line| line.contains(" requests in ")).context("wrk says how many requests")?;
    let number = line.split_whitespace().next().context("a number of requests")?;
    Ok(number.parse()?)
}

fn h2load(host: &Host, url: &str, time: Duration) -> Result<f64> {
    let seconds = time.as_secs().max(1).to_string();
    let arguments = ["-c", "1", "h2load", "-t1", "-c8", "-m16", "--warm-up-time=0", "-D", &seconds, url];
    let said = host.output("taskset", &arguments)?;
    let line =
        said.lines().find(|line| line.starts_with("requests:")).context("h2load says how many requests")?;
    let field = |word: &str| -> Result<f64> {
        let before =
            line.split(',').find(|part| part.trim_end().ends_with(word)).context("h2load's figures")?;
        Ok(before.trim_start_matches("requests:").split_whitespace().next().context("a number")?.parse()?)
    };
    anyhow::ensure!(field("failed")? == 0.0 && field("errored")? == 0.0, "{url}: {line}");
    field("succeeded")
}
