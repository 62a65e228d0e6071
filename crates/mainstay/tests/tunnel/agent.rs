//! An agent that does what it is told: it keeps a session to each place of one hub.

use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use mainstay_core::tunnel::hello::{Caller, Challenge, Kind, Offer, Place, Refused, Welcome};
use mainstay_lab::Host;
use mainstay_link::tunnel::hello::{Dialer, Failed, Met, dial};
use mainstay_link::tunnel::keys::SigningKey;
use mainstay_link::tunnel::{
    Code, Health, Incoming, Limits, News, Open, Session, Side, Stream, splice_stream,
};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

/// Longer than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// An agent, which dies when this is dropped.
pub(crate) struct Agent {
    words: Option<mpsc::UnboundedSender<Word>>,
    told: std::sync::mpsc::Receiver<Told>,
    came: Arc<Mutex<Option<Open>>>,
    thread: Option<JoinHandle<()>>,
}

/// What an agent is told.
enum Word {
    /// Its target is so.
    Health(Health),
    /// It leaves, and loses nothing.
    Leave,
}

/// What an agent tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// It has a session to every place of the hub.
    Met(Welcome),
    /// It was not let in.
    Refused(Refused),
    /// A session has ended.
    Ended,
}

/// What an agent is.
#[derive(Clone, Copy)]
pub(crate) struct As {
    pub(crate) name: &'static str,
    pub(crate) tunnel: &'static str,
    pub(crate) kind: Kind,
    pub(crate) host: Option<&'static str>,
    /// Where its streams go.
    pub(crate) target: SocketAddr,
}

impl Agent {
    /// Starts one on a host of the lab.
    pub(crate) fn start(host: &Host, hub: &str, secret: &str, who: As) -> Result<Self> {
        Self::start_for(usize::MAX, host, hub, secret, who)
    }

    /// Starts one that is content with a session at one place, whichever it is.
    pub(crate) fn start_once(host: &Host, hub: &str, secret: &str, who: As) -> Result<Self> {
        Self::start_for(1, host, hub, secret, who)
    }

    fn start_for(most: usize, host: &Host, hub: &str, secret: &str, who: As) -> Result<Self> {
        let hub: SocketAddr = hub.parse()?;
        let (host, secret) = (host.clone(), secret.to_owned());
        let (words, heard) = mpsc::unbounded_channel();
        let (tell, told) = std::sync::mpsc::channel();
        let came = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&came);
        let thread = std::thread::Builder::new().name(format!("agent-{}", who.name)).spawn(move || {
            let key = SigningKey::parse(&secret).expect("a secret");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
            let roams = Roams { host, hub, who, key, tell, seen, most };
            LocalSet::new().block_on(&runtime, roams.run(heard));
        })?;
        Ok(Self { words: Some(words), told, came, thread: Some(thread) })
    }

    /// Waits until it has met every place.
    pub(crate) fn wait_met(&self) -> Result<Welcome> {
        loop {
            match self.told.recv_timeout(LIMIT).context("the agent meets every place")? {
                Told::Met(welcome) => return Ok(welcome),
                Told::Refused(refused) => anyhow::bail!("refused: {}", refused.sentence),
                Told::Ended => {}
            }
        }
    }

    /// The next thing that it tells.
    pub(crate) fn next(&self) -> Result<Told> {
        self.told.recv_timeout(LIMIT).context("the agent tells something")
    }

    /// What opened the last stream that came.
    pub(crate) fn came(&self) -> Option<Open> {
        self.came.lock().expect("nobody panics with it").clone()
    }

    pub(crate) fn health(&self, health: Health) {
        let _ = self.words.as_ref().map(|words| words.send(Word::Health(health)));
    }

    /// Leaves, and waits until all its sessions have ended.
    pub(crate) fn leave(mut self) -> Result<()> {
        let _ = self.words.as_ref().map(|words| words.send(Word::Leave));
        self.thread.take().context("it runs")?.join().map_err(|_| anyhow::anyhow!("the agent panicked"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.words.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Roams {
    host: Host,
    hub: SocketAddr,
    who: As,
    key: SigningKey,
    tell: std::sync::mpsc::Sender<Told>,
    seen: Arc<Mutex<Option<Open>>>,
    /// Sessions that are enough.
    most: usize,
}

impl Roams {
    async fn run(self, mut words: mpsc::UnboundedReceiver<Word>) {
        let roams = Rc::new(self);
        let mut sessions: Vec<(Place, Session)> = Vec::new();
        let mut health = Health::Up;
        let (over, mut ended) = mpsc::unbounded_channel();
        loop {
            let places = sessions.first().map_or(usize::MAX, |(p, _)| usize::from(p.processes * p.threads));
            let places = places.min(roams.most);
            if sessions.len() < places {
                match roams.dial(&sessions).await {
                    Ok((met, carrier)) => {
                        let (session, incoming) = Session::start(carrier, Side::Agent, Limits::default());
                        session.tell(roams.news(health));
                        sessions.push((met.hub.place, session.clone()));
                        spawn_local(Rc::clone(&roams).serve(incoming));
                        let (over, place) = (over.clone(), met.hub.place);
                        spawn_local(async move {
                            session.closed().await;
                            let _ = over.send(place);
                        });
                        let all = usize::from(met.hub.place.processes * met.hub.place.threads);
                        if sessions.len() == all.min(roams.most) {
                            let _ = roams.tell.send(Told::Met(met.welcome));
                        }
                    }
                    Err(NotMet::Known) => {}
                    Err(NotMet::Failed(Failed::Refused(refused))) => {
                        let _ = roams.tell.send(Told::Refused(refused));
                        tokio::task::yield_now().await;
                    }
                    Err(NotMet::Failed(_)) => tokio::task::yield_now().await,
                }
            }
            let settled = sessions.len() >= places;
            tokio::select! {
                biased;
                word = words.recv() => match word {
                    None => return,
                    Some(Word::Health(now)) => {
                        health = now;
                        sessions.iter().for_each(|(_, session)| session.tell(roams.news(now)));
                    }
                    Some(Word::Leave) => {
                        sessions.iter().for_each(|(_, session)| session.drain(LIMIT));
                        for (_, session) in &sessions {
                            session.closed().await;
                        }
                        return;
                    }
                },
                Some(place) = ended.recv() => {
                    sessions.retain(|(known, _)| *known != place);
                    let _ = roams.tell.send(Told::Ended);
                }
                () = std::future::ready(()), if !settled => {}
            }
        }
    }

    fn offers(&self) -> [Offer; 1] {
        [Offer {
            index: 0,
            tunnel: self.who.tunnel.to_owned(),
            kind: self.who.kind,
            weight: 1,
            host: self.who.host.map(str::to_owned),
            healthy: true,
        }]
    }

    fn news(&self, health: Health) -> News {
        News { load: 0, targets: vec![(self.offers()[0].route(), health)] }
    }

    async fn dial(&self, known: &[(Place, Session)]) -> Result<(Met, tokio::net::TcpStream), NotMet> {
        let hub = self.hub;
        let broken = |error: std::io::Error| NotMet::Failed(Failed::Broken(error));
        let connected = self.host.run(move || TcpStream::connect_timeout(&hub, LIMIT));
        let stream = connected.map_err(|error| broken(std::io::Error::other(error)))?.map_err(broken)?;
        stream.set_nonblocking(true).map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        let mut stream = tokio::net::TcpStream::from_std(stream).map_err(broken)?;
        let offers = self.offers();
        let dialer = Dialer {
            caller: Caller::Agent,
            name: self.who.name,
            instance: 7,
            key: &self.key,
            offers: &offers,
            binding: b"",
        };
        let look = |hub: &Challenge| {
            if known.iter().any(|(place, _)| *place == hub.place) { Err(NotMet::Known) } else { Ok(()) }
        };
        let met = dial(&mut stream, dialer, look).await?;
        Ok((met, stream))
    }

    async fn serve(self: Rc<Self>, mut incoming: Incoming) {
        while let Some((open, stream)) = incoming.next().await {
            spawn_local(Rc::clone(&self).carry(open, stream));
        }
    }

    async fn carry(self: Rc<Self>, open: Open, stream: Stream) {
        *self.seen.lock().expect("nobody panics with it") = Some(open);
        if self.who.kind == Kind::Udp {
            return self.datagrams(stream).await;
        }
        let target = self.who.target;
        match self.host.run(move || TcpStream::connect_timeout(&target, LIMIT)) {
            Ok(Ok(target)) => {
                target.set_nonblocking(true).expect("a socket");
                let target = tokio::net::TcpStream::from_std(target).expect("a socket");
                let _ = splice_stream(target, stream).await;
            }
            Ok(Err(_)) | Err(_) => stream.reset(Code::Unreachable),
        }
    }

    /// Says each datagram back, with its name before it.
    async fn datagrams(&self, mut stream: Stream) {
        loop {
            match std::future::poll_fn(|cx| stream.poll_datagram(cx)).await {
                Ok(Some(bytes)) => {
                    let said = [self.who.name.as_bytes(), b": ", &bytes].concat();
                    stream.send_datagram(&said);
                }
                Ok(None) | Err(_) => return,
            }
        }
    }
}

/// Why there is no session.
enum NotMet {
    /// The place is known.
    Known,
    Failed(Failed),
}

impl From<Failed> for NotMet {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}
