//! Files that hold secrets and certificates: read with a bound, and judged by the library that will use them.

use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::CertifiedKey;

/// A bundle of every CA of the world is a quarter of it.
const LARGEST: u64 = 1024 * 1024;

/// Bytes below which a key that nodes share can be guessed.
pub(crate) const SHORTEST_SHARED: usize = 16;

/// What stands in a public key for its kind: object identifiers as DER has them, and the algorithms that they serve.
const KINDS: [(&[u8], &str, &[&str]); 5] = [
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", "RSA", &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]),
    (b"\x2a\x86\x48\xce\x3d\x03\x01\x07", "P-256", &["ES256"]),
    (b"\x2b\x81\x04\x00\x22", "P-384", &["ES384"]),
    (b"\x2b\x81\x04\x00\x23", "P-521", &["ES512"]),
    (b"\x2b\x65\x70", "Ed25519", &["EdDSA"]),
];

/// Bytes of a public key within which its kind stands.
const KIND_WITHIN: usize = 32;

/// Which of two files is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Cert,
    Key,
}

/// What is wrong with a certificate or its key; never what stands in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) part: Part,
    pub(crate) why: &'static str,
    pub(crate) help: &'static str,
}

/// A text file; opening a pipe would wait for a writer.
pub(crate) fn read(path: &Path) -> std::io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

/// Whether a text is the secret that `mainstay tunnel key` makes.
pub(crate) fn is_tunnel_secret(text: &str) -> bool {
    let seed = text.strip_prefix("mst1_").map(|code| URL_SAFE_NO_PAD.decode(code));
    matches!(seed, Some(Ok(seed)) if seed.len() == 32)
}

/// Whether a chain and a key can be used, and belong together.
pub(crate) fn pair(chain: &str, key: &str) -> Result<(), Wrong> {
    let wrong = |part, why, help| Wrong { part, why, help };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let chain = match chain {
        Ok(chain) if !chain.is_empty() => chain,
        Ok(_) => {
            let help = "a chain is PEM: -----BEGIN CERTIFICATE-----, the server's own first";
            return Err(wrong(Part::Cert, "holds no certificate", help));
        }
        Err(_) => return Err(wrong(Part::Cert, "is damaged PEM", "write the file again")),
    };
    let Ok(key) = PrivateKeyDer::from_pem_slice(key.as_bytes()) else {
        let help = "a key is PEM without a password: -----BEGIN PRIVATE KEY-----";
        return Err(wrong(Part::Key, "holds no private key", help));
    };
    let Ok(key) = any_supported_type(&key) else {
        return Err(wrong(
            Part::Key,
            "is of a kind that TLS does not use",
            "use RSA (2048 and more), ECDSA or Ed25519",
        ));
    };
    match CertifiedKey::new(chain, key).keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let help = "write the two files that were made together; the server's own certificate stands first in its chain";
            Err(wrong(Part::Key, "does not belong to the certificate", help))
        }
        Err(_) => {
            Err(wrong(Part::Cert, "begins with something that is no certificate", "write the file again"))
        }
    }
}

/// Whether there are CA certificates that can be used.
pub(crate) fn authorities(text: &str) -> Result<(), &'static str> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let Ok(all) = all else { return Err("is damaged PEM") };
    if all.is_empty() {
        return Err("holds no certificate");
    }
    let mut store = rustls::RootCertStore::empty();
    for certificate in all {
        store.add(certificate).map_err(|_| "holds something that is no certificate")?;
    }
    Ok(())
}

/// Users and hashes of a file that htpasswd wrote; the error names the line.
pub(crate) fn users(text: &str) -> Result<Vec<(String, String)>, usize> {
    let mut users = Vec::new();
    for (nth, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(':') {
            Some((name, hash)) if !name.is_empty() && !hash.is_empty() => {
                // nginx: what follows a further colon is a comment.
                let hash = hash.split(':').next().unwrap_or_default();
                users.push((name.to_owned(), hash.to_owned()));
            }
            Some(_) | None => return Err(nth + 1),
        }
    }
    Ok(users)
}

/// Whether a text looks like a hash that htpasswd or openssl makes.
pub(crate) fn is_hash(text: &str) -> bool {
    let known = ["$apr1$", "$1$", "{SHA}", "{SSHA}", "{PLAIN}", "$2a$", "$2b$", "$2x$", "$2y$", "$5$", "$6$"];
    known.iter().any(|prefix| text.len() > prefix.len() && text.starts_with(prefix))
}

/// What is wrong with a public key as PEM that tokens of an algorithm are checked with.
pub(crate) fn public_key(text: &str, algorithm: &str) -> Result<(), String> {
    pem_of_public_key(text)?;
    // What stands in a certificate is looked at by who uses it.
    let Ok(der) = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()) else { return Ok(()) };
    let head = &der[..der.len().min(KIND_WITHIN)];
    let kind = KINDS.iter().find(|(id, ..)| head.windows(id.len()).any(|bytes| bytes == *id));
    match kind {
        Some((.., algorithms)) if algorithms.contains(&algorithm) => Ok(()),
        Some((_, name, algorithms)) => {
            Err(format!("is of the kind {name}, which is for {}", algorithms.join(", ")))
        }
        None => Err("is of a kind that tokens are not signed with".to_owned()),
    }
}

/// Whether a shared secret is a key that everybody may know, or a file of the wrong kind.
pub(crate) fn is_pem(text: &str) -> bool {
    text.trim_start().starts_with("-----BEGIN ")
}

fn pem_of_public_key(text: &str) -> Result<(), &'static str> {
    if text.contains("PRIVATE KEY-----") {
        return Err("is a private key: tokens are checked with the public one");
    }
    if text.trim_start().starts_with('{') {
        return Err("is JSON: write the public key as PEM");
    }
    let label = ["PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"];
    let begins = label.iter().find(|label| text.contains(&format!("-----BEGIN {label}-----")));
    match begins {
        Some(label) if text.contains(&format!("-----END {label}-----")) => Ok(()),
        Some(_) => Err("is damaged PEM"),
        None => Err("holds no public key: it is PEM, -----BEGIN PUBLIC KEY-----"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_has_users_comments_and_blank_lines() {
        let text = "# staff\nann:$2y$05$abc\n\nbob:{SHA}xyz:a comment\r\n";
        let expected =
            [("ann", "$2y$05$abc"), ("bob", "{SHA}xyz")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(users(text), Ok(expected.to_vec()));
        assert_eq!(users("ann:x\nbob\n"), Err(2));
    }

    #[test]
    fn a_hash_is_told_from_a_password() {
        for hash in ["$apr1$a$b", "{PLAIN}x", "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC"]
        {
            assert!(is_hash(hash), "{hash}");
        }
        for plain in ["secret", "", "$2y$", "correct horse"] {
            assert!(!is_hash(plain), "{plain}");
        }
    }
}
