//! swa-train: flags, the job that they ask for, and its report.

#[path = "flags/pixels.rs"]
mod pixels;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use swa_cli::{Common, TakeArgs, choice, positive};
use swa_data::Format;
use swa_tools::checkpoint::Take;
use swa_tools::{Result, process};
use swa_torch::jobs::{self, Train};
use swa_torch::nn::device::DeviceChoice;
use swa_torch::nn::{Precision, libtorch};
use swa_torch::report::TrainReport;
use swa_torch::session::{Augment, Images, Networks, Options};
use swa_torch::train::{Schedule, Shape};

use pixels::PixelArgs;

/// Trains a network as the papers on weight averaging do, and averages its weights beside it. It repeats their
/// experiments (one device, SGD with momentum); your own trainer's snapshots are what the other commands are for.
#[derive(Parser)]
#[command(
    name = "swa-train",
    version,
    override_usage = "swa-train <RUN> --data <DIR> --arch <NAME> --epochs <N> --lr <RATE> [OPTIONS]",
    after_help = "\
Examples, the paper's for CIFAR-10 (Izmailov et al. 2018):
  swa-train vgg --data cifar10 --preset cifar-vgg16 --arch vgg-cifar-16 --epochs 300 --lr 0.05 --wd 5e-4 --swa-start 161 --swa-lr 0.01
  swa-train preresnet --data cifar10 --preset cifar10 --arch preresnet-110 --epochs 225 --lr 0.1 --wd 3e-4 --swa-start 126 --swa-lr 0.01
  swa-train preresnet --resume …    (the same flags: goes on where it was interrupted)

It leaves in RUN: ckpt_0126.safetensors and so on, the snapshots; in RUN/results: log.jsonl, a line an epoch; last.safetensors,
the weights at the end; swa.safetensors, the average, and swa_bn.safetensors, with its statistics recomputed; the state to
resume from.

Exit codes: 0 done, 2 usage, 3 bad input, 4 read or write failed, 5 an input changed, 6 a limit."
)]
struct Args {
    /// The folder of the run
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Go on with the run that is there
    #[arg(long)]
    resume: bool,

    /// The folder of training images, and of test images below it or beside them
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    data: PathBuf,

    /// The folder of test images, if they are elsewhere
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    test: Option<PathBuf>,

    /// Validate on N training images that are left out of training, the same for every seed, and not on the test images
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Data")]
    hold_out: usize,

    /// What the folder holds [default: recognised from its files]
    #[arg(long, value_parser = choice::<Format>(), help_heading = "Data")]
    format: Option<Format>,

    /// Train on N images only, the same for every seed [default: all]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Data")]
    samples: Option<usize>,

    /// Images per step
    #[arg(long, value_name = "N", value_parser = positive, default_value = "128", help_heading = "Data")]
    batch_size: usize,

    /// Seed of the first weights, of the order, of augmentation and of noise
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Data")]
    seed: u64,

    #[command(flatten)]
    pixels: PixelArgs,

    /// What is drawn for each training image
    #[arg(long, value_parser = choice::<Augment>(), default_value = "preset", help_heading = "Pixels")]
    augment: Augment,

    /// The architecture; with --init it is recognised
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    arch: Option<String>,

    /// Channels of the first stage [default: the authors']
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Network")]
    width: Option<usize>,

    /// Begin with the weights of this checkpoint [default: drawn by --seed, as the authors' code does]
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    init: Option<PathBuf>,

    #[command(flatten)]
    take: TakeArgs,

    /// Take the first epochs from another run, as far as both train alike: same flags except for those of the
    /// schedule. The result is that of a run without it
    #[arg(long, value_name = "RUN", help_heading = "Training")]
    trunk: Option<PathBuf>,

    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value_t = DeviceChoice::Auto, help_heading = "Network")]
    device: DeviceChoice,

    /// fp32; tf32 on NVIDIA GPUs; bf16: activations and products in it, weights in fp32
    #[arg(long, value_parser = choice::<Precision>(), default_value = "fp32", help_heading = "Network")]
    precision: Precision,

    /// How often all training images are seen
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Training")]
    epochs: usize,

    /// The learning rate at the beginning
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    lr: f64,

    /// Weight decay, on every parameter
    #[arg(long, value_name = "W", default_value_t = 5e-4, help_heading = "Training")]
    wd: f64,

    /// Momentum
    #[arg(long, value_name = "M", default_value_t = 0.9, help_heading = "Training")]
    momentum: f64,

    /// How the learning rate goes
    #[arg(long, value_parser = choice::<Shape>(), default_value = "decay", help_heading = "Training")]
    schedule: Shape,

    /// Average the weights from the end of epoch N on [default: no averaging]
    #[arg(long, value_name = "N", help_heading = "Averaging")]
    swa_start: Option<usize>,

    /// The learning rate while averaging; the lowest rate of a cycle [default: 1 % of --lr]
    #[arg(long, value_name = "RATE", help_heading = "Averaging")]
    swa_lr: Option<f64>,

    /// Epochs of a cycle: from one snapshot to the next
    #[arg(long, value_name = "N", value_parser = positive, default_value = "1", help_heading = "Averaging")]
    cycle: usize,

    /// Epochs from one validation to the next, of the model and of the average
    #[arg(long, value_name = "N", value_parser = positive, default_value = "5", help_heading = "Averaging")]
    eval_every: usize,

    #[command(flatten)]
    common: Common,
}

#[allow(unsafe_code)]
pub fn main() -> ExitCode {
    let (args, _) = swa_cli::parse_with::<Args>(|| swa_cli::long_version!(libtorch::version()));
    // SAFETY: no other thread was started, and libtorch was not used.
    unsafe { libtorch::prepare(args.precision) };
    swa_cli::run(&args.common, || {
        process::watch()?;
        let trained = jobs::train(&options(&args)?, &args.common.terminal())?;
        let report = TrainReport::new(&trained);
        args.common.json(&report)?;
        args.common.say(report.text())
    })
}

fn options(args: &Args) -> Result<Train> {
    let rates = (args.lr, args.swa_lr);
    Ok(Train {
        run: args.run.clone(),
        resume: args.resume,
        session: Options {
            images: Images {
                dir: args.data.clone(),
                format: args.format,
                samples: args.samples,
                seed: args.seed,
                batch_size: Some(args.batch_size),
                ..Images::default()
            },
            pixels: args.pixels.options(Some(args.augment)),
            networks: Networks {
                take: Take {
                    ema: args.take.ema,
                    key: args.take.weights_key.clone(),
                    moments: false,
                },
                arch: args.arch.clone(),
                device: args.device,
                precision: args.precision,
                threads: args.common.threads.map(usize::from),
                ..Networks::default()
            },
        },
        test: args.test.clone(),
        hold_out: args.hold_out,
        init: args.init.clone(),
        trunk: args.trunk.clone(),
        width: args.width,
        schedule: Schedule::new(args.schedule, rates, args.epochs, args.swa_start, args.cycle)?,
        momentum: args.momentum,
        weight_decay: args.wd,
        eval_every: args.eval_every,
    })
}
