//! What an agent's bytes come over.

use mainstay_core::tunnel::websocket::Side;
use mainstay_link::tunnel::carrier::{WebSocket, tune};
use mainstay_proxy::road::{Ahead, Arrival, Way};
use mainstay_proxy::transport::Io;

/// The bytes of a session.
pub(super) type Carrier = Box<dyn mainstay_link::tunnel::Carrier>;

/// What a connection is called.
pub(super) fn name(arrival: &Arrival) -> &'static str {
    match (arrival.way, arrival.connection.tls.is_some()) {
        (Way::Straight, false) => "tcp",
        (Way::Straight, true) => "tls",
        (Way::WebSocket, false) => "ws",
        (Way::WebSocket, true) => "wss",
    }
}

/// The bytes of a connection.
pub(super) fn carrier_of(io: Io, early: Vec<u8>, way: Way) -> Carrier {
    if let Some(socket) = io.socket() {
        tune(socket);
    }
    match way {
        Way::Straight => Box::new(Ahead::new(early, io)),
        Way::WebSocket => Box::new(WebSocket::new(Ahead::new(early, io), Side::Server)),
    }
}
