//! Connections of visitors, which come in through a tunnel and not by a socket of a listener.
//!
//! What holds for them (timeouts, logs, how many at once) a listener says that is bound nowhere and goes to the private tunnel's pool.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use mainstay_config::plan::tunnel::{OPEN, visit_name};
use mainstay_core::name::PoolId;
use mainstay_core::time::Boot;
use tokio::io::ReadBuf;

use super::datagram::DATAGRAM_MAX;
use super::slow;
use crate::clock::boot_now;
use crate::exchange::{Attempt, Connection};
use crate::pool::{Ask, Outcome};
use crate::road::{Ends, Freight, Goal, Road};
use crate::snapshot::Snapshot;
use crate::thread::Thread;
use crate::transport::Io;

/// Datagrams of a visitor end with this silence.
const SILENCE: Duration = Duration::from_secs(60);

/// Datagrams that are passed on before others on the thread get their turn.
const TURN: usize = 64;

thread_local! {
    static SHARED: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Takes a visitor's connection to the pool of a listener that is bound nowhere. Nobody to serve it: the road is told so
/// ([`Road::refuse`]), and whoever is at its end may try elsewhere.
pub fn visit(thread: &Rc<Thread>, listener: &str, ends: Option<Ends>, freight: Freight, road: Box<dyn Road>) {
    let snapshot = thread.snapshot();
    let named = snapshot.edge.listeners.iter().position(|known| known.name == listener);
    let pool = named.and_then(|at| snapshot.edge.listeners[at].pool);
    take(thread, snapshot, named.zip(pool), ends, freight, road);
}

/// The same to a tunnel that is called by its id, whether the file names it or not. What holds for all of these connections the
/// listener says that stands for visitors of tunnels that no file names.
pub fn visit_tunnel(
    thread: &Rc<Thread>,
    tunnel: &str,
    ends: Option<Ends>,
    freight: Freight,
    road: Box<dyn Road>,
) {
    let snapshot = thread.snapshot();
    let name = visit_name(OPEN);
    let named = snapshot.edge.listeners.iter().position(|known| known.name == name);
    let pool = thread.pools.of_tunnel(&snapshot, tunnel);
    take(thread, snapshot, named.zip(pool), ends, freight, road);
}

fn take(
    thread: &Rc<Thread>,
    snapshot: Arc<Snapshot>,
    by: Option<(usize, PoolId)>,
    ends: Option<Ends>,
    freight: Freight,
    mut road: Box<dyn Road>,
) {
    let Some((at, pool)) = by else { return road.refuse() };
    let listener = u32::try_from(at).unwrap_or(u32::MAX);
    let counts = snapshot.places.listener(listener);
    if thread.counters.open(counts) >= u64::from(snapshot.edge.listeners[at].max_connections) {
        thread.counters.refused(counts, "connections");
        return road.refuse();
    }
    let connection = Connection {
        number: thread.number_connection(),
        listener,
        counts,
        peer: ends.map(|(visitor, _)| visitor),
        local: ends.map(|(_, ours)| ours),
        proxy: None,
        tls: None,
    };
    // Counted from here on and not from the first poll: a process that drains looks at what it has.
    thread.counters.accepted(counts);
    let (thread, started) = (Rc::clone(thread), boot_now());
    tokio::task::spawn_local(async move {
        match freight {
            Freight::Bytes => {
                let client = slow::Client::new(Io::Road(road));
                slow::relay(&thread, &snapshot, connection, client, pool, started).await;
            }
            Freight::Datagrams => datagrams(&thread, &snapshot, connection, road, pool, started).await,
        }
    });
}

/// What went both ways so far.
#[derive(Default)]
struct Moved {
    received: u64,
    sent: u64,
    /// What the visitor has said last, until something has come back.
    last: Vec<u8>,
}

/// How datagrams came to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The visitor has no more, or has gone.
    Visitor,
    /// The agent's end has gone; another may be asked when nothing came from it.
    Agent,
    /// Nothing moved for too long, or the time to drain is over.
    Silent,
}

/// Passes datagrams between a visitor and an agent; an agent that has gone before it answered has a successor.
async fn datagrams(
    thread: &Rc<Thread>,
    snapshot: &Arc<Snapshot>,
    connection: Connection,
    mut visitor: Box<dyn Road>,
    pool: PoolId,
    started: Boot,
) {
    let (mut tried, mut moved, mut attempts) = (Vec::new(), Moved::default(), Vec::new());
    let ends = connection.peer.zip(connection.local);
    loop {
        let ask = Ask { client: ends.map(|(peer, _)| peer.ip()), key: None, cookie: None, tried: &tried };
        let Ok(lease) = thread.pools.lease(snapshot, pool, &ask).await else {
            if moved.sent == 0 {
                visitor.refuse();
            }
            break;
        };
        tried.push(lease.backend());
        let began = boot_now();
        let road = match lease.goal() {
            Goal::Agent(agent) => crate::dial::road(thread, agent, ends, Freight::Datagrams).ok(),
            // The pool of a private tunnel has no others.
            Goal::Place(_) => None,
        };
        let Some(mut road) = road else {
            lease.ended(Outcome::ConnectFailed, Duration::ZERO);
            continue;
        };
        let end = tokio::select! {
            end = pass(thread, &mut *visitor, &mut *road, &mut moved) => end,
            () = thread.is_cut() => End::Silent,
        };
        let took = boot_now().since(began);
        let (addr, total) = (Rc::clone(lease.address()), Some(took));
        attempts.push(Attempt { addr, status: None, connect: None, header: None, total });
        if end == End::Agent && moved.sent == 0 {
            lease.ended(Outcome::ConnectFailed, took);
            continue;
        }
        let answered = if moved.sent > 0 { Outcome::Answered(200) } else { Outcome::Cancelled };
        lease.ended(answered, took);
        break;
    }
    let (index, counts) = (connection.listener, connection.counts);
    thread.counters.stream_done(counts, moved.received, moved.sent);
    thread.counters.closed(counts);
    if !snapshot.edge.listeners[index as usize].logs.is_empty() {
        let mut exchange = crate::exchange::Exchange::of_stream(connection, started);
        exchange.attempts = attempts;
        exchange.status = if moved.sent > 0 { 200 } else { 502 };
        (exchange.received, exchange.sent) = (moved.received, moved.sent);
        super::open::write_log(thread, snapshot, index, &exchange);
    }
}

/// Passes datagrams both ways.
async fn pass(thread: &Rc<Thread>, visitor: &mut dyn Road, agent: &mut dyn Road, moved: &mut Moved) -> End {
    let watch = thread.deadlines.watch();
    let mut due = watch.now() + SILENCE;
    // What the one before has not answered.
    let mut again = (moved.sent == 0 && !moved.last.is_empty()).then(|| moved.last.clone());
    std::future::poll_fn(|cx| {
        if let Some(last) = again.take()
            && let Poll::Ready(Err(_)) = Pin::new(&mut *agent).poll_write(cx, &last)
        {
            return Poll::Ready(End::Agent);
        }
        let mut buffer = SHARED.take().unwrap_or_else(|| vec![0; DATAGRAM_MAX].into_boxed_slice());
        let before = (moved.received, moved.sent);
        let inward = turn(cx, visitor, agent, &mut buffer, |bytes| {
            moved.received += bytes.len() as u64;
            if moved.sent == 0 {
                bytes.clone_into(&mut moved.last);
            }
        });
        let outward = turn(cx, agent, visitor, &mut buffer, |bytes| moved.sent += bytes.len() as u64);
        SHARED.set(Some(buffer));
        match (inward, outward) {
            (Some(Broken::From), _) | (_, Some(Broken::To)) => return Poll::Ready(End::Visitor),
            (Some(Broken::To), _) | (_, Some(Broken::From)) => return Poll::Ready(End::Agent),
            (None, None) => {}
        }
        if (moved.received, moved.sent) != before {
            due = watch.now() + SILENCE;
        }
        if watch.has_passed(cx, due) && watch.now() >= due {
            return Poll::Ready(End::Silent);
        }
        Poll::Pending
    })
    .await
}

/// Which end of a direction has gone.
enum Broken {
    From,
    To,
}

/// Passes on what is there.
fn turn(
    cx: &mut Context<'_>,
    from: &mut dyn Road,
    to: &mut dyn Road,
    buffer: &mut [u8],
    mut told: impl FnMut(&[u8]),
) -> Option<Broken> {
    for _ in 0..TURN {
        let mut buf = ReadBuf::new(buffer);
        match Pin::new(&mut *from).poll_read(cx, &mut buf) {
            Poll::Pending => return None,
            Poll::Ready(Err(_)) => return Some(Broken::From),
            Poll::Ready(Ok(())) if buf.filled().is_empty() => return Some(Broken::From),
            Poll::Ready(Ok(())) => {}
        }
        told(buf.filled());
        // One that finds no room is lost, as datagrams are.
        if let Poll::Ready(Err(_)) = Pin::new(&mut *to).poll_write(cx, buf.filled()) {
            return Some(Broken::To);
        }
    }
    cx.waker().wake_by_ref();
    None
}
