//! The directory conventions: one file each, and the table that [`Options::open`] goes by.

mod cifar;
pub(crate) mod flat;
mod idx;
mod image_folder;
mod parquet;
mod shards;
mod webdataset;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use swa_base::text::printable;
use swa_base::{Error, Result, setting};

use crate::dataset::Dataset;
use crate::listing::{Listing, image_stem};
use crate::options::{Format, LabelForm, Options};
use crate::split::Split;

/// How a convention is recognised and opened.
struct Convention {
    format: Format,
    /// What such a directory holds, for the error that lists them.
    holds: &'static str,
    /// Decides by names alone.
    sniff: fn(&Listing) -> bool,
    /// Whether its files are recognised in folders below the one that was named.
    nests: bool,
    open: fn(&Path, &Listing, &Options) -> Result<Box<dyn Dataset>>,
}

/// The conventions in the order in which they are tried; the first that fits is taken.
const CONVENTIONS: &[Convention] = &[
    Convention {
        format: Format::Idx,
        holds: idx::HOLDS,
        sniff: idx::sniff,
        nests: true,
        open: idx::open,
    },
    Convention {
        format: Format::Cifar,
        holds: cifar::HOLDS,
        sniff: cifar::sniff,
        nests: true,
        open: cifar::open,
    },
    Convention {
        format: Format::WebDataset,
        holds: webdataset::HOLDS,
        sniff: webdataset::sniff,
        nests: true,
        open: webdataset::open,
    },
    Convention {
        format: Format::Parquet,
        holds: parquet::HOLDS,
        sniff: parquet::sniff,
        nests: true,
        open: parquet::open,
    },
    Convention {
        format: Format::Flat,
        holds: flat::HOLDS,
        sniff: flat::sniff,
        nests: false,
        open: flat::open,
    },
    // What has folders and is nothing else.
    Convention {
        format: Format::ImageFolder,
        holds: image_folder::HOLDS,
        sniff: image_folder::sniff,
        nests: false,
        open: image_folder::open,
    },
];

/// How many levels below the named folder data are looked for.
const DEPTH: usize = 4;

/// Opens the dataset in `dir`: [`Options::open`] with the usual labels and classes.
///
/// # Errors
/// Those of [`Options::open`].
pub fn open(dir: &Path, split: Split, format: Option<Format>) -> Result<Box<dyn Dataset>> {
    Options { split, format, ..Options::default() }.open(dir)
}

impl Options {
    /// Opens the dataset in `dir` or below it. If all sub-folders are named after parts (`train`, `val`,
    /// `test`), the one that `split` names is opened. If there is a single sub-folder, that is opened, provided
    /// it holds parts or its files are recognised by their names.
    ///
    /// # Errors
    /// `Usage` where `dir` is no directory or an option does not fit what it holds; `Input` where no known
    /// convention fits, or a part, label or class is missing; `Truncated`, `Damaged`, `Unsupported`, `Mismatch` or
    /// `Hostile` for the files of the convention; `Limit` for what is too large; `Io` where something cannot be
    /// read.
    pub fn open(&self, dir: &Path) -> Result<Box<dyn Dataset>> {
        let format = self.format.or(self.labels.is_some().then_some(Format::Flat));
        let found = match self.locate(dir, format, false, DEPTH)? {
            Some(found) => found,
            None => match CONVENTIONS.iter().find(|c| Some(c.format) == format) {
                // The convention's own error says best what is missing.
                Some(convention) => {
                    Found { dir: dir.to_path_buf(), listing: Listing::read(dir)?, convention }
                }
                None => return Err(unknown(dir, &Listing::read(dir)?)),
            },
        };
        let is_flat = found.convention.format == Format::Flat;
        if !is_flat && (self.labels.is_some() || self.classes.is_some()) {
            let what = concat!(
                setting!("labels"),
                " and ",
                setting!("classes"),
                " are for a flat folder of images"
            );
            return Err(Error::usage(what).at(&found.dir).remedy("leave them out"));
        }
        let form = match found.convention.format {
            // It has columns, but names and numbers of its own.
            Format::Parquet => LabelForm { label: vec![], ..self.label_form.clone() },
            _ => self.label_form.clone(),
        };
        if !is_flat && form != LabelForm::default() {
            let what = concat!(
                setting!("label_column"),
                ", ",
                setting!("image_column"),
                " and ",
                setting!("first_label"),
                " are for a file of labels; the first is for parquet, too"
            );
            return Err(Error::usage(what).at(&found.dir).remedy("leave them out"));
        }
        (found.convention.open)(&found.dir, &found.listing, self)
    }

    /// Finds the folder that holds the data. `nested`: the user did not name `dir` itself.
    fn locate(
        &self,
        dir: &Path,
        format: Option<Format>,
        nested: bool,
        depth: usize,
    ) -> Result<Option<Found>> {
        let listing = Listing::read(dir)?;
        let allowed = |c: &&Convention| {
            format.is_none_or(|format| format == c.format) && (c.nests || !nested)
        };
        let (folder, files): (Vec<&Convention>, Vec<&Convention>) =
            CONVENTIONS.iter().filter(allowed).partition(|c| c.format == Format::ImageFolder);
        if let Some(convention) = files.into_iter().find(|c| (c.sniff)(&listing)) {
            return Ok(Some(Found { dir: dir.to_path_buf(), listing, convention }));
        }
        if depth > 0 {
            // The name of a part says what is in it, whoever named the folder above it.
            if let Some(part) = self.part(dir, &listing)? {
                return self.locate(&part, format, false, depth - 1);
            }
            if let [only] = &listing.folders[..]
                && let Some(found) = self.locate(&dir.join(only), format, true, depth - 1)?
            {
                return Ok(Some(found));
            }
        }
        let folder = folder.into_iter().find(|c| (c.sniff)(&listing));
        Ok(folder.map(|convention| Found { dir: dir.to_path_buf(), listing, convention }))
    }

    /// The sub-folder of the wanted part, where the folders are named after parts. Folders of other things beside them,
    /// such as annotations, are no classes.
    fn part(&self, dir: &Path, listing: &Listing) -> Result<Option<PathBuf>> {
        let named: Vec<(Split, String)> =
            listing.folders.iter().filter_map(|name| Split::in_name(name.to_str()?)).collect();
        // `seg_train` is a part beside `seg_test`, and may be a class elsewhere.
        let part = |name: &OsString| {
            let name = name.to_str()?;
            let by_rest = || {
                let (part, rest) = Split::in_name(name)?;
                let is_beside = named.iter().any(|(other, its)| *other != part && *its == rest);
                is_beside.then_some(part)
            };
            Split::of_word(name).or_else(by_rest)
        };
        let (parts, others): (Vec<&OsString>, Vec<&OsString>) =
            listing.folders.iter().partition(|name| part(name).is_some());
        if parts.is_empty() {
            return Ok(None);
        }
        let mut with_images = vec![];
        for &name in &others {
            if !image_folder::images_below(dir, name, image_stem)?.is_empty() {
                with_images.push(name);
            }
        }
        if let Some(other) = with_images.first() {
            let mut kinds: Vec<Split> = named.iter().map(|(part, _)| *part).collect();
            kinds.sort();
            kinds.dedup();
            // A class may be called `train`, and all may be classes where that is said. A table may be for images in any
            // folders.
            let is_flat = self.labels.is_some() || self.format == Some(Format::Flat);
            if self.format == Some(Format::ImageFolder)
                || kinds == [Split::Train]
                || (kinds.len() < 2 && is_flat)
            {
                return Ok(None);
            }
            let names: Vec<String> =
                parts.iter().map(|name| format!("`{}`", name.display())).collect();
            let what = format!(
                "{} {} of the data, but `{}` holds images, too: are they classes?",
                names.join(" and "),
                if names.len() == 1 { "seems to be a part" } else { "seem to be parts" },
                other.display()
            );
            return Err(Error::input(what).at(dir).remedy(concat!(
                "give the folder of the part that is meant, or, if all are classes, ",
                setting!("format", "imagefolder")
            )));
        }
        let chosen = self.split.of(dir, parts, |name| part(name))?;
        match chosen[..] {
            [name] => Ok(Some(dir.join(name))),
            _ => {
                Err(Error::input("several folders of one part").at(dir).remedy("give one of them"))
            }
        }
    }
}

/// Names of folders within one that hold data in files that are recognised by their names.
fn folders_of_data(dir: &Path, listing: &Listing) -> Result<Vec<String>> {
    let mut found = vec![];
    for name in &listing.folders {
        let within = Listing::read(&dir.join(name))?;
        if CONVENTIONS.iter().any(|convention| convention.nests && (convention.sniff)(&within)) {
            found.push(printable(&name.to_string_lossy()));
        }
    }
    Ok(found)
}

/// Where the data are, and in which convention.
struct Found {
    dir: PathBuf,
    listing: Listing,
    convention: &'static Convention,
}

fn unknown(dir: &Path, listing: &Listing) -> Error {
    if listing.files.is_empty() && listing.folders.is_empty() {
        return Error::input("the folder is empty").at(dir);
    }
    let known: Vec<&str> = CONVENTIONS.iter().map(|c| c.holds).collect();
    let what = format!("no dataset was recognised among {} files", listing.files.len());
    Error::input(what).at(dir).remedy(format!("give {}", known.join(", or ")))
}

#[cfg(test)]
mod tests {
    use swa_base::{Choice, Kind};

    use super::*;

    #[test]
    fn every_format_has_a_convention() {
        for format in Format::ALL {
            assert!(CONVENTIONS.iter().any(|c| c.format == *format), "{format:?}");
        }
        assert_eq!(Format::named("imagefolder"), Some(Format::ImageFolder));
        assert_eq!(Format::named("idx"), Some(Format::Idx));
        assert_eq!(Format::named("webdataset"), Some(Format::WebDataset));
    }

    fn refused(dir: &Path) -> Error {
        open(dir, Split::Train, None).err().expect("refused")
    }

    #[test]
    fn a_path_that_is_no_directory_is_a_usage_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = refused(&dir.path().join("absent"));
        assert_eq!(
            (error.kind(), error.to_string().contains("no such directory")),
            (Kind::Usage, true)
        );
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(
            refused(&file).to_string().ends_with("not a directory; give the folder that holds it")
        );
    }

    #[test]
    fn an_unknown_directory_names_what_is_known() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refused(dir.path()).to_string().ends_with(": the folder is empty"));
        std::fs::write(dir.path().join("notes.txt"), "x").unwrap();
        let error = refused(dir.path());
        assert_eq!(error.kind(), Kind::Input);
        assert!(error.to_string().contains("a sub-folder of images for each class"), "{error}");
        assert!(error.to_string().contains("train-images-idx3-ubyte"), "{error}");
    }
}
