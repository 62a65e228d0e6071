//! Secrets are read once, here, and never shown.

use std::io::Read as _;
use std::path::PathBuf;

use super::Resolver;
use crate::source::At;
use crate::values::Secret;

/// Longer than any key or password that belongs into a configuration.
const LONGEST_SECRET: u64 = 64 * 1024;

/// Stands for a secret where files and the environment are not looked at.
const UNREAD: &str = "unread";

impl Resolver<'_> {
    /// The secret itself, without the newline that editors leave at its end.
    pub(super) fn secret(&mut self, secret: &At<Secret>, who: &str, key: &str) -> Option<String> {
        let (path, what) = match &secret.value {
            Secret::Text(text) => return Some(text.clone()),
            Secret::Env(name) => {
                let value = (self.env)(name);
                if value.is_none() {
                    let message = format!("{who}: {key}: the environment variable {name} is not set");
                    self.error(secret.span, message, format!("set {name}, or write {{ file = \"/path\" }}"));
                }
                return value;
            }
            Secret::File(path) => (path.clone(), "file"),
            Secret::Credential(name) => (self.credential(secret, name, who, key)?, "credential"),
        };
        if !self.checks.files {
            return Some(UNREAD.to_owned());
        }
        match read_limited(&path) {
            Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => {
                let message = format!("{who}: {key}: {what} {path} can't be read: {error}");
                self.error(secret.span, message, "write the path of a text file that this user may read");
                None
            }
        }
    }

    /// The file that a secret comes from, and whether files are not looked at, so that nobody can judge it.
    pub(super) fn secret_place(&self, secret: &Secret) -> (Option<PathBuf>, bool) {
        match secret {
            Secret::Text(_) | Secret::Env(_) => (None, false),
            Secret::File(path) => (Some(PathBuf::from(path)), !self.checks.files),
            Secret::Credential(name) => {
                let folder = (self.env)("CREDENTIALS_DIRECTORY");
                (folder.map(|folder| PathBuf::from(format!("{folder}/{name}"))), !self.checks.files)
            }
        }
    }

    fn credential(&mut self, secret: &At<Secret>, name: &str, who: &str, key: &str) -> Option<String> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            let message = format!("{who}: {key}: \"{name}\" is not the name of a credential");
            self.error(secret.span, message, "write the name that LoadCredential= gives it, without a path");
            return None;
        }
        let directory = (self.env)("CREDENTIALS_DIRECTORY");
        if directory.is_none() && self.checks.files {
            let message =
                format!("{who}: {key}: there are no credentials here, CREDENTIALS_DIRECTORY is not set");
            let help =
                format!("add LoadCredential={name}:/path to the unit, or write {{ file = \"/path\" }}");
            self.error(secret.span, message, help);
            return None;
        }
        Some(format!("{}/{name}", directory.unwrap_or_default()))
    }
}

pub(super) fn read_limited(path: &str) -> std::io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    std::fs::File::open(path)?.take(LONGEST_SECRET).read_to_string(&mut text)?;
    Ok(text)
}
