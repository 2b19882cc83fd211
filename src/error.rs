//! The one error type. Every message names what was expected, what was found and, where it helps, what to do; the kind is for
//! front ends, which answer with an exit code, an exception or a status.

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
    /// A device that is not there, has no memory left, or failed.
    #[error("{0}")]
    Device(String),
    /// A flag, setting or argument that cannot be acted on.
    #[error("{0}")]
    Usage(String),
    /// Whoever asked for the work wants it no more.
    #[error("interrupted")]
    Cancelled,
}

/// What the operating system said, with what was expected.
#[derive(Debug, thiserror::Error)]
#[error("{source}; expected {expected}")]
struct Unread {
    source: std::io::Error,
    expected: String,
}

/// Whose matter an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The caller's: ask for something else.
    Usage,
    /// The input's: mend the file or leave it out.
    Data,
    /// The system's: permissions, space, a file that is not there.
    Io,
    /// The device's: take another, or a smaller batch.
    Device,
    /// Nobody's: it was asked for.
    Cancelled,
}

impl Error {
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Error::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// What could not be read, and what was expected there.
    pub fn unread(path: impl AsRef<Path>, source: std::io::Error, expected: &str) -> Self {
        let kind = source.kind();
        Self::io(path, std::io::Error::new(kind, Unread { source, expected: expected.into() }))
    }

    /// The number by which the operating system refused something, if it did.
    pub fn os_error(&self) -> Option<i32> {
        let Error::Io { source, .. } = self else { return None };
        let unread = source.get_ref().and_then(|e| e.downcast_ref::<Unread>());
        unread.map_or(source, |unread| &unread.source).raw_os_error()
    }

    pub fn kind(&self) -> Kind {
        match self {
            Error::Io { .. } => Kind::Io,
            Error::Invalid(_) => Kind::Data,
            Error::Device(_) => Kind::Device,
            Error::Usage(_) => Kind::Usage,
            Error::Cancelled => Kind::Cancelled,
        }
    }

    /// The same error with `what` (a file, tensor or op) named in front of it.
    pub fn within(self, what: impl std::fmt::Display) -> Self {
        match self {
            Error::Io { .. } | Error::Cancelled => self,
            Error::Invalid(m) => Error::Invalid(format!("{what}: {m}")),
            Error::Device(m) => Error::Device(format!("{what}: {m}")),
            Error::Usage(m) => Error::Usage(format!("{what}: {m}")),
        }
    }
}

/// Returns early with [`Error::Invalid`] built from a format string.
#[macro_export]
macro_rules! invalid {
    ($($arg:tt)*) => { return Err($crate::Error::Invalid(format!($($arg)*))) };
}

/// Returns early with [`Error::Device`] built from a format string.
#[macro_export]
macro_rules! device_error {
    ($($arg:tt)*) => { return Err($crate::Error::Device(format!($($arg)*))) };
}

/// `1 picture`, `2 pictures`.
pub fn plural(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// `1 row or folder`, `2 rows or folders`.
pub fn rows_or_folders(count: usize) -> String {
    if count == 1 { "1 row or folder".into() } else { format!("{count} rows or folders") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_the_system_stays_beside_what_was_expected() {
        let refused = || std::fs::File::open("gone/nothing").unwrap_err();
        let (plain, unread) = (Error::io("a", refused()), Error::unread("a", refused(), "a file"));
        // ENOENT, and ERROR_PATH_NOT_FOUND.
        let number = if cfg!(windows) { 3 } else { 2 };
        assert_eq!([plain.os_error(), unread.os_error()], [Some(number); 2]);
        assert_eq!(unread.to_string(), format!("{plain}; expected a file"));
        assert_eq!(Error::io("a", std::io::Error::other("full")).os_error(), None);
    }

    #[test]
    fn kinds_stay_when_something_is_named() {
        let io = || std::io::Error::other("full");
        let all = [
            (Error::io("a", io()), Kind::Io, "a: full"),
            (Error::Invalid("m".into()), Kind::Data, "f: m"),
            (Error::Device("m".into()), Kind::Device, "f: m"),
            (Error::Usage("m".into()), Kind::Usage, "f: m"),
            (Error::Cancelled, Kind::Cancelled, "interrupted"),
        ];
        for (error, kind, text) in all {
            assert_eq!(error.kind(), kind);
            let named = error.within("f");
            assert_eq!((named.kind(), named.to_string()), (kind, text.to_string()));
        }
    }
}
