//! What can go wrong between us and the kernel, as sentences for the person who can act.

use std::io;

/// A request that the kernel refused, or that this machine cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{doing}: {source}")]
    Os {
        /// What was being done, naming the thing it was done to.
        doing: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// This kernel, this build or this container cannot do what was asked; the sentence says which and why.
    #[error("{0}")]
    Unsupported(String),
    /// What was asked for names something that does not exist.
    #[error("{0}")]
    Missing(String),
}

/// The result of a request to the kernel.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The errno behind this error, if a system call failed.
    #[must_use]
    pub fn os_error(&self) -> Option<i32> {
        match self {
            Self::Os { source, .. } => source.raw_os_error(),
            Self::Unsupported(_) | Self::Missing(_) => None,
        }
    }
}

/// Names what was being done when a system call failed.
pub(crate) trait Doing<T> {
    /// Turns an I/O error into a sentence; `what` is only evaluated on failure.
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|source| Error::Os { doing: what().into(), source: source.into() })
    }
}
