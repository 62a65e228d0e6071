//! Hubs that serve a connection, cannot, or break: what becomes of what it has said.

use std::rc::Rc;
use std::time::Duration;

use mainstay_core::tunnel::hello::{Answer, Challenge, Grant, Place, Welcome};
use mainstay_link::SystemEntropy;
use mainstay_link::tunnel::carrier::{Dialing, trusting};
use mainstay_link::tunnel::hello::Met;
use mainstay_link::tunnel::keys::SigningKey;
use mainstay_link::tunnel::{Code, Limits, News, Session, Side};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};

use super::bytes::reach;
use super::*;
use crate::agent::settings::Settings;
use crate::agent::voice::Voice;
use crate::edge::LEAVING;

/// What a hub does with each stream.
#[derive(Clone, Copy)]
enum Does {
    /// Gives it back once it has heard so many bytes.
    Refuses(usize),
    /// Ends the session then.
    Breaks(usize),
    /// Says it all back once it has heard the end.
    Serves,
    /// The same, with a word before it hears anything.
    Greets,
}

/// A visitor whose hubs are these, the first of them tried first.
struct Rig {
    agent: Rc<Agent>,
    door: Rc<Door>,
    hubs: Vec<Session>,
    heard: UnboundedReceiver<(usize, Vec<u8>)>,
}

fn rig(hubs: &[Does]) -> Rig {
    let settings = Settings {
        login: None,
        hubs: vec!["tcp://127.0.0.1:1".parse().unwrap()],
        name: "desk".to_owned(),
        key: SigningKey::generate(&mut SystemEntropy),
        key_file: None,
        dialing: Dialing { tls: trusting(None).unwrap(), proxy: None },
        services: Vec::new(),
        wishes: vec![Wish::new("office", Listen::Stdio, false)],
        drain: Duration::ZERO,
    };
    let (agent, _) = Agent::new(settings, Voice::Log, 1).unwrap();
    let (tell, heard) = unbounded_channel();
    let mut sessions = Vec::new();
    for (nth, does) in hubs.iter().copied().enumerate() {
        let (ours, theirs) = duplex(1 << 16);
        let (session, _incoming) = Session::start(ours, Side::Agent, Limits::default());
        agent.ways.begun(nth as u64, &session, &met());
        let (hub, mut incoming) = Session::start(theirs, Side::Hub, Limits::default());
        sessions.push(hub.clone());
        let tell = tell.clone();
        spawn_local(async move {
            while let Some((open, mut stream)) = incoming.next().await {
                assert_eq!(open.target, "office");
                let mut said = Vec::new();
                match does {
                    Does::Serves | Does::Greets => {
                        if matches!(does, Does::Greets) {
                            stream.write_all(b"hi ").await.unwrap();
                        }
                        stream.read_to_end(&mut said).await.unwrap();
                        stream.write_all(&said).await.unwrap();
                        stream.shutdown().await.unwrap();
                    }
                    Does::Refuses(count) | Does::Breaks(count) => {
                        said.resize(count, 0);
                        stream.read_exact(&mut said).await.unwrap();
                        match does {
                            Does::Breaks(_) => hub.close(),
                            Does::Refuses(_) | Does::Serves | Does::Greets => stream.reset(Code::Unreachable),
                        }
                    }
                }
                let _ = tell.send((nth, said));
            }
        });
    }
    let door = Rc::clone(&agent.doors[0]);
    Rig { agent, door, hubs: sessions, heard }
}

fn met() -> Met {
    let place = Place { process: 0, processes: 1, thread: 0, threads: 1 };
    let hub = Challenge { version: 1, hub: "edge".into(), instance: 1, place, nonce: [0; 32] };
    let grants = vec![Grant { index: 0, answer: Answer::Served(Vec::new()) }];
    Met { hub, welcome: Welcome { grants, ..Welcome::default() } }
}

impl Rig {
    /// What comes back of a connection that says this, and its end.
    async fn ask(&self, said: &[u8]) -> Option<Vec<u8>> {
        let (mut near, mut far) = duplex(1 << 20);
        near.write_all(said).await.unwrap();
        near.shutdown().await.unwrap();
        let mut stream = reach(&self.agent, &self.door, &mut far, None).await?;
        let (mut rest, mut answer) = (Vec::new(), Vec::new());
        far.read_to_end(&mut rest).await.unwrap();
        stream.write_all(&rest).await.ok()?;
        stream.shutdown().await.ok()?;
        stream.read_to_end(&mut answer).await.ok()?;
        Some(answer)
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tasks = LocalSet::new();
    runtime
        .block_on(tasks.run_until(async { tokio::time::timeout(Duration::from_secs(30), test).await }))
        .expect("in time");
}

#[test]
fn what_a_connection_has_said_is_not_lost_when_a_hub_cannot_serve_it() {
    run(async {
        for (size, heard) in [(0, 0), (5, 0), (5, 5), (40_000, 40_000), (60_000, 20_000)] {
            let rig = rig(&[Does::Refuses(heard), Does::Refuses(0), Does::Serves]);
            let said: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let answer = rig.ask(&said).await;
            assert!(
                answer.is_some_and(|answer| answer == said),
                "{size} bytes, of which a hub has seen {heard}"
            );
            assert_eq!(rig.door.lost.get(), 0);
        }
    });
}

#[test]
fn nothing_is_lost_when_the_answer_comes_before_all_was_sent() {
    run(async {
        for (size, hubs) in [
            (0, &[Does::Refuses(0), Does::Greets][..]),
            (60_000, &[Does::Refuses(0), Does::Greets]),
            (60_000, &[Does::Greets]),
            (600_000, &[Does::Greets]),
        ] {
            let rig = rig(hubs);
            let said = vec![b'x'; size];
            assert_eq!(rig.ask(&said).await.map(|answer| answer.len()), Some(size + 3));
        }
    });
}

#[test]
fn a_connection_that_a_hub_may_have_handed_on_is_not_brought_twice() {
    run(async {
        let mut twice = rig(&[Does::Breaks(5), Does::Serves]);
        assert_eq!(twice.ask(b"hello").await, None);
        assert_eq!(twice.heard.recv().await, Some((0, b"hello".to_vec())));
        // The hub that is left serves the next one.
        assert_eq!(twice.ask(b"again").await, Some(b"again".to_vec()));
        assert_eq!(twice.heard.recv().await, Some((1, b"again".to_vec())));
    });
}

#[test]
fn one_that_no_hub_can_serve_is_given_up_soon() {
    run(async {
        let rig = rig(&[Does::Refuses(0), Does::Refuses(0)]);
        assert_eq!(rig.ask(b"hello").await, None);
        assert_eq!(rig.door.lost.get(), 1);
        assert!(rig.agent.failed.take().is_some_and(|why| why.contains("tunnel office can't be reached")));
    });
}

#[test]
fn a_hub_that_leaves_is_the_last_to_be_asked() {
    run(async {
        let mut rig = rig(&[Does::Serves, Does::Serves]);
        let leaves =
            News { load: 0, targets: vec![(LEAVING.to_owned(), mainstay_link::tunnel::Health::Down)] };
        rig.hubs[0].tell(leaves);
        let mut last = 0;
        while last == 0 {
            rig.ask(b"hello").await.unwrap();
            last = rig.heard.recv().await.unwrap().0;
        }
        assert_eq!(last, 1);
        rig.hubs[1].close();
        // What goes by it before its end is heard of is lost with it.
        while rig.ask(b"hello").await.is_none() {}
    });
}
