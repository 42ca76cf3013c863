//! swa-avg as its users see it.

use safetensors::Dtype;
use swa_testing::*;

/// Three checkpoints of one model in a fresh folder.
fn three() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (i, name) in ["ckpt_9", "ckpt_10", "ckpt_100"].iter().enumerate() {
        let x = i as f32;
        save(
            &dir.path().join(format!("{name}.safetensors")),
            &[
                f32s("fc.weight", &[1.0 + x, 0.1, -2.0 * x]),
                f32s("bn.running_mean", &[x]),
                f32s("bn.running_var", &[2.0 * x]),
                i64s("bn.num_batches_tracked", &[100 + i as i64]),
            ],
        );
    }
    dir
}

#[test]
fn the_mean_is_summed_in_f64_and_divided_once() {
    let dir = three();
    swa_avg()
        .current_dir(&dir)
        .args(["ckpt_*.safetensors", "-o", "swa.safetensors"])
        .assert()
        .success()
        .stdout(predicates::str::contains("mean of 3 checkpoint(s)"));
    let swa = load(&dir.path().join("swa.safetensors"));
    let tenth = ((0.1f32 as f64 * 3.0) / 3.0) as f32;
    assert_eq!(to_f32(&swa["fc.weight"]), [2.0, tenth, -2.0]);
    assert_eq!(to_f32(&swa["bn.running_mean"]), [1.0]);
    // Natural order: ckpt_100 is the last, whatever the shell's order.
    assert_eq!(swa["bn.num_batches_tracked"], 102i64.to_le_bytes());
    assert_eq!(listing(dir.path()).len(), 4);
}

/// Large tensors are read copied and mapped in turn until it is known which is the quicker.
#[test]
fn a_large_tensor_is_the_same_mean_however_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    // Eleven parts of 2^18 values and some: more than are tried.
    let count = 11 * (1 << 18) + 5;
    let value = |i: usize, input: usize| ((i * (2 * input + 7)) % 10_007) as f32 - 5000.0;
    for input in 0..3 {
        let values: Vec<f32> = (0..count).map(|i| value(i, input)).collect();
        let narrow =
            values.iter().flat_map(|&x| (((x / 64.0).to_bits() >> 16) as u16).to_le_bytes());
        let narrow = ("y", Dtype::BF16, vec![count], narrow.collect());
        save(&dir.path().join(format!("{input}.safetensors")), &[f32s("x", &values), narrow]);
    }
    let out = dir.path().join("swa.safetensors");
    swa_avg().arg(dir.path()).args(["--dtype", "f32", "-o"]).arg(&out).assert().success();
    let swa = load(&out);
    let (x, y) = (to_f32(&swa["x"]), to_f32(&swa["y"]));
    let cut = |x: f32| f32::from_bits((x / 64.0).to_bits() & 0xffff_0000);
    for i in 0..count {
        let mean = |f: &dyn Fn(f32) -> f32| {
            ((0..3).map(|input| f64::from(f(value(i, input)))).sum::<f64>() / 3.0) as f32
        };
        assert_eq!((x[i], y[i]), (mean(&|x| x), mean(&cut)), "{i}");
    }
}

#[test]
fn the_fixtures_average_to_what_torch_computes() {
    let golden = load(&fixtures().join("golden/fashion.safetensors"));
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("swa.safetensors");
    swa_avg()
        .arg(fixtures().join("fashion-mnist/ckpt_*.safetensors"))
        .arg("-o")
        .arg(&out)
        .assert()
        .success();
    let swa = load(&out);
    let expected = golden.iter().filter_map(|(k, v)| Some((k.strip_prefix("swa.")?, v)));
    let mut count = 0;
    for (name, bytes) in expected {
        assert_eq!(&swa[name], bytes, "{name}");
        count += 1;
    }
    assert_eq!(count, swa.len());
}

#[test]
fn statistics_can_come_from_the_last() {
    let dir = three();
    swa_avg()
        .current_dir(&dir)
        .args(["ckpt_*.safetensors", "-o", "swa.safetensors", "--bn-stats", "last"])
        .assert()
        .success();
    let swa = load(&dir.path().join("swa.safetensors"));
    assert_eq!(to_f32(&swa["bn.running_mean"]), [2.0]);
    assert_eq!(to_f32(&swa["bn.running_var"]), [4.0]);
    assert_eq!(to_f32(&swa["fc.weight"])[0], 2.0);
}

#[test]
fn every_type_has_its_rule() {
    let dir = tempfile::tempdir().unwrap();
    let halves = |values: [f32; 2]| -> Vec<u8> {
        values.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect()
    };
    let brains = |values: [f32; 2]| {
        values.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect()
    };
    let doubles = |values: [f64; 2]| values.iter().flat_map(|x| x.to_le_bytes()).collect();
    for (i, x) in [1.0f32, 2.0].into_iter().enumerate() {
        save(
            &dir.path().join(format!("{i}.safetensors")),
            &[
                ("f64", Dtype::F64, vec![2], doubles([x as f64 / 3.0, -0.0])),
                ("f16", Dtype::F16, vec![2, 1], halves([x, -x])),
                ("bf16", Dtype::BF16, vec![1, 2], brains([x, -x])),
                ("zero_d", Dtype::F32, vec![], x.to_le_bytes().to_vec()),
                ("empty", Dtype::F32, vec![0, 3], vec![]),
                ("bool", Dtype::BOOL, vec![1], vec![i as u8]),
                // One byte before the next tensors: those are unaligned, which is legal.
                ("u8", Dtype::U8, vec![3], vec![i as u8; 3]),
            ],
        );
    }
    let run = |out: &str| {
        swa_avg()
            .current_dir(&dir)
            .args(["0.safetensors", "1.safetensors", "-o", out])
            .assert()
            .success();
        std::fs::read(dir.path().join(out)).unwrap()
    };
    assert_eq!(run("a.safetensors"), run("b.safetensors"), "same inputs, same bytes");
    let swa = load(&dir.path().join("a.safetensors"));
    assert_eq!(swa["f64"], doubles([(1.0 / 3.0 + 2.0 / 3.0) / 2.0, -0.0]));
    assert_eq!(swa["f16"], halves([1.5, -1.5]));
    assert_eq!(swa["bf16"], brains([1.5, -1.5]));
    assert_eq!(swa["zero_d"], 1.5f32.to_le_bytes());
    assert!(swa["empty"].is_empty());
    assert_eq!(swa["bool"], [1]);
    assert_eq!(swa["u8"], [1; 3]);
}

#[test]
fn the_metadata_says_how_it_came_about() {
    let dir = three();
    let args = ["ckpt_9.safetensors", "ckpt_10.safetensors", "-o", "swa.safetensors"];
    swa_avg().current_dir(&dir).args(args).assert().success();
    let metadata = metadata(&dir.path().join("swa.safetensors"));
    assert_eq!(metadata["format"], "pt");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        metadata["swa"],
        format!(
            r#"{{"version":"{version}","inputs":["ckpt_9.safetensors","ckpt_10.safetensors"],"weights":[1.0,1.0],"bn_stats":"mean"}}"#
        )
    );
}

#[test]
fn batchnorm_ends_with_the_next_command() {
    let dir = three();
    let args = ["ckpt_*.safetensors", "-o", "swa.safetensors"];
    let output = swa_avg().current_dir(&dir).args(args).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let last = text.lines().last().unwrap();
    assert!(
        last.ends_with("next: swa-bn-update swa.safetensors --data DIR -o swa_bn.safetensors"),
        "{text}"
    );
    assert!(output.stderr.is_empty(), "no progress where there is no terminal");
}

#[test]
fn a_dry_run_checks_and_writes_nothing() {
    let dir = three();
    let args = ["ckpt_*.safetensors", "-o", "swa.safetensors", "--dry-run"];
    swa_avg()
        .current_dir(&dir)
        .args(args)
        .assert()
        .success()
        .stdout(predicates::str::contains("would write swa.safetensors"));
    assert_eq!(listing(dir.path()).len(), 3);
}

#[test]
fn json_is_one_object_and_quiet_is_quiet() {
    let dir = three();
    let args = ["ckpt_*.safetensors", "-o", "swa.safetensors", "--json"];
    let output = swa_avg().current_dir(&dir).args(args).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["inputs"].as_array().unwrap().len(), 3);
    assert_eq!(json["tensors"]["averaged"], 3);
    assert_eq!(json["batchnorm_layers"], 1);
    let args = ["ckpt_*.safetensors", "-o", "swa.safetensors", "--force", "--quiet"];
    let output = swa_avg().current_dir(&dir).args(args).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty());
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..3 {
        let values: Vec<f32> =
            (0..200_000).map(|k| ((k * 7 + i * 13) % 1000) as f32 / 7.0).collect();
        save(&dir.path().join(format!("{i}.safetensors")), &[f32s("w", &values)]);
    }
    let run = |threads: &str| {
        let args = ["?.safetensors", "-o", "out.safetensors", "--force", "--threads", threads];
        swa_avg().current_dir(&dir).args(args).assert().success();
        std::fs::read(dir.path().join("out.safetensors")).unwrap()
    };
    assert_eq!(run("1"), run("7"));
}

#[test]
fn a_file_named_twice_counts_once_and_that_is_said() {
    let dir = three();
    let path = dir.path().join("last.safetensors");
    std::fs::hard_link(dir.path().join("ckpt_100.safetensors"), path).unwrap();
    swa_avg()
        .current_dir(&dir)
        .args(["ckpt_*.safetensors", "last.safetensors", "-o", "swa.safetensors"])
        .assert()
        .success()
        .stdout(predicates::str::contains("mean of 3 checkpoint(s)"))
        .stderr(predicates::str::contains(
            "`last.safetensors` is the same file as `ckpt_100.safetensors`",
        ));
}

#[test]
fn all_differences_are_reported_before_any_output() {
    let dir = three();
    let base = |name, tensors: &[Tensor]| save(&dir.path().join(name), tensors);
    base("x1.safetensors", &[f32s("a", &[1.0]), f32s("b", &[1.0, 2.0]), f32s("c", &[1.0])]);
    base("x2.safetensors", &[f32s("a", &[1.0]), f32s("b", &[1.0]), i64s("c", &[1])]);
    base("x3.safetensors", &[f32s("a", &[1.0]), f32s("d", &[1.0])]);
    fails(
        swa_avg().current_dir(&dir).args(["x?.safetensors", "-o", "out.safetensors"]),
        3,
        &[
            "`x1.safetensors`: 5 difference(s)",
            "`x2.safetensors`: tensor `b`: expected shape [2], found [1]",
            "`x2.safetensors`: tensor `c`: expected F32, found I64",
            "`x3.safetensors`: tensor `b`: missing",
            "`x3.safetensors`: tensor `c`: missing",
            "`x3.safetensors`: tensor `d`: not in the first checkpoint",
        ],
    );
    assert!(!dir.path().join("out.safetensors").exists());
}

#[test]
fn an_existing_output_needs_force() {
    let dir = three();
    std::fs::write(dir.path().join("swa.safetensors"), "precious").unwrap();
    let args = ["ckpt_*.safetensors", "-o", "swa.safetensors"];
    fails(
        swa_avg().current_dir(&dir).args(args),
        2,
        &["`swa.safetensors`: exists already", "--force"],
    );
    assert_eq!(std::fs::read(dir.path().join("swa.safetensors")).unwrap(), b"precious");
    swa_avg().current_dir(&dir).args(args).arg("--force").assert().success();
    assert_eq!(load(&dir.path().join("swa.safetensors")).len(), 4);
}

#[test]
fn an_output_is_not_averaged_into_itself() {
    let dir = three();
    let before = std::fs::read(dir.path().join("ckpt_9.safetensors")).unwrap();
    let args = ["*.safetensors", "-o", "ckpt_9.safetensors", "--force"];
    fails(
        swa_avg().current_dir(&dir).args(args),
        2,
        &["`ckpt_9.safetensors`: is an input as well"],
    );
    assert_eq!(std::fs::read(dir.path().join("ckpt_9.safetensors")).unwrap(), before);
}

#[test]
fn a_tensor_named_twice_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let entry = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    let header = format!(r#"{{"a":{entry},"a":{entry}}}"#);
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    std::fs::write(dir.path().join("x"), file).unwrap();
    fails(
        swa_avg().current_dir(&dir).args(["x", "-o", "y"]),
        3,
        &["`x`: tensor `a`: occurs twice"],
    );
}

#[test]
fn an_earlier_output_among_the_checkpoints_is_noted() {
    let dir = three();
    let run = |output: &str| {
        let mut command = swa_avg();
        // Their mean has the weights of one of them.
        let insist = ["--by-position", "--allow-duplicates"];
        command.current_dir(&dir).arg("*.safetensors").args(insist).args(["-o", output]);
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    assert!(!run("first.safetensors").contains("average of averages"));
    let note =
        "note: `first.safetensors` was written by swa-avg: the result is an average of averages";
    assert!(run("second.safetensors").contains(note));
    assert!(run("third.safetensors").contains("`first.safetensors` and 1 more were written"));
}
