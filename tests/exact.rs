//! The result is the exact mean, rounded once: against rational arithmetic (fixtures/exact/make.py).

use safetensors::Dtype;
use swa_testing::*;

const TYPES: [(&str, Dtype, usize); 4] = [
    ("F64", Dtype::F64, 8),
    ("F32", Dtype::F32, 4),
    ("F16", Dtype::F16, 2),
    ("BF16", Dtype::BF16, 2),
];

/// The fixture's inputs as checkpoints, and a copy of each value in a place of its own: a block of one
/// value takes other paths than one of hundreds.
fn inputs() -> (tempfile::TempDir, std::collections::BTreeMap<String, Vec<u8>>) {
    let golden = load(&fixtures().join("exact/exact.safetensors"));
    let dir = tempfile::tempdir().unwrap();
    for j in 0..5 {
        let mut tensors: Vec<Tensor> = vec![];
        for (name, dtype, size) in TYPES {
            let bytes = golden[&format!("{name}.in.{j}")].clone();
            // Each value between 1023 zeros: a block of its own.
            let mut spread = vec![0; bytes.len() * 1024];
            for (i, value) in bytes.chunks(size).enumerate() {
                spread[i * 1024 * size..][..size].copy_from_slice(value);
            }
            let n = bytes.len() / size;
            tensors.push((name, dtype, vec![n], bytes));
            let spread_name: &'static str = Box::leak(format!("{name}.spread").into_boxed_str());
            tensors.push((spread_name, dtype, vec![n, 1024], spread));
        }
        save(&dir.path().join(format!("{j}.safetensors")), &tensors);
    }
    (dir, golden)
}

fn check(extra: &[&str], expected: &str) {
    let (dir, golden) = inputs();
    let args = ["?.safetensors", "-o", "out.safetensors", "--force"];
    swa_avg().current_dir(&dir).args(args).args(extra).assert().success();
    let out = load(&dir.path().join("out.safetensors"));
    for (name, _, size) in TYPES {
        let expected = &golden[&format!("{name}.{expected}")];
        let spread: Vec<u8> = out[&format!("{name}.spread")]
            .chunks(1024 * size)
            .flat_map(|row| row[..size].to_vec())
            .collect();
        for (found, path) in [(&out[name], "together"), (&spread, "alone")] {
            for (i, (a, b)) in found.chunks(size).zip(expected.chunks(size)).enumerate() {
                assert_eq!(a, b, "{name} {path}, value {i}");
            }
        }
    }
}

#[test]
fn means_are_those_of_rational_arithmetic() {
    check(&[], "mean");
    check(&["--threads", "1"], "mean");
}

#[test]
fn weighted_means_are_those_of_rational_arithmetic() {
    check(&["--weights", "1,-2,0.1,3,5e-3"], "weighted");
}

#[test]
fn the_order_of_the_inputs_never_changes_a_bit() {
    let (dir, golden) = inputs();
    for (from, to) in [(0, 9), (3, 0), (9, 3)] {
        let name = |i: i32| dir.path().join(format!("{i}.safetensors"));
        std::fs::rename(name(from), name(to)).unwrap();
    }
    let args = ["?.safetensors", "-o", "out.safetensors"];
    swa_avg().current_dir(&dir).args(args).assert().success();
    let out = load(&dir.path().join("out.safetensors"));
    assert!(TYPES.iter().all(|(name, ..)| out[*name] == golden[&format!("{name}.mean")]));
}

#[test]
fn a_wider_type_keeps_what_the_inputs_own_type_would_lose() {
    let dir = tempfile::tempdir().unwrap();
    let bf16 = |x: f32| half::bf16::from_f32(x).to_le_bytes().to_vec();
    for (name, x) in [("a", 1.0), ("b", 1.0 + 2f32.powi(-7))] {
        let e5m2 = vec![if name == "a" { 0x3c } else { 0x40 }]; // 1 and 2
        let tensors = [
            ("w", Dtype::BF16, vec![1], bf16(x)),
            ("q", Dtype::F8_E5M2, vec![1], e5m2),
            ("n", Dtype::I64, vec![], 7i64.to_le_bytes().to_vec()),
        ];
        save(&dir.path().join(name), &tensors);
    }
    let run = |dtype: &str| {
        let args = ["a", "b", "-o", "out", "--force", "--dtype", dtype];
        swa_avg().current_dir(&dir).args(args).assert().success();
        load(&dir.path().join("out"))
    };
    let out = run("f32");
    assert_eq!(to_f32(&out["w"]), [1.0 + 2f32.powi(-8)]);
    assert_eq!(to_f32(&out["q"]), [1.5]);
    assert_eq!(out["n"], 7i64.to_le_bytes());
    assert_eq!(run("f64")["w"], (1.0 + 2f64.powi(-8)).to_le_bytes());
    assert_eq!(run("bf16")["q"], bf16(1.5));
    fails(
        swa_avg().current_dir(&dir).args(["a", "b", "-o", "new"]),
        3,
        &["tensor `q`", "F8_E5M2 need a wider type", "--dtype"],
    );
}

#[test]
fn a_mean_too_large_for_its_type_is_an_error_that_names_the_tensor() {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("a"), &[f32s("fits", &[1.0]), f32s("large", &[1e6, 1.0])]);
    fails(
        swa_avg().current_dir(&dir).args(["a", "-o", "out", "--dtype", "f16"]),
        3,
        &[
            "tensor `large`",
            "too large for F16; choose a --dtype with a wider range: bf16, f32 or f64",
        ],
    );
    // The types that are named hold more.
    save(&dir.path().join("d"), &[("w", Dtype::F64, vec![1], 1e300f64.to_le_bytes().to_vec())]);
    for dtype in ["f32", "bf16"] {
        fails(
            swa_avg().current_dir(&dir).args(["d", "-o", "out", "--dtype", dtype]),
            3,
            &[&format!(
                "too large for {}; choose a --dtype with a wider range: f64",
                dtype.to_uppercase()
            )],
        );
    }
    std::fs::remove_file(dir.path().join("d")).unwrap();
    assert_eq!(listing(dir.path()), ["a"]);
}

#[test]
fn every_dtype_has_its_rule() {
    // Averaged, from the last, or refused by name.
    let all = [
        (Dtype::C64, "averaged"),
        (Dtype::F8_E4M3, "wider type"),
        (Dtype::F8_E5M2, "wider type"),
        (Dtype::F8_E4M3FNUZ, "wider type"),
        (Dtype::F8_E5M2FNUZ, "wider type"),
        (Dtype::F8_E8M0, "cannot be averaged"),
        (Dtype::F6_E2M3, "cannot be averaged"),
        (Dtype::F6_E3M2, "cannot be averaged"),
        (Dtype::F4, "cannot be averaged"),
        (Dtype::BOOL, "last"),
        (Dtype::U8, "last"),
        (Dtype::I8, "last"),
        (Dtype::U16, "last"),
        (Dtype::I16, "last"),
        (Dtype::U32, "last"),
        (Dtype::I32, "last"),
        (Dtype::U64, "last"),
        (Dtype::I64, "last"),
    ];
    for (dtype, rule) in all {
        let dir = tempfile::tempdir().unwrap();
        let size = 4 * dtype.bitsize() / 8;
        let complex = |x: f32| [x, 1.0, -x, 2.0, 0.0, x, x, x].map(f32::to_le_bytes).concat();
        let values = |i: u8| match dtype {
            Dtype::C64 => complex(i as f32),
            _ => vec![i; size],
        };
        for i in 0..2 {
            // Of integers alone there is no mean.
            let tensors = [("t", dtype, vec![4], values(i)), f32s("w", &[f32::from(i)])];
            save(&dir.path().join(format!("{i}")), &tensors);
        }
        let mut command = swa_avg();
        command.current_dir(&dir).args(["0", "1", "-o", "out"]);
        match rule {
            "averaged" | "last" => {
                command.assert().success();
                let expected = if rule == "last" { values(1) } else { complex(0.5) };
                assert_eq!(load(&dir.path().join("out"))["t"], expected, "{dtype:?}");
            }
            _ => drop(fails(&mut command, 3, &["tensor `t`", rule])),
        }
    }
}

#[test]
fn values_that_are_not_finite_are_averaged_only_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let inf = f32::INFINITY;
    save(&dir.path().join("0"), &[f32s("a", &[1.0, f32::NAN, inf, inf]), f32s("b", &[1.0])]);
    save(&dir.path().join("1"), &[f32s("a", &[2.0, 1.0, 1.0, -inf]), f32s("b", &[2.0])]);
    let mut command = swa_avg();
    command.current_dir(&dir).args(["0", "1", "-o", "out"]);
    fails(
        &mut command,
        3,
        &["`0`: tensor `a`: 3 of its values", "--allow-nonfinite", "`1`: 1 as well"],
    );
    let output = command.arg("--allow-nonfinite").output().unwrap();
    assert!(output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("tensor `a`: 3 means are not finite"), "{stderr}");
    let out = load(&dir.path().join("out"));
    let a = to_f32(&out["a"]);
    assert!(a[0] == 1.5 && a[1].is_nan() && a[2] == inf && a[3].is_nan(), "{a:?}");
    assert_eq!(to_f32(&out["b"]), [1.5]);
}

#[test]
fn plain_means_are_those_of_equal_weights_for_any_number_of_inputs() {
    // Equal weights other than 1 take other paths: no sums in f32, no proof for values far from each
    // other.
    for n in [1, 3, 4, 10, 16, 17, 40] {
        let dir = tempfile::tempdir().unwrap();
        let mut state = n as u64;
        let mut random = move || {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        // More than a chunk, in odd numbers; now and then a value far below the others.
        let count = 70_001;
        for i in 0..n {
            let values: Vec<f32> = (0..count)
                .map(|_| {
                    let bits = random();
                    let x = (bits as u32 as f32 / 2f32.powi(31) - 1.0) * 0.05;
                    if bits >> 54 == 0 { x * 2f32.powi(-20) } else { x }
                })
                .collect();
            let half = |x: &f32| half::f16::from_f32(*x).to_le_bytes();
            let brain = |x: &f32| half::bf16::from_f32(*x).to_le_bytes();
            let tensors = [
                f32s("f32", &values),
                ("f16", Dtype::F16, vec![count], values.iter().flat_map(half).collect()),
                ("bf16", Dtype::BF16, vec![count], values.iter().flat_map(brain).collect()),
            ];
            save(&dir.path().join(format!("{i}.safetensors")), &tensors);
        }
        let run = |extra: &[&str]| {
            let args = ["*.safetensors", "-o", "out", "--force"];
            swa_avg().current_dir(&dir).args(args).args(extra).assert().success();
            load(&dir.path().join("out"))
        };
        let weights = vec!["3"; n].join(",");
        for dtype in ["keep", "f32", "bf16", "f16"] {
            let plain = run(&["--dtype", dtype]);
            let weighted = run(&["--dtype", dtype, "--weights", &weights]);
            assert!(plain == weighted, "{n} inputs, {dtype}");
            assert!(plain == run(&["--dtype", dtype, "--threads", "1"]), "{n} inputs, {dtype}");
        }
    }
}
