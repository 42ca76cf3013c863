//! SWAG's moments: numpy's values, the mean's bytes, and a file that is a checkpoint like any other.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use swa_testing::{f32s, fixtures, listing, load, save, swa_avg, text, to_f32};
use swa_tools::checkpoint::{Checkpoint, Take};

fn snapshots() -> Vec<PathBuf> {
    (1..=6).map(|n| fixtures().join(format!("swag/ckpt_{n}.safetensors"))).collect()
}

fn average(out: &Path, args: &[&str], inputs: &[PathBuf]) -> assert_cmd::Command {
    let mut command = swa_avg();
    command.args(inputs).arg("-o").arg(out).args(args);
    command
}

/// Values of any floating type.
fn values(path: &Path, name: &str) -> (Vec<usize>, Vec<f64>) {
    let file = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let view = tensors.tensor(name).unwrap();
    let values = match view.dtype() {
        Dtype::F64 => {
            view.data().chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
        }
        Dtype::F32 => to_f32(view.data()).into_iter().map(f64::from).collect(),
        Dtype::BF16 => {
            let wide =
                |b: &[u8]| f32::from_bits((u16::from_le_bytes([b[0], b[1]]) as u32) << 16) as f64;
            view.data().chunks(2).map(wide).collect()
        }
        other => panic!("{other:?}"),
    };
    (view.shape().to_vec(), values)
}

#[test]
fn the_moments_are_numpys() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("swag.safetensors");
    average(&out, &["--scheme", "swag:3"], &snapshots()).assert().success();
    let expected = fixtures().join("swag/expected.safetensors");
    let mut count = 0;
    for name in load(&expected).keys() {
        let ((shape, found), (same, numpys)) = (values(&out, name), values(&expected, name));
        assert_eq!(shape, same, "{name}");
        let half = name == "half.weight";
        for (found, numpy) in found.iter().zip(numpys) {
            // One rounding, and numpy's own: the deviations cancel, by the size of what is left of 1.
            let unit = if half { 2f64.powi(-8) } else { 2f64.powi(-23) };
            let error = (found - numpy).abs();
            assert!(error <= unit * numpy.abs() + 1e-38, "{name}: {found} {numpy}");
            count += 1;
        }
    }
    assert_eq!(count, (48 + 6 + 2 + 5) * 5);
    // Nothing that numpy does not have, but batchnorm's statistics and their counter.
    let names: Vec<String> = load(&out).into_keys().filter(|name| name.contains("bn.")).collect();
    assert_eq!(names, ["bn.num_batches_tracked", "bn.running_mean", "bn.running_var"]);
    // A weight that never moves has no variance, whatever a sum of squares makes of 0.1.
    assert_eq!(values(&out, "swag.variance.still.weight").1, [0.0, 0.0]);
}

#[test]
fn the_mean_is_that_of_every_other_average() {
    let dir = tempfile::tempdir().unwrap();
    let (swag, mean) = (dir.path().join("swag.safetensors"), dir.path().join("mean.safetensors"));
    average(&swag, &["--scheme", "swag:2", "--threads", "1"], &snapshots()).assert().success();
    average(&mean, &[], &snapshots()).assert().success();
    let (tensors, plain) = (load(&swag), load(&mean));
    assert!(plain.iter().all(|(name, bytes)| tensors[name] == *bytes));
    // Opened as a model it is the mean, with nothing beside it.
    let open = |path: &Path| Checkpoint::open(path).unwrap();
    assert_eq!(open(&swag).tensors(), open(&mean).tensors());
    let take = Take { moments: true, ..Take::default() };
    assert_eq!(Checkpoint::open_with(&swag, &take).unwrap().tensors().len(), tensors.len());
    let take = Take { key: Some("swag.variance".into()), ..Take::default() };
    assert_eq!(Checkpoint::open_with(&swag, &take).unwrap().tensors().len(), 4);
    assert!(
        text(swa_avg().arg("--verify").arg(&swag)).contains("15 tensors are as they were written")
    );
    let again = dir.path().join("again.safetensors");
    average(&again, &[], std::slice::from_ref(&swag)).assert().success();
    assert_eq!(load(&again), plain);
    // The digests cover the moments.
    let mut bytes = std::fs::read(&swag).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&swag, bytes).unwrap();
    swa_avg().arg("--verify").arg(&swag).assert().failure().code(3);
    // Threads do not change a byte.
    let other = dir.path().join("other.safetensors");
    average(&swag, &["--scheme", "swag:2", "--force", "--threads", "1"], &snapshots())
        .assert()
        .success();
    average(&other, &["--scheme", "swag:2", "--threads", "4"], &snapshots()).assert().success();
    assert_eq!(std::fs::read(&swag).unwrap(), std::fs::read(&other).unwrap());
}

/// More values than a block: small integers, so that f64 is exact.
#[test]
fn large_tensors_are_written_block_by_block() {
    let dir = tempfile::tempdir().unwrap();
    let value = |i: usize, n: usize| ((i * 37 + n * n * 101) % 257) as f32 - 128.0;
    let size = 70_001;
    let paths: Vec<PathBuf> =
        (0..4).map(|n| dir.path().join(format!("c_{n}.safetensors"))).collect();
    for (n, path) in paths.iter().enumerate() {
        let values: Vec<f32> = (0..size).map(|i| value(i, n)).collect();
        save(path, &[f32s("w", &values), f32s("b", &[n as f32])]);
    }
    let out = dir.path().join("out.safetensors");
    average(&out, &["--scheme", "swag:9"], &paths).assert().success();
    let (shape, deviations) = values(&out, "swag.deviations.w");
    assert_eq!(shape, [4, size]);
    let (mean, variance) = (values(&out, "w").1, values(&out, "swag.variance.w").1);
    for i in 0..size {
        let all: Vec<f64> = (0..4).map(|n| value(i, n) as f64).collect();
        let (sum, squares): (f64, f64) = (all.iter().sum(), all.iter().map(|x| x * x).sum());
        assert_eq!(mean[i], (sum / 4.0) as f32 as f64);
        assert_eq!(variance[i], ((4.0 * squares - sum * sum) / 16.0) as f32 as f64);
        for n in 0..4 {
            let so_far: f64 = all[..=n].iter().sum();
            let expected = ((n + 1) as f64 * all[n] - so_far) / (n + 1) as f64;
            assert_eq!(deviations[n * size + i], expected as f32 as f64);
        }
    }
}

#[test]
fn what_has_no_moments_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.safetensors");
    let one = &snapshots()[..1];
    for (args, inputs, code, what) in [
        (&["--scheme", "swag:1"][..], &snapshots()[..], 2, "2 or more"),
        (&["--scheme", "swag:3"], one, 2, "1 checkpoint has no variance"),
        (&["-o", "swag:2=b.safetensors"], &snapshots(), 2, "it is the only output"),
    ] {
        let output = average(&out, args, inputs).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && error.contains(what), "{error}");
    }
    let output =
        average(&dir.path().join("out.pth"), &["--scheme", "swag:2"], &snapshots()).output();
    let error = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(
        error.contains("written to a safetensors file; end the name in .safetensors"),
        "{error}"
    );
    let bad = dir.path().join("bad.safetensors");
    save(&bad, &[f32s("w", &[f32::NAN])]);
    save(&dir.path().join("good.safetensors"), &[f32s("w", &[1.0])]);
    let inputs = [bad, dir.path().join("good.safetensors")];
    let output =
        average(&out, &["--scheme", "swag:2", "--allow-nonfinite"], &inputs).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    // 3e38 and −3e38: finite, their variance in f32 is not.
    save(&inputs[0], &[f32s("w", &[3e38])]);
    save(&inputs[1], &[f32s("w", &[-3e38])]);
    let output = average(&out, &["--scheme", "swag:2"], &inputs).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(3)
            && error.contains("too large for F32; choose a --dtype with a wider range: f64"),
        "{error}"
    );
    assert_eq!(listing(dir.path()), ["bad.safetensors", "good.safetensors"]);
}
