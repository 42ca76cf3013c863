//! What people's files held that was read as something else than it is, or left out without a word: each kind, by small
//! inputs of its own.

use std::path::PathBuf;

use safetensors::Dtype;
use swa_testing::*;

struct Run(tempfile::TempDir);

impl Run {
    fn new() -> Self {
        Run(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn avg(&self, arguments: &[&str]) -> assert_cmd::Command {
        let mut command = swa_avg();
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    /// What is noted; it must end well.
    fn notes(&self, arguments: &[&str]) -> String {
        let done = self.avg(arguments).arg("--force").output().unwrap();
        let notes = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success(), "{notes}");
        notes
    }
}

/// A matrix of integers.
fn matrix(name: &'static str, dtype: Dtype, value: u8) -> Tensor {
    (name, dtype, vec![2, 2], vec![value; 4 * dtype.bitsize() / 8])
}

#[test]
fn matrices_of_codes_are_refused_whatever_their_scales_are_called() {
    let run = Run::new();
    for (codes, dtype, beside) in [
        ("l.qweight", Dtype::I32, "l.lookup_table"),
        ("l.Qidxs", Dtype::I64, "l.Wscale"),
        ("l.indices", Dtype::I32, "l.centroids.weight"),
        ("l.trellis", Dtype::I16, "l.suh"),
        ("l.B", Dtype::I32, "l.s"),
        ("l.qkernel.qvalue", Dtype::I8, "l.qkernel.scale"),
        ("l.weight", Dtype::I8, "l.dequant_scale"),
        ("l.weight", Dtype::U8, "l.weight_quantizer.scale"),
    ] {
        for n in 1..3 {
            let tensors = [matrix(codes, dtype, n), f32s(beside, &[f32::from(n)])];
            save(&run.path(&format!("q_{n}.safetensors")), &tensors);
        }
        let files = ["q_1.safetensors", "q_2.safetensors", "-o", "out.safetensors"];
        let parts = [codes, "quantised", beside, "dequantise", "--exclude"];
        fails(&mut run.avg(&files), 3, &parts);
        assert!(!run.path("out.safetensors").exists());
        // Whoever insists leaves them out; one alone is copied.
        run.notes(&[&files[..], &["--exclude", &format!("^{codes}$")]].concat());
        run.notes(&[files[0], "-o", "copy.safetensors"]);
        std::fs::remove_file(run.path("out.safetensors")).unwrap();
    }
    for (plain, dtype) in [
        ("a.relative_position_index", Dtype::I32),
        ("a.mask", Dtype::U8),
        ("a.position_ids", Dtype::I64),
        ("a.idx", Dtype::I64),
        ("image", Dtype::U8),
    ] {
        for n in 1..3 {
            let tensors = [matrix(plain, dtype, n), f32s("a.weight", &[f32::from(n)])];
            save(&run.path(&format!("p_{n}.safetensors")), &tensors);
        }
        run.notes(&["p_1.safetensors", "p_2.safetensors", "-o", "plain.safetensors"]);
    }
}

#[test]
fn integers_alone_have_no_mean() {
    let run = Run::new();
    for n in 1..3 {
        let codes = matrix("l.weight", Dtype::U8, n);
        save(&run.path(&format!("q_{n}.safetensors")), &[codes, i64s("steps", &[i64::from(n)])]);
    }
    let parts = ["`q_1.safetensors`: holds integers alone", "floating-point"];
    fails(&mut run.avg(&["q_1.safetensors", "q_2.safetensors", "-o", "x.safetensors"]), 3, &parts);
    run.notes(&["q_1.safetensors", "-o", "copy.safetensors"]);
}
