//! A plugin in the foreground: its socket, its signals, its summary.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::rc::Rc;

use anyhow::Context as _;
use tokio::runtime::LocalOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::spawn_local;

use super::serve::serve;
use super::{Desk, Settings};

/// Serves at `HOST:PORT` or `:PORT`, which is all addresses, until it is told to end.
///
/// # Errors
/// With a sentence, when it cannot begin.
pub fn run(settings: &Settings, place: &str) -> anyhow::Result<()> {
    let listener = bind(place)?;
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(LocalOptions::default())?;
    let done = runtime.block_on(async {
        let mut term = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut asked = signal(SignalKind::user_defined1())?;
        let desk = Desk::open(settings)?;
        listener.set_nonblocking(true).context("the listener")?;
        let listener = tokio::net::TcpListener::from_std(listener).context("the listener")?;
        let at = listener.local_addr().context("the listener")?;
        tracing::info!(%at, store = desk.place(), "the {} plugin of gost serves", settings.kind.name());
        let (stop, stopped) = watch::channel(false);
        let ear = spawn_local({
            let desk = Rc::clone(&desk);
            async move {
                loop {
                    tokio::select! {
                        _ = term.recv() => drop(stop.send(true)),
                        _ = interrupt.recv() => drop(stop.send(true)),
                        _ = asked.recv() => desk.sum_up(),
                    }
                }
            }
        });
        serve(Rc::clone(&desk), listener, stopped).await;
        desk.sum_up();
        ear.abort();
        anyhow::Ok(())
    });
    // A thread that looks a name up must not hold up the end.
    runtime.shutdown_background();
    done
}

/// The socket, as gost's own plugins write where it is.
fn bind(place: &str) -> anyhow::Result<TcpListener> {
    let (host, port) = place.rsplit_once(':').with_context(|| format!("addr {place}: it is [HOST]:PORT"))?;
    let port: u16 = port.parse().with_context(|| format!("addr {place}: the port is none"))?;
    let bound = if host.is_empty() {
        // A host without IPv6 has its IPv4 alone.
        let all = [SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), (Ipv4Addr::UNSPECIFIED, port).into()];
        TcpListener::bind(&all[..])
    } else {
        TcpListener::bind((host.trim_start_matches('[').trim_end_matches(']'), port))
    };
    bound.with_context(|| format!("cannot listen at {place}"))
}
