//! A session over QUIC and a hostile other side, which says anything over any lane, and beside them: no panic, bounded memory, and it owes
//! nothing in the end.
#![no_main]

// Compiled from where they stand: nothing else of the carrier is needed, and no socket.
#[path = "../../crates/link/src/tunnel/quic/credit.rs"]
mod credit;
#[allow(dead_code, reason = "what only wakes tasks is not asked")]
#[path = "../../crates/link/src/tunnel/quic/lanes.rs"]
mod lanes;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use lanes::Lanes;
use libfuzzer_sys::fuzz_target;
use mainstay_core::time::Boot;
use mainstay_core::tunnel::lane::Frame;
use mainstay_core::tunnel::{Heard, Key, Kind, Limits, Mux, Open, Side, Unread};
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, Event,
    ServerConfig, StreamEvent, StreamId, TransportConfig,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::ReadBuf;

const LIMITS: Limits = Limits {
    budget: 64 << 10,
    streams: 256,
    window: 16 << 10,
    window_max: 64 << 10,
    ping: Duration::from_secs(1),
    silence: Duration::from_secs(3),
};

/// What is staged at most: answers up to their bound, and what streams may stage.
const STAGED_MAX: usize = (1 << 20) + (128 << 10);

/// What is read at once: the longest frame, and no more.
const READ: usize = 8 + u16::MAX as usize;

/// Streams of a connection at once.
const STREAMS: u32 = 16_384;

/// Sessions of a connection.
const SESSIONS: usize = 100;

/// Lanes that the other side has, the session's own among them.
const LANES: u8 = 8;

static CONFIGS: LazyLock<(ClientConfig, ServerConfig)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["hub".to_owned()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a good certificate");
    let tls = [&rustls::version::TLS13];
    let server = rustls::ServerConfig::builder_with_protocol_versions(&tls).with_no_client_auth();
    let server = server.with_single_cert(vec![made.cert.der().clone()], key).expect("its key");
    let client = rustls::ClientConfig::builder_with_protocol_versions(&tls);
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let client = QuicClientConfig::try_from(client).expect("TLS 1.3");
    let server = QuicServerConfig::try_from(server).expect("TLS 1.3");
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(STREAMS.into()).initial_rtt(Duration::from_millis(1));
    let transport = Arc::new(transport);
    let mut client = ClientConfig::new(Arc::new(client));
    client.transport_config(Arc::clone(&transport));
    let mut server = ServerConfig::with_crypto(Arc::new(server));
    server.transport_config(transport);
    (client, server)
});

thread_local! {
    /// A connection serves several sessions, one after the other: shaking hands costs more than all the rest.
    static PAIR: RefCell<Option<Pair>> = const { RefCell::new(None) };
}

fuzz_target!(|input: &[u8]| {
    let Some((&mode, input)) = input.split_first() else { return };
    PAIR.with_borrow_mut(|kept| {
        let mut pair = kept.take().unwrap_or_else(Pair::new);
        session(&mut pair, mode, input);
        if pair.goes_on() {
            *kept = Some(pair);
        }
    });
});

/// A session, its control stream the first that it opens.
fn session(pair: &mut Pair, mode: u8, mut input: &[u8]) {
    let control = pair.begin();
    let dialer = mode & 1 == 0;
    let (here, there) = if dialer { (0, 1) } else { (1, 0) };
    let mut side = Session::new(dialer, control, mode);
    let mut theirs = vec![Some(control)];
    if mode & 2 == 0 {
        // LIMITS with nothing in it: without it nothing else is read.
        let _ = pair.machine(there).send_stream(control).write(&[0, 0, 0, 0, 0, 0, 8, 0]);
    }
    while let [what, of, rest @ ..] = input {
        input = rest;
        let at = usize::from(of % LANES);
        if theirs.len() <= at {
            theirs.resize(at + 1, None);
        }
        let lane = *theirs[at].get_or_insert_with(|| {
            pair.machine(there).streams().open(Dir::Bi).expect("fewer than are allowed")
        });
        let machine = pair.machine(there);
        match what % 8 {
            0 | 1 => {
                let count = usize::from(what >> 3).min(input.len());
                let _ = machine.send_stream(lane).write(&input[..count]);
                input = &input[count..];
            }
            2..=4 => {
                // A frame as it should be, in so far.
                let [kind, flags, len, rest @ ..] = input else { break };
                input = rest;
                let id = u32::from(of / LANES);
                let len = u16::from(*len) * if flags & 0x80 == 0 { 1 } else { 257 };
                let frame = Frame { id, len, kind: kind % 11, flags: flags & 0x7f };
                let mut bytes = frame.bytes().to_vec();
                let count = usize::from(len).min(usize::from(what >> 3)).min(input.len());
                bytes.extend_from_slice(&input[..count]);
                input = &input[count..];
                bytes.resize(frame.whole(), 0);
                if what % 8 == 4 {
                    let _ = machine.datagrams().send(Bytes::from(bytes), true);
                } else {
                    let _ = machine.send_stream(lane).write(&bytes);
                }
            }
            5 => drop(machine.send_stream(lane).finish()),
            6 => drop(machine.send_stream(lane).reset(0_u8.into())),
            _ => {
                let _ = machine.recv_stream(lane).stop(0_u8.into());
            }
        }
        pair.pass();
        if !side.turn(pair.machine(here)) {
            break;
        }
        pair.pass();
    }
    side.end();
}

/// Our side: the lanes, and the session's machine over them.
struct Session {
    lanes: Lanes,
    mux: Mux,
    keys: Vec<Key>,
    now: Boot,
    eager: bool,
}

impl Session {
    fn new(dialer: bool, control: StreamId, mode: u8) -> Self {
        let side = if dialer { Side::Agent } else { Side::Hub };
        let now = Boot::from_nanos(1);
        let mut mux = Mux::new(side, LIMITS, now);
        let kinds = [Kind::Bytes, Kind::Datagrams, Kind::Bytes];
        let opens = kinds.map(|kind| Open { kind, ..Open::default() });
        let opened = opens.iter().filter_map(|open| mux.open(open, b"", now).ok());
        let keys = opened.map(|(key, _)| key).collect();
        Self { lanes: Lanes::new(control, dialer), mux, keys, now, eager: mode & 4 == 0 }
    }

    /// Reads, and writes: whether it goes on.
    fn turn(&mut self, machine: &mut Connection) -> bool {
        self.now += Duration::from_micros(200);
        while let Some(event) = machine.poll() {
            match event {
                Event::Stream(StreamEvent::Readable { id }) => self.lanes.is_readable(id),
                Event::Stream(StreamEvent::Finished { id }) => self.lanes.arrived(id),
                Event::ConnectionLost { .. } => return false,
                _ => {}
            }
        }
        let mut room = vec![0; READ];
        for _ in 0..200 {
            let mut buf = ReadBuf::new(&mut room);
            let Ok(ended) = self.lanes.read(machine, &mut buf) else { return false };
            self.hear(buf.filled());
            if ended {
                return false;
            }
            if buf.filled().is_empty() {
                break;
            }
        }
        self.mux.tick(self.now);
        for key in &self.keys {
            let _ = self.mux.send(*key, &[7; 3000]);
            let _ = self.mux.send_datagram(*key, &[7; 30]);
        }
        while self.mux.poll_effect().is_some() {}
        assert!(self.mux.output().len() <= STAGED_MAX, "{} bytes are staged", self.mux.output().len());
        assert!(self.mux.unread() <= LIMITS.memory_max() + 3 * (8 << 10));
        let count = self.lanes.write(machine, self.mux.output());
        self.mux.sent(count);
        true
    }

    fn hear(&mut self, mut input: &[u8]) {
        while let Some(heard) = self.mux.receive(&mut input, self.now) {
            match heard {
                Heard::Opened(key, _) => self.keys.push(key),
                Heard::Data(key, bytes) => {
                    let read = if self.eager { bytes.len() } else { 0 };
                    self.mux.deliver(key, bytes, read, self.now);
                }
                Heard::Datagram(key, bytes) => {
                    let len = bytes.len();
                    self.mux.deliver_datagram(key, len, (!self.eager).then_some(bytes), self.now);
                }
                Heard::Ended(key) => {
                    while let Ok(Unread::Bytes(bytes)) = self.mux.unread_of(key) {
                        let count = bytes.len();
                        self.mux.consume(key, count, self.now);
                    }
                    self.mux.finish(key);
                }
                Heard::Reset(key, _) => {
                    self.keys.retain(|kept| *kept != key);
                    self.mux.forget(key);
                }
                Heard::Left | Heard::News => {}
            }
        }
    }

    fn end(mut self) {
        self.mux.lost("over");
        self.keys.drain(..).for_each(|key| self.mux.forget(key));
        assert_eq!((self.mux.living(), self.mux.unread()), (0, 0), "a lost session has no streams");
    }
}

/// Two ends of a connection, and nothing between them.
struct Pair {
    endpoints: [Endpoint; 2],
    machines: [Option<(ConnectionHandle, Connection)>; 2],
    now: Instant,
    sessions: usize,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let endpoint =
            |config| Endpoint::new(Arc::new(EndpointConfig::default()), config, false, Some([7; 32]));
        let (client, server) = (CONFIGS.0.clone(), CONFIGS.1.clone());
        let mut endpoints = [endpoint(None), endpoint(Some(Arc::new(server)))];
        let begun = endpoints[0].connect(now, client, address(1), "hub").expect("a good name");
        Self { endpoints, machines: [Some(begun), None], now, sessions: 0 }
    }

    fn machine(&mut self, end: usize) -> &mut Connection {
        &mut self.machines[end].as_mut().expect("the handshake is done").1
    }

    /// Has the session's own stream known to both, and nothing else.
    fn begin(&mut self) -> StreamId {
        self.pass();
        self.sessions += 1;
        for end in 0..2 {
            let machine = self.machine(end);
            while machine.streams().accept(Dir::Bi).is_some() {}
            while machine.datagrams().recv().is_some() {}
        }
        let stream = self.machine(0).streams().open(Dir::Bi).expect("there are enough");
        self.machine(0).send_stream(stream).write(b"h").expect("a byte");
        self.pass();
        // Before it may come those that were opened last time and never used.
        let mut accepted = std::iter::from_fn(|| self.machine(1).streams().accept(Dir::Bi));
        assert!(accepted.any(|one| one == stream), "the handshake fails");
        let mut receiver = self.machine(1).recv_stream(stream);
        let mut chunks = receiver.read(true).expect("it is open");
        assert!(matches!(chunks.next(1), Ok(Some(_))), "what was sent has come");
        let _ = chunks.finalize();
        for end in 0..2 {
            self.machine(end).send_stream(stream).set_priority(1).expect("it is open");
            while self.machine(end).poll().is_some() {}
        }
        stream
    }

    /// Whether there may be another session; what is left of this one stays where it is.
    fn goes_on(&self) -> bool {
        self.sessions < SESSIONS && self.machines.iter().flatten().all(|(_, machine)| !machine.is_closed())
    }

    /// Passes on what there is, both ways, until neither has more to say.
    fn pass(&mut self) {
        let mut bytes = Vec::new();
        for _ in 0..100 {
            let mut quiet = true;
            self.now += Duration::from_millis(1);
            for end in 0..2 {
                self.settle(end);
                bytes.clear();
                let Some((_, machine)) = &mut self.machines[end] else { continue };
                if machine.poll_transmit(self.now, 1, &mut bytes).is_some() {
                    quiet = false;
                    self.arrive(1 - end, &bytes);
                }
            }
            if quiet {
                return;
            }
        }
    }

    /// Timers, and what the connection has to say to its endpoint.
    fn settle(&mut self, end: usize) {
        let Some((handle, machine)) = &mut self.machines[end] else { return };
        while machine.poll_timeout().is_some_and(|due| due <= self.now) {
            machine.handle_timeout(self.now);
        }
        while let Some(event) = machine.poll_endpoint_events() {
            if let Some(event) = self.endpoints[end].handle_event(*handle, event) {
                machine.handle_event(event);
            }
        }
    }

    fn arrive(&mut self, end: usize, bytes: &[u8]) {
        let (from, mut answer) = (address(1 + end as u16), Vec::new());
        let endpoint = &mut self.endpoints[end];
        match endpoint.handle(self.now, from, None, None, BytesMut::from(bytes), &mut answer) {
            Some(DatagramEvent::ConnectionEvent(_, event)) => self.machine(end).handle_event(event),
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = endpoint.accept(incoming, self.now, &mut answer, None);
                self.machines[end] = Some(accepted.ok().expect("a good first packet"));
            }
            Some(DatagramEvent::Response(_)) | None => {}
        }
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
