//! Statistics recomputed within programs.

use super::*;

#[test]
fn what_a_program_leaves_alone_is_named() {
    let folder = Folder::new();
    let used = |name: &str| -> (Value, String) {
        let (model, program) = folder.network(name);
        let out = folder.path("out.safetensors");
        let stderr = notes(&mut update(&model, &program, &out, &["--force"]));
        let printed = json(&mut update(&model, &program, &out, &["--force"]));
        for list in ["left", "not_reached"] {
            for layer in printed["program"][list].as_array().unwrap() {
                let mean = format!("{}.running_mean", layer.as_str().unwrap());
                assert_eq!(load(&out)[&mean], load(&model)[&mean], "{mean}");
            }
        }
        (printed["program"].clone(), stderr)
    };
    let (program, stderr) = used("frozen");
    assert_eq!(program["left"], serde_json::json!(["body.bn"]));
    assert!(
        stderr.contains("plain arithmetic in the program") && stderr.contains("`body.bn`"),
        "{stderr}"
    );
    let (program, stderr) = used("instance");
    assert_eq!(program["not_reached"], serde_json::json!(["spare"]));
    assert_eq!(program["left"], serde_json::json!(["instance"]));
    assert!(stderr.contains("not reached by the program"), "{stderr}");
    let (program, stderr) = used("shared");
    assert_eq!(program["shared"], serde_json::json!(["twice.bn"]));
    assert!(stderr.contains("at several places"), "{stderr}");
    let (program, stderr) = used("no-statistics");
    assert_eq!(program["by_batch"].as_array().unwrap().len(), 1);
    assert!(stderr.contains("results depend on which images share a batch"), "{stderr}");
}

#[test]
fn a_layer_at_several_places_is_not_recomputed_layer_by_layer() {
    let folder = Folder::new();
    let (model, program) = folder.network("shared");
    let out = folder.path("out.safetensors");
    let parts = ["batchnorm layer `twice.bn` stands at 2 places", "--method pooled"];
    fails(&mut update(&model, &program, &out, &["--method", "layerwise"]), 2, &parts);
    update(&model, &program, &out, &[]).assert().success();
    // PyTorch's counter counts both.
    assert_eq!(load(&out)["twice.bn.num_batches_tracked"], 4i64.to_le_bytes());
    assert_eq!(load(&out)["stem.bn.num_batches_tracked"], 2i64.to_le_bytes());
    let bn_data = photos();
    let mut command =
        eval(&[&model], &[&program], &["--compare-stats", "--batch-size", "5", "--bn-data"]);
    let printed = json(command.arg(bn_data));
    let rows = printed["statistics"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["statistics"].as_str().unwrap()).collect();
    assert_eq!(names, ["averaged", "cma", "weighted", "pooled"]);
}

#[test]
fn a_program_in_training_mode_gives_the_statistics_of_one_in_evaluation() {
    let folder = Folder::new();
    let (model, plain) = folder.network("plain");
    let expected = updated(&model, &plain, &folder.path("a.safetensors"), &[]);
    let (model, train) = folder.network("train");
    let found = updated(&model, &train, &folder.path("b.safetensors"), &[]);
    // The network has dropout besides, which is off.
    assert_eq!(found, expected);
    let parts = ["was exported in training mode", "model.eval()"];
    fails(&mut eval(&[&model], &[&train], &[]), 3, &parts);
    let (model, random) = folder.network("drop-path");
    let parts = ["the program draws random numbers (aten.bernoulli_.float", "model.eval()"];
    fails(&mut update(&model, &random, &folder.path("c"), &[]), 3, &parts);
    fails(&mut eval(&[&model], &[&random], &[]), 3, &["model.eval()"]);
}

#[test]
fn all_methods_freezing_and_stopping_work() {
    let folder = Folder::new();
    let (model, program) = folder.network("plain");
    let out = folder.path("out.safetensors");
    let mut seen = vec![];
    for method in ["cma", "weighted", "pooled", "layerwise"] {
        let extra = ["--method", method, "--batch-size", "4", "--force"];
        seen.push(updated(&model, &program, &out, &extra));
        assert_eq!(record(&out)["bn_update"]["method"], method);
    }
    for i in 0..seen.len() {
        assert!(!seen[..i].contains(&seen[i]), "two methods agree");
    }
    let printed = json(&mut update(&model, &program, &out, &["--freeze", "^stem", "--force"]));
    assert_eq!(printed["frozen"], serde_json::json!(["stem.bn"]));
    assert_eq!(load(&out)["stem.bn.running_mean"], load(&model)["stem.bn.running_mean"]);
    assert_ne!(load(&out)["body.bn.running_mean"], load(&model)["body.bn.running_mean"]);
    let extra = ["--batch-size", "1", "--until-stable", "9", "--force"];
    let printed = json(&mut update(&model, &program, &out, &extra));
    assert_eq!(printed["stable"], true);
    let mut command =
        eval(&[&model], &[&program], &["--compare-stats", "--batch-size", "5", "--bn-data"]);
    let printed = json(command.arg(photos()).arg("--last").arg(&out));
    assert_eq!(printed["statistics"].as_array().unwrap().len(), 6);
    assert_eq!(printed["program"]["torch"], "2.11.0");
}

#[test]
fn statistics_of_another_program_are_noted() {
    let folder = Folder::new();
    let (model, program) = folder.network("plain");
    let other = folder.program("no-grad");
    let out = folder.path("out.safetensors");
    update(&model, &program, &out, &[]).assert().success();
    let remark = "were collected with another program than it runs here";
    let stderr = notes(&mut eval(&[&out], &[&other], &[]));
    assert!(stderr.contains(remark), "{stderr}");
    assert!(stderr.contains("program no-grad.pt2 ("), "{stderr}");
    assert!(!notes(&mut eval(&[&out], &[&program], &[])).contains(remark));
    assert!(!notes(&mut eval(&[&model], &[&program], &[])).contains(remark));
}
