//! `--devices`: a process a device, each with its part of the pass, and the merging of the parts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command};
use swa_cli::Common;
use swa_cli::children::{Children, arguments};
use swa_tools::process::signals;
use swa_tools::{Error, Progress, Result};
use swa_torch::nn::device::{DeviceChoice, gpus};

#[derive(Debug, clap::Args)]
pub struct DevicesArgs {
    /// Share the pass between several devices, a process each: all (GPUs), or a list such as 0,2 or cpu,cpu. The result
    /// is that of one process
    #[arg(long, value_name = "LIST", conflicts_with_all = ["device", "shard", "save", "merge", "resume"],
          help_heading = "Sharing and interruption")]
    pub devices: Option<String>,
}

impl DevicesArgs {
    /// The devices to share the pass between, if it is to be.
    ///
    /// # Errors
    /// `Usage` for what is no list of them; `NoDevice` where all are asked for and there is none.
    fn devices(&self) -> Result<Option<Vec<DeviceChoice>>> {
        let Some(text) = &self.devices else { return Ok(None) };
        if text == "all" {
            return Ok(Some((0..gpus()?).map(DeviceChoice::Cuda).collect()));
        }
        let mut devices = vec![];
        for name in text.split(',') {
            let device = match name.parse::<usize>() {
                Ok(number) => DeviceChoice::Cuda(number),
                Err(_) => match name.parse() {
                    Ok(device @ (DeviceChoice::Cpu | DeviceChoice::Cuda(_))) => device,
                    _ => {
                        let what = format!("--devices {text}: `{name}` is no device");
                        return Err(Error::usage(what).remedy("such as all, or 0,2, or cpu,cpu"));
                    }
                },
            };
            if device != DeviceChoice::Cpu && devices.contains(&device) {
                return Err(Error::usage(format!("--devices {text}: {device} occurs twice")));
            }
            devices.push(device);
        }
        Ok(Some(devices))
    }
}

/// The parts that children saved, in a folder that goes with this value.
pub struct Parts {
    folder: PathBuf,
    pub paths: Vec<PathBuf>,
}

impl Drop for Parts {
    fn drop(&mut self) {
        // Left over, it harms nobody.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Has children make the parts of a pass, if that is asked for. `save` is the flag that saves a part; `only` names the
/// fields of flags that are the merging's alone.
pub fn parts(
    args: &DevicesArgs,
    common: &Common,
    (command, matches): (&Command, &ArgMatches),
    (save, only): (&str, &[&str]),
    progress: &dyn Progress,
) -> Result<Option<Parts>> {
    let Some(devices) = args.devices()? else { return Ok(None) };
    // One that was killed may have left a folder of its number.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_nanos());
    let folder = std::env::temp_dir().join(format!("swa-parts-{}-{now}", std::process::id()));
    std::fs::create_dir(&folder).map_err(|e| Error::io(&folder, "create", e))?;
    let path = |i: usize| folder.join(format!("{i}.part"));
    let parts = Parts { paths: (0..devices.len()).map(path).collect(), folder: folder.clone() };
    let children = Children::default();
    let ended = children.clone();
    signals::before_dying(move || {
        ended.stop();
        drop(std::fs::remove_dir_all(folder));
    });
    let without = [&["devices", "json", "progress", "threads", "force", "output"], only].concat();
    let given = arguments(command, matches, &without);
    let threads = common.threads.map_or_else(|| share_of_cores(devices.len()), usize::from);
    let of_device = |(i, device): (usize, &DeviceChoice)| {
        let mut save: OsString = format!("{save}=").into();
        save.push(&parts.paths[i]);
        let mut own: Vec<OsString> = vec![
            format!("--shard={i}/{}", devices.len()).into(),
            format!("--device={device}").into(),
            format!("--threads={threads}").into(),
            save,
        ];
        own.extend(given.iter().cloned());
        let name = match device {
            DeviceChoice::Cpu => format!("cpu, process {} of {}", i + 1, devices.len()),
            device => device.to_string(),
        };
        (name, own)
    };
    let runs: Vec<_> = devices.iter().enumerate().map(of_device).collect();
    let program = std::env::current_exe().map_err(|e| Error::io(Path::new("self"), "find", e))?;
    children.run(&program, &runs, progress)?;
    Ok(Some(parts))
}

/// Threads of each of so many processes.
fn share_of_cores(processes: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / processes).max(1)
}
