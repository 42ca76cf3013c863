//! Weighting schemes against formulas in exact fractions (`fixtures/schemes`), and several outputs of one run against
//! runs for each.

use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde_json::Value;
use swa_testing::*;
use swa_tools::Kind;
use swa_tools::schemes::{Profiles, Scheme, Snapshots, Weighted};
use swa_tools::select::Criteria;

fn golden() -> Value {
    let text = std::fs::read_to_string(fixtures().join("schemes/golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn names(n: usize) -> Vec<PathBuf> {
    (0..n).map(|i| format!("ckpt_{}", i + 1).into()).collect()
}

fn weighted(scheme: &str, paths: &[PathBuf], profiles: &Profiles) -> swa_tools::Result<Weighted> {
    let criteria = Criteria::default();
    let snapshots = Snapshots { paths, criteria: &criteria, profiles };
    Ok(scheme.parse::<Scheme>()?.weights(&snapshots)?.remove(0))
}

#[test]
fn weights_are_the_nearest_f64_of_what_the_formula_gives() {
    let golden = golden();
    let cases = golden["weights"].as_array().unwrap();
    for case in cases {
        let (scheme, n) = (case["scheme"].as_str().unwrap(), case["n"].as_u64().unwrap() as usize);
        let column = weighted(scheme, &names(n), &Profiles::default()).unwrap().column;
        let mut found = vec![None; n];
        for (&row, weight) in column.counting().iter().zip(column.coefficients().weights()) {
            found[row] = Some(*weight);
        }
        let number = |weight: &Value| weight.as_str().map(|text| text.parse().unwrap());
        let expected: Vec<Option<f64>> =
            case["weights"].as_array().unwrap().iter().map(number).collect();
        assert_eq!(found, expected, "{scheme} of {n}");
    }
    assert!(cases.len() > 70);
}

#[test]
fn means_are_the_exact_fractions_rounded_once() {
    let golden = golden();
    let dir = tempfile::tempdir().unwrap();
    let bits = |list: &Value| -> Vec<u32> {
        list.as_array().unwrap().iter().map(|bits| bits.as_u64().unwrap() as u32).collect()
    };
    for (i, values) in golden["values"].as_array().unwrap().iter().enumerate() {
        let values: Vec<f32> = bits(values).into_iter().map(f32::from_bits).collect();
        save(&dir.path().join(format!("ckpt_{i}.safetensors")), &[f32s("w", &values)]);
    }
    let means = golden["means"].as_object().unwrap();
    let mut all = swa_avg();
    all.current_dir(&dir).arg("ckpt_*");
    for (i, scheme) in means.keys().enumerate() {
        all.args(["-o", &format!("{scheme}=out_{i}.safetensors")]);
    }
    all.assert().success();
    for (i, (scheme, expected)) in means.iter().enumerate() {
        let found = to_f32(&load(&dir.path().join(format!("out_{i}.safetensors")))["w"]);
        let found: Vec<u32> = found.into_iter().map(f32::to_bits).collect();
        assert_eq!(found, bits(expected), "{scheme}");
    }
    assert_eq!(means.len(), 10);
    // Rounding the weights changes no mean of these.
    assert_eq!(golden["differing_from_ideal"], 0);
}

#[test]
fn posthoc_weights_are_the_solution() {
    let golden = golden();
    for case in golden["posthoc"].as_array().unwrap() {
        let stored: Vec<(u64, f64)> = (case["stored"].as_array().unwrap().iter())
            .map(|pair| (pair[0].as_u64().unwrap(), pair[1].as_f64().unwrap()))
            .collect();
        // As EDM2 names snapshots.
        let name =
            |(t, sigma): &(u64, f64)| format!("r/network-snapshot-{t:07}-{sigma:.3}.pkl").into();
        let paths: Vec<PathBuf> = stored.iter().map(name).collect();
        let mut sigmas: Vec<f64> = stored.iter().map(|(_, sigma)| *sigma).collect();
        sigmas.sort_by(f64::total_cmp);
        sigmas.dedup();
        let scheme = format!("posthoc-ema:{}", case["sigma"]);
        let profiles = Profiles { sigmas, times: None };
        let found = weighted(&scheme, &paths, &profiles).unwrap();
        let fit = found.fit.unwrap();
        let expected = case["weights"].as_array().unwrap().iter().map(|w| w.as_f64().unwrap());
        let mut shares = vec![0.0; stored.len()];
        for (&row, share) in
            found.column.counting().iter().zip(found.column.coefficients().shares())
        {
            shares[row] = share;
        }
        for (share, expected) in shares.iter().zip(expected) {
            let off = (share - expected).abs();
            assert!(off <= 1e-15 * fit.condition, "{}: {share} {expected}", case["case"]);
        }
        let misfit = case["misfit"].as_f64().unwrap();
        assert!((fit.misfit - misfit).abs() < 1e-6 && fit.condition < 1e7, "{fit:?}");
    }
}

/// Checkpoints of some types, with integers; `n` of them.
fn checkpoints(dir: &Path, n: usize) -> Vec<String> {
    let one = |i: usize| {
        let value = |k: usize| (((k * 7919 + i * 104_729) % 10_007) as f32 - 5000.0) / 3.0;
        let values: Vec<f32> = (0..5000).map(value).collect();
        let halves =
            |narrow: &dyn Fn(f32) -> [u8; 2]| values.iter().flat_map(|x| narrow(*x)).collect();
        let tensors = [
            f32s("a.weight", &values),
            (
                "b.weight",
                Dtype::BF16,
                vec![5000],
                halves(&|x| half::bf16::from_f32(x).to_le_bytes()),
            ),
            (
                "c.weight",
                Dtype::F16,
                vec![50, 100],
                halves(&|x| half::f16::from_f32(x).to_le_bytes()),
            ),
            ("d.weight", Dtype::F64, vec![1], f64::from(value(3)).to_le_bytes().to_vec()),
            i64s("steps", &[i as i64]),
        ];
        let name = format!("ckpt_{}.safetensors", i + 1);
        save(&dir.join(&name), &tensors);
        name
    };
    (0..n).map(one).collect()
}

#[test]
fn each_output_is_the_file_of_a_run_for_it_alone() {
    // Few enough to be added at once, and more.
    for n in [6, 20] {
        let dir = tempfile::tempdir().unwrap();
        let names = checkpoints(dir.path(), n);
        let schemes =
            ["mean", "ema:0.9", "window:4", "wsm:1-sqrt", "wsm:cosine", "wsm:linear", "ema:0.5"];
        let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
        let run = |args: &[&str]| {
            swa_avg().current_dir(&dir).args(args).assert().success();
        };
        let mut all = vec!["ckpt_*".to_string()];
        for (i, scheme) in schemes.iter().enumerate() {
            all.extend(["-o".to_string(), format!("{scheme}=all_{i}.pth")]);
        }
        all.extend(
            ["-o", "prefix=first_{n}.pth", "-o", "again.pth", "--scheme", "ema:0.25"]
                .map(String::from),
        );
        run(&all.iter().map(String::as_str).collect::<Vec<_>>());
        for (i, scheme) in schemes.iter().enumerate() {
            run(&["ckpt_*", "--scheme", scheme, "-o", "alone.pth", "--force"]);
            assert!(read("alone.pth") == read(&format!("all_{i}.pth")), "{scheme} of {n}");
        }
        run(&["ckpt_*", "--scheme", "ema:0.25", "-o", "alone.pth", "--force"]);
        assert!(read("alone.pth") == read("again.pth"));
        for m in 1..=n {
            let mut args: Vec<&str> = names[..m].iter().map(String::as_str).collect();
            args.extend(["-o", "alone.pth", "--force"]);
            run(&args);
            assert!(read("alone.pth") == read(&format!("first_{m}.pth")), "the first {m} of {n}");
        }
        run(&["ckpt_*", "--last", "4", "-o", "alone.pth", "--force"]);
        assert!(read("alone.pth") == read("all_2.pth"), "a window is the mean of the last");
        assert!(read("all_0.pth") == read("all_5.pth"), "linear decay is the plain mean");
        // A scheme is nothing but its weights.
        run(&["ckpt_*", "--scheme", "ema:0.9", "-o", "ema.safetensors"]);
        let record = &metadata(&dir.path().join("ema.safetensors"))["swa"];
        let weights = record.split("\"weights\":[").nth(1).unwrap().split(']').next().unwrap();
        run(&["ckpt_*", "--weights", weights, "-o", "weights.safetensors"]);
        assert!(read("ema.safetensors") == read("weights.safetensors"));
    }
}

#[test]
fn all_outputs_are_reported_and_the_first_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    checkpoints(dir.path(), 3);
    let json = |args: &[&str]| -> Value {
        let output =
            swa_avg().current_dir(&dir).arg("ckpt_*").args(args).arg("--json").output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let two = ["-o", "ema:0.75=ema.safetensors", "-o", "prefix=p_{n}.pth"];
    let planned = json(&[&two[..], &["--dry-run"]].concat());
    let written = json(&two);
    for (report, is_written) in [(&planned, false), (&written, true)] {
        assert_eq!((&report["schema"], &report["written"]), (&1.into(), &is_written.into()));
        let outputs = report["outputs"].as_array().unwrap();
        let of =
            |field: &str| outputs.iter().map(|output| output[field].clone()).collect::<Vec<_>>();
        assert_eq!(of("output"), ["ema.safetensors", "p_1.pth", "p_2.pth", "p_3.pth"]);
        assert_eq!(of("scheme"), ["ema:0.75", "prefix", "prefix", "prefix"]);
        assert_eq!(of("counting"), [3, 1, 2, 3]);
        assert_eq!(outputs[0]["coefficients"], serde_json::json!([0.5625, 0.1875, 0.25]));
        assert_eq!(outputs[2]["coefficients"], serde_json::json!([0.5, 0.5, 0.0]));
        for field in ["output", "coefficients", "tensors", "nonfinite", "bytes", "next"] {
            assert_eq!(report[field], outputs[0][field], "{field}");
        }
        // Two files are read: each once.
        assert_eq!(report["bytes_read"], planned["bytes_read"]);
    }
    assert!(planned["memory_expected"].as_u64().unwrap() > 0);
    assert_eq!(listing(dir.path()).len(), 3 + 4);
    let text = |args: &[&str]| {
        let output = swa_avg().current_dir(&dir).arg("ckpt_*").args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let explained = text(&["-o", "x.pth", "--scheme", "ema:0.75", "--explain", "--dry-run"]);
    assert!(
        explained.contains("would write x.pth: ema:0.75 of 3 checkpoint(s), 4 tensors averaged"),
        "{explained}"
    );
    assert!(
        explained.contains(&format!("0.562500 {} ckpt_1.safetensors", "█".repeat(30))),
        "{explained}"
    );
    let several = text(&["-o", "mean=x.pth", "-o", "prefix=y_{n}.pth"]);
    assert!(several.starts_with("wrote 4 outputs from 3 checkpoint(s) in"), "{several}");
    assert!(
        several
            .contains("\n  y_2.pth: mean of 2 checkpoint(s), 4 tensors averaged, 1 from the last"),
        "{several}"
    );
}

#[test]
fn posthoc_ema_takes_times_from_names_or_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = [(1, 0.05, 1.0), (1, 0.1, 2.0), (2, 0.05, 3.0), (2, 0.1, 4.0)];
    for (t, sigma, value) in snapshots {
        let path = dir.path().join(format!("phema-{t:05}-{sigma:.3}.safetensors"));
        save(&path, &[f32s("w", &[value])]);
    }
    let run = |args: &[&str]| {
        let mut command = swa_avg();
        command.current_dir(&dir).args(["phema-*", "-o", "out.safetensors", "--force"]);
        command.args(["--scheme", "posthoc-ema:0.07"]).args(args);
        command
    };
    let share = |args: &[&str]| -> Vec<f64> {
        let mut command = run(args);
        let output = command.arg("--json").output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let fit = &json["outputs"][0]["fit"];
        assert!(fit["condition"].as_f64().unwrap() > 1.0 && fit["misfit"].as_f64().unwrap() < 0.1);
        json["coefficients"]
            .as_array()
            .unwrap()
            .iter()
            .map(|share| share.as_f64().unwrap())
            .collect()
    };
    let named = share(&["--snapshot-sigma", "0.05,0.10"]);
    let same = |args: &[&str]| {
        let found = share(args);
        let off = found.iter().zip(&named).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 1e-9, "{args:?}: {found:?} {named:?}");
    };
    assert!(named[3] > 0.5 && named.iter().sum::<f64>() > 0.999_999, "{named:?}");
    // The numbers' scale does not matter; an expression finds them as well.
    let times = "phema-00001-0.050.safetensors 1000 0.05\nphema-00001-0.100.safetensors 1000 0.1\n\
                 phema-00002-0.050.safetensors 2000 0.05 # comment\nphema-00002-0.100.safetensors 2000 0.1\n";
    std::fs::write(dir.path().join("times.txt"), times).unwrap();
    same(&["--times", "times.txt"]);
    same(&["--snapshot-sigma", "0.05,0.1", "--number", r"phema-(\d+)"]);
    std::fs::write(dir.path().join("plain.txt"), "10\n10\n20\n20\n").unwrap();
    same(&["--snapshot-sigma", "0.05,0.1", "--times", "plain.txt"]);
    run(&["--snapshot-sigma", "0.05,0.1"])
        .assert()
        .stdout(predicates::str::contains("from the profile that was asked for, condition number"))
        .stderr(predicates::str::contains("note: some weights are negative"));

    let refused = |args: &[&str], code, says: &str| fails(&mut run(args), code, &[says]);
    refused(&[], 2, "name the widths with --snapshot-sigma, such as 0.05,0.10");
    refused(
        &["--snapshot-sigma", "0.3"],
        2,
        "--snapshot-sigma 0.3: a width lies above 0 and below",
    );
    refused(
        &["--snapshot-sigma", "0.05,0.2"],
        2,
        "`phema-00001-0.100.safetensors`: --scheme posthoc-ema:0.07: its name has none of the widths [0.05, 0.2]",
    );
    // All of one width, though their names say otherwise: two of one time.
    refused(&["--snapshot-sigma", "0.07"], 2, "has several numbers in its name");
    refused(
        &["--snapshot-sigma", "0.07", "--number", r"phema-(\d+)"],
        2,
        "has the time and width of `phema-00001-0.050.safetensors`",
    );
    refused(&["--snapshot-sigma", "0.05,0.1", "--by-position"], 2, "--by-position tells no time");
    std::fs::write(dir.path().join("short.txt"), "10\n20\n").unwrap();
    refused(
        &["--snapshot-sigma", "0.05,0.1", "--times", "short.txt"],
        3,
        "`short.txt`: has 2 time(s) for 4 checkpoint(s)",
    );
    std::fs::write(dir.path().join("zero.txt"), "0\n0\n1\n1\n").unwrap();
    refused(&["--snapshot-sigma", "0.05,0.1", "--times", "zero.txt"], 2, "its time is 0");
    refused(
        &["--snapshot-sigma", "0.05,0.1", "--times", "absent.txt"],
        2,
        "`absent.txt`: no such file",
    );
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    checkpoints(dir.path(), 3);
    let refused = |args: &[&str], says: &[&str]| {
        fails(swa_avg().current_dir(&dir).arg("ckpt_*").args(args), 2, says);
        assert_eq!(listing(dir.path()).len(), 3);
    };
    refused(
        &["-o", "emma:0.9=x.pth"],
        &[
            "there is no --scheme `emma:0.9`",
            "did you mean ema?",
            "a path of that name is ./emma:0.9=x.pth",
        ],
    );
    refused(
        &["-o", "x.pth", "--scheme", "widow:3"],
        &["there is no --scheme `widow:3`", "did you mean window?"],
    );
    refused(&["-o", "x.pth", "--scheme", "ema:1.5"], &["the decay lies between 0 and 1"]);
    refused(&["-o", "x.pth", "--scheme", "ema"], &["DECAY is missing; such as ema:0.99"]);
    refused(&["-o", "window:4=x.pth"], &["window:4 takes 4 checkpoints, and there are 3"]);
    refused(&["-o", "mean="], &["--output mean=: the path is missing"]);
    refused(&["-o", ""], &["the path is missing"]);
    refused(
        &["-o", "mean=x.pth", "-o", "ema:0.9=./x.pth"],
        &["`./x.pth`: is the place of two outputs"],
    );
    refused(
        &["-o", "mean=x.pth", "-o", "ema:0.9=./x.pth", "--dry-run"],
        &["is the place of two outputs"],
    );
    refused(
        &["-o", "prefix=p_{n}.pth", "-o", "mean=p_2.pth"],
        &["`p_2.pth`: is the place of two outputs"],
    );
    refused(
        &["-o", "prefix=p.pth"],
        &["`p.pth`: a prefix of 1, 2, … snapshots each needs a name: `{n}` is missing"],
    );
    refused(
        &["-o", "mean=x.pth", "--scheme", "ema:0.9"],
        &["--scheme: every output has a scheme of its own"],
    );
    refused(
        &["-o", "mean=x.pth", "--weights", "1,2,3"],
        &["--weights: every output has a scheme of its own"],
    );
    refused(&["-o", "x.pth", "--weights", "1,2,3", "--scheme", "mean"], &["cannot be used with"]);
    refused(
        &["-o", "x.pth", "--times", "t"],
        &["--snapshot-sigma and --times are for posthoc-ema"],
    );
    refused(
        &["-o", "mean=x.pth", "-o", "posthoc-ema:0.1=y.pth"],
        &["the snapshots must be moving averages"],
    );
    // One that exists stops all.
    std::fs::write(dir.path().join("y.pth"), "old").unwrap();
    fails(
        swa_avg().current_dir(&dir).args(["ckpt_*", "-o", "mean=x.pth", "-o", "ema:0.9=y.pth"]),
        2,
        &["`y.pth`: exists already"],
    );
    assert_eq!(listing(dir.path()).len(), 4);
}

#[test]
fn a_path_may_hold_an_equals_sign() {
    let dir = tempfile::tempdir().unwrap();
    checkpoints(dir.path(), 2);
    let run = |output: &str| {
        swa_avg()
            .current_dir(&dir)
            .args(["ckpt_1.safetensors", "ckpt_2.safetensors", "-o", output])
            .assert()
            .success();
    };
    for output in ["epoch=3.pth", "./mean=x.pth", "wsm:linear=a=b.pth"] {
        run(output);
    }
    for file in ["epoch=3.pth", "mean=x.pth", "a=b.pth"] {
        assert!(dir.path().join(file).exists(), "{file}");
    }
}

#[test]
fn an_average_too_short_to_count_is_an_error_of_its_own() {
    let paths = names(400);
    let error = weighted("ema:0.1", &paths, &Profiles::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    assert!(error.to_string().contains("take the others, with `last` 308"), "{error}");
}
