//! Backends behind tunnels, by agents that are none.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use mainstay_config::plan::edge::{Backend, Edge, Target};
use tokio::io::{
    AsyncBufRead as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, DuplexStream,
    ReadBuf,
};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::rig::{Rig, run};
use crate::road::{
    Agent, Arrival, Ends, Freight, Hub, HubSession, Lead, Load, NoRoad, Offer, Road, Roads, SessionStatus,
};
use crate::snapshot::Snapshot;

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";

/// What an agent does with a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Does {
    /// Says its name to each request.
    Answers,
    /// Breaks off once it has seen a head.
    Dies,
    /// The same, when the bell rings.
    DiesLater,
    /// Its target is not there.
    Refuses,
    /// It is gone, and nobody has said so yet.
    Away,
}

#[derive(Debug, Default)]
pub(super) struct Agents {
    /// Where hosts lead that no route has.
    pub(super) leads: RefCell<HashMap<String, Leads>>,
    pub(super) does: RefCell<HashMap<String, Does>>,
    pub(super) opened: RefCell<Vec<String>>,
    ends: RefCell<Vec<Option<Ends>>>,
    bell: Rc<Notify>,
}

/// What is known of a host.
#[derive(Clone, Debug)]
pub(super) enum Leads {
    To(&'static str),
    /// Once it is found out.
    Later(&'static str, Rc<Notify>),
    Private,
}

#[derive(Debug)]
struct Fake {
    stream: BufReader<DuplexStream>,
    refuses: bool,
}

impl Roads for Agents {
    fn lead(&self, host: &str, _: u16) -> Lead {
        match self.leads.borrow().get(host).cloned() {
            Some(Leads::To(tunnel)) => Lead::To(tunnel.into()),
            Some(Leads::Private) => Lead::Private,
            Some(Leads::Later(tunnel, when)) => Lead::Wait(Box::pin(async move {
                when.notified().await;
                Lead::To(tunnel.into())
            })),
            None => Lead::Nowhere,
        }
    }

    fn open(&self, agent: &Agent, ends: Option<Ends>, _: Freight) -> Result<Box<dyn Road>, NoRoad> {
        let does = self.does.borrow().get(&*agent.name).copied().unwrap_or(Does::Away);
        let named = agent.to_string();
        let named = named.strip_prefix("tunnel:office/").or(named.strip_prefix("tunnel:")).unwrap_or(&named);
        self.opened.borrow_mut().push(named.to_owned());
        self.ends.borrow_mut().push(ends);
        let (ours, theirs) = tokio::io::duplex(4096);
        match does {
            Does::Away => return Err(NoRoad::Gone),
            Does::Refuses => {}
            Does::Answers | Does::Dies | Does::DiesLater => {
                spawn_local(play(theirs, agent.name.to_string(), does, Rc::clone(&self.bell)));
            }
        }
        let refuses = matches!(does, Does::Refuses);
        Ok(Box::new(Fake { stream: BufReader::new(ours), refuses }))
    }
}

async fn play(mut stream: DuplexStream, name: String, does: Does, bell: Rc<Notify>) {
    let mut seen = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut seen).await {
        if !seen.windows(4).any(|four| four == b"\r\n\r\n") {
            continue;
        }
        if matches!(does, Does::DiesLater) {
            bell.notified().await;
        }
        if matches!(does, Does::Dies | Does::DiesLater) {
            return;
        }
        seen.clear();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

impl Fake {
    fn refused(&self) -> io::Result<()> {
        if self.refuses { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Fake {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.refused()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Fake {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.refuses {
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Road for Fake {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.refused()?;
        Pin::new(&mut self.stream).poll_fill_buf(cx).map_ok(|_| ())
    }
}

/// Nobody comes in.
#[derive(Debug)]
struct Nobody;

impl Hub for Nobody {
    fn hubs(&self) -> Vec<HubSession> {
        Vec::new()
    }

    fn take(&self, arrival: Arrival) {
        panic!("{arrival:?}");
    }

    fn listen(&self, _: OwnedFd, _: u16, _: Rc<Cell<u32>>) -> io::Result<Box<dyn crate::road::Door>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn adopt(&self, _: &Arc<Snapshot>) {}

    fn drain(&self) {}

    fn cut(&self) {}

    fn quic(&self) -> crate::quic::Counts {
        crate::quic::Counts::default()
    }

    fn sessions(&self) -> Vec<SessionStatus> {
        Vec::new()
    }
}

/// The rig's only backend is the tunnel.
fn tunnelled(edge: &mut Edge) {
    edge.pools[0].backends = vec![behind("office")];
}

/// The agents of a tunnel as a backend.
pub(super) fn behind(tunnel: &str) -> Backend {
    Backend {
        name: format!("tunnel:{tunnel}"),
        target: Target::Tunnel(tunnel.to_owned()),
        weight: 1,
        backup: false,
        down: false,
        max_connections: 0,
        probe: None,
        outlier: None,
    }
}

pub(super) async fn rig_of(agents: &[(&str, Does)], change: impl FnOnce(&mut Edge)) -> (Rig, Rc<Agents>) {
    let rig = Rig::with(&[], change).await;
    let roads = Rc::new(Agents::default());
    rig.thread.tunnel_by(Rc::clone(&roads) as Rc<dyn Roads>, Rc::new(Nobody));
    roads.does.borrow_mut().extend(agents.iter().map(|(name, does)| ((*name).to_owned(), *does)));
    (rig, roads)
}

async fn rig(agents: &[(&str, Does)]) -> (Rig, Rc<Agents>) {
    let (rig, roads) = rig_of(agents, tunnelled).await;
    offer(&rig, &agents.iter().map(|(name, _)| (*name, None)).collect::<Vec<_>>());
    (rig, roads)
}

fn offer(rig: &Rig, agents: &[(&str, Option<&str>)]) {
    offer_of(rig, "office", agents);
}

pub(super) fn offer_of(rig: &Rig, tunnel: &str, agents: &[(&str, Option<&str>)]) {
    let offer = |(agent, trouble): &(&str, Option<&str>)| Offer {
        load: Load::default(),
        agent: (*agent).to_owned(),
        weight: 1,
        trouble: trouble.map(str::to_owned),
        behind: None,
    };
    rig.thread.pools.offers(tunnel, agents.iter().map(offer).collect());
}

pub(super) fn body(response: &str) -> &str {
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    response.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn agents_of_a_tunnel_are_asked_in_turn_and_their_connections_are_kept() {
    run(async {
        let (rig, roads) = rig(&[("a", Does::Answers), ("b", Does::Answers)]).await;
        let mut answers = Vec::new();
        for _ in 0..6 {
            answers.push(body(&rig.says(GET).await).to_owned());
        }
        assert_eq!(answers, ["a", "b", "a", "b", "a", "b"]);
        assert_eq!(*roads.opened.borrow(), ["a", "b"], "a connection through a tunnel serves many requests");
        let (client, ours) = roads.ends.borrow()[0].unwrap();
        assert_eq!((client.ip(), ours), ([127, 0, 0, 1].into(), rig.addr));
        let status = rig.thread.pools.status();
        let addresses: Vec<_> = status.iter().map(|one| one.address.as_str()).collect();
        assert_eq!(addresses, ["tunnel:office/a", "tunnel:office/b"]);
    });
}

#[test]
fn what_was_not_answered_goes_to_the_next_agent_when_it_may() {
    run(async {
        for ill in [Does::Dies, Does::Refuses, Does::Away] {
            let (rig, roads) = rig(&[("ill", ill), ("well", Does::Answers)]).await;
            assert_eq!(body(&rig.says(GET).await), "well", "{ill:?}");
            assert_eq!(*roads.opened.borrow(), ["ill", "well"]);
        }
        let (rig, _) = rig(&[("ill", Does::Dies), ("well", Does::Answers)]).await;
        let got = rig.says(POST).await;
        assert!(got.starts_with("HTTP/1.1 502 "), "it may have been done already: {got}");
    });
}

#[test]
fn an_agent_whose_target_is_ill_gets_nothing_and_says_why() {
    run(async {
        let (rig, roads) = rig(&[("a", Does::Answers), ("b", Does::Answers)]).await;
        offer(&rig, &[("a", Some("10.0.0.1:80: connection refused")), ("b", None)]);
        for _ in 0..4 {
            assert_eq!(body(&rig.says(GET).await), "b");
        }
        assert_eq!(*roads.opened.borrow(), ["b"]);
        let why = rig.thread.pools.status().swap_remove(0).why;
        assert_eq!(why, "its agent says so: 10.0.0.1:80: connection refused");
    });
}

#[test]
fn a_request_waits_for_an_agent_that_is_about_to_come() {
    run(async {
        let (rig, roads) = rig(&[]).await;
        roads.does.borrow_mut().insert("late".to_owned(), Does::Answers);
        let mut client = rig.client().await;
        client.send(GET).await;
        while rig.thread.pools.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        offer(&rig, &[("late", None)]);
        assert_eq!(body(&client.rest().await), "late");
        // Its last agent dies with the request, and another one comes.
        roads.does.borrow_mut().insert("late".to_owned(), Does::DiesLater);
        rig.thread.kept.borrow_mut().clear();
        roads.does.borrow_mut().insert("later".to_owned(), Does::Answers);
        let mut client = rig.client().await;
        client.send(GET).await;
        while roads.opened.borrow().len() < 2 {
            tokio::task::yield_now().await;
        }
        offer(&rig, &[]);
        roads.bell.notify_one();
        while rig.thread.pools.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        offer(&rig, &[("later", None)]);
        assert_eq!(body(&client.rest().await), "later");
    });
}
