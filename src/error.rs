//! The one error type: what is wrong, in which file and tensor, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by the exit code that a tool answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be carried out as it was made (2).
    Usage,
    /// An input is not what it should be (3).
    Input,
    /// Reading or writing failed (4).
    Io,
    /// An input changed while it was read (5).
    Changed,
    /// A limit was hit (6).
    Limit,
}

impl Kind {
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage => 2,
            Kind::Input => 3,
            Kind::Io => 4,
            Kind::Changed => 5,
            Kind::Limit => 6,
        }
    }
}

/// Prints as one line, "`file`: tensor `name`: what is wrong; remedy"; a list may follow it.
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
    /// Further lines, one a problem, for reports of several.
    list: Vec<String>,
    source: Option<io::Error>,
}

impl Error {
    fn new(kind: Kind, what: impl Into<String>) -> Self {
        let what = what.into();
        let (path, tensor, remedy) = (None, None, None);
        Error(Box::new(Inner { kind, path, tensor, what, remedy, list: vec![], source: None }))
    }

    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Kind::Usage, what)
    }

    pub fn input(what: impl Into<String>) -> Self {
        Self::new(Kind::Input, what)
    }

    pub fn changed(what: impl Into<String>) -> Self {
        Self::new(Kind::Changed, what)
    }

    pub fn limit(what: impl Into<String>) -> Self {
        Self::new(Kind::Limit, what)
    }

    /// A system call that failed; `doing` completes "cannot …".
    pub fn io(path: &Path, doing: &str, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let mut error = Self::new(Kind::Io, format!("cannot {doing}: {source}")).at(path);
        error.0.source = Some(source);
        error
    }

    /// Names the file.
    pub fn at(mut self, path: &Path) -> Self {
        self.0.path = Some(path.to_path_buf());
        self
    }

    pub fn tensor(mut self, name: &str) -> Self {
        self.0.tensor = Some(name.to_string());
        self
    }

    /// What the user can do, as an imperative.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// Problems to list below the line, the first `LISTED` of them in full.
    pub fn list(mut self, mut problems: Vec<String>) -> Self {
        let more = problems.len().saturating_sub(LISTED);
        problems.truncate(LISTED);
        if more > 0 {
            problems.push(format!("and {more} more"));
        }
        self.0.list = problems;
        self
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
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
        if let Some(path) = &self.0.path {
            write!(f, "`{}`: ", printable(&path.to_string_lossy()))?;
        }
        if let Some(tensor) = &self.0.tensor {
            write!(f, "tensor `{}`: ", printable(tensor))?;
        }
        f.write_str(&printable(&self.0.what))?;
        if let Some(remedy) = &self.0.remedy {
            write!(f, "; {}", printable(remedy))?;
        }
        for problem in &self.0.list {
            write!(f, "\n  {}", printable(problem))?;
        }
        Ok(())
    }
}

/// Names come from files: control characters (which could drive a terminal) are escaped.
pub fn printable(text: &str) -> String {
    let control = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if control(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
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
