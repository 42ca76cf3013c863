//! The device that networks run on.

use std::fmt;
use std::str::FromStr;

use tch::Device;

use super::libtorch;
use swa_base::{Error, Kind, Result, setting};

/// Which device is asked for, as text: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first GPU if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU by its number, counted from 0.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "cuda" => Ok(DeviceChoice::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(DeviceChoice::Cuda)
                .ok_or_else(|| "expected auto, cpu, cuda or cuda:N".to_string()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

/// How many GPUs there are: one at least.
///
/// # Errors
/// `NoDevice` if there is none that can be used.
pub fn gpus() -> Result<usize> {
    let none = |why: String| {
        Error::new(Kind::NoDevice, format!("{}: {why}", setting!("devices", "all")))
            .remedy("share between processors, as with cpu,cpu, or leave it out")
    };
    libtorch::load_cuda().map_err(|why| none(why.to_string()))?;
    match tch::Cuda::device_count() {
        count @ 1.. => Ok(count as usize),
        _ => Err(none("there is no GPU".into())),
    }
}

/// Resolves the choice; returns the device with a line that names it and the reason.
///
/// # Errors
/// `NoDevice` if the GPU that was asked for cannot be used.
pub(crate) fn open(choice: DeviceChoice) -> Result<(Device, String)> {
    let cpu = |why: &str| {
        let threads = tch::get_num_threads();
        (Device::Cpu, format!("device: cpu, {threads} threads{why}"))
    };
    let index = match choice {
        DeviceChoice::Cpu => return Ok(cpu("")),
        DeviceChoice::Auto => match libtorch::load_cuda() {
            Ok(()) => 0,
            Err(why) => return Ok(cpu(&format!(" ({why})"))),
        },
        DeviceChoice::Cuda(index) => {
            libtorch::load_cuda().map_err(|why| {
                Error::new(Kind::NoDevice, format!("{} {choice}: {why}", setting!("device")))
                    .remedy(concat!(setting!("device", "cpu"), " works anywhere"))
            })?;
            index
        }
    };
    let count = tch::Cuda::device_count();
    if index as i64 >= count {
        let what = format!("{} {choice}: there are {count} GPUs, from cuda:0", setting!("device"));
        return Err(Error::new(Kind::NoDevice, what));
    }
    // With a race between algorithms, cuDNN may choose another one in another process: the parts of a shared pass
    // would not be those of a single one.
    tch::Cuda::cudnn_set_benchmark(false);
    Ok((Device::Cuda(index), format!("device: cuda:{index}")))
}
