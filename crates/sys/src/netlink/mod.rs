//! Netlink, as much of it as an address needs: links and addresses (RFC 3549), changes to them, nothing more.
//!
//! Our own encoder instead of a crate: requests are batched a few hundred to a system call, replies are read into one
//! buffer that is kept, nothing runs in the background.

mod address;
mod link;
mod monitor;
mod route;
mod socket;
pub(crate) mod wire;

pub use address::{AddrSpec, IfAddr, OUR_MARK};
pub use link::Link;
pub use monitor::{Change, Monitor};
pub use route::Route;
pub(crate) use socket::Socket;

/// Flags of requests.
pub(crate) mod request {
    pub(crate) use super::socket::{ACK, CREATE, REQUEST};
    #[cfg(mainstay_bpf)]
    pub(crate) use super::socket::{EXCLUSIVE, REPLACE};
}
