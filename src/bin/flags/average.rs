//! Flags of swa-avg, and what they mean to a job.

#[path = "metrics.rs"]
mod metrics;

use std::ffi::OsString;
use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::Parser;
use regex::Regex;
use swa_cli::{Common, TakeArgs, at_least_one, choice, parse_size};
use swa_tools::average::{self, BnStats, Float, Keys};
use swa_tools::checkpoint::Take;
use swa_tools::jobs::Output;
use swa_tools::select::{Criteria, parse_range};
use swa_tools::{Result, choices};

use crate::schemes::SchemeArgs;

use super::follow::FollowArgs;
use super::share::ShareArgs;

/// Averages the weights of checkpoints into one model: the exact mean of every floating-point tensor,
/// rounded once to the tensor's own type. Integers and booleans come from the last checkpoint. Inputs are
/// sorted in natural order (epoch_9 before epoch_10), in whatever order they are given.
#[derive(Parser)]
#[command(
    name = "swa-avg",
    version,
    after_help = "\
Examples:
  swa-avg ckpt_*.safetensors -o swa.safetensors
  swa-avg runs/7 --start 161 -o swa.safetensors            epochs 161 and later
  swa-avg 'runs/7/step_*' --start 5000 --every 5000 -o swa.safetensors
                                                           the end of each cycle
  swa-avg 'out/checkpoint-*' --last 5 -o averaged_model    folders of Hugging Face models
  swa-avg lightning/*.ckpt -o swa.pth                      files of any trainer, even mixed
  swa-avg runs/7 --metrics summary.csv --by eval_top1:max --top 5 -o swa.safetensors
  swa-avg runs/7 --metrics metrics.csv --swad val_loss -o swa.safetensors
  swa-avg epoch=*.ckpt --like last.ckpt -o resume.ckpt     the average inside a copy of last.ckpt
  swa-avg a.safetensors b.safetensors --weights 1,3 -o soup.safetensors
  swa-avg ckpt_* -o mean=swa.pth -o ema:0.9=ema.pth        two averages, the inputs read once
  swa-avg ckpt_*.safetensors -o swa.safetensors --dry-run
  swa-avg --follow 'run/ckpt_*.safetensors' -o swa.safetensors --state swa.state
  swa-avg --state swa.state new.safetensors -o swa.safetensors
  swa-avg 'step-*' -o averaged --shard 0/8                 one of 8 processes; docs/scale.md
  swa-avg --finish averaged                                when all are done
  swa-avg --list epoch_10.pth
  swa-avg --verify swa.safetensors

Exit codes: 0 done, 2 usage, 3 bad input, 4 read or write failed, 5 an input changed, 6 a limit."
)]
pub struct Args {
    /// Checkpoint files of any trainer (safetensors, .pth, .pt, .ckpt, …), folders that hold such files or
    /// a model (Hugging Face, torch.distributed.checkpoint, DeepSpeed), or quoted patterns
    #[arg(required_unless_present_any = ["state", "finish"], value_name = "CHECKPOINT")]
    pub inputs: Vec<PathBuf>,

    /// The file to write: .safetensors, or .pth (as torch.save writes it). If the inputs are folders and
    /// PATH has neither ending, a folder is written. May be given several times, with a SCHEME each: the inputs are
    /// read once for all
    #[arg(short, long, value_name = "[SCHEME=]PATH", required_unless_present_any = ["verify", "list", "finish"])]
    pub output: Vec<OsString>,

    /// Overwrite outputs that exist (a folder is replaced as a whole)
    #[arg(long)]
    pub force: bool,

    /// Print what checkpoints hold and which tensors would be averaged; write nothing
    #[arg(long, conflicts_with_all = ["output", "dry_run", "verify"])]
    pub list: bool,

    /// Check files against the checksums stored in them; write nothing
    #[arg(long, conflicts_with_all = ["output", "dry_run", "no_verify"])]
    pub verify: bool,

    /// Do not check inputs against the checksums stored in them
    #[arg(long)]
    pub no_verify: bool,

    /// Check names, shapes and types, and print the plan; write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Leave out epochs or steps before S, by the number in the name
    #[arg(long, value_name = "S", help_heading = "Which checkpoints")]
    pub start: Option<u64>,

    /// Take every K-th number, counted from --start or the smallest: with --start K
    /// the end of each cycle
    #[arg(long, value_name = "K", value_parser = at_least_one::<NonZeroU64>, help_heading = "Which checkpoints")]
    pub every: Option<NonZeroU64>,

    /// Take only the last N of those that remain, by their paths, or by --number where that is given
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroUsize>, help_heading = "Which checkpoints")]
    pub last: Option<NonZeroUsize>,

    /// Take the numbers from A to B, both included; A.. and ..B are open at one end
    #[arg(long, value_name = "A..B", value_parser = parse_range, help_heading = "Which checkpoints")]
    pub range: Option<RangeInclusive<u64>>,

    /// Find the number in a name that has several: REGEX's first group, or its whole match
    #[arg(
        long,
        value_name = "REGEX",
        conflicts_with = "by_position",
        help_heading = "Which checkpoints"
    )]
    pub number: Option<Regex>,

    /// Use positions in natural order, from 1, instead of numbers in names
    #[arg(long, help_heading = "Which checkpoints")]
    pub by_position: bool,

    /// Count checkpoints with the same weights (`last` beside the epoch it repeats) as often as they are named
    #[arg(long, help_heading = "Which checkpoints")]
    pub allow_duplicates: bool,

    #[command(flatten)]
    pub metrics: metrics::MetricsArgs,

    #[command(flatten)]
    pub schemes: SchemeArgs,

    /// Type of the averaged tensors
    #[arg(long, value_parser = choice::<Dtype>(), default_value = "keep", help_heading = "How to average")]
    pub dtype: Dtype,

    /// How to obtain batchnorm's running mean and variance
    #[arg(long, value_parser = choice::<BnStats>(), default_value = "mean", help_heading = "How to average")]
    pub bn_stats: BnStats,

    /// Average NaN and infinity like other numbers; they are counted and reported
    #[arg(long, help_heading = "How to average")]
    pub allow_nonfinite: bool,

    /// Which tensors to write if the checkpoints' tensors differ
    #[arg(long, value_parser = choice::<Keys>(), default_value = "strict", help_heading = "Which tensors")]
    pub keys: Keys,

    /// Include only tensors whose name matches; the others are left out of the output
    #[arg(long, value_name = "REGEX", help_heading = "Which tensors")]
    pub include: Option<Regex>,

    /// Exclude tensors whose name matches
    #[arg(long, value_name = "REGEX", help_heading = "Which tensors")]
    pub exclude: Option<Regex>,

    /// Write a copy of FILE (.pth, .ckpt, or a folder of torch.distributed.checkpoint) with the result in place of its
    /// weights. The optimizer and everything else stay, so that a trainer can resume from it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["max_shard_size", "keep_names"], help_heading = "Output")]
    pub like: Option<PathBuf>,

    /// Write a folder of shards, each with at most SIZE bytes of tensors (5GB, 500MB)
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Output")]
    pub max_shard_size: Option<u64>,

    /// Keep names as the first checkpoint has them, including the parts that wrappers (DDP, torch.compile,
    /// FSDP) add
    #[arg(long, help_heading = "Which tensors")]
    pub keep_names: bool,

    #[command(flatten)]
    pub running: FollowArgs,

    #[command(flatten)]
    pub sharing: ShareArgs,

    #[command(flatten)]
    pub take: TakeArgs,

    #[command(flatten)]
    pub common: Common,
}

choices! {
    /// Type of the averaged tensors.
    pub enum Dtype {
        Keep = "keep": "Each tensor keeps its own",
        F32 = "f32": "32 bits",
        F16 = "f16": "16 bits, up to 65,504",
        Bf16 = "bf16": "16 bits with the range of f32",
        F64 = "f64": "64 bits",
    }
}

impl Args {
    pub fn criteria(&self) -> Result<Criteria> {
        Ok(Criteria {
            start: self.start,
            every: self.every,
            last: self.last,
            range: self.range.clone(),
            number: self.number.clone(),
            by_position: self.by_position,
            allow_duplicates: self.allow_duplicates,
            results: self.metrics.results()?,
        })
    }

    pub fn take(&self) -> Take {
        Take { ema: self.take.ema, key: self.take.weights_key.clone(), moments: false }
    }

    pub fn outputs(&self) -> Result<Vec<Output>> {
        let like = Output {
            like: self.like.clone(),
            max_shard_size: self.max_shard_size,
            ..Output::default()
        };
        self.schemes.outputs(&self.output, &like)
    }

    pub fn options(&self) -> average::Options {
        average::Options {
            bn_stats: self.bn_stats,
            keys: self.keys,
            dtype: match self.dtype {
                Dtype::Keep => None,
                Dtype::F32 => Some(Float::F32),
                Dtype::F16 => Some(Float::F16),
                Dtype::Bf16 => Some(Float::BF16),
                Dtype::F64 => Some(Float::F64),
            },
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            allow_nonfinite: self.allow_nonfinite,
            no_verify: self.no_verify,
            keep_names: self.keep_names,
        }
    }
}
