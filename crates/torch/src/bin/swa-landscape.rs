//! swa-landscape: flags, the job that they ask for, and its report.

#[path = "flags/mod.rs"]
mod flags;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use swa_cli::{Common, choice, positive};
use swa_tools::output::{check_target, write_stream};
use swa_tools::{Result, process};
use swa_torch::jobs::{self, Drawn, MergeLandscape, Points};
use swa_torch::landscape::Units;
use swa_torch::nn::{Precision, libtorch};
use swa_torch::report::{CurvesReport, LandscapeReport, PointsReport, RunLog, learning_curves_svg};

use flags::landscape::{DrawArgs, OutputArgs};

/// Draws what surrounds an optimum: test error and training loss on a plane through three models, on the line between
/// two, or on rays in random directions. Batchnorm's statistics are recomputed at every point.
#[derive(Parser)]
#[command(
    name = "swa-landscape",
    version,
    after_help = "\
Examples:
  swa-landscape plane ckpt_0031.pt ckpt_0036.pt ckpt_0040.pt --project swa_bn.pt --data cifar10 --svg plane.svg -o plane.json
  swa-landscape rays swa_bn.pt sgd.pt --data cifar10 --wd 5e-4 --svg rays.svg -o rays.json
  swa-landscape line swa_bn.pt sgd.pt --data cifar10 --svg line.svg
  swa-landscape draw plane.json --svg plane.svg --csv plane.csv
  swa-landscape curves sgd-run swa-run --svg curves.svg

Shared between processes, and merged:
  swa-landscape plane A B C --data cifar10 --threads 1 --shard 0/2 --save-points part_0
  swa-landscape plane A B C --data cifar10 --threads 1 --shard 1/2 --save-points part_1
  swa-landscape merge part_0 part_1 -o plane.json --svg plane.svg

Exit codes: 0 done, 2 usage, 3 bad input, 4 read or write failed, 5 an input changed, 6 a limit."
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The plane through three models, and where others lie beside it
    Plane(Plane),
    /// The line through two models
    Line(Line),
    /// Rays from each model in random directions, the same for all models: how wide its optimum is
    Rays(Rays),
    /// One picture from the parts that other processes saved; neither models nor data are read
    Merge(Merge),
    /// A picture or a table of what was found before
    Draw(Draw),
    /// The learning curves of swa-train's runs
    Curves(LearningCurves),
}

#[derive(clap::Args)]
struct Plane {
    /// The three models
    #[arg(value_name = "MODEL", num_args = 3, required = true)]
    models: Vec<PathBuf>,

    /// Models to project onto the plane, in the order of their path
    #[arg(long, value_name = "MODEL", num_args = 1..)]
    project: Vec<PathBuf>,

    /// Points on each axis
    #[arg(long, value_name = "N", value_parser = positive, default_value = "21")]
    grid: usize,

    /// How far the plane goes beyond the models, as a share of what lies between them
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    margin: f64,

    #[command(flatten)]
    draw: Box<DrawArgs>,
}

#[derive(clap::Args)]
struct Line {
    /// The two models
    #[arg(value_name = "MODEL", num_args = 2, required = true)]
    models: Vec<PathBuf>,

    /// Points on the line
    #[arg(long, value_name = "N", value_parser = positive, default_value = "41")]
    points: usize,

    /// How far the line goes beyond the models, as a share of their distance
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    margin: f64,

    #[command(flatten)]
    draw: Box<DrawArgs>,
}

#[derive(clap::Args)]
struct Rays {
    /// The models that rays begin at
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<PathBuf>,

    /// How many directions
    #[arg(long, value_name = "N", value_parser = positive, default_value = "10")]
    rays: usize,

    /// Points on each ray
    #[arg(long, value_name = "N", value_parser = positive, default_value = "25")]
    steps: usize,

    /// The distance of a ray's last point [default: doubled until the test error of every model is above 50 %]
    #[arg(long, value_name = "T")]
    to: Option<f64>,

    /// What a distance of 1 is
    #[arg(long, value_parser = choice::<Units>(), default_value = "distance")]
    units: Units,

    #[command(flatten)]
    draw: Box<DrawArgs>,
}

#[derive(clap::Args)]
struct Merge {
    /// All parts, in any order
    #[arg(value_name = "PART", required = true)]
    parts: Vec<PathBuf>,

    #[command(flatten)]
    files: OutputArgs,

    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
struct Draw {
    /// What -o wrote
    #[arg(value_name = "FILE")]
    report: PathBuf,

    #[command(flatten)]
    files: OutputArgs,

    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
struct LearningCurves {
    /// Folders of runs, or their results/log.jsonl
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,

    /// Write the picture
    #[arg(long, value_name = "FILE")]
    svg: PathBuf,

    /// Replace the file if it exists
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    common: Common,
}

impl Command {
    fn common(&self) -> &Common {
        match self {
            Command::Plane(plane) => &plane.draw.common,
            Command::Line(line) => &line.draw.common,
            Command::Rays(rays) => &rays.draw.common,
            Command::Merge(merge) => &merge.common,
            Command::Draw(draw) => &draw.common,
            Command::Curves(curves) => &curves.common,
        }
    }

    fn precision(&self) -> Precision {
        match self {
            Command::Plane(plane) => plane.draw.precision,
            Command::Line(line) => line.draw.precision,
            Command::Rays(rays) => rays.draw.precision,
            _ => Precision::default(),
        }
    }
}

#[allow(unsafe_code)]
pub fn main() -> ExitCode {
    let (args, _) = swa_cli::parse_with::<Args>(|| swa_cli::long_version!(libtorch::version()));
    // SAFETY: no other thread was started, and libtorch was not used.
    unsafe { libtorch::prepare(args.command.precision()) };
    swa_cli::run(args.command.common(), || {
        process::watch()?;
        match &args.command {
            Command::Plane(plane) => {
                let Plane { models, project, grid, margin, draw } = plane;
                let project = project.clone();
                let (grid, margin) = (*grid, *margin);
                evaluate(draw, models, Points::Plane { project, grid, margin })
            }
            Command::Line(line) => {
                let Line { models, points, margin, draw } = line;
                evaluate(draw, models, Points::Line { points: *points, margin: *margin })
            }
            Command::Rays(rays) => {
                let Rays { models, rays, steps, to, units, draw } = rays;
                let points = Points::Rays { rays: *rays, steps: *steps, to: *to, units: *units };
                evaluate(draw, models, points)
            }
            Command::Merge(merge) => {
                let Merge { parts, files, common } = merge;
                files.check(common, parts)?;
                let options = MergeLandscape { parts: parts.clone() };
                let outcome = jobs::merge_landscape(&options, &common.terminal())?;
                files.write(common, &LandscapeReport::of(&outcome))
            }
            Command::Draw(draw) => {
                let Draw { report, files, common } = draw;
                files.check(common, std::slice::from_ref(report))?;
                files.write(common, &LandscapeReport::read(report)?)
            }
            Command::Curves(curves) => learning_curves(curves),
        }
    })
}

/// Evaluates the points, and writes what was found.
fn evaluate(args: &DrawArgs, models: &[PathBuf], points: Points) -> Result<()> {
    let common = &args.common;
    let mut inputs = models.to_vec();
    if let Points::Plane { project, .. } = &points {
        inputs.extend(project.iter().cloned());
    }
    // The state is removed at the end.
    inputs.extend(args.resume.clone());
    let options = args.options(models, points)?;
    if args.save_points.is_none() {
        args.files.check(common, &inputs)?;
    }
    match jobs::draw_landscape(&options, &common.terminal())? {
        Drawn::Whole(outcome) => {
            args.files.write(common, &LandscapeReport::of(&outcome))?;
            outcome.state.remove()
        }
        Drawn::Part(part) => {
            let report = PointsReport::of(&part);
            common.json(&report)?;
            common.say(report.text())?;
            common.say("next, with all parts: swa-landscape merge PART... -o FILE")
        }
    }
}

fn learning_curves(args: &LearningCurves) -> Result<()> {
    let LearningCurves { runs, svg, force, common } = args;
    check_target(svg, *force, runs)?;
    let logs: Vec<RunLog> = runs.iter().map(|run| RunLog::read(run)).collect::<Result<_>>()?;
    let picture = learning_curves_svg(&logs);
    write_stream(svg, *force, |out| out.write_all(picture.as_bytes()))?;
    let report = CurvesReport::of(svg, &logs);
    common.json(&report)?;
    common.say(report.text())
}
