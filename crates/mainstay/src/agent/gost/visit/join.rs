//! The connection to a server that a visitor's has become.
//!
//! gost ends both ways when one has ended, and so do some carriers: an end of ours would cost what is still to be answered. It waits
//! until the other side has ended, or has said nothing for a while.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mainstay_link::tunnel::Carrier;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};

/// Silence after our end that ends the other side too.
const SILENCE: Duration = Duration::from_secs(10);

/// The other side has ended: how long ours may go on, and how long an end may take to be said.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes that are moved at once.
const BUFFER: usize = 32 << 10;

/// A carrier whose end is said last.
pub(super) struct Patient {
    carrier: Box<dyn Carrier>,
    patience: Duration,
    /// Runs since our end, and begins anew with what comes.
    silence: Option<Pin<Box<Sleep>>>,
    /// The other side has ended.
    over: bool,
}

impl Patient {
    pub(super) const fn new(carrier: Box<dyn Carrier>) -> Self {
        Self { carrier, patience: SILENCE, silence: None, over: false }
    }

    /// Ends it, if that can be said.
    pub(super) async fn end(mut self) {
        // Whoever does not take it hears it when the carrier is dropped.
        let _ = timeout(LINGER, self.carrier.shutdown()).await;
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let this = &mut *self;
        match Pin::new(&mut this.carrier).poll_read(cx, buf) {
            Poll::Ready(read) => {
                this.over |= read.is_err() || buf.filled().len() == before;
                if let Some(silence) = &mut this.silence {
                    silence.as_mut().reset(Instant::now() + this.patience);
                }
                Poll::Ready(read)
            }
            Poll::Pending => {
                let Some(silence) = &mut this.silence else { return Poll::Pending };
                ready!(silence.as_mut().poll(cx));
                this.over = true;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.carrier).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carrier).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.over {
            return Pin::new(&mut self.carrier).poll_shutdown(cx);
        }
        let patience = self.patience;
        self.silence.get_or_insert_with(|| Box::pin(sleep(patience)));
        // The reader is woken by what comes alone: it has to hear of the silence as well.
        cx.waker().wake_by_ref();
        Pin::new(&mut self.carrier).poll_flush(cx)
    }
}

/// Passes bytes both ways until the far side has ended.
pub(super) async fn both(local: &mut TcpStream, mut far: Patient) -> io::Result<()> {
    let (mut from_local, mut to_local) = local.split();
    let (mut from_far, mut to_far) = tokio::io::split(&mut far);
    let done = {
        let up = async {
            let copied = copy(&mut from_local, &mut to_far).await;
            // One that was cut has nobody who could take an answer.
            if copied.is_ok() { to_far.shutdown().await } else { copied }
        };
        let down = async {
            copy(&mut from_far, &mut to_local).await?;
            to_local.shutdown().await
        };
        tokio::pin!(up, down);
        tokio::select! {
            copied = &mut up => match copied {
                Ok(()) => down.await,
                Err(error) => Err(error),
            },
            copied = &mut down => {
                // What it still says nobody hears; closed at once, it might not hear the answer's end.
                let _ = timeout(LINGER, up).await;
                copied
            }
        }
    };
    far.end().await;
    done
}

async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    use tokio::io::AsyncReadExt as _;
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..count]).await?;
        to.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, duplex};
    use tokio::net::TcpListener;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(test);
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (dialed, accepted) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (dialed.unwrap(), accepted.unwrap().0)
    }

    #[test]
    fn an_end_of_ours_costs_no_answer_and_is_said_behind_it() {
        run(async {
            let (mut local, mut here) = pair().await;
            let (far, mut server) = duplex(64);
            let serves = async {
                local.write_all(b"question").await.unwrap();
                local.shutdown().await.unwrap();
                let mut asked = [0; 8];
                server.read_exact(&mut asked).await.unwrap();
                server.write_all(b"answer").await.unwrap();
                server.shutdown().await.unwrap();
                let mut rest = Vec::new();
                server.read_to_end(&mut rest).await.unwrap();
                let mut heard = String::new();
                local.read_to_string(&mut heard).await.unwrap();
                (asked, rest, heard)
            };
            let far = Patient::new(Box::new(far));
            let (joined, (asked, rest, heard)) = tokio::join!(both(&mut here, far), serves);
            joined.unwrap();
            assert_eq!((&asked, rest.len(), heard.as_str()), (b"question", 0, "answer"));
        });
    }

    #[test]
    fn a_server_that_says_nothing_after_our_end_is_left_after_a_while() {
        run(async {
            let (near, mut server) = duplex(64);
            let patience = Duration::from_millis(50);
            let mut far = Patient { patience, ..Patient::new(Box::new(near)) };
            far.shutdown().await.unwrap();
            let begun = Instant::now();
            server.write_all(b"x").await.unwrap();
            assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 1, "what comes is heard on");
            assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
            assert!(begun.elapsed() >= patience);
            // Only then is the end passed on.
            far.shutdown().await.unwrap();
            assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
        });
    }
}
