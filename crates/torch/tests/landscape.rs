//! Planes, lines and rays through the shipped snapshots: figures are those of the other tools, and shared, resumed and
//! ordinary passes agree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value;
use swa_testing::data_tools::*;
use swa_testing::golden::formula;
use swa_testing::*;

/// Few images: pictures of them mean nothing, but their points are points.
const FEW: [(&str, &str); 6] = [
    ("--preset", "fashion-mnist"),
    ("--seed", "3"),
    ("--threads", "1"),
    ("--bn-samples", "96"),
    ("--train-samples", "96"),
    ("--test-samples", "64"),
];

fn fashion() -> PathBuf {
    fixtures().join("fashion-mnist")
}

fn snapshot(epoch: usize) -> PathBuf {
    fashion().join(format!("ckpt_{epoch:04}.safetensors"))
}

/// The command on three snapshots, for a plane.
fn plane(dir: &Path) -> assert_cmd::Command {
    of("plane", dir, &[snapshot(136), snapshot(192), snapshot(240)])
}

fn few() -> impl Iterator<Item = &'static str> {
    FEW.into_iter().flat_map(|(flag, value)| [flag, value])
}

fn of(kind: &str, dir: &Path, models: &[PathBuf]) -> assert_cmd::Command {
    let mut tool = swa_landscape();
    tool.current_dir(dir).arg(kind).args(models).arg("--data").arg(fashion()).args(few());
    tool
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn close(found: &Value, expected: &Value, tolerance: f64) {
    let (a, b) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
    assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{a} {b}");
}

/// With kept statistics the models' own figures are those of swa-eval; with recomputed ones those of swa-bn-update and
/// swa-eval. Points of the grid where a model lies have its figures.
#[test]
fn models_do_as_the_other_tools_say_and_so_do_their_points() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let images = ["--preset", "fashion-mnist", "--seed", "3", "--threads", "1"];
    let models: Vec<PathBuf> = [136, 192, 240].map(snapshot).into();
    let evaluated = |models: &[PathBuf], split: &str, samples: &str| -> Vec<Value> {
        let mut tool = swa_eval();
        tool.args(models).arg("--data").arg(fashion()).args(images);
        let found = json(tool.args(["--split", split, "--samples", samples]));
        found["models"].as_array().unwrap().clone()
    };
    for (i, model) in models.iter().enumerate() {
        let mut tool = swa_bn_update();
        tool.arg(model).arg("--data").arg(fashion()).args(images).args(["--samples", "96"]);
        tool.args(["--method", "layerwise", "-o"]).arg(path(&format!("bn_{i}.safetensors")));
        tool.assert().success();
    }
    let updated: Vec<PathBuf> = (0..3).map(|i| path(&format!("bn_{i}.safetensors"))).collect();
    // Recomputed with one pass for statistics and training loss, and with two.
    for (bn, models, train) in
        [("keep", &models, "96"), ("recompute", &updated, "96"), ("recompute", &updated, "50")]
    {
        let mut tool = swa_landscape();
        tool.arg("plane").args([136, 192, 240].map(snapshot)).arg("--data").arg(fashion());
        tool.args(few().map(|value| value.to_string()).collect::<Vec<_>>().iter().enumerate().map(
            // The value of --train-samples.
            |(i, value)| if i == 9 { train } else { value },
        ));
        let found = json(tool.args(["--grid", "2", "--margin", "0", "--bn", bn]));
        assert_eq!(found["batchnorm"], bn);
        assert_eq!(found["train_images"].to_string(), train);
        let rows = |what: &str| found[what].as_array().unwrap().clone();
        let (test, training) = (evaluated(models, "test", "64"), evaluated(models, "train", train));
        for (found, (test, training)) in rows("models").iter().zip(test.iter().zip(&training)) {
            for (expected, loss, error) in
                [(test, "test_loss", "test_error"), (training, "train_loss", "train_error")]
            {
                close(&found[loss], &expected["nll"], 1e-4);
                close(&found[error], &(100.0 - expected["top1"].as_f64().unwrap()).into(), 1e-9);
            }
            let wrong = found["test_error"].as_f64().unwrap();
            let uncertainty = (wrong * (100.0 - wrong) / 64.0).sqrt();
            close(&found["test_error_uncertainty"], &uncertainty.into(), 1e-6);
        }
        for (point, model) in rows("points").iter().zip(rows("models")).take(2) {
            for what in ["x", "y"] {
                close(&point[what], &model[what], 1e-9);
            }
            for what in ["norm", "train_loss", "train_error", "test_loss", "test_error"] {
                assert_eq!(point[what], model[what], "{what}");
            }
        }
        assert_eq!(rows("points").len(), 4);
        assert_ne!(rows("points")[2]["test_loss"], rows("points")[0]["test_loss"]);
    }
}

#[test]
fn shared_and_resumed_pictures_are_those_of_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let small = ["--grid", "3", "--project"];
    let draw = |more: &[&str]| {
        let mut tool = plane(dir.path());
        tool.args(small).arg(snapshot(152)).args(more);
        tool
    };
    let files = ["-o", "plain.json", "--svg", "plain.svg", "--csv", "plain.csv"];
    draw(&files).assert().success();
    for i in ["0", "1", "2"] {
        draw(&["--shard", &format!("{i}/3"), "--save-points", &format!("part_{i}")])
            .assert()
            .success();
    }
    let merge = |parts: &[&str]| {
        let mut tool = swa_landscape();
        tool.current_dir(dir.path()).arg("merge").args(parts);
        tool.args(["-o", "merged.json", "--svg", "merged.svg", "--force"]);
        tool
    };
    merge(&["part_2", "part_0", "part_1"]).assert().success();
    assert_eq!(read(&path("merged.json")), read(&path("plain.json")));
    assert!(fs::read(path("merged.svg")).unwrap() == fs::read(path("plain.svg")).unwrap());
    fails(&mut merge(&["part_0", "part_1"]), 3, &["part 2/3 is missing"]);

    // Drawn again from the file alone: the same bytes.
    let mut again = swa_landscape();
    again.current_dir(dir.path()).args([
        "draw",
        "plain.json",
        "--svg",
        "again.svg",
        "--csv",
        "again.csv",
    ]);
    again.assert().success();
    for (a, b) in [("again.svg", "plain.svg"), ("again.csv", "plain.csv")] {
        assert!(fs::read(path(a)).unwrap() == fs::read(path(b)).unwrap(), "{a}");
    }
    // A header, four models, nine points.
    assert_eq!(fs::read_to_string(path("plain.csv")).unwrap().lines().count(), 14);

    // Ended after its first points, and gone on with.
    let mut tool = Command::new(binary("swa-landscape"));
    tool.current_dir(dir.path()).arg("plane").args([136, 192, 240].map(snapshot));
    tool.arg("--data").arg(fashion()).args(few()).args(small).arg(snapshot(152));
    tool.args(["-o", "resumed.json", "--resume", "state"])
        .stderr(Stdio::null())
        .stdout(Stdio::null());
    let mut child = tool.spawn().unwrap();
    let started = Instant::now();
    while !path("state").exists() && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    child.wait().unwrap();
    assert!(!path("resumed.json").exists());
    let output = draw(&["-o", "resumed.json", "--resume", "state"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("of 13 points"), "{said}");
    assert_eq!(read(&path("resumed.json")), read(&path("plain.json")));
    assert!(!path("state").exists());

    // Points of another picture.
    let mut other = draw(&["--shard", "2/3", "--save-points", "part_2", "--force"]);
    other.args(["--margin", "0.3"]).assert().success();
    fails(&mut merge(&["part_0", "part_1", "part_2"]), 3, &["of another pass"]);
}

#[test]
fn rays_are_the_same_for_all_models_and_reach_half_of_the_images() {
    let dir = tempfile::tempdir().unwrap();
    let rays = |models: &[PathBuf], more: &[&str]| {
        let mut tool = of("rays", dir.path(), models);
        json(tool.args(["--rays", "2", "--steps", "3"]).args(more))
    };
    // One model twice: what differs would be the direction.
    let twice = rays(&[snapshot(240), snapshot(240)], &["--to", "6", "--wd", "0.001"]);
    let points = twice["points"].as_array().unwrap();
    assert_eq!((points.len(), &twice["x"]), (12, &serde_json::json!([2.0, 4.0, 6.0])));
    for (a, b) in points[..3].iter().zip(&points[3..6]) {
        assert_eq!((&a["model"], &b["model"]), (&0.into(), &1.into()));
        for what in ["ray", "x", "norm", "train_loss", "test_error"] {
            assert_eq!(a[what], b[what], "{what}");
        }
    }
    assert_ne!(points[0]["train_loss"], points[6]["train_loss"]);
    // A random step is almost at right angles to the weights: their lengths add up as squares.
    let norm = |value: &Value| value["norm"].as_f64().unwrap();
    let expected = (norm(&twice["models"][0]).powi(2) + 36.0).sqrt();
    assert!((norm(&points[2]) - expected).abs() < 0.3, "{} {expected}", norm(&points[2]));
    let regularised = points[2]["train_loss"].as_f64().unwrap() + 0.0005 * norm(&points[2]).powi(2);
    close(&points[2]["train_regularised"], &regularised.into(), 1e-12);

    let found = rays(&[snapshot(240), fashion().join("sgd.safetensors")], &[]);
    for model in found["models"].as_array().unwrap() {
        assert!(model["half"].as_f64().unwrap() > 0.0, "{model}");
    }
    // In other units the same draws lead elsewhere.
    let lengths = rays(&[snapshot(240)], &["--to", "0.3", "--units", "norm"]);
    let step = 0.3 * norm(&lengths["models"][0]);
    let expected = (norm(&lengths["models"][0]).powi(2) + step * step).sqrt();
    assert!((norm(&lengths["points"][2]) - expected).abs() < 0.3);
    let filters = rays(&[snapshot(240)], &["--to", "0.3", "--units", "filter"]);
    assert_eq!(filters["units"], "filter");
    assert_ne!(filters["points"][2]["norm"], lengths["points"][2]["norm"]);
}

/// A network without batchnorm layers: nothing is recomputed, and that is said.
#[test]
fn networks_without_batchnorm_have_landscapes() {
    let dir = tempfile::tempdir().unwrap();
    let features = [(0, 1, 4), (2, 4, 4), (5, 4, 8), (7, 8, 8), (10, 8, 8), (12, 8, 8), (14, 8, 8)];
    let deep = [17, 19, 21, 24, 26, 28].map(|number| (number, 8, 8));
    let conv = |(number, inputs, outputs): (usize, usize, usize)| {
        let name = |part: &str| format!("features.{number}.{part}");
        [(name("weight"), vec![outputs, inputs, 3, 3]), (name("bias"), vec![outputs])]
    };
    let linear = |(number, outputs): (usize, usize)| {
        let name = |part: &str| format!("classifier.{number}.{part}");
        [(name("weight"), vec![outputs, 8]), (name("bias"), vec![outputs])]
    };
    let shapes: Vec<(String, Vec<usize>)> = features
        .into_iter()
        .chain(deep)
        .flat_map(conv)
        .chain([(1, 8), (4, 8), (6, 10)].into_iter().flat_map(linear))
        .collect();
    let write = |file: &str| {
        let path = dir.path().join(file);
        let bytes: Vec<Vec<u8>> =
            shapes.iter().map(|(name, shape)| formula(&format!("{file}.{name}"), shape)).collect();
        let views = shapes.iter().zip(&bytes).map(|((name, shape), bytes)| {
            (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
        });
        safetensors::serialize_to_file(views, None, &path).unwrap();
        path
    };
    let models = [write("a.safetensors"), write("b.safetensors")];
    let mut tool = of("line", dir.path(), &models);
    let output = tool.args(["--resize", "32", "--points", "3", "--json"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("no batchnorm layers"), "{said}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["batchnorm"], &found["bn_images"]), (&"none".into(), &0.into()));
    assert_eq!(found["points"].as_array().unwrap().len(), 3);
}

#[test]
fn what_makes_no_picture_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let out = ["--svg", "out.svg"];
    let (a, b) = (snapshot(136), snapshot(240));
    swa_avg().arg(&a).arg(&b).arg("-o").arg(path("middle.safetensors")).assert().success();
    let line = [a.clone(), b.clone(), path("middle.safetensors")];
    let parts = ["middle.safetensors", "that is no plane"];
    fails(of("plane", dir.path(), &line).args(out), 3, &parts);
    let twice = [a.clone(), b.clone(), a.clone()];
    fails(of("plane", dir.path(), &twice).args(out), 3, &["that is no plane"]);
    let twice = [a.clone(), a.clone()];
    fails(of("line", dir.path(), &twice).args(out), 3, &["has the weights of"]);

    // Tensors of another shape, and another network altogether.
    colour_model(&path("colour.safetensors"));
    let other = [a.clone(), path("colour.safetensors")];
    let parts = ["colour.safetensors", "`conv1.weight` [16, 3, 3, 3]", "[16, 1, 3, 3]"];
    fails(of("rays", dir.path(), &other).args(out), 3, &parts);
    let mut tool = plane(dir.path());
    tool.arg("--project").arg(path("colour.safetensors")).args(out);
    fails(&mut tool, 3, &parts);

    fails(&mut plane(dir.path()), 2, &["nothing would keep what is found"]);
    fails(plane(dir.path()).args(out).args(["--grid", "1"]), 2, &["two points"]);
    fails(plane(dir.path()).args(out).args(["--grid", "100000"]), 6, &["more than 1000000 points"]);
    fails(plane(dir.path()).args(out).args(["--margin=-1"]), 2, &["--margin -1"]);
    fails(plane(dir.path()).args(out).args(["--wd", "nan"]), 2, &["--wd NaN"]);
    fails(
        plane(dir.path()).args(out).args(["--precision", "bf16"]),
        2,
        &["possible values: fp32, tf32"],
    );
    fs::write(path("out.svg"), "mine").unwrap();
    fails(plane(dir.path()).args(out), 2, &["out.svg"]);
    assert_eq!(fs::read_to_string(path("out.svg")).unwrap(), "mine");

    let draw = |text: &str| {
        fs::write(path("report.json"), text).unwrap();
        let mut tool = swa_landscape();
        tool.current_dir(dir.path()).args(["draw", "report.json", "--svg", "new.svg"]);
        tool
    };
    fails(&mut draw("{}"), 3, &["report.json", "is not what swa-landscape writes"]);
    fails(&mut draw("no JSON"), 3, &["report.json"]);
}

/// The logs of training runs as a picture.
#[test]
fn learning_curves_are_drawn_from_logs() {
    let dir = tempfile::tempdir().unwrap();
    let results = dir.path().join("run/results");
    fs::create_dir_all(&results).unwrap();
    let line = |epoch: usize| {
        let score = |loss: f64| serde_json::json!({ "loss": loss, "accuracy": 1.0 - loss / 10.0 });
        let at = epoch as f64;
        let mut swa = Value::Null;
        if epoch >= 6 {
            swa = score(0.2 / at);
            swa["snapshots"] = (epoch - 5).into();
        }
        serde_json::json!({
            "epoch": epoch, "lr": 0.05, "train": score(1.0 / at), "model": score(1.2 / at),
            "swa": swa, "images_per_second": 100.0
        })
        .to_string()
    };
    let text: String = (1..=8).map(|epoch| line(epoch) + "\n").collect();
    fs::write(results.join("log.jsonl"), text).unwrap();
    let curves = |arguments: &[&str]| {
        let mut tool = swa_landscape();
        tool.current_dir(dir.path()).arg("curves").args(arguments).args(["--svg", "curves.svg"]);
        tool
    };
    curves(&["run"]).assert().success();
    let svg = fs::read_to_string(dir.path().join("curves.svg")).unwrap();
    assert!(svg.contains(">run</text>") && svg.contains(">averaging</text>"), "{svg}");
    curves(&["run/results/log.jsonl", "--force"]).assert().success();
    assert!(fs::read_to_string(dir.path().join("curves.svg")).unwrap() == svg);
    insta::assert_snapshot!("curves", svg);
    fs::write(results.join("log.jsonl"), "{}\n").unwrap();
    fails(&mut curves(&["run", "--force"]), 3, &["log.jsonl", "line 1 is no epoch"]);
}

/// Pictures of reports that were made up, so that they are the same everywhere.
#[test]
fn pictures_are_those_that_were_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let model = |name: &str, at: Option<[f64; 3]>, norm: f64, error: f64| {
        serde_json::json!({
            "model": format!("run/{name}.safetensors"),
            "x": at.map(|at| at[0]), "y": at.map(|at| at[1]), "off": at.map(|at| at[2]),
            "norm": norm, "train_loss": error / 30.0, "train_error": error / 2.0,
            "train_regularised": null, "test_loss": error / 20.0, "test_error": error,
            "test_error_uncertainty": 0.5, "error_difference": null,
            "error_difference_uncertainty": null, "loss_difference": null,
            "loss_difference_uncertainty": null, "half": null, "half_deviation": null,
        })
    };
    let point = |model: Option<usize>, ray: Option<usize>, x: f64, y: Option<f64>, error: f64| {
        let overflows = error > 90.0;
        let known = |value: f64| if overflows { Value::Null } else { value.into() };
        serde_json::json!({
            "model": model, "ray": ray, "x": x, "y": y, "norm": 20.0,
            "train_loss": known(error / 30.0), "train_error": known(error / 2.0),
            "train_regularised": null, "test_loss": known(error / 20.0), "test_error": known(error),
        })
    };
    let report = |kind: &str, models: Vec<Value>, x: &[f64], y: &[f64], points: Vec<Value>| {
        let is_rays = kind == "rays";
        serde_json::json!({
            "schema": 1, "kind": kind, "arch": "preresnet-8", "parameters": 78042,
            "models": models, "x": x, "y": y, "rays": if is_rays { 2 } else { 0 },
            "units": is_rays.then_some("norm"), "batchnorm": "recompute", "bn_images": 2000,
            "train_images": 2000, "test_images": 2000, "seed": 0, "weight_decay": null,
            "transform": {}, "augmentation": null, "version": "0.1.0", "points": points,
            "seconds": 1.0,
        })
    };
    let draw = |name: &str, report: Value| {
        fs::write(dir.path().join("report.json"), report.to_string()).unwrap();
        let mut tool = swa_landscape();
        tool.current_dir(dir.path()).args(["draw", "report.json", "--svg", "out.svg", "--force"]);
        tool.assert().success();
        insta::assert_snapshot!(name, fs::read_to_string(dir.path().join("out.svg")).unwrap());
    };

    let (x, y) = ([-1.0, 1.0, 3.0, 5.0, 7.0], [-1.0, 1.0, 3.0, 5.0]);
    let bowl = |x: f64, y: f64| 6.0 + 2.0 * (x - 3.0).powi(2) + 4.0 * (y - 2.0).powi(2);
    let all = y.iter().flat_map(|&y| x.iter().map(move |&x| (x, y)));
    let points = all.map(|(x, y)| point(None, None, x, Some(y), bowl(x, y))).collect();
    let models = vec![
        model("ckpt_1", Some([0.0, 0.0, 0.0]), 20.0, bowl(0.0, 0.0)),
        model("ckpt_2", Some([6.0, 0.0, 0.0]), 20.0, bowl(6.0, 0.0)),
        model("ckpt_3", Some([2.0, 4.0, 0.0]), 20.0, bowl(2.0, 4.0)),
        model("swa", Some([2.7, 1.4, 0.8]), 18.0, 6.1),
    ];
    draw("plane", report("plane", models.clone(), &x, &y, points));

    let points = x.iter().map(|&x| point(None, None, x, None, bowl(x, 0.0))).collect();
    draw("line", report("line", models[..2].to_vec(), &x, &[], points));

    let distances = [0.1, 0.2, 0.3];
    let rays = (0..2).flat_map(|ray| (0..2).map(move |model| (ray, model)));
    let points = rays.flat_map(|(ray, model)| {
        let steep = 700.0 + 100.0 * ray as f64 + 300.0 * model as f64;
        distances.map(|t| point(Some(model), Some(ray), t, None, 6.0 + steep * t * t))
    });
    let models = vec![model("swa", None, 18.0, 6.0), model("sgd", None, 21.0, 6.5)];
    draw("rays", report("rays", models, &distances, &[], points.collect()));
}
