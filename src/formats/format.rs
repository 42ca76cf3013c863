//! What a format is: how it is recognised and how it is read.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::headers::Headers;
use super::zip::{self, Archive};
use crate::Result;
use crate::store::Source;
use crate::tensors::contents::Contents;
use crate::weights::Take;

/// A line of the table in [`super`].
pub(crate) struct Format {
    /// As lists and messages name it.
    pub name: &'static str,
    /// How its files' names end by which a folder is searched for checkpoints.
    pub endings: &'static [&'static str],
    pub reader: Reader,
}

/// A file, or several in a folder.
pub(crate) enum Reader {
    File {
        /// By the first bytes, or by the names in a zip file.
        is_one: fn(&Candidate) -> Result<bool>,
        read: fn(Candidate, &Request) -> Result<Read>,
    },
    Folder {
        /// The file whose presence makes a folder one of these.
        marker: fn(&Path) -> Result<Option<PathBuf>>,
        /// None where a folder holds none.
        open: fn(&Path, &Request) -> Result<Option<Opened>>,
    },
}

/// How many of a file's first bytes a format is recognised by.
pub(crate) const HEAD: u64 = 512;

/// The first bytes of a file.
pub(crate) fn head(file: &Source) -> Result<Vec<u8>> {
    let mut scratch = vec![];
    Ok(file.read(0..file.size().min(HEAD), &mut scratch)?.to_vec())
}

/// A file whose format is asked for.
pub(crate) struct Candidate<'a> {
    pub file: &'a Source,
    /// Its first bytes.
    pub head: Vec<u8>,
    archive: OnceCell<Archive>,
}

impl<'a> Candidate<'a> {
    /// With its first bytes, and its directory if that was read.
    pub fn new(file: &'a Source, head: Vec<u8>, archive: Option<Archive>) -> Self {
        Candidate { file, head, archive: archive.map(OnceCell::from).unwrap_or_default() }
    }

    pub fn of(file: &'a Source) -> Result<Self> {
        Ok(Self::new(file, head(file)?, None))
    }

    /// All of the file.
    pub fn range(&self) -> Range<u64> {
        0..self.file.size()
    }

    pub fn is_zip(&self) -> bool {
        self.head.starts_with(zip::MAGIC)
    }

    /// The directory of a zip file, read once however many formats ask for it.
    pub fn archive(&self) -> Result<&Archive> {
        if let Some(archive) = self.archive.get() {
            return Ok(archive);
        }
        let archive = Archive::read(self.file, self.range())?;
        Ok(self.archive.get_or_init(|| archive))
    }

    pub fn into_archive(self) -> Result<Archive> {
        match self.archive.into_inner() {
            Some(archive) => Ok(archive),
            None => Archive::read(self.file, 0..self.file.size()),
        }
    }
}

/// What a checkpoint is opened for.
pub(crate) struct Request<'a> {
    pub take: &'a Take,
    /// An open checkpoint that may have the same tensors at the same places, as those of one run do.
    pub like: Option<Like<'a>>,
}

/// The files of a checkpoint and what others are compared with.
#[derive(Clone, Copy)]
pub(crate) struct Like<'a> {
    pub files: &'a [Source],
    pub template: &'a Template,
}

/// What a file says of its tensors: where another says the same, it need not be read again.
#[derive(Debug)]
pub(crate) enum Template {
    Headers(Headers),
    Archive(Archive),
}

/// The files of a folder, and what they say.
pub(crate) type Opened = (Vec<Source>, Read);

/// What reading a checkpoint's headers yields.
pub(crate) enum Read {
    Contents {
        contents: Box<Contents>,
        template: Option<Template>,
    },
    /// The checkpoint holds what [`Request::like`] does, values aside; and so do its metadata, if they are None.
    Same {
        template: Option<Template>,
        metadata: Option<BTreeMap<String, String>>,
    },
}

impl From<Contents> for Read {
    fn from(contents: Contents) -> Self {
        Read::Contents { contents: Box::new(contents), template: None }
    }
}
