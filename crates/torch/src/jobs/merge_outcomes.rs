//! An evaluation from the parts of a pass.

use std::path::PathBuf;
use std::time::Instant;

use swa_tools::{Error, Kind, Progress, Result};

use super::common::{note_skipped, since};
use super::evaluate::TOOL;
use super::evaluated::{About, Evaluated};
use super::files::Files;
use crate::evaluate;
use crate::parts::Set;

/// Options of [`merge_outcomes()`].
#[derive(Debug, Clone)]
pub struct MergeOutcomes {
    /// All parts, in any order.
    pub parts: Vec<PathBuf>,
    /// How many images may have been left out in all parts together.
    pub allow_bad: usize,
    /// Files to make of the outcome. They are checked first; `report::write_files` writes them.
    pub files: Files,
}

/// The outcome that a single process would have had. Neither models nor data are read.
///
/// # Errors
/// `Mismatch` for parts of different passes; `Input` if one is missing, repeated or unfinished; `Damaged`, `BadImage`;
/// those of reading.
pub fn merge_outcomes(options: &MergeOutcomes, progress: &dyn Progress) -> Result<Evaluated> {
    let started = Instant::now();
    options.files.check(&options.parts)?;
    let set = Set::open(&options.parts)?;
    set.expect_tool(TOOL)?;
    let about = About::of_notes(set.notes())
        .ok_or_else(|| Error::new(Kind::Damaged, "the parts do not say what they are about"))?;
    let models = set.models().len();
    let with_ensemble = !set.identity().get("settings")["ensemble"].is_null();
    let empty = evaluate::Evaluation::empty(models, with_ensemble);
    let whole = Evaluated::of_part(about, &set.merge(empty, options.allow_bad)?)?;
    note_skipped(progress, &whole.skipped);
    Ok(Evaluated { seconds: since(started), ..whole })
}
