//! Variables about TLS and the client's certificate.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_config::plan::edge::Known;
use x509_parser::asn1_rs::Tag;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::exchange::Connection;

/// The value of a variable about TLS; empty without it.
pub(super) fn variable(connection: &Connection, known: Known, out: &mut Vec<u8>) {
    let Some(tls) = &connection.tls else { return };
    let mut push = |text: &str| out.extend_from_slice(text.as_bytes());
    match known {
        Known::SslProtocol => push(tls.protocol),
        Known::SslCipher => push(tls.cipher),
        Known::SslServerName => push(tls.server_name.as_deref().unwrap_or_default()),
        Known::SslSessionReused => push(if tls.resumed { "r" } else { "." }),
        Known::SslClientVerify => match &tls.client {
            None => push("NONE"),
            Some((_, Ok(()))) => push("SUCCESS"),
            Some((_, Err(why))) => {
                push("FAILED:");
                push(why);
            }
        },
        of_certificate => {
            if let Some((der, _)) = &tls.client {
                push(&of(der, of_certificate));
            }
        }
    }
}

/// The value of a variable about a certificate; empty when it cannot be read.
fn of(der: &[u8], known: Known) -> String {
    match known {
        Known::SslClientFingerprint => hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref(), false),
        Known::SslClientEscapedCert => escaped(der),
        Known::SslClientSDn => parsed(der, |cert| name(cert.subject())),
        Known::SslClientIDn => parsed(der, |cert| name(cert.issuer())),
        Known::SslClientSerial => parsed(der, |cert| serial(cert.raw_serial())),
        other => {
            debug_assert!(false, "{other:?} is not about a certificate");
            String::new()
        }
    }
}

fn parsed(der: &[u8], value: impl Fn(&X509Certificate<'_>) -> String) -> String {
    X509Certificate::from_der(der).map(|(_, cert)| value(&cert)).unwrap_or_default()
}

fn hex(bytes: &[u8], upper: bool) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = if upper { write!(text, "{byte:02X}") } else { write!(text, "{byte:02x}") };
    }
    text
}

/// Without the byte that only says that the number is positive.
fn serial(raw: &[u8]) -> String {
    match raw {
        [0, rest @ ..] if !rest.is_empty() => hex(rest, true),
        _ => hex(raw, true),
    }
}

/// PEM, percent-encoded but for unreserved characters.
fn escaped(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in base64.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|b| char::from(*b)));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    let mut out = String::with_capacity(pem.len() + pem.len() / 8);
    for byte in pem.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A distinguished name as RFC 2253 writes it: the last part first.
fn name(name: &X509Name<'_>) -> String {
    let mut out = String::new();
    for (n, part) in name.iter_rdn().collect::<Vec<_>>().into_iter().rev().enumerate() {
        if n > 0 {
            out.push(',');
        }
        for (n, attribute) in part.iter().enumerate() {
            if n > 0 {
                out.push('+');
            }
            self::attribute(attribute, &mut out);
        }
    }
    out
}

/// Attributes by the names that OpenSSL writes.
const NAMES: [(&str, &str); 16] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.42", "GN"),
    ("2.5.4.97", "organizationIdentifier"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
];

fn attribute(attribute: &AttributeTypeAndValue<'_>, out: &mut String) {
    let oid = attribute.attr_type().to_id_string();
    let named = NAMES.iter().find(|(own, _)| *own == oid).map(|(_, name)| *name);
    out.push_str(named.unwrap_or(&oid));
    out.push('=');
    let value = attribute.attr_value();
    let text =
        matches!(value.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::T61String);
    match std::str::from_utf8(value.data) {
        Ok(text_value) if text && named.is_some() => escape(text_value, out),
        _ => {
            out.push('#');
            out.push_str(&hex(value.data, true));
        }
    }
}

/// RFC 2253 2.4, with bytes beyond ASCII as `\XX` as OpenSSL's flag has it.
fn escape(text: &str, out: &mut String) {
    let last = text.len().saturating_sub(1);
    for (n, byte) in text.bytes().enumerate() {
        let special = b",+\"\\<>;".contains(&byte)
            || n == 0 && matches!(byte, b'#' | b' ')
            || n == last && byte == b' ';
        match byte {
            b' '..=b'~' => {
                if special {
                    out.push('\\');
                }
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "\\{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::TlsInfo;

    fn value(der: &[u8], known: Known) -> String {
        let connection = Connection {
            number: 1,
            listener: 0,
            counts: 0,
            peer: None,
            local: None,
            proxy: None,
            tls: Some(TlsInfo { client: Some((der.to_vec(), Ok(()))), ..TlsInfo::default() }),
        };
        let mut out = Vec::new();
        variable(&connection, known, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn made() -> Vec<u8> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CountryName, "NZ");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Bread, \"Butter\" + Söhne");
        params.distinguished_name.push(rcgen::DnType::CommonName, "#1 client");
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x8a, 0x01, 0xff]));
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn names_are_written_as_rfc_2253_has_them() {
        let der = made();
        let expected = r#"CN=\#1 client,O=Bread\, \"Butter\" \+ S\C3\B6hne,C=NZ"#;
        assert_eq!(value(&der, Known::SslClientSDn), expected);
        assert_eq!(value(&der, Known::SslClientIDn), expected);
        assert_eq!(value(&der, Known::SslClientSerial), "8A01FF");
        assert_eq!(value(&der, Known::SslClientVerify), "SUCCESS");
    }

    #[test]
    fn a_certificate_goes_into_a_header_and_back() {
        let der = made();
        let escaped = value(&der, Known::SslClientEscapedCert);
        assert!(
            escaped.starts_with("-----BEGIN%20CERTIFICATE-----%0A")
                && escaped.ends_with("-----END%20CERTIFICATE-----%0A")
        );
        let pem = String::from_utf8(mainstay_core::path::decode(escaped.as_bytes())).unwrap();
        let lines: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        assert_eq!(STANDARD.decode(lines).unwrap(), der);
        assert_eq!(value(&der, Known::SslClientFingerprint).len(), 40);
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        assert_eq!(value(b"junk", Known::SslClientSDn), "");
        assert_eq!(value(b"", Known::SslClientSerial), "");
    }
}
