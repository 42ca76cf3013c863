//! Passes in parts, and passes that were interrupted.

use std::fs;

use super::*;

#[test]
fn parts_interruptions_and_one_pass_end_in_the_same_bytes() {
    let folder = Folder::new();
    let (model, program) = folder.network("plain");
    let whole = folder.path("whole.safetensors");
    update(&model, &program, &whole, &["--batch-size", "3"]).assert().success();
    let part = |shard: &str, program: &Path, name: &str| {
        let path = folder.path(name);
        let mut command = swa_bn_update();
        command.arg(&model).arg("--program").arg(program).args(PIXELS).args([
            "--threads",
            "1",
            "--batch-size",
            "3",
        ]);
        command.arg("--data").arg(photos()).args(["--shard", shard, "--save-stats"]).arg(&path);
        command.assert().success();
        path
    };
    let parts = [part("0/2", &program, "p0"), part("1/2", &program, "p1")];
    let merge = |parts: &[&Path], program: Option<&Path>, out: &Path| {
        let mut command = swa_bn_update();
        command.arg(&model).arg("-o").arg(out);
        if let Some(program) = program {
            command.arg("--program").arg(program);
        }
        command.arg("--merge-stats").args(parts);
        command
    };
    let merged = folder.path("merged.safetensors");
    let both: [&Path; 2] = [&parts[0], &parts[1]];
    merge(&both, Some(&program), &merged).assert().success();
    assert_eq!(fs::read(&merged).unwrap(), fs::read(&whole).unwrap());
    // With another program, or none.
    let other = folder.program("no-grad");
    let out = folder.path("other.safetensors");
    fails(
        &mut merge(&both, Some(&other), &out),
        3,
        &["was made with another program", "--program"],
    );
    fails(&mut merge(&both, None, &out), 3, &["not recognised", "--program"]);
    let mixed = part("1/2", &other, "q1");
    fails(
        &mut merge(&[&parts[0], &mixed], Some(&program), &out),
        3,
        &["is of another pass", "another program"],
    );
    // An equal program elsewhere is the same.
    let copy = folder.path("elsewhere.pt2");
    fs::copy(&program, &copy).unwrap();
    merge(&both, Some(&copy), &out).assert().success();
    assert_eq!(fs::read(&out).unwrap(), fs::read(&whole).unwrap());
    // A state of another program is not gone on with; of the same it is, and goes when all is done.
    let state = folder.path("state");
    fs::copy(part("0/1", &program, "all"), &state).unwrap();
    let resume = ["--batch-size", "3", "--force", "--resume", state.to_str().unwrap()];
    fails(
        &mut update(&model, &other, &out, &resume),
        3,
        &["is the state of another pass", "it ran another program"],
    );
    update(&model, &program, &out, &resume).assert().success();
    assert_eq!(fs::read(&out).unwrap(), fs::read(&whole).unwrap());
    assert!(!state.exists());
}

#[test]
fn an_evaluation_in_parts_is_that_of_one_process() {
    let folder = Folder::new();
    let (model, program) = folder.network("plain");
    let (other, other_program) = folder.network("tokens");
    let (models, programs): ([&Path; 2], [&Path; 2]) =
        ([&model, &other], [&program, &other_program]);
    let whole = json(&mut eval(&models, &programs, &["--ensemble", "--batch-size", "3"]));
    let part = |shard: &str, programs: &[&Path], name: &str| {
        let path = folder.path(name);
        let mut command =
            eval(&models, programs, &["--ensemble", "--batch-size", "3", "--shard", shard]);
        command.arg("--save-outcomes").arg(&path).assert().success();
        path
    };
    let parts = [part("0/2", &programs, "p0"), part("1/2", &programs, "p1")];
    let mut command = swa_eval();
    let merged = json(command.arg("--merge-outcomes").args(&parts));
    for (a, b) in [("models", "models"), ("ensemble", "ensemble")] {
        assert_eq!(merged[a], whole[b]);
    }
    assert_eq!(merged["models"][1]["program"]["torch"], "2.11.0");
    // In turns.
    let turns = json(&mut eval(
        &models,
        &programs,
        &["--ensemble", "--batch-size", "3", "--models-at-once", "1"],
    ));
    assert_eq!((&turns["models"], &turns["ensemble"]), (&whole["models"], &whole["ensemble"]));
}
