//! Exported programs give PyTorch's numbers, through the two tools and by every method: `fixtures/programs/golden.py` wrote
//! the golden values. So do the files of other versions of torch.

mod golden_programs;

use std::fs;

use golden_programs::*;
use swa_testing::data_tools::*;

/// All methods with golden values, then the logits with the statistics of `cma`.
fn same_as_pytorch(name: &str, file: &str) {
    let golden = golden();
    let scene = Scene::new(&golden, name, file);
    let model = match scene.case.layers.is_empty() {
        true => "model.safetensors",
        false => {
            scene.same_statistics(file);
            "cma.safetensors"
        }
    };
    if let Some(expected) = golden.values(&format!("{name}:logits")) {
        scene.compare_logits("in one batch", &scene.logits(model, &[]), &expected);
    }
}

/// A test for each program.
macro_rules! programs {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                same_as_pytorch($name, $name);
            }
        )*

        #[test]
        fn every_program_is_tested() {
            // Here below; and those that are refused, whose tests are elsewhere.
            let others = ["static-one", "train", "train-decomposed"];
            let refused = ["branch", "drop-path", "two-heads", "two-images"];
            let mut names = [&[$($name),*][..], &others, &refused].concat();
            names.sort();
            assert!(golden().record.cases.keys().map(String::as_str).eq(names));
        }
    };
}

programs! {
    plain: "plain",
    grey_images: "grey",
    batchnorm_1d_over_tokens_and_rows: "tokens",
    batchnorm_3d: "volume",
    a_layer_at_two_places: "shared",
    a_layer_under_two_names: "tied",
    no_weight_and_bias: "no-affine",
    a_layer_without_running_statistics: "no-statistics",
    a_layer_without_momentum: "no-momentum",
    functional_batch_norm: "functional",
    a_dict_of_outputs: "dict",
    a_tuple_of_outputs: "tuple",
    segmentation: "segmentation",
    a_block_without_gradients: "no-grad",
    blocks_with_autocast: "autocast",
    a_fixed_batch_that_is_free: "static-free",
    a_fixed_batch: "static-four",
    a_batch_of_one_that_is_free: "static-one-free",
    a_largest_batch: "upper",
    any_size: "any-size",
    decomposed: "decomposed",
    strict: "strict",
    sync_batch_norm: "sync",
    frozen_batch_norm: "frozen",
    images_changed_in_place: "in-place",
    constants: "constants",
    foldable_and_not: "folding",
    standardised_weights: "weights",
    attention: "attention",
    wrapped: "wrapped",
    instance_norm_and_a_spare_layer: "instance",
    arithmetic_on_sizes: "arithmetic",
    resnet10t: "resnet10t",
    lcnet: "lcnet",
    levit: "levit",
    skresnet: "skresnet",
    shufflenet: "shufflenet",
    mobilevit: "mobilevit",
    efficientnet_lite: "efficientnet-lite",
    mobilenet_v3: "mobilenet-v3",
    regnet: "regnet",
    ghostnet: "ghostnet",
    densenet: "densenet",
    googlenet: "googlenet",
    vit: "vit",
    swin: "swin",
    lraspp: "lraspp",
    nf_regnet: "nf-regnet",
    efficientvit: "efficientvit",
    repvgg: "repvgg",
    resnet10t_decomposed: "resnet10t-decomposed",
    convnext: "convnext",
    resnet18: "resnet18",
    densenet121: "densenet121",
    mobilenet_v2: "mobilenet-v2",
}

/// Exported by other versions, whose files are laid out otherwise, the same networks give the same numbers.
fn of_version(version: &str) {
    for name in ["plain", "tokens", "static-four", "decomposed", "constants", "shufflenet"] {
        same_as_pytorch(name, &format!("{name}_torch{version}"));
    }
}

#[test]
fn files_of_torch_2_7() {
    of_version("2.7.1");
}

#[test]
fn files_of_torch_2_8() {
    of_version("2.8.0");
}

#[test]
fn files_of_torch_2_15() {
    of_version("2.15.0");
}

#[test]
fn exported_in_training_mode_the_statistics_are_the_same() {
    let golden = golden();
    for name in ["train", "train-decomposed"] {
        Scene::new(&golden, name, name).same_statistics(name);
    }
}

#[test]
fn a_program_for_single_images_evaluates() {
    same_as_pytorch("static-one", "static-one");
}

#[test]
fn the_size_of_batches_does_not_reach_the_logits() {
    let golden = golden();
    for name in [
        "tokens",
        "levit",
        "shufflenet",
        "static-free",
        "static-four",
        "static-one-free",
        "upper",
        "arithmetic",
    ] {
        let scene = Scene::new(&golden, name, name);
        json(&mut scene.update("cma", "cma.safetensors"));
        let expected = golden.values(&format!("{name}:logits")).unwrap();
        for size in ["1", "3", "4", "7"] {
            let fixed = name == "static-four" && size != "4" || name == "upper" && size == "7";
            if !fixed {
                let logits = scene.logits("cma.safetensors", &["--batch-size", size]);
                scene.compare_logits(&format!("in batches of {size}"), &logits, &expected);
            }
        }
    }
}

#[test]
fn parts_of_a_pass_have_the_bytes_of_the_whole() {
    let golden = golden();
    for name in ["tokens", "shared", "tied", "levit"] {
        let scene = Scene::new(&golden, name, name);
        for method in ["cma", "weighted", "pooled"] {
            json(&mut scene.update(method, "whole.safetensors"));
            for (shard, part) in [("0/2", "a"), ("1/2", "b")] {
                let mut tool = swa_bn_update();
                tool.current_dir(scene.dir.path());
                tool.args(["model.safetensors", "--program", "model.pt2", "--method", method]);
                tool.args(["--order", "dataset", "--batch-size", "6", "--force"]);
                tool.args(["--shard", shard, "--save-stats", part]).args(scene.pixels());
                json(tool.arg("--data").arg(scene.photographs(10)));
            }
            let mut merge = swa_bn_update();
            merge.current_dir(scene.dir.path()).args([
                "model.safetensors",
                "--program",
                "model.pt2",
            ]);
            json(merge.args(["--merge-stats", "b", "a", "--force", "-o", "merged.safetensors"]));
            let [whole, merged] = ["whole", "merged"]
                .map(|file| fs::read(scene.path(&format!("{file}.safetensors"))).unwrap());
            assert!(whole == merged, "{name} {method}");
        }
    }
}
