//! A directory becomes samples, samples become pixels.
//!
//! [`Options::open`] finds the data in a directory, recognises their convention and returns a [`Dataset`]:
//! labels at once, pixels when asked. [`decode`] turns a file into the bytes that Pillow would give,
//! [`transform`] resizes and crops them as torchvision does ([`placement`] is the mechanism, [`resize`]
//! holds the arithmetic, [`augment`] draws the crops of training), [`order`] says which samples come
//! when, and [`loader`] runs all of it in parallel, a few batches ahead. Pixels stay 8-bit: normalisation
//! happens on the device.
//!
//! A new directory convention is one file here and one line in `CONVENTIONS`.

pub mod augment;
mod cifar;
mod class_map;
pub mod decode;
mod flat;
mod idx;
mod image_folder;
pub mod loader;
pub mod order;
mod parquet;
pub mod placement;
pub mod preset;
pub mod random;
pub mod resize;
mod split;
pub mod transform;
mod webdataset;

use std::fmt;
use std::path::{Path, PathBuf};

use swa_base::choices;
use twox_hash::XxHash3_128;

use swa_base::{Error, Result};
use swa_tools::checkpoint::digest::hex;

pub use augment::{Augmentation, Training};
pub use class_map::ClassMap;
pub use loader::{Batch, Loader};
pub use order::Order;
pub use preset::{PRESETS, Preset};
pub use split::Split;
pub use transform::{Interpolation, Transform};

/// More pixels than this, in an image or in what a transform would make of it, are refused: twice
/// 89,478,485, the number above which Pillow raises `DecompressionBombError`.
pub const MAX_PIXELS: u64 = 2 * 89_478_485;

/// 8-bit pixels: `height` rows of `width` pixels of `channels` bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    pub width: usize,
    pub height: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// height · width · channels bytes, row by row, channels innermost.
    pub pixels: Vec<u8>,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image {}x{}x{}", self.width, self.height, self.channels)
    }
}

/// How many classes a dataset has, as far as it can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classes {
    /// The directory names every class.
    Exactly(usize),
    /// The largest label plus one: a class may be missing from the sample.
    AtLeast(usize),
}

/// Labelled images that are decoded when they are asked for.
pub trait Dataset: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn classes(&self) -> Classes;

    /// The classes' names in the order of their labels, where the directory gives names.
    fn class_names(&self) -> Option<&[String]>;

    /// The class of image `index`, counted from 0. Panics if `index` is not below `len`.
    fn label(&self, index: usize) -> usize;

    /// What to call image `index` in a message: its path below the directory, or "`file` #17".
    /// Panics if `index` is not below `len`.
    fn name(&self, index: usize) -> String;

    /// Decodes image `index`. Panics if `index` is not below `len`.
    ///
    /// # Errors
    /// `Input` where the file does not hold a whole image of a known format, `Limit` where it is too
    /// large, `Io` where it cannot be read; each names the file.
    fn image(&self, index: usize) -> Result<Image>;

    /// One line, such as "ImageFolder `dir`, 50,000 images, 1,000 classes".
    fn describe(&self) -> String;
}

choices! {
    /// The directory conventions by name.
    pub enum Format {
        Idx = "idx": "MNIST, Fashion-MNIST, EMNIST, ...: `train-images-idx3-ubyte.gz` and its labels",
        Cifar = "cifar":
            "CIFAR-10 and CIFAR-100, binary (`data_batch_1.bin`) or for Python (`data_batch_1`)",
        WebDataset = "webdataset": "Tar shards of images and labels: `train-0000.tar`",
        Parquet = "parquet": "Parquet files of Hugging Face: `data/train-00000-of-00001.parquet`",
        Flat = "flat":
            "Images in one folder and a file of their labels: ImageNet's validation set as distributed",
        ImageFolder = "imagefolder": "One sub-folder of images a class",
    }
}

/// How a convention is recognised and opened.
struct Convention {
    format: Format,
    /// What such a directory holds, for the error that lists them.
    holds: &'static str,
    /// By names alone.
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

/// How deep data are looked for below the folder that was named.
const DEPTH: usize = 4;

/// What is said of a directory beside its name.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub split: Split,
    /// None: the first convention that fits.
    pub format: Option<Format>,
    /// Where a flat folder's labels stand; None: in a file with a usual name beside the images.
    pub labels: Option<PathBuf>,
    /// The class names, where the labels do not say all of them: a file, or a folder with a sub-folder
    /// for each class.
    pub classes: Option<PathBuf>,
}

/// Opens the dataset in `dir`: [`Options::open`] with nothing said of labels.
///
/// # Errors
/// Those of [`Options::open`].
pub fn open(dir: &Path, split: Split, format: Option<Format>) -> Result<Box<dyn Dataset>> {
    Options { split, format, ..Options::default() }.open(dir)
}

impl Options {
    /// Opens the dataset in `dir` or below it: where all its sub-folders are named after parts (`train`,
    /// `val`, `test`), in the one that is meant; where it has only one, in that, if it holds files that
    /// are recognised by their names.
    ///
    /// # Errors
    /// `Usage` where `dir` is no directory or an option does not fit what it holds, `Input` where it holds
    /// no dataset of a known convention or a broken one, `Io` where it cannot be read.
    pub fn open(&self, dir: &Path) -> Result<Box<dyn Dataset>> {
        let format = self.format.or(self.labels.is_some().then_some(Format::Flat));
        let found = match self.locate(dir, format, false, DEPTH)? {
            Some(found) => found,
            None => match CONVENTIONS.iter().find(|c| Some(c.format) == format) {
                // It says best what is missing.
                Some(convention) => {
                    Found { dir: dir.to_path_buf(), listing: Listing::read(dir)?, convention }
                }
                None => return Err(unknown(dir, &Listing::read(dir)?)),
            },
        };
        if found.convention.format != Format::Flat
            && (self.labels.is_some() || self.classes.is_some())
        {
            let what = "`--labels` and `--classes` are for a flat folder of images";
            return Err(Error::usage(what).at(&found.dir).remedy("leave them out"));
        }
        (found.convention.open)(&found.dir, &found.listing, self)
    }

    /// Finds the folder that holds the data. `nested` is a folder that the user did not name.
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
            if let Some(part) = self.part(dir, &listing)? {
                return self.locate(&part, format, nested, depth - 1);
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

    /// The sub-folder of the wanted part, where all of them are named after parts.
    fn part(&self, dir: &Path, listing: &Listing) -> Result<Option<PathBuf>> {
        let part = |name: &std::ffi::OsString| name.to_str().and_then(Split::of_word);
        let folders = &listing.folders;
        if folders.is_empty() || !folders.iter().all(|name| part(name).is_some()) {
            return Ok(None);
        }
        let chosen = self.split.of(dir, folders.iter().collect(), |name| part(name))?;
        match chosen[..] {
            [name] => Ok(Some(dir.join(name))),
            _ => {
                Err(Error::input("several folders of one part").at(dir).remedy("give one of them"))
            }
        }
    }
}

/// Where the data lie and what they are.
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

/// A digest of all names and labels, in the order of the dataset: XXH3-128 of each name's length (8 bytes,
/// little-endian), the name, and the label (8 bytes). Pixels have no part in it.
pub fn digest(dataset: &dyn Dataset) -> String {
    let mut hasher = XxHash3_128::new();
    for index in 0..dataset.len() {
        let name = dataset.name(index);
        hasher.write(&(name.len() as u64).to_le_bytes());
        hasher.write(name.as_bytes());
        hasher.write(&(dataset.label(index) as u64).to_le_bytes());
    }
    hex(hasher.finish_128())
}

/// What a directory holds, one level deep, without hidden entries; links are followed.
struct Listing {
    /// Names of sub-folders, sorted as bytes.
    folders: Vec<std::ffi::OsString>,
    /// Names of regular files, sorted as bytes.
    files: Vec<std::ffi::OsString>,
}

impl Listing {
    fn read(dir: &Path) -> Result<Self> {
        let meta = std::fs::metadata(dir).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::usage("no such directory").at(dir),
            _ => Error::io(dir, "read the directory", source),
        })?;
        if !meta.is_dir() {
            return Err(Error::usage("not a directory")
                .at(dir)
                .remedy("give the folder it lies in"));
        }
        let failed = |source| Error::io(dir, "list the directory", source);
        let mut listing = Listing { folders: vec![], files: vec![] };
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if is_hidden(&name) {
                continue;
            }
            match std::fs::metadata(dir.join(&name)) {
                Ok(meta) if meta.is_dir() => listing.folders.push(name),
                Ok(meta) if meta.is_file() => listing.files.push(name),
                // Devices, and links that lead nowhere.
                _ => {}
            }
        }
        listing.folders.sort();
        listing.files.sort();
        Ok(listing)
    }
}

/// What an image's name ends with, in any case. How it is decoded is decided by its content.
pub const EXTENSIONS: [&str; 9] =
    ["jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp"];

/// The name without the ending that makes it an image's; None where it has none.
fn image_stem(name: &std::ffi::OsStr) -> Option<&[u8]> {
    // Not `Path::extension`: a name may be nothing but its ending.
    let name = name.as_encoded_bytes();
    let dot = name.iter().rposition(|&b| b == b'.')?;
    let ending = &name[dot + 1..];
    EXTENSIONS.iter().any(|e| ending.eq_ignore_ascii_case(e.as_bytes())).then_some(&name[..dot])
}

/// Largest file of labels or classes that is read, in bytes.
const MAX_TEXT: u64 = 1 << 28;

/// A file of labels or classes, without a byte order mark.
///
/// # Errors
/// `Usage` where there is none, `Limit` for more than [`MAX_TEXT`], `Input` for what is not UTF-8.
fn text(path: &Path) -> Result<String> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => Error::usage("no such file").at(path),
        _ => Error::io(path, "read", source),
    };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_TEXT {
        return Err(Error::limit(format!("a file of {size} bytes, above {MAX_TEXT}")).at(path));
    }
    let text = String::from_utf8(std::fs::read(path).map_err(failed)?)
        .map_err(|_| Error::input("not a text file in UTF-8").at(path))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}

fn is_hidden(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// 50000 becomes "50,000".
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use swa_base::Choice;
    use swa_base::Kind;

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
            refused(&file).to_string().ends_with("not a directory; give the folder it lies in")
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

    #[test]
    fn numbers_are_grouped() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1281167, "1,281,167")];
        for (n, text) in cases {
            assert_eq!(grouped(n), text);
        }
    }
}
