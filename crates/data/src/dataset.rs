//! What every dataset can be asked, whatever directory convention it comes from.

use std::path::PathBuf;

use swa_base::Result;

use crate::image::Image;

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

    /// Whether there are none. No dataset that [`open`](crate::open) returns is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of classes.
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
    /// `BadImage` where the file does not hold a whole image of a known format, `Limit` where it is too
    /// large, `Io` where it cannot be read, `Changed` where the file is no longer the one that was opened;
    /// from a parquet file also `Damaged` or `Truncated`. Each names the file.
    fn image(&self, index: usize) -> Result<Image>;

    /// The number of files that hold the images.
    fn files(&self) -> usize;

    /// The path of file `place`, counted from 0, in an order that follows from names alone. Panics if `place` is not below
    /// `files`.
    fn file(&self, place: usize) -> PathBuf;

    /// One line for people, such as "ImageFolder `dir`, 50,000 images, 1,000 classes".
    fn describe(&self) -> String;
}
