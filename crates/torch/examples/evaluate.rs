//! Evaluates models on labelled images: `evaluate DATA PRESET MODEL...`.

use swa_torch::jobs::{self, Evaluate, Evaluation};
use swa_torch::nn::{Precision, libtorch};
use swa_torch::session::{Images, Options, Pixels};

#[allow(unsafe_code)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: no other thread was started yet.
    unsafe { libtorch::prepare(Precision::Fp32) };
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [data, preset, models @ ..] = &args[..] else {
        return Err("usage: evaluate DATA PRESET MODEL...".into());
    };
    let options = Evaluate {
        models: models.iter().map(Into::into).collect(),
        data: Options {
            images: Images { dir: data.into(), samples: Some(200), ..Images::default() },
            pixels: Pixels { preset: Some(preset.clone()), ..Pixels::default() },
            ..Options::default()
        },
        ..Evaluate::default()
    };
    if let Evaluation::Whole(evaluated) = jobs::evaluate(&options, &swa_base::Silent)? {
        for row in evaluated.rows() {
            let (top1, nll) = (100.0 * row.tally.top1(), row.tally.nll());
            println!("{}: {} images, top-1 {top1:.2} %, nll {nll:.4}", row.name, row.tally.n());
        }
    }
    Ok(())
}
