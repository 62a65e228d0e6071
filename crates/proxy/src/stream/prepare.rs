//! Connections whose first bytes decide: a PROXY header, a ClientHello, TLS that ends here, an answer at once.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::plan::edge::{Host, Listener, Protocol, SniRule, Template};
use mainstay_core::hello;
use mainstay_core::name::PoolId;
use mainstay_core::proxy_header::Header;
use mainstay_core::time::Boot;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::open::Job;
use super::slow;
use crate::exchange::{Connection, Exchange};
use crate::proxied;
use crate::snapshot::Snapshot;
use crate::thread::Thread;
use crate::transport::{Socket, Stream};

/// How long a PROXY header or a ClientHello may take.
pub(super) const FIRST_WORDS: Duration = Duration::from_secs(10);

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
    let counts = connection.counts;
    let failed = |why: &'static str| {
        thread.counters.handshake_failed(counts, why);
        thread.counters.closed(counts);
    };
    let Ok(mut stream) = slow::watched(client) else { return failed("descriptors") };
    let mut first = Vec::new();
    if header {
        match timeout(FIRST_WORDS, proxied::read(&mut stream, &mut first)).await {
            Ok(Ok(Header::Relayed { source, destination })) => connection.proxy = Some((source, destination)),
            Ok(Ok(Header::Unknown | Header::Local)) => {}
            Ok(Err(why)) => return failed(why),
            Err(_) => return failed("proxy:timeout"),
        }
    }
    if listener.answer.is_some() {
        return match answer(&snapshot, &mut connection, started, socket(stream, &first)).await {
            Ok(sent) => {
                thread.counters.stream_done(counts, 0, sent);
                thread.counters.closed(counts);
            }
            Err(why) => failed(why),
        };
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
                let client = slow::Client::new(crate::transport::Io::Tls(Box::new(tls)));
                Box::pin(slow::relay(&thread, &snapshot, connection, client, pool, started)).await;
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

/// Gives the listener's fixed answer, over TLS where that ends here; how many bytes that were.
async fn answer(
    snapshot: &Snapshot,
    connection: &mut Connection,
    started: Boot,
    socket: Socket,
) -> Result<u64, &'static str> {
    let position = connection.listener as usize;
    let Some(answer) = &snapshot.edge.listeners[position].answer else { return Ok(0) };
    let Some(Some(server)) = snapshot.tls.get(position) else {
        return Ok(tell(answer, snapshot, connection, started, socket).await);
    };
    let (tls, info) = crate::tls::accept(socket, server).await.map_err(|error| error.why())?;
    connection.tls = Some(info);
    Ok(tell(answer, snapshot, connection, started, tls).await)
}

/// Answers at once, whatever the client says; how many bytes that were.
async fn tell(
    answer: &Template,
    snapshot: &Snapshot,
    connection: &Connection,
    started: Boot,
    mut socket: impl AsyncWrite + Unpin,
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

/// The server name of the ClientHello, all of which stays in `first`.
pub(super) async fn read_hello<S: AsyncRead + Unpin>(
    stream: &mut S,
    first: &mut Vec<u8>,
) -> Result<Option<String>, &'static str> {
    loop {
        match hello::parse(first) {
            Ok(Some(hello)) => return Ok(hello.server_name),
            Ok(None) => {}
            Err(hello::Wrong::NotTls) => return Err("hello:no-tls"),
            Err(hello::Wrong::Malformed) => return Err("hello:malformed"),
            Err(hello::Wrong::TooLong) => return Err("hello:too-long"),
        }
        if !proxied::read_more(stream, first, hello::HELLO_MAX).await {
            return Err("hello:closed");
        }
    }
}

/// The pool of the rule that fits best: exact, longest suffix, longest prefix, expressions in order, any; else the listener's own.
pub(super) fn chosen(listener: &Listener, name: Option<&str>) -> Option<PoolId> {
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
