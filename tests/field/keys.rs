//! Keys of a checkpoint: averages, further dicts of weights, optimizers.

use swa_testing::*;

use crate::pickle::{dict, item, tensor, tensors, torch_file, weights_file};
use crate::run::Run;

#[test]
fn averaged_weights_are_found_under_more_keys() {
    let run = Run::new();
    for key in ["params_ema", "teacher"] {
        weights_file(&run.path("a_1.pth"), 1.0, key, b"");
        weights_file(&run.path("a_2.pth"), 3.0, key, b"");
        let mut command =
            run.avg(&["a_1.pth", "a_2.pth", "--ema", "-o", "x.safetensors", "--force"]);
        command.assert().success();
        assert_eq!(to_f32(&load(&run.path("x.safetensors"))["l.w"])[0], 2.0, "{key}");
    }
    for (key, list) in [("ema", "shadow_params"), ("model_ema", "params")] {
        let shadow = dict(&[(list, [b"](", &tensor(2, 0)[..], b"e"].concat())]);
        weights_file(&run.path("l.pth"), 1.0, "", &item(key, &shadow));
        let mut command = run.avg(&["l.pth", "--ema", "-o", "x.safetensors", "--force"]);
        fails(&mut command, 3, &["a list without names", list, "copy_to"]);
    }
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
    let error = fails(&mut average(&run, &two), 3, &parts);
    assert!(!error.contains("model: 1 tensor"), "{error}");
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

/// A copy of another model's file would be of two models.
#[test]
fn weights_of_a_copied_file_that_are_not_averaged_are_said() {
    let run = Run::new();
    let one = ["l.weight"];
    let files = run.pair(&[("model", tensors(0, &one))]);
    torch_file(
        &run.path("more.pth"),
        3.0,
        &dict(&[("model", tensors(0, &["l.weight", "z.weight"]))]),
    );
    let notes = run.notes(&[files[0], files[1], "--like", "more.pth", "-o", "out.pth"]);
    let said = "1 tensor(s) of `more.pth`, such as `z.weight`, are not in the average and stay as they are";
    assert!(notes.contains(said), "{notes}");
    let notes = run.notes(&[files[0], files[1], "--like", files[1], "-o", "out.pth"]);
    assert!(!notes.contains("stay as they are"), "{notes}");
}

/// ema-pytorch keeps the trained weights with the average.
#[test]
fn of_ema_pytorchs_state_under_a_key_the_average_alone_is_taken() {
    let run = Run::new();
    let state = || tensors(10, &["online_model.l.weight", "ema_model.l.weight", "step"]);
    let files = run.pair(&[("model", tensors(0, &["l.weight"])), ("ema", state())]);
    run.notes(&[files[0], files[1], "--ema", "-o", "out.safetensors"]);
    let found = load(&run.path("out.safetensors"));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["l.weight"]);
    assert_eq!(to_f32(&found["l.weight"])[0], 13.5);
    // As the only state, too.
    let files = run.pair(&[("model", state()), ("epoch", b"K\x03".to_vec())]);
    run.notes(&[files[0], files[1], "-o", "out.safetensors"]);
    let found = load(&run.path("out.safetensors"));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["l.weight"]);
    assert_eq!(to_f32(&found["l.weight"])[0], 11.5);
    run.notes(&[files[0], files[1], "--ema", "-o", "out.safetensors"]);
    assert_eq!(to_f32(&load(&run.path("out.safetensors"))["l.weight"])[0], 13.5);
}

#[test]
fn of_several_known_averages_one_has_to_be_named() {
    let run = Run::new();
    let files = run.pair(&[
        ("model", tensors(0, &["l.weight"])),
        ("ema_model", tensors(10, &["l.weight"])),
        ("swa_state_dict", tensors(20, &["l.weight"])),
    ]);
    let parts = ["holds several averages (EMA)", "ema_model: 1 tensor", "swa_state_dict: 1 tensor"];
    fails(&mut run.avg(&[files[0], files[1], "--ema", "-o", "x.pth"]), 3, &parts);
    run.notes(&[files[0], files[1], "--weights-key", "swa_state_dict", "-o", "x.safetensors"]);
    assert_eq!(to_f32(&load(&run.path("x.safetensors"))["l.weight"])[0], 21.5);
}

/// An average of parameters alone has no statistics of batchnorm.
#[test]
fn what_an_average_lacks_is_said() {
    let run = Run::new();
    let files = run.pair(&[
        ("model", tensors(0, &["module.bn.weight", "module.bn.running_mean", "bn.running_var"])),
        ("ema", tensors(10, &["bn.weight"])),
    ]);
    let notes = run.notes(&[files[0], files[1], "--ema", "-o", "x.pth"]);
    let part = "without 2 tensors that the trained weights have, such as `bn.running_mean`";
    assert!(notes.contains(part), "{notes}");
    let notes = run.notes(&[files[0], files[1], "-o", "x.pth"]);
    assert!(!notes.contains("that the trained weights have"), "{notes}");
}

/// A `Stateful` of PyTorch's tutorial, beside a counter that is a tensor.
#[test]
fn weights_one_level_deeper_are_named() {
    let run = Run::new();
    let optimizer = dict(&[("state", dict(&[("l.weight", tensors(4, &["exp_avg"]))]))]);
    let app = dict(&[("model", tensors(0, &["l.weight"])), ("optim", optimizer)]);
    let files = run.pair(&[("app", app), ("step", tensor(64, 2))]);
    let parts = ["holds `app`, a dict of 2", "--weights-key", "app.model: 1 tensor"];
    let error = fails(&mut run.avg(&[files[0], files[1], "-o", "x.pth"]), 3, &parts);
    assert!(!error.contains("exp_avg") && !error.contains("app.optim"), "{error}");
    run.notes(&[files[0], files[1], "--weights-key", "app.model", "-o", "x.safetensors"]);
    assert_eq!(load(&run.path("x.safetensors")).len(), 1);
}

/// A network that keeps its layers in an attribute called `module`, beside others.
#[test]
fn a_layer_called_module_keeps_its_name_beside_others() {
    let run = Run::new();
    let names = ["module.l.weight", "l.weight", "norms.0.module.weight"];
    let files = run.pair(&[("state_dict", tensors(0, &names))]);
    let notes = run.notes(&[files[0], files[1], "-o", "out.safetensors"]);
    assert!(!notes.contains("wrappers"), "{notes}");
    let found = load(&run.path("out.safetensors"));
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        ["l.weight", "module.l.weight", "norms.0.module.weight"]
    );
}
