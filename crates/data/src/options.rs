//! What a directory is opened with.

use std::path::PathBuf;

use swa_base::choices;

use crate::split::Split;

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

/// What a directory is opened with, beside its name.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which part is meant, where the directory holds several.
    pub split: Split,
    /// The convention; None: the first one that fits.
    pub format: Option<Format>,
    /// The file with a flat folder's labels; None: a file with one of the usual names beside the images.
    pub labels: Option<PathBuf>,
    /// All class names, where the labels do not name every class: a file, or a folder with a sub-folder for
    /// each class.
    pub classes: Option<PathBuf>,
}
