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
    /// How that file is read, where its form leaves a question.
    pub label_form: LabelForm,
    /// All class names, where the labels do not name every class: a file, or a folder with a sub-folder for
    /// each class.
    pub classes: Option<PathBuf>,
}

/// How a label file is read, where its form leaves a question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelForm {
    /// The column of the labels, by its heading or its number from 1. Several: one column a class, with a 1 where an
    /// image is of that class. Empty: known from the file, or the file is refused.
    pub label: Vec<String>,
    /// The column of the images' names, likewise.
    pub image: Option<String>,
    /// The number of the first class, 0 or 1; None: known from the numbers, or the file is refused.
    pub first: Option<u32>,
}
