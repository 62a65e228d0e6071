//! The dialer's side.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use quinn_proto::ClientConfig;
use quinn_proto::crypto::rustls::QuicClientConfig;
use tokio::net::UdpSocket;
use tokio::task::spawn_local;

use super::carrier::Quic;
use super::connection::Held;
use super::endpoint::Core;
use super::socket::Socket;
use super::{Error, now, transport};
use crate::tunnel::carrier::ALPN;

/// Dials a hub, whose certificate has to be for this name. Who gives up waiting drops it.
///
/// # Errors
/// When nobody answers, or somebody else does than is believed.
pub(crate) async fn connect(
    to: SocketAddr,
    name: &str,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<Quic, Error> {
    let mut tls = rustls::ClientConfig::clone(tls);
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| Error::Tls(error.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport());

    // Bound to no address: when ours changes, the next datagram leaves from the new one, and the hub follows.
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let lost = |error: std::io::Error| Error::Lost(error.to_string());
    let socket = UdpSocket::bind(any).await.map_err(lost)?.into_std().map_err(lost)?;
    let socket = Rc::new(Socket::new(OwnedFd::from(socket)).map_err(lost)?);
    let core = Core::dialer(&socket);
    let begun = core.machine.borrow_mut().connect(now(), config, to, name);
    let (handle, machine) = begun.map_err(|error| Error::Lost(error.to_string()))?;
    let held = Held(core.drive(handle, machine, &socket));
    spawn_local(core.listen(socket));
    let stream = std::future::poll_fn(|cx| held.0.borrow_mut().poll_stream(cx)).await?;
    Ok(Quic::new(held, stream))
}
