//! The one error type. Every message names what was expected, what was found and, where it helps, what to do.

use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something about a file.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// A file, tensor, picture or network that does not hold what it should.
    #[error("{0}")]
    Invalid(String),
    /// A flag or argument that cannot be acted on; the program exits with 2.
    #[error("{0}")]
    Usage(String),
    /// Whoever asked for the work wants it no more.
    #[error("interrupted")]
    Cancelled,
}

impl Error {
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Error::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// The same error with `what` (a file, tensor or op) named in front of it.
    pub fn within(self, what: impl std::fmt::Display) -> Self {
        match self {
            Error::Io { .. } | Error::Cancelled => self,
            Error::Invalid(m) => Error::Invalid(format!("{what}: {m}")),
            Error::Usage(m) => Error::Usage(format!("{what}: {m}")),
        }
    }
}

/// Returns early with [`Error::Invalid`] built from a format string.
#[macro_export]
macro_rules! invalid {
    ($($arg:tt)*) => { return Err($crate::Error::Invalid(format!($($arg)*))) };
}
