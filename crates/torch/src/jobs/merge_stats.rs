//! Writing a model from the parts of a batchnorm pass.

use std::path::PathBuf;
use std::time::Instant;

use swa_tools::checkpoint::Take;
use swa_tools::output::check_target;
use swa_tools::{Choice, Error, Progress, Result};

use super::sharing::{digests, names};
use super::update_bn::{TOOL, of_part, since};
use super::updated::ModelFile;
use super::{Output, Updated, say_skipped};
use crate::bn_update::{self, Method};
use crate::nn::{Freeze, Recognised};
use crate::parts::Set;

/// Which model, and the parts of a pass over data.
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
    /// Do not compare the model with the checksums in it.
    pub no_verify: bool,
    /// How many images may have been left out in all parts together.
    pub allow_bad: usize,
}

/// Writes the model that one process would have written that does all parts.
///
/// # Errors
/// `Input` for parts of different passes, of another model, missing or repeated ones; those of reading and writing.
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
    let Recognised { arch, batchnorms, .. } =
        Recognised::of(checkpoint, options.arch.as_deref(), &freeze)?;
    let method = settings["method"].as_str().and_then(Method::named);
    let method = method.ok_or_else(|| Error::input("the parts name no method that is known"))?;
    let part = set.merge(bn_update::accumulator(&batchnorms, method), options.allow_bad)?;
    let collected = of_part(&arch.name, &batchnorms, &part)?;
    say_skipped(progress, &collected.skipped);
    let updated = model.write(collected, output)?;
    Ok(Updated { seconds: since(started), ..updated })
}
