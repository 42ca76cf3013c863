//! Programs of `fixtures/programs` as networks.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::*;
use crate::nn::freeze::Freeze;
use crate::nn::pass::{Collected, Layer, Pass};
use crate::nn::precision::Precision;
use crate::nn::scope::{Found, Setup, Weights};
use crate::nn::shapes::Shapes;
use crate::nn::{Model, Network};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::programs::Program;

fn load(
    prepared: &Rc<Prepared>,
    checkpoint: &Checkpoint,
    setup: Setup,
) -> (Box<dyn Network>, Found) {
    let shapes = Shapes::views(checkpoint).remove(0);
    let freeze = Freeze::default();
    let mut weights = Weights::new(&shapes, &freeze, Some((checkpoint, setup)));
    let network = prepared.build(weights.scope()).map_err(swa_base::Error::from).unwrap();
    (network, weights.finish())
}

#[test]
#[ignore]
fn scratch() {
    let _guard = tch::no_grad_guard();
    tch::set_num_threads(1);
    let only = std::env::var("ONLY").ok();
    let mut all: Vec<_> =
        std::fs::read_dir("/tmp/ref").unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    for reference in all {
        let name = reference.file_stem().unwrap().to_str().unwrap().to_string();
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let program = match Program::open(Path::new(&format!("/work/pt2/{name}.pt2"))) {
            Ok(program) => program,
            Err(e) => {
                println!("{name}: OPEN {e}");
                continue;
            }
        };
        let prepared = match Prepared::new(Arc::new(program)) {
            Ok(prepared) => Rc::new(prepared),
            Err(e) => {
                println!("{name}: PREPARE {e}");
                continue;
            }
        };
        let weights = name.split("_torch").next().unwrap();
        let checkpoint =
            Checkpoint::open(Path::new(&format!("/work/pt2/{weights}.safetensors"))).unwrap();
        let expected = Tensor::read_safetensors(&reference).unwrap();
        let get = |key: &str| {
            expected.iter().find(|(name, _)| name == key).map(|(_, t)| t.shallow_clone())
        };
        let x = get("x").unwrap();
        let last = channels(&x);
        for (label, x, folded, precision) in [
            ("rows", &x, false, Precision::Fp32),
            ("last", &last, false, Precision::Fp32),
            ("folded", &last, true, Precision::Fp32),
            ("bf16", &last, true, Precision::Bf16),
        ] {
            let setup = Setup { device: Device::Cpu, precision, folded };
            let (network, found) = load(&prepared, &checkpoint, setup);
            let y = match network.forward(x, &mut Pass::Eval) {
                Ok(y) => y.to_kind(Kind::Float),
                Err(e) => {
                    println!("{name}: {label} RUN {}", swa_base::Error::from(e));
                    continue;
                }
            };
            let candidates: Vec<_> = (0..).map_while(|i| get(&format!("out.{i}"))).collect();
            let same = candidates.iter().find(|c| c.size() == y.size());
            let Some(same) = same else {
                println!("{name}: {label} gives {:?}, {:?}", y.size(), found.problems);
                continue;
            };
            let off = (&y - same).abs().max().double_value(&[]);
            let scale = same.abs().max().double_value(&[]);
            println!(
                "{name}: {label} {:.1e} of {scale:.2e} layers {} frozen {} problems {:?}",
                off / scale,
                found.batchnorms.len(),
                found.frozen.len(),
                &found.problems[..found.problems.len().min(3)]
            );
        }
    }
}

fn channels(x: &Tensor) -> Tensor {
    crate::nn::layers::channels_last(x).unwrap()
}
