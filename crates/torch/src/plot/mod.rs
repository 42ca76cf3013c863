//! Pictures as SVG, written by hand: the same bytes for the same figures. They have a light background and are made to
//! be read at 700 pixels.
//!
//! | file | holds |
//! |---|---|
//! | `svg` | the document and its text |
//! | `ramp` | colours |
//! | `scale` | from values to pixels, and which values an axis names |
//! | `frame` | a panel's axes, and curves in it |
//! | `smooth` | a finer grid of values |
//! | `contour` | where a grid of values is above a level |
//! | `levels` | which levels |
//! | `plane` | filled contours with markers |
//! | `curves` | panels of curves |

mod contour;
mod curves;
mod frame;
mod levels;
mod plane;
mod ramp;
mod scale;
mod smooth;
mod svg;

pub(crate) use curves::{Curve, Curves, Guide, Panel, Stroke};
pub(crate) use levels::Levels;
pub(crate) use plane::{Mark, Plane, Shape, Surface};
pub(crate) use ramp::series;
pub(crate) use svg::{begin, escaped, shortened};
