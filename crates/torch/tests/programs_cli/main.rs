//! Exported programs in the two commands: which checkpoint runs which, what is recorded and said, and that all that the
//! commands can do works with them.

mod bytes;
mod outputs;
mod passes;
#[path = "../program_fixtures/mod.rs"]
mod program_fixtures;
mod sizes;
mod statistics;
mod which;

use std::collections::BTreeMap;
use std::path::Path;

use program_fixtures::*;
use serde_json::Value;
use swa_testing::data_tools::*;
use swa_testing::*;

fn record(path: &Path) -> Value {
    serde_json::from_str(&metadata(path)["swa"]).unwrap()
}

/// The statistics in a file, without what stands before `stem`, `body` and `last` in their names.
fn statistics(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let all = load(path).into_iter().filter(|(name, _)| name.contains(".running_"));
    let short = |name: &str| {
        let at = ["stem", "body", "last"].iter().find_map(|part| name.find(part)).unwrap_or(0);
        name[at..].to_string()
    };
    all.map(|(name, bytes)| (short(&name), bytes)).collect()
}

fn updated(model: &Path, program: &Path, out: &Path, extra: &[&str]) -> BTreeMap<String, Vec<u8>> {
    update(model, program, out, extra).assert().success();
    statistics(out)
}

/// The rows of the logits of one model on the ten photographs.
fn logits(model: &Path, program: &Path, out: &Path, extra: &[&str]) -> Vec<f32> {
    let file = out.to_str().unwrap();
    let extra = [extra, &["--logits", file, "--force"]].concat();
    eval(&[model], &[program], &extra).assert().success();
    to_f32(&load(out)["logits"])
}

#[test]
fn three_commands_and_what_they_record() {
    let folder = Folder::new();
    let (model, program) = folder.network("plain");
    let swa = folder.path("swa.safetensors");
    swa_avg().arg(&model).arg("-o").arg(&swa).assert().success();
    let out = folder.path("bn.safetensors");
    let printed = json(&mut update(&swa, &program, &out, &[]));
    let arch = printed["arch"].as_str().unwrap();
    assert!(
        arch.starts_with("program plain.pt2 (") && arch.ends_with(" operators, torch 2.11.0)"),
        "{arch}"
    );
    let used = &printed["program"];
    assert_eq!(used["torch"], "2.11.0");
    assert_eq!(used["schema"], "8.17");
    assert_eq!(used["digest"].as_str().unwrap().len(), 32);
    for list in ["not_reached", "left", "shared", "by_batch", "surplus"] {
        assert_eq!(used[list], serde_json::json!([]), "{list}");
    }
    let recorded = &record(&out)["bn_update"]["program"];
    for field in ["torch", "schema", "digest"] {
        assert_eq!(recorded[field], used[field]);
    }
    assert_eq!(record(&out)["transform"]["crop"], 32);
    assert_eq!(printed["layers"].as_array().unwrap().len(), 3);
    let tensors = load(&out);
    assert_eq!(tensors["body.bn.num_batches_tracked"], 2i64.to_le_bytes());
    assert_ne!(tensors["stem.bn.running_mean"], load(&swa)["stem.bn.running_mean"]);
    for (name, bytes) in load(&swa) {
        if !name.contains("running_") && !name.contains("num_batches") {
            assert_eq!(tensors[&name], bytes, "{name}");
        }
    }
    // The transform is in the model.
    let mut command = swa_eval();
    command.arg(&out).arg("--program").arg(&program).arg("--data").arg(photos());
    let evaluated = json(&mut command);
    assert_eq!(evaluated["models"][0]["program"]["digest"], used["digest"]);
    assert_eq!(evaluated["transform"]["resize"], 32);
    // The output has the form of the input.
    let pth = folder.path("bn.pth");
    update(&swa, &program, &pth, &[]).assert().success();
    assert!(notes(swa_avg().arg("--list").arg(&pth)).is_empty());
}
