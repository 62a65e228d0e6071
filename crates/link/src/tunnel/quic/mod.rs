//! QUIC as what is under a session (RFC 9000, RFC 9221): one connection, with a stream of its own for each of the session's (`lanes`), and
//! datagrams beside them.
//!
//! quinn's state machine does the protocol, driven by the thread's own runtime. What belongs to one thread of a hub is one
//! [`Endpoint`]: packets of its connections may come in at the socket of another thread or process, so identifiers of connections name
//! the place where they belong (`place`), and what comes in elsewhere is handed over there (`relay`).

mod carrier;
mod client;
mod connection;
mod credit;
mod drive;
mod endpoint;
mod lanes;
mod place;
mod relay;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{IdleTimeout, TransportConfig, VarInt};
use thiserror::Error;
use tokio::time::Instant;

pub use carrier::Quic;
pub(super) use client::connect;
pub use endpoint::{Arriving, Counts, Door, Endpoint, Host, Secrets};
pub use quinn_proto::ServerConfig;

/// How long a handshake may take.
pub const HANDSHAKE: Duration = Duration::from_secs(5);

/// A connection that hears nothing for so long is forgotten. The session over it, which pings, knows long before.
const IDLE: Duration = Duration::from_secs(10);

/// Until a round trip was measured: what is lost of a handshake is sent again after three of these.
const FIRST_RTT: Duration = Duration::from_millis(100);

/// What may come of one stream and not be read yet, in bytes: more than the session's machine lets a stream send. The session reads all that
/// comes at once, and has bounds of its own.
const WINDOW: u32 = 8 << 20;

/// The same of all streams: what is lost holds up that much behind it.
const WINDOWS: u32 = 32 << 20;

/// Streams that either side may open, in a connection: as many as a session may have. Those beyond go with the session's own frames.
const LANES: u32 = 16_384 + 64;

/// What may wait to be sent beyond what the network takes now, in bytes: as little as over TCP, so that streams wait in turn.
const UNSENT: u64 = 32 << 10;

/// Datagrams that wait to be sent, and those that wait to be read, in bytes; the oldest go first.
const DATAGRAMS: usize = 256 << 10;

/// What ties a hello to its connection.
const EXPORTER: &[u8] = b"EXPORTER-mainstay-tunnel-1";

/// The connection is over because the session is.
const DONE: VarInt = VarInt::from_u32(0);

/// It is given up in the middle.
const GIVEN_UP: VarInt = VarInt::from_u32(1);

/// Why there is no connection, or none any more.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// It takes too long.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// The certificate is not good, or TLS fails otherwise.
    #[error("TLS: {0}")]
    Tls(String),
    /// The connection ended, or never was.
    #[error("{0}")]
    Lost(String),
}

/// The time as quinn's machine has it.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// How connections are.
fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    let idle = IdleTimeout::try_from(IDLE).expect("ten seconds are a few bytes");
    transport
        .max_concurrent_bidi_streams(LANES.into())
        .max_concurrent_uni_streams(0_u8.into())
        .max_idle_timeout(Some(idle))
        .initial_rtt(FIRST_RTT)
        .stream_receive_window(WINDOW.into())
        .receive_window(WINDOWS.into())
        .send_window(UNSENT)
        .datagram_receive_buffer_size(Some(DATAGRAMS))
        .datagram_send_buffer_size(DATAGRAMS)
        .allow_spin(false);
    Arc::new(transport)
}

/// A hub's TLS for connections of agents, from that of its listener.
///
/// # Errors
/// With a sentence, when it speaks no TLS 1.3 that QUIC could use.
pub fn server_config(
    tls: &Arc<rustls::ServerConfig>,
    secrets: &Secrets,
) -> Result<Arc<quinn_proto::ServerConfig>, String> {
    let mut tls = rustls::ServerConfig::clone(tls);
    tls.max_early_data_size = 0;
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut config = quinn_proto::ServerConfig::new(Arc::new(crypto), secrets.token());
    // A ticket for later connections would spare nobody a round trip that lasts.
    config.transport_config(transport()).migration(true).validation_token_config(no_tokens());
    Ok(Arc::new(config))
}

fn no_tokens() -> quinn_proto::ValidationTokenConfig {
    let mut tokens = quinn_proto::ValidationTokenConfig::default();
    tokens.sent(0);
    tokens
}
