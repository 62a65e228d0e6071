//! Certificates: chains and keys from PEM, the names they are for, what variables show of a client's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use mainstay_config::plan::edge::TlsMaterial;
use rustls::InconsistentKeys;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};

use super::{Error, provider};

/// What is known of a chain whose key fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// DNS names that it is for, `*.` among them.
    pub names: Vec<String>,
    /// Its end, since 1970.
    pub not_after: Duration,
}

/// What variables show of a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Subject (RFC 2253).
    pub subject: String,
    /// Issuer (RFC 2253).
    pub issuer: String,
    /// Serial number, upper-case hex.
    pub serial: String,
    /// SHA-1 of the certificate, lower-case hex.
    pub fingerprint: String,
}

/// Checks that a chain can be read and that the key is its own.
///
/// # Errors
/// A file that is no PEM, a certificate that cannot be read, a key of another pair.
pub fn verify_material(material: &TlsMaterial) -> Result<Verified, Error> {
    let certified = certified(material)?;
    let leaf = certified.cert.first().ok_or(Error::NoCertificate)?;
    let parsed = parse(leaf).map_err(|why| Error::File { file: material.cert_file.clone(), why })?;
    let not_after = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    Ok(Verified { names: dns_names(&parsed), not_after: Duration::from_secs(not_after) })
}

/// A chain with its key, ready to sign.
pub(super) fn certified(material: &TlsMaterial) -> Result<CertifiedKey, Error> {
    let chain = certificates(&material.cert_file, &material.cert)?;
    let key = private_key(&material.key_file, &material.key)?;
    let bad_key =
        |e: rustls::Error| Error::File { file: material.key_file.clone(), why: format!("key: {e}") };
    let key = provider().key_provider.load_private_key(key).map_err(bad_key)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(Error::Mismatch { cert: material.cert_file.clone(), key: material.key_file.clone() })
        }
        Err(e) => Err(Error::File { file: material.cert_file.clone(), why: format!("certificate: {e}") }),
    }
}

/// The certificates in a PEM text, one at least.
pub(super) fn certificates(file: &Path, pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bad = |why: String| Error::File { file: file.to_owned(), why };
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| bad(format!("no PEM: {e}")))?;
    if chain.is_empty() { Err(bad("no certificate in it".to_owned())) } else { Ok(chain) }
}

/// The first private key in a PEM text.
pub(super) fn private_key(file: &Path, pem: &str) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| {
        let why = match e {
            rustls::pki_types::pem::Error::NoItemsFound if pem.contains("ENCRYPTED PRIVATE KEY") => {
                "the key is encrypted; store it without a passphrase".to_owned()
            }
            rustls::pki_types::pem::Error::NoItemsFound => "no private key in it".to_owned(),
            e => format!("no PEM: {e}"),
        };
        Error::File { file: file.to_owned(), why }
    })
}

/// The CA certificates in a PEM text.
pub(super) fn roots(file: &Path, pem: &str) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, pem)? {
        roots
            .add(certificate)
            .map_err(|e| Error::File { file: file.to_owned(), why: format!("CA certificate: {e}") })?;
    }
    Ok(Arc::new(roots))
}

/// DNS names of a certificate in lower case: the alternative names, else the common name (RFC 6125 6.4.4).
pub(super) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    parse(certificate).map(|parsed| dns_names(&parsed)).unwrap_or_default()
}

/// What variables show of a client's certificate; `None` when it cannot be read.
#[must_use]
pub fn client_names(der: &[u8]) -> Option<Names> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    Some(Names {
        subject: distinguished_name(parsed.subject()),
        issuer: distinguished_name(parsed.issuer()),
        serial: serial(parsed.raw_serial()),
        fingerprint: hex(
            digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref(),
            b"0123456789abcdef",
        ),
    })
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    X509Certificate::from_der(certificate.as_ref())
        .map(|(_, parsed)| parsed)
        .map_err(|e| format!("certificate cannot be read: {e}"))
}

fn dns_names(parsed: &X509Certificate<'_>) -> Vec<String> {
    let alternative: Vec<String> = parsed
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|extension| &extension.value.general_names)
        .into_iter()
        .flatten()
        .filter_map(
            |name| if let GeneralName::DNSName(dns) = name { Some(dns.to_ascii_lowercase()) } else { None },
        )
        .collect();
    if !alternative.is_empty() {
        return alternative;
    }
    parsed
        .subject()
        .iter_common_name()
        .filter_map(|cn| cn.as_str().ok())
        .map(str::to_ascii_lowercase)
        .collect()
}

/// Leading zero bytes keep the number positive in DER; nginx does not show them.
fn serial(raw: &[u8]) -> String {
    let start = raw.iter().position(|&byte| byte != 0).unwrap_or(raw.len().saturating_sub(1));
    hex(&raw[start..], b"0123456789ABCDEF")
}

fn hex(bytes: &[u8], digits: &[u8; 16]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for &byte in bytes {
        text.push(char::from(digits[usize::from(byte >> 4)]));
        text.push(char::from(digits[usize::from(byte & 15)]));
    }
    text
}

/// RFC 2253: the last part first, `+` within a part, special characters escaped.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (at, part) in parts.iter().rev().enumerate() {
        if at > 0 {
            text.push(',');
        }
        for (at, attribute) in part.iter().enumerate() {
            if at > 0 {
                text.push('+');
            }
            text.push_str(&attribute_name(&attribute.attr_type().to_id_string()));
            text.push('=');
            match attribute.as_str() {
                Ok(value) => escape(value, &mut text),
                Err(_) => {
                    text.push('#');
                    text.push_str(&hex(attribute.attr_value().data, b"0123456789ABCDEF"));
                }
            }
        }
    }
    text
}

/// Short names as OpenSSL writes them; others by number.
fn attribute_name(oid: &str) -> String {
    let name = match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.42" => "GN",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        other => other,
    };
    name.to_owned()
}

/// RFC 2253 2.4, and everything that is not printable ASCII as OpenSSL's XN_FLAG_RFC2253 has it: `\` and two hex digits.
fn escape(value: &str, text: &mut String) {
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        let edge_blank = byte == b' ' && (at == 0 || at == last);
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b'#' if at == 0 => text.push_str("\\#"),
            b' ' if edge_blank => text.push_str("\\ "),
            0x20..=0x7e => text.push(char::from(byte)),
            control => {
                text.push('\\');
                text.push_str(&hex(&[control], b"0123456789ABCDEF"));
            }
        }
    }
}
