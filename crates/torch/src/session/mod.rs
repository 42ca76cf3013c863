//! What a pass needs, opened and checked against each other: data, pixels, models, a device.

mod batches;
mod data;
mod models;
mod opened;
mod options;
mod pace;
pub(crate) mod pixels;
mod probe;
mod purpose;
mod trial;

pub(crate) use models::{check_classes, same_classes};
pub(crate) use opened::Session;
pub use options::{Augment, Images, Networks, Options, Pixels};
pub(crate) use pace::Pace;
pub use pace::Speed;
pub(crate) use purpose::{Purpose, Wanted};
