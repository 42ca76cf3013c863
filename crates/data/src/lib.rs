//! A directory becomes samples, samples become pixels.
//!
//! | step | where |
//! |---|---|
//! | a directory is recognised as one of the conventions and opened | [`open`], [`Options`] |
//! | labels are there at once, images are decoded when asked for | [`Dataset`], [`decode`] |
//! | an image is resized and cropped as torchvision does it on Pillow | [`Transform`], [`Preset`] |
//! | or augmented as in training | [`Training`] |
//! | an order is drawn, and batches are made ahead of their use | [`Order`], [`Loader`] |
//!
//! Pixels stay 8-bit: normalisation happens on the device. [`placement`] is the one mechanism behind evaluation
//! and training, [`resize`] holds its arithmetic.
//!
//! Errors are those of [`swa_base`]: [`BadImage`](swa_base::Kind::BadImage) for an image that cannot be decoded,
//! which a [`Loader`] may skip; `Truncated`, `Damaged`, `Unsupported` or `Mismatch` for the files that hold images
//! and labels; `Limit` for what is too large; `Usage` for settings that contradict each other.
//!
//! A new directory convention is one file in `conventions` and one line in its table.

#![deny(missing_docs)]

pub mod augment;
mod class_map;
mod conventions;
mod dataset;
pub mod decode;
pub mod digest;
mod image;
mod listing;
pub mod loader;
mod options;
pub mod order;
pub mod placement;
pub mod preset;
pub mod random;
pub mod resize;
mod split;
mod text;
pub mod transform;

pub use augment::{Augmentation, Training};
pub use class_map::ClassMap;
pub use conventions::open;
pub use dataset::{Classes, Dataset};
pub use image::{Image, MAX_PIXELS};
pub use listing::EXTENSIONS;
pub use loader::{Batch, Loader};
pub use options::{Format, LabelForm, Options};
pub use order::Order;
pub use preset::{PRESETS, Preset};
pub use resize::Interpolation;
pub use split::Split;
pub use transform::Transform;
