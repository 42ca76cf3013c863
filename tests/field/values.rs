//! Values: of weights that are quantised or pruned, of masks, of integers alone or in buffers, of tied tensors.

use safetensors::Dtype;
use swa_testing::*;

use crate::run::{Run, fixture};

/// A matrix of integers.
fn matrix(name: &'static str, dtype: Dtype, value: u8) -> Tensor {
    (name, dtype, vec![2, 2], vec![value; 4 * dtype.bitsize() / 8])
}

#[test]
fn codes_of_quantised_weights_are_refused() {
    let run = Run::new();
    for n in 0..2u8 {
        let codes = ("layer.weight", Dtype::U8, vec![4, 1], vec![n; 4]);
        save(
            &run.path(&format!("q_{n}.safetensors")),
            &[codes, f32s("layer.weight.absmax", &[1.0])],
        );
    }
    let mut command = run.avg(&["q_0.safetensors", "q_1.safetensors", "-o", "x.safetensors"]);
    let parts = ["tensor `layer.weight`", "quantised", "`layer.weight.absmax`", "dequantise"];
    fails(&mut command, 3, &parts);
    // They can be looked at, and one alone is copied.
    let done = run.avg(&["--list", "q_0.safetensors"]).output().unwrap();
    let notes = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success() && notes.contains("note: not averaged with others: "), "{notes}");
    run.avg(&["q_0.safetensors", "-o", "copy.safetensors"]).assert().success();
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
        ("l.weight._data._data", Dtype::U8, "l.weight._scale"),
        ("l.weight.packed", Dtype::I8, "l.weight.zero"),
    ] {
        for n in 1..3 {
            let tensors = [matrix(codes, dtype, n), f32s(beside, &[f32::from(n)])];
            save(&run.path(&format!("q_{n}.safetensors")), &tensors);
        }
        let files = ["q_1.safetensors", "q_2.safetensors", "-o", "out.safetensors"];
        let parts = [codes, "quantised", beside, "dequantise", "--exclude"];
        fails(&mut run.avg(&files), 3, &parts);
        fails(&mut run.avg(&[&files[..], &["--state", "state"]].concat()), 3, &parts);
        assert!(!run.path("out.safetensors").exists() && !run.path("state").exists());
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

/// The mean of what a network makes of weights and masks is not what it makes of their means, unless the masks are one.
#[test]
fn weights_that_are_pruned_in_different_places_are_refused() {
    let run = Run::new();
    let files = ["p_1.safetensors", "p_2.safetensors", "-o", "out.safetensors"];
    let write = |name: &str, value: f32, mask: &[f32]| {
        let weight = [value, value, value];
        save(&run.path(name), &[f32s("l.weight_orig", &weight), f32s("l.weight_mask", mask)]);
    };
    write("p_1.safetensors", 1.0, &[1.0, 0.0, 1.0]);
    write("p_2.safetensors", 2.0, &[0.0, 0.0, 1.0]);
    let parts = ["p_2.safetensors", "l.weight_mask", "`p_1.safetensors`", "prune.remove"];
    fails(&mut run.avg(&files), 3, &parts);
    write("p_2.safetensors", 2.0, &[1.0, 0.0, 1.0]);
    run.notes(&files);
    let mean = load(&run.path("out.safetensors"));
    assert_eq!(to_f32(&mean["l.weight_orig"]), [1.5; 3]);
    assert_eq!(to_f32(&mean["l.weight_mask"]), [1.0, 0.0, 1.0]);
    // A state sees one after the other.
    let state = [&files[..], &["--state", "state", "--force"]].concat();
    fails(&mut run.avg(&state), 3, &["l.weight_mask", "state", "prune.remove"]);
    // So with sparse weights and their places.
    for (values, places) in [
        ("l.values", "l.col_indices"),
        ("l.weight.compressed", "l.weight.bitmask"),
        ("l.weight_packed", "l.weight_meta"),
    ] {
        let write = |n: u8, place: u8| {
            let tensors =
                [f32s(values, &[f32::from(n)]), (places, Dtype::I16, vec![1], vec![place, 0])];
            save(&run.path(&format!("p_{n}.safetensors")), &tensors);
        };
        write(1, 3);
        write(2, 4);
        fails(run.avg(&files).arg("--force"), 3, &[places, "`p_1.safetensors`", "dense"]);
        write(2, 3);
        run.notes(&files);
    }
    // Masks of something else are buffers.
    for n in [1.0, 2.0] {
        let tensors = [f32s("attn_mask", &[n]), f32s("w", &[n])];
        save(&run.path(&format!("m_{n}.safetensors")), &tensors);
    }
    run.notes(&["m_1.safetensors", "m_2.safetensors", "-o", "masks.safetensors"]);
}

/// Bounds that nothing is bound by, metrics and observers that have seen no data.
#[test]
fn infinities_that_are_all_there_is_are_no_diverged_training() {
    let run = Run::new();
    let infinite = f32::INFINITY;
    let average = |bounds: [&[f32]; 2], state: &str| {
        for (n, bound) in (1..3).zip(bounds) {
            let tensors = [f32s("w", &[n as f32]), f32s("bound", bound)];
            save(&run.path(&format!("a_{n}.safetensors")), &tensors);
        }
        let inputs = ["a_1.safetensors", "a_2.safetensors", "-o", "x.safetensors", "--force"];
        match state {
            "" => run.avg(&inputs),
            state => run.avg(&[&inputs[..], &["--state", state]].concat()),
        }
    };
    for (state, bound) in [("", infinite), ("s1", infinite), ("", -infinite), ("s2", -infinite)] {
        average([&[bound], &[bound]], state).assert().success();
        assert_eq!(to_f32(&load(&run.path("x.safetensors"))["bound"]), [bound]);
    }
    // Some of many may be an overflow, and of different ones there is no mean.
    let mut last_of_many = vec![1.0; 1025];
    last_of_many[1024] = infinite;
    for (n, bounds) in [
        [&last_of_many[..], &last_of_many],
        [&[infinite, 1.0][..], &[infinite, 1.0]],
        [&[infinite, infinite], &[infinite, 1.0]],
        [&[infinite], &[-infinite]],
        [&[f32::NAN, infinite], &[f32::NAN, infinite]],
        [&[f32::NAN], &[f32::NAN]],
    ]
    .into_iter()
    .enumerate()
    {
        for state in ["", &format!("t{n}")] {
            fails(&mut average(bounds, state), 3, &["bound", "diverged"]);
        }
    }
    // Statistics and weights are no bounds.
    for name in ["bn.running_var", "fc.bias"] {
        for n in 1..3 {
            save(
                &run.path(&format!("a_{n}.safetensors")),
                &[f32s("w", &[1.0]), f32s(name, &[infinite])],
            );
        }
        let inputs = ["a_1.safetensors", "a_2.safetensors", "-o", "x.safetensors", "--force"];
        fails(&mut run.avg(&inputs), 3, &[name, "diverged"]);
        let state = format!("{name}.state");
        fails(&mut run.avg(&[&inputs[..], &["--state", &state]].concat()), 3, &[name]);
    }
}

#[test]
fn masks_are_no_diverged_training() {
    let run = Run::new();
    let infinite = f32::NEG_INFINITY;
    let write = |name: &str, w: f32, mask: &[f32]| {
        save(&run.path(name), &[f32s("w", &[w]), f32s("mask", mask)]);
    };
    write("a_1.safetensors", 1.0, &[0.0, infinite, infinite]);
    write("a_2.safetensors", 3.0, &[0.0, infinite, infinite]);
    let inputs = ["a_1.safetensors", "a_2.safetensors", "-o", "x.safetensors", "--force"];
    // At once, and one after the other.
    let states = || {
        drop(std::fs::remove_file(run.path("s")));
        run.avg(&["a_1.safetensors", "--state", "s", "-o", "x.safetensors", "--force"])
            .assert()
            .success();
        run.avg(&["a_2.safetensors", "--state", "s", "-o", "x.safetensors", "--force"])
    };
    for mask in [[0.0, infinite, infinite], [infinite, 1.0, -0.0]] {
        write("a_1.safetensors", 1.0, &mask);
        write("a_2.safetensors", 3.0, &mask);
        for mut command in [run.avg(&inputs), states()] {
            let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
            assert!(!said.contains("finite"), "{said}");
            let out = load(&run.path("x.safetensors"));
            assert_eq!((to_f32(&out["mask"]), to_f32(&out["w"])), (mask.to_vec(), vec![2.0]));
        }
    }
    write("a_1.safetensors", 1.0, &[0.0, infinite, infinite]);
    let diverged = [
        vec![0.0, infinite, 1.0],
        vec![0.0, infinite, f32::INFINITY],
        vec![0.0, infinite, f32::NAN],
        vec![infinite; 3],
    ];
    for mask in diverged {
        write("a_2.safetensors", 3.0, &mask);
        fails(&mut run.avg(&inputs), 3, &["tensor `mask`", "not finite"]);
        fails(&mut states(), 3, &["tensor `mask`", "not finite"]);
    }
    write("a_2.safetensors", 3.0, &[0.0; 3]);
    fails(&mut states(), 3, &["tensor `mask`", "is finite where others are not"]);
    // Nor are they where they are NaN in all.
    for name in ["a_1.safetensors", "a_2.safetensors"] {
        write(name, name.len() as f32, &[0.0, f32::NAN, 0.0]);
    }
    save(&run.path("a_2.safetensors"), &[f32s("w", &[5.0]), f32s("mask", &[0.0, f32::NAN, 0.0])]);
    fails(&mut run.avg(&inputs), 3, &["tensor `mask`", "not finite"]);
}

#[test]
fn integers_alone_have_no_mean() {
    let run = Run::new();
    for n in 1..3 {
        let codes = matrix("l.weight", Dtype::U8, n);
        save(&run.path(&format!("q_{n}.safetensors")), &[codes, i64s("steps", &[i64::from(n)])]);
    }
    let parts = ["`q_1.safetensors`: holds integers alone", "floating-point"];
    let files = ["q_1.safetensors", "q_2.safetensors", "-o", "x.safetensors"];
    fails(&mut run.avg(&files), 3, &parts);
    fails(&mut run.avg(&[&files[..], &["--state", "state"]].concat()), 3, &parts);
    run.notes(&["q_1.safetensors", "-o", "copy.safetensors"]);
}

#[test]
fn a_buffer_called_steps_is_no_counter() {
    let run = Run::new();
    let steps = |value: f32| f32s("module.steps", &[value, value]);
    for i in [1, 2] {
        let path = run.path(&format!("e_{i}.safetensors"));
        save(&path, &[f32s("module.bn.weight", &[i as f32]), steps(i as f32)]);
    }
    run.avg(&["e_1.safetensors", "e_2.safetensors", "-o", "out"]).assert().success();
    assert_eq!(to_f32(&load(&run.path("out"))["steps"]), [1.5, 1.5]);
}

#[test]
fn tied_tensors_of_a_copy_have_one_value() {
    let run = Run::new();
    let tied = fixture("layout-tied");
    let whole = std::fs::read(tied.join("expected.safetensors")).unwrap();
    let at = {
        let file = safetensors::SafeTensors::deserialize(&whole).unwrap();
        file.tensor("lm_head.weight").unwrap().data().as_ptr() as usize - whole.as_ptr() as usize
    };
    let mut other = whole.clone();
    other[at..at + 4].copy_from_slice(&7f32.to_le_bytes());
    std::fs::write(run.path("a"), &whole).unwrap();
    std::fs::write(run.path("b"), &other).unwrap();
    let like = tied.join("step_100.pt").display().to_string();
    for _ in 0..20 {
        let mut command = run.avg(&["a", "b", "--like", &like, "-o", "x.pth"]);
        let parts =
            ["step_100.pt", "other tensors in the same place (tied), and their results differ"];
        fails(&mut command, 3, &parts);
        assert!(!run.path("x.pth").exists());
    }
    run.avg(&["a", "--like", &like, "-o", "y.pth"]).assert().success();
}
