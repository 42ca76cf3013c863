//! Evaluates models on labelled images.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde_json::{Value, json};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::checkpoint::select::base_name;
use swa_tools::cli::data::{DataArgs, list_archs, report_bad};
use swa_tools::cli::take::{TakeArgs, say_taken};
use swa_tools::cli::{self, Common, table};
use swa_tools::data::Split;
use swa_tools::evaluate::{self, Evaluation, Tally, Wanted, mcnemar};
use swa_tools::nn::input::Input;
use swa_tools::nn::libtorch;
use swa_tools::{Error, Result, output};

/// Evaluates any number of models in one pass over the data: top-1 with its 95 % interval, top-5,
/// negative log-likelihood (nll), expected calibration error (ece), and how each model differs from
/// the first on the same images, with McNemar's exact p.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Examples:
  swa-eval swa_bn.safetensors ckpt_0010.safetensors --data imagenet/val
  swa-eval swa_bn.safetensors --data imagenet/val --json
  swa-eval ckpt_*.safetensors --data fashion-mnist --preset fashion-mnist --ensemble
  swa-eval swa_bn.safetensors ckpt_*.safetensors --data val --ensemble='ckpt_*'

Exit codes: 0 done, 2 usage, 3 bad input, 4 read or write failed, 5 an input changed, 6 a limit."
)]
struct Args {
    /// The models, checkpoint files of any trainer or folders with a model, in the order of the table
    #[arg(value_name = "MODEL", required_unless_present = "list_archs")]
    models: Vec<PathBuf>,

    /// Add the ensemble of the models, the mean of their softmax outputs; of those alone whose file
    /// name matches, if a pattern is given
    #[arg(long, value_name = "PATTERN", num_args = 0..=1, require_equals = true, default_missing_value = "*")]
    ensemble: Option<String>,

    /// Write `labels` (n) and `logits` (models × n × classes), rows in the order of the data set
    #[arg(long, value_name = "FILE")]
    logits: Option<PathBuf>,

    /// Overwrite the file of --logits if it exists
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    take: TakeArgs,

    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    common: Common,
}

fn main() -> ExitCode {
    libtorch::prepare();
    let args = Args::parse();
    cli::run(|| run(&args))
}

fn run(args: &Args) -> Result<()> {
    if args.data.list_archs {
        return list_archs();
    }
    let common = &args.common;
    let started = Instant::now();
    common.start()?;
    if let Some(path) = &args.logits {
        output::atomic::check_target(path, args.force, &args.models)?;
    }
    let ensemble = args.ensemble.as_deref().map(|pattern| members(&args.models, pattern));
    let wanted = Wanted { ensemble: ensemble.transpose()?, logits: args.logits.is_some() };
    let take = args.take.take();
    let checkpoints: Vec<Checkpoint> =
        args.models.iter().map(|path| Checkpoint::open_with(path, &take)).collect::<Result<_>>()?;
    say_taken(common, &checkpoints);
    let session = args.data.open(common, &checkpoints, Split::Test)?;
    let order = args.data.order(session.dataset.as_ref(), false);
    let bar = common.progress(order.len() as u64, "images").with_message("evaluating");
    let mut loader = args.data.loader(&session, order)?;
    let input = Input::new(&session.transform, session.device)?;
    let step = |n| bar.inc(n as u64);
    let evaluation = evaluate::run(&session.models, &input, &mut loader, &wanted, &step)?;
    bar.finish_and_clear();
    report_bad(common, &loader.bad());
    if let Some(path) = &args.logits {
        evaluation.write_logits(path, args.force)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let evaluated = Evaluated {
        members: wanted.ensemble.map_or(0, |members| members.len()),
        evaluation,
        transform: session.transform_record,
        augmentation: session.augmentation,
        skipped: loader.bad(),
        seconds,
    };
    report(args, &evaluated)
}

/// The models whose file name matches, by position.
fn members(models: &[PathBuf], pattern: &str) -> Result<Vec<usize>> {
    let glob = glob::Pattern::new(pattern)
        .map_err(|e| Error::usage(format!("--ensemble: bad pattern `{pattern}`: {}", e.msg)))?;
    let matches = |i: &usize| glob.matches(&base_name(&models[*i]));
    let members: Vec<usize> = (0..models.len()).filter(matches).collect();
    if members.is_empty() {
        return Err(Error::usage(format!("--ensemble: no model matches `{pattern}`")));
    }
    Ok(members)
}

/// What there is to report.
struct Evaluated {
    evaluation: Evaluation,
    members: usize,
    transform: Value,
    augmentation: Value,
    skipped: Vec<String>,
    seconds: f64,
}

fn report(args: &Args, evaluated: &Evaluated) -> Result<()> {
    let common = &args.common;
    let Evaluated { evaluation, members, transform, augmentation, skipped, seconds } = evaluated;
    let first = &evaluation.models[0];
    let names = args.models.iter().map(|path| path.display().to_string());
    let mut rows: Vec<(String, &Tally)> = names.zip(&evaluation.models).collect();
    if let Some(ensemble) = &evaluation.ensemble {
        rows.push((format!("ensemble of {members}"), ensemble));
    }
    let json_row = |(i, (name, tally)): (usize, &(String, &Tally))| {
        let (low, high) = tally.interval();
        let mut row = json!({
            "model": name,
            "top1": 100.0 * tally.top1(),
            "top5": 100.0 * tally.top5(),
            "nll": tally.nll(),
            "ece": tally.ece(),
            "n": tally.n(),
            "correct": tally.correct(),
            "interval": [100.0 * low, 100.0 * high],
        });
        if i > 0 {
            row["difference"] = json!(100.0 * (tally.top1() - first.top1()));
            row["mcnemar_p"] = json!(mcnemar(&first.right, &tally.right));
        }
        row
    };
    let mut models: Vec<Value> = rows.iter().enumerate().map(json_row).collect();
    let ensemble = evaluation.ensemble.as_ref().and_then(|_| models.pop());
    common.json(json!({
        "models": models,
        "ensemble": ensemble,
        "transform": transform,
        "augmentation": augmentation,
        "skipped": skipped,
        "seconds": seconds,
    }))?;
    let text_row = |(i, (name, tally)): (usize, &(String, &Tally))| {
        let (low, high) = tally.interval();
        let (difference, p) = if i == 0 {
            (String::new(), String::new())
        } else {
            let p = mcnemar(&first.right, &tally.right);
            (
                format!("{:+.2}", 100.0 * (tally.top1() - first.top1())),
                if p < 1e-4 { "<0.0001".into() } else { format!("{p:.4}") },
            )
        };
        vec![
            name.clone(),
            format!("{:.2}", 100.0 * tally.top1()),
            format!("{:.2}–{:.2}", 100.0 * low, 100.0 * high),
            format!("{:.2}", 100.0 * tally.top5()),
            format!("{:.4}", tally.nll()),
            format!("{:.4}", tally.ece()),
            difference,
            p,
        ]
    };
    let header =
        ["model", "top-1 %", "95 % interval", "top-5 %", "nll", "ece", "vs first", "McNemar p"];
    common.say(table(&header, rows.iter().enumerate().map(text_row)))?;
    common.say(format!("{} images in {seconds:.1} s", first.n()))
}
