//! TLS between hubs: mutual, 1.3 only, under an authority that every hub makes anew from the key that all of them share.
//!
//! A hub's certificate has its name in it, so that what it says of itself later can be held against that. Nobody without the key can
//! make one.

use std::sync::Arc;

use aws_lc_rs::{digest, hkdf};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::{Resumption, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{AlertDescription, ClientConfig, CommonState, RootCertStore, ServerConfig};
use thiserror::Error;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use zeroize::Zeroizing;

use super::Carrier;
use super::hello::DEADLINE;
use super::keys::{PublicKey, SigningKey};

/// What hubs agree on to speak.
pub const ALPN: &[u8] = b"mainstay-hub/1";

/// A name that stands in every hub's certificate: whom one dials shows later which hub it is.
const ANY: &str = "hub.mainstay";

/// From the shared key to the secrets that are made of it.
const SALT: &[u8] = b"mainstay hub 1";

/// The authority's secret.
const AUTHORITY: &[u8] = b"mainstay hub authority 1";

/// The secret with which a hello is signed.
const HELLO: &[u8] = b"mainstay hub hello 1";

/// What ties a hello to its TLS session.
const EXPORTER: &[u8] = b"EXPORTER-mainstay-hub-1";

/// What comes before the 32 bytes of a secret of Ed25519 in PKCS #8 (RFC 8410, 7).
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Why two hubs have not come together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Stranger {
    /// They do not have the same key.
    #[error("it has not the same key of hubs as this one")]
    Key,
    /// It shows nothing at all.
    #[error("it shows no certificate of a hub")]
    Bare,
    /// It speaks something else.
    #[error("it does not speak as hubs do: {0}")]
    Tls(String),
    /// It says nothing.
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Late,
}

/// What a hub shows to others, and by what it knows them.
#[derive(Debug)]
pub struct HubKeys {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    hello: SigningKey,
}

/// A carrier between two hubs.
pub struct Sealed {
    /// The stream of bytes.
    pub carrier: Box<dyn Carrier>,
    /// What a hello over it is tied to.
    pub binding: [u8; 32],
    /// Who is at the other end.
    pub shown: Shown,
}

/// The certificate that a hub has shown, which is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(CertificateDer<'static>);

impl HubKeys {
    /// Those of a hub of this name.
    ///
    /// # Errors
    /// With a sentence, when no certificate can be made.
    pub fn new(secret: &[u8], hub: &str) -> Result<Self, String> {
        Self::make(secret, hub)
            .map_err(|error| format!("a certificate for other hubs cannot be made: {error}"))
    }

    fn make(secret: &[u8], hub: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.distinguished_name.push(DnType::CommonName, "mainstay hubs");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let pair = authority_pair(secret)?;
        let root = authority.self_signed(&pair)?;
        let issuer = Issuer::new(authority, pair);

        let own = KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        let mut params = CertificateParams::new(vec![ANY.to_owned(), name_of(hub)])?;
        params.distinguished_name.push(DnType::CommonName, hub);
        let certificate = params.signed_by(&own, &issuer)?.der().clone();
        let key = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.serialize_der()));

        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone())?;
        let roots = Arc::new(roots);
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let judge =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build()?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(judge);
        let mut server = server.with_single_cert(vec![certificate.clone()], key())?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut client = client.with_client_auth_cert(vec![certificate], key())?;
        // Sessions last: a handshake is rare, and a ticket would outlive what it was given for.
        server.send_tls13_tickets = 0;
        client.resumption = Resumption::disabled();
        server.alpn_protocols = vec![ALPN.to_vec()];
        client.alpn_protocols = vec![ALPN.to_vec()];
        let hello = SigningKey::from_seed(derive(secret, HELLO));
        Ok(Self { server: Arc::new(server), client: Arc::new(client), hello })
    }

    /// The key that signs a hello: of all hubs the same.
    #[must_use]
    pub const fn hello(&self) -> &SigningKey {
        &self.hello
    }

    /// Whether a hello was signed by a hub.
    #[must_use]
    pub fn knows(&self, key: &[u8; 32]) -> bool {
        self.hello.public() == PublicKey(*key)
    }

    /// The side of a hub that was dialled.
    ///
    /// # Errors
    /// When it is no hub that has the same key.
    pub async fn accept(&self, carrier: impl Carrier) -> Result<Sealed, Stranger> {
        let accepting = TlsAcceptor::from(Arc::clone(&self.server)).accept(carrier);
        let stream =
            timeout(DEADLINE, accepting).await.map_err(|_| Stranger::Late)?.map_err(|e| judge(&e))?;
        let mut binding = [0; 32];
        let session = stream.get_ref().1;
        session
            .export_keying_material(&mut binding, EXPORTER, None)
            .map_err(|e| Stranger::Tls(e.to_string()))?;
        let shown = shown(session)?;
        Ok(Sealed { carrier: Box::new(stream), binding, shown })
    }

    /// The side of a hub that dials.
    ///
    /// # Errors
    /// When it is no hub that has the same key.
    pub async fn connect(&self, carrier: impl Carrier) -> Result<Sealed, Stranger> {
        let name = ServerName::try_from(ANY).expect("it is a name");
        let connecting = TlsConnector::from(Arc::clone(&self.client)).connect(name, carrier);
        let stream =
            timeout(DEADLINE, connecting).await.map_err(|_| Stranger::Late)?.map_err(|e| judge(&e))?;
        let mut binding = [0; 32];
        let session = stream.get_ref().1;
        session
            .export_keying_material(&mut binding, EXPORTER, None)
            .map_err(|e| Stranger::Tls(e.to_string()))?;
        let shown = shown(session)?;
        Ok(Sealed { carrier: Box::new(stream), binding, shown })
    }
}

impl Shown {
    /// Whether it is of the hub of this name.
    #[must_use]
    pub fn is(&self, hub: &str) -> bool {
        let Ok(certificate) = ParsedCertificate::try_from(&self.0) else { return false };
        let Ok(name) = ServerName::try_from(name_of(hub)) else { return false };
        verify_server_name(&certificate, &name).is_ok()
    }
}

/// What the other end has shown.
fn shown(session: &CommonState) -> Result<Shown, Stranger> {
    if session.alpn_protocol() != Some(ALPN) {
        return Err(Stranger::Tls("no protocol was agreed on".to_owned()));
    }
    let first = session.peer_certificates().and_then(|chain| chain.first());
    first.map(|certificate| Shown(certificate.clone().into_owned())).ok_or(Stranger::Bare)
}

/// What went wrong.
fn judge(error: &std::io::Error) -> Stranger {
    let why = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match why {
        Some(rustls::Error::InvalidCertificate(_)) => Stranger::Key,
        Some(rustls::Error::NoCertificatesPresented) => Stranger::Bare,
        Some(rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::DecryptError
            | AlertDescription::CertificateUnknown,
        )) => Stranger::Key,
        Some(other) => Stranger::Tls(other.to_string()),
        None => Stranger::Tls(error.to_string()),
    }
}

/// A hub's name as a certificate can have it: whatever is in it, a label of letters and digits.
fn name_of(hub: &str) -> String {
    let digest = digest::digest(&digest::SHA256, hub.as_bytes());
    let label: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{label}.{ANY}")
}

fn derive(secret: &[u8], label: &[u8]) -> Zeroizing<[u8; 32]> {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret);
    let mut out = Zeroizing::new([0; 32]);
    let info = [label];
    let okm = prk.expand(&info, hkdf::HKDF_SHA256).expect("32 bytes are within HKDF's bound");
    okm.fill(&mut out[..]).expect("32 bytes were asked for");
    out
}

fn authority_pair(secret: &[u8]) -> Result<KeyPair, rcgen::Error> {
    let mut pkcs8 = Zeroizing::new(PKCS8.to_vec());
    pkcs8.extend_from_slice(&derive(secret, AUTHORITY)[..]);
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()), &rcgen::PKCS_ED25519)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const SECRET: &[u8] = b"the key that all hubs have";

    fn run<T>(future: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(future)
    }

    async fn meet(a: &HubKeys, b: &HubKeys) -> (Result<Sealed, Stranger>, Result<Sealed, Stranger>) {
        let (near, far) = duplex(1 << 16);
        let accept = async {
            let mut sealed = a.accept(near).await?;
            sealed.carrier.write_u8(1).await.map_err(|e| judge(&e))?;
            sealed.carrier.flush().await.map_err(|e| judge(&e))?;
            Ok(sealed)
        };
        let connect = async {
            let mut sealed = b.connect(far).await?;
            // In TLS 1.3 a dialer hears with the first byte only that it is not let in.
            sealed.carrier.read_u8().await.map_err(|e| judge(&e))?;
            Ok(sealed)
        };
        tokio::join!(accept, connect)
    }

    #[test]
    fn hubs_with_one_key_know_each_other_by_name() {
        run(async {
            let one = HubKeys::new(SECRET, "edge-1").unwrap();
            let two = HubKeys::new(SECRET, "Kante 2 / öst").unwrap();
            let (at_one, at_two) = meet(&one, &two).await;
            let (at_one, at_two) = (at_one.unwrap(), at_two.unwrap());
            assert!(
                at_one.shown.is("Kante 2 / öst") && !at_one.shown.is("edge-1") && !at_one.shown.is("Kante 2")
            );
            assert!(at_two.shown.is("edge-1") && !at_two.shown.is("Kante 2 / öst"));
            assert_eq!(at_one.binding, at_two.binding);
            assert!(one.knows(&two.hello().public().0));
        });
    }

    #[test]
    fn who_has_another_key_or_none_is_a_stranger() {
        run(async {
            let one = HubKeys::new(SECRET, "edge-1").unwrap();
            let other = HubKeys::new(b"the key that no hub has", "edge-1").unwrap();
            assert!(!one.knows(&other.hello().public().0));
            let (accepts, dials) = meet(&one, &other).await;
            assert_eq!(accepts.err(), Some(Stranger::Key));
            assert_eq!(dials.err(), Some(Stranger::Key));

            // One that believes everybody and shows nothing.
            let (near, far) = duplex(1 << 16);
            let mut bare = ClientConfig::clone(&one.client);
            bare.client_auth_cert_resolver = Arc::new(Nothing);
            let name = ServerName::try_from(ANY).unwrap();
            let dials = TlsConnector::from(Arc::new(bare)).connect(name, far);
            let (accepts, _) = tokio::join!(one.accept(near), dials);
            assert_eq!(accepts.err(), Some(Stranger::Bare));

            // One that believes everybody and shows what it made itself.
            let (near, far) = duplex(1 << 16);
            let mut forged = ClientConfig::clone(&one.client);
            forged.client_auth_cert_resolver = Arc::clone(&other.client.client_auth_cert_resolver);
            let name = ServerName::try_from(ANY).unwrap();
            let dials = TlsConnector::from(Arc::new(forged)).connect(name, far);
            let (accepts, _) = tokio::join!(one.accept(near), dials);
            assert_eq!(accepts.err(), Some(Stranger::Key));
        });
    }

    #[derive(Debug)]
    struct Nothing;

    impl rustls::client::ResolvesClientCert for Nothing {
        fn resolve(
            &self,
            _: &[&[u8]],
            _: &[rustls::SignatureScheme],
        ) -> Option<Arc<rustls::sign::CertifiedKey>> {
            None
        }

        fn has_certs(&self) -> bool {
            false
        }
    }

    #[test]
    fn what_is_no_tls_is_told_so() {
        run(async {
            let one = HubKeys::new(SECRET, "edge-1").unwrap();
            let (near, mut far) = duplex(1 << 16);
            let speaks = async {
                far.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
                far.shutdown().await.unwrap();
            };
            let (accepts, ()) = tokio::join!(one.accept(near), speaks);
            assert!(matches!(accepts.err(), Some(Stranger::Tls(_))));
        });
    }

    #[test]
    fn the_authority_is_the_same_everywhere() {
        let public = |secret| authority_pair(secret).unwrap().public_key_raw().to_vec();
        assert_eq!(public(SECRET), public(SECRET));
        assert_ne!(public(SECRET), public(b"another"));
        // It stays what it is: hubs of two versions work together.
        let known: String = derive(b"golden", AUTHORITY).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(known, "67c889b4013ffdd71ba03584172f097e9b14af21258d473e80ea47066021f481");
    }
}
