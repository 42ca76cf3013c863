//! What people's files and folders held that went wrong: each kind, by small inputs of its own.

use std::path::{Path, PathBuf};

use safetensors::Dtype;
use swa_testing::*;

/// Writes `w`, large enough to have several blocks, and a counter.
fn write(path: &Path, value: f32, counter: i64) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let w: Vec<f32> = (0..3000).map(|i| value + i as f32).collect();
    save(path, &[f32s("bn.weight", &[value]), f32s("w", &w), i64s("n", &[counter])]);
}

struct Run(tempfile::TempDir);

impl Run {
    fn new() -> Self {
        Run(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn avg(&self, arguments: &[&str]) -> assert_cmd::Command {
        let mut command = swa_avg();
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    /// The mean of `bn.weight`, and what was noted.
    fn mean(&self, arguments: &[&str]) -> (f32, String) {
        let output = self.path("out.safetensors");
        let done = self.avg(arguments).args(["-o", "out.safetensors", "--force"]).output().unwrap();
        let notes = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success(), "{notes}");
        let value = to_f32(&load(&output)["bn.weight"])[0];
        std::fs::remove_file(output).unwrap();
        (value, notes)
    }
}

/// epoch 0 to 4, each with its number as value, and copies of the last one.
fn epochs() -> Run {
    let run = Run::new();
    for n in 0..5 {
        write(&run.path(&format!("d/epoch={n}-step={}.safetensors", 40 * n)), n as f32, n);
    }
    run
}

#[test]
fn the_same_weights_count_once_whatever_their_file() {
    let run = epochs();
    // Saved again apart; with other metadata and another order.
    write(&run.path("d/last.safetensors"), 4.0, 4);
    let (mean, notes) = run.mean(&["d"]);
    assert_eq!(mean, 2.0);
    let said = "`d/last.safetensors` has the same weights as `d/epoch=4-step=160.safetensors`: counted once";
    assert!(notes.contains(said) && notes.contains("--allow-duplicates"), "{notes}");
    assert_eq!(run.mean(&["d", "--allow-duplicates"]).0, 14.0 / 6.0);
    // Whatever narrows them down; the places of copies are taken by others.
    assert_eq!(run.mean(&["d", "--last", "3"]).0, 3.0);
    assert_eq!(run.mean(&["d/*.safetensors", "--last", "2"]).0, 3.5);
    let by_epoch = ["d", "--number", "epoch=([0-9]+)", "--start", "3"];
    assert_eq!(run.mean(&by_epoch).0, 3.5);
    // Under a second number, too.
    std::fs::rename(run.path("d/last.safetensors"), run.path("d/epoch=5-step=160.safetensors"))
        .unwrap();
    assert_eq!(run.mean(&["d", "--last", "3"]).0, 3.0);
    // In another container, with wrappers in its names, and as part of something else.
    std::fs::remove_file(run.path("d/epoch=5-step=160.safetensors")).unwrap();
    let copy = |from: &str, to: &str| run.avg(&[from, "-o", to]).assert().success();
    copy("d/epoch=4-step=160.safetensors", "best.pth");
    let (mean, notes) = run.mean(&["d/*", "best.pth"]);
    assert_eq!(mean, 2.0, "{notes}");
    assert!(notes.contains("`best.pth` has the same weights as"), "{notes}");
}

#[test]
fn copies_are_found_whatever_model_comes_first() {
    let run = epochs();
    write(&run.path("d/last.safetensors"), 4.0, 4);
    // A file of another model among them, which is not averaged.
    save(&run.path("d/epoch=0-step=0.safetensors"), &[f32s("head.weight", &[1.0])]);
    let number = ["d", "--number", "epoch=([0-9]+)", "--start", "3"];
    let (mean, notes) = run.mean(&number);
    assert_eq!(mean, 3.5, "{notes}");
    assert!(notes.contains("`d/last.safetensors` has the same weights"), "{notes}");
}

#[test]
fn torchtunes_numbered_parts_are_no_snapshots() {
    let run = Run::new();
    let save = |name: &str, tensor, value| {
        std::fs::create_dir_all(run.path("d")).unwrap();
        save(&run.path("source.safetensors"), &[f32s(tensor, &[value])]);
        run.avg(&["source.safetensors", "-qo", &format!("d/{name}"), "--force"]).assert().success();
        std::fs::remove_file(run.path("source.safetensors")).unwrap();
    };
    // One part: a file an epoch.
    save("hf_model_0001_0.pt", "bn.weight", 1.0);
    save("hf_model_0001_1.pt", "bn.weight", 3.0);
    assert_eq!(run.mean(&["d"]).0, 2.0);
    save("hf_model_0002_0.pt", "other", 1.0);
    save("hf_model_0002_1.pt", "other", 3.0);
    for arguments in [&["d"][..], &["d/hf_model_0001_0.pt", "d/hf_model_0001_1.pt"]] {
        let mut refused = run.avg(&[arguments, &["-o", "out.safetensors"]].concat());
        fails(&mut refused, 2, &["is one of 2 parts of a model", "join the parts of each epoch"]);
    }
}

#[test]
fn what_only_looks_alike_counts() {
    let run = Run::new();
    // Alike but for one value, wherever it is; frozen but for a small layer.
    for (n, (w, at)) in [(0.0, 0), (1.0, 0), (1.0, 2999), (1.0, 1777)].iter().enumerate() {
        let mut values: Vec<f32> = (0..3000).map(|i| i as f32).collect();
        values[*at] += w;
        let small = f32s("bn.weight", &[n as f32 * 0.0]);
        save(&run.path(&format!("e_{n}.safetensors")), &[f32s("w", &values), small]);
    }
    let (_, notes) = run.mean(&["."]);
    assert!(!notes.contains("same weights"), "{notes}");
    let text = text(&mut run.avg(&[".", "-o", "x.safetensors", "--dry-run", "--json"]));
    let plan: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(plan["inputs"].as_array().unwrap().len(), 4, "{plan}");
    // Integers are no weights: of copies that differ in a counter the first counts.
    write(&run.path("d/e_1.safetensors"), 1.0, 1);
    write(&run.path("d/e_2.safetensors"), 1.0, 2);
    let (_, notes) = run.mean(&["d"]);
    assert!(notes.contains("e_2.safetensors` has the same weights as `d/e_1"), "{notes}");
}

#[test]
fn weights_that_are_given_insist() {
    let run = Run::new();
    write(&run.path("a_1.safetensors"), 1.0, 1);
    write(&run.path("b_1.safetensors"), 1.0, 1);
    write(&run.path("c_1.safetensors"), 4.0, 1);
    let files = ["a_1.safetensors", "b_1.safetensors", "c_1.safetensors"];
    let (mean, notes) = run.mean(&[&files[..], &["--weights", "1,1,1"]].concat());
    assert_eq!(mean, 2.0);
    assert!(notes.contains("both count, with the weights given"), "{notes}");
    assert_eq!(run.mean(&files).0, 2.5);
    // Outputs of other schemes would count one, and each is what a run for it alone writes.
    let both = ["--weights", "1,1,1", "-o", "w.safetensors", "-o", "mean=m.safetensors"];
    fails(
        &mut run.avg(&[&files[..], &both].concat()),
        2,
        &["both count with weights", "in a run of their own"],
    );
    run.avg(&[&files[..], &both, &["--allow-duplicates"]].concat()).assert().success();
    // The same file named twice.
    assert_eq!(run.mean(&["a_1.safetensors", "a_1.safetensors", "c_1.safetensors"]).0, 2.5);
    let twice = ["a_1.safetensors", "a_1.safetensors", "c_1.safetensors", "--allow-duplicates"];
    assert_eq!(run.mean(&twice).0, 2.0);
}

#[test]
fn a_name_without_a_number_needs_a_decision() {
    let run = epochs();
    // Not one of the others.
    write(&run.path("d/last.safetensors"), 9.0, 9);
    let refused = "`d/last.safetensors`: has no number in its name; leave it out, or count with";
    for narrow in [&["--last", "3"][..], &["--number", "epoch=([0-9]+)", "--start", "2"]] {
        let output = ["-o", "x.safetensors"];
        let part = if narrow[0] == "--last" { refused } else { "matches nothing in its path" };
        fails(&mut run.avg(&[&["d"], narrow, &output].concat()), 2, &[part]);
    }
    let text = run.mean(&["d", "--last", "2", "--by-position"]);
    assert_eq!(text.0, 6.5);
    // Without a choice among them all count.
    assert_eq!(run.mean(&["d"]).0, 19.0 / 6.0);
}

#[test]
fn codes_of_quantised_weights_are_refused() {
    let run = Run::new();
    for n in 0..2u8 {
        let codes = ("layer.weight", Dtype::U8, vec![4, 1], vec![n; 4]);
        save(
            &run.path(&format!("q_{n}.safetensors")),
            &[codes, f32s("layer.weight.absmax", &[1.0])],
        );
    }
    let mut command = run.avg(&["q_0.safetensors", "q_1.safetensors", "-o", "x.safetensors"]);
    let parts = ["tensor `layer.weight`", "quantised", "`layer.weight.absmax`", "dequantise"];
    fails(&mut command, 3, &parts);
    // They can be looked at, and one alone is copied.
    run.avg(&["--list", "q_0.safetensors"]).assert().success();
    run.avg(&["q_0.safetensors", "-o", "copy.safetensors"]).assert().success();
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats").join(name)
}

/// A PyTorch file of one tensor `w`, and of what is given: items of its dict, in instructions of a pickle.
fn torch_file(path: &Path, value: f32, key: &str, more: &[u8]) {
    let text = |s: &str| [b"X", &(s.len() as u32).to_le_bytes()[..], s.as_bytes()].concat();
    let storage = [
        b"(",
        &text("storage")[..],
        b"ctorch\nFloatStorage\n",
        &text("0"),
        &text("cpu"),
        b"K\x02tQ",
    ];
    let tensor = [
        b"ctorch._utils\n_rebuild_tensor_v2\n(",
        &storage.concat()[..],
        b"K\0K\x02\x85K\x01\x85\x89}tR",
    ];
    let weights = [b"}(", &text("l.w")[..], &tensor.concat(), more, b"u"].concat();
    let root = match key {
        "" => weights,
        key => [b"}(", &text(key)[..], &weights, &text("epoch"), b"K\x03u"].concat(),
    };
    let pickle = [b"\x80\x02", &root[..], b"."].concat();
    let data: Vec<u8> = [value, 0.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let (mut file, mut directory) = (vec![], vec![]);
    for (name, bytes) in [("x/data.pkl", &pickle), ("x/data/0", &data)] {
        let at = (file.len() as u32).to_le_bytes();
        let size = (bytes.len() as u32).to_le_bytes();
        let sizes =
            [&[0; 4], &size[..], &size, &(name.len() as u16).to_le_bytes(), &[0; 2]].concat();
        file.extend([b"PK\x03\x04", &[0; 10][..], &sizes, name.as_bytes(), bytes].concat());
        directory
            .extend([b"PK\x01\x02", &[0; 12][..], &sizes, &[0; 10], &at, name.as_bytes()].concat());
    }
    let end = [(directory.len() as u32).to_le_bytes(), (file.len() as u32).to_le_bytes()].concat();
    file.extend([&directory[..], b"PK\x05\x06\0\0\0\0\x02\0\x02\0", &end, &[0; 2]].concat());
    std::fs::write(path, file).unwrap();
}

/// The items of a dict with a state that is no tensor.
fn state(name: &str, value: &[u8]) -> Vec<u8> {
    [b"X", &(name.len() as u32).to_le_bytes()[..], name.as_bytes(), value].concat()
}

#[test]
fn states_that_are_no_tensors_are_kept_or_said() {
    let run = Run::new();
    let seen = |n: u8| state("l._extra_state", &[b"}X\x04\0\0\0seenK", &[n][..], b"s"].concat());
    for key in ["", "state_dict"] {
        torch_file(&run.path("a_1.pth"), 1.0, key, &seen(1));
        torch_file(&run.path("a_2.pth"), 2.0, key, &seen(2));
        let inputs = ["a_1.pth", "a_2.pth"];
        // In a PyTorch file the last one's stands, whole.
        run.avg(&[&inputs[..], &["-o", "out.pth", "--force"]].concat()).assert().success();
        let bytes = std::fs::read(run.path("out.pth")).unwrap();
        let kept = [&state("l._extra_state", b"}(")[..], &state("seen", b"J\x02\0\0\0u")].concat();
        assert!(bytes.windows(kept.len()).any(|w| w == kept), "{key}");
        let said =
            "`l._extra_state` (a dict of 1) among the weights is no tensor and not in the output";
        let done = run.avg(&inputs).args(["-o", "out.safetensors", "--force"]).output().unwrap();
        let notes = String::from_utf8(done.stderr).unwrap();
        assert!(notes.contains(said) && notes.contains("--like"), "{notes}");
        // What was written is read with it.
        let list = text(&mut run.avg(&["--list", "out.pth"]));
        assert!(list.contains("no tensor l._extra_state: a dict of 1"), "{list}");
        // A copy has everything anyway.
        let like = ["--like", "a_2.pth", "-o", "like.pth", "--force"];
        let done = run.avg(&[&inputs[..], &like].concat()).output().unwrap();
        assert!(!String::from_utf8(done.stderr).unwrap().contains("no tensor"));
    }
    // What is no plain value cannot be written again: that is said for a PyTorch file, too.
    let object = state("l._extra_state", b"cmine\nState\n)\x81");
    torch_file(&run.path("a_1.pth"), 1.0, "model", &object);
    torch_file(&run.path("a_2.pth"), 2.0, "model", &object);
    let done = run.avg(&["a_1.pth", "a_2.pth", "-o", "out.pth", "--force"]).output().unwrap();
    let notes = String::from_utf8(done.stderr).unwrap();
    assert!(notes.contains("`l._extra_state` (an object `mine.State`)"), "{notes}");
    // Beside the weights, not among them: nothing is said.
    torch_file(&run.path("b_1.pth"), 1.0, "", &state("epoch", b"K\x01"));
    torch_file(&run.path("b_2.pth"), 2.0, "", &state("epoch", b"K\x02"));
    let done = run.avg(&["b_1.pth", "b_2.pth", "-o", "b.safetensors"]).output().unwrap();
    assert!(!String::from_utf8(done.stderr).unwrap().contains("no tensor"));
}

#[test]
fn tensors_within_a_state_are_kept_in_it() {
    // {"calls": 3, "scale": "dynamic", "amax": tensor}, by PyTorch.
    let run = Run::new();
    let files = ["ckpt_0000.pth", "ckpt_0001.pth"].map(|n| fixture("torch-extra_state").join(n));
    let inputs = files.each_ref().map(|file| file.to_str().unwrap());
    run.avg(&inputs).args(["-o", "out.pth"]).assert().success();
    let list = text(&mut run.avg(&["--list", "out.pth"]));
    assert!(list.contains("no tensor fc._extra_state: a dict of 3"), "{list}");
    assert!(!list.contains("_extra_state.amax"), "{list}");
    // It is that of the last one, in whatever order and way they come.
    run.avg(&inputs[1..]).args(["-o", "last.pth"]).assert().success();
    let [out, last] = ["out.pth", "last.pth"].map(|name| std::fs::read(run.path(name)).unwrap());
    let amax = |file: &[u8]| {
        let at = file.windows(4).position(|w| w == 0.25f32.to_le_bytes()).unwrap();
        file[at..at + 8].to_vec()
    };
    assert_eq!(amax(&out), amax(&last));
    run.avg(&inputs[..1]).args(["-o", "first.pth"]).assert().success();
    assert_ne!(amax(&std::fs::read(run.path("first.pth")).unwrap()), amax(&last));
    for numbers in [[0, 1], [1, 0]] {
        for i in numbers {
            run.avg(&[inputs[i], "--state", "s", "-qo", "state.pth"]).assert().success();
        }
        assert!(std::fs::read(run.path("state.pth")).unwrap() == out);
        std::fs::remove_file(run.path("s")).unwrap();
        std::fs::remove_file(run.path("state.pth")).unwrap();
    }
    // What was written is read with it, and gives itself.
    run.avg(&["out.pth", "-qo", "again.pth"]).assert().success();
    assert_eq!(amax(&std::fs::read(run.path("again.pth")).unwrap()), amax(&last));
    let done = run.avg(&inputs).args(["-o", "out.safetensors"]).output().unwrap();
    let notes = String::from_utf8(done.stderr).unwrap();
    assert!(notes.contains("`fc._extra_state` (a dict of 3) among the weights"), "{notes}");
    // A state that goes on says it, too.
    let done = run.avg(&inputs).args(["--state", "t", "-o", "t.safetensors"]).output().unwrap();
    assert!(String::from_utf8(done.stderr).unwrap().contains("`fc._extra_state` (a dict"));
}

#[test]
fn averaged_weights_are_found_under_more_keys() {
    let run = Run::new();
    for key in ["params_ema", "teacher"] {
        torch_file(&run.path("a_1.pth"), 1.0, key, b"");
        torch_file(&run.path("a_2.pth"), 3.0, key, b"");
        let mut command =
            run.avg(&["a_1.pth", "a_2.pth", "--ema", "-o", "x.safetensors", "--force"]);
        command.assert().success();
        assert_eq!(to_f32(&load(&run.path("x.safetensors"))["l.w"])[0], 2.0, "{key}");
    }
    for (key, list) in [("ema", "shadow_params"), ("model_ema", "params")] {
        let storage =
            b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x02tQ";
        let tensor = [
            b"ctorch._utils\n_rebuild_tensor_v2\n(",
            &storage[..],
            b"K\0K\x02\x85K\x01\x85\x89}tR",
        ];
        let shadow =
            [&b"}("[..], &state(list, &[b"](", &tensor.concat()[..], b"e"].concat()), b"u"];
        torch_file(&run.path("l.pth"), 1.0, "", &state(key, &shadow.concat()));
        let mut command = run.avg(&["l.pth", "--ema", "-o", "x.safetensors", "--force"]);
        fails(&mut command, 3, &["a list without names", list, "copy_to"]);
    }
}

#[test]
fn tensors_of_devices_name_the_way_out() {
    let run = Run::new();
    for function in [
        "_rebuild_device_tensor_from_numpy",
        "_rebuild_device_tensor_from_cpu_tensor",
        "_rebuild_xla_tensor",
        "_rebuild_hpu_tensor",
    ] {
        let arguments = b"(K\x01X\x05\0\0\0xla:0\x89tR";
        let tensor = [b"ctorch._utils\n", function.as_bytes(), b"\n", &arguments[..]].concat();
        for key in ["", "state_dict"] {
            torch_file(&run.path("x.pth"), 1.0, key, &state("head.w", &tensor));
            let parts =
                ["tensor `head.w`", "needs a device of its own", "move the model to the CPU"];
            fails(&mut run.avg(&["x.pth", "-o", "x.safetensors"]), 3, &parts);
        }
    }
}

fn folder(run: &Run, name: &str, files: &[(&str, f32)], texts: &[(&str, &str)]) {
    std::fs::create_dir_all(run.path(name)).unwrap();
    for (file, value) in files {
        save(&run.path(name).join(file), &[f32s("q.weight", &[*value, 1.0])]);
    }
    for (file, text) in texts {
        std::fs::write(run.path(name).join(file), text).unwrap();
    }
}

/// A file's name, the texts beside it, and what it is called in the output: nothing for a folder of files.
type Form = (&'static str, &'static [(&'static str, &'static str)], &'static str);

#[test]
fn folders_of_models_are_told_by_their_form() {
    let forms: [Form; 6] = [
        (
            "adapter_model.safetensors",
            &[("adapter_config.json", "{}")],
            "adapter_model.safetensors",
        ),
        (
            "diffusion_pytorch_model.safetensors",
            &[("config.json", "{}")],
            "diffusion_pytorch_model.safetensors",
        ),
        (
            "open_clip_model.safetensors",
            &[("open_clip_config.json", "{}")],
            "open_clip_model.safetensors",
        ),
        // Under names that nobody knows, by the configuration beside it.
        ("my_model.safetensors", &[("config.json", "{}")], "my_model.safetensors"),
        ("model.safetensors", &[], "model.safetensors"),
        ("diffusion_pytorch_model.fp16.safetensors", &[("x.index.json", "")], ""),
    ];
    for (file, texts, expected) in forms {
        let run = Run::new();
        folder(&run, "checkpoint-500", &[(file, 1.0)], texts);
        folder(&run, "checkpoint-1000", &[(file, 3.0)], texts);
        let inputs = ["checkpoint-500", "checkpoint-1000", "-o", "averaged"];
        if expected.is_empty() {
            // Its index is none, and there is no configuration: a folder of files.
            run.avg(&inputs).assert().success();
            continue;
        }
        run.avg(&inputs).assert().success();
        let mut files: Vec<&str> = texts.iter().map(|(name, _)| *name).chain([expected]).collect();
        files.sort();
        assert_eq!(listing(&run.path("averaged")), files);
        assert_eq!(to_f32(&load(&run.path("averaged").join(expected))["q.weight"]), [2.0, 1.0]);
        // A folder of such folders is all of them; and what was written is one again.
        run.avg(&[".", "--last", "2", "--range", "500..1000", "-o", "x", "--dry-run"]);
        run.avg(&["--list", "averaged"]).assert().success();
        run.avg(&["checkpoint-*", "-o", "averaged", "--force"]).assert().success();
    }
}

#[test]
fn an_index_is_told_by_its_weight_map() {
    for index in [
        "diffusion_pytorch_model.safetensors.index.json",
        "model.safetensors.index.fp16.json",
        "any-index.json",
        "map.json",
    ] {
        let run = Run::new();
        let shards = [
            "diffusion_pytorch_model-00001-of-00002.safetensors",
            "diffusion_pytorch_model-00002-of-00002.safetensors",
        ];
        for (step, value) in [("step-500", 1.0), ("step-1000", 3.0)] {
            let path = run.path(step).join("unet");
            std::fs::create_dir_all(&path).unwrap();
            save(&path.join(shards[0]), &[f32s("a", &[value])]);
            save(&path.join(shards[1]), &[f32s("b", &[value + 1.0])]);
            let map = format!(
                r#"{{"metadata":{{"total_size":8}},"weight_map":{{"a":"{}","b":"{}"}}}}"#,
                shards[0], shards[1]
            );
            std::fs::write(path.join(index), map).unwrap();
            std::fs::write(path.join("config.json"), "{}").unwrap();
        }
        // The component's folders, or those that hold nothing else.
        for inputs in [["step-500/unet", "step-1000/unet"], ["step-500", "step-1000"]] {
            run.avg(&inputs).args(["-o", "averaged", "--force"]).assert().success();
            let files = listing(&run.path("averaged"));
            assert_eq!(files.len(), 4, "{index}: {files:?}");
            assert!(files.contains(&shards[0].to_string()), "{files:?}");
            let first = to_f32(&load(&run.path("averaged").join(shards[0]))["a"])[0];
            assert_eq!(first, 2.0);
        }
        let shard = format!("step-500/unet/{}", shards[0]);
        fails(&mut run.avg(&[&shard, "-o", "x"]), 2, &["is one shard of a model"]);
    }
}

#[test]
fn a_pipeline_is_refused_with_its_components() {
    for with_index in [true, false] {
        let run = Run::new();
        for (pipe, value) in [("pipe_0", 1.0), ("pipe_1", 2.0)] {
            folder(
                &run,
                &format!("{pipe}/unet"),
                &[("diffusion_pytorch_model.safetensors", value)],
                &[("config.json", "{}")],
            );
            folder(
                &run,
                &format!("{pipe}/text_encoder"),
                &[("model.safetensors", value)],
                &[("config.json", "{}")],
            );
            folder(&run, &format!("{pipe}/scheduler"), &[], &[("scheduler_config.json", "{}")]);
            if with_index {
                std::fs::write(run.path(pipe).join("model_index.json"), "{}").unwrap();
            }
        }
        let parts = ["is a pipeline of several models: `text_encoder`, `unet`", "one by one"];
        fails(&mut run.avg(&["pipe_0", "pipe_1", "-o", "avg"]), 2, &parts);
        run.avg(&["pipe_0/unet", "pipe_1/unet", "-o", "avg"]).assert().success();
        assert!(run.path("avg/diffusion_pytorch_model.safetensors").exists());
    }
}

#[test]
fn files_are_named_as_what_they_are() {
    let run = Run::new();
    let mut tar = [0u8; 600];
    tar[..17].copy_from_slice(b"model_config.yaml");
    tar[257..262].copy_from_slice(b"ustar");
    let mut archive = tar;
    archive[..17].copy_from_slice(b"holiday_photos.js");
    let cases: [(&[u8], &str); 12] = [
        (b"\x08\x08\x12\x07pytorch\x1a\x062.11.0:\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "an ONNX model"),
        (b"\x08\x07:\xff\x01\x00\x00\x00\x00\x00\x00\x00", "an ONNX model"),
        (b"learning rate 0.05, then constant\nlearning rate 0.05\n", "a text file, not weights"),
        (b"{\"a\": 1, \"b\": [1, 2, 3]}", "a JSON file, not weights"),
        ("précis: 0,5\n".as_bytes(), "a text file, not weights"),
        (b"GGUF\x03\0\0\0\0\0\0\0", "a GGUF file"),
        (&tar, "a NeMo archive"),
        (&archive, "a tar archive"),
        (b"BZh91AY&SY\0\0\0", "a bzip2 file"),
        (b"\x93NUMPY\x01\0v\0", "a single NumPy array"),
        (b"\x1c\0\0\0TFL3\0\0\0\0", "a TensorFlow Lite model"),
        (b"%PDF-1.7 a report\n\xff\xff", "a PDF document"),
    ];
    for (bytes, what) in cases {
        for name in ["x.safetensors", "x.pth"] {
            std::fs::write(run.path(name), bytes).unwrap();
            let error = fails(&mut run.avg(&[name, "-o", "out.safetensors"]), 3, &[what]);
            assert!(!error.contains("header of"), "{error}");
        }
    }
}

#[test]
fn endings_of_formats_that_are_not_written_are_refused() {
    let run = epochs();
    for ending in ["npz", "keras", "h5", "onnx", "gguf", "zip", "PKL"] {
        let output = format!("out.{ending}");
        let parts = ["is not a format that is written", ".safetensors or .pth"];
        fails(&mut run.avg(&["d", "-o", &output]), 2, &parts);
    }
    let parts = ["is not a format that is written", ".safetensors or .pth"];
    fails(&mut run.avg(&["d", "--state", "s", "-o", "x.npz"]), 2, &parts);
    // A folder's name for a file, and an ending that says nothing.
    for more in [&[][..], &["--state", "s"], &["--scheme", "ema:0.5"]] {
        let arguments = [&["d", "-o", "swa/"], more].concat();
        fails(&mut run.avg(&arguments), 2, &["`swa/`: is a folder's name, and a file is written"]);
    }
    run.avg(&["d", "-o", "swa.v2"]).assert().success();
    assert_eq!(load(&run.path("swa.v2")).len(), 3);
    for ending in ["pyth", "th"] {
        run.avg(&["d", "-o", &format!("out/../o.{ending}")]);
        run.avg(&["d", "-o", &format!("o.{ending}")]).assert().success();
        assert!(std::fs::read(run.path(&format!("o.{ending}"))).unwrap().starts_with(b"PK"));
    }
    // And they are found in folders.
    for ending in ["pyth", "th", "h5", "keras"] {
        let found = Run::new();
        std::fs::create_dir(found.path("d")).unwrap();
        std::fs::copy(run.path("o.pyth"), found.path("d").join(format!("e_1.{ending}"))).unwrap();
        found.avg(&["d", "-o", "x.safetensors"]).assert().success();
    }
}

#[test]
fn masks_are_no_diverged_training() {
    let run = Run::new();
    let infinite = f32::NEG_INFINITY;
    let write = |name: &str, w: f32, mask: &[f32]| {
        save(&run.path(name), &[f32s("w", &[w]), f32s("mask", mask)]);
    };
    write("a_1.safetensors", 1.0, &[0.0, infinite, infinite]);
    write("a_2.safetensors", 3.0, &[0.0, infinite, infinite]);
    let inputs = ["a_1.safetensors", "a_2.safetensors", "-o", "x.safetensors", "--force"];
    // At once, and one after the other.
    let states = || {
        drop(std::fs::remove_file(run.path("s")));
        run.avg(&["a_1.safetensors", "--state", "s", "-o", "x.safetensors", "--force"])
            .assert()
            .success();
        run.avg(&["a_2.safetensors", "--state", "s", "-o", "x.safetensors", "--force"])
    };
    for mask in [[0.0, infinite, infinite], [infinite, 1.0, -0.0]] {
        write("a_1.safetensors", 1.0, &mask);
        write("a_2.safetensors", 3.0, &mask);
        for mut command in [run.avg(&inputs), states()] {
            let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
            assert!(!said.contains("finite"), "{said}");
            let out = load(&run.path("x.safetensors"));
            assert_eq!((to_f32(&out["mask"]), to_f32(&out["w"])), (mask.to_vec(), vec![2.0]));
        }
    }
    write("a_1.safetensors", 1.0, &[0.0, infinite, infinite]);
    let diverged = [
        vec![0.0, infinite, 1.0],
        vec![0.0, infinite, f32::INFINITY],
        vec![0.0, infinite, f32::NAN],
        vec![infinite; 3],
    ];
    for mask in diverged {
        write("a_2.safetensors", 3.0, &mask);
        fails(&mut run.avg(&inputs), 3, &["tensor `mask`", "not finite"]);
        fails(&mut states(), 3, &["tensor `mask`", "not finite"]);
    }
    write("a_2.safetensors", 3.0, &[0.0; 3]);
    fails(&mut states(), 3, &["tensor `mask`", "is finite where others are not"]);
    // Nor are they where they are NaN in all.
    for name in ["a_1.safetensors", "a_2.safetensors"] {
        write(name, name.len() as f32, &[0.0, f32::NAN, 0.0]);
    }
    save(&run.path("a_2.safetensors"), &[f32s("w", &[5.0]), f32s("mask", &[0.0, f32::NAN, 0.0])]);
    fails(&mut run.avg(&inputs), 3, &["tensor `mask`", "not finite"]);
}

#[test]
fn a_path_is_never_a_line_of_its_own() {
    let run = epochs();
    let name = "a\nerror: forged\n.safetensors";
    let done = run.avg(&["d", "-o", name]).output().unwrap();
    assert!(done.status.success());
    let all = [done.stdout, done.stderr].concat();
    let all = String::from_utf8(all).unwrap();
    assert!(!all.lines().any(|line| line.starts_with("error: forged")), "{all}");
    let (state, folder) = ("s\nerror: forged\n", "d\nerror: forged\n");
    std::fs::rename(run.path("d"), run.path(folder)).unwrap();
    let runs: [&[&str]; 8] = [
        &["--list", name],
        &["--verify", name],
        &[folder, name, name, "-o", "x", "--dry-run"],
        &[folder, "--state", state, "-o", "out\nerror: forged\n.pth", "--exclude", "^n$"],
        &["--list", state],
        &[folder, "--state", state, "-o", "x", "--allow-nonfinite"],
        &["--follow", folder, "--idle", "0.1", "--poll", "0.02", "-o", "f\nerror: forged\n"],
        &["missing\nerror: forged\n", "-o", "x"],
    ];
    for arguments in runs {
        let done = run.avg(arguments).output().unwrap();
        let all = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        assert!(!all.lines().any(|line| line.starts_with("error: forged")), "{all}");
    }
}

#[test]
fn one_thing_is_one() {
    let run = Run::new();
    for n in 0..2 {
        let tensors = [f32s("bn.running_mean", &[f32::NAN]), f32s("bn.running_var", &[n as f32])];
        save(&run.path(&format!("a_{n}.safetensors")), &tensors);
        save(&run.path(&format!("b_{n}.safetensors")), &tensors[1..]);
    }
    let mut said = String::new();
    for line in [
        "a_0.safetensors a_1.safetensors --allow-nonfinite -o x.safetensors",
        "a_0.safetensors a_1.safetensors --allow-nonfinite --state s -o y.safetensors",
        "b_0.safetensors b_1.safetensors -o z.safetensors",
        "--list b_0.safetensors",
        "--list s",
        "--verify z.safetensors",
    ] {
        let done = run.avg(&line.split(' ').collect::<Vec<_>>()).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        said += &String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
    }
    for part in [
        "the statistics of 1 layer no longer",
        ": 1 mean is not finite",
        "1 tensor averaged",
        "1 tensor, 1 value,",
        "1 tensor is as it was written",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let wrong = regex::Regex::new(r"\b1 (layer|tensor|value|mean|output|checkpoint)s\b").unwrap();
    assert!(!wrong.is_match(&said), "{said}");
}

/// The most memory that a run may take, for what is counted in a header and not in its bytes.
#[test]
fn what_a_header_counts_is_bounded() {
    let run = Run::new();
    let write = |name: &str, keys: usize| {
        let keys: Vec<String> = (0..keys).map(|i| format!(r#""k{i}":"v""#)).collect();
        let header = format!(
            r#"{{"__metadata__":{{{}}},"w":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#,
            keys.join(",")
        );
        let length = (header.len() as u64).to_le_bytes();
        let file = [&length[..], header.as_bytes(), &[0; 4]].concat();
        std::fs::write(run.path(name), file).unwrap();
    };
    write("most.safetensors", 100_000);
    run.avg(&["most.safetensors", "-o", "x.safetensors"]).assert().success();
    write("more.safetensors", 2_000_000);
    let parts = ["more than 100000 entries of metadata"];
    fails(&mut run.avg(&["more.safetensors", "-o", "y.safetensors"]), 6, &parts);
    std::fs::create_dir(run.path("m")).unwrap();
    let map: Vec<String> = (0..1_000_001).map(|i| format!(r#""k{i}":"a.safetensors""#)).collect();
    let index = format!(r#"{{"weight_map":{{{}}}}}"#, map.join(","));
    std::fs::write(run.path("m/model.safetensors.index.json"), index).unwrap();
    fails(&mut run.avg(&["m", "-o", "z"]), 6, &["more than 1000000 tensors"]);
}

#[test]
fn an_index_of_an_earlier_save_does_not_count() {
    // Transformers loads the file, and leaves the index of a save in shards where it was.
    let run = Run::new();
    for (i, shards) in [(1, false), (2, true)] {
        write(&run.path(&format!("m-{i}/model.safetensors")), i as f32, 0);
        let shard = "model-00001-of-00001.safetensors";
        let index = format!(
            r#"{{"weight_map": {{"bn.weight": "{shard}", "w": "{shard}", "n": "{shard}"}}}}"#
        );
        std::fs::write(run.path(&format!("m-{i}/model.safetensors.index.json")), index).unwrap();
        if shards {
            write(&run.path(&format!("m-{i}/{shard}")), 100.0, 0);
        }
    }
    assert_eq!(run.mean(&["m-*"]).0, 1.5);
}

#[test]
fn numbers_under_different_words_are_said() {
    let run = Run::new();
    for name in ["epoch-9", "epoch-10", "checkpoint-4000"] {
        write(&run.path(&format!("d/{name}.safetensors")), name.len() as f32, 0);
    }
    let said = "`d/checkpoint-4000.safetensors` and `d/epoch-9.safetensors` have different words before their numbers";
    for flags in [["d", "--start", "9"], ["d", "--last", "2"]] {
        let (_, notes) = run.mean(&flags);
        assert!(notes.contains(said), "{notes}");
    }
    assert!(!run.mean(&["d/epoch-*", "--start", "9"]).1.contains("different words"));
    assert!(!run.mean(&["d"]).1.contains("different words"));
}

#[test]
fn a_buffer_called_steps_is_no_counter() {
    let run = Run::new();
    let steps = |value: f32| f32s("module.steps", &[value, value]);
    for i in [1, 2] {
        let path = run.path(&format!("e_{i}.safetensors"));
        save(&path, &[f32s("module.bn.weight", &[i as f32]), steps(i as f32)]);
    }
    run.avg(&["e_1.safetensors", "e_2.safetensors", "-o", "out"]).assert().success();
    assert_eq!(to_f32(&load(&run.path("out"))["steps"]), [1.5, 1.5]);
}

#[test]
fn tied_tensors_of_a_copy_have_one_value() {
    let run = Run::new();
    let tied = fixture("layout-tied");
    let whole = std::fs::read(tied.join("expected.safetensors")).unwrap();
    let at = {
        let file = safetensors::SafeTensors::deserialize(&whole).unwrap();
        file.tensor("lm_head.weight").unwrap().data().as_ptr() as usize - whole.as_ptr() as usize
    };
    let mut other = whole.clone();
    other[at..at + 4].copy_from_slice(&7f32.to_le_bytes());
    std::fs::write(run.path("a"), &whole).unwrap();
    std::fs::write(run.path("b"), &other).unwrap();
    let like = tied.join("step_100.pt").display().to_string();
    for _ in 0..20 {
        let mut command = run.avg(&["a", "b", "--like", &like, "-o", "x.pth"]);
        let parts =
            ["step_100.pt", "other tensors in the same place (tied), and their results differ"];
        fails(&mut command, 3, &parts);
        assert!(!run.path("x.pth").exists());
    }
    run.avg(&["a", "--like", &like, "-o", "y.pth"]).assert().success();
}

#[test]
fn what_lies_beside_the_weights_does_not_matter() {
    // A scheduler of torch up to 2.3, a type: fixtures/formats/libraries.py has them and many more.
    for name in ["python.pth", "torch.pth"] {
        let run = Run::new();
        let file = fixture("beside-libraries").join(name);
        run.avg(&[file.to_str().unwrap(), "-o", "x.safetensors"]).assert().success();
    }
}

/// Names that are sorted by something else than what counts: the number that is named decides what comes after what.
#[test]
fn the_order_is_that_of_the_number_that_counts() {
    let run = Run::new();
    for (epoch, accuracy) in [0.5, 0.7, 0.6, 0.9, 0.8].iter().enumerate() {
        write(
            &run.path(&format!("d/acc={accuracy}-epoch={epoch}.safetensors")),
            epoch as f32,
            epoch as i64,
        );
    }
    let value = |arguments: &[&str]| run.mean(arguments).0;
    let number = ["--number", "epoch=([0-9]+)"];
    let with = |arguments: &[&'static str]| value(&[arguments, &number].concat());
    // (0 + 1)/16 + 2/8 + 3/4 + 4/2, as for sorted names.
    assert_eq!(with(&["d", "--scheme", "ema:0.5"]), 3.0625);
    assert_eq!(with(&["d", "--scheme", "window:2"]), 3.5);
    assert_eq!(with(&["d", "--weights", "1,1,1,1,12"]), 3.375);
    assert_eq!(with(&["d", "--last", "2"]), 3.5);
    // What is not averaged is that of the last epoch.
    run.avg(&["d", "-o", "x.safetensors"]).args(number).assert().success();
    assert_eq!(load(&run.path("x.safetensors"))["n"], 4i64.to_le_bytes());
    let state =
        run.avg(&["d", "--state", "s", "-o", "y.safetensors"]).args(number).output().unwrap();
    let said = String::from_utf8(state.stderr).unwrap();
    assert!(
        said.contains("epoch=3.safetensors`, the last by its path, not of `d/acc=0.8-epoch=4"),
        "{said}"
    );
    // Without it they are not taken as they are sorted.
    for arguments in [&["d", "--scheme", "ema:0.5"][..], &["d", "--last", "2"]] {
        let parts =
            ["as names are sorted, and its number 1 is smaller", "such as --number 'epoch=(\\d+)'"];
        fails(run.avg(arguments).args(["-o", "z.safetensors"]), 2, &parts);
    }
    assert_eq!(value(&["d"]), 2.0);
}

/// Of copies the one counts whose name tells when it was; names without a number have no place in an order.
#[test]
fn copies_of_the_best_and_names_without_a_number_have_no_place_of_their_own() {
    let run = Run::new();
    for epoch in 1..=3 {
        write(&run.path(&format!("d/epoch_{epoch}.safetensors")), epoch as f32, epoch);
    }
    write(&run.path("d/best_coco_mAP_epoch_3.safetensors"), 3.0, 3);
    let (value, said) = run.mean(&["d", "--scheme", "ema:0.5"]);
    assert_eq!(value, 2.25);
    assert!(said.contains("best_coco_mAP_epoch_3.safetensors` has the same weights as"), "{said}");
    write(&run.path("d/init.safetensors"), 0.0, 0);
    for more in [&["--scheme", "ema:0.5"][..], &["--weights", "1,2,3,4"]] {
        let mut command = run.avg(&[&["d", "-o", "x"], more].concat());
        fails(&mut command, 2, &["init.safetensors`: has no number in its name"]);
    }
    assert_eq!(run.mean(&["d"]).0, 1.5);
}

/// Weights by names, of checkpoints that are called the same in folders of their own.
#[test]
fn weights_are_of_a_name_with_its_folder() {
    let run = Run::new();
    for i in 1..=2 {
        write(&run.path(&format!("f/ep{i}/model.safetensors")), i as f32, i);
    }
    let weights = |text: &str| {
        std::fs::write(run.path("weights"), text).unwrap();
        ["f/ep1/model.safetensors", "f/ep2/model.safetensors", "--weights-file", "weights"]
    };
    for text in [
        "ep1/model.safetensors 1\nep2/model.safetensors 3\n",
        "ep2 3\nep1 1\n",
        "\"f/ep1/model.safetensors\" 1\n./f/ep2/model.safetensors 3\n",
    ] {
        assert_eq!(run.mean(&weights(text)).0, 1.75, "{text}");
    }
    let mut command = run.avg(&weights("model.safetensors 1\nep2 3\n"));
    fails(command.args(["-o", "x"]), 3, &["may be `f/ep1/model.safetensors` or `", "its folder"]);
    let mut command = run.avg(&weights("ep1 1\n0.5\n"));
    fails(command.args(["-o", "x"]), 3, &["`0.5` has no name"]);
    let mut command = run.avg(&weights("ep2 3\n"));
    fails(command.args(["-o", "x"]), 3, &["has no weight for `ep1/model.safetensors`"]);
}

/// A process's file of DeepSpeed in the place of another's, and one of another step.
#[test]
fn files_of_processes_belong_together() {
    let run = Run::new();
    let fixture = |stage: u32| fixtures().join(format!("formats/deepspeed-zero{stage}-fp32"));
    // The second step as it is.
    let copy = |stage: u32| {
        let to = run.path("c");
        drop(std::fs::remove_dir_all(&to));
        std::fs::create_dir(&to).unwrap();
        for entry in std::fs::read_dir(fixture(stage).join("global_step2")).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    };
    copy(3);
    run.avg(&["c", "-o", "out"]).assert().success();
    let state = |rank: u32| format!("c/zero_pp_rank_{rank}_mp_rank_00_optim_states.pt");
    std::fs::copy(run.path(&state(0)), run.path(&state(1))).unwrap();
    let words = ["zero_pp_rank_1_", "holds the same weights as `zero_pp_rank_0_", "is a copy"];
    fails(&mut run.avg(&["c", "-o", "new"]), 3, &words);
    copy(3);
    let model = "zero_pp_rank_1_mp_rank_00_model_states.pt";
    let other = fixture(3).join("global_step1").join(model);
    std::fs::copy(other, run.path("c").join(model)).unwrap();
    let words = [model, "is of step 1, `zero_pp_rank_0_", "of step 2; copy the files of one step"];
    fails(&mut run.avg(&["c", "-o", "new"]), 3, &words);
    // The weights themselves, at both stages: the optimizer has a step, too.
    for stage in [3, 2] {
        copy(stage);
        run.avg(&["c", "-o", "out", "--force"]).assert().success();
        let other = fixture(stage).join("global_step1").join(&state(1)["c/".len()..]);
        std::fs::copy(other, run.path(&state(1))).unwrap();
        let words = ["zero_pp_rank_1_", "optim_states.pt`: is of step 1, `zero_pp_rank_0_"];
        fails(&mut run.avg(&["c", "-o", "new"]), 3, &words);
    }
    // What two processes hold may be all zero, as padding is.
    copy(3);
    let bytes = with_zeros(&std::fs::read(run.path(&state(0))).unwrap());
    (0..2).for_each(|rank| std::fs::write(run.path(&state(rank)), &bytes).unwrap());
    run.avg(&["c", "-o", "out", "--force"]).assert().success();
}

/// A zip without compression in which all large entries below `data/` are zeros, with their checksums.
fn with_zeros(zip: &[u8]) -> Vec<u8> {
    let mut bytes = zip.to_vec();
    let number = |at: usize, size: usize| {
        zip[at..at + size].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let entries = (0..zip.len()).filter(|&at| zip[at..].starts_with(b"PK\x01\x02"));
    let mut count = 0;
    for entry in entries {
        let (size, local) = (number(entry + 24, 4), number(entry + 42, 4));
        let name = &zip[entry + 46..entry + 46 + number(entry + 28, 2)];
        if size < 20 || !String::from_utf8_lossy(name).contains("/data/") {
            continue;
        }
        let start = local + 30 + number(local + 26, 2) + number(local + 28, 2);
        let old = crc32fast::hash(&zip[start..start + size]).to_le_bytes();
        bytes[start..start + size].fill(0);
        let new = crc32fast::hash(&bytes[start..start + size]).to_le_bytes();
        for at in 0..zip.len() - 3 {
            if zip[at..].starts_with(&old) {
                bytes[at..at + 4].copy_from_slice(&new);
            }
        }
        count += 1;
    }
    assert!(count > 0, "no values in it");
    bytes
}
