//! Checkpoints of every trainer, written by its own library (fixtures/formats), average to what PyTorch
//! makes of the same tensors in f64, bit for bit; what cannot be read is refused by name.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;
use swa_testing::swa_avg;
use swa_testing::{fails, listing};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats")
}

struct Case {
    label: String,
    inputs: Vec<PathBuf>,
    args: Vec<String>,
    expected: Option<PathBuf>,
    refused: Option<String>,
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(fixtures().join("cases.json")).unwrap();
    let cases: Value = serde_json::from_str(&text).unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_string()).collect()
    };
    let case = |case: &Value| {
        let args = texts(&case["args"]);
        let name = case["case"].as_str().unwrap();
        Case {
            label: format!("{name} {}", args.join(" ")).trim_end().to_string(),
            inputs: texts(&case["inputs"]).iter().map(|path| fixtures().join(path)).collect(),
            args,
            expected: case["expected"].as_str().map(|path| fixtures().join(path)),
            refused: case["refused"].as_str().map(str::to_string),
        }
    };
    cases.as_array().unwrap().iter().map(case).collect()
}

/// What differs between two safetensors files, names of tensors first.
fn difference(found: &[u8], expected: &[u8]) -> Option<String> {
    let (found, expected) =
        (SafeTensors::deserialize(found).unwrap(), SafeTensors::deserialize(expected).unwrap());
    let sorted = |file: &SafeTensors| {
        let mut names: Vec<String> = file.names().iter().map(|n| n.to_string()).collect();
        names.sort();
        names
    };
    let (a, b) = (sorted(&found), sorted(&expected));
    if a != b {
        return Some(format!("names {a:?}, expected {b:?}"));
    }
    for name in a {
        let (a, b) = (found.tensor(&name).unwrap(), expected.tensor(&name).unwrap());
        if a.dtype() != b.dtype() || a.shape() != b.shape() {
            let (x, y) = ((a.dtype(), a.shape()), (b.dtype(), b.shape()));
            return Some(format!("`{name}`: {x:?}, expected {y:?}"));
        }
        if a.data() != b.data() {
            return Some(format!("`{name}`: other values"));
        }
    }
    None
}

/// What a tool that must fail says: one line of ours, exit code 2 or 3.
fn refusal(mut run: assert_cmd::Command, label: &str) -> Result<(), String> {
    let done = run.output().unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    // Where the act is in disguise, it must be found, not stumbled over.
    let part = if label == "hostile-reached" { "code that acts" } else { "" };
    let is_ours = (stderr.lines().next())
        .is_some_and(|line| line.starts_with("error: ") && line.contains(part));
    match done.status.code() {
        Some(2 | 3) if is_ours => Ok(()),
        code => Err(format!("{label}: should be refused: {code:?} {stderr}")),
    }
}

#[test]
fn every_trainers_checkpoints_average_to_what_pytorch_makes_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("out.safetensors");
    let (mut problems, mut read, mut refused) = (vec![], 0, 0);
    for case in cases() {
        let label = &case.label;
        let run = |inputs: &[PathBuf]| {
            let mut run = swa_avg();
            run.args(inputs).args(&case.args).arg("-o").arg(&output).arg("--force");
            run
        };
        if let Some(expected) = &case.expected {
            let done = run(&case.inputs).output().unwrap();
            if !done.status.success() {
                problems.push(format!("{label}: {}", String::from_utf8_lossy(&done.stderr)));
                continue;
            }
            let (a, b) = (std::fs::read(&output).unwrap(), std::fs::read(expected).unwrap());
            match difference(&a, &b) {
                Some(what) => problems.push(format!("{label}: {what}")),
                None => read += 1,
            }
        } else if case.refused.is_some() {
            // Each input of these for itself.
            for input in case.inputs.chunks(1) {
                match refusal(run(input), label) {
                    Err(problem) => problems.push(problem),
                    Ok(()) => refused += 1,
                }
            }
        }
        let _ = std::fs::remove_file(&output);
    }
    let report = problems.join("\n");
    assert!(problems.is_empty(), "{} wrong, {read} right:\n{report}", problems.len());
    assert!(read > 90 && refused > 50, "{read} read, {refused} refused");
}

#[test]
fn every_checkpoint_is_listed_or_refused() {
    let mut listed = 0;
    for case in cases() {
        for input in &case.inputs {
            let mut run = swa_avg();
            run.args(case.args.iter().filter(|arg| !arg.starts_with("--dtype") && *arg != "f32"));
            let done = run.args(["--list", "--json"]).arg(input).output().unwrap();
            if !done.status.success() {
                assert!(case.refused.is_some(), "{}", String::from_utf8_lossy(&done.stderr));
                continue;
            }
            let list: Value = serde_json::from_slice(&done.stdout).unwrap();
            let tensors = list["checkpoints"][0]["tensors"].as_array().unwrap();
            assert!(!tensors.is_empty(), "{}", case.label);
            listed += 1;
        }
    }
    assert!(listed > 200, "{listed}");
}

#[test]
fn a_list_says_what_is_beside_the_weights_and_what_becomes_of_them() {
    let file = fixtures().join("torchvision-references/model_0.pth");
    let done = swa_avg().arg("--list").arg(&file).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    for part in [
        "PyTorch zip",
        "weights  `model`: 8 tensors",
        "averaged weights are in it as well: --ema takes them",
        "beside   args: an object `argparse.Namespace`",
        "beside   epoch: 0",
    ] {
        assert!(text.contains(part), "{part:?} not in {text}");
    }
    let row = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.split_whitespace().map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(row("fc.weight"), ["fc.weight", "F32", "5", "×", "4", "averaged"]);
    assert_eq!(row("bn.num_b")[1..], ["I64", "scalar", "from", "the", "last"]);
}

/// The bytes of files that PyTorch has been seen to read (fixtures/written/check.py).
#[test]
fn pytorch_files_are_written_as_pytorch_reads_them() {
    use sha2::{Digest, Sha256};
    let dir = tempfile::tempdir().unwrap();
    let written = fixtures().parent().unwrap().join("written/written.json");
    let rows: Value = serde_json::from_str(&std::fs::read_to_string(written).unwrap()).unwrap();
    for row in rows.as_array().unwrap() {
        let output = dir.path().join(row["output"].as_str().unwrap());
        let texts = |key: &str| row[key].as_array().unwrap().iter().map(|t| t.as_str().unwrap());
        let mut run = swa_avg();
        run.current_dir(fixtures())
            .args(texts("inputs"))
            .args(texts("args"))
            .arg("-o")
            .arg(&output);
        run.assert().success();
        let bytes = match output.is_dir() {
            false => std::fs::read(&output).unwrap(),
            true => {
                let file = |name: &String| std::fs::read(output.join(name)).unwrap();
                let named = |name: &String| [name.as_bytes(), &file(name)].concat();
                listing(&output).iter().flat_map(named).collect()
            }
        };
        let digest = Sha256::digest(bytes);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, row["sha256"].as_str().unwrap(), "{}", row["output"]);
        // What is written is read again: its checksums hold, and its mean with itself is the same.
        let has_crcs = output.is_dir() || is_zip(&output);
        swa_avg().arg("--verify").arg(&output).assert().code(if has_crcs { 0 } else { 3 });
    }
}

fn is_zip(path: &Path) -> bool {
    std::fs::read(path).unwrap().starts_with(b"PK")
}

#[test]
fn one_model_in_several_formats_averages_together() {
    let dir = tempfile::tempdir().unwrap();
    let case = |name: &str| cases().into_iter().find(|case| case.label == name).unwrap();
    let model = case("torch-model");
    // The first as safetensors, the second flat, the third as its trainer left it, wrapped otherwise.
    let (first, second) = (dir.path().join("a_0.safetensors"), dir.path().join("a_1.pth"));
    for (input, output) in model.inputs.iter().zip([&first, &second]) {
        swa_avg().arg(input).arg("-o").arg(output).assert().success();
    }
    let third = dir.path().join("a_2.pth");
    std::fs::copy(&model.inputs[2], &third).unwrap();
    let output = dir.path().join("out.safetensors");
    swa_avg().args([&first, &second, &third]).arg("-o").arg(&output).assert().success();
    let expected = std::fs::read(model.expected.unwrap()).unwrap();
    assert_eq!(difference(&std::fs::read(&output).unwrap(), &expected), None);
}

#[test]
fn a_bit_flipped_in_a_zip_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pth");
    for case in ["torch-model", "layout-channels-last", "layout-strided", "layout-tied"] {
        let input = &cases().into_iter().find(|c| c.label == case).unwrap().inputs[0];
        let bytes = std::fs::read(input).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        swa_avg().arg("--verify").arg(&path).assert().success();
        // The first byte of each of the first storages, which are the weights'.
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]) as usize;
        let headers = (0..bytes.len() - 30).filter(|&i| bytes[i..].starts_with(b"PK\x03\x04"));
        let places: Vec<usize> = headers
            .filter(|&i| bytes[i + 30..][..u16_at(i + 26)].windows(6).any(|w| w == b"/data/"))
            .map(|i| i + 30 + u16_at(i + 26) + u16_at(i + 28))
            .take(4)
            .collect();
        assert!(!places.is_empty());
        for place in places {
            let mut damaged = bytes.clone();
            damaged[place] ^= 4;
            std::fs::write(&path, &damaged).unwrap();
            let done = swa_avg().arg(&path).arg("-o").arg(dir.path().join("out")).output().unwrap();
            let stderr = String::from_utf8_lossy(&done.stderr);
            assert_eq!(done.status.code(), Some(3), "{case} at {place}: {stderr}");
            assert!(!dir.path().join("out").exists());
        }
    }
}

/// What torch's own converter reads of these is the same: fixtures/written/check.py.
#[test]
fn copies_of_sharded_folders_hold_the_average_and_all_else() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, again) = (dir.path().join("out"), dir.path().join("again.safetensors"));
    let mut count = 0;
    for case in cases().iter().filter(|case| case.label.starts_with("dcp-")) {
        let label = &case.label;
        let (like, expected) = (&case.inputs[0], case.expected.as_ref().unwrap());
        let mut run = swa_avg();
        run.args(&case.inputs).args(&case.args).arg("--like").arg(like).arg("-o").arg(&folder);
        run.assert().success();
        // Read again, one checkpoint is a copy; its CRCs are those of the new bytes.
        let verified = swa_avg().arg("--verify").arg(&folder).output().unwrap();
        assert!(verified.status.success(), "{label}: {verified:?}");
        let mut read = swa_avg();
        read.arg(&folder).args(&case.args).arg("-o").arg(&again).assert().success();
        let (a, b) = (std::fs::read(&again).unwrap(), std::fs::read(expected).unwrap());
        assert_eq!(difference(&a, &b), None, "{label}");
        // The same files, of the same sizes: what describes them is the same.
        let names = listing(like);
        assert_eq!(listing(&folder), names, "{label}");
        let read = |folder: &Path, name: &str| std::fs::read(folder.join(name)).unwrap();
        assert!(read(&folder, ".metadata") == read(like, ".metadata"), "{label}");
        let mut changed = 0;
        for name in names {
            let (a, b) = (read(&folder, &name), read(like, &name));
            assert_eq!(a.len(), b.len(), "{label}: {name}");
            changed += usize::from(a != b);
        }
        assert!(changed > 0, "{label}");
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::remove_file(&again).unwrap();
        count += 1;
    }
    assert!(count >= 9, "{count}");
}

#[test]
fn a_copy_of_a_folder_is_refused_where_it_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let step = |n: u32| fixtures().join(format!("dcp-fsdp2/step-{n}"));
    let run = |like: &Path, output: &str, more: &[&str]| {
        let mut run = swa_avg();
        run.args([step(90), step(100)]).arg("--like").arg(like).args(more);
        run.arg("-o").arg(dir.path().join(output));
        run
    };
    fails(&mut run(&step(90), "x.safetensors", &[]), 2, &["a folder gives a folder"]);
    fails(&mut run(&step(90), "x", &["--dtype", "f16"]), 3, &["is F32, the model F16"]);
    let sharded = fixtures().join("hf-sharded/checkpoint-50");
    fails(&mut run(&sharded, "x", &[]), 2, &["holds nothing but weights"]);
    let other = fixtures().join("dcp-types/step-90");
    fails(&mut run(&other, "x", &[]), 3, &["do not match the model's", "missing"]);
    fails(&mut run(&step(90), "no/x", &[]), 2, &["its folder does not exist"]);
    assert!(listing(dir.path()).is_empty());
    // An old one is replaced as a whole, and only if that is asked for.
    run(&step(90), "x", &[]).assert().success();
    fails(&mut run(&step(90), "x", &[]), 2, &["exists already"]);
    run(&step(100), "x", &["--force"]).assert().success();
    let mut own = run(&dir.path().join("x"), "x", &["--force"]);
    fails(&mut own, 2, &["is an input as well as the output"]);
}

#[test]
fn keras_models_are_reminded_of_their_statistics() {
    for case in cases().iter().filter(|case| case.label.starts_with("keras-")) {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("out.safetensors");
        let average = |more: &[&str]| {
            let mut run = swa_avg();
            let done = run.args(&case.inputs).arg("-o").arg(&output).args(more).arg("--force");
            String::from_utf8(done.output().unwrap().stdout).unwrap()
        };
        let said = average(&[]);
        let line = "batchnorm: the statistics of 1 layers no longer match";
        assert!(said.contains(line) && said.contains("training=True"), "{}: {said}", case.label);
        let report: Value = serde_json::from_str(&average(&["--json"])).unwrap();
        assert_eq!((&report["batchnorm_layers"], &report["next"]), (&1.into(), &Value::Null));
        assert!(!average(&["--last", "1", "--by-position"]).contains("batchnorm"));
    }
}

#[test]
fn like_refuses_what_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| fixtures().join(name);
    let inputs = [file("torch-model/ckpt_0000.pth"), file("torch-model/ckpt_0001.pth")];
    let run = |like: &Path, output: &str, more: &[&str]| {
        let mut run = swa_avg();
        run.args(&inputs).arg("--like").arg(like).args(more).arg("-o").arg(dir.path().join(output));
        run
    };
    fails(&mut run(&file("layout-tied/step_0.pt"), "x.pth", &[]), 3, &["8 tensor(s)", "missing"]);
    fails(&mut run(&inputs[0], "x.pth", &["--dtype", "bf16"]), 3, &["is F32", "the model BF16"]);
    fails(&mut run(&inputs[0], "x.safetensors", &[]), 2, &["--like writes a PyTorch file"]);
    let safetensors = file("torch-model/expected.safetensors");
    fails(&mut run(&safetensors, "x.pth", &[]), 2, &["holds nothing but weights"]);
    assert!(listing(dir.path()).is_empty());
}
