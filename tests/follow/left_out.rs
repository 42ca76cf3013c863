//! What is not counted, and what is said of it.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use swa_testing::{f32s, listing, save, swa_avg};

use crate::scene::*;

#[test]
fn what_is_not_complete_or_not_of_the_model_is_not_counted_and_said() {
    let scene = Scene::new(3);
    let whole = scene.bytes(2);
    // Half written when the trainer died, complete from the beginning, and of another model.
    std::fs::write(scene.path("run/c_2.safetensors"), &whole[..whole.len() / 2]).unwrap();
    scene.put(1);
    let mut follower = scene.follow(&["--state", "s", "--json"]);
    scene.until("the first", &mut follower, || scene.output().is_some());
    save(&scene.path("other"), &[f32s("w", &[1.0])]);
    std::fs::rename(scene.path("other"), scene.path("run/c_9.safetensors")).unwrap();
    std::fs::write(scene.path("run/c_8.safetensors"), b"").unwrap();
    scene.put(3);
    let expected = scene.expected([1, 3].into_iter(), &[]);
    scene.until("the third", &mut follower, || scene.output().unwrap() == expected);
    follower.signal("-TERM");
    let output = follower.end();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    // The output lacks a checkpoint that is complete: that is an error, at the end.
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(
        stderr.contains("c_9.safetensors`: 3 difference(s) from the checkpoints that were counted"),
        "{stderr}"
    );
    let stdout = String::from_utf8(output.stdout).unwrap();
    let end: Value = stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|line| line["event"] == "end")
        .unwrap();
    let paths = |key: &str| {
        end[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["path"].as_str().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(paths("unfinished"), ["run/c_2.safetensors", "run/c_8.safetensors"]);
    assert_eq!(paths("refused"), ["run/c_9.safetensors"]);
    assert!(end["unfinished"][0]["reason"].as_str().unwrap().contains("truncated"), "{end}");
    assert!(scene.output().unwrap() == expected);
    // It is finished later: a restart counts it.
    std::fs::write(scene.path("run/c_2.safetensors"), &whole).unwrap();
    std::fs::remove_file(scene.path("run/c_9.safetensors")).unwrap();
    let output = scene.follow(&["--state", "s", "--until", "3"]).end();
    ended_well(&output);
    assert!(scene.output().unwrap() == scene.expected(1..=3, &[]));
}

/// What a trainer leaves of a sharded model that it never finished.
#[test]
fn models_that_are_not_whole_are_said_and_their_parts_are_a_sign_of_life() {
    let scene = Scene::new(1);
    let shards = scene.path("run/c_5");
    std::fs::create_dir(&shards).unwrap();
    let mut command = Command::new(TOOL);
    command.current_dir(&scene.dir).args(["--follow", "run/c_*", "-o", "swa.safetensors"]);
    command.args(["--poll", "0.02", "--idle", "0.6", "--json"]);
    let follower = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let follower = Follower(Some(follower));
    // A shard every 0.3 seconds, longer in all than it waits where nothing comes.
    for i in 1..=5 {
        std::thread::sleep(Duration::from_millis(300));
        save(&shards.join(format!("model-{i:05}-of-00006.safetensors")), &model(i));
    }
    std::fs::create_dir(scene.path("run/c_6")).unwrap();
    std::fs::write(scene.path("run/c_6/__0_0.distcp"), "a part").unwrap();
    scene.put(1);
    let output = follower.end();
    ended_well(&output);
    assert!(scene.output().unwrap() == scene.expected(1..=1, &[]));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let end: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let unfinished = end["unfinished"].as_array().unwrap();
    let paths: Vec<_> = unfinished.iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["run/c_5", "run/c_6"], "{end}");
    assert!(unfinished[0]["reason"].as_str().unwrap().contains("neither an index"), "{end}");
}

/// Nothing was written: that is no success.
#[test]
fn with_nothing_but_what_is_half_written_it_fails() {
    let scene = Scene::new(1);
    let half = &scene.bytes(1)[..2000];
    std::fs::write(scene.path("run/c_1.safetensors"), half).unwrap();
    let output = scene.command(&["--idle", "0.2"]).output().unwrap();
    let stderr = said(&output);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("`run/c_1.safetensors`: no checkpoint was complete: "), "{stderr}");
    assert_eq!(scene.output(), None);
}

/// In `run/1/model.safetensors` and `run/2/model.safetensors` the names tell nothing.
#[test]
fn markers_tell_checkpoints_of_one_name_apart() {
    let scene = Scene::new(2);
    for i in 1..=2 {
        std::fs::create_dir(scene.path(&format!("run/{i}"))).unwrap();
        std::fs::write(scene.path(&format!("run/{i}/model.safetensors")), scene.bytes(i)).unwrap();
    }
    let mut command = Command::new(TOOL);
    command.current_dir(&scene.dir).args(["--follow", "run/*/model.safetensors"]);
    command.args(["-o", "swa.safetensors", "--state", "s", "--ack", "ack", "--until", "2"]);
    ended_well(&command.args(["--poll", "0.02"]).output().unwrap());
    for i in 1..=2 {
        assert!(scene.path(&format!("ack/{i}/model.safetensors")).is_file());
    }
    assert_eq!(listing(&scene.path("ack")), ["1", "2"]);
}

#[test]
fn two_on_one_state_are_refused() {
    let scene = Scene::new(2);
    let mut first = scene.follow(&["--state", "s"]);
    // Locked before anything has come.
    scene.until("the state", &mut first, || scene.path("s").exists());
    for _ in 0..2 {
        let second = scene.command(&["--state", "s", "--idle", "60"]).output().unwrap();
        let stderr = String::from_utf8_lossy(&second.stderr).into_owned();
        assert_eq!(second.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("`s`: is in use: another run adds to it"), "{stderr}");
        // Nor does a single addition come between.
        let mut once = swa_avg();
        once.current_dir(&scene.dir).args(["all/c_2.safetensors", "--state", "s", "-o", "x"]);
        once.assert().code(2);
        scene.put(1);
        scene.until("the first", &mut first, || scene.output().is_some());
    }
    first.signal("-TERM");
    ended_well(&first.end());
    let mut once = swa_avg();
    once.current_dir(&scene.dir).args([
        "all/c_2.safetensors",
        "--state",
        "s",
        "-qo",
        "swa.safetensors",
    ]);
    once.assert().success();
}

#[test]
fn what_cannot_be_followed_is_refused_at_once() {
    let scene = Scene::new(1);
    scene.put(1);
    for (flags, part) in [
        (
            &["--every", "2"][..],
            "--every counts from the smallest number, which may be deleted; give --start as well",
        ),
        (&["--by-position", "--start", "1"], "--by-position: positions change"),
        (&["--last", "2", "--state", "s"], "--last needs the files"),
        (&["--ack", "none", "--state", "s"], "--ack is no folder"),
        (&["--state", "swa.safetensors"], "name the same file"),
        (&["--weights", "1,2"], "cannot be used with"),
        (&["--ack", "ack"], "--state <FILE>"),
        (
            &["--metrics", "gone.csv", "--by", "acc:max", "--top", "1"],
            "--metrics: what is best among them changes with each that comes",
        ),
        (&["--metrics", "gone.csv", "--swad", "loss"], "choose when the run is over"),
    ] {
        let output = scene.command(flags).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {stderr}");
        assert!(stderr.contains(part), "{flags:?}: {stderr}");
    }
    std::fs::write(scene.path("swa.safetensors"), "mine").unwrap();
    let output = scene.command(&["--idle", "9"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(scene.output().unwrap(), b"mine");
    std::fs::remove_file(scene.path("swa.safetensors")).unwrap();
    std::fs::remove_file(scene.path("run/c_1.safetensors")).unwrap();
    let output = scene.command(&["--idle", "0.1"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(2) && stderr.contains("no checkpoint has come"),
        "{stderr}"
    );
}

/// The output and the state may lie among the checkpoints, and a folder may be watched.
#[test]
fn its_own_files_are_no_checkpoints() {
    let scene = Scene::new(2);
    scene.put(1);
    scene.put(2);
    let mut command = Command::new(TOOL);
    command.current_dir(scene.path("run")).args([
        "--follow",
        ".",
        "-o",
        "swa.safetensors",
        "--state",
        "s.ckpt",
    ]);
    let output = command.args(["--poll", "0.02", "--idle", "0.5"]).output().unwrap();
    // Of a folder with two kinds of files it is not known which is meant.
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    std::fs::remove_file(scene.path("run/s.ckpt")).unwrap();
    let mut command = Command::new(TOOL);
    command.current_dir(scene.path("run")).args([
        "--follow",
        ".",
        "-o",
        "swa.safetensors",
        "--state",
        "s",
    ]);
    let output = command.args(["--poll", "0.02", "--idle", "0.5"]).output().unwrap();
    ended_well(&output);
    assert!(
        std::fs::read(scene.path("run/swa.safetensors")).unwrap() == scene.expected(1..=2, &[])
    );
}

/// Folders as trainers of language models write them, file by file.
#[test]
fn folders_of_models_are_followed() {
    let scene = Scene::new(0);
    let write = |folder: &str, i: usize| {
        let folder = scene.path(folder);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("config.json"), "{}").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        save(&folder.join("model.safetensors"), &model(i));
    };
    let mut command = Command::new(TOOL);
    command.current_dir(&scene.dir).args([
        "--follow",
        "run/checkpoint-*",
        "-o",
        "swa.safetensors",
        "--poll",
        "0.02",
    ]);
    command.args(["--until", "3"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let follower = Follower(Some(command.spawn().unwrap()));
    (1..=3).for_each(|i| write(&format!("run/checkpoint-{i}00"), i));
    ended_well(&follower.end());
    let once = scene.path("once.safetensors");
    swa_avg()
        .current_dir(&scene.dir)
        .args(["run/checkpoint-*", "-qo"])
        .arg(&once)
        .assert()
        .success();
    assert!(scene.output().unwrap() == std::fs::read(once).unwrap());
}

#[test]
fn a_name_that_is_taken_by_another_checkpoint_is_refused_and_the_rest_goes_on() {
    let scene = Scene::new(3);
    scene.put(1);
    ended_well(&scene.follow(&["--state", "s", "--until", "1"]).end());
    // The trainer began anew.
    save(&scene.path("run/c_1.safetensors"), &model(77));
    scene.put(2);
    let mut follower = scene.follow(&["--state", "s"]);
    let expected = scene.expected(1..=2, &[]);
    scene.until("the second", &mut follower, || scene.output().unwrap() == expected);
    follower.signal("-TERM");
    let output = follower.end();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(
        stderr.contains("run/c_1.safetensors`: another checkpoint was counted under this name"),
        "{stderr}"
    );
}

#[test]
fn a_counted_name_that_is_written_again_is_said_once() {
    for is_resumed in [false, true] {
        written_again(is_resumed);
    }
}

fn written_again(is_resumed: bool) {
    let scene = Scene::new(3);
    scene.put(1);
    if is_resumed {
        ended_well(&scene.follow(&["--until", "1", "--state", "s"]).end());
    }
    let mut follower = scene.follow(&["--idle", "1", "--state", "s"]);
    // The second is another's, which shows that it looks.
    let second = if is_resumed { 2 } else { 1 };
    if is_resumed {
        scene.put(2);
    }
    let expected = scene.expected(1..=second, &[]);
    scene.until("the first", &mut follower, || scene.output().as_ref() == Some(&expected));
    for i in [2, 3] {
        let temporary = scene.path("run/writing");
        std::fs::write(&temporary, scene.bytes(i)).unwrap();
        std::fs::rename(temporary, scene.path("run/c_1.safetensors")).unwrap();
        std::thread::sleep(Duration::from_millis(150));
    }
    let said = ended_well(&follower.end());
    let note =
        "note: `run/c_1.safetensors` was written again after it was counted: the first one stays";
    assert_eq!(said.matches(note).count(), 1, "{said}");
    assert!(scene.output().unwrap() == scene.expected(1..=second, &[]));
}
