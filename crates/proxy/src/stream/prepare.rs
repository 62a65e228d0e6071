//! Connections whose first bytes decide: a PROXY header, a ClientHello, TLS that ends here, an answer at once.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::plan::edge::{Host, Listener, Protocol, SniRule, Template};
use mainstay_core::name::PoolId;
use mainstay_core::proxy_header::{self, Header};
use mainstay_core::time::Boot;
use mainstay_core::{hello, proxy_header::BINARY_MAX};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::open::Job;
use super::slow;
use crate::exchange::{Connection, Exchange};
use crate::snapshot::Snapshot;
use crate::thread::Thread;
use crate::transport::{Socket, Stream};

/// How long a PROXY header or a ClientHello may take.
const FIRST_WORDS: Duration = Duration::from_secs(10);

/// Reads what decides, then hands the connection on.
pub(super) async fn prepare(
    thread: Rc<Thread>,
    snapshot: Arc<Snapshot>,
    mut connection: Connection,
    client: OwnedFd,
    header: bool,
    started: Boot,
) {
    let listener = &snapshot.edge.listeners[connection.listener as usize];
    let failed = |why: &'static str| {
        thread.counters.handshake_failed(connection.listener, why);
        thread.counters.closed(connection.listener);
    };
    let Ok(mut stream) = slow::watched(client) else { return failed("descriptors") };
    let mut first = Vec::new();
    if header {
        match timeout(FIRST_WORDS, read_header(&mut stream, &mut first)).await {
            Ok(Ok(Header::Relayed { source, destination })) => connection.proxy = Some((source, destination)),
            Ok(Ok(Header::Unknown | Header::Local)) => {}
            Ok(Err(why)) => return failed(why),
            Err(_) => return failed("proxy:timeout"),
        }
    }
    if let Some(answer) = &listener.answer {
        let socket = socket(stream, &first);
        let sent = tell(answer, &snapshot, &connection, started, socket).await;
        thread.counters.stream_done(connection.listener, 0, sent);
        thread.counters.closed(connection.listener);
        return;
    }
    let mut pool = listener.pool;
    if listener.protocol == Protocol::Passthrough {
        match timeout(FIRST_WORDS, read_hello(&mut stream, &mut first)).await {
            Ok(Ok(name)) => pool = chosen(listener, name.as_deref()),
            Ok(Err(why)) => return failed(why),
            Err(_) => return failed("hello:timeout"),
        }
    }
    let Some(pool) = pool else { return failed("hello:no-pool") };
    if listener.protocol == Protocol::Tcp
        && let Some(Some(server)) = snapshot.tls.get(connection.listener as usize)
    {
        match crate::tls::accept(socket(stream, &first), server).await {
            Ok((tls, info)) => {
                connection.tls = Some(info);
                slow::relay(&thread, &snapshot, connection, tls, pool, started).await;
            }
            Err(error) => failed(error.why()),
        }
        return;
    }
    let Ok(client) = slow::unwatched(stream) else { return failed("descriptors") };
    let job = Job {
        thread: Rc::clone(&thread),
        snapshot: Arc::clone(&snapshot),
        connection,
        client,
        first,
        drained: false,
        pool,
        tried: Vec::new(),
        attempts: Vec::new(),
        started,
    };
    job.start();
}

/// Answers at once, whatever the client says; how many bytes that were.
async fn tell(
    answer: &Template,
    snapshot: &Snapshot,
    connection: &Connection,
    started: Boot,
    mut socket: Socket,
) -> u64 {
    let mut text = Vec::new();
    let exchange = Exchange::of_stream(connection.clone(), started);
    crate::route::render(answer, snapshot, &exchange, &mut text);
    let sending = async {
        socket.write_all(&text).await?;
        socket.shutdown().await
    };
    match timeout(FIRST_WORDS, sending).await {
        Ok(Ok(())) => text.len() as u64,
        // Whoever does not read it has not got it.
        Ok(Err(_)) | Err(_) => 0,
    }
}

/// A socket that gives `first` before its own bytes.
fn socket(stream: Stream, first: &[u8]) -> Socket {
    let mut socket = match stream {
        Stream::Tcp(stream) => Socket::from(stream),
        Stream::Unix(stream) => Socket::from(stream),
    };
    socket.unread(first);
    socket
}

/// The header; what came behind it stays in `first`.
async fn read_header(stream: &mut Stream, first: &mut Vec<u8>) -> Result<Header, &'static str> {
    loop {
        match proxy_header::parse(first) {
            Ok(Some((header, used))) => {
                first.drain(..used);
                return Ok(header);
            }
            Ok(None) => {}
            Err(wrong) => return Err(wrong_header(wrong)),
        }
        if !slow::read_more(stream, first, BINARY_MAX).await {
            return Err("proxy:closed");
        }
    }
}

const fn wrong_header(wrong: proxy_header::Wrong) -> &'static str {
    match wrong {
        proxy_header::Wrong::Missing => "proxy:missing",
        proxy_header::Wrong::TextTooLong | proxy_header::Wrong::BinaryTooLong => "proxy:too-long",
        proxy_header::Wrong::Text
        | proxy_header::Wrong::Version
        | proxy_header::Wrong::Command
        | proxy_header::Wrong::Family
        | proxy_header::Wrong::Short => "proxy:malformed",
    }
}

/// The server name of the ClientHello, all of which stays in `first`.
async fn read_hello(stream: &mut Stream, first: &mut Vec<u8>) -> Result<Option<String>, &'static str> {
    loop {
        match hello::parse(first) {
            Ok(Some(hello)) => return Ok(hello.server_name),
            Ok(None) => {}
            Err(hello::Wrong::NotTls) => return Err("hello:no-tls"),
            Err(hello::Wrong::Malformed) => return Err("hello:malformed"),
            Err(hello::Wrong::TooLong) => return Err("hello:too-long"),
        }
        if !slow::read_more(stream, first, hello::HELLO_MAX).await {
            return Err("hello:closed");
        }
    }
}

/// The pool of the rule that fits best: exact, longest suffix, longest prefix, expressions in order, any; else the listener's own.
fn chosen(listener: &Listener, name: Option<&str>) -> Option<PoolId> {
    let rules = &listener.sni;
    let best = name.and_then(|name| {
        let rank = |rule: &&SniRule| match &rule.host {
            Host::Exact(host) => (host == name).then_some((4, host.len())),
            Host::Suffix(suffix) => {
                (name.len() > suffix.len() && name.ends_with(suffix.as_str())).then_some((3, suffix.len()))
            }
            Host::Prefix(prefix) => name.starts_with(prefix.as_str()).then_some((2, prefix.len())),
            Host::Regex(_) | Host::Any => None,
        };
        let by_rank = rules.iter().filter_map(|rule| rank(&rule).map(|rank| (rank, rule.pool)));
        by_rank.max_by_key(|(rank, _)| *rank).map(|(_, pool)| pool).or_else(|| {
            let matched =
                rules.iter().find(|rule| matches!(&rule.host, Host::Regex(pattern) if fits(pattern, name)));
            matched.map(|rule| rule.pool)
        })
    });
    let any = || rules.iter().find(|rule| rule.host == Host::Any).map(|rule| rule.pool);
    best.or_else(any).or(listener.pool)
}

/// Whether an expression finds something in a name; compiled for each connection, which only passthrough by expression pays.
fn fits(pattern: &str, name: &str) -> bool {
    regex::RegexBuilder::new(pattern).case_insensitive(true).build().is_ok_and(|regex| regex.is_match(name))
}
