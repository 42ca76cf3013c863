//! What a pass needs, opened and checked against each other: data, pixels, models, a device.

mod opened;
mod options;
mod pace;
pub(crate) mod pixels;

pub(crate) use opened::{DEFAULT_BATCH, Purpose, Session};
pub use options::{Images, Networks, Options, Pixels};
pub(crate) use pace::Pace;
pub use pace::Speed;
