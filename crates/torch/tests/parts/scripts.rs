//! The scripts of docs/scale.md, run as the document has them: Slurm, by stand-ins for its commands, and Ray.

use std::fs;
use std::path::Path;
use std::process::Command;

use swa_testing::data_tools::*;

use crate::scene::*;

/// The blocks of a document in bash.
fn blocks(document: &str) -> Vec<&str> {
    let starts = document.split("```bash\n").skip(1);
    starts.map(|rest| rest.split("```").next().unwrap()).collect()
}

/// A folder as the document has it: a model that says which pixels it takes, and data.
fn site() -> Scene {
    let scene = Scene::new();
    scene.update(&[("-o", "swa.safetensors")]).assert().success();
    for name in ["train", "val"] {
        std::os::unix::fs::symlink(fashion(), scene.path(name)).unwrap();
    }
    scene
}

/// What the document's commands are to end in.
fn check_site(scene: &Scene, printed: &str) {
    let few = ["--samples", "400", "--threads", "1", "--data"];
    let mut update = swa_bn_update();
    update.current_dir(scene.0.path()).arg("swa.safetensors").args(few);
    update.args(["train", "-o", "expected.safetensors"]).assert().success();
    assert!(scene.read("swa_bn.safetensors") == scene.read("expected.safetensors"));
    let mut eval = swa_eval();
    eval.current_dir(scene.0.path()).args(["swa_bn.safetensors", "swa.safetensors"]).args(few);
    let output = eval.arg("val").output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let rows = |text: &str| {
        text.lines()
            .map(str::trim)
            .filter(|line| line.starts_with("swa"))
            .map(String::from)
            .collect::<Vec<_>>()
    };
    assert_eq!(rows(&table).len(), 2, "{table}");
    assert!(rows(&table).iter().all(|row| printed.contains(row)), "{table}\n{printed}");
}

/// The scripts' commands on few images and one thread, as quick as a test should be.
fn quick(script: &str) -> String {
    let script = script.replace("--threads 4", "--threads 1").replace("--array=0-7", "--array=0-1");
    let script = script.replace("--parts 8", "--parts 2");
    script
        .replace("--data train", "--data train --samples 400")
        .replace("--data val", "--data val --samples 400")
}

fn path_with(folders: &[&Path]) -> std::ffi::OsString {
    let tools = Path::new(env!("CARGO_BIN_EXE_swa-eval")).parent().unwrap();
    let own = std::env::var_os("PATH").unwrap();
    let own = std::env::split_paths(&own).collect::<Vec<_>>();
    let first = folders.iter().copied().chain([tools]).map(Path::to_path_buf);
    std::env::join_paths(first.chain(own)).unwrap()
}

fn document() -> String {
    fs::read_to_string(swa_testing::root().join("docs/scale.md")).unwrap()
}

#[test]
fn the_slurm_script_of_the_document_does_what_it_says() {
    let scene = site();
    let document = document();
    let blocks = blocks(&document);
    let block = |with: &str| quick(blocks.iter().find(|block| block.contains(with)).unwrap());
    fs::write(scene.path("swa.sbatch"), block("#SBATCH")).unwrap();
    // Slurm, as far as the script sees it.
    let bin = scene.path("bin");
    fs::create_dir(&bin).unwrap();
    let slurm = [
        ("srun", "exec \"$@\""),
        (
            "sbatch",
            "last=0\nwhile :; do case $1 in --array=*) last=${1#--array=0-};; --*) ;; *) break;; esac; shift; done\n\
             for i in $(seq 0 $last); do\n\
             SLURM_ARRAY_TASK_ID=$i SLURM_ARRAY_TASK_COUNT=$((last + 1)) bash \"$@\" >>job.out 2>>job.err || exit 1\n\
             done; echo 7",
        ),
    ];
    for (name, script) in slurm {
        let path = bin.join(name);
        fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut shell = Command::new("bash");
    shell
        .current_dir(scene.0.path())
        .env("PATH", path_with(&[&bin]))
        .args(["-euc", &block("swa.sbatch update")]);
    let output = shell.output().unwrap();
    let errors = fs::read_to_string(scene.path("job.err")).unwrap_or_default();
    assert!(output.status.success(), "{}{errors}", String::from_utf8_lossy(&output.stderr));
    check_site(&scene, &String::from_utf8(scene.read("job.out")).unwrap());
}

#[test]
fn the_ray_script_of_the_document_does_what_it_says() {
    let given = ["SWA_RAY_PYTHON", "PYTHON"].into_iter().find_map(|name| std::env::var(name).ok());
    let python = given.unwrap_or("python3".into());
    let ray = Command::new(&python).args(["-c", "import ray"]).output();
    let found = ray.is_ok_and(|output| output.status.success());
    if !swa_testing::faults::needs(
        found,
        "the_ray_script_of_the_document_does_what_it_says",
        "a python3 with ray (or SWA_RAY_PYTHON)",
    ) {
        return;
    }
    let scene = site();
    let script = swa_testing::root().join("docs/scale/ray_pass.py");
    fs::copy(script, scene.path("ray_pass.py")).unwrap();
    let document = document();
    let block = blocks(&document).into_iter().find(|block| block.contains("--folder")).unwrap();
    let commands = quick(block).replace("python ", &format!("{python} "));
    let mut shell = Command::new("bash");
    shell.current_dir(scene.0.path()).env("PATH", path_with(&[])).args(["-euc", &commands]);
    let output = shell.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    check_site(&scene, &String::from_utf8(output.stdout).unwrap());
}
