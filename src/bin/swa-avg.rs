//! swa-avg: flags, the job that they ask for, and what it came to.

#[path = "flags/average.rs"]
mod flags;
#[path = "flags/schemes.rs"]
mod schemes;

use std::process::ExitCode;

use flags::Args;
use swa_tools::jobs::{self, Average, AveragedOutput, List, Verify};
use swa_tools::report::{AverageReport, ContentsReport, VerifyReport};
use swa_tools::text::{shell_word, with_suffix};
use swa_tools::{Result, process};

fn main() -> ExitCode {
    let (args, _) = swa_cli::parse::<Args>();
    swa_cli::run(&args.common, || {
        process::watch()?;
        run(&args)
    })
}

fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let (checkpoints, criteria, take) = (args.inputs.clone(), args.criteria()?, args.take());
    if args.verify {
        let options = Verify { checkpoints, criteria, take };
        let report = VerifyReport::of(&jobs::verify(&options, &common.terminal())?);
        common.json(&report)?;
        return common.say(report.text());
    }
    if args.list {
        let options = List { checkpoints, criteria, take, options: args.options() };
        let report = ContentsReport::of(&jobs::list(&options, &common.terminal())?);
        common.json(&report)?;
        return common.say(report.text());
    }
    let options = Average {
        checkpoints,
        criteria,
        take,
        profiles: args.schemes.profiles(),
        options: args.options(),
        outputs: args.outputs()?,
        force: args.force,
        dry_run: args.dry_run,
    };
    let outcome = jobs::average(&options, &common.terminal())?;
    let report = AverageReport::of(&outcome, args.schemes.explain, next);
    common.json(&report)?;
    common.say(report.text())
}

/// The command that recomputes an output's batchnorm statistics.
fn next(output: &AveragedOutput) -> String {
    let updated = with_suffix(&output.path, "_bn");
    format!("swa-bn-update {} --data DIR -o {}", shell_word(&output.path), shell_word(&updated))
}
