//! What is no tensor, among the weights or beside them: kept, said or refused.

use swa_testing::*;

use crate::pickle::{item, tensor, tensors, text_of, weights_file};
use crate::run::{Run, fixture};

#[test]
fn states_that_are_no_tensors_are_kept_or_said() {
    let run = Run::new();
    let seen = |n: u8| item("l._extra_state", &[b"}X\x04\0\0\0seenK", &[n][..], b"s"].concat());
    for key in ["", "state_dict"] {
        weights_file(&run.path("a_1.pth"), 1.0, key, &seen(1));
        weights_file(&run.path("a_2.pth"), 2.0, key, &seen(2));
        let inputs = ["a_1.pth", "a_2.pth"];
        // In a PyTorch file the last one's stands, whole.
        run.avg(&[&inputs[..], &["-o", "out.pth", "--force"]].concat()).assert().success();
        let bytes = std::fs::read(run.path("out.pth")).unwrap();
        let kept = [&item("l._extra_state", b"}(")[..], &item("seen", b"J\x02\0\0\0u")].concat();
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
    let object = item("l._extra_state", b"cmine\nState\n)\x81");
    weights_file(&run.path("a_1.pth"), 1.0, "model", &object);
    weights_file(&run.path("a_2.pth"), 2.0, "model", &object);
    let done = run.avg(&["a_1.pth", "a_2.pth", "-o", "out.pth", "--force"]).output().unwrap();
    let notes = String::from_utf8(done.stderr).unwrap();
    assert!(notes.contains("`l._extra_state` (an object `mine.State`)"), "{notes}");
    // Beside the weights, not among them: nothing is said.
    weights_file(&run.path("b_1.pth"), 1.0, "", &item("epoch", b"K\x01"));
    weights_file(&run.path("b_2.pth"), 2.0, "", &item("epoch", b"K\x02"));
    let done = run.avg(&["b_1.pth", "b_2.pth", "-o", "b.safetensors"]).output().unwrap();
    assert!(!String::from_utf8(done.stderr).unwrap().contains("no tensor"));
}

/// TransformerEngine's: bytes, as many as there are to keep.
#[test]
fn a_state_in_a_tensor_is_the_last_ones_whatever_its_size() {
    let run = Run::new();
    let write = |n: u8| {
        let state = (
            "l._extra_state",
            safetensors::Dtype::U8,
            vec![4 + n as usize],
            vec![n; 4 + n as usize],
        );
        save(&run.path(&format!("t_{n}.safetensors")), &[state, f32s("l.w", &[f32::from(n)])]);
    };
    (1..4).for_each(write);
    let files = ["t_1.safetensors", "t_2.safetensors", "t_3.safetensors"];
    run.notes(&[&files[..], &["-o", "out.safetensors"]].concat());
    let mean = load(&run.path("out.safetensors"));
    assert_eq!((to_f32(&mean["l.w"]), &mean["l._extra_state"]), (vec![2.0], &vec![3; 7]));
    run.notes(&[&files[..], &["-o", "out.pth"]].concat());
    run.notes(&["out.pth", "-o", "again.safetensors"]);
    assert_eq!(load(&run.path("again.safetensors"))["l._extra_state"], [3; 7]);
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
fn what_lies_beside_the_weights_does_not_matter() {
    // A scheduler of torch up to 2.3, a type: fixtures/formats/libraries.py has them and many more.
    for name in ["python.pth", "torch.pth"] {
        let run = Run::new();
        let file = fixture("beside-libraries").join(name);
        run.avg(&[file.to_str().unwrap(), "-o", "x.safetensors"]).assert().success();
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
            weights_file(&run.path("x.pth"), 1.0, key, &item("head.w", &tensor));
            let parts =
                ["tensor `head.w`", "needs a device of its own", "move the model to the CPU"];
            fails(&mut run.avg(&["x.pth", "-o", "x.safetensors"]), 3, &parts);
        }
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

/// What modules of PyTorch that are quantised to halves keep is weight and bias in one tuple.
#[test]
fn weights_in_a_tuple_are_refused() {
    let run = Run::new();
    let pair = |name: &str, value: f32| {
        let tuple = [b"(", &tensor(2, 0)[..], &tensor(2, 0), b"t"].concat();
        weights_file(
            &run.path(name),
            value,
            "model",
            &item("l._packed_params._packed_params", &tuple),
        );
    };
    pair("a_1.pth", 1.0);
    pair("a_2.pth", 2.0);
    let parts = ["l._packed_params._packed_params", "weights in a tuple", "quantised"];
    fails(&mut run.avg(&["a_1.pth", "a_2.pth", "-o", "out.pth"]), 3, &parts);
}
