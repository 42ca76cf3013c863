//! What a pass needs, opened and checked against each other: data, pixels, models, a device.

mod models;
mod opened;
mod options;
mod pace;
pub(crate) mod pixels;
mod probe;
mod programs;

pub(crate) use opened::{Purpose, Session, Wanted};
pub use options::{Images, Networks, Options, Pixels};
pub(crate) use pace::Pace;
pub use pace::Speed;
