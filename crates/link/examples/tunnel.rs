//! A bare hub and a bare agent over plain TCP, to measure the driver by (`cargo xtask bench tunnel`).
//!
//! `tunnel hub VISITORS AGENTS` listens for visitors and for agents; `tunnel agent HUB TARGET` dials both.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use mainstay_link::tunnel::{Code, Limits, Open, Session, Side, splice_stream};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["hub", visitors, agents] => runtime.block_on(hub(visitors, agents)),
        ["agent", hub, target] => runtime.block_on(agent(hub, target)),
        _ => Err(io::Error::other("tunnel hub VISITORS AGENTS | tunnel agent HUB TARGET")),
    }
}

async fn hub(visitors: &str, agents: &str) -> io::Result<()> {
    let (visitors, agents) = (TcpListener::bind(visitors).await?, TcpListener::bind(agents).await?);
    let session: Rc<RefCell<Option<Session>>> = Rc::default();
    let newest = Rc::clone(&session);
    spawn_local(async move {
        while let Ok((carrier, _)) = agents.accept().await {
            let _ = carrier.set_nodelay(true);
            let (session, _) = Session::start(carrier, Side::Hub, Limits::default());
            newest.replace(Some(session));
        }
    });
    loop {
        let (visitor, addr) = visitors.accept().await?;
        visitor.set_nodelay(true)?;
        let open = Open { target: "web".to_owned(), visitor: Some(addr), ..Open::default() };
        let opened = session.borrow().as_ref().map(|session| session.open(&open, b""));
        if let Some(Ok(stream)) = opened {
            spawn_local(splice_stream(visitor, stream));
        }
    }
}

async fn agent(hub: &str, target: &str) -> io::Result<()> {
    let carrier = TcpStream::connect(hub).await?;
    carrier.set_nodelay(true)?;
    let (session, mut incoming) = Session::start(carrier, Side::Agent, Limits::default());
    let target: Rc<str> = target.into();
    while let Some((_, stream)) = incoming.next().await {
        let target = Rc::clone(&target);
        spawn_local(async move {
            match TcpStream::connect(&*target).await {
                Ok(tcp) => {
                    let _ = tcp.set_nodelay(true);
                    spawn_local(splice_stream(tcp, stream));
                }
                Err(_) => stream.reset(Code::Unreachable),
            }
        });
    }
    Err(io::Error::other(session.closed().await))
}
