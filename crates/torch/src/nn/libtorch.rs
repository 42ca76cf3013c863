//! What must be set before libtorch is used, and the loading of its CUDA part at run time, so that one
//! binary serves both kinds of machine.
//!
//! The binary links `libtorch_cpu.so` only. If `libtorch_cuda.so` lies beside it (a PyTorch
//! built for CUDA) and the machine has NVIDIA's driver, loading it makes the CUDA backend register
//! itself. All `unsafe` of this is here.

#![allow(unsafe_code)]

use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use super::precision::Precision;

/// Sets up the process, before libtorch is first used.
///
/// # Safety
/// No other thread of the process may exist: this changes the environment, which others could be reading. Call it
/// at the beginning of `main`.
///
/// What it does:
///
/// - fp32 means fp32: the default of cuDNN is to round the operands of fp32 convolutions to TF32
///   (10 bits of mantissa after the point). libtorch's switch for it is not bound by tch; NVIDIA's
///   own, for cuDNN and cuBLAS, is a variable of the environment.
/// - Freed memory is kept: libtorch allocates each activation separately, and glibc would map and unmap it
///   each time. Evaluating a small network, a third of the time went into page faults.
pub unsafe fn prepare(precision: Precision) {
    let tf32 = if precision == Precision::Tf32 { "1" } else { "0" };
    // SAFETY: the caller promises that no other thread could read the environment.
    unsafe { std::env::set_var("NVIDIA_TF32_OVERRIDE", tf32) };
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes numbers; a value it does not like is ignored.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1); // never
    }
}

/// Loads the CUDA backend. The error is the reason why there is none.
pub(crate) fn load_cuda() -> Result<(), String> {
    // SAFETY: NVIDIA's and PyTorch's libraries have initialisers that are made to be run by dlopen;
    // nothing is called through the handles, and they are never closed.
    let load = |path: &str| unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
    match load("libcuda.so.1") {
        Ok(driver) => std::mem::forget(driver),
        Err(_) => return Err("no NVIDIA driver: libcuda.so.1 is missing".into()),
    }
    let Some(folder) = loaded_from() else {
        return Err("the folder of libtorch_cpu.so cannot be found".into());
    };
    let path = folder.join("libtorch_cuda.so");
    if !path.exists() {
        let folder = folder.display();
        return Err(format!("the libtorch in {folder} is for the CPU only"));
    }
    match load(&path.to_string_lossy()) {
        Ok(library) => std::mem::forget(library),
        Err(e) => return Err(format!("libtorch_cuda.so cannot be loaded: {e}")),
    }
    if tch::Cuda::is_available() { Ok(()) } else { Err("libtorch finds no usable GPU".into()) }
}

/// Bytes of host memory that this process has allocated and not freed, as glibc counts them (from 2.33
/// on).
pub(crate) fn allocated() -> Option<u64> {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: looked up by name, as older versions lack it; it takes nothing and returns numbers.
        let info = unsafe {
            let count =
                Library::this().get::<unsafe extern "C" fn() -> libc::mallinfo2>(b"mallinfo2\0");
            count.ok()?()
        };
        return Some((info.uordblks + info.hblkhd) as u64);
    }
    #[allow(unreachable_code)]
    None
}

/// The version of a command that uses libtorch, in two lines: its own, and the libtorch that it found.
pub fn version() -> String {
    let own = env!("CARGO_PKG_VERSION");
    tch::get_num_threads(); // links it
    match loaded_from() {
        None => format!("{own}\nlibtorch: its folder cannot be found"),
        Some(folder) => {
            let version = version_in(&folder).unwrap_or_else(|| "of an unknown version".into());
            format!("{own}\nlibtorch {version} in {}", folder.display())
        }
    }
}

/// The version of the libtorch whose libraries are in a folder: PyTorch's wheel has it in `version.py`, and its
/// headers have it.
fn version_in(lib: &Path) -> Option<String> {
    let quoted = |text: &str, after: &str| {
        let text = text.replace("\\\n", "");
        let line =
            text.lines().find_map(|line| line.trim().strip_prefix(after).map(String::from))?;
        let mut parts = line.split(['\'', '"']).skip(1);
        parts.next().map(String::from)
    };
    let read = |path: &str| std::fs::read_to_string(lib.join("..").join(path)).ok();
    let python = read("version.py").and_then(|text| quoted(&text, "__version__"));
    python.or_else(|| {
        let header = read("include/torch/headeronly/version.h")?;
        quoted(&header, "#define TORCH_VERSION ")
    })
}

/// The folder from which this process loaded libtorch_cpu.so.
fn loaded_from() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps.lines().find_map(|line| {
        let path = &line[line.find('/')?..];
        path.ends_with("/libtorch_cpu.so").then(|| PathBuf::from(path))
    })?;
    path.parent().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtorch_is_found_in_this_process() {
        tch::get_num_threads(); // links it
        let folder = loaded_from().expect("libtorch_cpu.so is mapped");
        assert!(folder.join("libc10.so").exists(), "{}", folder.display());
        assert!(version_in(&folder).is_some_and(|version| version.starts_with("2.11.")));
    }

    #[test]
    fn without_cuda_there_is_a_reason() {
        if let Err(reason) = load_cuda() {
            assert!(reason.contains("driver") || reason.contains("lib"), "{reason}");
        }
    }
}
