//! Client certificates: the handshake always succeeds, the verdict comes after it, so that a page can say what was wrong.

use std::sync::Arc;

use mainstay_config::plan::edge::ClientAuth;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::exchange::TlsInfo;

/// Why a request does not come in although the handshake did; nginx answers 400 to both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// None was shown: "No required SSL certificate was sent".
    Missing,
    /// One that does not verify, and why: "The SSL certificate error".
    Invalid(String),
}

/// Whether requests of a session are refused for its client certificate.
#[must_use]
pub fn refusal(auth: ClientAuth, info: &TlsInfo) -> Option<Refusal> {
    match (auth, &info.client) {
        (ClientAuth::Off, _) | (ClientAuth::Optional, None) | (_, Some((_, Ok(())))) => None,
        (ClientAuth::Required, None) => Some(Refusal::Missing),
        (ClientAuth::Optional | ClientAuth::Required, Some((_, Err(why)))) => {
            Some(Refusal::Invalid(why.clone()))
        }
    }
}

/// Asks for a certificate and takes any whose key the client holds.
#[derive(Debug)]
pub(super) struct Lenient(pub(super) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Lenient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// What the listener's CA certificates say of a chain; asked anew for a resumed session, since a ticket may come from elsewhere.
pub(super) fn judge(verifier: &dyn ClientCertVerifier, chain: &[CertificateDer<'_>]) -> Result<(), String> {
    let Some((leaf, intermediates)) = chain.split_first() else { return Err("no certificate".to_owned()) };
    match verifier.verify_client_cert(leaf, intermediates, UnixTime::now()) {
        Ok(_) => Ok(()),
        Err(Error::InvalidCertificate(why)) => Err(reason(&why)),
        Err(e) => Err(e.to_string()),
    }
}

/// In the words that nginx's users know, where there are any.
fn reason(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not yet valid".to_owned()
        }
        CertificateError::UnknownIssuer => "unable to verify the first certificate".to_owned(),
        CertificateError::Revoked => "certificate revoked".to_owned(),
        CertificateError::BadSignature => "certificate signature failure".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "unsuitable certificate purpose".to_owned()
        }
        other => Error::InvalidCertificate(other.clone()).to_string(),
    }
}
