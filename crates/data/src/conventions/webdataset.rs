//! WebDataset: tar shards, in which the files of a sample follow each other and share a name.
//!
//! Source: "The WebDataset format" (webdataset's documentation) and its `group_by_keys`: a member's key is
//! its path up to the first dot behind the last slash, what follows is its kind; a sample is a run of
//! members of one key. The label is `cls`, a number as text, else `label` in `json`. Shards come in
//! natural order, samples as they lie in them.
//!
//! Nothing is extracted: headers are read once, images by position when they are asked for.

mod label;
mod shard;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::shards::check_complete;
use crate::dataset::{Classes, Dataset};
use crate::decode;
use crate::image::Image;
use crate::listing::{Listing, any_image_stem};
use crate::options::Options;
use crate::split::Split;
use crate::text::grouped;
use shard::Shard;
use swa_base::text::printable;
use swa_base::{Error, Result};
use swa_tools::select::natural;

pub(super) const HOLDS: &str = "a folder with tar shards (WebDataset)";

/// Endings of tar files that would have to be unpacked as a whole to find an image.
const COMPRESSED: [&str; 6] = [".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz", ".tar.lz4"];

pub(super) fn sniff(listing: &Listing) -> bool {
    // Beside folders or images, they are the archives that those were unpacked from.
    let is_part =
        |name: &OsString| name.to_str().is_some_and(|name| Split::of_word(name).is_some());
    if listing.folders.iter().any(is_part)
        || listing.files.iter().any(|name| any_image_stem(name).is_some())
    {
        return false;
    }
    let compressed = || listing.folders.is_empty() && listing.files.iter().any(is_compressed);
    listing.files.iter().any(is_shard) || compressed()
}

fn is_shard(name: &OsString) -> bool {
    name.as_encoded_bytes().ends_with(b".tar")
}

fn is_compressed(name: &OsString) -> bool {
    COMPRESSED.iter().any(|ending| name.as_encoded_bytes().ends_with(ending.as_bytes()))
}

pub(super) fn open(dir: &Path, listing: &Listing, options: &Options) -> Result<Box<dyn Dataset>> {
    if let Some(name) = listing.files.iter().find(|name| is_compressed(name)) {
        return Err(shard::compressed().at(&dir.join(name)));
    }
    let names: Vec<&OsString> = listing.files.iter().filter(|name| is_shard(name)).collect();
    if names.is_empty() {
        return Err(Error::input("no tar files").at(dir).remedy(format!("give {HOLDS}")));
    }
    let part = |name: &&OsString| Split::of_name(&name.to_string_lossy());
    let mut names = options.split.of(dir, names, part)?;
    check_complete(dir, &names)?;
    names.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
    let shards: Vec<Result<Shard>> =
        names.par_iter().map(|name| Shard::open(&dir.join(name))).collect();
    let shards: Vec<Shard> = shards.into_iter().collect::<Result<_>>()?;
    let mut ends = Vec::with_capacity(shards.len());
    let mut count = 0;
    for shard in &shards {
        count += shard.samples.len();
        ends.push(count);
    }
    if count == 0 {
        return Err(Error::input("no samples in its shards").at(dir));
    }
    let labels = shards.iter().flat_map(|shard| &shard.samples).map(|sample| sample.label);
    let classes = labels.max().map_or(0, |largest| largest as usize + 1);
    let dir = printable(&dir.to_string_lossy());
    Ok(Box::new(WebDataset { dir, shards, ends, classes }))
}

struct WebDataset {
    dir: String,
    shards: Vec<Shard>,
    /// How many samples there are up to the end of each shard.
    ends: Vec<usize>,
    classes: usize,
}

impl WebDataset {
    /// The shard of a sample, and its place there.
    fn place(&self, index: usize) -> (&Shard, usize) {
        let shard = self.ends.partition_point(|&end| end <= index);
        let start = if shard == 0 { 0 } else { self.ends[shard - 1] };
        (&self.shards[shard], index - start)
    }
}

impl Dataset for WebDataset {
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn classes(&self) -> Classes {
        Classes::AtLeast(self.classes)
    }

    fn class_names(&self) -> Option<&[String]> {
        None
    }

    fn label(&self, index: usize) -> usize {
        let (shard, i) = self.place(index);
        shard.samples[i].label as usize
    }

    fn name(&self, index: usize) -> String {
        let (shard, i) = self.place(index);
        shard.member(i)
    }

    fn image(&self, index: usize) -> Result<Image> {
        let (shard, i) = self.place(index);
        let mut scratch = Vec::new();
        let bytes = shard.image(i, &mut scratch)?;
        decode::decode(bytes).map_err(|error| match shard.source.check_unchanged() {
            Ok(()) => error.at(&shard.source.path().with_file_name(shard.member(i))),
            Err(changed) => changed,
        })
    }

    fn files(&self) -> usize {
        self.shards.len()
    }

    fn file(&self, place: usize) -> PathBuf {
        self.shards[place].source.path().to_path_buf()
    }

    fn describe(&self) -> String {
        format!(
            "WebDataset `{}`, {} images in {} shards, at least {} classes",
            self.dir,
            grouped(self.len()),
            grouped(self.shards.len()),
            grouped(self.classes)
        )
    }
}
