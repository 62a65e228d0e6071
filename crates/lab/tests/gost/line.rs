//! A connection that is driven by hand: a socket that does not wait, and the machine that it carries.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mainstay_core::gost::Session;
use mainstay_core::gost::ask::{Ask, Grant};
use mainstay_core::gost::smux::Limits;
use mainstay_core::gost::step::{Call, Door, Failed, PATIENCE};
use mainstay_core::time::Boot;
use mainstay_core::tunnel::{Effect, Heard, Key, Kind, Open, Side};
use mainstay_lab::Host;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What somebody does with the streams of a session.
pub(crate) trait Talk {
    fn opened(&mut self, key: Key, open: Open);
    /// Does what can be done now.
    fn act(&mut self, session: &mut Session, now: Boot) -> Result<()>;
    fn done(&self) -> bool;
}

pub(crate) struct Line {
    stream: TcpStream,
    session: Option<Session>,
    call: Option<Call>,
    /// What came before the session began.
    early: Vec<u8>,
    buffer: Vec<u8>,
    datagrams: Vec<(Key, Vec<u8>)>,
}

fn now() -> Boot {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    Boot::from_nanos(1) + ORIGIN.get_or_init(Instant::now).elapsed()
}

impl Line {
    pub(crate) fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let buffer = vec![0; 128 << 10];
        Ok(Self { stream, session: None, call: None, early: Vec::new(), buffer, datagrams: Vec::new() })
    }

    pub(crate) fn dial(host: &Host, to: &str) -> Result<Self> {
        Self::new(host.run(|| TcpStream::connect(to))??)
    }

    pub(crate) fn session(&self) -> &Session {
        self.session.as_ref().expect("it has begun")
    }

    /// Waits until bytes have come, or may be sent when there are some.
    fn wait(&self, send: bool, receive: bool, limit: Duration) -> Result<()> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::OUT, send);
        flags.set(PollFlags::IN, receive);
        let limit =
            Timespec { tv_sec: 0, tv_nsec: limit.min(Duration::from_millis(900)).subsec_nanos().into() };
        poll(&mut [PollFd::new(&self.stream, flags)], Some(&limit))?;
        Ok(())
    }

    /// What has come; nothing when nothing has.
    fn read(&mut self) -> Result<Option<usize>> {
        match self.stream.read(&mut self.buffer) {
            Ok(0) => bail!("the connection was closed"),
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What the other side wants.
    pub(crate) fn ask(&mut self) -> Result<Ask> {
        let mut door = Door::new(now());
        loop {
            door.tick(now())?;
            self.wait(false, true, PATIENCE)?;
            let Some(count) = self.read()? else { continue };
            let mut input = &self.buffer[..count];
            if let Some((ask, skipped)) = door.receive(&mut input)? {
                ensure!(input.is_empty() && skipped == 0, "nothing follows before the answer");
                return Ok(ask);
            }
        }
    }

    /// Asks, and waits for the answer.
    pub(crate) fn call(&mut self, call: impl FnOnce(Boot) -> Call) -> Result<Result<Grant, Failed>> {
        self.send_call(call)?;
        loop {
            self.wait(false, true, PATIENCE)?;
            if let Some(answer) = self.answer()? {
                return Ok(answer);
            }
        }
    }

    pub(crate) fn send_call(&mut self, call: impl FnOnce(Boot) -> Call) -> Result<()> {
        let mut call = call(now());
        let bytes = call.output().to_vec();
        self.say(&bytes)?;
        call.sent(bytes.len());
        self.call = Some(call);
        Ok(())
    }

    /// The answer to our call, when it has come.
    fn answer(&mut self) -> Result<Option<Result<Grant, Failed>>> {
        let Some(count) = self.read()? else { return Ok(None) };
        let mut call = self.call.take().context("we have asked")?;
        call.tick(now())?;
        let mut input = &self.buffer[..count];
        match call.receive(&mut input) {
            Ok(None) => {
                self.call = Some(call);
                Ok(None)
            }
            Ok(Some(grant)) => {
                self.early.extend_from_slice(input);
                Ok(Some(Ok(grant)))
            }
            Err(failed) => Ok(Some(Err(failed))),
        }
    }

    /// Waits for our call's answer while a session beside it goes on.
    pub(crate) fn answered(
        &mut self,
        beside: &mut Line,
        talk: &mut impl Talk,
        limit: Duration,
    ) -> Result<Result<Grant, Failed>> {
        let until = Instant::now() + limit;
        loop {
            beside.turn(&mut [talk], Duration::from_millis(1))?;
            if let Some(answer) = self.answer()? {
                return Ok(answer);
            }
            ensure!(Instant::now() < until, "no answer within {limit:?}");
        }
    }

    /// Sends raw bytes, all of them.
    pub(crate) fn say(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(true, false, PATIENCE)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// So many raw bytes, while a session beside goes on.
    pub(crate) fn hear(
        &mut self,
        count: usize,
        beside: &mut Line,
        talk: &mut impl Talk,
        limit: Duration,
    ) -> Result<Vec<u8>> {
        let until = Instant::now() + limit;
        let mut heard = std::mem::take(&mut self.early);
        while heard.len() < count {
            beside.turn(&mut [talk], Duration::from_millis(1))?;
            if let Some(count) = self.read()? {
                heard.extend_from_slice(&self.buffer[..count]);
            }
            ensure!(Instant::now() < until, "{} of {count} bytes within {limit:?}", heard.len());
        }
        Ok(heard)
    }

    /// The connection is a session from here on; what it begins with is sent.
    pub(crate) fn begin(&mut self, side: Side, kind: Kind, limits: Limits, greeting: &[u8]) -> Result<()> {
        let mut session = Session::new(side, kind, limits, greeting, now());
        let bytes = session.output().to_vec();
        self.say(&bytes)?;
        session.sent(bytes.len());
        self.session = Some(session);
        Ok(())
    }

    pub(crate) fn open(&mut self) -> Result<Key> {
        self.open_with(b"").map(|(key, _)| key)
    }

    pub(crate) fn open_with(&mut self, first: &[u8]) -> Result<(Key, usize)> {
        let session = self.session.as_mut().context("it has begun")?;
        let visitor = "192.0.2.7:40000".parse().ok();
        let open = Open { visitor, host: Some("files.example".into()), ..Open::default() };
        Ok(session.open(&open, first, now())?)
    }

    /// One turn: what is to be sent is sent, what has come is heard, everybody acts.
    fn turn(&mut self, talks: &mut [&mut dyn Talk], limit: Duration) -> Result<()> {
        let session = self.session.as_mut().context("it has begun")?;
        for talk in talks.iter_mut() {
            talk.act(session, now())?;
        }
        let mut blocked = false;
        while !blocked && !session.output().is_empty() {
            match self.stream.write(session.output()) {
                Ok(count) => session.sent(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => blocked = true,
                Err(error) => return Err(error.into()),
            }
        }
        session.turn();
        let more = session.has_waiting() && !blocked;
        let receive = !session.is_full();
        self.wait(blocked, receive, if more { Duration::ZERO } else { limit })?;
        let early = std::mem::take(&mut self.early);
        self.heard(talks, &early)?;
        for _ in 0..8 {
            if self.session().is_full() {
                break;
            }
            let Some(count) = self.read()? else { break };
            let bytes = self.buffer[..count].to_vec();
            self.heard(talks, &bytes)?;
        }
        let session = self.session.as_mut().context("it has begun")?;
        session.tick(now());
        while let Some(effect) = session.poll_effect() {
            if let Effect::Closed(why) = effect {
                bail!("the session is over: {why}");
            }
        }
        Ok(())
    }

    fn heard(&mut self, talks: &mut [&mut dyn Talk], mut input: &[u8]) -> Result<()> {
        let session = self.session.as_mut().context("it has begun")?;
        let at = now();
        while let Some(heard) = session.receive(&mut input, at) {
            match heard {
                Heard::Opened(key, open) => talks[0].opened(key, *open),
                Heard::Data(key, bytes) => session.deliver(key, bytes, 0, at),
                Heard::Datagram(key, bytes) if talks.is_empty() => {
                    let bytes = bytes.into_owned();
                    session.deliver_datagram(key, bytes.len(), None, at);
                    self.datagrams.push((key, bytes));
                }
                Heard::Datagram(key, bytes) => session.deliver_datagram(key, bytes.len(), Some(bytes), at),
                Heard::Ended(_) => {}
                Heard::Reset(key, code) => bail!("stream {} was reset: {code}", key.id()),
                Heard::Left | Heard::News => bail!("smux has no such word"),
            }
        }
        Ok(())
    }

    pub(crate) fn run(&mut self, talk: &mut impl Talk, limit: Duration) -> Result<()> {
        self.run_until(talk, limit, |talk| talk.done())
    }

    pub(crate) fn run_until<T: Talk>(
        &mut self,
        talk: &mut T,
        limit: Duration,
        over: impl Fn(&T) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + limit;
        while !over(talk) {
            self.turn(&mut [&mut *talk], Duration::from_millis(10))?;
            ensure!(Instant::now() < until, "it is not done within {limit:?}");
        }
        // What was said last goes out.
        self.turn(&mut [talk], Duration::ZERO)
    }

    /// Until the second is done.
    pub(crate) fn run_both(
        &mut self,
        beside: &mut impl Talk,
        talk: &mut impl Talk,
        limit: Duration,
    ) -> Result<()> {
        let until = Instant::now() + limit;
        while !talk.done() {
            self.turn(&mut [&mut *beside, &mut *talk], Duration::from_millis(10))?;
            ensure!(Instant::now() < until, "it is not done within {limit:?}");
        }
        Ok(())
    }

    /// For so long, done or not.
    pub(crate) fn run_for(&mut self, talk: &mut impl Talk, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.turn(&mut [&mut *talk], Duration::from_millis(10))?;
        }
        Ok(())
    }

    /// Sends a datagram and waits for the stream's next.
    pub(crate) fn datagram(&mut self, key: Key, bytes: &[u8], limit: Duration) -> Result<Vec<u8>> {
        let until = Instant::now() + limit;
        let session = self.session.as_mut().context("it has begun")?;
        ensure!(session.send_datagram(key, bytes), "there is room for {} bytes", bytes.len());
        loop {
            if let Some(at) = self.datagrams.iter().position(|(of, _)| *of == key) {
                return Ok(self.datagrams.remove(at).1);
            }
            self.turn(&mut [], Duration::from_millis(10))?;
            ensure!(Instant::now() < until, "no datagram within {limit:?}");
        }
    }
}
