//! The MNIST family: big-endian IDX files of images and of labels, plain or gzip.
//!
//! Source: "The MNIST database of handwritten digits" (LeCun, Cortes, Burges), section "file formats":
//! a magic number 0, 0, type (8: unsigned byte), number of dimensions; then each dimension as 32-bit
//! big-endian; then the values. Whether a file is compressed is decided by its first bytes, not by
//! its name.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::dataset::{Classes, Dataset};
use crate::image::{Image, MAX_PIXELS};
use crate::listing::Listing;
use crate::options::Options;
use crate::split::Split;
use crate::text::grouped;
use swa_base::text::printable;
use swa_base::{Error, Kind, Result};

pub(super) const HOLDS: &str =
    "a folder with MNIST-like files (`train-images-idx3-ubyte.gz`, `train-labels-idx1-ubyte.gz`)";

/// Compressed files are unpacked in memory, up to this many bytes; plain ones are read in place.
const MAX_UNPACKED: u64 = 8 << 30;

/// DEFLATE cannot make a file more than this many times larger (zlib's technical details).
const MAX_RATIO: u64 = 1032;

pub(super) fn sniff(listing: &Listing) -> bool {
    listing.files.iter().any(|name| Name::of(name, Part::Images).is_some())
}

pub(super) fn open(dir: &Path, listing: &Listing, options: &Options) -> Result<Box<dyn Dataset>> {
    Ok(Box::new(Idx::open(dir, listing, options.split)?))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Images,
    Labels,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Part::Images => "images",
            Part::Labels => "labels",
        }
    }

    fn dimensions(self) -> usize {
        match self {
            Part::Images => 3,
            Part::Labels => 1,
        }
    }
}

/// A file name such as `emnist-letters-train-images-idx3-ubyte.gz`, taken apart.
struct Name<'a> {
    file: &'a str,
    /// `emnist-letters-train`; empty for `images.idx3-ubyte`.
    prefix: &'a str,
    compressed: bool,
}

impl<'a> Name<'a> {
    fn of(file: &'a OsString, part: Part) -> Option<Self> {
        let file = file.to_str()?;
        let (stem, compressed) = match file.strip_suffix(".gz") {
            Some(stem) => (stem, true),
            None => (file, false),
        };
        let stem = stem.strip_suffix(&format!("idx{}-ubyte", part.dimensions()))?;
        let stem = stem.strip_suffix(['-', '.'])?.strip_suffix(part.word())?;
        let prefix = match stem {
            "" => "",
            _ => stem.strip_suffix(['-', '_', '.'])?,
        };
        Some(Name { file, prefix, compressed })
    }

    fn split(&self) -> Option<Split> {
        Split::of_word(self.prefix.rsplit(['-', '_', '.']).next()?)
    }
}

/// One pair of files.
struct Idx {
    images_path: PathBuf,
    count: usize,
    height: usize,
    width: usize,
    values: Values,
    labels: Vec<u8>,
    classes: usize,
}

/// Where the pixels are.
enum Values {
    Memory(Vec<u8>),
    /// In a file, from this offset on.
    File(File, u64),
}

impl Idx {
    fn open(dir: &Path, listing: &Listing, split: Split) -> Result<Self> {
        let names = |part| listing.files.iter().filter_map(move |file| Name::of(file, part));
        let images = choose(dir, names(Part::Images).collect(), split)?;
        let mut labels: Vec<Name> =
            names(Part::Labels).filter(|name| name.prefix == images.prefix).collect();
        labels.sort_by_key(|name| name.compressed);
        let Some(labels) = labels.first() else {
            let wanted = images.file.replace("images", "labels").replace("idx3", "idx1");
            return Err(Error::input(format!(
                "`{}` is there, but its labels are not",
                images.file
            ))
            .at(dir)
            .remedy(format!("put `{wanted}` beside it")));
        };
        let (images_path, labels_path) = (dir.join(images.file), dir.join(labels.file));
        let (dimensions, values) = read(&images_path, Part::Images)?;
        let [count, height, width] = dimensions[..] else { unreachable!("three dimensions") };
        let labels = match read(&labels_path, Part::Labels)?.1 {
            Values::Memory(labels) => labels,
            Values::File(..) => unreachable!("labels are read into memory"),
        };
        if labels.len() != count {
            let what = format!(
                "{} labels for the {} images of `{}`",
                grouped(labels.len()),
                grouped(count),
                images.file
            );
            return Err(Error::new(Kind::Mismatch, what).at(&labels_path));
        }
        let classes = labels.iter().max().map_or(0, |&largest| largest as usize + 1);
        Ok(Idx { images_path, count, height, width, values, labels, classes })
    }
}

/// The images of the wanted part; an uncompressed file before its compressed twin.
fn choose<'a>(dir: &Path, names: Vec<Name<'a>>, split: Split) -> Result<Name<'a>> {
    if names.is_empty() {
        return Err(Error::input("no IDX images").at(dir).remedy(format!("give {HOLDS}")));
    }
    let mut chosen = split.of(dir, names, Name::split)?;
    chosen.sort_by_key(|name| (name.prefix, name.compressed));
    if chosen.iter().any(|name| name.prefix != chosen[0].prefix) {
        let files: Vec<String> = chosen.iter().map(|name| format!("`{}`", name.file)).collect();
        return Err(Error::input(format!("several sets of images: {}", files.join(", ")))
            .at(dir)
            .remedy("keep one of them in a folder of its own"));
    }
    Ok(chosen.swap_remove(0))
}

/// Checks the header and the length of a file and returns its dimensions and where its values are.
fn read(path: &Path, part: Part) -> Result<(Vec<usize>, Values)> {
    let failed = |source| Error::io(path, "read", source);
    let file = File::open(path).map_err(|source| Error::io(path, "open", source))?;
    let length = file.metadata().map_err(failed)?.len();
    let mut start = [0; 2];
    if length == 0 {
        return Err(Error::new(Kind::Truncated, "the file is empty").at(path));
    }
    let compressed = file.read_exact_at(&mut start, 0).is_ok() && start == [0x1f, 0x8b];
    if compressed {
        let mut stream = flate2::bufread::MultiGzDecoder::new(BufReader::new(&file));
        let dimensions = header(&mut stream, path, part)?;
        let size = size(&dimensions, path)?;
        let most = length.saturating_mul(MAX_RATIO);
        if size > most {
            let what =
                format!("the header {dimensions:?} promises {size} bytes, but {length} bytes");
            return Err(
                Error::new(Kind::Damaged, format!("{what} of gzip hold at most {most}")).at(path)
            );
        }
        if size > MAX_UNPACKED {
            return Err(Error::limit(format!("{size} bytes unpacked, above {MAX_UNPACKED}"))
                .at(path)
                .remedy("unpack it with gunzip"));
        }
        return Ok((dimensions, Values::Memory(values(&mut stream, path, size)?)));
    }
    let mut stream = BufReader::new(&file);
    let dimensions = header(&mut stream, path, part)?;
    let size = size(&dimensions, path)?;
    let offset = 4 + 4 * part.dimensions() as u64;
    if length - offset != size {
        let kind = if length - offset < size { Kind::Truncated } else { Kind::Damaged };
        let what = format!("expected {} bytes from its header {dimensions:?}", offset + size);
        return Err(Error::new(kind, format!("{what}, found {length}")).at(path));
    }
    Ok(match part {
        Part::Labels => (dimensions, Values::Memory(values(&mut stream, path, size)?)),
        Part::Images => (dimensions, Values::File(file, offset)),
    })
}

/// Reads the magic number and the dimensions.
fn header(stream: &mut impl Read, path: &Path, part: Part) -> Result<Vec<usize>> {
    let mut word = || -> Result<u32> {
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).map_err(|source| unreadable(path, source))?;
        Ok(u32::from_be_bytes(bytes))
    };
    let expected = 0x800 + part.dimensions() as u32;
    let magic = word()?;
    if magic != expected {
        let what = format!("expected magic number {expected:#010x} ({}), found", part.word());
        return Err(Error::input(format!("{what} {magic:#010x}")).at(path));
    }
    let dimensions: Vec<usize> =
        (0..part.dimensions()).map(|_| Ok(word()? as usize)).collect::<Result<_>>()?;
    if dimensions.contains(&0) {
        return Err(Error::input(format!("it is empty: its header says {dimensions:?}")).at(path));
    }
    Ok(dimensions)
}

/// Size of the values in bytes; a value is one byte.
fn size(dimensions: &[usize], path: &Path) -> Result<u64> {
    let pixels: u64 = dimensions[1..].iter().map(|&d| d as u64).product();
    if pixels > MAX_PIXELS {
        return Err(Error::limit(format!("images of {pixels} pixels, above {MAX_PIXELS}")).at(path));
    }
    // At most 2^32 · 2^28: no overflow.
    Ok(dimensions[0] as u64 * pixels)
}

/// Reads exactly `size` bytes up to the end of the file. Memory grows with the bytes that are there, not with
/// those that the header promises.
fn values(stream: &mut impl Read, path: &Path, size: u64) -> Result<Vec<u8>> {
    let mut values = Vec::new();
    stream.take(size).read_to_end(&mut values).map_err(|source| unreadable(path, source))?;
    if values.len() as u64 != size {
        let what = format!("cut off: {} of {size} bytes after the header", values.len());
        return Err(Error::new(Kind::Truncated, what).at(path));
    }
    // Reading on also makes the decompressor compare its checksum.
    match stream.read(&mut [0]).map_err(|source| unreadable(path, source))? {
        0 => Ok(values),
        _ => {
            Err(Error::new(Kind::Damaged, format!("more follows after the {size} bytes of values"))
                .at(path))
        }
    }
}

/// Tells errors of the decompressor, which are the input's fault, from failed reads.
fn unreadable(path: &Path, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => {
            Error::new(Kind::Truncated, "cut off: the file ends too early").at(path)
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            Error::new(Kind::Damaged, format!("corrupt gzip data: {source}")).at(path)
        }
        _ => Error::io(path, "read", source),
    }
}

impl Dataset for Idx {
    fn len(&self) -> usize {
        self.count
    }

    fn classes(&self) -> Classes {
        Classes::AtLeast(self.classes)
    }

    fn class_names(&self) -> Option<&[String]> {
        None
    }

    fn label(&self, index: usize) -> usize {
        self.labels[index] as usize
    }

    fn name(&self, index: usize) -> String {
        let file = self.images_path.file_name().unwrap_or_default().to_string_lossy();
        format!("`{file}` #{index}")
    }

    fn image(&self, index: usize) -> Result<Image> {
        assert!(index < self.count, "image {index} of {}", self.count);
        let size = self.height * self.width;
        let pixels = match &self.values {
            Values::Memory(values) => values[index * size..][..size].to_vec(),
            Values::File(file, offset) => {
                let mut pixels = vec![0; size];
                let at = offset + (index * size) as u64;
                file.read_exact_at(&mut pixels, at).map_err(|source| match source.kind() {
                    io::ErrorKind::UnexpectedEof => {
                        Error::changed("the file shrank while it was read").at(&self.images_path)
                    }
                    _ => Error::io(&self.images_path, "read", source),
                })?;
                pixels
            }
        };
        Ok(Image { width: self.width, height: self.height, channels: 1, pixels })
    }

    fn files(&self) -> usize {
        1
    }

    fn file(&self, _place: usize) -> PathBuf {
        self.images_path.clone()
    }

    fn describe(&self) -> String {
        format!(
            "IDX `{}`, {} images of {}x{}, {} classes",
            printable(&self.images_path.to_string_lossy()),
            grouped(self.count),
            self.width,
            self.height,
            grouped(self.classes)
        )
    }
}

#[cfg(test)]
mod tests;
