//! Folders: models told by their form, in shards, pipelines, and what lies in a model's folder beside it.

use std::path::Path;

use swa_testing::*;

use crate::pickle::{tensors, torch_file};
use crate::run::{Run, write};

fn folder(run: &Run, name: &str, files: &[(&str, f32)], texts: &[(&str, &str)]) {
    std::fs::create_dir_all(run.path(name)).unwrap();
    for (file, value) in files {
        save(&run.path(name).join(file), &[f32s("q.weight", &[*value, 1.0])]);
    }
    for (file, text) in texts {
        std::fs::write(run.path(name).join(file), text).unwrap();
    }
}

/// A file of one tensor.
fn model(path: &Path, value: f32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    save(path, &[f32s("l.weight", &[value])]);
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
fn folders_of_loras_and_of_one_type_give_folders() {
    let run = Run::new();
    let lora = "pytorch_lora_weights.safetensors";
    let half = "diffusion_pytorch_model.fp16.safetensors";
    for (name, config) in [(lora, "adapter_config.json"), (half, "config.json")] {
        for n in 1..3u8 {
            model(&run.path(&format!("{config}s/step-{n}/{name}")), f32::from(n));
            std::fs::write(run.path(&format!("{config}s/step-{n}/{config}")), "{}").unwrap();
        }
        run.notes(&[&format!("{config}s/step-1"), &format!("{config}s/step-2"), "-o", name]);
        // The name ends in safetensors: a file. Without, a folder.
        assert!(run.path(name).is_file());
        run.notes(&[&format!("{config}s"), "-o", &format!("{config}.out")]);
        let mut expected = [name.to_string(), config.to_string()];
        expected.sort();
        assert_eq!(listing(&run.path(&format!("{config}.out"))), expected);
    }
}

/// PEFT multiplies what an adapter adds by lora_alpha / r.
#[test]
fn adapters_that_are_scaled_in_different_ways_have_no_mean() {
    let run = Run::new();
    let write = |name: &str, value: f32, config: &str| {
        folder(
            &run,
            name,
            &[("adapter_model.safetensors", value)],
            &[("adapter_config.json", config)],
        );
    };
    let average = ["a-1", "a-2", "-o", "out"];
    write(
        "a-1",
        1.0,
        r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 8, "task_type": "CAUSAL_LM"}"#,
    );
    for (config, field) in [
        (
            r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 16}"#,
            "`lora_alpha` is 16, and 8 in `a-1`",
        ),
        (
            r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 8, "use_rslora": true}"#,
            "`use_rslora` is true, and not there",
        ),
        (
            r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 8, "alpha_pattern": {"q": 4}}"#,
            "`alpha_pattern` is",
        ),
        (
            r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 8, "trainable_token_indices": [2]}"#,
            "`trainable_token_indices` is [2], and not there",
        ),
    ] {
        write("a-2", 2.0, config);
        fails(&mut run.avg(&average), 3, &["a-2", field, "merge"]);
        fails(&mut run.avg(&[&average[..], &["--state", "state"]].concat()), 3, &["a-2", field]);
    }
    // As files, too.
    let files =
        ["a-1/adapter_model.safetensors", "a-2/adapter_model.safetensors", "-o", "out.safetensors"];
    fails(&mut run.avg(&files), 3, &["a-2", "`trainable_token_indices` is", "merge"]);
    // Whatever a method has of its own, where both have it.
    write(
        "c-1",
        1.0,
        r#"{"peft_type": "HRA", "apply_GS": true, "feedforward_modules": ["k", "q"]}"#,
    );
    write(
        "c-2",
        2.0,
        r#"{"peft_type": "HRA", "apply_GS": false, "feedforward_modules": ["q", "k"]}"#,
    );
    fails(
        &mut run.avg(&["c-1", "c-2", "-o", "out"]),
        3,
        &["c-2", "`apply_GS` is not there", "merge"],
    );
    let other = r#"{"peft_type": "HRA", "apply_GS": true, "feedforward_modules": ["q", "k"]}"#;
    write("c-2", 2.0, other);
    run.notes(&["c-1", "c-2", "-o", "out_c"]);
    write("a-2", 2.0, "{");
    fails(&mut run.avg(&average), 3, &["a-2", "adapter_config.json", "is no JSON"]);
    // Versions write other fields, and what the task is does not matter.
    write(
        "a-2",
        2.0,
        r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 8.0, "use_rslora": false, "alpha_pattern": {}, "corda_config": null}"#,
    );
    run.notes(&average);
}

#[test]
fn other_weights_in_a_models_folder_are_said() {
    let run = Run::new();
    for n in 1..3u8 {
        let value = f32::from(n);
        model(&run.path(&format!("llava/checkpoint-{n}/adapter_model.safetensors")), value);
        let beside = format!("llava/checkpoint-{n}/non_lora_trainables.bin");
        torch_file(&run.path(&beside), value, &tensors(0, &["mm_projector.weight"]));
        model(&run.path(&format!("sbert/checkpoint-{n}/model.safetensors")), value);
        model(&run.path(&format!("sbert/checkpoint-{n}/2_Dense/model.safetensors")), value);
        // Checkpoints of its own training are no part of a model.
        model(&run.path(&format!("hf/{n}/model.safetensors")), value);
        model(&run.path(&format!("hf/{n}/checkpoint-500/model.safetensors")), value);
    }
    let notes = run.notes(&["llava", "-o", "a"]);
    assert!(notes.contains("holds `non_lora_trainables.bin` as well"), "{notes}");
    let notes = run.notes(&["sbert", "-o", "b"]);
    assert!(notes.contains("holds a model in `2_Dense` as well, which is not averaged"), "{notes}");
    let notes = run.notes(&["hf", "-o", "c"]);
    assert!(!notes.contains("as well"), "{notes}");
}

/// A second adapter within the folder of each snapshot (TRL's reference model).
#[test]
fn further_adapters_of_snapshots_are_named_as_such() {
    let run = Run::new();
    for n in 1..3u8 {
        for inner in ["", "/reference"] {
            let name = format!("checkpoint-{n}0{inner}/adapter_model.safetensors");
            model(&run.path(&name), f32::from(n));
        }
    }
    let parts =
        ["name `.` for the models of such folders themselves", "'./checkpoint-*/reference'"];
    for arguments in
        [&["checkpoint-*", "-o", "out"][..], &["checkpoint-10", "checkpoint-20", "-o", "out"]]
    {
        fails(&mut run.avg(arguments), 2, &parts);
    }
    run.notes(&[".", "-o", "out"]);
    run.notes(&["./checkpoint-*/reference", "-o", "out"]);
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
