//! Connections: HTTP/1.1 and HTTP/2 on one port, told apart by their first bytes; bounded, with deadlines.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error as _;
use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::body::Body;

use super::call::answer;
use super::desk::{Desk, count};
use super::json;

/// Connections at a time, and those from one address; a gost server has one for each plugin, or as many as calls by HTTP.
const CONNECTIONS: usize = 1024;
const FROM_ONE: usize = 256;

/// How long a client may take for its first bytes, for a request with its body, and between two of them over HTTP/1.1.
const FIRST: Duration = Duration::from_secs(10);
const REQUEST: Duration = Duration::from_secs(10);
const BETWEEN: Duration = Duration::from_secs(120);

/// A connection of HTTP/2 that is silent is asked whether it is there so often, and has so long to answer.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);

/// Calls at a time over one connection.
const STREAMS: u32 = 128;

/// The longest head of a request.
const HEAD: usize = 16 << 10;

/// Receive windows of a stream and a connection of HTTP/2.
const STREAM_WINDOW: u32 = 32 << 10;
const WINDOW: u32 = 256 << 10;

/// At the end calls under way have so long.
const PARTING: Duration = Duration::from_secs(2);

/// HTTP/2 begins with this, which is no method of HTTP/1.1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Those who are connected.
#[derive(Default)]
struct Guests {
    open: Cell<usize>,
    from: RefCell<HashMap<IpAddr, usize>>,
}

/// One of them; leaving is its drop.
struct Guest {
    guests: Rc<Guests>,
    from: IpAddr,
}

impl Guests {
    fn enter(self: &Rc<Self>, from: IpAddr) -> Option<Guest> {
        let mut all = self.from.borrow_mut();
        let here = all.get(&from).copied().unwrap_or(0);
        if self.open.get() >= CONNECTIONS || here >= FROM_ONE {
            return None;
        }
        self.open.set(self.open.get() + 1);
        all.insert(from, here + 1);
        Some(Guest { guests: Rc::clone(self), from })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.open.set(self.guests.open.get() - 1);
        let mut all = self.guests.from.borrow_mut();
        match all.get(&self.from).copied() {
            Some(1) | None => drop(all.remove(&self.from)),
            Some(here) => drop(all.insert(self.from, here - 1)),
        }
    }
}

/// Serves who comes until it is told to stop, then lets calls that are under way end.
pub(crate) async fn serve(desk: Rc<Desk>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let guests = Rc::new(Guests::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, from)) => {
                count(&desk.counts.connections);
                let Some(guest) = guests.enter(from.ip().to_canonical()) else {
                    count(&desk.counts.crowded);
                    continue;
                };
                let (desk, stop) = (Rc::clone(&desk), stop.clone());
                tokio::task::spawn_local(async move { connection(&desk, stream, &guest, stop).await });
            }
            Err(error) => {
                tracing::warn!(%error, "accept");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let gone = async {
        while guests.open.get() > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    // Whoever is left is cut off.
    let _ = timeout(PARTING, gone).await;
}

async fn connection(desk: &Rc<Desk>, stream: TcpStream, guest: &Guest, stop: watch::Receiver<bool>) {
    let from = guest.from;
    // Calls are small; the kernel shall not hold them back.
    let _ = stream.set_nodelay(true);
    let Ok(Ok((is_h2, stream))) = timeout(FIRST, first(stream)).await else { return };
    let service = service_fn({
        let desk = Rc::clone(desk);
        move |request| {
            let desk = Rc::clone(&desk);
            async move { Ok::<_, Infallible>(within(&desk, from, request).await) }
        }
    });
    let io = TokioIo::new(stream);
    let ended = if is_h2 {
        let mut builder = http2::Builder::new(Local);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(u32::try_from(HEAD).expect("it is small"))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_send_buf_size(64 << 10)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG);
        let mut served = pin!(builder.serve_connection(io, service));
        tokio::select! {
            ended = &mut served => ended,
            () = told(stop) => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        }
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(BETWEEN).max_buf_size(HEAD);
        let mut served = pin!(builder.serve_connection(io, service));
        tokio::select! {
            ended = &mut served => ended,
            () = told(stop) => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        }
    };
    if let Err(error) = ended {
        if is_malformed(&error) {
            count(&desk.counts.malformed);
        }
        tracing::debug!(%from, "a connection: {error}");
    }
}

async fn told(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Answers a request, whose body has to come in time.
async fn within(desk: &Desk, from: IpAddr, request: Request<Incoming>) -> Response<Body> {
    match timeout(REQUEST, answer(desk, from, request)).await {
        Ok(response) => response,
        Err(_) => {
            count(&desk.counts.malformed);
            json::says(StatusCode::REQUEST_TIMEOUT, "the request did not come to its end")
        }
    }
}

/// Whether what was sent is no HTTP, rather than that a connection was lost.
fn is_malformed(error: &hyper::Error) -> bool {
    let h2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_parse() || h2.is_some_and(|error| !error.is_io() && !error.is_remote())
}

/// Reads until it is known whether HTTP/2 is spoken.
async fn first(mut stream: TcpStream) -> std::io::Result<(bool, Read<TcpStream>)> {
    let mut read = Vec::with_capacity(PREFACE.len());
    let is_h2 = loop {
        if read.len() >= PREFACE.len() {
            break true;
        }
        let mut rest = (&mut stream).take((PREFACE.len() - read.len()) as u64);
        if rest.read_buf(&mut read).await? == 0 || !PREFACE.starts_with(&read) {
            break false;
        }
    };
    Ok((is_h2, Read { read, at: 0, stream }))
}

/// A connection of which the beginning was read.
struct Read<S> {
    read: Vec<u8>,
    at: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Read<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.at < self.read.len() {
            let count = buffer.remaining().min(self.read.len() - self.at);
            buffer.put_slice(&self.read[self.at..self.at + count]);
            self.at += count;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Read<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Streams of HTTP/2 are tasks of this thread.
#[derive(Clone, Copy)]
struct Local;

impl<F> Executor<F> for Local
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}
