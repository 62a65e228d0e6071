//! Keys of agents and visitors: Ed25519, the secret as `mst1_...`, the public half as `ed25519:...`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::noise::{Entropy, draw};

/// What a secret begins with: a leak of one is found by those who search for it.
const SECRET: &str = "mst1_";

/// What a public key begins with.
const PUBLIC: &str = "ed25519:";

/// Why there is no key.
#[derive(Debug, Error)]
pub enum Wrong {
    /// The file cannot be read.
    #[error("key file {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others may read the secret.
    #[error("key file {}: mode {mode:04o} lets others read it, make it 0600", path.display())]
    Mode {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// What is written there is no secret.
    #[error("it is no secret of a tunnel key: `mainstay tunnel key` makes one, it begins with mst1_")]
    Secret,
    /// What is written there is no public key.
    #[error("it is no public key: one begins with ed25519: and has 44 letters of base64 behind it")]
    Public,
}

/// A pair of keys, which signs.
pub struct SigningKey {
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// A new pair.
    #[must_use]
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        Self::of(Zeroizing::new(draw(entropy)))
    }

    /// The pair that these bytes make.
    pub(super) fn from_seed(seed: Zeroizing<[u8; 32]>) -> Self {
        Self::of(seed)
    }

    fn of(seed: Zeroizing<[u8; 32]>) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed[..]).expect("any 32 bytes are a seed");
        Self { seed, pair }
    }

    /// Reads what [`Self::secret`] gave; blanks around it are no part of it.
    ///
    /// # Errors
    /// When it is no such text.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let code = text.trim().strip_prefix(SECRET).ok_or(Wrong::Secret)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(code).map_err(|_| Wrong::Secret)?);
        let mut seed = Zeroizing::new([0; 32]);
        if bytes.len() != seed.len() {
            return Err(Wrong::Secret);
        }
        seed.copy_from_slice(&bytes);
        Ok(Self::of(seed))
    }

    /// Reads the pair of a file that has the secret in it, and that nobody but its owner can read.
    ///
    /// # Errors
    /// When there is none, when others can read it, or when it holds something else.
    pub fn load(path: &Path) -> Result<Self, Wrong> {
        let file = |error| Wrong::File { path: path.to_owned(), error };
        let open = File::open(path).map_err(file)?;
        let mode = open.metadata().map_err(file)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(Wrong::Mode { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::with_capacity(128));
        open.take(1024).read_to_string(&mut text).map_err(file)?;
        Self::parse(&text)
    }

    /// The secret as one line, for a file that only its owner can read.
    #[must_use]
    pub fn secret(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{SECRET}{}", URL_SAFE_NO_PAD.encode(&self.seed[..])))
    }

    /// The half that a hub is told.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let bytes = self.pair.public_key().as_ref();
        PublicKey(bytes.try_into().expect("a public key of Ed25519 has 32 bytes"))
    }

    /// Signs bytes.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        let signature = self.pair.sign(bytes);
        signature.as_ref().try_into().expect("a signature of Ed25519 has 64 bytes")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

/// The public half of a pair.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Whether the other half signed these bytes.
    #[must_use]
    pub fn signed(&self, bytes: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(bytes, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for PublicKey {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let code = text.trim().strip_prefix(PUBLIC).ok_or(Wrong::Public)?;
        let bytes = STANDARD.decode(code).map_err(|_| Wrong::Public)?;
        bytes.as_slice().try_into().map(Self).map_err(|_| Wrong::Public)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::noise::SystemEntropy;

    #[test]
    fn a_secret_of_known_bytes_is_this_text_and_has_this_public_half() {
        // RFC 8032 7.1, test 1.
        let text = "mst1_nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
        let key = SigningKey::parse(&format!(" {text}\n")).unwrap();
        assert_eq!(*key.secret(), text);
        assert_eq!(key.public().to_string(), "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
        assert_eq!(key.sign(b"")[..4], [0xe5, 0x56, 0x43, 0x00]);
        assert!(!format!("{key:?}").contains("nWGx"));
    }

    #[test]
    fn only_the_other_half_of_a_pair_agrees_and_only_to_the_same_bytes() {
        let [one, two] = [(); 2].map(|()| SigningKey::generate(&mut SystemEntropy));
        let signature = one.sign(b"hello");
        assert!(one.public().signed(b"hello", &signature));
        assert!(!one.public().signed(b"hullo", &signature));
        assert!(!two.public().signed(b"hello", &signature));
        let read: PublicKey = one.public().to_string().parse().unwrap();
        assert_eq!(read, one.public());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "mst1_", "mst1_AAAA", "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", "mst1_!!"] {
            assert!(matches!(SigningKey::parse(text), Err(Wrong::Secret)), "{text}");
        }
        for text in ["", "ed25519:", "ed25519:AAAA", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="] {
            assert!(matches!(text.parse::<PublicKey>(), Err(Wrong::Public)), "{text}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let path = std::env::temp_dir().join(format!("mainstay-tunnel-key-{}", std::process::id()));
        let key = SigningKey::generate(&mut SystemEntropy);
        fs::write(&path, &*key.secret()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(SigningKey::load(&path), Err(Wrong::Mode { mode: 0o644, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(SigningKey::load(&path).unwrap().public(), key.public());
        fs::remove_file(&path).unwrap();
        assert!(matches!(SigningKey::load(&path), Err(Wrong::File { .. })));
    }
}
