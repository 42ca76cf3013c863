//! swa-eval in depth: its figures are those of SciPy, scikit-learn and statsmodels, and its files say the
//! same as its logits.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json as object};
use swa_data::Batch;
use swa_testing::data_tools::*;
use swa_testing::*;
use swa_torch::evaluate::*;
use swa_torch::report::*;

/// Written by fixtures/evaluation/make.py.
fn golden() -> Value {
    let text = fs::read(fixtures().join("evaluation/golden.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn close(what: &str, found: f64, expected: f64) {
    let error = (found - expected).abs();
    assert!(error <= 1e-10 * expected.abs().max(1e-3), "{what}: {found}, expected {expected}");
}

/// The golden logits, through the collector in batches, with an ensemble of all.
fn collected(golden: &Value, competing: Option<Vec<u32>>) -> Evaluation {
    let labels: Vec<usize> = numbers(&golden["labels"]).iter().map(|&x| x as usize).collect();
    let logits: Vec<Vec<f32>> =
        golden["logits"].as_array().unwrap().iter().map(numbers32).collect();
    let classes = logits[0].len() / labels.len();
    let members = (0..logits.len()).collect();
    let options = CollectOptions { ensemble: Some(members), top: true, competing };
    let mut collector = Collector::new(logits.len(), classes, options, None);
    for start in (0..labels.len()).step_by(50) {
        let labels = labels[start..].iter().take(50).copied().collect::<Vec<_>>();
        let n = labels.len();
        let indices = (start..start + n).collect();
        let (height, width, channels) = (1, 1, 1);
        let (pixels, number, skipped) = (vec![0; n], start / 50, vec![]);
        let batch = Batch { pixels, n, height, width, channels, indices, labels, number, skipped };
        let first = collector.open(&batch);
        for (i, logits) in logits.iter().enumerate() {
            collector.add(i, first, logits[start * classes..][..n * classes].to_vec()).unwrap();
        }
        collector.close().unwrap();
    }
    collector.finish().unwrap().0
}

fn numbers32(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|x| x as f32).collect()
}

#[test]
fn figures_are_those_of_scikit_learn_and_scipy() {
    let golden = golden();
    let evaluation = collected(&golden, None);
    let classes = ClassList::new((0..8).collect(), None, 8);
    let expected = golden["models"].as_array().unwrap().iter().chain([&golden["ensemble"]]);
    let mut count = 0;
    for (record, expected) in evaluation.records().zip(expected) {
        let tally = Tally::of(&record.outcomes);
        assert_eq!(tally.correct() as u64, expected["correct"].as_u64().unwrap());
        close("top5", tally.top5(), expected["top5"].as_f64().unwrap());
        close("nll", tally.nll(), expected["nll"].as_f64().unwrap());
        close("ece", tally.ece(), expected["ece"].as_f64().unwrap());
        let bins: Vec<f64> = tally.bins().iter().map(|bin| bin.n as f64).collect();
        assert_eq!(bins, numbers(&expected["bins"]));
        let counts = per_class(&evaluation.labels, record, &classes);
        for (count, recall) in counts.iter().zip(numbers(&expected["recall"])) {
            close("recall", count.correct as f64 / count.n.max(1) as f64, recall);
        }
        assert_eq!(counts[7], ClassCount::default());
        let matrix = confusion(&evaluation.labels, record, &classes);
        let rows = expected["confusion"].as_array().unwrap();
        let full: HashMap<_, _> = (0..64)
            .map(|i| ((i / 8, Some(i % 8)), rows[i / 8][i % 8].as_u64().unwrap() as usize))
            .filter(|(_, n)| *n > 0)
            .collect();
        assert_eq!(matrix, full);
        let best = expected["best"].as_array().unwrap();
        assert_eq!(best.len(), record.top.len());
        for ((output, p), expected) in record.top.iter().zip(best) {
            assert_eq!(*output as u64, expected[0].as_u64().unwrap());
            assert_eq!(*p, expected[1].as_f64().unwrap() as f32);
        }
        count += 1;
    }
    assert_eq!(count, 4);
}

#[test]
fn outputs_that_do_not_compete_are_as_if_they_were_not_there() {
    let golden = golden();
    let expected = &golden["restricted"];
    let outputs = numbers(&expected["outputs"]).iter().map(|&x| x as u32).collect();
    let evaluation = collected(&golden, Some(outputs));
    let record = &evaluation.models[0];
    let tally = Tally::of(&record.outcomes);
    assert_eq!(tally.correct() as u64, expected["correct"].as_u64().unwrap());
    close("nll", tally.nll(), expected["nll"].as_f64().unwrap());
    for (outcome, expected) in record.outcomes.iter().zip(numbers(&expected["confidence"])) {
        close("confidence", outcome.confidence, expected);
    }
    // Three that compete: no more are among the best.
    let evaluation = collected(&golden, Some((0..7).collect()));
    assert!(evaluation.records().all(|record| record.top.iter().all(|(output, _)| *output != 7)));
}

#[test]
fn intervals_and_tests_are_those_of_statsmodels_and_scipy() {
    let golden = golden();
    for row in golden["wilson"].as_array().unwrap() {
        let row = numbers(row);
        let (low, high) = wilson(row[0] as usize, row[1] as usize);
        close("low", low, row[2]);
        close("high", high, row[3]);
    }
    let relative = |what: String, found: f64, expected: f64| {
        assert!((found / expected - 1.0).abs() < 1e-9, "{what}: {found}, expected {expected}");
    };
    for row in golden["mcnemar"].as_array().unwrap().iter().map(numbers) {
        let (first, second) = (row[0] as u64, row[1] as u64);
        for test in [McNemar { first, second }, McNemar { first: second, second: first }] {
            relative(format!("{test:?}"), test.p(), row[2]);
        }
    }
    for row in golden["ln_mcnemar"].as_array().unwrap().iter().map(numbers) {
        let test = McNemar { first: row[0] as u64, second: row[1] as u64 };
        relative(format!("{test:?}"), test.ln_p(), row[2]);
        assert!(test.p() < 1e-200);
    }
    let evaluation = collected(&golden, None);
    let first = &evaluation.models[0].outcomes;
    let others = &evaluation.models[1..];
    for (other, expected) in others.iter().zip(golden["against_first"].as_array().unwrap()) {
        let test = McNemar::of(first, &other.outcomes);
        let expected = numbers(expected);
        assert_eq!((test.first as f64, test.second as f64), (expected[0], expected[1]));
        relative("against the first".into(), test.p(), expected[2]);
    }
}

#[test]
fn extremes_have_finite_figures() {
    let outcome =
        |top1, confidence, nll| Outcome { predicted: 0, top1, top5: top1, nll, confidence };
    for n in [1, 2, 1000] {
        let right = Tally::of(&vec![outcome(true, 1.0, 0.0); n]);
        assert_eq!((right.top1(), right.ece(), right.nll()), (1.0, 0.0, 0.0));
        assert_eq!(right.interval().1, 1.0);
        let wrong = Tally::of(&vec![outcome(false, 1.0, 50.0); n]);
        assert_eq!((wrong.top1(), wrong.ece(), wrong.interval().0), (0.0, 1.0, 0.0));
    }
    let (all, none) = (vec![outcome(true, 1.0, 0.0); 3000], vec![outcome(false, 1.0, 1.0); 3000]);
    let test = McNemar::of(&all, &none);
    assert_eq!((test.first, test.second, test.p()), (3000, 0, 0.0));
    close("ln p", test.ln_p(), -2999.0 * std::f64::consts::LN_2);
    assert_eq!(McNemar::of(&all, &all).p(), 1.0);
}

fn fashion() -> PathBuf {
    fixtures().join("fashion-mnist")
}

fn model(name: &str) -> PathBuf {
    fashion().join(name)
}

/// swa-eval on 400 images.
fn eval(models: &[PathBuf]) -> assert_cmd::Command {
    let mut command = swa_eval();
    command.args(models).args(["--preset", "fashion-mnist", "--samples", "400", "--data"]);
    command.arg(fashion());
    command
}

/// A CSV file: its rows by column.
fn table(path: &Path) -> Vec<BTreeMap<String, String>> {
    let mut csv = csv::Reader::from_path(path).unwrap();
    csv.deserialize().map(|row| row.unwrap()).collect()
}

#[test]
fn the_files_say_what_the_logits_say() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let models = [model("sgd.safetensors"), model("ckpt_0240.safetensors")];
    let mut command = eval(&models);
    for (flag, file) in [
        ("--per-class", "classes.csv"),
        ("--confusion", "confusion.csv"),
        ("--predictions", "predictions.csv"),
        ("--reliability", "reliability.svg"),
        ("--logits", "logits.safetensors"),
    ] {
        command.arg(flag).arg(path(file));
    }
    let report = json(command.arg("--ensemble"));
    let file = load(&path("logits.safetensors"));
    let labels: Vec<usize> = file["labels"].chunks_exact(8).map(|b| b[0] as usize).collect();
    let logits = to_f32(&file["logits"]);
    assert_eq!((labels.len(), logits.len()), (400, 8000));
    let softmax: Vec<Vec<f64>> = logits.chunks(10).map(softmax).collect();
    let mean = (0..400).map(|i| {
        softmax[i].iter().zip(&softmax[400 + i]).map(|(a, b)| (a + b) / 2.0).collect::<Vec<f64>>()
    });
    let rows: Vec<Vec<f64>> = softmax.iter().cloned().chain(mean).collect();
    let best = |row: &Vec<f64>| (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();

    let [classes, confusion, predictions] =
        ["classes.csv", "confusion.csv", "predictions.csv"].map(|name| table(&path(name)));
    assert_eq!((classes.len(), confusion.len(), predictions.len()), (30, 30, 1200));
    let titles =
        [&models[0].display().to_string(), &models[1].display().to_string(), "ensemble of 2"];
    for (m, title) in titles.iter().enumerate() {
        let rows = &rows[m * 400..][..400];
        for class in 0..10 {
            let (count, matrix) = (&classes[m * 10 + class], &confusion[m * 10 + class]);
            let predicted = |p| {
                let is = |(row, &label): (&Vec<f64>, &usize)| label == class && best(row) == p;
                rows.iter().zip(&labels).filter(|pair| is(*pair)).count().to_string()
            };
            assert_eq!(
                (&count["model"], &matrix["model"]),
                (&title.to_string(), &title.to_string())
            );
            assert_eq!(
                (&count["class"], &matrix["true"]),
                (&class.to_string(), &class.to_string())
            );
            assert_eq!((&count["output"], &count["name"][..]), (&class.to_string(), ""));
            let n = labels.iter().filter(|&&label| label == class).count();
            assert_eq!((&count["n"], &count["correct"]), (&n.to_string(), &predicted(class)));
            let share = 100.0 * count["correct"].parse::<f64>().unwrap() / n as f64;
            assert_eq!(count["top1"], format!("{share:.4}"));
            for p in 0..10 {
                assert_eq!(matrix[&p.to_string()], predicted(p));
            }
        }
    }
    for (i, row) in predictions.iter().enumerate() {
        let (image, m) = (i / 3, i % 3);
        assert_eq!(row["model"], titles[m]);
        assert!(row["file"].starts_with("`t10k-images-idx3-ubyte.gz` #"), "{row:?}");
        assert_eq!(row["label"], labels[image].to_string());
        let expected = &rows[m * 400 + image];
        let mut order: Vec<usize> = (0..10).collect();
        order.sort_by(|&a, &b| expected[b].total_cmp(&expected[a]));
        for (k, class) in order.iter().take(5).enumerate() {
            let p: f64 = row[&format!("p{}", k + 1)].parse().unwrap();
            assert!((p - expected[*class]).abs() < 1e-6, "{row:?}");
            // f32 may make two of the smallest equal.
            if expected[*class] > 1e-6 {
                assert_eq!(row[&format!("class{}", k + 1)], class.to_string());
            }
        }
    }
    let svg = fs::read_to_string(path("reliability.svg")).unwrap();
    assert_eq!(svg.matches("<g transform").count(), 3);
    for row in report["models"].as_array().unwrap().iter().chain([&report["ensemble"]]) {
        let (ece, top1) = (row["ece"].as_f64().unwrap(), row["top1"].as_f64().unwrap());
        assert!(svg.contains(&format!("ece {ece:.4}, top-1 {top1:.2} %, n = 400")), "{row}");
    }
    assert_eq!(listing(dir.path()).len(), 5);
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let e: Vec<f64> = logits.iter().map(|&z| (z as f64).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.into_iter().map(|x| x / sum).collect()
}

/// An ImageFolder of some Fashion-MNIST images, as grey PNG files: `names[i]` holds those of class `i`.
fn folder(dir: &Path, names: &[&str], each: usize) {
    use std::io::Read;
    let read = |name: &str| {
        let file = fs::File::open(fashion().join(name)).unwrap();
        let mut bytes = vec![];
        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
        bytes
    };
    let (images, labels) = (read("t10k-images-idx3-ubyte.gz"), read("t10k-labels-idx1-ubyte.gz"));
    for (class, name) in names.iter().enumerate() {
        fs::create_dir_all(dir.join(name)).unwrap();
        let of_class =
            labels[8..].iter().enumerate().filter(|(_, label)| **label as usize == class);
        for (i, _) in of_class.take(each) {
            let file = fs::File::create(dir.join(name).join(format!("{i}.png"))).unwrap();
            let mut encoder = png::Encoder::new(file, 28, 28);
            encoder.set_color(png::ColorType::Grayscale);
            let mut writer = encoder.write_header().unwrap();
            writer.write_image_data(&images[16 + i * 784..][..784]).unwrap();
        }
    }
}

fn on_folder(data: &Path) -> assert_cmd::Command {
    let mut command = swa_eval();
    command.arg(model("sgd.safetensors")).args(["--preset", "fashion-mnist", "--data"]).arg(data);
    command
}

const NAMES: [&str; 10] = [
    "T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot",
];

#[test]
fn a_class_map_serves_subsets_and_other_orders() {
    let dir = tempfile::tempdir().unwrap();
    let (data, map) = (dir.path().join("data"), dir.path().join("map.json"));
    folder(&data, &NAMES, 40);
    let ids: BTreeMap<&str, usize> = NAMES.iter().zip(0..).map(|(name, i)| (*name, i)).collect();
    fs::write(&map, serde_json::to_vec(&ids).unwrap()).unwrap();
    let (per_class, confusion) = (dir.path().join("classes.csv"), dir.path().join("confusion.csv"));
    let run = |extra: &[&str]| {
        let mut command = on_folder(&data);
        command.args(["--force", "--per-class"]).arg(&per_class);
        json(command.arg("--confusion").arg(&confusion).args(extra))
    };
    let flag = ["--class-map", map.to_str().unwrap()];
    // Folders are sorted by name, the head is not: without the map most is wrong.
    assert!(run(&[])["models"][0]["top1"].as_f64().unwrap() < 50.0);
    let whole = run(&flag);
    assert!(whole["models"][0]["top1"].as_f64().unwrap() > 80.0);
    assert_eq!(
        whole["class_map"],
        object!({
            "file": map.display().to_string(), "classes": 10, "left_out": 0, "restrict": false
        })
    );
    let classes = table(&per_class);
    let of = |name: &str| classes.iter().find(|row| row["name"] == name).unwrap().clone();
    assert_eq!((&of("Bag")["class"][..], &of("Bag")["output"][..]), ("0", "8"));
    assert_eq!(classes.len(), 10);

    // Some of the classes: the same outcomes class by class, with a column for the other outputs.
    for gone in ["Shirt", "Coat", "Boot", "Bag"] {
        fs::remove_dir_all(data.join(gone)).unwrap();
    }
    let some = run(&flag);
    assert_eq!(some["models"][0]["n"], 240);
    for row in table(&per_class) {
        assert_eq!(row["correct"], of(&row["name"])["correct"], "{row:?}");
    }
    let others: usize =
        table(&confusion).iter().map(|row| row["(other)"].parse::<usize>().unwrap()).sum();
    assert!(others > 0);
    // Where those do not compete, nothing is taken for them and more is right.
    let restricted = run(&[&flag[..], &["--class-map-restrict"]].concat());
    assert!(table(&confusion).iter().all(|row| row["(other)"] == "0"));
    let correct = |report: &Value| report["models"][0]["correct"].as_u64().unwrap();
    assert!(correct(&restricted) > correct(&some));
    assert_eq!(restricted["class_map"]["restrict"], true);
}

#[test]
fn faults_of_a_class_map_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (data, map) = (dir.path().join("data"), dir.path().join("map.txt"));
    folder(&data, &NAMES[..3], 2);
    // Without a map: the error says what helps.
    fails(&mut on_folder(&data), 3, &["the data has 3 classes", "has 10", "--class-map"]);
    let refused = |text: &str, parts: &[&str]| {
        fs::write(&map, text).unwrap();
        fails(on_folder(&data).arg("--class-map").arg(&map), 3, parts);
    };
    refused(
        "T-shirt 0\nTrouser 1\n",
        &["map.txt", "1 class(es) of the data have no entry", "`Pullover`"],
    );
    refused(
        "T-shirt 0\nTrouser 1\nPullover 0\n",
        &["`Pullover` and `T-shirt` both have the output 0"],
    );
    refused("T-shirt 0\nTrouser 1\nPullover 10\n", &["class `Pullover`: output 10", "has 10"]);
    refused("T-shirt 0\nTrouser 1\nPullover two\n", &["`Pullover two`"]);
    fails(on_folder(&data).arg("--class-map-restrict"), 2, &["--class-map <FILE>"]);
    // Left out, it is not missed; the batchnorm tool takes the map as well.
    fs::write(&map, "T-shirt 0\nTrouser -\nPullover 2\n").unwrap();
    let report = json(on_folder(&data).arg("--class-map").arg(&map));
    assert_eq!(
        (&report["models"][0]["n"], &report["class_map"]["left_out"]),
        (&4.into(), &1.into())
    );
    let out = dir.path().join("out.safetensors");
    let mut update = swa_bn_update();
    update.arg(model("sgd.safetensors")).args(["--preset", "fashion-mnist", "--data"]).arg(&data);
    update.arg("--class-map").arg(&map).arg("-o").arg(out).assert().success();
}

#[test]
fn names_are_quoted_and_control_characters_escaped() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut names = NAMES.map(String::from);
    names[0] = "T-shirt, \"top\"".into();
    names[1] = "Trou\nser\u{1b}[2J".into();
    folder(&data, &names.each_ref().map(|name| &name[..]), 1);
    let files = ["a.csv", "b.csv", "c.csv", "d.svg"].map(|name| dir.path().join(name));
    let mut command = on_folder(&data);
    for (flag, file) in
        ["--per-class", "--confusion", "--predictions", "--reliability"].iter().zip(&files)
    {
        command.arg(flag).arg(file);
    }
    json(&mut command);
    for file in &files {
        let bytes = fs::read(file).unwrap();
        assert!(bytes.iter().all(|&b| b >= b' ' || b == b'\n'), "{file:?}");
    }
    let escaped = "Trou\\nser\\u{1b}[2J";
    assert!(table(&files[0]).iter().any(|row| row["name"] == escaped));
    assert!(table(&files[0]).iter().any(|row| row["name"] == names[0]));
    assert!(table(&files[1])[0].contains_key(&names[0]));
    let predictions = table(&files[2]);
    assert_eq!(predictions.len(), 10);
    assert!(
        predictions
            .iter()
            .any(|row| row["label"] == escaped && row["file"].starts_with(&format!("{escaped}/")))
    );
}

#[test]
fn images_that_are_left_out_are_in_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    folder(&data, &NAMES, 3);
    let bad = fs::read_dir(data.join("Bag")).unwrap().next().unwrap().unwrap().path();
    fs::write(&bad, "no image").unwrap();
    let [logits, predictions] = ["logits.safetensors", "p.csv"].map(|name| dir.path().join(name));
    let mut command = on_folder(&data);
    command.args(["--allow-bad", "1", "--batch-size", "4", "--logits"]).arg(&logits);
    let report = json(command.arg("--predictions").arg(&predictions));
    assert_eq!(report["models"][0]["n"], 29);
    let file = load(&logits);
    assert_eq!((file["labels"].len(), file["logits"].len()), (29 * 8, 29 * 40));
    swa_avg().arg("--verify").arg(&logits).assert().success();
    let rows = table(&predictions);
    assert_eq!(rows.len(), 29);
    for (row, (label, logits)) in
        rows.iter().zip(file["labels"].chunks_exact(8).zip(to_f32(&file["logits"]).chunks(10)))
    {
        let mut sorted = NAMES;
        sorted.sort();
        assert_eq!(row["label"], sorted[label[0] as usize]);
        let best = (0..10).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        assert_eq!(row["class1"], sorted[best]);
    }
}

#[test]
fn files_are_checked_before_the_pass() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let models = [model("sgd.safetensors")];
    for flag in ["--per-class", "--confusion", "--predictions", "--reliability", "--logits"] {
        fs::write(path("old"), "old").unwrap();
        fails(eval(&models).arg(flag).arg(path("old")), 2, &["exists already", "--force"]);
        fails(eval(&models).arg(flag).arg(path("no/x")), 2, &["its folder does not exist"]);
        fails(eval(&models).arg(flag).arg(dir.path()), 2, &["is a folder"]);
        assert_eq!(fs::read(path("old")).unwrap(), b"old");
    }
    let mut twice = eval(&models);
    twice.arg("--per-class").arg(path("a.csv")).arg("--confusion").arg(path("./a.csv"));
    fails(&mut twice, 2, &["--per-class and --confusion name the same file"]);
    assert_eq!(listing(dir.path()), ["old"]);
    eval(&models).arg("--force").arg("--confusion").arg(path("old")).assert().success();
    assert_ne!(fs::read(path("old")).unwrap(), b"old");
}

#[test]
fn the_table_has_short_names_and_json_whole_ones() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("a-rather-long-name-of-a-run-that-someone-chose".repeat(2));
    fs::create_dir(&long).unwrap();
    let models: Vec<PathBuf> =
        (0..20).map(|i| long.join(format!("seed_{i}.safetensors"))).collect();
    for path in &models {
        fs::copy(model("sgd.safetensors"), path).unwrap();
    }
    let mut command = swa_eval();
    command.args(&models).args(["--preset", "fashion-mnist", "--samples", "50", "--data"]);
    let output = command.arg(fashion()).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let rows: Vec<&str> =
        text.lines().filter(|line| line.trim_start().starts_with("seed_")).collect();
    assert_eq!(rows.len(), 20, "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 100), "{text}");
}

#[test]
fn guessing_is_remarked_upon() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    // The order of the names is the head's backwards.
    let names: Vec<String> = (0..10).rev().map(|i| format!("class{i}")).collect();
    folder(&data, &names.iter().map(|name| &name[..]).collect::<Vec<_>>(), 12);
    let output = on_folder(&data).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("no better than guessing among 10 classes"), "{stderr}");
    let stderr = String::from_utf8(eval(&[model("sgd.safetensors")]).output().unwrap().stderr);
    assert!(!stderr.unwrap().contains("guessing"));
}

#[test]
fn models_that_take_turns_give_the_same_files() {
    let dir = tempfile::tempdir().unwrap();
    let models =
        ["sgd", "ckpt_0232", "ckpt_0240"].map(|name| model(&format!("{name}.safetensors")));
    let names = ["classes.csv", "confusion.csv", "p.csv", "r.svg", "logits.safetensors"];
    let run = |name: &str, extra: &[&str]| {
        let folder = dir.path().join(name);
        fs::create_dir(&folder).unwrap();
        let flags = ["--per-class", "--confusion", "--predictions", "--reliability", "--logits"];
        let mut command = eval(&models);
        for (flag, name) in flags.iter().zip(names) {
            command.arg(flag).arg(folder.join(name));
        }
        command.args(["--ensemble=ckpt*", "--batch-size", "64", "--threads", "1"]).args(extra);
        let report = json(&mut command);
        let files = names.map(|name| fs::read(folder.join(name)).unwrap());
        (report["models"].clone(), report["ensemble"].clone(), files)
    };
    let all = run("all", &[]);
    assert_eq!(all, run("one", &["--models-at-once", "1"]));
    assert_eq!(all, run("two", &["--models-at-once", "2"]));
    fails(eval(&models).args(["--models-at-once", "0"]), 2, &["--models-at-once"]);
}

/// Each on some of the images, in a folder that looks like the repository.
#[test]
fn the_documented_commands_work() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(fixtures(), dir.path().join("fixtures")).unwrap();
    fs::create_dir(dir.path().join("target")).unwrap();
    let root = swa_testing::root();
    let text = fs::read_to_string(root.join("docs/evaluation.md")).unwrap();
    let commands = text.lines().filter_map(|line| line.strip_prefix("    swa-eval "));
    let commands: Vec<&str> = commands.filter(|line| line.contains("fixtures/")).collect();
    assert!(commands.len() > 5);
    for command in commands {
        let words = command.split(' ').map(|word| word.replace('\'', ""));
        let mut tool = swa_eval();
        tool.current_dir(dir.path()).args(words).args(["--samples", "64"]).assert().success();
    }
    assert_eq!(listing(&dir.path().join("target")).len(), 5);
}

/// New statistics help where statistics are not finite, and not where a weight is none.
#[test]
fn a_weight_that_is_not_finite_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = fs::read(model("ckpt_0240.safetensors")).unwrap();
    let whole = safetensors::SafeTensors::deserialize(&file).unwrap();
    let with_nan = |end: &str| {
        let path = dir.path().join(format!("{end}.safetensors"));
        let name = whole.names().into_iter().filter(|name| name.ends_with(end)).min().unwrap();
        let mut bytes = whole.tensor(name).unwrap().data().to_vec();
        bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        let views = whole.tensors().into_iter().map(|(other, view)| {
            let (dtype, shape) = (view.dtype(), view.shape().to_vec());
            let data = if other == *name { &bytes[..] } else { view.data() };
            (other, safetensors::tensor::TensorView::new(dtype, shape, data).unwrap())
        });
        safetensors::serialize_to_file(views.collect::<Vec<_>>(), None, &path).unwrap();
        path
    };
    let parts = ["conv1.weight.safetensors", "tensor `", "has values that are not finite"];
    let said = fails(&mut eval(&[with_nan("conv1.weight")]), 3, &parts);
    assert!(!said.contains("swa-bn-update"), "{said}");
    let parts = ["its logits are not finite", "swa-bn-update"];
    fails(&mut eval(&[with_nan("running_var")]), 3, &parts);
}
