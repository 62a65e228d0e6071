//! Hashes of passwords as htpasswd writes them.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use sha_crypt::{PasswordVerifier as _, ShaCrypt};

/// Longer passwords are wrong: the time that SHA-crypt takes grows with the square of their length.
const LONGEST: usize = 512;

/// Rounds of MD5-crypt.
const MD5_ROUNDS: usize = 1000;

/// The hash of a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Hash {
    /// `{PLAIN}`: the password itself.
    Plain(Vec<u8>),
    /// `{SHA}` (no salt) and `{SSHA}`: SHA-1 of password and salt.
    Sha1 {
        /// The sum.
        sum: Vec<u8>,
        /// The salt.
        salt: Vec<u8>,
    },
    /// `$apr1$` and `$1$`.
    Md5 {
        /// Which of the two, as it is written.
        magic: &'static str,
        /// The salt.
        salt: String,
        /// The sum in crypt's base 64.
        sum: String,
    },
    /// `$2a$`, `$2b$`, `$2x$`, `$2y$`.
    Bcrypt(String),
    /// `$5$` and `$6$`.
    Sha2(String),
    /// One that is in no known format: no password is right.
    Never,
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash")
    }
}

impl Hash {
    /// Reads a hash; `None` for formats that we don't know.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(plain) = text.strip_prefix("{PLAIN}") {
            return Some(Self::Plain(plain.as_bytes().to_vec()));
        }
        if let Some(sum) = text.strip_prefix("{SHA}") {
            let sum = STANDARD.decode(sum).ok().filter(|sum| sum.len() == 20)?;
            return Some(Self::Sha1 { sum, salt: Vec::new() });
        }
        if let Some(sum) = text.strip_prefix("{SSHA}") {
            let mut sum = STANDARD.decode(sum).ok().filter(|sum| sum.len() >= 20)?;
            let salt = sum.split_off(20);
            return Some(Self::Sha1 { sum, salt });
        }
        for magic in ["$apr1$", "$1$"] {
            if let Some(rest) = text.strip_prefix(magic) {
                let (salt, sum) = rest.split_once('$').filter(|(_, sum)| sum.len() == 22)?;
                let salt = salt.chars().take(8).collect();
                return Some(Self::Md5 { magic, salt, sum: sum.to_owned() });
            }
        }
        if ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|magic| text.starts_with(magic)) {
            let known = text.parse::<bcrypt::HashParts>().is_ok_and(|parts| parts.get_cost() <= 31);
            return known.then(|| Self::Bcrypt(text.to_owned()));
        }
        let long = if text.starts_with("$5$") { 43 } else { 86 };
        let sha2 = text.starts_with("$5$") || text.starts_with("$6$");
        let whole = text.rsplit_once('$').is_some_and(|(_, sum)| sum.len() == long);
        (sha2 && whole).then(|| Self::Sha2(text.to_owned()))
    }

    /// Whether it takes long to verify a password.
    pub(super) const fn slow(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Sha1 { .. } | Self::Never => false,
            Self::Md5 { .. } | Self::Bcrypt(_) | Self::Sha2(_) => true,
        }
    }

    /// Whether this is the password.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        if password.len() > LONGEST {
            return false;
        }
        match self {
            Self::Never => false,
            Self::Plain(plain) => verify_slices_are_equal(plain, password).is_ok(),
            Self::Sha1 { sum, salt } => {
                let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
                context.update(password);
                context.update(salt);
                verify_slices_are_equal(context.finish().as_ref(), sum).is_ok()
            }
            Self::Md5 { magic, salt, sum } => {
                let found = md5_crypt(password, magic.as_bytes(), salt.as_bytes());
                verify_slices_are_equal(&found, sum.as_bytes()).is_ok()
            }
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Sha2(hash) => ShaCrypt::default().verify_password(password, hash.as_str()).is_ok(),
        }
    }
}

/// Poul-Henning Kamp's MD5-crypt; Apache's differs in its magic alone.
fn md5_crypt(password: &[u8], magic: &[u8], salt: &[u8]) -> Vec<u8> {
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut outer = Md5::new().chain_update(password).chain_update(magic).chain_update(salt);
    for at in (0..password.len()).step_by(16) {
        outer.update(&inner[..16.min(password.len() - at)]);
    }
    let mut bits = password.len();
    while bits > 0 {
        outer.update(if bits & 1 == 1 { &[0][..] } else { &password[..1] });
        bits >>= 1;
    }
    let mut sum = outer.finalize();
    for round in 0..MD5_ROUNDS {
        let (first, last) = if round % 2 == 1 { (password, &sum[..]) } else { (&sum[..], password) };
        let mut next = Md5::new().chain_update(first);
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(last);
        sum = next.finalize();
    }
    let mut text = Vec::with_capacity(22);
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        base64_crypt(&mut text, u32::from_be_bytes([0, sum[a], sum[b], sum[c]]), 4);
    }
    base64_crypt(&mut text, u32::from(sum[11]), 2);
    text
}

/// Crypt's base 64: the low bits first.
fn base64_crypt(text: &mut Vec<u8>, mut bits: u32, digits: usize) {
    const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for _ in 0..digits {
        text.push(DIGITS[(bits & 63) as usize]);
        bits >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl passwd`, `htpasswd` and a shell: the password is `s3cret`.
    const KNOWN: [&str; 9] = [
        "{PLAIN}s3cret",
        "{SHA}/vNB+F2HQ559kaLUZbmHHvZrXpg=",
        "{SSHA}rNtvA+9QAJ8TgRLTn32royL4koBTQUxU",
        "$apr1$abcdefgh$M2T3erDstkD7SsE2QQnfH0",
        "$1$abc$dPsF0HDVjaO430ypNfqhr.",
        "$2y$04$gRePCsbJIiKTKWyyE3VLHu2GFqVnYgg3jbTdw4YCX.DEMxjv2SfqC",
        "$5$saltstring$9QqUIsp6bPD8uX5rHa8zB21q7JTr9i41vD3jA8fwv68",
        "$6$saltstring$xwVXmdoFwkuFfkvrCnFqepsb1G.0z7.VoLCq69.god.O.zXvYSQsLM/oDMuI05ufmibO/tzUYEh4IPt9kZAc0.",
        "$6$rounds=1000$aaaabbbbccccdddd$4eFsTsGc0rXtUJ4m4SVdxfwrZXLdRJRqV9kF22jkBpRzC9rIhEHQcuPzOWRNKMMOw0d0.MtRuovJLvHeOcv0N1",
    ];

    #[test]
    fn each_format_verifies_its_password_and_no_other() {
        for text in KNOWN {
            let hash = Hash::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert!(hash.verify(b"s3cret"), "{text}");
            assert!(!hash.verify(b"s3cre"), "{text}");
            assert!(!hash.verify(b""), "{text}");
            assert!(!hash.verify(&[b'x'; 100_000]), "{text}");
        }
    }

    #[test]
    fn what_is_no_hash_is_not_taken_for_one() {
        for text in [
            "",
            "secret",
            "{SHA}",
            "{SHA}AAAA",
            "{SSHA}@@",
            "$apr1$",
            "$apr1$salt",
            "$2y$",
            "$2y$99$x",
            "$6$",
            "$6$salt$short",
            "$y$j9T$x$y",
        ] {
            assert_eq!(Hash::parse(text), None, "{text}");
        }
    }
}
