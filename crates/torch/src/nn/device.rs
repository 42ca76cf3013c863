//! Where the network runs.

use std::fmt;
use std::str::FromStr;

use tch::Device;

use super::libtorch;
use swa_base::{Error, Result};

/// The flag `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The first GPU if there is one, else the CPU.
    Auto,
    Cpu,
    Cuda(usize),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Choice::Auto),
            "cpu" => Ok(Choice::Cpu),
            "cuda" => Ok(Choice::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(Choice::Cuda)
                .ok_or_else(|| "expected auto, cpu, cuda or cuda:N".to_string()),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Auto => f.write_str("auto"),
            Choice::Cpu => f.write_str("cpu"),
            Choice::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

/// Resolves the choice and returns the device with a line that says which one it is and why.
pub fn open(choice: Choice) -> Result<(Device, String)> {
    let cpu = |why: &str| {
        let threads = tch::get_num_threads();
        (Device::Cpu, format!("device: cpu, {threads} threads{why}"))
    };
    let index = match choice {
        Choice::Cpu => return Ok(cpu("")),
        Choice::Auto => match libtorch::load_cuda() {
            Ok(()) => 0,
            Err(why) => return Ok(cpu(&format!(" ({why})"))),
        },
        Choice::Cuda(index) => {
            libtorch::load_cuda().map_err(|why| {
                Error::usage(format!("--device {choice}: {why}"))
                    .remedy("--device cpu works anywhere")
            })?;
            index
        }
    };
    let count = tch::Cuda::device_count();
    if index as i64 >= count {
        return Err(Error::usage(format!(
            "--device {choice}: there are {count} GPUs, from cuda:0"
        )));
    }
    tch::Cuda::cudnn_set_benchmark(true);
    Ok((Device::Cuda(index), format!("device: cuda:{index}")))
}
