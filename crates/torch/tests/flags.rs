//! Every flag that a document names is one of a tool, make or cargo.

use std::collections::BTreeSet;
use std::fs;

use swa_testing::{binary, root};

#[test]
fn flags_exist() {
    let landscape = ["plane", "line", "rays", "merge", "draw", "curves"];
    let tools = ["swa-avg", "swa-bn-update", "swa-eval", "swa-train"].map(|tool| vec![tool]);
    let landscape = landscape.map(|command| vec!["swa-landscape", command]);
    let help: String = tools
        .iter()
        .chain(&landscape)
        .map(|command| {
            let mut tool = std::process::Command::new(binary(command[0]));
            let output = tool.args(&command[1..]).arg("--help").output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        })
        .collect();
    let known = flags(&help);
    let of_others = [
        "--resume",
        "--weights-only",
        "--release",
        "--workspace",
        "--path",
        "--features",
        "--open",
        "--pairs",
        "--document",
        "--only",
        "--dir",
        // torchrun and torchvision's trainer
        "--nproc",
        "--data-path",
        "--model",
        "--epochs",
        "--lr",
        "--wd",
        "--lr-step-size",
        "--output-dir",
        "--test-only",
        // of packagers
        "--generate",
        // pip and venv
        "--index-url",
        "--no-cache-dir",
        "--system-site-packages",
        // timm's trainer
        "--checkpoint-hist",
        "--model-ema",
        // sbatch, and docs/ray_pass.py
        "--array",
        "--cpus",
        "--cpus-per-task",
        "--dependency",
        "--folder",
        "--gpus",
        "--gpus-per-task",
        "--job-name",
        "--merge",
        "--parsable",
        "--part",
        "--parts",
        "--requeue",
        "--time",
        "--wrap",
        // GNU parallel and kubectl
        "--for",
        "--jobs",
        "--patch",
        "--sshloginfile",
        "--timeout",
        "--workdir",
    ];
    for (name, text) in documents() {
        for flag in flags(&text) {
            assert!(known.contains(&flag) || of_others.contains(&flag.as_str()), "{name}: {flag}");
        }
    }
}

fn flags(text: &str) -> BTreeSet<String> {
    let parts = text.split("--").skip(1);
    let names = parts.map(|part| {
        let end = part.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(part.len());
        part[..end].trim_end_matches('-')
    });
    names.filter(|name| !name.is_empty()).map(|name| format!("--{name}")).collect()
}

/// The documents, by name.
fn documents() -> Vec<(String, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|e| e.unwrap().path());
    let documents = docs.filter(|p| p.extension().is_some_and(|e| e == "md"));
    let documents = documents.chain([root().join("README.md")]);
    documents.map(|p| (p.display().to_string(), fs::read_to_string(&p).unwrap())).collect()
}
