//! Digests that tell a dataset from another of the same form: of names and labels and, as far as that is cheap, of the files'
//! bytes.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rayon::prelude::*;
use swa_base::{Error, Progress, Result, Unit, look};
use swa_tools::checkpoint::digest::hex;
use twox_hash::XxHash3_128;

use crate::dataset::Dataset;

/// How many files count. Looking at each of a million on a network disk takes minutes.
const FILES: usize = 1 << 16;
/// How many bytes of them count. Up to so many, all are read.
const BYTES: u64 = 1 << 28;
/// What is read of a larger file at each of several places.
const BLOCK: u64 = 1 << 16;

/// A digest of names and labels: XXH3-128 of each name's length (8 bytes, little-endian), the name, and the label (8 bytes),
/// of all images in their order.
pub fn of_names(dataset: &dyn Dataset) -> String {
    let mut hasher = XxHash3_128::new();
    for index in 0..dataset.len() {
        let name = dataset.name(index);
        hasher.write(&(name.len() as u64).to_le_bytes());
        hasher.write(name.as_bytes());
        hasher.write(&(dataset.label(index) as u64).to_le_bytes());
    }
    hex(hasher.finish_128())
}

/// A digest of the files that hold the images, the same for copies of them: XXH3-128 of a digest of each file, 0 for one that
/// is not there. Of more than 65,536 files so many count, evenly spread. Of each of these its size counts, and its bytes: all if
/// the files have up to 256 MiB together, else an equal share of 256 MiB for each, in blocks of 64 KiB that are evenly spread.
///
/// # Errors
/// `Io` where a file cannot be read. One that is not there counts as that: it is an error when its image is asked for.
pub fn of_files(dataset: &dyn Dataset, progress: &dyn Progress) -> Result<String> {
    let files: Vec<usize> = spread(dataset.files(), FILES).collect();
    // Each is looked at, and then read.
    progress.begin("the data's files", 2 * files.len() as u64, 0, Unit::Files);
    let digest = of_some(dataset, &files, progress);
    progress.end();
    digest
}

fn of_some(dataset: &dyn Dataset, files: &[usize], progress: &dyn Progress) -> Result<String> {
    let sizes = files.par_iter().map(|&file| {
        let size = size(&dataset.file(file));
        progress.advance(1);
        size
    });
    let sizes: Vec<Option<u64>> = sizes.collect::<Result<_>>()?;
    let most = match sizes.iter().flatten().fold(0u64, |sum, size| sum.saturating_add(*size)) {
        ..=BYTES => BYTES,
        _ => BYTES / files.len() as u64,
    };
    let digests = files.par_iter().zip(&sizes).map(|(&file, size)| {
        let digest = size.map_or(Ok(0), |size| of_file(&dataset.file(file), size, most));
        progress.advance(1);
        digest
    });
    let mut hasher = XxHash3_128::new();
    for digest in digests.collect::<Result<Vec<u128>>>()? {
        hasher.write(&digest.to_le_bytes());
    }
    Ok(hex(hasher.finish_128()))
}

/// Of a file's size and of at most so many of its bytes; 0 where it may not be read.
fn of_file(path: &Path, size: u64, most: u64) -> Result<u128> {
    let mut hasher = XxHash3_128::new();
    hasher.write(&size.to_le_bytes());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if look::leads_nowhere(&error) => return Ok(0),
        Err(error) => return Err(Error::io(path, "open", error)),
    };
    let mut buffer = vec![];
    for block in blocks(size, most) {
        let bytes = read(&file, block, &mut buffer).map_err(|e| Error::io(path, "read", e))?;
        hasher.write(bytes);
    }
    Ok(hasher.finish_128())
}

/// At most `most` of the numbers below `all`, evenly spread, the first and the last among them.
fn spread(all: usize, most: usize) -> impl Iterator<Item = usize> {
    let count = all.min(most);
    (0..count).map(move |i| if count == all { i } else { i * (all - 1) / (count - 1) })
}

/// What is read of a file: all, or at most so many bytes, from the first to the last; of one block the middle.
fn blocks(size: u64, most: u64) -> Vec<Range<u64>> {
    if size <= most {
        let starts = (0..size).step_by(BLOCK as usize);
        return starts.map(|start| start..size.min(start + BLOCK)).collect();
    }
    let (count, length) = (most.div_ceil(BLOCK), most.min(BLOCK));
    let start = |i: u64| match count {
        1 => (size - length) / 2,
        // Wide enough for any file.
        _ => (i as u128 * (size - length) as u128 / (count - 1) as u128) as u64,
    };
    (0..count).map(|i| start(i)..start(i) + length).collect()
}

/// The size of a file; None where there is none.
fn size(path: &Path) -> Result<Option<u64>> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(meta.is_file().then_some(meta.len())),
        Err(error) if look::leads_nowhere(&error) => Ok(None),
        Err(error) => Err(Error::io(path, "look at", error)),
    }
}

/// Some bytes of a file; those that are there, where it has become shorter.
fn read<'b>(file: &File, range: Range<u64>, buffer: &'b mut Vec<u8>) -> std::io::Result<&'b [u8]> {
    buffer.resize((range.end - range.start) as usize, 0);
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], range.start + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(&buffer[..filled])
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use swa_base::Silent;

    use super::*;
    use crate::{Options, Split};

    #[test]
    fn files_and_blocks_are_spread_from_the_first_to_the_last() {
        assert_eq!(spread(3, 5).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(spread(0, 5).count(), 0);
        assert_eq!(spread(10, 4).collect::<Vec<_>>(), [0, 3, 6, 9]);
        let ends = |size, most| -> Vec<(u64, u64)> {
            blocks(size, most).into_iter().map(|block| (block.start, block.end)).collect()
        };
        assert_eq!((ends(0, 9), ends(9, 9), ends(10, 4)), (vec![], vec![(0, 9)], vec![(3, 7)]));
        assert_eq!(blocks(BLOCK + 1, BYTES), [0..BLOCK, BLOCK..BLOCK + 1]);
        assert_eq!(blocks(u64::MAX, 2 * BLOCK), [0..BLOCK, u64::MAX - BLOCK..u64::MAX]);
        let many = blocks(u64::MAX, BYTES);
        assert_eq!(many.iter().map(|block| block.end - block.start).sum::<u64>(), BYTES);
        assert_eq!((many[0].start, many.last().unwrap().end), (0, u64::MAX));
    }

    /// The test images in a folder.
    fn open(dir: &Path) -> Box<dyn Dataset> {
        Options { split: Split::Test, ..Options::default() }.open(dir).unwrap()
    }

    /// Copies a folder.
    fn copy(from: &Path, to: &Path) {
        for entry in walkdir::WalkDir::new(from) {
            let entry = entry.unwrap();
            let target = to.join(entry.path().strip_prefix(from).unwrap());
            match entry.file_type().is_dir() {
                true => std::fs::create_dir_all(target).unwrap(),
                false => drop(std::fs::copy(entry.path(), target).unwrap()),
            }
        }
    }

    /// Folders of images, as an ImageFolder and with a file of labels.
    fn folders(within: &Path) -> [PathBuf; 2] {
        let (classes, flat) = (within.join("classes"), within.join("flat"));
        let image = swa_testing::fixtures().join("pixels/jpeg/420.jpg");
        for dir in [&classes.join("a"), &classes.join("b"), &flat] {
            std::fs::create_dir_all(dir).unwrap();
            std::fs::copy(&image, dir.join("1.jpg")).unwrap();
        }
        std::fs::write(flat.join("labels.csv"), "file,label\n1.jpg,0\n").unwrap();
        [classes, flat]
    }

    #[test]
    fn every_convention_tells_one_other_byte_from_a_copy() {
        let fixtures = swa_testing::fixtures();
        let names = ["cifar-10-batches-bin", "cifar-100-python", "webdataset", "huggingface"];
        let made = tempfile::tempdir().unwrap();
        let mut all: Vec<PathBuf> = names.map(|name| fixtures.join("data").join(name)).into();
        all.push(fixtures.join("fashion-mnist"));
        all.extend(folders(made.path()));
        for from in all {
            let dir = tempfile::tempdir().unwrap();
            copy(&from, dir.path());
            let (original, dataset) = (open(&from), open(dir.path()));
            let before = of_files(dataset.as_ref(), &Silent).unwrap();
            assert_eq!(before, of_files(original.as_ref(), &Silent).unwrap(), "{from:?}: a copy");
            let last = dataset.file(dataset.files() - 1);
            let mut bytes = std::fs::read(&last).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            // Not in place: the dataset may have mapped it.
            std::fs::write(dir.path().join("new"), &bytes).unwrap();
            std::fs::rename(dir.path().join("new"), &last).unwrap();
            assert_ne!(of_files(dataset.as_ref(), &Silent).unwrap(), before, "{last:?}");
        }
    }

    #[test]
    fn an_image_that_is_not_there_counts_as_that() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::os::unix::fs::symlink("nowhere.png", dir.path().join("a/1.png")).unwrap();
        let dataset = open(dir.path());
        let absent = of_files(dataset.as_ref(), &Silent).unwrap();
        std::fs::write(dir.path().join("a/nowhere.png"), "x").unwrap();
        assert_ne!(of_files(dataset.as_ref(), &Silent).unwrap(), absent);
    }
}
