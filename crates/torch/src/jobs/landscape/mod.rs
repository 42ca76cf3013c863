//! Loss and error on a plane, a line or rays through models.

mod draw;
mod images;
mod merge;
mod options;
mod weights;

pub use draw::draw_landscape;
pub use merge::{MergeLandscape, merge_landscape};
pub use options::{Bn, DrawLandscape, Drawn, Landscape, Points, SavedPoints};
