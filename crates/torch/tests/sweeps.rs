//! Sweeps over what the data commands write, as tests/sweeps.rs does for swa-avg: killed at random times, each system call
//! failing in each way; and over training runs, which go on to the same files.
//!
//! How many, SWA_SWEEP_DATA_KILLS and SWA_SWEEP_DATA_FAULTS say; by default few, with SWA_TESTS_LONG some hundreds.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use swa_testing::faults::needs_strace;
use swa_testing::sweep::{
    Cause, Met, Numbers, Scene, Way, calls_that_fail, check_end, code, count, faults, kills, text,
};
use swa_testing::training_run::spawn;
use swa_testing::{fixtures, training_run};

const WAYS: [Way; 5] = [
    Way::new(
        "swa-bn-update",
        "a model with new statistics",
        "m.safetensors --data few --preset fashion-mnist --samples 16 -o out.safetensors",
        "m.safetensors --data few --preset fashion-mnist -o out.safetensors",
        &["out.safetensors"],
    ),
    Way::new(
        "swa-bn-update",
        "statistics of a part",
        "m.safetensors --data few --preset fashion-mnist --batch-size 8 --shard 0/2 --save-stats part --samples 16",
        "m.safetensors --data few --preset fashion-mnist --batch-size 8 --shard 0/2 --save-stats part",
        &["part"],
    ),
    Way {
        in_order: false,
        ..Way::new(
            "swa-eval",
            "what an evaluation leaves",
            "n.safetensors --data few --preset fashion-mnist --predictions p.csv --logits l.safetensors",
            "m.safetensors --data few --preset fashion-mnist --predictions p.csv --logits l.safetensors",
            &["p.csv", "l.safetensors"],
        )
    },
    Way::new(
        "swa-eval",
        "outcomes of a part",
        "n.safetensors --data few --preset fashion-mnist --batch-size 8 --shard 0/2 --save-outcomes part",
        "m.safetensors --data few --preset fashion-mnist --batch-size 8 --shard 0/2 --save-outcomes part",
        &["part"],
    ),
    Way::new(
        "swa-landscape",
        "a landscape and its picture",
        "line m.safetensors n.safetensors --data few --preset fashion-mnist --points 2 -o l.json --svg l.svg",
        "line m.safetensors n.safetensors --data few --preset fashion-mnist --points 3 -o l.json --svg l.svg",
        &["l.json", "l.svg"],
    ),
];

/// Images that look random, as MNIST has them.
fn images(folder: &Path, split: &str, count: u32) {
    let mut pixels: Vec<u8> = [0x803, count, 28, 28].iter().flat_map(|n| n.to_be_bytes()).collect();
    pixels.extend((0..count * 28 * 28).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8));
    let mut labels: Vec<u8> = [0x801, count].iter().flat_map(|n| n.to_be_bytes()).collect();
    labels.extend((0..count).map(|i| (i % 10) as u8));
    std::fs::write(folder.join(format!("{split}-images-idx3-ubyte")), pixels).unwrap();
    std::fs::write(folder.join(format!("{split}-labels-idx1-ubyte")), labels).unwrap();
}

fn scene(way: Way) -> (tempfile::TempDir, Scene) {
    let dir = tempfile::tempdir().unwrap();
    for (name, epoch) in [("m", 136), ("n", 240)] {
        let from = fixtures().join(format!("fashion-mnist/ckpt_{epoch:04}.safetensors"));
        std::fs::copy(from, dir.path().join(format!("{name}.safetensors"))).unwrap();
    }
    let few = dir.path().join("few");
    std::fs::create_dir(&few).unwrap();
    images(&few, "train", 32);
    images(&few, "t10k", 20);
    let scene = Scene::new(way, dir.path());
    (dir, scene)
}

#[test]
fn kills_at_any_time_leave_each_output_whole() {
    kills(&WAYS, count("DATA_KILLS", 20, 400), &scene);
}

#[test]
fn any_call_that_fails_in_any_way_leaves_each_output_whole() {
    if needs_strace("any call that fails") {
        calls_that_fail(&WAYS, count("DATA_FAULTS", 20, 1000), "poll(", &scene);
    }
}

/// A run of seconds, and its files.
fn training() -> (training_run::Scene, training_run::Files) {
    let scene = training_run::Scene::in_a_folder();
    scene.small("whole").assert().success();
    let files = scene.files("whole");
    (scene, files)
}

#[test]
fn a_training_run_killed_at_any_time_goes_on_to_the_same_files() {
    let (scene, expected) = training();
    let started = Instant::now();
    scene.small("timed").assert().success();
    let time = started.elapsed();
    let (mut numbers, mut killed) = (Numbers::new(5), 0);
    for _ in 0..count("DATA_KILLS", 20, 400).div_ceil(5) {
        // One run is killed until it is done.
        loop {
            let mut child = spawn(&scene.small("run"));
            std::thread::sleep(time.mul_f64(numbers.part()));
            child.kill().unwrap();
            if child.wait().unwrap().success() {
                break;
            }
            killed += 1;
        }
        let is_temporary = |(name, _): &(String, Vec<u8>)| name.ends_with(".tmp");
        if scene.files("run").iter().any(is_temporary) {
            // Another run's that is younger than two seconds may not be locked yet: a later one removes it.
            std::thread::sleep(Duration::from_millis(2100));
            scene.small("run").assert().success();
        }
        training_run::same(scene.files("run"), &expected);
        std::fs::remove_dir_all(scene.path("run")).unwrap();
    }
    assert!(killed > 0, "all had ended before they were killed");
    eprintln!("training, kills at random times: {killed}");
}

#[test]
fn a_training_run_goes_on_from_any_call_that_failed() {
    if !needs_strace("any call that fails") {
        return;
    }
    let (scene, expected) = training();
    let (log, run) = (scene.path("log"), scene.path("run"));
    let small = scene.small("run");
    let under = |mut command: Command| {
        command.current_dir(scene.path("")).arg(small.get_program()).args(small.get_args());
        command
    };
    let mut faults = faults(&log, &under, "poll(", &mut Numbers::new(6));
    faults.truncate(count("DATA_FAULTS", 20, 1000).div_ceil(5));
    let (mut met, mut codes) = (0, BTreeMap::<String, usize>::new());
    for fault in &faults {
        if run.exists() {
            std::fs::remove_dir_all(&run).unwrap();
        }
        let (met_now, after) = (fault.meet(&log, &under, true), fault.name());
        let Met { output, is_met, cause } = met_now;
        met += usize::from(is_met);
        *codes.entry(code(&output)).or_default() += 1;
        let failed = match cause {
            Cause::Tool => check_end(&output, &after),
            _ => !output.status.success(),
        };
        if !failed && cause == Cause::Libtorch {
            continue;
        }
        if failed {
            let again = scene.small("run").output().unwrap();
            assert!(again.status.success(), "{after}, and run again: {}", text(&again));
        }
        assert!(scene.files("run") == expected, "{after}");
    }
    assert!(met > 0, "no call failed");
    eprintln!("training, calls that fail: {met} of {} ({codes:?})", faults.len());
}
