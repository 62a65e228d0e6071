//! The control socket: one JSON call a line, one JSON reply a line.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::Desk;
use crate::ipc::{ApiCall, ApiReply};

/// Calls are short; a longer line is not one.
const LINE_MAX: u64 = 16 * 1024;

/// How long a connection may stay silent, and how long a reader may take for one reply.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether a follower is still there: with nothing to tell it, nothing else would show.
const FOLLOWER: Duration = Duration::from_secs(1);

/// Connections at a time.
const CONNECTIONS: usize = 64;

/// Accepts for as long as the worker lives.
pub(super) async fn serve(desk: Rc<Desk>, listener: UnixListener) {
    let open = Rc::new(Cell::new(0_usize));
    loop {
        match listener.accept().await {
            Ok((stream, _)) if open.get() < CONNECTIONS => {
                open.set(open.get() + 1);
                desk.open.set(desk.open.get() + 1);
                let (desk, open) = (Rc::clone(&desk), Rc::clone(&open));
                tokio::task::spawn_local(async move {
                    if let Err(error) = converse(&desk, stream).await {
                        tracing::debug!("control connection: {error:#}");
                    }
                    open.set(open.get() - 1);
                    desk.open.set(desk.open.get() - 1);
                });
            }
            Ok(_) => tracing::warn!("more than {CONNECTIONS} control connections: one was refused"),
            Err(error) => {
                tracing::warn!(%error, "accept on the control socket");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn converse(desk: &Desk, stream: UnixStream) -> anyhow::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut reader = BufReader::new(read).take(LINE_MAX);
    loop {
        let mut line = Vec::new();
        reader.set_limit(LINE_MAX);
        timeout(PATIENCE, reader.read_until(b'\n', &mut line)).await.context("it says nothing")??;
        if line.is_empty() {
            return Ok(());
        }
        let call = match serde_json::from_slice::<ApiCall>(&line) {
            Ok(call) => call,
            Err(error) => {
                let message =
                    format!("not a call: {error}; a call is one line such as {{\"call\":\"status\"}}");
                put(&mut write, &ApiReply::Refused { message }).await?;
                return Ok(());
            }
        };
        let follow = matches!(call, ApiCall::Events { follow: true });
        let events = desk.events.subscribe();
        put(&mut write, &*desk.ask(call).await).await?;
        if follow {
            return tail(events, write).await;
        }
    }
}

async fn tail(
    mut events: tokio::sync::broadcast::Receiver<crate::status::Event>,
    mut write: tokio::net::unix::OwnedWriteHalf,
) -> anyhow::Result<()> {
    loop {
        match timeout(FOLLOWER, events.recv()).await {
            Ok(Ok(event)) => put(&mut write, &event).await?,
            Ok(Err(RecvError::Lagged(lost))) => tracing::warn!(lost, "a follower of events is too slow"),
            Ok(Err(RecvError::Closed)) => return Ok(()),
            // One that has only closed its own side still listens.
            Err(_) => {
                if write.ready(Interest::WRITABLE).await?.is_write_closed() {
                    return Ok(());
                }
            }
        }
    }
}

async fn put<T: serde::Serialize>(
    write: &mut tokio::net::unix::OwnedWriteHalf,
    value: &T,
) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(value).context("encode a reply")?;
    line.push(b'\n');
    timeout(PATIENCE, write.write_all(&line)).await.context("it does not read")?.context("write a reply")
}
