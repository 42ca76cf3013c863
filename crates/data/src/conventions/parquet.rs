//! Parquet files of Hugging Face's data sets: a column `image` of `bytes` and `path`, and a column of labels.
//!
//! Source: the `Image` and `ClassLabel` features of the `datasets` library; class names are in its metadata
//! (key `huggingface`). Files come in natural order, rows as they lie in them.
//!
//! Labels are read at once. An image is read with the page that it is in, often a whole row group, and the
//! most recent pages are kept. An uncompressed page is a part of the mapped file and costs next to nothing; a
//! compressed one is unpacked. If a column has a dictionary, every page brings it along.

mod columns;
mod file;
mod parts;
mod values;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use rayon::prelude::*;

use super::shards::check_complete;
use crate::dataset::{Classes, Dataset};
use crate::decode;
use crate::image::Image;
use crate::listing::Listing;
use crate::options::Options;
use crate::split::Split;
use crate::text::{grouped, numbered_otherwise};
use file::{File, Page, PageId};
use swa_base::text::printable;
use swa_base::{Error, Kind, Result, setting};
use swa_tools::select::natural;

pub(super) const HOLDS: &str = "a folder with parquet files of Hugging Face";

/// How much memory unpacked pages may keep, in bytes.
const KEPT: u64 = 256 << 20;

pub(super) fn sniff(listing: &Listing) -> bool {
    let ends = |name: &OsString, ending: &[u8]| name.as_encoded_bytes().ends_with(ending);
    listing.files.iter().any(|name| ends(name, b".parquet") || ends(name, b".arrow"))
}

pub(super) fn open(dir: &Path, listing: &Listing, options: &Options) -> Result<Box<dyn Dataset>> {
    let is_parquet = |name: &&OsString| name.as_encoded_bytes().ends_with(b".parquet");
    let names: Vec<&OsString> = listing.files.iter().filter(is_parquet).collect();
    if names.is_empty() {
        let error = match sniff(listing) {
            true => Error::new(Kind::Unsupported, "arrow files, which are not read"),
            false => Error::input("no parquet files"),
        };
        return Err(error
            .at(dir)
            .remedy("write parquet: `datasets.load_from_disk(DIR).to_parquet(FILE)`"));
    }
    let part = |name: &&OsString| Split::of_name(&name.to_string_lossy());
    let are_named = names.iter().any(|name| part(name).is_some());
    let mut names = options.split.of(dir, names, part)?;
    check_complete(dir, &names)?;
    names.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
    let label = match &options.label_form.label[..] {
        [] => None,
        [one] => Some(one.as_str()),
        _ => {
            let what = concat!(
                "several columns by ",
                setting!("label_column"),
                ": a parquet file has one"
            );
            return Err(Error::usage(what));
        }
    };
    let files: Vec<Result<File>> =
        names.par_iter().map(|name| File::open(&dir.join(name), label)).collect();
    let files: Vec<File> = files.into_iter().collect::<Result<_>>()?;
    let mut ends = Vec::with_capacity(files.len());
    let mut count = 0;
    for file in &files {
        count += file.labels.len();
        ends.push(count);
    }
    if count == 0 {
        return Err(Error::input("no rows in its parquet files").at(dir));
    }
    let first = &files[0];
    if let Some(other) = files.iter().find(|file| file.class_names != first.class_names) {
        let what = format!("its class names are not those of `{}`", first.name());
        return Err(Error::new(Kind::Mismatch, what)
            .at(other.path())
            .remedy("give the files of one data set"));
    }
    let rows = parts::rows(dir, &files, are_named, options.split)?;
    let labels = || files.iter().flat_map(|file| file.labels.iter().copied());
    let labels: Box<dyn Iterator<Item = u32>> = match &rows {
        None => Box::new(labels()),
        Some(rows) => {
            let mut kept = rows.iter().copied().peekable();
            let is_kept = move |(row, _): &(usize, u32)| kept.next_if_eq(row).is_some();
            Box::new(labels().enumerate().filter(is_kept).map(|(_, label)| label))
        }
    };
    let largest = labels.max().map_or(0, |label| label as usize);
    let names = first.class_names.clone();
    if let Some(names) = &names
        && largest >= names.len()
    {
        let what = format!("a label is {largest}, but its metadata names {} classes", names.len());
        return Err(Error::new(Kind::Damaged, what).at(dir));
    }
    let size = OptionsBuilder::new()
        .estimated_items_capacity(1 << 10)
        .weight_capacity(KEPT)
        .shards(1)
        .build()
        .map_err(|_| Error::limit("cannot make a cache of pages"))?;
    let pages = Cache::with_options(
        size,
        Bytes,
        DefaultHashBuilder::default(),
        DefaultLifecycle::default(),
    );
    let dir = printable(&dir.to_string_lossy());
    Ok(Box::new(Parquet { dir, files, ends, rows, classes: largest + 1, names, pages }))
}

/// Weighs pages by what they keep in memory.
#[derive(Clone)]
struct Bytes;

impl Weighter<(usize, PageId), Arc<Page>> for Bytes {
    fn weight(&self, _: &(usize, PageId), page: &Arc<Page>) -> u64 {
        page.size
    }
}

struct Parquet {
    dir: String,
    files: Vec<File>,
    /// How many rows there are up to the end of each file.
    ends: Vec<usize>,
    /// The rows that count, where a column says to which part of the data each belongs.
    rows: Option<Vec<usize>>,
    /// The largest label plus one.
    classes: usize,
    names: Option<Vec<String>>,
    /// By file and page.
    pages: Cache<(usize, PageId), Arc<Page>, Bytes>,
}

impl Parquet {
    /// The number of a row's file, and the row's there.
    fn place(&self, index: usize) -> (usize, usize) {
        let index = self.rows.as_ref().map_or(index, |rows| rows[index]);
        let file = self.ends.partition_point(|&end| end <= index);
        let start = if file == 0 { 0 } else { self.ends[file - 1] };
        (file, index - start)
    }
}

impl Dataset for Parquet {
    fn len(&self) -> usize {
        let all = self.ends.last().copied().unwrap_or(0);
        self.rows.as_ref().map_or(all, Vec::len)
    }

    fn classes(&self) -> Classes {
        match &self.names {
            Some(names) => Classes::Exactly(names.len()),
            None => Classes::AtLeast(self.classes),
        }
    }

    fn class_names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    fn label(&self, index: usize) -> usize {
        let (file, row) = self.place(index);
        self.files[file].labels[row] as usize
    }

    fn name(&self, index: usize) -> String {
        let (file, row) = self.place(index);
        format!("`{}` #{row}", self.files[file].name())
    }

    fn image(&self, index: usize) -> Result<Image> {
        let (number, row) = self.place(index);
        let file = &self.files[number];
        let decoded = file.page_of(row).and_then(|(id, within)| {
            let page =
                self.pages.get_or_insert_with(&(number, id), || file.page(id).map(Arc::new))?;
            let bytes = page.images[within].as_ref().ok_or_else(|| {
                Error::new(Kind::BadImage, "no bytes, only a path to a file that is elsewhere")
                    .remedy("write the images into the files: `datasets` does with `to_parquet`")
            })?;
            decode::decode(bytes.data())
        });
        decoded.map_err(|error| match file.check_unchanged() {
            Ok(()) => error.at(&file.path().with_file_name(format!("{} #{row}", file.name()))),
            Err(changed) => changed,
        })
    }

    fn files(&self) -> usize {
        self.files.len()
    }

    fn file(&self, place: usize) -> PathBuf {
        self.files[place].path().to_path_buf()
    }

    fn describe(&self) -> String {
        let classes = match self.classes() {
            Classes::Exactly(n) => grouped(n),
            Classes::AtLeast(n) => format!("at least {}", grouped(n)),
        };
        format!(
            "parquet `{}`, {} images in {} files, {classes} classes{}",
            self.dir,
            grouped(self.len()),
            grouped(self.files.len()),
            numbered_otherwise(self.names.as_deref().unwrap_or_default())
        )
    }
}

#[cfg(test)]
mod tests;
