//! Connections to stores and plugins, plain or by TLS: whom we believe, and who we say that we are.

use std::sync::Arc;

use anyhow::{Context, ensure};
use mainstay_config::plan::cluster::Access;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::probe::dial::{Lane, connect};

/// What a store or a plugin is spoken to over.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire for T {}

/// Connects, by TLS where there is a configuration of it. The caller sets the deadline.
pub(crate) async fn wire(
    host: &str,
    port: u16,
    lane: &Lane,
    tls: Option<&Arc<ClientConfig>>,
) -> anyhow::Result<Box<dyn Wire>> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = connect(host, port, lane).await?;
    // A call is one small segment.
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host.to_owned()).context("the host's name")?;
    Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.context("TLS")?))
}

pub(crate) fn client(access: &Access) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS versions")?
        .with_root_certificates(roots(access)?);
    let config = match &access.client {
        Some((cert, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert.as_bytes()).collect();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("cert_key holds no key")?;
            builder.with_client_auth_cert(chain.context("cert")?, key).context("cert and cert_key")?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn roots(access: &Access) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match &access.ca {
        Some(pem) => {
            for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                roots.add(cert.context("ca")?).context("a certificate in ca")?;
            }
            ensure!(!roots.is_empty(), "no certificate in ca");
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
