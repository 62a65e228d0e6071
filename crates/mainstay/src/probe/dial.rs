//! Getting a connection: names looked up anew each time, every address tried, TLS clients made when first needed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail, ensure};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

use super::fetch::Trust;

/// An address that doesn't answer leaves the next one its chance after this long.
const NEXT_ADDRESS: Duration = Duration::from_secs(1);

/// Blocking work of one owner, one piece at a time: what hangs in the kernel or in a resolver holds one thread, not
/// one more at each check.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lane(Arc<AtomicBool>);

impl Lane {
    /// Runs work on a thread that may block.
    ///
    /// # Errors
    /// When the former work of this lane still hangs.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        ensure!(!self.0.swap(true, Ordering::AcqRel), "the former attempt still hangs");
        let busy = Arc::clone(&self.0);
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            busy.store(false, Ordering::Release);
            result
        });
        task.await.context("blocking work failed")
    }
}

/// Connects to the first address that answers. The caller sets the deadline.
///
/// # Errors
/// What the last address answered, or why the name was not found.
pub(crate) async fn connect(host: &str, port: u16, lane: &Lane) -> anyhow::Result<TcpStream> {
    let addrs = look_up(host, port, lane).await?;
    let mut last = None;
    for (position, addr) in addrs.iter().enumerate() {
        let is_last = position + 1 == addrs.len();
        let attempt =
            async { if is_last { Ok(dial(*addr).await) } else { timeout(NEXT_ADDRESS, dial(*addr)).await } };
        match attempt.await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Some(error),
            Err(_) => last = Some(anyhow::anyhow!("{addr} does not answer")),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("\"{host}\" has no address")))
}

async fn dial(addr: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(addr).await.with_context(|| format!("connect to {addr}"))?;
    // Without a listener a connect to an ephemeral port of our own can meet itself.
    ensure!(stream.local_addr()? != addr, "connect to {addr}: nobody listens");
    Ok(stream)
}

async fn look_up(host: &str, port: u16, lane: &Lane) -> anyhow::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let name = host.to_owned();
    let found = lane
        .run(move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>))
        .await
        .with_context(|| format!("look up \"{host}\""))?;
    let found = found.with_context(|| format!("look up \"{host}\""))?;
    if found.is_empty() {
        bail!("\"{host}\" has no address");
    }
    Ok(found)
}

/// TLS clients by whom they believe, made when first needed: roots and code are megabytes that most nodes never touch.
#[derive(Debug, Default)]
pub(crate) struct TlsConfigs(RefCell<HashMap<Trust, Arc<ClientConfig>>>);

impl TlsConfigs {
    /// The client for this trust.
    ///
    /// # Errors
    /// When the CA bundle cannot be read or holds no certificate.
    pub(crate) async fn config(&self, trust: &Trust, lane: &Lane) -> anyhow::Result<Arc<ClientConfig>> {
        if let Some(config) = self.0.borrow().get(trust) {
            return Ok(Arc::clone(config));
        }
        let wanted = trust.clone();
        let config = lane.run(move || build(&wanted)).await??;
        self.0.borrow_mut().insert(trust.clone(), Arc::clone(&config));
        Ok(config)
    }

    /// Forgets all: CA bundles are read again.
    pub(crate) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

fn build(trust: &Trust) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("TLS versions")?;
    let mut config = if trust.insecure {
        let anybody = Arc::new(Anybody(provider));
        builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth()
    } else {
        builder.with_root_certificates(roots(trust)?).with_no_client_auth()
    };
    // A check that resumes would not see a certificate that has expired meanwhile.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn roots(trust: &Trust) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match &trust.ca {
        Some(path) => {
            // A device would never end.
            ensure!(path.is_file(), "ca {} is not a regular file", path.display());
            let certs =
                CertificateDer::pem_file_iter(path).with_context(|| format!("read ca {}", path.display()))?;
            for cert in certs {
                let cert = cert.with_context(|| format!("read ca {}", path.display()))?;
                roots.add(cert).with_context(|| format!("a certificate in {}", path.display()))?;
            }
            ensure!(!roots.is_empty(), "no certificate in ca {}", path.display());
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            ensure!(
                !roots.is_empty(),
                "this system has no CA certificates (Debian: install ca-certificates)"
            );
        }
    }
    Ok(roots)
}

/// Believes every certificate, as `insecure` asks; signatures are still checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
