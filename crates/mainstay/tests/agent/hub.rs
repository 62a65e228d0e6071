//! A hub that accepts agents on a port of the loopback interface, and the agent's process.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use mainstay_core::tunnel::hello::{Answer, Grant, Place, Welcome};
use mainstay_link::tunnel::hello::{Asked, welcome};
use mainstay_link::tunnel::keys::PublicKey;
use mainstay_link::tunnel::{Health, Limits, Session, Side};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

pub(crate) const LIMIT: Duration = Duration::from_secs(20);
pub(crate) const TUNNEL: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";

/// A folder that is gone when the test is over.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("mainstay-agent-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The agent's process; it does not outlive the test.
pub(crate) struct Agent(pub(crate) Child);

impl Agent {
    pub(crate) fn start(folder: &Path, hubs: &[SocketAddr], what: &[&str]) -> Result<(Self, PublicKey)> {
        let program = env!("CARGO_BIN_EXE_mainstay");
        let key = folder.join("agent.key");
        let made = Command::new(program).args(["tunnel", "key"]).arg(&key).output()?;
        let public = String::from_utf8(made.stdout)?.parse()?;
        let mut command = Command::new(program);
        command.args(["agent", "--tunnel", TUNNEL, "--name", "test", "--key"]).arg(&key);
        for hub in hubs {
            command.arg("--hub").arg(format!("tcp://{hub}"));
        }
        command.args(what).env_remove("MAINSTAY_AGENT_PROXY").stdin(Stdio::null());
        Ok((Self(command.spawn().context("start the agent")?), public))
    }

    pub(crate) fn terminate(&self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.0);
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::TERM)?)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One hub of one process with so many threads, all of them here.
pub(crate) struct Hub {
    pub(crate) addr: SocketAddr,
    sessions: Rc<RefCell<Vec<(u16, Session)>>>,
    keys: Rc<RefCell<Vec<PublicKey>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Hub {
    pub(crate) async fn start(name: &'static str, threads: u16, at: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let addr = listener.local_addr()?;
        let (sessions, keys) = (Rc::<RefCell<Vec<_>>>::default(), Rc::<RefCell<Vec<_>>>::default());
        let (held, seen) = (Rc::clone(&sessions), Rc::clone(&keys));
        let task = spawn_local(async move {
            let mut turn = 0;
            while let Ok((mut stream, _)) = listener.accept().await {
                let Ok(asked) = Asked::read(&mut stream).await else { continue };
                turn += 1;
                let place = Place { process: 0, processes: 1, thread: turn % threads, threads };
                let challenge = asked.challenge(name, 1, place).expect("a version that both speak");
                let Ok(claims) = asked.prove(&mut stream, challenge, b"").await else { continue };
                seen.borrow_mut().push(PublicKey(claims.key));
                let answer = Answer::Served(vec!["http://b7de88a94729b931.gost.local".to_owned()]);
                let grants = vec![Grant { index: 0, answer }];
                let names = vec![name.to_owned()];
                if welcome(&mut stream, Welcome { grants, names, ..Welcome::default() }).await.is_ok() {
                    let (session, mut incoming) = Session::start(stream, Side::Hub, Limits::default());
                    spawn_local(async move { while incoming.next().await.is_some() {} });
                    held.borrow_mut().push((place.thread, session));
                }
            }
        });
        Ok(Self { addr, sessions, keys, task })
    }

    /// Sessions that live, by thread.
    pub(crate) fn sessions(&self) -> Vec<(u16, Session)> {
        self.sessions.borrow_mut().retain(|(_, session)| !session.is_closed());
        self.sessions.borrow().clone()
    }

    pub(crate) fn keys(&self) -> Vec<PublicKey> {
        self.keys.borrow().clone()
    }

    /// Ends it with all of its sessions.
    pub(crate) async fn kill(self) -> SocketAddr {
        self.task.abort();
        let _ = self.task.await;
        self.sessions.borrow().iter().for_each(|(_, session)| session.close());
        self.addr
    }

    /// Waits for sessions to so many different threads.
    pub(crate) async fn wait_for(&self, threads: usize) -> Result<Session> {
        until("sessions to all threads", || {
            let mut held: Vec<u16> = self.sessions().into_iter().map(|(thread, _)| thread).collect();
            held.sort_unstable();
            held.dedup();
            held.len() == threads
        })
        .await?;
        Ok(self.sessions()[0].1.clone())
    }
}

/// What the agent tells of its tunnel.
pub(crate) fn health(session: &Session) -> Option<Health> {
    session.heard().targets.iter().find(|(name, _)| name == TUNNEL).map(|(_, health)| *health)
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, done: impl Fn() -> bool) -> Result<()> {
    let wait = async {
        while !done() {
            tokio::task::yield_now().await;
            let mut turn = tokio::time::interval(Duration::from_millis(5));
            turn.tick().await;
            turn.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.with_context(|| format!("waiting for {what}"))
}

/// Runs a test on one thread.
pub(crate) fn run(test: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(
        LocalSet::new().run_until(async {
            tokio::time::timeout(LIMIT * 3, test).await.context("the test takes too long")?
        }),
    )
}
