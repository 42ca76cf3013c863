//! What the documents say is there.

use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<(String, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|e| e.unwrap().path());
    let documents = docs.filter(|p| p.extension().is_some_and(|e| e == "md"));
    let documents = documents.chain([root().join("README.md")]);
    documents.map(|p| (p.display().to_string(), fs::read_to_string(&p).unwrap())).collect()
}

#[test]
fn links_lead_somewhere() {
    for (name, text) in documents() {
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if !link.starts_with('#') && !link.contains("://") {
                let folder = Path::new(&name).parent().unwrap();
                // Without the heading.
                let file = link.split('#').next().unwrap();
                assert!(folder.join(file).exists(), "{name}: {link}");
            }
        }
    }
}

/// Every flag that a document names is one of a tool, make or cargo.
#[cfg(feature = "torch")]
#[test]
fn flags_exist() {
    let tools = [
        env!("CARGO_BIN_EXE_swa-avg"),
        env!("CARGO_BIN_EXE_swa-bn-update"),
        env!("CARGO_BIN_EXE_swa-eval"),
    ];
    let help: String = tools
        .iter()
        .map(|tool| {
            let output = std::process::Command::new(tool).arg("--help").output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        })
        .collect();
    let known = flags(&help);
    let of_others = [
        "--resume",
        "--weights-only",
        "--release",
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
    ];
    for (name, text) in documents() {
        for flag in flags(&text) {
            assert!(known.contains(&flag) || of_others.contains(&flag.as_str()), "{name}: {flag}");
        }
    }
}

#[cfg(feature = "torch")]
fn flags(text: &str) -> std::collections::BTreeSet<String> {
    let parts = text.split("--").skip(1);
    let names = parts.map(|part| {
        let end = part.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(part.len());
        part[..end].trim_end_matches('-')
    });
    names.filter(|name| !name.is_empty()).map(|name| format!("--{name}")).collect()
}

/// The table of formats has every checkpoint that was tried, and no other.
#[test]
fn the_table_of_formats_is_that_of_the_fixtures() {
    let text = fs::read_to_string(root().join("docs/formats.md")).unwrap();
    let named: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let folder = root().join("fixtures/formats");
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()) {
        if entry.path().is_dir() {
            let name = entry.file_name().into_string().unwrap();
            assert!(named.contains(&name.as_str()), "{name} is not in docs/formats.md");
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn the_documents_name_rooms_that_exist() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let rooms = text.split('`').skip(1).step_by(2).filter(|word| word.starts_with("src/"));
    let mut count = 0;
    for room in rooms {
        assert!(root().join(room).exists(), "{room}");
        count += 1;
    }
    assert!(count > 5);
}
