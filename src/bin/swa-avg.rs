//! Averages checkpoints of one model into one.

use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use regex::Regex;
use serde_json::json;
use swa_tools::average::{
    self, BnStats, Coefficients, Float, Keys, Options, Plan, Rule, Target, Written,
};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::checkpoint::select::{Criteria, Selection, base_name, parse_range, select};
use swa_tools::cli::list::list;
use swa_tools::cli::take::{TakeArgs, say_taken};
use swa_tools::cli::{self, Common, megabytes, shell_word, with_suffix};
use swa_tools::output::{self, Format};
use swa_tools::{Error, Result};

/// Averages the weights of checkpoints into one model: the exact mean of every floating tensor, rounded
/// once to the tensor's own type. Integers and booleans come from the last checkpoint. The inputs are
/// taken in natural order (epoch_9 before epoch_10), wherever they stand.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Examples:
  swa-avg ckpt_*.safetensors -o swa.safetensors
  swa-avg runs/7 --start 161 -o swa.safetensors            epochs 161 and later
  swa-avg 'runs/7/step_*' --every 5000 -o swa.safetensors  the end of each cycle
  swa-avg 'out/checkpoint-*' --last 5 -o averaged_model    folders of Hugging Face models
  swa-avg lightning/*.ckpt -o swa.pth                      any trainer's files, mixed if need be
  swa-avg *.ckpt --like last.ckpt -o resume.ckpt           the average inside a copy of last.ckpt
  swa-avg a.safetensors b.safetensors --weights 1,3 -o soup.safetensors
  swa-avg ckpt_*.safetensors -o swa.safetensors --dry-run
  swa-avg --list epoch_10.pth
  swa-avg --verify swa.safetensors

Exit codes: 0 done, 2 usage, 3 bad input, 4 read or write failed, 5 an input changed, 6 a limit."
)]
struct Args {
    /// Checkpoint files of any trainer (safetensors, .pth, .pt, .ckpt, …), folders with these or with
    /// a model (Hugging Face, torch.distributed.checkpoint, DeepSpeed), quoted patterns
    #[arg(required = true, value_name = "CHECKPOINT")]
    inputs: Vec<PathBuf>,

    /// The file to write, .safetensors or .pth (as torch.save writes it); a folder, if the inputs are
    /// folders and it ends in neither
    #[arg(short, long, value_name = "PATH", required_unless_present_any = ["verify", "list"])]
    output: Option<PathBuf>,

    /// Overwrite the output if it exists (a folder as a whole)
    #[arg(long)]
    force: bool,

    /// Print what checkpoints of any format hold, and what of it would be averaged; write nothing
    #[arg(long, conflicts_with_all = ["output", "dry_run", "verify"])]
    list: bool,

    /// Compare files with the checksums in them, and write nothing
    #[arg(long, conflicts_with_all = ["output", "dry_run", "no_verify"])]
    verify: bool,

    /// Do not compare inputs with the checksums in them
    #[arg(long)]
    no_verify: bool,

    /// Check names, shapes and types and print the plan, but write nothing
    #[arg(long)]
    dry_run: bool,

    /// The first epoch or step that counts, by the number in the name
    #[arg(long, value_name = "S", help_heading = "Which checkpoints")]
    start: Option<u64>,

    /// Every K-th number, counted from --start or the smallest: the end of each cycle
    #[arg(long, value_name = "K", help_heading = "Which checkpoints")]
    every: Option<NonZeroU64>,

    /// The last N of those that are left
    #[arg(long, value_name = "N", help_heading = "Which checkpoints")]
    last: Option<NonZeroUsize>,

    /// Numbers A to B, both included
    #[arg(long, value_name = "A..B", value_parser = parse_range, help_heading = "Which checkpoints")]
    range: Option<RangeInclusive<u64>>,

    /// The number in a name, where it holds several: the first group, or the match
    #[arg(
        long,
        value_name = "REGEX",
        conflicts_with = "by_position",
        help_heading = "Which checkpoints"
    )]
    number: Option<Regex>,

    /// Count positions in natural order, from 1, in place of numbers in names
    #[arg(long, help_heading = "Which checkpoints")]
    by_position: bool,

    /// One weight a checkpoint in natural order, of any scale; they are divided by their sum
    #[arg(
        long,
        value_name = "W,...",
        value_delimiter = ',',
        allow_hyphen_values = true,
        conflicts_with = "weights_file",
        help_heading = "How to average"
    )]
    weights: Option<Vec<f64>>,

    /// The same from a file: one number a line, or `NAME NUMBER` by file name; # begins a comment
    #[arg(long, value_name = "FILE", help_heading = "How to average")]
    weights_file: Option<PathBuf>,

    /// Type of the averaged tensors
    #[arg(long, value_enum, default_value_t = Dtype::Keep, help_heading = "How to average")]
    dtype: Dtype,

    /// What becomes of batchnorm's running mean and variance
    #[arg(long, value_enum, default_value_t = BnStats::Mean, help_heading = "How to average")]
    bn_stats: BnStats,

    /// Average NaN and infinity like numbers; they are counted and said
    #[arg(long, help_heading = "How to average")]
    allow_nonfinite: bool,

    /// Which tensors the output has, where the checkpoints do not have the same
    #[arg(long, value_enum, default_value_t = Keys::Strict, help_heading = "Which tensors")]
    keys: Keys,

    /// Only tensors whose name matches; the others are left out of the output
    #[arg(long, value_name = "REGEX", help_heading = "Which tensors")]
    include: Option<Regex>,

    /// No tensor whose name matches
    #[arg(long, value_name = "REGEX", help_heading = "Which tensors")]
    exclude: Option<Regex>,

    /// Write a copy of FILE (.pth, .ckpt) with the result in the place of its weights: optimizer and all else
    /// stay, so that a trainer resumes from it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["max_shard_size", "keep_names"], help_heading = "Output")]
    like: Option<PathBuf>,

    /// Write a folder of shards with at most so many bytes of tensors (5GB, 500MB)
    #[arg(long, value_name = "SIZE", value_parser = cli::parse_size, help_heading = "Output")]
    max_shard_size: Option<u64>,

    /// Keep the names as the first checkpoint has them, with what wrappers (DDP, torch.compile, FSDP) put
    /// into them
    #[arg(long, help_heading = "Which tensors")]
    keep_names: bool,

    #[command(flatten)]
    take: TakeArgs,

    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Dtype {
    /// Each tensor its own
    Keep,
    F32,
    F16,
    Bf16,
    F64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    cli::run(|| run(&args))
}

fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let started = Instant::now();
    common.start()?;
    let selection = select(&args.inputs, &criteria(args))?;
    remarks(common, &selection);
    let inputs = Checkpoint::open_all(&selection.paths, &args.take.take())?;
    if args.verify {
        return verify(common, &inputs);
    }
    if args.list {
        return list(common, &inputs, &options(args));
    }
    say_taken(common, &inputs);
    let target = target(args, &inputs)?;
    let coefficients = coefficients(args, &selection.paths)?;
    if !coefficients.is_positive() {
        common.note("note: some weights are negative");
    }
    let plan = Plan::new(&inputs, coefficients, options(args))?;
    say_keys(common, &plan);
    let written = match args.dry_run {
        true => None,
        false => {
            let bar = common.progress(plan.bytes_to_read(), "bytes").with_message("averaging");
            let written = plan.write(&target, args.force, &|bytes| bar.inc(bytes))?;
            bar.finish_and_clear();
            Some(written)
        }
    };
    report(args, &plan, &target, written, &selection, started.elapsed().as_secs_f64())
}

fn criteria(args: &Args) -> Criteria {
    Criteria {
        start: args.start,
        every: args.every,
        last: args.last,
        range: args.range.clone(),
        number: args.number.clone(),
        by_position: args.by_position,
    }
}

fn options(args: &Args) -> Options {
    Options {
        bn_stats: args.bn_stats,
        keys: args.keys,
        dtype: match args.dtype {
            Dtype::Keep => None,
            Dtype::F32 => Some(Float::F32),
            Dtype::F16 => Some(Float::F16),
            Dtype::Bf16 => Some(Float::BF16),
            Dtype::F64 => Some(Float::F64),
        },
        include: args.include.clone(),
        exclude: args.exclude.clone(),
        allow_nonfinite: args.allow_nonfinite,
        no_verify: args.no_verify,
        keep_names: args.keep_names,
    }
}

fn remarks(common: &Common, selection: &Selection) {
    for (repeated, first) in &selection.repeated {
        let (repeated, first) = (repeated.display(), first.display());
        common.note(format!("note: `{repeated}` is the same file as `{first}`: counted once"));
    }
    selection.notes.iter().for_each(|note| common.note(format!("note: {note}")));
}

/// Where the output goes: checked before any work is done.
fn target(args: &Args, inputs: &[Checkpoint]) -> Result<Target> {
    let Some(path) = args.output.clone() else {
        return Err(Error::usage("--output is needed"));
    };
    let files = inputs.iter().flat_map(|input| input.files().iter().map(|f| f.path()));
    let paths = inputs.iter().map(|input| input.path()).chain(files);
    let paths: Vec<PathBuf> = paths.map(Path::to_path_buf).collect();
    let format = Format::of(&path);
    if let Some(like) = &args.like {
        output::atomic::check_target(&path, args.force, &paths)?;
        if format == Some(Format::Safetensors) {
            return Err(Error::usage("--like writes a PyTorch file")
                .at(&path)
                .remedy("end the name in .pth or .ckpt"));
        }
        let model = Box::new(Checkpoint::open_with(like, &args.take.take())?);
        return Ok(Target::Like { path, model });
    }
    if format.is_some() && args.max_shard_size.is_some() {
        return Err(Error::usage("--max-shard-size writes a folder")
            .at(&path)
            .remedy("name one, without .safetensors"));
    }
    let folders = inputs.last().is_some_and(|input| input.path().is_dir());
    if format.is_none() && (folders || args.max_shard_size.is_some()) {
        output::check_folder(&path, args.force, &paths)?;
        return Ok(Target::Folder { path, max_shard: args.max_shard_size });
    }
    output::atomic::check_target(&path, args.force, &paths)?;
    Ok(Target::File { path, format: format.unwrap_or(Format::Safetensors) })
}

fn coefficients(args: &Args, paths: &[PathBuf]) -> Result<Coefficients> {
    let weights = match (&args.weights, &args.weights_file) {
        (Some(weights), _) => weights.clone(),
        (None, Some(file)) => weights_of(file, paths)?,
        (None, None) => return Ok(average::mean(paths.len())),
    };
    if weights.len() != paths.len() {
        let (n, m) = (weights.len(), paths.len());
        return Err(Error::usage(format!("{n} weight(s) for {m} checkpoint(s)"))
            .remedy("--dry-run without weights lists them in the order that counts"));
    }
    Coefficients::new(weights)
}

/// One number a line in natural order of the checkpoints, or `NAME NUMBER` in any order.
fn weights_of(file: &Path, paths: &[PathBuf]) -> Result<Vec<f64>> {
    let text = std::fs::read_to_string(file).map_err(|e| Error::io(file, "read", e))?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let number = |text: &str| {
        text.parse::<f64>().map_err(|_| {
            Error::input(format!("`{text}` is not a number"))
                .at(file)
                .remedy("write one number a line, or a file name and a number")
        })
    };
    if !lines.iter().any(|line| line.contains(char::is_whitespace)) {
        return lines.iter().map(|line| number(line)).collect();
    }
    let mut named = std::collections::BTreeMap::new();
    for line in lines {
        let (name, weight) = line.rsplit_once(char::is_whitespace).unwrap_or(("", line));
        if named.insert(name.trim().to_string(), number(weight)?).is_some() {
            return Err(Error::input(format!("names `{name}` twice")).at(file));
        }
    }
    let mut weights = Vec::with_capacity(paths.len());
    for path in paths {
        let Some(weight) = named.remove(&base_name(path)) else {
            return Err(Error::input(format!("has no weight for `{}`", base_name(path))).at(file));
        };
        weights.push(weight);
    }
    match named.keys().next() {
        Some(name) => Err(Error::input(format!("`{name}` is no checkpoint given")).at(file)),
        None => Ok(weights),
    }
}

fn verify(common: &Common, inputs: &[Checkpoint]) -> Result<()> {
    if let Some(bare) = inputs.iter().find(|input| !input.has_checksums()) {
        return Err(Error::input("holds no checksums to compare with")
            .at(bare.path())
            .remedy("these tools write them; other tools leave them out"));
    }
    let bytes = inputs.iter().flat_map(|i| i.tensors()).map(|t| t.size()).sum();
    let bar = common.progress(bytes, "bytes").with_message("verifying");
    inputs.iter().try_for_each(|input| input.verify(&|bytes| bar.inc(bytes)))?;
    bar.finish_and_clear();
    let paths: Vec<String> = inputs.iter().map(|i| i.path().display().to_string()).collect();
    common.json(json!({ "verified": paths, "bytes": bytes }))?;
    for input in inputs {
        let (path, n) = (input.path().display(), input.tensors().len());
        common.say(format!("{path}: {n} tensors are as they were written"))?;
    }
    Ok(())
}

/// What the output lacks or has more than some inputs.
fn say_keys(common: &Common, plan: &Plan) {
    const SHOWN: usize = 20;
    let list = |names: &[&str], what: &str| {
        if !names.is_empty() {
            common.note(format!("note: {} tensor(s) {what}:", names.len()));
            names.iter().take(SHOWN).for_each(|name| common.note(format!("  {name}")));
        }
        if names.len() > SHOWN {
            common.note(format!("  and {} more", names.len() - SHOWN));
        }
    };
    let left_out: Vec<&str> = plan.left_out().iter().map(String::as_str).collect();
    list(&left_out, "left out, because not all checkpoints have them");
    list(&plan.filled(), "averaged over the checkpoints that have them, not all");
    if plan.filtered() > 0 {
        let n = plan.filtered();
        common.note(format!("note: {n} tensor(s) left out by --include or --exclude"));
    }
}

fn report(
    args: &Args,
    plan: &Plan,
    target: &Target,
    written: Option<Written>,
    selection: &Selection,
    seconds: f64,
) -> Result<()> {
    let (common, inputs) = (&args.common, plan.inputs());
    let averaged = plan.tensors().iter().filter(|t| matches!(t.rule, Rule::Mean(_))).count();
    let copied = plan.tensors().len() - averaged;
    let size = written.as_ref().map_or_else(|| plan.size(target), |written| Ok(written.bytes))?;
    let batchnorm = inputs[0].batchnorm_layers().len();
    let path = target.path();
    let next = (batchnorm > 0).then(|| {
        let updated = shell_word(&with_suffix(path, "_bn"));
        format!("swa-bn-update {} --data DIR -o {updated}", shell_word(path))
    });
    let estimate = match written {
        Some(_) => None,
        None => Some(plan.estimate()?),
    };
    let nonfinite = written.as_ref().map(|w| &w.nonfinite[..]).unwrap_or_default();
    for (name, n) in nonfinite {
        common.note(format!("note: tensor `{name}`: {n} means are not finite"));
    }
    let shares = |i: usize| plan.coefficients().share(i);
    common.json(json!({
        "output": path.display().to_string(),
        "written": written.is_some(),
        "inputs": inputs.iter().map(|i| i.path().display().to_string()).collect::<Vec<_>>(),
        "coefficients": (0..inputs.len()).map(shares).collect::<Vec<_>>(),
        "left_out": selection.left_out,
        "tensors": { "averaged": averaged, "copied": copied },
        "nonfinite": nonfinite.iter().map(|(name, n)| json!({"tensor": name, "values": n})).collect::<Vec<_>>(),
        "bytes": size,
        "bytes_read": plan.bytes_to_read(),
        "batchnorm_layers": batchnorm,
        "next": next,
        "seconds": seconds,
        "seconds_expected": estimate.map(|e| e.seconds),
        "memory_expected": estimate.map(|e| e.memory),
    }))?;
    let verb = if args.dry_run { "would write" } else { "wrote" };
    let mean = match args.weights.is_some() || args.weights_file.is_some() {
        true => "weighted mean",
        false => "mean",
    };
    common.say(format!(
        "{verb} {}: {mean} of {} checkpoint(s), {averaged} tensors averaged, {copied} from the last, {} in {seconds:.2} s",
        path.display(),
        inputs.len(),
        megabytes(size),
    ))?;
    if selection.left_out > 0 {
        common.say(format!("  {} other checkpoint(s) not taken", selection.left_out))?;
    }
    if let Some(estimate) = estimate {
        for (i, input) in inputs.iter().enumerate() {
            common.say(format!("  {:<8.6} {}", shares(i), input.path().display()))?;
        }
        common.say(format!(
            "  {} to read, about {:.1} s (by a sample of the reading), {} of memory",
            megabytes(plan.bytes_to_read()),
            estimate.seconds,
            megabytes(estimate.memory)
        ))?;
    }
    match next {
        Some(next) => common.say(format!(
            "batchnorm: the statistics of {batchnorm} layers fit no longer; next: {next}"
        )),
        None => Ok(()),
    }
}
