//! Visitors of private tunnels: one session each, whose streams go to the tunnels' pools as connections of a listener do.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mainstay_config::plan::tunnel::visit_name;
use mainstay_core::time::Boot;
use mainstay_core::tunnel::hello;
use mainstay_link::tunnel::{Code, Incoming, Kind, Limits, Open, Session, Side, Stream};
use mainstay_proxy::clock::boot_now;
use mainstay_proxy::road::{Counted, Ends, Freight, OfferStatus, Road, SessionStatus};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::Desk;
use super::carrier::Carrier;
use super::hello::Judged;

/// Sessions of visitors at one thread: more than this is an attack, or wants more hubs.
pub(super) const GUESTS_MAX: usize = 1024;

/// Of them, those that show one key: who holds it keeps nobody else out.
const GUESTS_OF_KEY: usize = 256;

/// Visitors of a hub that leaves have so long to go elsewhere before it takes no more of their streams.
const GRACE: Duration = Duration::from_secs(1);

/// What one visitor may make us hold: streams at once, and unread bytes of them all.
const STREAMS: u32 = 1024;
const BUDGET: u32 = 16 << 20;

/// A visitor's session.
pub(super) struct Guest {
    /// What it calls itself.
    label: String,
    key: [u8; 32],
    /// Which run of it this is.
    instance: u64,
    from: Option<SocketAddr>,
    /// Our end of its connection.
    ours: Option<SocketAddr>,
    carrier: &'static str,
    began: Boot,
    pub(super) session: Session,
    /// The tunnels that it may reach.
    granted: Vec<Rc<Granted>>,
    /// Tunnels that it asked for and may not reach.
    refused: Vec<String>,
}

/// A tunnel that a visitor may reach, and what went through it.
#[derive(Debug)]
pub(super) struct Granted {
    tunnel: String,
    /// How its streams name it.
    route: String,
    udp: bool,
    streams: Cell<u64>,
    opened: Cell<u64>,
    sent: Cell<u64>,
    received: Cell<u64>,
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").field("label", &self.label).field("from", &self.from).finish_non_exhaustive()
    }
}

impl Granted {
    fn new(wish: &hello::Offer) -> Self {
        Self {
            tunnel: wish.tunnel.clone(),
            route: wish.route(),
            udp: wish.kind == hello::Kind::Udp,
            streams: Cell::new(0),
            opened: Cell::new(0),
            sent: Cell::new(0),
            received: Cell::new(0),
        }
    }

    fn status(&self) -> OfferStatus {
        OfferStatus {
            open: None,
            tunnel: self.tunnel.clone(),
            udp: self.udp,
            weight: 0,
            trouble: None,
            streams: self.streams.get(),
            opened: self.opened.get(),
            sent: self.sent.get(),
            received: self.received.get(),
        }
    }
}

impl Guest {
    pub(super) fn status(&self, place: (u16, u16)) -> SessionStatus {
        SessionStatus {
            load: 0,
            agent: self.label.clone(),
            visitor: true,
            from: self.from.map(|from| from.to_string()).unwrap_or_default(),
            carrier: self.carrier.to_owned(),
            place,
            seconds: boot_now().since(self.began).as_secs(),
            rtt_ms: self.session.counters().rtt.map_or(0.0, |rtt| rtt.as_secs_f64() * 1000.0),
            leaving: self.session.has_left(),
            offers: self.granted.iter().map(|granted| granted.status()).collect(),
        }
    }

    fn ends(&self) -> Option<Ends> {
        self.from.zip(self.ours)
    }
}

/// The connection that a visitor came by.
pub(super) struct Came {
    pub(super) from: Option<SocketAddr>,
    pub(super) ours: Option<SocketAddr>,
    pub(super) carrier: &'static str,
    pub(super) open: Counted,
}

/// Takes a visitor in that was let in, and keeps its session until it ends.
pub(super) fn receive(
    desk: Rc<Desk>,
    carrier: Carrier,
    came: Came,
    hello: hello::Hello,
    key: [u8; 32],
    wishes: Vec<Judged>,
) {
    let limits = Limits { streams: STREAMS, budget: BUDGET, ..Limits::default() };
    let (session, incoming) = Session::start(carrier, Side::Hub, limits);
    let (granted, refused): (Vec<_>, Vec<_>) = wishes.into_iter().partition(|(_, why)| why.is_none());
    let Came { from, ours, carrier, open } = came;
    let guest = Rc::new(Guest {
        label: hello.name,
        key,
        instance: hello.instance,
        from,
        ours,
        carrier,
        began: boot_now(),
        session,
        granted: granted.into_iter().map(|(wish, _)| Rc::new(Granted::new(&wish))).collect(),
        refused: refused.into_iter().map(|(wish, _)| wish.tunnel).collect(),
    });
    desk.seat_guest(&guest);
    spawn_local(async move {
        keep(desk, guest, incoming).await;
        drop(open);
    });
}

async fn keep(desk: Rc<Desk>, guest: Rc<Guest>, mut incoming: Incoming) {
    let why = loop {
        tokio::select! {
            why = guest.session.closed() => break why,
            Some((open, stream)) = incoming.next() => desk.serve(&guest, &open, stream),
        }
    };
    desk.guests.borrow_mut().retain(|one| !Rc::ptr_eq(one, &guest));
    for granted in &guest.granted {
        desk.news.leaves(&granted.tunnel, &guest.label, guest.instance, &why.to_string());
    }
    tracing::info!(visitor = %guest.label, from = ?guest.from, %why, "a visitor has left");
}

impl Desk {
    /// Whether a key may reach a tunnel here.
    pub(super) fn may_visit(&self, tunnel: &str, key: &[u8; 32]) -> bool {
        let tunnels = self.tunnels.borrow();
        tunnels.get(tunnel).and_then(|spec| spec.visitors.as_ref()).is_some_and(|keys| keys.contains(key))
    }

    /// Whether one more visitor with a key is too many.
    pub(super) fn is_crowded_by(&self, key: &[u8; 32]) -> bool {
        self.guests.borrow().iter().filter(|guest| guest.key == *key).count() >= GUESTS_OF_KEY
    }

    /// A visitor is there.
    fn seat_guest(&self, guest: &Rc<Guest>) {
        let from = guest.from.map(|from| from.to_string()).unwrap_or_default();
        tracing::info!(visitor = %guest.label, from, carrier = guest.carrier, "a visitor has joined");
        self.guests.borrow_mut().push(Rc::clone(guest));
        for granted in &guest.granted {
            self.news.visits(&granted.tunnel, &guest.label, guest.instance, &from);
        }
        // What was granted a moment ago may not be any more.
        self.look_at(guest, self.drain_time());
        if self.draining.get() {
            guest.session.drain(self.drain_time());
        }
    }

    /// A visitor has opened a stream.
    fn serve(&self, guest: &Guest, open: &Open, stream: Stream) {
        let udp = open.kind == Kind::Datagrams;
        let granted = guest.granted.iter().find(|one| one.route == open.target && one.udp == udp);
        let Some(granted) = granted.filter(|one| self.may_visit(&one.tunnel, &guest.key)) else {
            tracing::debug!(visitor = %guest.label, target = %open.target, "a visitor asks for what it may not reach");
            return stream.reset(Code::Denied);
        };
        let Some(thread) = self.thread.upgrade() else { return stream.reset(Code::Refused) };
        let freight = if udp { Freight::Datagrams } else { Freight::Bytes };
        let road = Box::new(Call::new(stream, Rc::clone(granted)));
        // Who came is what this hub knows, not what the visitor says.
        mainstay_proxy::stream::visit(&thread, &visit_name(&granted.tunnel), guest.ends(), freight, road);
    }

    /// Another configuration is in force: who may no longer reach what it reaches is cut.
    pub(super) fn look_at_guests(&self, drain: Duration) {
        self.guests.borrow().iter().for_each(|guest| self.look_at(guest, drain));
    }

    fn look_at(&self, guest: &Guest, drain: Duration) {
        let revoked = guest.granted.iter().find(|one| !self.may_visit(&one.tunnel, &guest.key));
        if let Some(granted) = revoked {
            tracing::warn!(visitor = %guest.label, tunnel = %granted.tunnel, "its key may not reach the tunnel any more: its session is cut");
            guest.session.close();
        } else if guest.refused.iter().any(|tunnel| self.may_visit(tunnel, &guest.key)) {
            // It may reach more than it does: it comes again and asks.
            guest.session.drain(drain);
        }
    }

    /// Has visitors go elsewhere, with the streams that they have let end.
    pub(super) async fn see_off(self: Rc<Self>) {
        sleep(GRACE).await;
        let within = self.drain_time();
        self.guests.borrow().iter().for_each(|guest| guest.session.drain(within));
    }
}

/// A visitor's stream as the proxy has it: a connection.
struct Call {
    stream: Option<Stream>,
    granted: Rc<Granted>,
    /// A datagram that was waited for and not read yet; nothing inside at the end.
    next: Option<Option<Vec<u8>>>,
}

impl Call {
    fn new(stream: Stream, granted: Rc<Granted>) -> Self {
        granted.streams.set(granted.streams.get() + 1);
        granted.opened.set(granted.opened.get() + 1);
        Self { stream: Some(stream), granted, next: None }
    }

    /// The stream, unless it was refused.
    fn stream(&mut self) -> io::Result<&mut Stream> {
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::ConnectionReset.into())
    }

    /// Waits for a datagram, or the end. One without bytes says nothing.
    fn poll_datagram(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        while self.next.is_none() {
            let came = ready!(self.stream()?.poll_datagram(cx)).map_err(broken)?;
            self.next = Some(came).filter(|came| came.as_ref().is_none_or(|bytes| !bytes.is_empty()));
        }
        Poll::Ready(Ok(()))
    }
}

/// A visitor that breaks off is no backend that refuses.
fn broken(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("granted", &self.granted).finish_non_exhaustive()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.granted.streams.set(self.granted.streams.get() - 1);
    }
}

impl AsyncRead for Call {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if this.granted.udp {
            ready!(this.poll_datagram(cx))?;
            match this.next.take().flatten() {
                Some(bytes) => buf.put_slice(&bytes[..bytes.len().min(buf.remaining())]),
                None => this.next = Some(None),
            }
        } else {
            ready!(Pin::new(this.stream()?).poll_read(cx, buf)).map_err(broken)?;
        }
        let count = buf.filled().len() - before;
        this.granted.received.set(this.granted.received.get() + count as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Call {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let count = if this.granted.udp {
            // One that finds no room is lost, as datagrams are.
            this.stream()?.send_datagram(bytes);
            bytes.len()
        } else {
            ready!(Pin::new(this.stream()?).poll_write(cx, bytes)).map_err(broken)?
        };
        this.granted.sent.set(this.granted.sent.get() + count as u64);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream()?).poll_shutdown(cx)
    }
}

impl Road for Call {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.granted.udp {
            return self.poll_datagram(cx);
        }
        Poll::Ready(ready!(self.stream()?.poll_chunk(cx)).map(|_| ()).map_err(broken))
    }

    fn refuse(&mut self) {
        if let Some(stream) = self.stream.take() {
            stream.reset(Code::Unreachable);
        }
    }
}
