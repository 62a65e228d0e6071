//! TLS under a session, on the dialer's side: rustls with aws-lc-rs.

use std::path::Path;
use std::sync::Arc;

use mainstay_core::tunnel::address::Address;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Error, Tcp};

/// The protocol that a hub's own listener agrees on.
pub const ALPN: &[u8] = b"mainstay-tunnel/1";

/// TLS that trusts the authorities of a file, or those of the system.
///
/// # Errors
/// With a sentence, when there are none.
pub fn client_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let Some(path) = ca else { return trusting(None) };
    let pem = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    trusting(Some(&pem)).map_err(|why| format!("{}: {why}", path.display()))
}

/// TLS that trusts the authorities of a PEM text, or those of the system.
///
/// # Errors
/// With a sentence, when there are none.
pub fn trusting(pem: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match pem {
        Some(pem) => {
            for cert in CertificateDer::pem_slice_iter(pem) {
                roots.add(cert.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
            }
            if roots.is_empty() {
                return Err("there is no certificate in it".to_owned());
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

/// The handshake; `own` when it is with the hub itself, and not with what stands before it.
pub(super) async fn connect(
    stream: Tcp,
    address: &Address,
    config: &Arc<ClientConfig>,
    own: bool,
) -> Result<TlsStream<Tcp>, Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::Tls(error.to_string());
    let name = ServerName::try_from(address.host.clone()).map_err(|error| wrong(&error))?;
    let mut config = ClientConfig::clone(config);
    config.alpn_protocols = match own {
        // gost agrees on nothing.
        true if address.gost => Vec::new(),
        true => vec![ALPN.to_vec()],
        false => vec![b"http/1.1".to_vec()],
    };
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::super::{Connected, Dialing, Error, connect};
    use super::*;

    /// A hub's listener that echoes one byte and gives what its side of the TLS exports.
    async fn hub(listener: TcpListener, config: Arc<ServerConfig>) -> Option<Vec<u8>> {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(config).accept(stream).await.ok()?;
        let byte = stream.read_u8().await.unwrap();
        stream.write_u8(byte).await.unwrap();
        stream.flush().await.unwrap();
        Some(stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec())
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(future)
    }

    fn server(certified: &CertifiedKey<rcgen::KeyPair>) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth();
        let mut config = config.with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Arc::new(config)
    }

    #[test]
    fn both_sides_speak_the_tunnels_protocol_and_strangers_are_not_believed() {
        run(async {
            let certified = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            let ca = std::env::temp_dir().join(format!("mainstay-carrier-{}.pem", std::process::id()));
            fs::write(&ca, certified.cert.pem()).unwrap();
            let trusting = Dialing { tls: client_config(Some(&ca)).unwrap(), proxy: None };
            fs::write(&ca, "nothing\n").unwrap();
            assert!(client_config(Some(&ca)).unwrap_err().contains("no certificate"));
            fs::remove_file(&ca).unwrap();

            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let address: Address = format!("tls://localhost:{port}").parse().unwrap();
            let dialed = async {
                let mut turn = 0;
                // localhost may stand for ::1 too, where nobody listens.
                let mut connected = loop {
                    match connect(&address, turn, &trusting).await {
                        Err(Error::Connect(..)) if turn < 4 => turn += 1,
                        other => break other.unwrap(),
                    }
                };
                connected.carrier.write_u8(7).await.unwrap();
                connected.carrier.flush().await.unwrap();
                assert_eq!(connected.carrier.read_u8().await.unwrap(), 7);
            };
            let ((), theirs) = tokio::join!(dialed, hub(listener, server(&certified)));
            assert_eq!(theirs, Some(ALPN.to_vec()));

            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let to = listener.local_addr().unwrap();
            let address: Address = format!("tls://{to}").parse().unwrap();
            let (other, _) = tokio::join!(connect(&address, 0, &trusting), hub(listener, server(&certified)));
            let other = other.map(|Connected { .. }| ());
            assert!(matches!(other, Err(Error::Tls(_))), "the certificate is for another name: {other:?}");
        });
    }
}
