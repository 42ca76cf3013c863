//! A picture from the parts of its points.

use std::path::PathBuf;
use std::time::Instant;

use swa_tools::{Error, Kind, Progress, Result};

use super::options::{Landscape, TOOL};
use crate::jobs::common::since;
use crate::jobs::sharing::State;
use crate::landscape::{About, Results};
use crate::parts::Set;

/// Options of [`merge_landscape()`].
#[derive(Debug, Clone)]
pub struct MergeLandscape {
    /// All parts, in any order.
    pub parts: Vec<PathBuf>,
}

/// The outcome that a single process would have had. Neither models nor data are read.
///
/// # Errors
/// `Mismatch` for parts of different pictures; `Input` if one is missing, repeated or unfinished; `Damaged`; those of
/// reading.
pub fn merge_landscape(options: &MergeLandscape, _: &dyn Progress) -> Result<Landscape> {
    let started = Instant::now();
    let set = Set::open(&options.parts)?;
    set.expect_tool(TOOL)?;
    let damaged = |what: &str| Error::new(Kind::Damaged, what.to_string());
    let about: About = serde_json::from_value(set.notes().clone())
        .map_err(|_| damaged("the parts do not say what they are about"))?;
    let points = about.places().len();
    if set.identity().get("batches").as_u64() != Some(points as u64) {
        return Err(damaged("the parts are about other points than they have"));
    }
    let empty = Results::empty(points, about.models.len(), about.test_images);
    let results = set.merge(empty, 0)?.content;
    if (0..points).any(|point| results.at(point).is_none()) {
        return Err(damaged("the parts lack a point"));
    }
    Ok(Landscape { about, results, seconds: since(started), state: State::default() })
}
