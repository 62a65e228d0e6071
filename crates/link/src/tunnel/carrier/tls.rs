//! TLS under a session, on the dialer's side: rustls with aws-lc-rs.

use std::path::Path;
use std::sync::Arc;

use mainstay_core::tunnel::address::Address;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Error;

/// The protocol that a hub's own listener agrees on.
pub const ALPN: &[u8] = b"mainstay-tunnel/1";

/// The label of the exporter that ties a signature to its carrier (RFC 8446 7.5).
pub const BINDING: &[u8] = b"EXPORTER-mainstay-tunnel";

/// TLS that trusts the authorities of a file, or those of the system.
///
/// # Errors
/// With a sentence, when there are none.
pub fn client_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            for cert in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
                let cert = cert.map_err(|error| wrong(&error))?;
                roots.add(cert).map_err(|error| wrong(&error))?;
            }
            if roots.is_empty() {
                return Err(format!("{}: there is no certificate in it", path.display()));
            }
        }
        None => {
            // Of a system's list, some may be no good: none at all shows at the first handshake.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// The handshake; `own` when it is with the hub itself, whose exporter then ties signatures to it.
pub(super) async fn connect(
    stream: TcpStream,
    address: &Address,
    config: &Arc<ClientConfig>,
    own: bool,
) -> Result<(TlsStream<TcpStream>, Vec<u8>), Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::Tls(error.to_string());
    let name = ServerName::try_from(address.host.clone()).map_err(|error| wrong(&error))?;
    let mut config = ClientConfig::clone(config);
    config.alpn_protocols = vec![if own { ALPN.to_vec() } else { b"http/1.1".to_vec() }];
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.map_err(|error| wrong(&error))?;
    let mut binding = Vec::new();
    if own {
        binding = vec![0; 32];
        let session = stream.get_ref().1;
        session.export_keying_material(&mut binding, BINDING, None).map_err(|error| wrong(&error))?;
    }
    Ok((stream, binding))
}
