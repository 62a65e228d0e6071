//! TLS of a listener: several certificates by server name, tickets, client certificates.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::plan::edge::{ClientAuth, TlsServer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, UnbufferedServerConnection, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{CommonState, HandshakeKind, ProtocolVersion, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};

use super::stream::{Session, TlsStream};
use super::verdict::{Lenient, judge};
use super::{Error, HandshakeError, Tickets, certificate, provider};
use crate::exchange::TlsInfo;

/// Both versions, the order is of no matter.
const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// What agents of tunnels speak, as ALPN has it.
const AGENTS: &[u8] = b"mainstay-tunnel/1";

/// TLS of a listener, compiled.
#[derive(Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    auth: ClientAuth,
    timeout: Duration,
}

impl Server {
    /// How clients are asked for certificates; see [`super::refusal`].
    #[must_use]
    pub const fn client_auth(&self) -> ClientAuth {
        self.auth
    }

    /// As rustls has it, for what brings its records in another way than TCP does.
    #[must_use]
    pub const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// How long a handshake may take.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// Compiles a listener's TLS. Without `http2` ALPN offers `http/1.1` alone.
///
/// # Errors
/// A certificate, key or CA certificate that cannot be used, by file.
pub fn server_config(tls: &TlsServer, http2: bool, tickets: &Tickets) -> Result<Arc<Server>, Error> {
    let protocols: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    server(tls, protocols, tickets)
}

/// The same for a listener where agents of tunnels come in.
///
/// # Errors
/// As those of [`server_config`].
pub fn server_for_agents(tls: &TlsServer, tickets: &Tickets) -> Result<Arc<Server>, Error> {
    server(tls, &[AGENTS], tickets)
}

fn server(tls: &TlsServer, protocols: &[&[u8]], tickets: &Tickets) -> Result<Arc<Server>, Error> {
    let clients = clients(tls)?;
    let versions: &[&SupportedProtocolVersion] = if tls.tls12 { BOTH } else { &BOTH[..1] };
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(versions)
        .map_err(|e| Error::Config(e.to_string()))?;
    let builder = match &clients {
        Some(strict) => builder.with_client_cert_verifier(Arc::new(Lenient(Arc::clone(strict)))),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Certificates::new(tls)?));
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // Nothing is kept in this process: the next connection may come to another one.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if tls.tickets {
        config.ticketer = Arc::new(tickets.clone());
        // A ticket may be used again, so a second one buys a client nothing and costs each full handshake.
        config.send_tls13_tickets = 1;
    } else {
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(Server { config: Arc::new(config), clients, auth: tls.client, timeout: tls.timeout }))
}

fn clients(tls: &TlsServer) -> Result<Option<Arc<dyn ClientCertVerifier>>, Error> {
    match tls.client {
        ClientAuth::Off => return Ok(None),
        ClientAuth::Optional | ClientAuth::Required => {}
    }
    let Some((file, pem)) = &tls.client_ca else { return Err(Error::NoClientCa) };
    let roots = certificate::roots(file, pem)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider()))
        .build()
        .map_err(|e| Error::File { file: file.clone(), why: e.to_string() })?;
    Ok(Some(verifier))
}

/// A TLS handshake as the server.
///
/// The plaintext that came with its end is in the stream already; session tickets leave with the first write.
///
/// # Errors
/// The client breaks off, breaks the protocol, or takes longer than the listener allows.
pub async fn accept<S>(io: S, server: &Server) -> Result<(TlsStream<S>, TlsInfo), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let session = UnbufferedServerConnection::new(Arc::clone(&server.config))?;
    let mut stream = TlsStream::new(io, Session::Server(session));
    let mut name = None;
    let handshake = async {
        let mut handshake = Box::pin(stream.handshake());
        std::future::poll_fn(|cx| {
            let poll = handshake.as_mut().poll(cx);
            // The resolver has run on this thread, within this poll, if at all.
            if let Some(asked) = ASKED.take() {
                name = Some(asked);
            }
            poll
        })
        .await
    };
    tokio::time::timeout(server.timeout, handshake)
        .await
        .map_err(|_| HandshakeError::Timeout(server.timeout))??;
    let info = info(stream.state(), name, server.clients.as_deref());
    Ok((stream, info))
}

pub(super) fn info(
    state: &CommonState,
    server_name: Option<String>,
    clients: Option<&dyn ClientCertVerifier>,
) -> TlsInfo {
    let client = clients.zip(state.peer_certificates()).and_then(|(verifier, chain)| {
        let verdict = judge(verifier, chain);
        chain.first().map(|leaf| (leaf.to_vec(), verdict))
    });
    TlsInfo {
        protocol: match state.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        },
        cipher: state.negotiated_cipher_suite().map_or("", |suite| cipher_name(suite.suite())),
        server_name,
        resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
        client,
        h2: state.alpn_protocol() == Some(b"h2"),
    }
}

/// IANA's name of a suite.
fn cipher_name(suite: rustls::CipherSuite) -> &'static str {
    use rustls::CipherSuite as Suite;
    match suite {
        Suite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        Suite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        Suite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or(""),
    }
}

thread_local! {
    /// The server name of the ClientHello that a handshake on this thread has just read: rustls shows it to the resolver alone.
    static ASKED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Certificates by server name; the first one for all other names.
#[derive(Debug)]
struct Certificates {
    all: Vec<Arc<CertifiedKey>>,
    exact: HashMap<String, Vec<usize>>,
    /// By what follows `*`, the dot included.
    wildcard: HashMap<String, Vec<usize>>,
}

impl Certificates {
    fn new(tls: &TlsServer) -> Result<Self, Error> {
        let mut certificates = Self { all: Vec::new(), exact: HashMap::new(), wildcard: HashMap::new() };
        for (at, material) in tls.certificates.iter().enumerate() {
            let certified = certificate::certified(material)?;
            let leaf = certified.cert.first().ok_or(Error::NoCertificate)?;
            for name in certificate::names(leaf) {
                match name.strip_prefix('*') {
                    Some(suffix) => certificates.wildcard.entry(suffix.to_owned()).or_default().push(at),
                    None => certificates.exact.entry(name).or_default().push(at),
                }
            }
            certificates.all.push(Arc::new(certified));
        }
        if certificates.all.is_empty() { Err(Error::NoCertificate) } else { Ok(certificates) }
    }

    /// The first of these that the client can verify (an RSA and an ECDSA certificate may be for one name).
    fn pick(&self, among: &[usize], hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut usable = among.iter().filter_map(|&at| self.all.get(at));
        usable.find(|c| c.key.choose_scheme(hello.signature_schemes()).is_some()).cloned()
    }

    fn find(&self, name: &str, hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let exact = self.exact.get(name).and_then(|among| self.pick(among, hello));
        exact.or_else(|| {
            let suffix = &name[name.find('.')?..];
            self.wildcard.get(suffix).and_then(|among| self.pick(among, hello))
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let found = name.as_deref().and_then(|name| self.find(name, &hello));
        ASKED.set(name);
        found.or_else(|| {
            // As for a name: the default is the first one that the client can verify.
            let usable = self.all.iter().find(|c| c.key.choose_scheme(hello.signature_schemes()).is_some());
            usable.or(self.all.first()).cloned()
        })
    }
}
