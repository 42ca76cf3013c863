//! Two runs at once for one output: both succeed.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use swa_testing::faults::{long, needs_strace};
use swa_testing::{listing, save};

use crate::scene::*;

#[test]
fn two_runs_for_one_output_both_succeed_and_one_of_them_wins() {
    let dir = tempfile::tempdir().unwrap();
    for (i, name) in ["a", "b", "c", "d"].iter().enumerate() {
        save(&dir.path().join(name), &model(i as f32));
    }
    let run = |inputs: [&str; 2]| {
        let mut command = Command::new(TOOL);
        command.current_dir(&dir).args(inputs).args(["-qo", "out", "--force", "--threads", "1"]);
        command.stderr(Stdio::piped());
        command
    };
    let pairs = [["a", "b"], ["c", "d"]];
    let expected = pairs.map(|pair| {
        assert!(run(pair).status().unwrap().success());
        std::fs::read(dir.path().join("out")).unwrap()
    });
    assert_ne!(expected[0], expected[1]);
    let mut wins = [0, 0];
    for _ in 0..if long() { 500 } else { 50 } {
        let children = pairs.map(|pair| run(pair).spawn().unwrap());
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text(&output));
        }
        let found = std::fs::read(dir.path().join("out")).unwrap();
        let winner = expected.iter().position(|e| *e == found).expect("one of the two");
        wins[winner] += 1;
        assert_eq!(listing(dir.path()), ["a", "b", "c", "d", "out"]);
    }
    eprintln!("races: {} won by the first, {} by the second", wins[0], wins[1]);
}

#[test]
fn two_runs_for_one_folder_both_succeed() {
    if !needs_strace("two runs for one folder") {
        return;
    }
    let scene = Scene::folder();
    for path in [scene.target(), scene.target().join("model.safetensors")] {
        let old = SystemTime::now() - Duration::from_secs(60);
        File::open(path).unwrap().set_modified(old).unwrap();
    }
    // Its fourth fsync follows the exchange; the old folder goes after it.
    let delay = "delay_enter=1000000:when=4";
    let mut command = scene.traced(Path::new("/dev/null"), "fsync", delay);
    let mut first = Reaped(Some(command.stderr(Stdio::piped()).spawn().unwrap()));
    while scene.is_old() {
        assert!(first.0.as_mut().unwrap().try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(1));
    }
    let second = scene.plain().output().unwrap();
    assert!(second.status.success(), "{}", text(&second));
    let first = first.0.take().unwrap().wait_with_output().unwrap();
    assert!(first.status.success(), "{}", text(&first));
    assert!(scene.is_new("two runs"));
    assert_eq!(scene.leftovers(), [""; 0]);
}
