//! CIFAR-10 and CIFAR-100 as their authors distribute them: the binary version and the one for Python.
//!
//! Source: "The CIFAR-10 dataset" (Krizhevsky, Nair, Hinton), sections "Python version" and "Binary
//! version". An image is 3072 bytes: a plane of 32 · 32 red values row by row, then green, then blue. The
//! labels of CIFAR-100 are the fine ones. Images come in the order of torchvision's `CIFAR10` and
//! `CIFAR100`: file by file.

mod binary;
mod python;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dataset::{Classes, Dataset};
use crate::image::Image;
use crate::listing::Listing;
use crate::options::Options;
use crate::split::Split;
use crate::text::grouped;
use swa_base::text::printable;
use swa_base::{Error, Kind, Result, look};
use swa_tools::store::Source;

pub(super) const HOLDS: &str = "a folder with CIFAR's files (`data_batch_1.bin` or `data_batch_1`)";

/// Pixels along a side.
const SIDE: usize = 32;

/// Bytes of an image.
const PIXELS: usize = 3 * SIDE * SIDE;

/// One of the two sets, in one of the two versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Version {
    classes: usize,
    binary: bool,
}

const VERSIONS: [Version; 4] = [
    Version { classes: 10, binary: true },
    Version { classes: 10, binary: false },
    Version { classes: 100, binary: true },
    Version { classes: 100, binary: false },
];

impl Version {
    /// Its files, with the part that each belongs to.
    fn files(self, listing: &Listing) -> Vec<(&str, Split)> {
        let part = |name: &str| {
            let stem = match self.binary {
                true => name.strip_suffix(".bin")?,
                false => name,
            };
            match (self.classes, stem) {
                (100, "train") => Some(Split::Train),
                (100, "test") | (10, "test_batch") => Some(Split::Test),
                (10, _) => {
                    stem.strip_prefix("data_batch_")?.parse::<u32>().ok().map(|_| Split::Train)
                }
                _ => None,
            }
        };
        let names = listing.files.iter().filter_map(|name| name.to_str());
        names.filter_map(|name| Some((name, part(name)?))).collect()
    }

    /// The file that names the classes.
    fn names_file(self) -> &'static str {
        match (self.classes, self.binary) {
            (10, true) => "batches.meta.txt",
            (10, false) => "batches.meta",
            (_, true) => "fine_label_names.txt",
            (_, false) => "meta",
        }
    }
}

pub(super) fn sniff(listing: &Listing) -> bool {
    VERSIONS.iter().any(|version| !version.files(listing).is_empty())
}

pub(super) fn open(dir: &Path, listing: &Listing, options: &Options) -> Result<Box<dyn Dataset>> {
    let Some((version, files)) = VERSIONS
        .iter()
        .map(|version| (version, version.files(listing)))
        .find(|(_, files)| !files.is_empty())
    else {
        return Err(Error::input("no files of CIFAR").at(dir).remedy(format!("give {HOLDS}")));
    };
    let mut files = options.split.of(dir, files, |(_, part)| Some(*part))?;
    files.sort_by_key(|(name, _)| (name.len(), *name));
    let numbers = files.iter().filter_map(|(name, _)| {
        name.trim_end_matches(".bin").strip_prefix("data_batch_")?.parse::<usize>().ok()
    });
    if let Some((missing, _)) = (1..).zip(numbers).find(|(expected, found)| expected != found) {
        let what = format!("`data_batch_{missing}` is missing, others like it are there");
        return Err(Error::input(what).at(dir).remedy("copy or download the folder again"));
    }
    let read = if version.binary { binary::read } else { python::read };
    let files = files.iter().map(|(name, _)| {
        let file = read(&dir.join(name), version.classes)?;
        let bad = file.labels.iter().position(|&label| usize::from(label) >= version.classes);
        match bad {
            None => Ok(file),
            Some(i) => {
                let (label, most) = (file.labels[i], version.classes - 1);
                let what = format!("image {i} has the label {label}, expected 0 to {most}");
                Err(Error::new(Kind::Damaged, what)
                    .at(&dir.join(name))
                    .remedy("copy or download the file again"))
            }
        }
    });
    let files: Vec<File> = files.collect::<Result<_>>()?;
    let names = dir.join(version.names_file());
    let names = match look::is_file(&names)? {
        true => {
            let read = if version.binary { binary::names } else { python::names };
            let found = read(&names)?;
            if found.len() != version.classes {
                let what =
                    format!("names {} classes, CIFAR-{1} has {1}", found.len(), version.classes);
                return Err(Error::new(Kind::Mismatch, what).at(&names));
            }
            Some(found)
        }
        false => None,
    };
    let mut ends = Vec::new();
    let mut count = 0;
    for file in &files {
        count += file.labels.len();
        ends.push(count);
    }
    Ok(Box::new(Cifar { dir: dir.to_path_buf(), classes: version.classes, names, files, ends }))
}

/// One file of images.
struct File {
    name: String,
    pixels: Pixels,
    labels: Vec<u8>,
}

/// Where a file's images are.
enum Pixels {
    /// In the file, one every `stride` bytes from `start`.
    Source { source: Arc<Source>, start: u64, stride: u64 },
    /// In memory, because the file stores them in another form.
    Memory(Vec<u8>),
}

struct Cifar {
    dir: PathBuf,
    classes: usize,
    names: Option<Vec<String>>,
    files: Vec<File>,
    /// How many images there are up to the end of each file.
    ends: Vec<usize>,
}

impl Cifar {
    /// The file of an image, and its place there.
    fn place(&self, index: usize) -> (&File, usize) {
        let file = self.ends.partition_point(|&end| end <= index);
        let start = if file == 0 { 0 } else { self.ends[file - 1] };
        (&self.files[file], index - start)
    }
}

impl Dataset for Cifar {
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn classes(&self) -> Classes {
        Classes::Exactly(self.classes)
    }

    fn class_names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    fn label(&self, index: usize) -> usize {
        let (file, i) = self.place(index);
        file.labels[i].into()
    }

    fn name(&self, index: usize) -> String {
        let (file, i) = self.place(index);
        format!("`{}` #{i}", file.name)
    }

    fn image(&self, index: usize) -> Result<Image> {
        let (file, i) = self.place(index);
        let mut scratch = Vec::new();
        let planes = match &file.pixels {
            Pixels::Source { source, start, stride } => {
                let start = start + i as u64 * stride;
                source.read(start..start + PIXELS as u64, &mut scratch)?
            }
            Pixels::Memory(bytes) => &bytes[i * PIXELS..][..PIXELS],
        };
        let (red, rest) = planes.split_at(SIDE * SIDE);
        let (green, blue) = rest.split_at(SIDE * SIDE);
        let pixels = red.iter().zip(green).zip(blue).flat_map(|((&r, &g), &b)| [r, g, b]).collect();
        Ok(Image { width: SIDE, height: SIDE, channels: 3, pixels })
    }

    fn files(&self) -> usize {
        self.files.len()
    }

    fn file(&self, place: usize) -> PathBuf {
        self.dir.join(&self.files[place].name)
    }

    fn describe(&self) -> String {
        let files: Vec<String> = self.files.iter().map(|file| format!("`{}`", file.name)).collect();
        format!(
            "CIFAR-{} `{}`, {} images of {}",
            self.classes,
            printable(&self.dir.to_string_lossy()),
            grouped(self.len()),
            files.join(", ")
        )
    }
}
