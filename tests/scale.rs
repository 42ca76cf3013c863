//! The scripts of docs/scale.md average what one process does. Engines that are not here are passed over, or stood in
//! for; `make test-scale` has the real ones.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use swa_testing::faults::needs;
use swa_testing::{binary, fixtures, listing, root, swa_avg};

/// Set where the engines are to be the real ones: then none is passed over.
fn is_real() -> bool {
    std::env::var_os("SWA_TESTS_SCALE").is_some()
}

/// Whether a test has its engine; it fails without where every test must run.
fn runs(program: &str, args: &[&str], says: &str, test: &str, what: &str) -> bool {
    let output = Command::new(program).args(args).output();
    let found = output.is_ok_and(|output| {
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains(says)
    });
    assert!(found || !is_real(), "{program} is not here");
    needs(found, test, what)
}

/// A folder as the document has it.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Slurm's daemons and their jobs may be another user's.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        for step in ["50", "100"] {
            let to = dir.path().join(format!("run/step-{step}"));
            fs::create_dir_all(&to).unwrap();
            let from = fixtures().join(format!("formats/hf-sharded/checkpoint-{step}"));
            for name in listing(&from) {
                fs::copy(from.join(&name), to.join(&name)).unwrap();
            }
        }
        Site(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn content(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let folder = self.path(folder);
        let read = |name: String| (name.clone(), fs::read(folder.join(name)).unwrap());
        listing(&folder).into_iter().map(read).collect()
    }

    /// Runs commands of the document, with the tools and these folders first on the path.
    fn shell(&self, commands: &str, folders: &[&Path]) -> Output {
        let own = std::env::var_os("PATH").unwrap();
        let own = std::env::split_paths(&own).collect::<Vec<_>>();
        let (avg, mut path) = (binary("swa-avg"), vec![]);
        path.extend(folders.iter().map(|folder| folder.to_path_buf()));
        path.push(avg.parent().unwrap().to_path_buf());
        path.extend(own);
        let mut shell = Command::new("bash");
        shell.current_dir(self.0.path()).env("PATH", std::env::join_paths(path).unwrap());
        // What started the tests may be a job itself.
        let is_of_job = |name: &String| name.starts_with("SLURM_") && name != "SLURM_CONF";
        for name in std::env::vars().map(|(name, _)| name).filter(is_of_job) {
            shell.env_remove(name);
        }
        shell.args(["-euc", commands]).output().unwrap()
    }

    #[track_caller]
    fn is_averaged(&self) {
        let mut alone = swa_avg();
        alone.current_dir(self.0.path()).args(["run/step-*", "-o", "alone"]).assert().success();
        assert!(self.content("averaged") == self.content("alone"));
        assert!(!self.path("averaged.partial").exists());
    }
}

/// The block of the document that has these words.
fn block(words: &[&str]) -> String {
    let document = fs::read_to_string(root().join("docs/scale.md")).unwrap();
    let blocks = document.split("```bash\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let found: Vec<&str> =
        blocks.filter(|block| words.iter().all(|word| block.contains(word))).collect();
    assert_eq!(found.len(), 1, "{words:?}");
    found[0].to_string()
}

#[track_caller]
fn succeeded(output: &Output) {
    let (said, errors) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}{errors}", String::from_utf8_lossy(said));
}

/// Slurm as far as the commands see it.
const SBATCH: &str = r#"#!/bin/bash
last=0 array= wrap=
while [ $# -gt 0 ]; do
    case $1 in
    --array=*) array=1 last=${1#--array=0-} ;;
    --wrap) wrap=$2; shift ;;
    esac
    shift
done
for i in $(seq 0 "$last"); do
    export SLURM_PROCID=0 SLURM_NTASKS=2
    [ -z "$array" ] || export SLURM_ARRAY_TASK_ID=$i SLURM_ARRAY_TASK_COUNT=$((last + 1)) SLURM_ARRAY_TASK_MIN=0
    bash -c "$wrap" >>slurm-7.out 2>&1 || exit 1
done
echo 7
"#;

#[test]
fn a_slurm_array_averages() {
    let site = Site::new();
    let bin = tempfile::tempdir().unwrap();
    let sbatch = bin.path().join("sbatch");
    if !is_real() {
        fs::write(&sbatch, SBATCH).unwrap();
        fs::set_permissions(&sbatch, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let commands = block(&["sbatch", "--wrap"]);
    // One node has few cores.
    let output =
        site.shell(&commands.replace("--cpus-per-task=4", "--cpus-per-task=1"), &[bin.path()]);
    succeeded(&output);
    let begun = Instant::now();
    while !site.path("averaged").exists() || site.path("averaged/swa.part").exists() {
        let said = || {
            let logs = listing(site.0.path()).into_iter().filter(|name| name.ends_with(".out"));
            let read = |name: String| fs::read_to_string(site.path(&name)).unwrap_or_default();
            logs.map(read).collect::<String>()
        };
        assert!(is_real() && begun.elapsed() < Duration::from_secs(180), "{}", said());
        std::thread::sleep(Duration::from_millis(200));
    }
    site.is_averaged();
}

#[test]
fn gnu_parallel_averages() {
    let test = "gnu_parallel_averages";
    if !runs("parallel", &["--version"], "GNU parallel", test, "GNU parallel") {
        return;
    }
    let site = Site::new();
    succeeded(&site.shell(&block(&["parallel --jobs"]), &[]));
    site.is_averaged();
}

#[test]
fn ray_averages() {
    let given = ["SWA_RAY_PYTHON", "PYTHON"].into_iter().find_map(|name| std::env::var(name).ok());
    let python = given.unwrap_or("python3".into());
    let what = "a python3 with ray (or SWA_RAY_PYTHON)";
    if !runs(&python, &["-c", "import ray; print('ray')"], "ray", "ray_averages", what) {
        return;
    }
    let site = Site::new();
    fs::copy(root().join("docs/scale/ray_pass.py"), site.path("ray_pass.py")).unwrap();
    let commands = block(&["ray_pass.py", "swa-avg"]).replace("python ", &format!("{python} "));
    succeeded(&site.shell(&commands, &[]));
    site.is_averaged();
}

#[test]
fn a_kubernetes_job_averages() {
    let text = fs::read_to_string(root().join("docs/scale/average.yaml")).unwrap();
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.trim().strip_prefix(key));
        lines.next().unwrap().trim().trim_matches('"').to_string()
    };
    let (completions, shards) = (value("completions:"), value("value:"));
    assert_eq!(completions, shards);
    // Lists in braces are JSON, too.
    let lists = text.lines().filter_map(|line| line.trim().strip_prefix("args:"));
    let lists: Vec<Vec<String>> = lists.map(|list| serde_json::from_str(list).unwrap()).collect();
    let [shard, finish] = &lists[..] else { panic!("{lists:?}") };
    let site = Site::new();
    for index in 0..completions.parse().unwrap() {
        let mut pod = swa_avg();
        pod.current_dir(site.0.path()).args(shard).env("SWA_SHARDS", &shards);
        pod.env("JOB_COMPLETION_INDEX", format!("{index}")).assert().success();
    }
    swa_avg().current_dir(site.0.path()).args(finish).assert().success();
    site.is_averaged();
}
