//! How much host memory there is, and how much of it a job has taken.

use std::fs;
use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::libtorch;

/// Bytes of host memory that can still be allocated: what the machine has free, or what the control group of this
/// process (a Slurm job's, a container's) still allows, whichever is less. None if neither can be read.
pub(crate) fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| Some(field(&text, "MemAvailable:")? * 1024));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = groups.lines().filter_map(|line| group(Path::new("/sys/fs/cgroup"), line));
    machine.into_iter().chain(groups).min()
}

/// What is left in the control group of a line of /proc/self/cgroup, of version 1 or 2.
fn group(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
    let (root, limit, used, cache) = match controllers {
        "" => (root.to_path_buf(), "memory.max", "memory.current", "inactive_file"),
        "memory" => (
            root.join("memory"),
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
        _ => return None,
    };
    let number = |folder: &Path, name: &str| {
        fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok()
    };
    let left = |folder: &Path| {
        let limit = number(folder, limit)?; // `max` is none
        // The file cache gives way.
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let used = number(folder, used)?.saturating_sub(field(&stat, cache).unwrap_or(0));
        Some(limit.saturating_sub(used))
    };
    // A limit may stand at any group above (Slurm's at the job, the process in a task of a step of it),
    // and a container sees its own at the root.
    let own = root.join(path);
    own.ancestors().take_while(|folder| folder.starts_with(&root)).filter_map(left).min()
}

/// The number after `name` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Host memory that a job may take, and how much it has taken.
pub struct Budget {
    bytes: u64,
    /// In use when the job began.
    before: u64,
    /// Whether use is what the C library counts; else it is what is resident, which does not fall when memory is freed.
    counted: bool,
}

/// A budget in bytes where the free memory cannot be read.
const DEFAULT: u64 = 4 << 30;

impl Budget {
    /// So many bytes, or half of what is free: the job also needs memory that the budget does not count.
    pub(crate) fn asked(bytes: Option<u64>) -> Self {
        Self::new(bytes.unwrap_or_else(|| available().map_or(DEFAULT, |free| free / 2)))
    }

    /// So many bytes from now on: make it before the job begins.
    pub fn new(bytes: u64) -> Self {
        let counted = is_counted();
        Budget { bytes, before: used(counted), counted }
    }

    /// The whole budget.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the job has taken less than the budget.
    pub(crate) fn has_room(&self) -> bool {
        used(self.counted).saturating_sub(self.before) < self.bytes
    }
}

fn used(counted: bool) -> u64 {
    libtorch::allocated().filter(|_| counted).unwrap_or_else(resident)
}

/// Whether the C library's count includes tensors. It does not if libtorch was built with an allocator of its
/// own.
fn is_counted() -> bool {
    const SIZE: u64 = 32 << 20;
    let Some(before) = libtorch::allocated() else { return false };
    let Ok(_tensor) = Tensor::f_empty([SIZE as i64], (Kind::Uint8, Device::Cpu)) else {
        return false;
    };
    libtorch::allocated().is_some_and(|now| now >= before + SIZE / 2)
}

fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&text, "VmRSS:").unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_counts_tensors_until_they_are_dropped() {
        // Other tests run beside this one: sizes that they do not reach.
        const SIZE: i64 = 1 << 30;
        let budget = Budget::new(SIZE as u64 / 2);
        assert!(budget.counted && budget.has_room());
        // Not touched, so it takes no memory.
        let tensor = Tensor::empty([SIZE], (Kind::Uint8, Device::Cpu));
        assert!(!budget.has_room());
        drop(tensor);
        assert!(budget.has_room());
    }

    #[test]
    fn what_a_control_group_allows_is_less_its_use_but_for_the_file_cache() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("slurm/job_7/memory.max", "1000\n");
        write("slurm/job_7/memory.current", "700\n");
        write("slurm/job_7/memory.stat", "anon 5\ninactive_file 200\n");
        write("memory/job/memory.limit_in_bytes", "5000\n");
        write("memory/job/memory.usage_in_bytes", "100\n");
        write("open/memory.max", "max\n");
        let group = |line| group(dir.path(), line);
        write("slurm/job_7/step_0/task_0/memory.max", "max\n");
        assert_eq!(group("0::/slurm/job_7"), Some(500));
        assert_eq!(group("0::/slurm/job_7/step_0/task_0"), Some(500));
        assert_eq!(group("4:memory:/job"), Some(4900));
        assert_eq!(group("0::/open"), None);
        assert_eq!(group("3:cpuset:/"), None);
        assert_eq!(group("nonsense"), None);
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(available().unwrap() > 1 << 20 && resident() > 1 << 20);
    }
}
