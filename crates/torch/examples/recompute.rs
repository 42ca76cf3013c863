//! Recomputes the batchnorm statistics of a model: `recompute MODEL DATA PRESET OUTPUT`.

use swa_torch::jobs::{self, Output, Update, UpdateBn};
use swa_torch::nn::{Precision, libtorch};
use swa_torch::session::{Images, Options, Pixels};

#[allow(unsafe_code)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: no other thread was started yet.
    unsafe { libtorch::prepare(Precision::Fp32) };
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, data, preset, output] = &args[..] else {
        return Err("usage: recompute MODEL DATA PRESET OUTPUT".into());
    };
    let options = UpdateBn {
        model: model.into(),
        output: Some(Output { path: output.into(), ..Output::default() }),
        data: Options {
            images: Images { dir: data.into(), samples: Some(300), ..Images::default() },
            pixels: Pixels { preset: Some(preset.clone()), ..Pixels::default() },
            ..Options::default()
        },
        ..UpdateBn::default()
    };
    if let Update::Model(updated) = jobs::update_bn(&options, &swa_base::Silent)? {
        let moved = updated.all.map_or(0.0, |all| all.moved);
        println!("{}: {} images, moved by {moved:.3} σ", updated.arch, updated.images);
    }
    Ok(())
}
