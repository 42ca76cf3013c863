//! swa-train: what it writes, and that a run is the same however often it is interrupted.

use std::fs;
use std::path::Path;
use std::time::Duration;

use assert_cmd::Command;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use swa_testing::data_tools::{json, swa_bn_update, swa_train};
use swa_testing::training_run::{Scene, same, spawn};
use swa_testing::{fails, fixtures, load, swa_avg};

#[test]
fn a_run_learns_and_logs_both() {
    let scene = Scene::in_a_folder();
    let report = json(&mut scene.swa("run"));
    assert_eq!(report["arch"], "preresnet-8");
    assert_eq!(report["snapshots"], serde_json::json!([4, 5, 6]));
    let log = scene.log("run");
    assert_eq!(report["epochs"], Value::Array(log.clone()));
    let epochs: Vec<u64> = log.iter().map(|line| line["epoch"].as_u64().unwrap()).collect();
    assert_eq!(epochs, [1, 2, 3, 4, 5, 6]);
    // The first, every second and the last.
    let validated: Vec<bool> = log.iter().map(|line| line["model"].is_object()).collect();
    assert_eq!(validated, [true, true, false, true, false, true]);
    let averaged: Vec<u64> = log.iter().filter_map(|l| l["swa"]["snapshots"].as_u64()).collect();
    assert_eq!(averaged, [1, 3]);
    assert_eq!(log[0]["lr"], 0.05);
    assert!((log[5]["lr"].as_f64().unwrap() - 0.02).abs() < 1e-12);
    let last = &log[5];
    assert!(last["train"]["loss"].as_f64() < log[0]["train"]["loss"].as_f64());
    assert!(last["model"]["accuracy"].as_f64().unwrap() > 0.8, "{last}");
    assert!(last["swa"]["accuracy"].as_f64().unwrap() > 0.8, "{last}");
}

/// The functional test of the method: what runs beside the training is the mean of what lies on the disk.
#[test]
fn the_average_is_that_of_swa_avg_bit_for_bit() {
    let scene = Scene::in_a_folder();
    scene.swa("run").assert().success();
    let (run, mean) = (scene.path("run"), scene.path("mean.safetensors"));
    swa_avg().arg(&run).args(["--start", "4", "--quiet", "-o"]).arg(&mean).assert().success();
    let beside = run.join("results/swa.safetensors");
    assert!(fs::read(&beside).unwrap() == fs::read(&mean).unwrap());

    // Its statistics are those of swa-bn-update on the augmented training images, in the same batches.
    let updated = scene.path("updated.safetensors");
    let mut command = swa_bn_update();
    command.arg(&mean).arg("--data").arg(scene.path("cifar")).arg("-o").arg(&updated);
    command.args(["--preset", "cifar10", "--transform", "train", "--method", "weighted"]);
    command.args(["--batch-size", "16", "--seed", "1", "--threads", "1", "--quiet"]);
    command.assert().success();
    assert!(load(&updated) == load(&run.join("results/swa_bn.safetensors")));
}

#[test]
fn killed_at_any_time_and_resumed_it_is_the_run_that_was_not() {
    let scene = Scene::in_a_folder();
    let started = std::time::Instant::now();
    scene.swa("whole").assert().success();
    let whole = started.elapsed();
    let expected = scene.files("whole");
    for (part, signal) in [(0.35, Signal::KILL), (0.6, Signal::TERM), (0.85, Signal::KILL)] {
        // Ever further into the run, as each goes on where the last one was.
        let mut child = spawn(&scene.swa("killed"));
        std::thread::sleep(whole.mul_f64(part).max(Duration::from_millis(50)));
        let _ended_before = kill_process(Pid::from_child(&child), signal);
        child.wait().unwrap();
    }
    scene.swa("killed").assert().success();
    same(scene.files("killed"), &expected);
    // A finished run stays as it is.
    scene.swa("killed").assert().success();
    same(scene.files("killed"), &expected);
}

#[test]
fn epochs_that_two_runs_have_in_common_are_trained_once() {
    let scene = Scene::in_a_folder();
    scene.swa("swa").assert().success();
    let alone = ["--epochs", "5"];
    scene.command("alone", &alone).assert().success();
    let shared = ["--epochs", "5", "--trunk", "swa"];
    // Of a graft that was killed.
    fs::create_dir_all(scene.path("shared/results")).unwrap();
    let line = fs::read_to_string(scene.path("swa/results/log.jsonl")).unwrap();
    let line = line.lines().next().unwrap().to_string() + "\n";
    fs::write(scene.path("shared/results/log.jsonl"), line).unwrap();
    let output = scene.command("shared", &shared).output().unwrap();
    assert!(output.status.success());
    same(scene.files("shared"), &scene.files("alone"));
    // What failed before anything was trained is no run yet.
    fails(&mut scene.command("nothing", &["--epochs", "5", "--augment", "resized"]), 2, &["size"]);
    scene.command("nothing", &alone).assert().success();
    same(scene.files("nothing"), &scene.files("alone"));
    // The other run's last epoch, which was validated, is one in the middle of this one.
    let long = ["--schedule", "constant", "--epochs", "5"];
    let short = ["--schedule", "constant", "--epochs", "3"];
    scene.command("long", &long).assert().success();
    scene.command("short", &short).assert().success();
    scene.command("longer", &long).args(["--trunk", "short"]).assert().success();
    same(scene.files("longer"), &scene.files("long"));
    // Other settings than the schedule: nothing is in common.
    let other = ["--epochs", "5", "--trunk", "swa", "--momentum", "0.8"];
    fails(&mut scene.command("other", &other), 3, &["`swa`", "momentum: 0.9 there, 0.8 asked for"]);
    let none = ["--epochs", "5", "--trunk", "swa", "--schedule", "cosine", "--cycle", "5"];
    fails(
        &mut scene.command("none", &none),
        2,
        &["`swa`", "no epoch in common", "leave out --trunk"],
    );
}

#[test]
fn a_snapshot_that_cannot_be_written_leaves_a_run_to_go_on_with() {
    let scene = Scene::in_a_folder();
    scene.swa("whole").assert().success();
    // In place of a snapshot a folder.
    let in_the_way = scene.path("run/ckpt_0005.safetensors");
    fs::create_dir_all(&in_the_way).unwrap();
    fails(&mut scene.swa("run"), 2, &["ckpt_0005.safetensors", "is a folder"]);
    assert_eq!(scene.log("run").len(), 4);
    fs::remove_dir(&in_the_way).unwrap();
    scene.swa("run").assert().success();
    same(scene.files("run"), &scene.files("whole"));

    // A disk without room for the state of the first epoch.
    let mut limited = Command::new("sh");
    let swa = scene.swa("full");
    limited.args(["-c", "ulimit -f 60; trap '' XFSZ; exec \"$0\" \"$@\""]).arg(swa.get_program());
    limited.args(swa.get_args()).current_dir(scene.dir.path());
    fails(&mut limited, 4, &["state.safetensors"]);
    scene.swa("full").assert().success();
    same(scene.files("full"), &scene.files("whole"));
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let scene = Scene::in_a_folder();
    scene.swa("run").assert().success();
    let expected = scene.files("run");

    let mut again = scene.swa("run");
    again.args(["--wd", "1e-4"]);
    let text = fails(&mut again, 3, &["`run`", "weight_decay: 0.0005 there, 0.0001 asked for"]);
    assert!(!text.contains("momentum"), "{text}");
    let longer = ["--epochs", "7", "--swa-start", "4"];
    fails(&mut scene.command("run", &longer), 3, &["schedule.epochs: 6 there, 7 asked for"]);
    let mut new = swa_train();
    new.arg(scene.path("run")).arg("--data").arg(scene.path("cifar"));
    new.args(["--preset", "cifar10", "--arch", "preresnet-8", "--epochs", "6", "--lr", "0.05"]);
    fails(&mut new, 2, &["a run is there already", "--resume"]);

    // Another process trains there.
    let lock = fs::File::open(scene.path("run/results/lock")).unwrap();
    lock.lock().unwrap();
    fails(&mut scene.swa("run"), 2, &["`run`", "another process trains in it"]);
    drop(lock);
    same(scene.files("run"), &expected);

    // A loss without end: what was written before stays.
    let high = ["--epochs", "6", "--schedule", "constant", "--lr", "1e12"];
    let text = fails(
        &mut scene.command("infinite", &high),
        3,
        &["the loss is", "of epoch", "at a rate of"],
    );
    assert!(text.contains("train with a lower rate"), "{text}");
    assert!(scene.path("infinite/results/initial.safetensors").exists());

    // One step: its loss is that of before.
    let mut once = swa_train();
    once.current_dir(scene.dir.path()).args(["once", "--data", "cifar", "--preset", "cifar10"]);
    once.args(["--arch", "preresnet-8", "--width", "4", "--batch-size", "96", "--epochs", "1"]);
    let parts = ["outputs are not finite after epoch 1", "train with a lower rate"];
    fails(once.args(["--lr", "1e30", "--schedule", "constant"]), 3, &parts);

    // Data of other classes than the first weights have.
    let mut other = swa_train();
    other.current_dir(scene.dir.path()).args(["other", "--data", "cifar", "--preset", "cifar10"]);
    other.args([
        "--epochs",
        "1",
        "--lr",
        "0.1",
        "--init",
        "head.safetensors",
        "--arch",
        "preresnet-8",
        "--width",
        "4",
    ]);
    let head = load(&scene.path("run/ckpt_0006.safetensors"));
    write_head(&scene.path("head.safetensors"), &head);
    let passed_over = "note: --width is passed over: the network is that of --init";
    fails(&mut other, 3, &["cifar", "10 classes", "head.safetensors", "4", passed_over]);

    let arch = ["nets", "--data", "cifar", "--preset", "cifar10", "--epochs", "1", "--lr", "0.1"];
    let unknown = |more: &[&str], parts: &[&str]| {
        let mut command = swa_train();
        command.current_dir(scene.dir.path()).args(arch).args(more).arg("--resume");
        fails(&mut command, 2, parts);
    };
    unknown(&[], &["which network", "--arch", "--init"]);
    unknown(
        &["--arch", "mobilenet_v2"],
        &["training mobilenet_v2 is not known", "preresnet-DEPTH"],
    );
    unknown(
        &["--arch", "preresnet-8", "--hold-out", "96"],
        &["--hold-out 96", "there are 96 images"],
    );
    unknown(&["--arch", "preresnet-8", "--precision", "fp16"], &["--precision fp16", "bf16"]);
    unknown(&["--arch", "preresnet-8", "--momentum", "1"], &["--momentum 1", "below 1"]);
    unknown(&["--arch", "preresnet-8", "--wd=-1"], &["--wd -1", "0 or more"]);
    unknown(&["--arch", "preresnet-8", "--swa-start", "2"], &["--swa-start 2", "1 to 1"]);
    unknown(&["--arch", "resnet18", "--width", "16"], &["--width is not for resnet18"]);
    // Without test images it would be validated on what it learns.
    let classes = scene.path("classes");
    for class in ["a", "b"] {
        fs::create_dir_all(classes.join(class)).unwrap();
        fs::write(classes.join(class).join("1.png"), "").unwrap();
    }
    let three = scene.path("three");
    for part in ["train", "val", "test"] {
        fs::create_dir_all(three.join(part).join("a")).unwrap();
        fs::write(three.join(part).join("a/1.png"), "").unwrap();
    }
    let mut both = swa_train();
    both.arg(scene.path("both")).arg("--data").arg(&three).args(["--preset", "cifar10"]);
    both.args(["--arch", "preresnet-8", "--epochs", "1", "--lr", "0.1"]);
    let text = fails(&mut both, 3, &["a validation and a test part", "with --test DIR"]);
    assert!(!text.contains("--split"), "{text}");
    let mut alone = swa_train();
    alone.arg(scene.path("alone")).arg("--data").arg(&classes).args(["--preset", "cifar10"]);
    alone.args(["--arch", "preresnet-8", "--epochs", "1", "--lr", "0.1"]);
    fails(
        &mut alone,
        2,
        &["classes", "validate on are the training images", "--test DIR", "--hold-out N"],
    );
    // Labels are places among the classes: of others they would be wrong in silence.
    let parts = scene.path("parts");
    for (part, classes) in [("train", ["a", "b"]), ("val", ["a", "c"]), ("one", ["b", ""])] {
        for class in classes.iter().filter(|class| !class.is_empty()) {
            fs::create_dir_all(parts.join(part).join(class)).unwrap();
            fs::write(parts.join(part).join(class).join("1.png"), "").unwrap();
        }
    }
    let other = |test: &str, words: &[&str]| {
        let mut other = swa_train();
        other.arg(scene.path("apart")).arg("--data").arg(parts.join("train")).arg("--test");
        other.arg(parts.join(test)).args(["--preset", "cifar10", "--arch", "preresnet-8"]);
        other.args(["--epochs", "1", "--lr", "0.1"]);
        fails(&mut other, 3, words);
        assert!(!scene.path("apart").exists());
    };
    other("val", &["`c` of the test images stands where the training images have `b`"]);
    other("one", &["classes differ: the test images have 1, the training images 2"]);
    // More labels than there are in training, in files that do not say how many classes there are.
    let idx = scene.path("idx");
    fs::create_dir(&idx).unwrap();
    for (part, labels) in [("train", [0u8, 1]), ("t10k", [0, 2])] {
        let images =
            [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28][..], &[0; 2 * 784]].concat();
        fs::write(idx.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        let labels = [&[0, 0, 8, 1, 0, 0, 0, 2][..], &labels].concat();
        fs::write(idx.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
    let mut few = swa_train();
    few.arg(scene.path("few")).arg("--data").arg(&idx).args(["--preset", "fashion-mnist"]);
    few.args(["--arch", "preresnet-8", "--epochs", "1", "--lr", "0.1"]);
    fails(
        &mut few,
        3,
        &["classes differ: the test images have at least 3, the training images at least 2"],
    );
    let fashion = fixtures().join("fashion-mnist");
    let mut plain = swa_train();
    plain.arg(scene.path("plain")).arg("--data").arg(fashion).args(["--preset", "none"]);
    plain.args(["--arch", "preresnet-8", "--epochs", "1", "--lr", "0.1"]);
    fails(&mut plain, 2, &["no augmentation is known", "--augment"]);
}

/// Snapshots lie open to anyone: what is averaged is what the run wrote.
#[test]
fn what_a_run_left_is_checked_before_it_goes_on() {
    let scene = Scene::in_a_folder();
    scene.swa("run").assert().success();
    let expected = scene.files("run");
    let (fourth, fifth) =
        (scene.path("run/ckpt_0004.safetensors"), scene.path("run/ckpt_0005.safetensors"));
    let own = fs::read(&fifth).unwrap();
    // Something is left to average.
    fs::remove_file(scene.path("run/results/swa_bn.safetensors")).unwrap();
    fs::copy(&fourth, &fifth).unwrap();
    let words = ["ckpt_0005.safetensors", "has other weights than the run wrote", "bring it back"];
    fails(&mut scene.swa("run"), 3, &words);
    let trunk = ["--schedule", "constant", "--epochs", "5", "--swa-start", "4"];
    scene.command("long", &trunk).assert().success();
    fs::copy(scene.path("long/ckpt_0004.safetensors"), scene.path("long/ckpt_0005.safetensors"))
        .unwrap();
    let longer = ["--schedule", "constant", "--epochs", "6", "--swa-start", "4", "--trunk", "long"];
    fails(
        &mut scene.command("longer", &longer),
        3,
        &["long/ckpt_0005.safetensors", "other weights"],
    );
    fs::remove_file(&fifth).unwrap();
    fails(&mut scene.swa("run"), 3, &["ckpt_0005.safetensors", "is missing: the run wrote it"]);
    fs::write(&fifth, own).unwrap();
    scene.swa("run").assert().success();
    same(scene.files("run"), &expected);

    // Those of another run, in a new folder and in this one.
    let other = scene.path("run/ckpt_0009.safetensors");
    fs::copy(&fifth, &other).unwrap();
    let words = ["ckpt_0009.safetensors", "is no snapshot of this run", "move it elsewhere"];
    fails(&mut scene.swa("run"), 3, &words);
    fs::create_dir(scene.path("new")).unwrap();
    fs::rename(&other, scene.path("new/ckpt_0001.safetensors")).unwrap();
    fails(&mut scene.swa("new"), 3, &["new/ckpt_0001.safetensors", "is no snapshot of this run"]);
    fs::remove_file(scene.path("new/ckpt_0001.safetensors")).unwrap();
    scene.swa("new").assert().success();
    same(scene.files("new"), &expected);

    // The one behind the last is no snapshot that was being written.
    let next = scene.path("run/ckpt_0007.safetensors");
    fs::copy(&fifth, &next).unwrap();
    fails(&mut scene.swa("run"), 3, &["ckpt_0007.safetensors", "is no snapshot of this run"]);
    fs::remove_file(&next).unwrap();

    // A finished run has its results again, and keeps no half of a file.
    for name in ["swa_bn.safetensors", "last.safetensors"] {
        fs::remove_file(scene.path("run/results").join(name)).unwrap();
        let half = scene.path(&format!("run/results/.{name}.swa-0123456789abcdef.tmp"));
        fs::write(&half, "half").unwrap();
        let hour = std::time::SystemTime::now() - Duration::from_secs(3600);
        fs::File::options().write(true).open(&half).unwrap().set_modified(hour).unwrap();
        scene.swa("run").assert().success();
        same(scene.files("run"), &expected);
    }
    // What lacks a snapshot is not trained again, and that is said.
    let bytes = fs::read(&fifth).unwrap();
    fs::remove_file(&fifth).unwrap();
    let said = scene.swa("run").output().unwrap();
    assert!(said.status.success());
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("ckpt_0005.safetensors`: is missing: the run wrote it"), "{said}");
    fs::write(&fifth, bytes).unwrap();
    let log = scene.path("run/results/log.jsonl");
    let lines = fs::read_to_string(&log).unwrap();
    fs::remove_file(&log).unwrap();
    fails(&mut scene.swa("run"), 3, &["log.jsonl", "has 0 lines, and 6 epochs are done"]);
    fs::write(&log, lines).unwrap();

    // Other pixels under the same names and labels.
    let images = scene.path("cifar/data_batch_1.bin");
    let mut bytes = fs::read(&images).unwrap();
    bytes[1] ^= 1;
    fs::write(&images, &bytes).unwrap();
    fails(&mut scene.swa("run"), 3, &["`run`", "data.files: the images are not those there"]);
}

/// What has no part in a run is said; first weights that are not finite are not the rate's fault.
#[test]
fn what_is_passed_over_is_said_and_first_weights_are_finite() {
    let scene = Scene::in_a_folder();
    let said = |run: &str, args: &[&str]| {
        let output = scene.command(run, args).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let text = said("run", &["--epochs", "1", "--hold-out", "8", "--test", "cifar"]);
    assert!(text.contains("--swa-lr is passed over: without --swa-start nothing is"), "{text}");
    assert!(text.contains("--test is passed over: --hold-out says"), "{text}");
    let mut weights = load(&scene.path("run/results/last.safetensors"));
    weights.get_mut("conv1.weight").unwrap()[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let last = fs::read(scene.path("run/results/last.safetensors")).unwrap();
    let shapes = safetensors::SafeTensors::deserialize(&last).unwrap();
    let views = shapes.tensors().into_iter().map(|(name, view)| {
        let (dtype, shape) = (view.dtype(), view.shape().to_vec());
        let view = safetensors::tensor::TensorView::new(dtype, shape, &weights[&name]).unwrap();
        (name, view)
    });
    let nan = scene.path("nan.safetensors");
    safetensors::serialize_to_file(views.collect::<Vec<_>>(), None, &nan).unwrap();
    let mut command = scene.command("nan", &["--epochs", "2", "--swa-start", "1"]);
    command.args(["--init", "nan.safetensors"]);
    let words = ["`nan.safetensors`", "`conv1.weight`", "has values that are not finite"];
    let text = fails(&mut command, 3, &words);
    assert!(!text.contains("lower rate"), "{text}");
    // An own rate of averaging has a part in a constant schedule as little.
    let text = said("constant", &["--schedule", "constant", "--epochs", "1", "--swa-start", "1"]);
    assert!(text.contains("--swa-lr is passed over: --schedule constant has no such"), "{text}");
}

/// The weights with a head of four outputs.
fn write_head(path: &Path, tensors: &std::collections::BTreeMap<String, Vec<u8>>) {
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;
    let bytes = fs::read(path.parent().unwrap().join("run/ckpt_0006.safetensors")).unwrap();
    let whole = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let views: Vec<(String, TensorView)> = whole
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let (shape, row) = (view.shape().to_vec(), 4 * view.shape().last().unwrap_or(&1));
            let own = &tensors[&name];
            let cut = match name.as_str() {
                "fc.weight" => (vec![4, shape[1]], &own[..4 * row]),
                "fc.bias" => (vec![4], &own[..16]),
                _ => (shape, &own[..]),
            };
            let dtype: Dtype = view.dtype();
            (name, TensorView::new(dtype, cut.0, cut.1).unwrap())
        })
        .collect();
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// Weights and their average stay in f32.
#[test]
fn narrower_products_learn_as_well() {
    let scene = Scene::in_a_folder();
    let mut command = scene.swa("bf16");
    let report = json(command.args(["--precision", "bf16"]));
    let last = &report["epochs"][5];
    assert!(last["swa"]["accuracy"].as_f64().unwrap() > 0.8, "{last}");
    let snapshot = load(&scene.path("bf16/ckpt_0006.safetensors"));
    let values = swa_testing::to_f32(&snapshot["conv1.weight"]);
    assert!(values.iter().any(|x| x.to_bits() & 0xffff != 0), "rounded to bf16");
}

/// Held-out images take no part in training, and every seed has the same ones.
#[test]
fn accuracies_are_of_as_many_images_as_asked_for() {
    let scene = Scene::in_a_folder();
    let args = ["--epochs", "1", "--hold-out", "25", "--samples", "49"];
    let report = json(&mut scene.command("run", &args));
    let epoch = &report["epochs"][0];
    for (images, score) in [(25.0, &epoch["model"]), (49.0, &epoch["train"])] {
        let right = score["accuracy"].as_f64().unwrap() * images;
        assert!((right - right.round()).abs() < 1e-9, "{images}: {score}");
    }
    // One too many for both.
    let all = ["--epochs", "1", "--hold-out", "25", "--samples", "72"];
    fails(&mut scene.command("all", &all), 2, &["25", "72"]);
}

/// Every schedule of the papers, from first weights that another run left.
#[test]
fn cyclical_schedules_take_their_snapshots() {
    let scene = Scene::in_a_folder();
    scene.command("first", &["--epochs", "1"]).assert().success();
    for (schedule, cycle, expected) in
        [("sawtooth", "2", vec![2, 4]), ("triangle", "2", vec![1, 3]), ("cosine", "2", vec![2, 4])]
    {
        let args = ["--epochs", "4", "--schedule", schedule, "--cycle", cycle, "--swa-start", "1"];
        let mut command = scene.command(schedule, &args);
        command.args(["--init", "first/results/last.safetensors"]);
        let report = json(&mut command);
        assert_eq!(report["snapshots"], serde_json::json!(expected), "{schedule}");
        let last = &report["epochs"][3]["swa"];
        let averaged = report["epochs"].as_array().unwrap().iter();
        let most = averaged.filter_map(|line| line["swa"]["snapshots"].as_u64()).max();
        assert_eq!(most, Some(2), "{schedule}: {last}");
        assert!(scene.path(schedule).join("results/swa.safetensors").exists());
        assert!(!scene.path(schedule).join("results/initial.safetensors").exists());
    }
}
