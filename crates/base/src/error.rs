//! The one error type: what is wrong, in which file and tensor, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::text::{SettingStyle, in_quotes, printable, shown};

/// The result of what may fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

crate::choices! {
    /// What went wrong. Each kind has an exit code for commands.
    #[non_exhaustive]
    pub enum Kind {
        Usage = "usage":
            "The request cannot be carried out as given",
        OutputExists = "output-exists":
            "The output exists, and replacing it was not requested",
        NoMatch = "no-match":
            "No checkpoint, model or image matches the request",
        NoDevice = "no-device":
            "The device is not available",
        Input = "input":
            "An input is wrong in a way that no other kind describes",
        NotACheckpoint = "not-a-checkpoint":
            "A file is not a checkpoint: another kind of file, or empty",
        Unsupported = "unsupported":
            "A format, type or operator that is known but not supported",
        Truncated = "truncated":
            "A file ends before the contents that it declares",
        Damaged = "damaged":
            "Bytes do not match their checksum, or a structure contradicts itself",
        Hostile = "hostile":
            "A file contains code that would run",
        Mismatch = "mismatch":
            "Inputs that must agree differ: names, shapes, types, classes",
        NotFinite = "not-finite":
            "NaN or infinity in weights, or a mean too large for its type",
        UnknownNetwork = "unknown-network":
            "No known network has these tensors",
        BadImage = "bad-image":
            "An image cannot be decoded",
        Io = "io":
            "Reading or writing failed",
        NoSpace = "no-space":
            "The disk is full, or a quota or file size limit is reached",
        Changed = "changed":
            "An input changed while it was read",
        Limit = "limit":
            "A limit was hit: a header, pickle or count is larger than supported",
        OutOfMemory = "out-of-memory":
            "Memory ran out, on the host or on the device",
    }
}

impl Kind {
    /// 2 usage, 3 bad input, 4 read or write failed, 5 an input changed, 6 a limit.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage | Kind::OutputExists | Kind::NoMatch | Kind::NoDevice => 2,
            Kind::Input
            | Kind::NotACheckpoint
            | Kind::Unsupported
            | Kind::Truncated
            | Kind::Damaged
            | Kind::Hostile
            | Kind::Mismatch
            | Kind::NotFinite
            | Kind::UnknownNetwork
            | Kind::BadImage => 3,
            Kind::Io | Kind::NoSpace => 4,
            Kind::Changed => 5,
            Kind::Limit | Kind::OutOfMemory => 6,
        }
    }
}

/// Prints as one line, "`file`: tensor `name`: what is wrong; remedy"; a list may follow.
/// Boxed, so that a `Result` stays small.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    path: Option<PathBuf>,
    tensor: Option<String>,
    what: String,
    remedy: Option<String>,
    /// One line for each problem, if there are several.
    list: Vec<String>,
    source: Option<io::Error>,
}

impl Error {
    /// An error with its cause: `what`, in lower case and without a full stop.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        let what = what.into();
        let (path, tensor, remedy) = (None, None, None);
        Error(Box::new(Inner { kind, path, tensor, what, remedy, list: vec![], source: None }))
    }

    /// [`Kind::Usage`].
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Kind::Usage, what)
    }

    /// [`Kind::Input`].
    pub fn input(what: impl Into<String>) -> Self {
        Self::new(Kind::Input, what)
    }

    /// [`Kind::Changed`].
    pub fn changed(what: impl Into<String>) -> Self {
        Self::new(Kind::Changed, what)
    }

    /// [`Kind::Limit`].
    pub fn limit(what: impl Into<String>) -> Self {
        Self::new(Kind::Limit, what)
    }

    /// A failed system call: [`Kind::Io`], or [`Kind::NoSpace`]. `doing` completes "cannot …".
    pub fn io(path: &Path, doing: &str, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let kind = match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Kind::NoSpace,
            _ => Kind::Io,
        };
        let mut error = Self::new(kind, format!("cannot {doing}: {source}")).at(path);
        error.0.source = Some(source);
        error
    }

    /// Adds the file.
    pub fn at(mut self, path: &Path) -> Self {
        self.0.path = Some(path.to_path_buf());
        self
    }

    /// Adds the tensor.
    pub fn tensor(mut self, name: &str) -> Self {
        self.0.tensor = Some(name.to_string());
        self
    }

    /// Adds what the user can do, as an imperative.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// Adds problems to list below the line. The first [`LISTED`] are shown in full.
    pub fn list(mut self, mut problems: Vec<String>) -> Self {
        let more = problems.len().saturating_sub(LISTED);
        problems.truncate(LISTED);
        if more > 0 {
            problems.push(format!("and {more} more"));
        }
        self.0.list = problems;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The file that caused it.
    pub fn file(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The tensor that caused it.
    pub fn tensor_name(&self) -> Option<&str> {
        self.0.tensor.as_deref()
    }

    /// The whole message, like that of [`Display`](fmt::Display), with settings spelled by `write`.
    pub fn message(&self, write: &SettingStyle) -> String {
        let mut line = self.cause(write);
        if let Some(remedy) = self.remedy_text(write) {
            line += "; ";
            line += &remedy;
        }
        for problem in &self.0.list {
            line += "\n  ";
            line += &shown(problem, write);
        }
        line
    }

    /// File, tensor and what is wrong, without the remedy and the list.
    pub fn cause(&self, write: &SettingStyle) -> String {
        let mut line = String::new();
        if let Some(path) = &self.0.path {
            line += &format!("`{}`: ", printable(&path.to_string_lossy()));
        }
        if let Some(tensor) = &self.0.tensor {
            line += &format!("tensor `{}`: ", printable(tensor));
        }
        line + &shown(&self.0.what, write)
    }

    /// What the user can do, with settings spelled by `write`.
    pub fn remedy_text(&self, write: &SettingStyle) -> Option<String> {
        self.0.remedy.as_ref().map(|remedy| shown(remedy, write))
    }
}

/// How many problems a report shows in full.
pub const LISTED: usize = 20;

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|e| e as _)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message(&in_quotes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_names_file_tensor_cause_and_remedy() {
        let error = Error::input("expected shape [4], found [5]")
            .at(Path::new("a.safetensors"))
            .tensor("fc.weight")
            .remedy("average checkpoints of one model");
        assert_eq!(
            error.to_string(),
            "`a.safetensors`: tensor `fc.weight`: expected shape [4], found [5]; \
             average checkpoints of one model"
        );
        assert_eq!(error.kind().exit_code(), 3);
    }

    #[test]
    fn control_characters_are_escaped() {
        let error = Error::input("x").tensor("a\u{1b}[2J\nb\u{202e}");
        assert_eq!(error.to_string(), "tensor `a\\u{1b}[2J\\nb\\u{202e}`: x");
    }

    #[test]
    fn long_reports_are_cut() {
        let text = Error::input("x").list((0..25).map(|i| i.to_string()).collect()).to_string();
        assert!(text.ends_with("\n  19\n  and 5 more"), "{text}");
    }
}
