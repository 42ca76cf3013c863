use super::*;
use crate::checkpoint::{Dtype, TensorInfo};
use std::collections::BTreeMap;

fn f32s(name: &str, shape: &[usize], values: &[f32]) -> (TensorInfo, Vec<u8>) {
    let info = TensorInfo { name: name.into(), dtype: Dtype::F32, shape: shape.into() };
    (info, values.iter().flat_map(|x| x.to_le_bytes()).collect())
}

/// Two weights and a statistic, with three deviations.
fn posterior(dir: &Path) -> Posterior {
    let tensors = [
        f32s("w", &[2], &[1.0, -2.0]),
        f32s("bn.running_mean", &[1], &[7.0]),
        f32s("swag.variance.w", &[2], &[0.25, 0.0]),
        f32s("swag.deviations.w", &[3, 2], &[1.0, 2.0, -1.0, 0.5, 0.0, -2.0]),
    ];
    let metadata =
        BTreeMap::from([("swa".to_string(), r#"{"swag":{"deviations":3}}"#.to_string())]);
    let path = dir.join("swag.safetensors");
    crate::output::write_safetensors(&tensors, &metadata, &path, true).unwrap();
    Posterior::open(&path, &Take::default()).unwrap()
}

fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f64> {
    let bytes = checkpoint.bytes(checkpoint.position(name).unwrap()).unwrap();
    bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()) as f64).collect()
}

/// The covariance is s·(diag(v) + D Dᵀ / (K−1)).
#[test]
fn the_covariance_of_samples_is_that_of_the_moments() {
    let dir = tempfile::tempdir().unwrap();
    let posterior = posterior(dir.path());
    assert_eq!((posterior.deviations(), posterior.tensors()), (3, 1));
    let n = 20_000;
    let (mut sums, mut products) = ([0.0; 2], [[0.0; 2]; 2]);
    for sample in 0..n {
        let drawn = posterior.sample(&Draw { seed: 1, sample, scale: 0.5 }).unwrap();
        let w = values(&drawn, "w");
        let deviation = [w[0] - 1.0, w[1] + 2.0];
        for i in 0..2 {
            sums[i] += deviation[i];
            (0..2).for_each(|j| products[i][j] += deviation[i] * deviation[j]);
        }
        assert_eq!(values(&drawn, "bn.running_mean"), [7.0]);
    }
    // D Dᵀ = [[2, 1.5], [1.5, 8.25]].
    let expected = [[0.5 * (0.25 + 1.0), 0.375], [0.375, 0.5 * 4.125]];
    for i in 0..2 {
        assert!((sums[i] / n as f64).abs() < 4.0 * (expected[i][i] / n as f64).sqrt());
        for j in 0..2 {
            let found = products[i][j] / n as f64;
            let variance = expected[i][i] * expected[j][j] + expected[i][j] * expected[i][j];
            assert!(
                (found - expected[i][j]).abs() < 4.0 * (variance / n as f64).sqrt(),
                "{i} {j} {found}"
            );
        }
    }
}

#[test]
fn a_sample_follows_from_its_seed_and_number() {
    let dir = tempfile::tempdir().unwrap();
    let posterior = posterior(dir.path());
    let draw = |seed, sample, scale| {
        values(&posterior.sample(&Draw { seed, sample, scale }).unwrap(), "w")
    };
    assert_eq!(draw(1, 2, 0.5), draw(1, 2, 0.5));
    assert!(draw(1, 2, 0.5) != draw(1, 3, 0.5) && draw(1, 2, 0.5) != draw(2, 2, 0.5));
    assert_eq!(draw(1, 2, 0.0), [1.0, -2.0]);
    // Without variance the second weight moves by the deviations alone, by the same numbers as the first.
    let shared = Normals::new(1, 2, "");
    let z: Vec<f64> = (0..3).map(|i| shared.get(i) / 2f64.sqrt()).collect();
    let expected = -2.0 + 0.5f64.sqrt() * (2.0 * z[0] + 0.5 * z[1] - 2.0 * z[2]);
    assert!((draw(1, 2, 0.5)[1] - expected).abs() < 1e-6);
}

/// The same snapshots, in the authors' layout: their running updates are of f32, so the samples agree to its precision.
#[test]
fn the_authors_files_give_the_same_samples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/swag");
    let theirs = Posterior::open(&root.join("authors.pt"), &Take::default()).unwrap();
    assert_eq!((theirs.deviations(), theirs.tensors()), (3, 3));
    let file = std::fs::read(root.join("expected.safetensors")).unwrap();
    let numpys = safetensors::SafeTensors::deserialize(&file).unwrap();
    let numpy = |name: &str| -> Vec<f64> {
        let bytes = numpys.tensor(name).unwrap();
        bytes.data().chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let drawn = theirs.sample(&Draw { seed: 5, sample: 0, scale: 0.5 }).unwrap();
    let shared = Normals::new(5, 0, "");
    let found = values(&drawn, "base.conv.weight");
    let own = Normals::new(5, 0, "base.conv.weight");
    let (mean, variance) = (numpy("conv.weight"), numpy("swag.variance.conv.weight"));
    let deviations = numpy("swag.deviations.conv.weight");
    for (i, found) in found.iter().enumerate() {
        let columns = (0..3).map(|k| deviations[48 * k + i] * shared.get(k) / 2f64.sqrt());
        let expected =
            mean[i] + 0.5f64.sqrt() * (variance[i].sqrt() * own.get(i) + columns.sum::<f64>());
        // The square less the mean's square cancels: 1e-7 of 1, in a variance of some 1e-3.
        assert!((found - expected).abs() < 1e-4, "{i}: {found} {expected}");
    }
}

#[test]
fn a_file_without_moments_is_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/swag/ckpt_1.safetensors");
    let error = Posterior::open(&path, &Take::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::NoMatch);
    assert!(error.to_string().contains("holds no moments to draw from; write them"), "{error}");
}
