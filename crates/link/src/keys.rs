//! Static keys of nodes: a secret of 32 bytes, its public half, and both as one line of base64.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::noise::{self, Entropy};

/// A node's secret key; it is wiped when it is dropped and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// These bytes as a key.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The half that peers pin.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        noise::public(self)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why there is no key.
#[derive(Debug, Error)]
pub enum Wrong {
    /// The file cannot be read or written.
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
    /// What is written there is no key.
    #[error("key file {}: it is not one line of base64 that stands for 32 bytes", path.display())]
    Text {
        /// Which.
        path: PathBuf,
    },
}

/// A node's pair of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The half that never leaves the node.
    pub secret: Secret,
    /// The half that peers pin.
    pub public: [u8; 32],
}

impl Keys {
    /// A new pair.
    #[must_use]
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        Self::of(Secret(noise::draw(entropy)))
    }

    fn of(secret: Secret) -> Self {
        Self { public: secret.public(), secret }
    }

    /// Reads the pair of a secret's file.
    ///
    /// # Errors
    /// When the file is not there, is no key, or can be read by others.
    pub fn load(path: &Path) -> Result<Self, Wrong> {
        let file = |error| Wrong::File { path: path.to_owned(), error };
        let open = File::open(path).map_err(file)?;
        let mode = open.metadata().map_err(file)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(Wrong::Mode { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::with_capacity(64));
        let wrong = || Wrong::Text { path: path.to_owned() };
        open.take(256).read_to_string(&mut text).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => wrong(),
            _ => file(error),
        })?;
        Ok(Self::of(Secret(read(&text).ok_or_else(wrong)?)))
    }

    /// Writes the secret to a file that only its owner may read, whole or not at all; one that is there stays.
    ///
    /// # Errors
    /// When it cannot be written, or is there already (`AlreadyExists`).
    pub fn store(&self, path: &Path) -> Result<(), Wrong> {
        let file = |error| Wrong::File { path: path.to_owned(), error };
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let draft = PathBuf::from(name);
        let written = write_whole(&draft, &Zeroizing::new(write(&self.secret.0)))
            // A link fails where a rename would replace: a node's identity is never overwritten.
            .and_then(|()| fs::hard_link(&draft, path))
            .and_then(|()| {
                File::open(path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new(".")))?
                    .sync_all()
            });
        let _ = fs::remove_file(&draft);
        written.map_err(file)
    }

    /// Reads the pair, or makes and stores one when there is no file.
    ///
    /// # Errors
    /// As [`Self::load`] and [`Self::store`].
    pub fn load_or_make(path: &Path, entropy: &mut dyn Entropy) -> Result<Self, Wrong> {
        match Self::load(path) {
            Err(Wrong::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                let made = Self::generate(entropy);
                match made.store(path) {
                    // Two processes that start at once agree on the key of the first.
                    Err(Wrong::File { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => {
                        Self::load(path)
                    }
                    stored => stored.map(|()| made),
                }
            }
            loaded => loaded,
        }
    }
}

fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

/// A key as one line of base64, as WireGuard writes them.
#[must_use]
pub fn write(key: &[u8; 32]) -> String {
    STANDARD.encode(key)
}

/// Reads a key that [`write()`] wrote; blanks around it are no part of it.
#[must_use]
pub fn read(text: &str) -> Option<[u8; 32]> {
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).ok()?);
    bytes.as_slice().try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::noise::SystemEntropy;

    /// A folder that is gone when the test is over.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("mainstay-keys-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let folder = Folder::new("once");
        let path = folder.0.join("node.key");
        let made = Keys::load_or_make(&path, &mut SystemEntropy).unwrap();
        assert_eq!(Keys::load_or_make(&path, &mut SystemEntropy).unwrap(), made);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "no draft is left");
        let again = Keys::generate(&mut SystemEntropy).store(&path);
        assert!(
            matches!(again, Err(Wrong::File { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists)
        );
        assert_eq!(Keys::load(&path).unwrap(), made);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        let folder = Folder::new("bad");
        let path = folder.0.join("node.key");
        Keys::generate(&mut SystemEntropy).store(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Keys::load(&path), Err(Wrong::Mode { mode: 0o640, .. })));
        for text in [&b"AAAA"[..], b"\xff\xfe", b"", &[b'A'; 1000]] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(Keys::load(&path), Err(Wrong::Text { .. })));
        }
    }

    #[test]
    fn a_key_is_one_line_of_base64() {
        assert_eq!(write(&[0; 32]), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        assert_eq!(read(" AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"), Some([0; 32]));
        assert_eq!(read("AAAA"), None);
        assert_eq!(format!("{:?}", Secret::new([7; 32])), "Secret(..)");
    }
}
