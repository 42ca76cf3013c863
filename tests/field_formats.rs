//! What people's files held that was read as something else than it is, or left out without a word: each kind, by small
//! inputs of its own.

use std::path::{Path, PathBuf};

use safetensors::Dtype;
use swa_testing::*;

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

    /// What is noted; it must end well.
    fn notes(&self, arguments: &[&str]) -> String {
        let done = self.avg(arguments).arg("--force").output().unwrap();
        let notes = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success(), "{notes}");
        notes
    }

    /// Two PyTorch files of a dict, `a_1.pth` and `a_2.pth`, whose values are 1 and 2.
    fn pair(&self, items: &[(&str, Vec<u8>)]) -> [&'static str; 2] {
        torch_file(&self.path("a_1.pth"), 1.0, &dict(items));
        torch_file(&self.path("a_2.pth"), 2.0, &dict(items));
        ["a_1.pth", "a_2.pth"]
    }
}

fn text_of(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A dict, in instructions of a pickle.
fn dict(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items = items.iter().map(|(key, value)| [text_of(key), value.clone()].concat());
    [b"}(", &items.collect::<Vec<_>>().concat()[..], b"u"].concat()
}

/// A dict of tensors of two values each, from a place of the file's storage on.
fn tensors(from: u8, names: &[&str]) -> Vec<u8> {
    let tensor = |number: usize| {
        let class = b"ctorch\nFloatStorage\n";
        let id = [&b"("[..], &text_of("storage"), class, &text_of("0"), &text_of("cpu")].concat();
        let offset = from + 2 * number as u8;
        let rest = [b"K\x40tQK", &[offset][..], b"K\x02\x85K\x01\x85\x89}tR"].concat();
        [b"ctorch._utils\n_rebuild_tensor_v2\n(", &id[..], &rest].concat()
    };
    let items: Vec<_> = names.iter().enumerate().map(|(i, name)| (*name, tensor(i))).collect();
    dict(&items)
}

/// A PyTorch file of one storage with 64 values.
fn torch_file(path: &Path, value: f32, root: &[u8]) {
    let pickle = [b"\x80\x02", root, b"."].concat();
    let data: Vec<u8> = (0..64).flat_map(|i| (value + i as f32).to_le_bytes()).collect();
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

/// A matrix of integers.
fn matrix(name: &'static str, dtype: Dtype, value: u8) -> Tensor {
    (name, dtype, vec![2, 2], vec![value; 4 * dtype.bitsize() / 8])
}

#[test]
fn matrices_of_codes_are_refused_whatever_their_scales_are_called() {
    let run = Run::new();
    for (codes, dtype, beside) in [
        ("l.qweight", Dtype::I32, "l.lookup_table"),
        ("l.Qidxs", Dtype::I64, "l.Wscale"),
        ("l.indices", Dtype::I32, "l.centroids.weight"),
        ("l.trellis", Dtype::I16, "l.suh"),
        ("l.B", Dtype::I32, "l.s"),
        ("l.qkernel.qvalue", Dtype::I8, "l.qkernel.scale"),
        ("l.weight", Dtype::I8, "l.dequant_scale"),
        ("l.weight", Dtype::U8, "l.weight_quantizer.scale"),
    ] {
        for n in 1..3 {
            let tensors = [matrix(codes, dtype, n), f32s(beside, &[f32::from(n)])];
            save(&run.path(&format!("q_{n}.safetensors")), &tensors);
        }
        let files = ["q_1.safetensors", "q_2.safetensors", "-o", "out.safetensors"];
        let parts = [codes, "quantised", beside, "dequantise", "--exclude"];
        fails(&mut run.avg(&files), 3, &parts);
        fails(&mut run.avg(&[&files[..], &["--state", "state"]].concat()), 3, &parts);
        assert!(!run.path("out.safetensors").exists() && !run.path("state").exists());
        // Whoever insists leaves them out; one alone is copied.
        run.notes(&[&files[..], &["--exclude", &format!("^{codes}$")]].concat());
        run.notes(&[files[0], "-o", "copy.safetensors"]);
        std::fs::remove_file(run.path("out.safetensors")).unwrap();
    }
    for (plain, dtype) in [
        ("a.relative_position_index", Dtype::I32),
        ("a.mask", Dtype::U8),
        ("a.position_ids", Dtype::I64),
        ("a.idx", Dtype::I64),
        ("image", Dtype::U8),
    ] {
        for n in 1..3 {
            let tensors = [matrix(plain, dtype, n), f32s("a.weight", &[f32::from(n)])];
            save(&run.path(&format!("p_{n}.safetensors")), &tensors);
        }
        run.notes(&["p_1.safetensors", "p_2.safetensors", "-o", "plain.safetensors"]);
    }
}

/// The mean of what a network makes of weights and masks is not what it makes of their means, unless the masks are one.
#[test]
fn weights_that_are_pruned_in_different_places_are_refused() {
    let run = Run::new();
    let files = ["p_1.safetensors", "p_2.safetensors", "-o", "out.safetensors"];
    let write = |name: &str, value: f32, mask: &[f32]| {
        let weight = [value, value, value];
        save(&run.path(name), &[f32s("l.weight_orig", &weight), f32s("l.weight_mask", mask)]);
    };
    write("p_1.safetensors", 1.0, &[1.0, 0.0, 1.0]);
    write("p_2.safetensors", 2.0, &[0.0, 0.0, 1.0]);
    let parts = ["p_2.safetensors", "l.weight_mask", "`p_1.safetensors`", "prune.remove"];
    fails(&mut run.avg(&files), 3, &parts);
    write("p_2.safetensors", 2.0, &[1.0, 0.0, 1.0]);
    run.notes(&files);
    let mean = load(&run.path("out.safetensors"));
    assert_eq!(to_f32(&mean["l.weight_orig"]), [1.5; 3]);
    assert_eq!(to_f32(&mean["l.weight_mask"]), [1.0, 0.0, 1.0]);
    // A state sees one after the other.
    let state = [&files[..], &["--state", "state", "--force"]].concat();
    fails(&mut run.avg(&state), 3, &["l.weight_mask", "state", "prune.remove"]);
    // Masks of something else are buffers.
    for n in [1.0, 2.0] {
        let tensors = [f32s("attn_mask", &[n]), f32s("w", &[n])];
        save(&run.path(&format!("m_{n}.safetensors")), &tensors);
    }
    run.notes(&["m_1.safetensors", "m_2.safetensors", "-o", "masks.safetensors"]);
}

#[test]
fn integers_alone_have_no_mean() {
    let run = Run::new();
    for n in 1..3 {
        let codes = matrix("l.weight", Dtype::U8, n);
        save(&run.path(&format!("q_{n}.safetensors")), &[codes, i64s("steps", &[i64::from(n)])]);
    }
    let parts = ["`q_1.safetensors`: holds integers alone", "floating-point"];
    let files = ["q_1.safetensors", "q_2.safetensors", "-o", "x.safetensors"];
    fails(&mut run.avg(&files), 3, &parts);
    fails(&mut run.avg(&[&files[..], &["--state", "state"]].concat()), 3, &parts);
    run.notes(&["q_1.safetensors", "-o", "copy.safetensors"]);
}

#[test]
fn optimizers_are_known_by_their_words() {
    let run = Run::new();
    let state = || dict(&[("state", tensors(20, &["momentum_buffer"]))]);
    for name in ["optimizer_state", "optim_d", "gen_optimizer_state_dict", "optimizerG"] {
        let files = run.pair(&[
            ("network_weights", tensors(0, &["l.weight"])),
            (name, state()),
            ("lr_scheduler_state", tensors(30, &["last.lr"])),
        ]);
        let notes = run.notes(&[files[0], files[1], "-o", "out.safetensors"]);
        assert_eq!(load(&run.path("out.safetensors")).len(), 1, "{notes}");
        assert!(!notes.contains(name), "{notes}");
    }
}

#[test]
fn further_dicts_of_weights_are_said() {
    let run = Run::new();
    for (key, other, names) in [
        ("model", "generator", &["0.weight", "0.bias"][..]),
        ("model", "head", &["weight", "bias"]),
        ("state_dict", "criterion", &["arc.weight"]),
        ("net", "net2", &["l.weight"]),
        ("model_state_dict", "projector_state_dict", &["0.weight"]),
    ] {
        let files = run.pair(&[
            (key, tensors(0, &["l.weight", "l.bias"])),
            (other, tensors(10, names)),
            ("optimizer", dict(&[("state", tensors(20, &["0.momentum"]))])),
            ("ema", tensors(30, &["l.weight", "l.bias"])),
            ("meters", tensors(40, &["loss"])),
        ]);
        let notes = run.notes(&[files[0], files[1], "-o", "out.pth"]);
        let (count, verb) =
            if names.len() == 1 { ("1 tensor", "is") } else { ("2 tensors", "are") };
        let said = format!("`{other}` holds {count} as well, which {verb} not averaged");
        assert!(notes.contains(&said), "{notes}");
        assert!(notes.contains(&format!("--weights-key {other} takes")), "{notes}");
        let silent = ["`optimizer`", "`ema`", "`meters`"];
        silent.iter().for_each(|name| assert!(!notes.contains(name), "{notes}"));
        let notes = run.notes(&[files[0], files[1], "--like", files[1], "-o", "like.pth"]);
        let said = format!("the tensors of `{other}` in the output are those of `a_2.pth`");
        assert!(notes.contains(&said), "{notes}");
        // Who names the weights knows them.
        let notes = run.notes(&[files[0], files[1], "--weights-key", other, "-o", "out.pth"]);
        assert!(!notes.contains("as well"), "{notes}");
    }
}

/// StyleGAN's: nothing says which of the other two the average is of.
#[test]
fn models_beside_an_average_are_said() {
    let run = Run::new();
    let names = ["l.weight", "l.bias"];
    let files = run.pair(&[
        ("g", tensors(0, &names)),
        ("d", tensors(10, &["l.weight"])),
        ("g_ema", tensors(20, &names)),
        ("g_optim", dict(&[("state", tensors(30, &["0.momentum"]))])),
    ]);
    let notes = run.notes(&[files[0], files[1], "-o", "out.pth"]);
    for said in ["weights from `g_ema`", "--weights-key g takes", "`d` holds 1 tensor as well"] {
        assert!(notes.contains(said), "{notes}");
    }
    assert!(!notes.contains("g_optim"), "{notes}");
}

#[test]
fn averages_are_known_by_their_words() {
    let run = Run::new();
    let average = |run: &Run, items: &[(&str, Vec<u8>)]| {
        let items = [&[("model", tensors(0, &["l.weight"]))], items].concat();
        let files = run.pair(&items);
        let notes = run.notes(&[files[0], files[1], "-o", "raw.safetensors"]);
        assert!(notes.contains("holds averaged weights as well, which --ema"), "{notes}");
        assert_eq!(to_f32(&load(&run.path("raw.safetensors"))["l.weight"])[0], 1.5);
        run.avg(&[files[0], files[1], "--ema", "--force", "-o", "out.safetensors"])
    };
    let weights = || tensors(10, &["l.weight"]);
    let decay = || ("decay", b"K\x09".to_vec());
    for items in [
        ("averaged_model", weights()),
        ("swa_model", weights()),
        ("teacher_model", weights()),
        ("polyak", weights()),
        ("ema_0.999", weights()),
        ("ema", dict(&[decay(), ("shadow", weights())])),
        ("callbacks", dict(&[("EMACallback", dict(&[("ema_state_dict", weights())]))])),
        ("callbacks", dict(&[("EMA", dict(&[("ema_weights", weights())]))])),
    ] {
        average(&run, &[items]).assert().success();
        assert_eq!(to_f32(&load(&run.path("out.safetensors"))["l.weight"])[0], 11.5);
    }
    // Several: one has to be named.
    let two = [("ema_0.9", weights()), ("ema_0.999", tensors(20, &["l.weight"]))];
    let parts = ["holds several averages (EMA)", "--weights-key", "ema_0.999: 1 tensor"];
    fails(&mut average(&run, &two), 3, &parts);
    // In lists.
    let list = [&b"]("[..], &weights(), b"e"].concat();
    let files = run.pair(&[("net", tensors(0, &["l.weight"])), ("ema", list)]);
    let parts = ["its averaged (EMA) weights, `ema`, are a list of 1", "a dict of its own"];
    fails(&mut run.avg(&[files[0], files[1], "--ema", "-o", "x.pth"]), 3, &parts);
}

#[test]
fn averages_among_the_weights_are_said_to_be_there() {
    let run = Run::new();
    for prefix in ["model_ema", "teacher", "ema_model"] {
        let names = ["model.l.weight", &format!("{prefix}.lweight")];
        let files = run.pair(&[("state_dict", tensors(0, &names))]);
        let parts = ["among the others", &format!("`{prefix}.…`"), "leave out --ema", "--include"];
        fails(&mut run.avg(&[files[0], files[1], "--ema", "-o", "x.pth"]), 3, &parts);
        let only = format!("^{prefix}[.]");
        run.notes(&[files[0], files[1], "--include", &only, "-o", "x.safetensors"]);
        assert_eq!(load(&run.path("x.safetensors")).len(), 1);
    }
}

#[test]
fn what_an_output_cannot_hold_is_not_promised_for_it() {
    let run = Run::new();
    let with = |state: &[u8]| {
        let weights = tensors(0, &["l.weight"]);
        let open = weights[..weights.len() - 1].to_vec();
        [open, text_of("l._extra_state"), state.to_vec(), b"u".to_vec()].concat()
    };
    for (state, can) in [
        (&b"]K\x01a"[..], true),
        (b"cmine\nState\n)\x81", false),
        (b"ctorch\nfloat16\n", false),
        (b"\x8a\x0b\0\0\0\0\0\0\0\0\0\0\x01", false),
    ] {
        let files = run.pair(&[("model", with(state))]);
        let notes = run.notes(&[files[0], files[1], "-o", "out.safetensors"]);
        assert!(notes.contains("is no tensor and not in the output"), "{notes}");
        assert!(notes.contains("--like"), "{notes}");
        assert_eq!(notes.contains("ends in .pth"), can, "{notes}");
        let notes = run.notes(&[files[0], files[1], "-o", "out.pth"]);
        assert_eq!(notes.contains("is no tensor"), !can, "{notes}");
    }
}

#[test]
fn functions_that_act_by_their_names_are_refused_and_others_are_not() {
    let run = Run::new();
    let called = |name: &str| {
        let (module, name) = name.rsplit_once(' ').unwrap();
        let parts = [b"c", module.as_bytes(), b"\n", name.as_bytes(), b"\n(", &text_of("x"), b"tR"];
        parts.concat()
    };
    for name in ["yaml unsafe_load", "yaml load", "jsonpickle decode", "hydra.utils instantiate"] {
        let files = run.pair(&[("model", tensors(0, &["l.weight"])), ("config", called(name))]);
        let parts = [&name.replace(' ', "."), "code that acts", "nothing of it was run"];
        fails(&mut run.avg(&[files[0], files[1], "-o", "x.pth"]), 3, &parts);
    }
    for name in ["pytz _p", "mine.tables _load_table", "mine Loader", "mine build"] {
        let files = run.pair(&[("model", tensors(0, &["l.weight"])), ("config", called(name))]);
        run.notes(&[files[0], files[1], "-o", "x.pth"]);
    }
}

/// A file of one tensor.
fn model(path: &Path, value: f32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    save(path, &[f32s("l.weight", &[value])]);
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

#[test]
fn files_in_no_format_are_said_to_be_none() {
    let run = Run::new();
    let noise: Vec<u8> = (0..5000u32).map(|n| (n.wrapping_mul(n ^ 2654435) >> 9) as u8).collect();
    for (name, bytes, parts) in [
        ("a.pth", &noise[..], ["is in no format that is read", "torch.save"]),
        ("b.ckpt", &[0; 5000], ["zeros alone", "save or copy it again"]),
        ("c.safetensors", &noise, ["not a safetensors file", "save or copy it again"]),
        ("counter.ckpt", b"3", ["1 byte(s), too few for a checkpoint", "name the file"]),
    ] {
        std::fs::write(run.path(name), bytes).unwrap();
        fails(&mut run.avg(&[name, "-o", "x.pth"]), 3, &parts);
    }
}
