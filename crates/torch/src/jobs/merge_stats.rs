//! Writing a model from the parts of a batchnorm pass.

use std::path::PathBuf;
use std::time::Instant;

use swa_tools::checkpoint::Take;
use swa_tools::output::check_target;
use swa_tools::{Choice, Error, Kind, Progress, Result};

use super::common::{note_skipped, since};
use super::sharing::{digests, names, program_digests};
use super::update_bn::{TOOL, of_part};
use super::updated::{Collected, ModelFile, Output, Updated};
use crate::bn_update::{self, Method};
use crate::nn::{Candidates, Freeze, Recognised};
use crate::parts::Set;

/// Options of [`merge_stats()`].
#[derive(Debug, Clone)]
pub struct MergeStats {
    /// The model that the parts were made with.
    pub model: PathBuf,
    /// All parts, in any order.
    pub parts: Vec<PathBuf>,
    /// The file to write.
    pub output: Output,
    /// Which of the weights in a file are meant.
    pub take: Take,
    /// The architecture by name; None: recognised.
    pub arch: Option<String>,
    /// What the names of the network's tensors begin with, as in the passes.
    pub network: Option<String>,
    /// Exported programs, as for the parts.
    pub programs: Vec<PathBuf>,
    /// Do not compare the model with the checksums in it.
    pub no_verify: bool,
    /// How many images may have been left out in all parts together.
    pub allow_bad: usize,
}

/// Writes the model that a single process would have written. No images are read.
///
/// # Errors
/// `Mismatch` for parts of different passes or of another model; `Input` if one is missing, repeated or unfinished;
/// `Damaged`, `BadImage`, `OutputExists`; those of reading and writing.
pub fn merge_stats(options: &MergeStats, progress: &dyn Progress) -> Result<Updated> {
    let started = Instant::now();
    let output = &options.output;
    check_target(&output.path, output.force, &options.parts)?;
    let set = Set::open(&options.parts)?;
    set.expect_tool(TOOL)?;
    let model = ModelFile::open(progress, &options.take, &options.model, Some(output))?;
    let checkpoint = model.checkpoint();
    if !options.no_verify {
        checkpoint.verify(&|_| {})?;
    }
    set.expect_models(&digests(&model.checkpoints)?, &names(&model.checkpoints))?;
    let settings = set.identity().get("settings");
    let frozen = settings["frozen"].as_array().into_iter().flatten();
    let frozen = frozen.filter_map(|name| name.as_str().map(String::from)).collect();
    let freeze = Freeze::listed(frozen);
    let candidates = Candidates {
        network: options.network.clone(),
        headless: true,
        ..Candidates::open(options.arch.as_deref(), &options.programs)?
    };
    let Recognised { arch, batchnorms, program, .. } =
        Recognised::of(checkpoint, &candidates, &freeze)?;
    let digests = program_digests([program.as_deref()].into_iter());
    set.expect_programs(&digests.unwrap_or_default())?;
    let method = settings["method"].as_str().and_then(Method::named);
    let method =
        method.ok_or_else(|| Error::new(Kind::Damaged, "the parts name no known method"))?;
    let part = set.merge(bn_update::accumulator(&batchnorms, method), options.allow_bad)?;
    let collected = Collected { program, ..of_part(&arch, &batchnorms, &part)? };
    note_skipped(progress, &collected.skipped);
    let updated = model.write(collected, output)?;
    Ok(Updated { seconds: since(started), ..updated })
}
