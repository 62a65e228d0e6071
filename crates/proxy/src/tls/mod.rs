//! TLS towards clients and backends: rustls with aws-lc-rs.
//!
//! [`server_config`] and [`client_config`] make what a snapshot keeps; [`accept`] and [`connect`] do handshakes; what they
//! give back is a [`TlsStream`], which holds no buffer while it is idle.

mod certificate;
mod client;
mod server;
mod stream;
mod tickets;
mod verdict;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use thiserror::Error;

pub use certificate::{Names, Verified, client_names, verify_material};
pub use client::{client_config, connect};
pub use server::{Server, accept, server_config, server_for_agents};
pub use stream::TlsStream;
pub use tickets::{TICKET_KEY, Tickets};
pub use verdict::{Refusal, refusal};

/// Why TLS cannot be had.
#[derive(Debug, Error)]
pub enum Error {
    /// A file of certificates is none.
    #[error("{}: {why}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate and a key that are not of one pair.
    #[error("{}: the key in {} is not the key of this certificate", cert.display(), key.display())]
    Mismatch {
        /// The chain's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A listener without certificates.
    #[error("TLS without a certificate")]
    NoCertificate,
    /// Client certificates without anything to check them against.
    #[error("client certificates are asked for without a file of CA certificates")]
    NoClientCa,
    /// The system's CA certificates cannot be read.
    #[error("the system's CA certificates: {0}")]
    SystemRoots(String),
    /// What rustls makes of a configuration.
    #[error("{0}")]
    Config(String),
}

/// Why a handshake came to nothing.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// It took too long.
    #[error("the handshake took longer than {} ms", .0.as_millis())]
    Timeout(std::time::Duration),
    /// What the other end sent is no TLS, or nothing that we can agree on.
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The other end left in the middle.
    #[error("the connection was closed during the handshake")]
    Closed,
    /// A backend's name that no certificate can be for.
    #[error("\"{0}\" is no name that a certificate can be verified for")]
    Name(String),
}

impl HandshakeError {
    /// A word for counters.
    #[must_use]
    pub fn why(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "tls:timeout",
            Self::Tls(rustls::Error::NoCertificatesPresented) => "tls:no-certificate",
            Self::Tls(rustls::Error::InvalidCertificate(_)) => "tls:bad-certificate",
            Self::Tls(rustls::Error::PeerIncompatible(_)) => "tls:incompatible",
            Self::Tls(rustls::Error::AlertReceived(_)) => "tls:alert",
            Self::Tls(rustls::Error::InvalidMessage(_)) => "tls:no-tls",
            Self::Tls(_) => "tls:error",
            Self::Io(_) => "tls:broken",
            Self::Closed => "tls:closed",
            Self::Name(_) => "tls:name",
        }
    }
}

/// aws-lc-rs, as rustls sets it up.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}
