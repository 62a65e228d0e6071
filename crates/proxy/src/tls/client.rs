//! TLS to backends.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mainstay_config::plan::edge::BackendTls;
use rustls::client::UnbufferedClientConnection;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};

use super::stream::{Session, TlsStream};
use super::{Error, HandshakeError, certificate, provider};
use crate::exchange::TlsInfo;

/// TLS to the backends of a pool, compiled.
///
/// # Errors
/// A certificate, key or CA certificate that cannot be used, by file; no CA certificates on this system.
pub fn client_config(tls: &BackendTls, http2: bool) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Config(e.to_string()))?;
    let builder = if tls.verify {
        let roots = match &tls.ca {
            Some((file, pem)) => certificate::roots(file, pem)?,
            None => system_roots()?,
        };
        builder.with_root_certificates(roots)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone))
    };
    let mut config = match &tls.cert {
        Some(material) => {
            let certified = Arc::new(certificate::certified(material)?);
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = if http2 { vec![b"h2".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(Arc::new(config))
}

/// A TLS handshake with a backend whose certificate must be for `name`, a DNS name or an address (without port).
///
/// Its last flight leaves with the first write (or a flush): a connection that waits for the backend's first word must be flushed.
///
/// # Errors
/// The backend cannot be verified, breaks off, breaks the protocol, or takes longer than `timeout`.
pub async fn connect<S>(
    io: S,
    config: &Arc<ClientConfig>,
    verify: bool,
    name: &str,
    timeout: Duration,
) -> Result<(TlsStream<S>, TlsInfo), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let server_name = match ServerName::try_from(name.trim_start_matches('[').trim_end_matches(']')) {
        Ok(name) => name.to_owned(),
        // Nobody looks at the name: an address, since no server name is sent for one.
        Err(_) if !verify => ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()),
        Err(_) => return Err(HandshakeError::Name(name.to_owned())),
    };
    let session = UnbufferedClientConnection::new(Arc::clone(config), server_name)?;
    let mut stream = TlsStream::new(io, Session::Client(session));
    let handshake = Box::pin(stream.handshake());
    tokio::time::timeout(timeout, handshake).await.map_err(|_| HandshakeError::Timeout(timeout))??;
    let info = super::server::info(stream.state(), Some(name.to_owned()), None);
    Ok((stream, info))
}

/// The system's CA certificates, read once in a process.
fn system_roots() -> Result<Arc<RootCertStore>, Error> {
    static ROOTS: OnceLock<Result<Arc<RootCertStore>, String>> = OnceLock::new();
    ROOTS
        .get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(found.certs);
            if !roots.is_empty() {
                return Ok(Arc::new(roots));
            }
            Err(found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string))
        })
        .clone()
        .map_err(Error::SystemRoots)
}

/// Takes any certificate whose key the backend holds: `verify = false`.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
