//! Standard input and output as the one connection of a visitor: `ssh -o ProxyCommand="mainstay visit --listen - ..."`.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mainstay_link::tunnel::Carrier;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Stdin, Stdout, stdin, stdout};
use tokio::time::timeout;

use super::{Door, bytes};
use crate::agent::{Agent, gost};

/// The far side has said its last: who silently holds our input open is waited for no longer than this.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes that are moved at once.
const BUFFER: usize = 32 << 10;

/// Brings the standard streams to the tunnel, then has the agent end.
pub(super) async fn serve(agent: Rc<Agent>, door: Rc<Door>) {
    let _counted = door.count();
    let mut input = stdin();
    let reached: Option<Box<dyn Carrier>> = match &agent.servers {
        Some(_) => gost::stream(&agent, &door).await,
        None => match bytes::reach(&agent, &door, &mut input, None).await {
            Some(stream) => Some(Box::new(stream)),
            None => None,
        },
    };
    if let Some(stream) = reached {
        let (from, to) = tokio::io::split(stream);
        let over = Rc::new(Cell::new(false));
        let (up, down) = tokio::join!(inward(input, to, &over), outward(from, Output(stdout()), &over));
        match (up, down) {
            (_, Err(error)) => agent.failed.set(Some(format!("the connection broke: {error}"))),
            (Err(error), Ok(())) => tracing::debug!("standard input: {error}"),
            (Ok(()), Ok(())) => {}
        }
    }
    agent.drain.set(agent.drain.get().min(LINGER));
    agent.stop.notify_one();
}

/// What comes in goes to the tunnel.
async fn inward(mut from: Stdin, mut to: impl AsyncWrite + Unpin, over: &Cell<bool>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = match timeout(LINGER, from.read(&mut buffer)).await {
            Ok(count) => count?,
            Err(_) if over.get() => return Ok(()),
            Err(_) => continue,
        };
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}

/// What the tunnel says goes out.
async fn outward(mut from: impl AsyncRead + Unpin, mut to: Output, over: &Cell<bool>) -> io::Result<()> {
    let copied = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                return to.shutdown().await;
            }
            to.write_all(&buffer[..count]).await?;
            to.flush().await?;
        }
    };
    let copied = copied.await;
    over.set(true);
    copied
}

/// Standard output, whose end is one: whoever reads it hears it.
struct Output(Stdout);

impl AsyncWrite for Output {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.0).poll_flush(cx))?;
        // Closed for good, its number could become another file's.
        let nowhere = File::options().write(true).open("/dev/null")?;
        Poll::Ready(rustix::stdio::dup2_stdout(&nowhere).map_err(io::Error::from))
    }
}
