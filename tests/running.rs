//! The running average in a state: the same bytes as averaging everything at once, whatever the order and however often
//! it was interrupted; and what is not a state, or not of it, is refused.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use safetensors::Dtype;
use serde_json::Value;
use swa_testing::{Tensor, f32s, fails, fixtures, i64s, listing, save, swa_avg, text};
use swa_tools::average::{Options, Target};
use swa_tools::checkpoint::{Checkpoint, Take};
use swa_tools::running::{RunningAverage, held};

/// Runs swa-avg in a folder, which must work.
fn run(dir: &Path, args: &[&str]) -> String {
    let output = swa_avg().current_dir(dir).args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {stderr}");
    stderr
}

fn read(dir: &Path, name: &str) -> Vec<u8> {
    std::fs::read(dir.join(name)).unwrap()
}

/// Orders of n things: as they are, from the end, and from the middle on.
fn orders(n: usize) -> [Vec<usize>; 3] {
    let order: Vec<usize> = (0..n).collect();
    let back = order.iter().rev().copied().collect();
    let turned = order[n / 2..].iter().chain(&order[..n / 2]).copied().collect();
    [order, back, turned]
}

#[test]
fn checkpoints_of_every_trainer_come_to_the_same_file_one_by_one() {
    let formats = fixtures().join("formats");
    let cases: Value =
        serde_json::from_slice(&std::fs::read(formats.join("cases.json")).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (mut same, mut problems) = (0, vec![]);
    for case in cases.as_array().unwrap() {
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_string()).collect()
        };
        let (inputs, args) = (texts(&case["inputs"]), texts(&case["args"]));
        // A state takes checkpoints that have the same tensors.
        if case["expected"].is_null()
            || args.iter().any(|arg| arg == "--keys" || arg.starts_with("--weights="))
        {
            continue;
        }
        let inputs: Vec<PathBuf> = inputs.iter().map(|path| formats.join(path)).collect();
        let label = format!("{} {args:?}", case["case"]);
        for (number, ending) in ["safetensors", "pth"].into_iter().enumerate() {
            let at = |name: &str| dir.path().join(format!("{name}.{ending}"));
            let state = dir.path().join("state");
            let _ = std::fs::remove_file(&state);
            let once = swa_avg()
                .args(&inputs)
                .args(&args)
                .arg("-qo")
                .arg(at("once"))
                .arg("--force")
                .output()
                .unwrap();
            if !once.status.success() {
                // Types that a PyTorch file has no storage for.
                assert_eq!(ending, "pth", "{label}: {}", String::from_utf8_lossy(&once.stderr));
                continue;
            }
            let order = &orders(inputs.len())[number];
            let mut failed = None;
            for &i in order {
                let mut step = swa_avg();
                step.arg(&inputs[i])
                    .args(&args)
                    .arg("--state")
                    .arg(&state)
                    .arg("-qo")
                    .arg(at("by-one"))
                    .arg("--force");
                let step = step.output().unwrap();
                if !step.status.success() {
                    failed = Some(String::from_utf8_lossy(&step.stderr).into_owned());
                }
            }
            match failed {
                Some(what) => problems.push(format!("{label}: {what}")),
                None if std::fs::read(at("once")).unwrap()
                    != std::fs::read(at("by-one")).unwrap() =>
                {
                    problems.push(format!("{label}: other bytes in .{ending}"));
                }
                None => same += 1,
            }
        }
    }
    assert!(problems.is_empty(), "{same} right, {}", problems.join("\n"));
    assert!(same > 150, "{same}");
}

/// Tensors of all kinds, of given bits.
fn tensors(bits: &[u64]) -> Vec<Tensor> {
    let of = |width: usize, mask: u64| -> Vec<u8> {
        bits.iter().flat_map(|bits| (bits & mask).to_le_bytes()[..width].to_vec()).collect()
    };
    let n = bits.len();
    // Without infinities and NaN: one bit of the exponent stays 0.
    vec![
        ("z.f32", Dtype::F32, vec![n], of(4, !0x0080_0000)),
        ("a.f64", Dtype::F64, vec![n], of(8, !0x0010_0000_0000_0000)),
        ("half", Dtype::F16, vec![n], of(2, !0x0400)),
        ("brain", Dtype::BF16, vec![n], of(2, !0x0080)),
        ("bn.running_mean", Dtype::F32, vec![n], of(4, !0x0080_0000)),
        ("steps", Dtype::I64, vec![n], of(8, !0)),
        ("mask", Dtype::BOOL, vec![n], of(1, 1)),
        ("empty", Dtype::F32, vec![0, 3], vec![]),
    ]
}

/// Bits of values that are hard to add up: any, zeros of both signs, subnormal, equal but for the sign.
fn hard() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        Just(0),
        Just(0x8000_0000_8000_8000),
        (0u64..3).prop_map(|low| low | low << 32),
        (any::<u16>(), any::<bool>()).prop_map(|(m, minus)| {
            let one = u64::from(m) | 0x3f00;
            if minus { one << 16 | 0x8000_8000 } else { one << 16 }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_values_in_any_order_come_to_the_same_file(
        rows in proptest::collection::vec(proptest::collection::vec(hard(), 1..40), 2..6),
        seed in any::<u64>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let n = rows.iter().map(Vec::len).min().unwrap();
        let names: Vec<PathBuf> = (0..rows.len()).map(|i| dir.path().join(format!("c_{i}.safetensors"))).collect();
        for (i, (name, row)) in names.iter().zip(&rows).enumerate() {
            // No two are the same, which would count once.
            save(name, &[&tensors(&row[..n])[..], &[f32s("number", &[i as f32])]].concat());
            let file = std::fs::File::open(name).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        let options = Options::default();
        let all = Checkpoint::open_all(&names, &Take::default()).unwrap();
        let plan = swa_tools::average::Plan::new(
            &all, [swa_tools::average::mean(all.len()).unwrap()], options.clone()).unwrap();
        let once = dir.path().join("once.safetensors");
        plan.write(&[Target::safetensors(&once)], true, &|_| {}).unwrap();
        let mut states = vec![];
        for (k, order) in orders(names.len()).into_iter().enumerate() {
            let (state, out) = (dir.path().join(format!("{k}.state")), dir.path().join("out"));
            let mut left = &order[..];
            let mut random = seed;
            while !left.is_empty() {
                // One or several at a time, in a process of their own or not.
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let (now, later) = left.split_at((1 + (random >> 40) as usize % 3).min(left.len()));
                let now: Vec<PathBuf> = now.iter().map(|&i| names[i].clone()).collect();
                let inputs = Checkpoint::open_all(&now, &Take::default()).unwrap();
                let mut running = RunningAverage::open(&state, &options, &Take::default()).unwrap();
                let target = Target::safetensors(&out);
                running.add(inputs, &target, true, (None, true), &|_| {}).unwrap();
                left = later;
            }
            prop_assert!(std::fs::read(&out).unwrap() == std::fs::read(&once).unwrap(), "order {:?}", order);
            states.push(std::fs::read(&state).unwrap());
        }
        // Not a trace of the order.
        prop_assert!(states.iter().all(|state| *state == states[0]));
    }
}

/// Three small checkpoints, and a state of the first two.
fn two_counted() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for i in 1..=3 {
        let x = i as f32;
        let tensors =
            [f32s("w", &[x, 0.1 * x, -x]), i64s("n", &[i]), f32s("bn.running_mean", &[x])];
        save(&dir.path().join(format!("c_{i}.safetensors")), &tensors);
    }
    run(
        dir.path(),
        &["c_1.safetensors", "c_2.safetensors", "--state", "s", "-qo", "out.safetensors"],
    );
    dir
}

#[test]
fn every_byte_of_a_state_is_covered() {
    let dir = two_counted();
    let (path, whole) = (dir.path().join("t"), read(dir.path(), "s"));
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(held(&path).unwrap().inputs.len(), 2);
    for at in 0..whole.len() {
        for flip in [1u8, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            std::fs::write(&path, &bytes).unwrap();
            let error = held(&path).unwrap_err();
            assert_eq!(error.kind().exit_code(), 3, "byte {at}: {error}");
        }
        std::fs::write(&path, &whole[..at]).unwrap();
        assert_eq!(held(&path).unwrap_err().kind().exit_code(), 3, "{at} bytes");
    }
    std::fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    assert!(held(&path).unwrap_err().to_string().contains("damaged"));
}

/// Runs that must be refused: nothing changes.
fn refused(dir: &Path, code: i32, args: &[&str], parts: &[&str]) {
    let before: Vec<_> = listing(dir).into_iter().map(|name| (read(dir, &name), name)).collect();
    fails(swa_avg().current_dir(dir).args(args), code, parts);
    let after: Vec<_> = listing(dir).into_iter().map(|name| (read(dir, &name), name)).collect();
    assert!(before == after, "{args:?}");
}

#[test]
fn a_damaged_or_foreign_state_is_refused_and_everything_stays() {
    let dir = two_counted();
    let at = |name: &str| dir.path().join(name);
    let whole = read(dir.path(), "s");
    let args = |state: &'static str| ["c_3.safetensors", "--state", state, "-o", "out.safetensors"];
    let mut flipped = whole.clone();
    flipped[70] ^= 4; // in the sums, which are read last
    std::fs::write(at("flipped"), &flipped).unwrap();
    refused(dir.path(), 3, &args("flipped"), &["`flipped`: ", "do not match their digest"]);
    std::fs::write(at("cut"), &whole[..whole.len() - 5]).unwrap();
    refused(dir.path(), 3, &args("cut"), &["`cut`: ends too early"]);
    refused(dir.path(), 3, &args("c_1.safetensors"), &["is not the state of a running average"]);
    std::fs::write(at("empty"), b"").unwrap();
    refused(dir.path(), 3, &args("empty"), &["is not the state"]);
    std::fs::create_dir(at("folder")).unwrap();
    fails(swa_avg().current_dir(&dir).args(args("folder")), 2, &["is a folder"]);
    std::fs::remove_dir(at("folder")).unwrap();
    // One of another format.
    let mut later = whole.clone();
    later[8] = 2;
    std::fs::write(at("later"), &later).unwrap();
    refused(dir.path(), 3, &args("later"), &["digest"]);
    refused(
        dir.path(),
        2,
        &["c_3.safetensors", "--state", "out.safetensors", "-o", "out.safetensors"],
        &["same file"],
    );
}

#[test]
fn a_checkpoint_of_another_model_is_refused_and_everything_stays() {
    let dir = two_counted();
    let other = [f32s("w", &[1.0, 2.0]), f32s("more", &[1.0]), f32s("bn.running_mean", &[1.0])];
    save(&dir.path().join("other.safetensors"), &other);
    let parts = [
        "`other.safetensors`: 3 difference(s) from the checkpoints that were counted",
        "tensor `w`: expected shape [3], found [2]",
        "tensor `n`: missing",
        "tensor `more`: not in what was counted",
    ];
    let args = ["other.safetensors", "--state", "s", "-o", "out.safetensors"];
    refused(dir.path(), 3, &args, &parts);
    // Nor is it begun with something that cannot be averaged.
    save(&dir.path().join("bad.safetensors"), &[f32s("w", &[f32::NAN, 1.0, f32::INFINITY])]);
    let args = ["bad.safetensors", "--state", "new", "-o", "new.safetensors"];
    refused(
        dir.path(),
        3,
        &args,
        &["`bad.safetensors`: tensor `w`: 2 of its values are not finite"],
    );
}

#[test]
fn what_was_counted_is_not_counted_twice() {
    let dir = two_counted();
    let at = |name: &str| dir.path().join(name);
    std::fs::copy(at("c_2.safetensors"), at("copy_7.safetensors")).unwrap();
    run(dir.path(), &["c_2.safetensors", "-qo", "c_9.pth"]);
    // PyTorch's file of the same tensors, without what swa-avg wrote into it.
    let before = read(dir.path(), "s");
    for again in ["c_2.safetensors", "copy_7.safetensors", "c_9.pth"] {
        let said = run(dir.path(), &[again, "--state", "s", "-qo", "x"]);
        assert_eq!(said, "", "quiet");
        let output = swa_avg()
            .current_dir(&dir)
            .args([again, "--state", "s", "-o", "out.safetensors"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("not counted again"), "{said}");
        assert!(
            String::from_utf8_lossy(&output.stdout)
                .starts_with("nothing changed in out.safetensors")
        );
        assert!(read(dir.path(), "s") == before, "{again}");
    }
    // Two of the same at once, with a new one.
    std::fs::copy(at("c_3.safetensors"), at("c_4.safetensors")).unwrap();
    run(
        dir.path(),
        &[
            "c_3.safetensors",
            "c_4.safetensors",
            "copy_7.safetensors",
            "--state",
            "s",
            "-qo",
            "out.safetensors",
        ],
    );
    assert_eq!(held(&at("s")).unwrap().inputs.len(), 3);
    run(
        dir.path(),
        &["c_1.safetensors", "c_2.safetensors", "c_3.safetensors", "-qo", "once.safetensors"],
    );
    assert!(read(dir.path(), "out.safetensors") == read(dir.path(), "once.safetensors"));
    // A file that was touched is the same; one that was written anew is another, under a name that is taken.
    let file = std::fs::File::open(at("c_3.safetensors")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    run(dir.path(), &["c_3.safetensors", "--state", "s", "-qo", "out.safetensors"]);
    save(
        &at("c_3.safetensors"),
        &[f32s("w", &[9.0; 3]), i64s("n", &[3]), f32s("bn.running_mean", &[1.0])],
    );
    let args = ["c_3.safetensors", "--state", "s", "-o", "out.safetensors"];
    refused(
        dir.path(),
        3,
        &args,
        &["`c_3.safetensors`: another checkpoint was counted under this name"],
    );
}

#[test]
fn settings_stay_what_they_were() {
    let dir = two_counted();
    let more = |flags: &[&'static str]| -> Vec<&'static str> {
        [&["c_3.safetensors", "--state", "s", "-o", "out.safetensors"], flags].concat()
    };
    for (flags, part) in [
        (&["--bn-stats", "last"][..], "--bn-stats: mean at its beginning, last now"),
        (&["--include", "^w"], "--include: not given at its beginning, `^w` now"),
        (&["--allow-nonfinite"], "--allow-nonfinite: not given at its beginning, given now"),
        (&["--keep-names"], "--keep-names: "),
        (&["--weights-key", "model"], "--weights-key model: no tensor's name begins with it"),
        (&["--keys", "union"], "a state takes no --keys union"),
    ] {
        refused(dir.path(), 2, &more(flags), &[part]);
    }
    refused(dir.path(), 2, &more(&["--weights", "1"]), &["--weights"]);
    refused(dir.path(), 2, &more(&["--scheme", "ema:0.9"]), &["is the mean, not ema:0.9"]);
    refused(dir.path(), 2, &more(&["-o", "second"]), &["has one --output"]);
    // The output's type is its own.
    run(dir.path(), &more(&["-q", "--dtype", "bf16"]));
    run(
        dir.path(),
        &[
            "c_1.safetensors",
            "c_2.safetensors",
            "c_3.safetensors",
            "-qo",
            "once",
            "--dtype",
            "bf16",
        ],
    );
    assert!(read(dir.path(), "out.safetensors") == read(dir.path(), "once"));
    let said = "`s`: the state of a running average, not weights; write its output, or add to it, with --state";
    fails(swa_avg().current_dir(&dir).args(["s", "c_1.safetensors", "-o", "x"]), 3, &[said]);
    let list = text(swa_avg().current_dir(&dir).args(["--list", "s"]));
    assert!(
        list.contains("running average of 3 checkpoint(s)") && list.contains("c_3.safetensors"),
        "{list}"
    );
}

#[test]
fn an_output_is_replaced_only_if_it_is_of_this_average() {
    let dir = two_counted();
    std::fs::write(dir.path().join("mine"), "mine").unwrap();
    refused(
        dir.path(),
        2,
        &["c_3.safetensors", "--state", "s", "-o", "mine"],
        &["`mine`: exists already"],
    );
    run(dir.path(), &["c_1.safetensors", "-qo", "of-one.safetensors"]);
    run(dir.path(), &["c_3.safetensors", "--state", "s", "-qo", "of-one.safetensors"]);
    save(&dir.path().join("d_1.safetensors"), &[f32s("w", &[1.0])]);
    run(dir.path(), &["d_1.safetensors", "-qo", "of-another.safetensors"]);
    refused(dir.path(), 2, &["--state", "s", "-o", "of-another.safetensors"], &["exists already"]);
    run(dir.path(), &["--state", "s", "-qo", "of-another.safetensors", "--force"]);
    refused(
        dir.path(),
        2,
        &["--state", "s", "-o", "folder", "--max-shard-size", "1MB"],
        &["--max-shard-size"],
    );
    // A state that is begun has no earlier output, whatever the names of what it counts.
    let other = two_counted();
    std::fs::copy(other.path().join("out.safetensors"), dir.path().join("other.safetensors"))
        .unwrap();
    let before = read(dir.path(), "other.safetensors");
    let begun = ["c_1.safetensors", "c_2.safetensors", "--state", "new", "-o", "other.safetensors"];
    refused(dir.path(), 2, &begun, &["`other.safetensors`: exists already"]);
    assert_eq!(read(dir.path(), "other.safetensors"), before);
}

/// What comes from the last checkpoint follows the order of the paths, which is then not that of the numbers.
#[test]
fn paths_given_in_different_ways_are_said() {
    let dir = two_counted();
    let note =
        "are given in different ways, and the order of the checkpoints is that of their paths";
    let absolute = dir.path().join("c_3.safetensors");
    let said =
        run(dir.path(), &[absolute.to_str().unwrap(), "--state", "s", "-o", "out.safetensors"]);
    let first = format!("note: `{}` and `c_1.safetensors` ", absolute.display());
    assert!(said.contains(&first) && said.contains(note), "{said}");
    let said = run(
        dir.path(),
        &[
            "c_1.safetensors",
            "c_2.safetensors",
            "c_3.safetensors",
            "--state",
            "t",
            "-o",
            "once.safetensors",
        ],
    );
    assert!(!said.contains(note), "{said}");
}

#[test]
fn values_that_are_not_finite_follow_the_same_rules() {
    let dir = tempfile::tempdir().unwrap();
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let rows = [
        [1.0, inf, inf, -inf, nan, -0.0],
        [inf, inf, -inf, 2.0, 1.0, -0.0],
        [2.0, 1.0, 0.0, 0.0, 0.0, -0.0],
    ];
    let names: Vec<String> = (1..=3).map(|i| format!("c_{i}.safetensors")).collect();
    for (name, row) in names.iter().zip(&rows) {
        save(&dir.path().join(name), &[f32s("w", row), f32s("bn.running_var", row)]);
    }
    let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
    for flags in
        [&["--allow-nonfinite"][..], &["--allow-nonfinite", "--bn-stats", "last", "--dtype", "f64"]]
    {
        run(dir.path(), &[&inputs[..], &["-qo", "once", "--force"], flags].concat());
        for name in inputs.iter().rev() {
            run(dir.path(), &[&[*name, "--state", "s", "-qo", "out", "--force"], flags].concat());
        }
        assert!(read(dir.path(), "out") == read(dir.path(), "once"), "{flags:?}");
        std::fs::remove_file(dir.path().join("s")).unwrap();
    }
    // Means that the type does not hold.
    save(&dir.path().join("large.safetensors"), &[f32s("w", &[1e30])]);
    let args = ["large.safetensors", "--state", "s", "-o", "o", "--dtype", "f16"];
    refused(dir.path(), 3, &args, &["tensor `w`", "too large for F16"]);
}

/// Weights as training leaves them, of several million values.
fn ordinary(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n).map(|_| (next() + next() + next() + next()) * 0.03).collect()
}

#[test]
fn a_state_of_ordinary_weights_is_at_most_three_times_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let n = 600_000;
    for i in 0..8 {
        save(&dir.path().join(format!("c_{i}.safetensors")), &[f32s("w", &ordinary(n, i + 1))]);
    }
    let said = run(dir.path(), &["c_*.safetensors", "--state", "s", "-o", "out"]);
    let bytes = std::fs::metadata(dir.path().join("s")).unwrap().len();
    assert!(bytes <= 7 * n as u64 && !said.contains("bytes a value"), "{bytes} {said}");
    // Threads do not change a bit of it.
    run(dir.path(), &["c_*.safetensors", "--state", "t", "-qo", "out-1", "--threads", "1"]);
    assert!(read(dir.path(), "s") == read(dir.path(), "t"));
    // Exponents far apart take more, and that is said.
    let mut far = ordinary(n, 1);
    far.iter_mut().step_by(100).for_each(|x| *x *= 1e30);
    far.iter_mut().skip(50).step_by(100).for_each(|x| *x *= 1e-30);
    save(&dir.path().join("far.safetensors"), &[f32s("w", &far)]);
    let said = run(dir.path(), &["far.safetensors", "--state", "f", "-o", "out-f"]);
    assert!(
        said.contains("bytes a value: sums of values with far-apart exponents are long"),
        "{said}"
    );
}
