//! The relays of one thread: an epoll instance of their own that tokio watches as one descriptor, and a slab of sessions.
//!
//! A task and two registered sockets for each connection would cost more system calls and memory than the connection's own
//! work. Here a session is an entry in a slab; sockets are watched edge by edge and never unwatched, since closing does that.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::time::Boot;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::pipes::Pipes;
use super::session::{Session, Standing};
use crate::clock::boot_now;

/// Events taken at once.
const BATCH: usize = 256;

/// Bytes of the buffer that all sessions of a thread share.
const BUFFER: usize = 64 * 1024;

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both directions came to their end.
    Whole,
    /// The backend could not be reached: nothing was sent, the client's socket is still good.
    Unreachable(Errno),
    /// No connect within its time.
    ConnectTimeout,
    /// A socket broke.
    Broken(Errno),
    /// Nothing moved for too long.
    Idle,
    /// Drained: its time was over.
    Cut,
}

/// What is told when a session ends.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub end: End,
    /// The client's socket, for another try when the backend was unreachable.
    pub client: OwnedFd,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// How long the connect took, when it succeeded.
    pub connected: Option<Duration>,
}

/// Called once for each session.
pub type OnEnd = Box<dyn FnOnce(Ended)>;

/// What a session needs to begin.
pub struct Opening<'a> {
    /// The client's socket, non-blocking.
    pub client: OwnedFd,
    /// The backend's, non-blocking, its connect under way.
    pub backend: OwnedFd,
    /// What goes to the backend first.
    pub first: &'a [u8],
    /// The client has said no more than that so far.
    pub drained: bool,
    /// The backend is on this machine: its connect is done as a rule before anybody waits for it.
    pub near: bool,
    /// When the connect began.
    pub began: Boot,
    /// When the connect has failed.
    pub connect_by: Boot,
    /// How long nothing may move.
    pub idle: Duration,
    /// Told at the end.
    pub on_end: OnEnd,
}

struct Entry {
    session: Session,
    idle_ticks: u64,
    began: Boot,
    connected: Option<Duration>,
    on_end: OnEnd,
}

struct Slot {
    generation: u32,
    entry: Option<Box<Entry>>,
}

/// The relays of one thread.
pub struct Relays {
    epoll: AsyncFd<OwnedFd>,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<u32>>,
    open: Cell<usize>,
    ticks: Cell<u64>,
    pipes: Pipes,
    buffer: RefCell<Box<[u8]>>,
    /// Sessions that want another turn.
    again: RefCell<Vec<(u32, u32)>>,
    opened: tokio::sync::Notify,
}

impl std::fmt::Debug for Relays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relays").field("open", &self.open.get()).finish_non_exhaustive()
    }
}

impl Relays {
    /// The relays of a thread; `run` must be spawned on it.
    ///
    /// # Errors
    /// Outside a tokio runtime, or when the kernel has no descriptors left.
    pub fn new() -> io::Result<Rc<Self>> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types whose descriptor may change; ours does not"
        )]
        let epoll = AsyncFd::with_interest(epoll, Interest::READABLE)?;
        Ok(Rc::new(Self {
            epoll,
            slots: RefCell::default(),
            free: RefCell::default(),
            open: Cell::new(0),
            ticks: Cell::new(0),
            pipes: Pipes::default(),
            buffer: RefCell::new(vec![0; BUFFER].into_boxed_slice()),
            again: RefCell::default(),
            opened: tokio::sync::Notify::new(),
        }))
    }

    /// Sessions that are open.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.open.get()
    }

    /// The pipes of this thread, for others who splice.
    #[must_use]
    pub const fn pipes(&self) -> &Pipes {
        &self.pipes
    }

    /// Begins a session.
    pub fn open(&self, opening: Opening<'_>) {
        let Opening { client, backend, first, drained, near, began, connect_by, idle, on_end } = opening;
        let mut session = Session::new(client, backend, first, drained, connect_by);
        let sent = if near && !first.is_empty() { session.send_first(first) } else { Ok(false) };
        let connected = matches!(sent, Ok(true)).then(|| boot_now().since(began));
        session.backend.room_watched = !session.backend.writable;
        let idle_ticks = u64::try_from(idle.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX).max(1);
        let (index, generation) = self.insert(Entry { session, idle_ticks, began, connected, on_end });
        let added = sent.and_then(|sent| {
            let slots = self.slots.borrow();
            let entry = slots[index as usize].entry.as_ref().expect("it was just put there");
            watch(&self.epoll, &entry.session.backend, token(index, generation, true)).map(|()| sent)
        });
        match added {
            Ok(true) => self.turn(index, generation),
            Ok(false) => {}
            Err(error) => self.end(index, End::Unreachable(error)),
        }
        if self.open.get() == 1 {
            self.opened.notify_one();
        }
    }

    fn insert(&self, mut entry: Entry) -> (u32, u32) {
        entry.session.active = self.ticks.get();
        let mut slots = self.slots.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(Slot { generation: 0, entry: None });
            u32::try_from(slots.len() - 1).expect("a process has fewer than 2^32 descriptors")
        });
        let slot = &mut slots[index as usize];
        slot.entry = Some(Box::new(entry));
        self.open.set(self.open.get() + 1);
        (index, slot.generation)
    }

    /// Serves the sessions until the thread ends.
    pub async fn run(self: Rc<Self>) {
        let mut events: Vec<Event> = Vec::with_capacity(BATCH);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if self.open.get() == 0 {
                self.opened.notified().await;
                tick.reset();
            }
            tokio::select! {
                biased;
                ready = self.epoll.readable() => {
                    let Ok(mut ready) = ready else { return };
                    if self.attend(&mut events) {
                        ready.clear_ready();
                    }
                }
                _ = tick.tick() => self.look_at_deadlines(),
                () = std::future::ready(()), if !self.again.borrow().is_empty() => {}
            }
            for (index, generation) in self.again.take() {
                self.turn(index, generation);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Takes what the kernel has to tell; true when that was all.
    fn attend(&self, events: &mut Vec<Event>) -> bool {
        events.clear();
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let Ok(count) = epoll::wait(self.epoll.get_ref(), spare_capacity(events), Some(&timeout)) else {
            return true;
        };
        for event in events.iter() {
            let data = { event.data }.u64();
            let flags = { event.flags };
            self.happened(data, flags);
        }
        count < BATCH
    }

    fn happened(&self, data: u64, flags: EventFlags) {
        let (index, generation, backend) = untoken(data);
        let mut failed = None;
        {
            let mut slots = self.slots.borrow_mut();
            let Some(slot) = slots.get_mut(index as usize).filter(|slot| slot.generation == generation)
            else {
                return;
            };
            let Some(entry) = slot.entry.as_mut() else { return };
            let session = &mut entry.session;
            let end = if backend { &mut session.backend } else { &mut session.client };
            let over = flags.intersects(EventFlags::ERR | EventFlags::HUP);
            end.readable |= flags.contains(EventFlags::IN) || over;
            end.hung |= flags.intersects(EventFlags::RDHUP) || over;
            end.readable |= end.hung;
            end.writable |= flags.contains(EventFlags::OUT) || over;
            if backend && session.connecting.is_some() {
                if over {
                    failed = Some(connect_error(&session.backend.fd));
                } else if flags.contains(EventFlags::OUT) {
                    session.connecting = None;
                    entry.connected = Some(boot_now().since(entry.began));
                }
            }
        }
        match failed {
            Some(error) => self.end(index, End::Unreachable(error)),
            None => self.turn(index, generation),
        }
    }

    /// Gives a session its turn.
    fn turn(&self, index: u32, generation: u32) {
        let standing = {
            let mut slots = self.slots.borrow_mut();
            let Some(slot) = slots.get_mut(index as usize).filter(|slot| slot.generation == generation)
            else {
                return;
            };
            let Some(entry) = slot.entry.as_mut() else { return };
            if entry.session.connecting.is_some() {
                return;
            }
            entry.session.active = self.ticks.get();
            match entry.session.turn(&self.pipes, &mut self.buffer.borrow_mut()) {
                Standing::Waits => {
                    match self.watch_for_what_is_missing(&mut entry.session, index, generation) {
                        Ok(()) => Standing::Waits,
                        Err(error) => Standing::Broken(error),
                    }
                }
                other @ (Standing::More | Standing::Over | Standing::Broken(_)) => other,
            }
        };
        match standing {
            Standing::Waits => {}
            Standing::More => self.again.borrow_mut().push((index, generation)),
            Standing::Over => self.end(index, End::Whole),
            Standing::Broken(error) => self.end(index, End::Broken(error)),
        }
    }

    /// Watches the client once it has to be waited for, and a socket for room once it has been full.
    fn watch_for_what_is_missing(
        &self,
        session: &mut Session,
        index: u32,
        generation: u32,
    ) -> Result<(), Errno> {
        let Session { client, backend, client_watched, .. } = session;
        if !*client_watched {
            *client_watched = true;
            client.room_watched = !client.writable;
            watch(&self.epoll, client, token(index, generation, false))?;
        }
        for (end, is_backend) in [(client, false), (backend, true)] {
            if !end.writable && !end.room_watched {
                end.room_watched = true;
                let data = EventData::new_u64(token(index, generation, is_backend));
                epoll::modify(self.epoll.get_ref(), end.fd.as_fd(), data, flags_of(end))?;
            }
        }
        Ok(())
    }

    fn look_at_deadlines(&self) {
        let ticks = self.ticks.get() + 1;
        self.ticks.set(ticks);
        let now = boot_now();
        let mut late = Vec::new();
        for (index, slot) in self.slots.borrow().iter().enumerate() {
            let Some(entry) = &slot.entry else { continue };
            let index = u32::try_from(index).expect("slots are counted in 32 bits");
            match entry.session.connecting {
                Some(by) if now >= by => late.push((index, End::ConnectTimeout)),
                None if ticks - entry.session.active > entry.idle_ticks => late.push((index, End::Idle)),
                Some(_) | None => {}
            }
        }
        for (index, end) in late {
            self.end(index, end);
        }
    }

    /// Ends every session: the time to drain is over.
    pub fn cut_all(&self) {
        for index in 0..self.slots.borrow().len() {
            self.end(u32::try_from(index).expect("slots are counted in 32 bits"), End::Cut);
        }
    }

    fn end(&self, index: u32, end: End) {
        let entry = {
            let mut slots = self.slots.borrow_mut();
            let slot = &mut slots[index as usize];
            let Some(entry) = slot.entry.take() else { return };
            slot.generation = slot.generation.wrapping_add(1) & 0x7fff_ffff;
            entry
        };
        self.free.borrow_mut().push(index);
        self.open.set(self.open.get() - 1);
        let Entry { mut session, on_end, connected, .. } = *entry;
        session.close(&self.pipes);
        on_end(Ended {
            end,
            client: session.client.fd,
            received: session.inward.moved,
            sent: session.outward.moved,
            connected,
        });
    }
}

fn watch(epoll: &AsyncFd<OwnedFd>, end: &super::flow::End, token: u64) -> Result<(), Errno> {
    epoll::add(epoll.get_ref(), end.fd.as_fd(), EventData::new_u64(token), flags_of(end))
}

/// Whoever is watched for room while there is some is told so at once, which is a turn for nothing.
fn flags_of(end: &super::flow::End) -> EventFlags {
    let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
    if end.room_watched { flags | EventFlags::OUT } else { flags }
}

/// Index, generation and side in one word.
const fn token(index: u32, generation: u32, backend: bool) -> u64 {
    (generation as u64) << 33 | (index as u64) << 1 | backend as u64
}

const fn untoken(token: u64) -> (u32, u32, bool) {
    ((token >> 1) as u32, (token >> 33) as u32, token & 1 == 1)
}

fn connect_error(fd: &OwnedFd) -> Errno {
    match rustix::net::sockopt::socket_error(fd) {
        Ok(Err(error)) | Err(error) => error,
        Ok(Ok(())) => Errno::CONNREFUSED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc;

    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    use std::io::{Read as _, Write as _};

    /// Two connected TCP sockets on loopback.
    fn tcp_pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn connecting(to: std::net::SocketAddr) -> OwnedFd {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        match rustix::net::connect(&fd, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => fd,
            Err(error) => panic!("{error}"),
        }
    }

    fn on_thread<T: Send + 'static>(
        body: impl FnOnce(Rc<Relays>) -> std::pin::Pin<Box<dyn Future<Output = T>>> + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async {
                let relays = Relays::new().unwrap();
                tokio::task::spawn_local(Rc::clone(&relays).run());
                body(relays).await
            })
        })
    }

    /// A session between `inside` and `to`; returns what was told at its end.
    fn session(
        inside: TcpStream,
        to: std::net::SocketAddr,
        idle: Duration,
    ) -> std::thread::JoinHandle<(End, u64, u64)> {
        session_with(inside, b"", to, idle)
    }

    /// The same with what the client has said before.
    fn session_with(
        inside: TcpStream,
        first: &'static [u8],
        to: std::net::SocketAddr,
        idle: Duration,
    ) -> std::thread::JoinHandle<(End, u64, u64)> {
        inside.set_nonblocking(true).unwrap();
        on_thread(move |relays| {
            Box::pin(async move {
                let (tx, rx) = tokio::sync::oneshot::channel();
                relays.open(Opening {
                    client: inside.into(),
                    backend: connecting(to),
                    first,
                    drained: true,
                    near: true,
                    began: boot_now(),
                    connect_by: boot_now() + Duration::from_secs(5),
                    idle,
                    on_end: Box::new(move |ended| {
                        let _ = tx.send((ended.end, ended.received, ended.sent));
                    }),
                });
                rx.await.unwrap()
            })
        })
    }

    #[test]
    fn bytes_pass_both_ways_and_each_half_closes_by_itself() {
        let (mut client, inside) = tcp_pair();
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let thread = session(inside, backend.local_addr().unwrap(), Duration::from_secs(5));
        let (mut far, _) = backend.accept().unwrap();
        let text: Vec<u8> = (0..2_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let (tx, rx) = mpsc::channel();
        let sent = text.clone();
        let mut writer = client.try_clone().unwrap();
        std::thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
            tx.send(()).unwrap();
        });
        let mut got = Vec::new();
        far.read_to_end(&mut got).unwrap();
        rx.recv().unwrap();
        assert!(got == text, "{} bytes of {}", got.len(), text.len());
        far.write_all(b"an answer after the client's end").unwrap();
        drop(far);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "an answer after the client's end");
        assert_eq!(thread.join().unwrap(), (End::Whole, text.len() as u64, answer.len() as u64));
    }

    #[test]
    fn what_was_said_before_goes_first_and_a_full_socket_goes_on_when_there_is_room() {
        let (mut client, inside) = tcp_pair();
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        // More than the buffers of both sockets hold, so that sends find no room.
        rustix::net::sockopt::set_socket_recv_buffer_size(&backend, 4096).unwrap();
        let text: Vec<u8> = (0..16_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let thread = session_with(inside, b"first ", backend.local_addr().unwrap(), Duration::from_secs(60));
        let (mut far, _) = backend.accept().unwrap();
        let sent = text.clone();
        let mut writer = client.try_clone().unwrap();
        let writes = std::thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        far.read_to_end(&mut got).unwrap();
        writes.join().unwrap();
        assert!(got.starts_with(b"first ") && got[6..] == text, "{} bytes of {}", got.len(), text.len());
        far.write_all(b"bye").unwrap();
        drop(far);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "bye");
        drop(client);
        assert_eq!(thread.join().unwrap(), (End::Whole, text.len() as u64 + 6, 3));
    }

    #[test]
    fn a_backend_that_is_not_there_is_unreachable() {
        for first in [&b""[..], b"first"] {
            let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let (_client, inside) = tcp_pair();
            let told = session_with(inside, first, gone, Duration::from_secs(5)).join().unwrap();
            assert_eq!(told, (End::Unreachable(Errno::CONNREFUSED), 0, 0));
        }
    }

    #[test]
    fn silence_ends_a_session() {
        let (_client, inside) = tcp_pair();
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let thread = session(inside, backend.local_addr().unwrap(), Duration::from_millis(200));
        let _far = backend.accept().unwrap();
        assert_eq!(thread.join().unwrap().0, End::Idle);
    }
}
