//! Averages checkpoints of one model into one.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde_json::json;
use swa_tools::average::{self, BnStats, Plan, Rule};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::checkpoint::select::{base_name, select};
use swa_tools::cli::{self, Common, megabytes, shell_word, with_suffix};
use swa_tools::{Result, output};

/// Averages the weights of checkpoints into one model: the mean of every floating tensor, summed in
/// f64 and rounded once to the tensor's own type. Integers and booleans come from the last
/// checkpoint. The inputs are taken in natural order (epoch_9 before epoch_10), wherever they stand.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Examples:
  swa-avg ckpt_*.safetensors -o swa.safetensors
  swa-avg 'runs/7/epoch_*.safetensors' -o swa.safetensors --force
  swa-avg ckpt_*.safetensors -o swa.safetensors --dry-run

Exit codes: 0 done, 2 usage, 3 bad input, 4 read or write failed, 5 an input changed, 6 a limit."
)]
struct Args {
    /// Checkpoint files (safetensors), or quoted patterns
    #[arg(required = true, value_name = "CHECKPOINT")]
    inputs: Vec<PathBuf>,

    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Overwrite the output if it exists
    #[arg(long)]
    force: bool,

    /// What becomes of batchnorm's running mean and variance
    #[arg(long, value_enum, default_value_t = BnStats::Mean)]
    bn_stats: BnStats,

    /// Check names, shapes and types and print the plan, but write nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    common: Common,
}

fn main() -> ExitCode {
    let args = Args::parse();
    cli::run(|| run(&args))
}

fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let started = Instant::now();
    common.start()?;
    let selection = select(&args.inputs)?;
    for (repeated, first) in &selection.repeated {
        let (repeated, first) = (repeated.display(), first.display());
        common.note(format!("note: `{repeated}` is the same file as `{first}`: counted once"));
    }
    output::atomic::check_target(&args.output, args.force, &selection.paths)?;
    let inputs: Vec<Checkpoint> =
        selection.paths.iter().map(|path| Checkpoint::open(path)).collect::<Result<_>>()?;
    let plan = Plan::new(&inputs, average::mean(inputs.len()), args.bn_stats)?;
    if !args.dry_run {
        let bar = common.progress(plan.bytes_to_read(), "bytes").with_message("averaging");
        plan.write(&args.output, args.force, &|bytes| bar.inc(bytes))?;
        bar.finish_and_clear();
    }
    report(args, &inputs, &plan, started.elapsed().as_secs_f64())
}

fn report(args: &Args, inputs: &[Checkpoint], plan: &Plan, seconds: f64) -> Result<()> {
    let common = &args.common;
    let names: Vec<String> = inputs.iter().map(|input| base_name(input.path())).collect();
    let averaged = plan.tensors().iter().filter(|t| matches!(t.rule, Rule::Mean(_))).count();
    let copied = plan.tensors().len() - averaged;
    let size = plan.size()?;
    let batchnorm = inputs[0].batchnorm_layers().len();
    let next = (batchnorm > 0).then(|| {
        let output = shell_word(&args.output);
        let updated = shell_word(&with_suffix(&args.output, "_bn"));
        format!("swa-bn-update {output} --data DIR -o {updated}")
    });
    common.json(json!({
        "output": args.output.display().to_string(),
        "written": !args.dry_run,
        "inputs": inputs.iter().map(|i| i.path().display().to_string()).collect::<Vec<_>>(),
        "tensors": { "averaged": averaged, "copied": copied },
        "bytes": size,
        "bytes_read": plan.bytes_to_read(),
        "batchnorm_layers": batchnorm,
        "next": next,
        "seconds": seconds,
    }))?;
    let verb = if args.dry_run { "would write" } else { "wrote" };
    common.say(format!(
        "{verb} {}: mean of {} checkpoint(s), {averaged} tensors averaged, {copied} from the last, {} in {seconds:.2} s",
        args.output.display(),
        names.len(),
        megabytes(size),
    ))?;
    if args.dry_run {
        for name in &names {
            common.say(format!("  1/{} {name}", names.len()))?;
        }
        common.say(format!("  {} to read", megabytes(plan.bytes_to_read())))?;
    }
    match next {
        Some(next) => common.say(format!(
            "batchnorm: the statistics of {batchnorm} layers fit no longer; next: {next}"
        )),
        None => Ok(()),
    }
}
