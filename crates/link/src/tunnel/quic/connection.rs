//! A connection, shared by the task that drives it, the endpoint that hands it packets and the carrier over it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use quinn_proto::{
    Connection, ConnectionError, ConnectionEvent, ConnectionHandle, Dir, Event, StreamEvent, StreamId, VarInt,
};

use super::lanes::Lanes;
use super::socket::Socket;
use super::{EXPORTER, Error, GIVEN_UP, UNSENT, now};

/// A connection, shared on one thread.
pub(super) type Shared = Rc<RefCell<State>>;

/// What is known of it.
pub(super) struct State {
    pub(super) machine: Connection,
    pub(super) handle: ConnectionHandle,
    /// By which it sends: where its last packet came in.
    pub(super) socket: Rc<Socket>,
    pub(super) connected: bool,
    /// Why it is over.
    pub(super) lost: Option<Error>,
    /// Its first stream: of the hello, and of the session's own frames.
    pub(super) stream: Option<StreamId>,
    /// Once a session has begun.
    pub(super) lanes: Option<Lanes>,
    /// All that was sent has arrived, the end included.
    pub(super) finished: bool,
    /// The task that drives it.
    pub(super) task: Option<Waker>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// Who waits for the handshake, or for the end to arrive.
    pub(super) waiter: Option<Waker>,
}

impl State {
    pub(super) fn new(machine: Connection, handle: ConnectionHandle, socket: Rc<Socket>) -> Self {
        Self {
            machine,
            handle,
            socket,
            connected: false,
            lost: None,
            stream: None,
            lanes: None,
            finished: false,
            task: None,
            reader: None,
            writer: None,
            waiter: None,
        }
    }

    /// Has the task look at everything.
    pub(super) fn ask(&mut self) {
        wake(&mut self.task);
    }

    /// A packet of its own has come by this socket.
    pub(super) fn hear(&mut self, event: ConnectionEvent, by: Option<&Rc<Socket>>) {
        if let Some(by) = by.filter(|by| !Rc::ptr_eq(by, &self.socket)) {
            self.socket = Rc::clone(by);
        }
        self.machine.handle_event(event);
        self.ask();
    }

    /// What the machine has to tell.
    pub(super) fn events(&mut self) {
        while let Some(event) = self.machine.poll() {
            match event {
                Event::HandshakeDataReady => {}
                Event::Connected => {
                    self.connected = true;
                    wake(&mut self.waiter);
                }
                Event::ConnectionLost { reason } => self.is_lost(reason),
                Event::Stream(event) => self.of_stream(event),
                Event::DatagramReceived => wake(&mut self.reader),
                Event::DatagramsUnblocked => {}
            }
        }
        let window = self.machine.congestion_state().window() + UNSENT;
        self.machine.set_send_window(window);
    }

    fn of_stream(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Opened { dir: Dir::Bi } => {
                if self.stream.is_none() {
                    self.stream = self.machine.streams().accept(Dir::Bi);
                }
                wake(&mut self.waiter);
                wake(&mut self.reader);
            }
            StreamEvent::Readable { id } => {
                if let Some(lanes) = &mut self.lanes {
                    lanes.is_readable(id);
                }
                wake(&mut self.reader);
            }
            StreamEvent::Writable { .. } => wake(&mut self.writer),
            StreamEvent::Finished { id } => {
                self.finished |= self.stream == Some(id);
                if let Some(lanes) = &mut self.lanes {
                    lanes.arrived(id);
                }
                wake(&mut self.writer);
                wake(&mut self.waiter);
            }
            StreamEvent::Stopped { .. } => {
                wake(&mut self.writer);
                wake(&mut self.waiter);
            }
            StreamEvent::Opened { dir: Dir::Uni } | StreamEvent::Available { .. } => {}
        }
    }

    fn is_lost(&mut self, reason: ConnectionError) {
        self.lost.get_or_insert(judge(reason));
        wake(&mut self.reader);
        wake(&mut self.writer);
        wake(&mut self.waiter);
    }

    /// Ends it, with a word to the other side.
    pub(super) fn close(&mut self, code: VarInt, why: &'static str) {
        if !self.machine.is_closed() {
            self.machine.close(now(), code, Bytes::from_static(why.as_bytes()));
        }
        self.lost.get_or_insert_with(|| Error::Lost("it was closed here".to_owned()));
        self.ask();
    }

    /// What only its two ends know, once the handshake is done.
    pub(super) fn binding(&self) -> [u8; 32] {
        let mut binding = [0; 32];
        let exported = self.machine.crypto_session().export_keying_material(&mut binding, EXPORTER, b"");
        exported.expect("32 bytes are within what TLS exports");
        binding
    }

    /// Waits for the handshake, and for the stream.
    pub(super) fn poll_stream(&mut self, cx: &Context<'_>) -> Poll<Result<StreamId, Error>> {
        if let Some(lost) = &self.lost {
            return Poll::Ready(Err(lost.clone()));
        }
        if self.connected && self.stream.is_none() && self.machine.side().is_client() {
            self.stream = self.machine.streams().open(Dir::Bi);
        }
        match self.stream.filter(|_| self.connected) {
            Some(stream) => Poll::Ready(Ok(stream)),
            None => {
                self.waiter = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// A connection that nobody has taken up yet, or that its carrier has; dropped, it is ended.
pub(super) struct Held(pub(super) Shared);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.borrow_mut().close(GIVEN_UP, "it is given up");
    }
}

pub(super) fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Why a connection is over, for people.
fn judge(reason: ConnectionError) -> Error {
    let said = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        text.chars().filter(|c| !c.is_control()).collect::<String>()
    };
    match reason {
        // Errors of TLS are 0x100 and the number of its alert (RFC 9001 4.8).
        ConnectionError::TransportError(error) if u64::from(error.code) & !0xff == 0x100 => {
            Error::Tls(said(error.to_string().as_bytes()))
        }
        ConnectionError::ConnectionClosed(close) if u64::from(close.error_code) & !0xff == 0x100 => {
            Error::Tls(format!("the other side says: {}", said(close.to_string().as_bytes())))
        }
        ConnectionError::ApplicationClosed(close) => match said(&close.reason).as_str() {
            "" => Error::Lost("the other side has closed it".to_owned()),
            why => Error::Lost(format!("the other side has closed it: {why}")),
        },
        ConnectionError::Reset => Error::Lost("the other side knows nothing of it any more".to_owned()),
        ConnectionError::TimedOut => Error::Lost("nothing was heard".to_owned()),
        other @ (ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::VersionMismatch
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted) => Error::Lost(said(other.to_string().as_bytes())),
    }
}
