//! What a job writes, and where: every output with its scheme, its target and its column.

use std::path::{Path, PathBuf};

use super::Average;
use crate::average::{Column, Float, Target};
use crate::checkpoint::Checkpoint;
use crate::output::{Format, LikeFolder, check_folder, check_target};
use crate::schemes::{Fit, Scheme, Snapshots};
use crate::{Error, Result, setting, store};

/// What stands for the number of snapshots in the paths of [`Scheme::Prefix`].
const NUMBER: &str = "{n}";

/// What to write.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// A file, in the format that its name ends in, or a folder, if the inputs are folders and it ends in
    /// neither. For [`Scheme::Prefix`] `{n}` in it stands for 1, 2, … N.
    pub path: PathBuf,
    /// How much each checkpoint counts.
    pub scheme: Scheme,
    /// The type of its averaged tensors, in place of that of the options.
    pub dtype: Option<Float>,
    /// A PyTorch file, or a folder of torch.distributed.checkpoint: the output is a copy of it with the result in the
    /// place of its weights.
    pub like: Option<PathBuf>,
    /// Write a folder of shards with at most so many bytes of tensors each.
    pub max_shard_size: Option<u64>,
}

/// All outputs of a job: an entry of each list for each.
#[derive(Default)]
pub(super) struct Planned {
    pub targets: Vec<Target>,
    pub columns: Vec<Column>,
    pub schemes: Vec<Scheme>,
    pub fits: Vec<Option<Fit>>,
}

impl Planned {
    /// Checked as far as no tensor is needed for it.
    pub fn of(options: &Average, inputs: &[Checkpoint], snapshots: &Snapshots) -> Result<Self> {
        if options.outputs.is_empty() {
            return Err(Error::usage(concat!(setting!("output"), " is needed")));
        }
        let mut planned = Planned::default();
        for output in &options.outputs {
            let paths = output.paths(inputs.len())?;
            // A path that cannot be is said before weights that cannot be.
            for path in &paths {
                planned.targets.push(output.target(path, options, inputs)?);
            }
            for weighted in output.scheme.weights(snapshots)? {
                planned.columns.push(match output.dtype {
                    Some(dtype) => weighted.column.with_dtype(dtype),
                    None => weighted.column,
                });
                planned.schemes.push(output.scheme.clone());
                planned.fits.push(weighted.fit);
            }
        }
        Ok(planned)
    }
}

impl Output {
    /// One, or for prefixes of so many snapshots as many.
    fn paths(&self, n: usize) -> Result<Vec<PathBuf>> {
        if self.scheme != Scheme::Prefix {
            return Ok(vec![self.path.clone()]);
        }
        let text = self.path.to_str().filter(|text| text.contains(NUMBER)).ok_or_else(|| {
            Error::usage(format!(
                "a prefix of 1, 2, … snapshots each needs a name: `{NUMBER}` is missing"
            ))
            .at(&self.path)
            .remedy(format!("such as {} prefix=swa_{NUMBER}.safetensors", setting!("output")))
        })?;
        Ok((1..=n).map(|m| text.replace(NUMBER, &m.to_string()).into()).collect())
    }

    /// Where an output goes: checked before any work is done.
    fn target(&self, path: &Path, options: &Average, inputs: &[Checkpoint]) -> Result<Target> {
        let Output { like, max_shard_size, .. } = self;
        let (path, force) = (path.to_path_buf(), options.force);
        let files = inputs.iter().flat_map(|input| input.files().iter().map(|f| f.path()));
        let paths = inputs.iter().map(|input| input.path()).chain(files);
        let paths: Vec<PathBuf> = paths.map(Path::to_path_buf).collect();
        Format::check(&path)?;
        let format = Format::of(&path);
        if let Some(like) = like
            && store::is_folder(like)?
        {
            if format.is_some() {
                return Err(Error::usage(concat!(setting!("like"), ": a folder gives a folder"))
                    .at(&path)
                    .remedy("name one, without .safetensors or .pth"));
            }
            check_folder(&path, force, &[&paths[..], std::slice::from_ref(like)].concat())?;
            let model = Box::new(LikeFolder::open(like, &options.take)?);
            return Ok(Target::LikeFolder { path, model });
        }
        if let Some(like) = like {
            check_target(&path, force, &paths)?;
            if format == Some(Format::Safetensors) {
                return Err(Error::usage(concat!(setting!("like"), " writes a PyTorch file"))
                    .at(&path)
                    .remedy("end the name in .pth or .ckpt"));
            }
            let model = Box::new(Checkpoint::open_with(like, &options.take)?);
            return Ok(Target::Like { path, model });
        }
        if format.is_some() && max_shard_size.is_some() {
            return Err(Error::usage(concat!(setting!("max_shard_size"), " writes a folder"))
                .at(&path)
                .remedy("name one, without .safetensors"));
        }
        let folders = inputs.last().is_some_and(Checkpoint::is_folder);
        if format.is_none() && (folders || max_shard_size.is_some()) {
            check_folder(&path, force, &paths)?;
            return Ok(Target::Folder { path, max_shard: *max_shard_size });
        }
        check_target(&path, force, &paths)?;
        Ok(Target::File { path, format: format.unwrap_or(Format::Safetensors) })
    }
}
