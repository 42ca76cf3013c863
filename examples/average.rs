//! Averages checkpoints of one model: `average OUTPUT CHECKPOINT...`
//!
//! The output is a file in the format that its name ends in (`.safetensors`, `.pth`), or a folder if the checkpoints
//! are folders. It must not exist yet.

use std::error::Error;
use std::path::PathBuf;

use swa_tools::Silent;
use swa_tools::jobs::{Average, Output, average};

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let path = paths.next().ok_or("arguments: OUTPUT CHECKPOINT...")?;
    let output = Output { path, ..Output::default() };
    let job = Average { checkpoints: paths.collect(), outputs: vec![output], ..Average::default() };
    let averaged = average(&job, &Silent)?;
    let output = &averaged.outputs[0];
    for (input, share) in averaged.inputs.iter().zip(&output.shares) {
        println!("{:.4}  {}", share.unwrap_or(0.0), input.display());
    }
    println!("{} tensors averaged: {}", output.averaged, output.path.display());
    Ok(())
}
