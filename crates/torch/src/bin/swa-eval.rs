//! swa-eval: flags, the job that they ask for, and its report.

#[path = "flags/mod.rs"]
mod flags;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{ArgMatches, CommandFactory, Parser};
use swa_cli::{Common, TakeArgs};
use swa_tools::text::{shell_word, with_suffix};
use swa_tools::{Error, Result, process};
use swa_torch::jobs::{self, Evaluate, Evaluated, Evaluation, Files, MergeOutcomes};
use swa_torch::nn::libtorch;
use swa_torch::report::{ComparisonReport, EvaluationReport, SoupReport, SwagReport, write_files};

use flags::data::{DataArgs, list_archs};
use flags::devices::{self, DevicesArgs};
use flags::evaluation::{CompareArgs, FileArgs};
use flags::sampling::SamplingArgs;
use flags::sharing::{self, PartArgs};

/// Evaluates any number of models in one pass over the data: top-1 with its 95 % interval, top-5,
/// negative log-likelihood (nll), expected calibration error (ece), and how each model differs from
/// the first on the same images, with McNemar's exact p.
#[derive(Parser)]
#[command(
    name = "swa-eval",
    version,
    override_usage = "swa-eval <MODEL>... --data <DIR> [OPTIONS]",
    after_help = "\
Examples:
  swa-eval swa_bn.safetensors ckpt_0010.safetensors --data imagenet/val
  swa-eval swa_bn.safetensors --data imagenet/val --json
  swa-eval ckpt_*.safetensors --data fashion-mnist --preset fashion-mnist --ensemble
  swa-eval swa_bn.safetensors ckpt_*.safetensors --data val --ensemble='ckpt_*'
  swa-eval swa.safetensors --data val --compare-stats --bn-data train --last ckpt_0010.safetensors
  swa-eval swag.safetensors --data val --swag-samples 30 --bn-data train
  swa-eval finetuned/*.pth --data held-out --soup soup.safetensors --bn-data train
  swa-eval swa_bn.safetensors --data val --per-class classes.csv --confusion confusion.csv
  swa-eval swa_bn.safetensors --data imagenette2/val --class-map imagenet_class_index.json

Shared between the GPUs of this machine, or between processes and machines (docs/scale.md), and merged:
  swa-eval swa_bn.safetensors --data imagenet/val --devices all
  swa-eval swa_bn.safetensors --data imagenet/val --shard 0/2 --save-outcomes part_0
  swa-eval swa_bn.safetensors --data imagenet/val --shard 1/2 --save-outcomes part_1
  swa-eval --merge-outcomes part_0 part_1

Exit codes: 0 done, 2 usage, 3 bad input, 4 read or write failed, 5 an input changed, 6 a limit."
)]
struct Args {
    /// Models to evaluate, in the order of the table: checkpoint files of any trainer, or folders with a
    /// model
    #[arg(value_name = "MODEL", required_unless_present_any = ["list_archs", "merge"])]
    models: Vec<PathBuf>,

    /// Add the ensemble of the models: the mean of their softmax outputs. With a pattern, only of the models
    /// whose file name matches
    #[arg(long, value_name = "PATTERN", conflicts_with = "compare_stats", num_args = 0..=1, require_equals = true, default_missing_value = "*")]
    ensemble: Option<String>,

    #[command(flatten)]
    data: DataArgs,

    /// With --class-map: leave the other outputs out of the ranking, as is the custom for ImageNet-A and -R
    #[arg(long, requires = "class_map", help_heading = "Data")]
    class_map_restrict: bool,

    /// Most models on the device at a time, if not all fit: they take turns, and each image is still decoded
    /// once [default: as many as its memory holds]
    #[arg(long, value_name = "N", conflicts_with = "compare_stats", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Network")]
    models_at_once: Option<u32>,

    #[command(flatten)]
    files: FileArgs,

    #[command(flatten)]
    compare: CompareArgs,

    #[command(flatten)]
    sampling: SamplingArgs,

    #[command(flatten)]
    take: TakeArgs,

    /// Write what was collected to PART, in place of a table
    #[arg(
        id = "save",
        long = "save-outcomes",
        value_name = "PART",
        help_heading = "Sharing and interruption"
    )]
    save: Option<PathBuf>,

    /// Print the table, and write files, from the PARTs that other processes saved, in any order; neither
    /// models nor data are read
    #[arg(id = "merge", long = "merge-outcomes", value_name = "PART", num_args = 1..,
          conflicts_with_all = ["save", "resume", "models"], help_heading = "Sharing and interruption")]
    merge: Vec<PathBuf>,

    #[command(flatten)]
    parts: PartArgs,

    #[command(flatten)]
    devices: DevicesArgs,

    #[command(flatten)]
    common: Common,
}

#[allow(unsafe_code)]
pub fn main() -> ExitCode {
    let (args, matches) =
        swa_cli::parse_with::<Args>(|| swa_cli::long_version!(libtorch::version()));
    // SAFETY: no other thread was started, and libtorch was not used.
    unsafe { libtorch::prepare(args.data.precision) };
    swa_cli::run(&args.common, || {
        process::watch()?;
        if args.data.list_archs {
            return list_archs();
        }
        if !args.merge.is_empty() {
            let known = ["per_class", "confusion", "reliability"];
            flags::merge::check(&matches, "--merge-outcomes", &known)?;
            return merge(&args, &args.merge, Instant::now());
        }
        match (&args.sampling.swag_samples, &args.sampling.soup) {
            (Some(samples), _) => swag(&args, *samples),
            (_, Some(output)) => soup(&args, output),
            _ if args.compare.compare_stats => compare(&args),
            _ if args.devices.devices.is_some() => share(&args, &matches),
            _ => run(&args),
        }
    })
}

fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let options = Evaluate {
        models: args.models.clone(),
        data: args.data.options(common, &args.take)?,
        ensemble: args.ensemble.clone(),
        models_at_once: args.models_at_once.map(|n| n as usize),
        class_map_restrict: args.class_map_restrict,
        files: args.files.files(),
        sharing: args.parts.sharing(common, args.save.as_deref(), args.files.force)?,
    };
    match jobs::evaluate(&options, &common.terminal())? {
        Evaluation::Whole(evaluated) => report(common, &options.files, evaluated),
        Evaluation::Part(part) => {
            sharing::report(common, &part, "swa-eval --merge-outcomes PART...")
        }
    }
}

/// One pass by several processes.
fn share(args: &Args, matches: &ArgMatches) -> Result<()> {
    let (common, started, files) = (&args.common, Instant::now(), &args.files);
    if files.predictions.is_some() || files.logits.is_some() {
        let what = "--devices does not go with --predictions and --logits";
        return Err(Error::usage(what).remedy("leave it out: one process writes them"));
    }
    files.files().check(&[])?;
    let (command, progress) = (Args::command(), common.terminal());
    let made = ("--save-outcomes", &["per_class", "confusion", "reliability"][..]);
    let parts = devices::parts(&args.devices, common, (&command, matches), made, &progress)?;
    let parts = parts.ok_or_else(|| Error::usage("--devices names none"))?;
    merge(args, &parts.paths, started)
}

fn merge(args: &Args, parts: &[PathBuf], started: Instant) -> Result<()> {
    let common = &args.common;
    let options = MergeOutcomes {
        parts: parts.to_vec(),
        allow_bad: args.data.allow_bad,
        files: args.files.files(),
    };
    let evaluated = jobs::merge_outcomes(&options, &common.terminal())?;
    let seconds = started.elapsed().as_secs_f64();
    report(common, &options.files, Evaluated { seconds, ..evaluated })
}

fn report(common: &Common, files: &Files, mut evaluated: Evaluated) -> Result<()> {
    let report = EvaluationReport::of(&evaluated);
    // Before the files: a full disk does not take the table along.
    common.json(&report)?;
    common.say(report.text())?;
    EvaluationReport::remarks(&evaluated).iter().for_each(|remark| common.note(remark));
    write_files(files, &mut evaluated, &mut |path| {
        common.say(format!("wrote {}", shell_word(&path)))
    })?;
    evaluated.state.remove()
}

/// Fails for flags that are of a single pass.
fn is_several_passes(args: &Args, flag: &str) -> Result<()> {
    if let Some(other) = args.files.first() {
        return Err(Error::usage(format!("{other} does not go with {flag}")));
    }
    if args.ensemble.is_some() || args.models_at_once.is_some() {
        return Err(Error::usage(format!("--ensemble and --models-at-once do not go with {flag}")));
    }
    let PartArgs { shard, resume } = &args.parts;
    let is_shared = args.save.is_some() || shard.is_some() || args.devices.devices.is_some();
    if is_shared || resume.is_some() {
        let what = format!("{flag} is several passes: it is neither shared nor kept");
        let remedy = "leave --shard, --devices, --save-outcomes and --resume out";
        return Err(Error::usage(what).remedy(remedy));
    }
    Ok(())
}

fn swag(args: &Args, samples: usize) -> Result<()> {
    let common = &args.common;
    is_several_passes(args, "--swag-samples")?;
    let (data, restrict) = (args.data.options(common, &args.take)?, args.class_map_restrict);
    let options = args.sampling.swag(samples, &args.models, data, restrict, &args.compare)?;
    let report = SwagReport::of(&jobs::sample_swag(&options, &common.terminal())?);
    common.json(&report)?;
    common.say(report.text())
}

fn soup(args: &Args, output: &Path) -> Result<()> {
    let common = &args.common;
    is_several_passes(args, "--soup")?;
    let (data, restrict) = (args.data.options(common, &args.take)?, args.class_map_restrict);
    let (output, force) = (output.to_path_buf(), args.files.force);
    let options = args.sampling.soup(output, &args.models, data, restrict, &args.compare, force);
    let outcome = jobs::soup(&options, &common.terminal())?;
    let report = SoupReport::of(&outcome, || {
        let dir = args.compare.bn_data.as_deref().unwrap_or(Path::new("DIR"));
        let (dir, updated) = (shell_word(dir), shell_word(&with_suffix(&outcome.output, "_bn")));
        format!("swa-bn-update {} --data {dir} -o {updated}", shell_word(&outcome.output))
    });
    common.json(&report)?;
    common.say(report.text())
}

fn compare(args: &Args) -> Result<()> {
    let common = &args.common;
    is_several_passes(args, "--compare-stats")?;
    let data = args.data.options(common, &args.take)?;
    let options = args.compare.options(&args.models, data, args.class_map_restrict)?;
    let outcome = jobs::compare_stats(&options, &common.terminal())?;
    let report = ComparisonReport::of(&outcome);
    common.json(&report)?;
    common.say(report.text())?;
    let (best, _) = outcome.best();
    common.say(format!("next: {}", args.compare.next(&options.model, &args.data, best.name)))
}
