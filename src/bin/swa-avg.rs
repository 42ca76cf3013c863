//! swa-avg: flags, the job that they ask for, and what it came to.

#[path = "flags/mod.rs"]
mod flags;
#[path = "flags/schemes.rs"]
mod schemes;

use std::path::Path;
use std::process::ExitCode;

use flags::Args;
use swa_tools::jobs::{self, Average, Follow, List, Stop, Verify};
use swa_tools::report::{
    AccumulateReport, AverageReport, ContentsReport, FinishReport, FollowReport, HeldReport,
    ShareReport, UpdateReport, VerifyReport,
};
use swa_tools::text::{shell_word, with_suffix};
use swa_tools::{Result, average, process, running};

fn main() -> ExitCode {
    let (args, _) = swa_cli::parse_with::<Args>(|| {
        let version = swa_cli::long_version!(env!("CARGO_PKG_VERSION"));
        format!("{version}\nadds up with {}", average::instructions())
    });
    swa_cli::run(&args.common, || {
        process::watch()?;
        run(&args)
    })
}

fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    if let Some(options) = args.sharing.finish(args.force) {
        let outcome = jobs::finish(&options)?;
        let report = FinishReport::of(&outcome, || next(&outcome.output));
        common.json(&report)?;
        return common.say(report.text());
    }
    let (checkpoints, criteria, take) = (args.inputs.clone(), args.criteria()?, args.take());
    if args.verify {
        let options = Verify { checkpoints, criteria, take };
        let report = VerifyReport::of(&jobs::verify(&options, &common.terminal())?);
        common.json(&report)?;
        return common.say(report.text());
    }
    if let ([path], true) = (
        &args.inputs[..],
        args.list && args.inputs.iter().all(|path| running::is_running_average(path)),
    ) {
        let report = HeldReport::of(&running::held(path)?);
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
    if args.running.follow {
        return follow(args, &args.running.follow(options)?);
    }
    if let Some(options) = args.running.accumulate(&options)? {
        let outcome = jobs::accumulate(&options, &common.terminal())?;
        let next =
            outdated(outcome.batchnorm_layers, outcome.inputs.len()).then(|| next(&outcome.output));
        let report = AccumulateReport::of(&outcome, next);
        common.json(&report)?;
        return common.say(report.text());
    }
    if let Some(options) = args.sharing.share(&options, common)? {
        let outcome = jobs::share(&options, &common.terminal())?;
        let finish = || format!("swa-avg --finish {}", shell_word(&outcome.output));
        let report = ShareReport::of(&outcome, finish);
        common.json(&report)?;
        return common.say(report.text());
    }
    let outcome = jobs::average(&options, &common.terminal())?;
    let report = AverageReport::of(&outcome, args.schemes.explain, |output| next(&output.path));
    common.json(&report)?;
    common.say(report.text())
}

/// Follows a run: a line or an object an update, and one at the end. The first signal ends it.
fn follow(args: &Args, options: &Follow) -> Result<()> {
    let common = &args.common;
    let stop = Stop::new()?;
    let told = stop.clone();
    process::signals::at_first_signal(move || told.set());
    let outcome = jobs::follow(options, &stop, &common.terminal(), &mut |update| {
        let report = UpdateReport::of(update);
        common.json(&report)?;
        common.say(report.text())
    })?;
    let next =
        outdated(outcome.batchnorm_layers, outcome.inputs.len()).then(|| next(&outcome.output));
    let report = FollowReport::of(&outcome, next);
    common.json(&report)?;
    common.say(report.text())?;
    // The output is whole, and lacks what should be in it.
    outcome.refused.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
}

/// Whether the statistics do not match the weights: a single checkpoint's are its own.
fn outdated(layers: usize, inputs: usize) -> bool {
    layers > 0 && inputs > 1
}

/// The command that recomputes an output's batchnorm statistics.
fn next(output: &Path) -> String {
    let updated = with_suffix(output, "_bn");
    format!("swa-bn-update {} --data DIR -o {}", shell_word(output), shell_word(&updated))
}
