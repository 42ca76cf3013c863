//! Following a run: a stand-in for a trainer writes, renames and deletes checkpoints while the follower runs, is killed
//! and starts again. The end is always the file that averaging everything at once writes.

mod left_out;
mod scene;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use scene::*;
use serde_json::Value;
use swa_testing::{listing, swa_avg};

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// A trainer that writes some in place, a piece at a time, and renames others; deletes what is counted.
fn train(scene: &Scene, random: &mut Random) {
    for i in 1..=scene.count {
        if random.below(2) == 0 {
            scene.put(i);
        } else {
            let bytes = scene.bytes(i);
            let mut file =
                std::fs::File::create(scene.path(&format!("run/c_{i}.safetensors"))).unwrap();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at((1 + random.below(6000) as usize).min(rest.len()));
                file.write_all(now).unwrap();
                rest = later;
                std::thread::sleep(Duration::from_millis(random.below(4)));
            }
        }
        std::thread::sleep(Duration::from_millis(random.below(40)));
        for name in listing(&scene.path("ack")) {
            let _ = std::fs::remove_file(scene.path("run").join(name));
        }
    }
}

#[test]
fn killed_and_started_again_at_random_it_comes_to_the_same_file() {
    let rounds = if std::env::var_os("SWA_TESTS_LONG").is_some() { 20 } else { 3 };
    let mut kills = 0;
    for round in 0..rounds {
        let scene = Scene::new(24);
        let expected = scene.expected(1..=24, &[]);
        let flags = ["--state", "swa.state", "--ack", "ack", "--until", "24", "-q"];
        std::thread::scope(|scope| {
            let trainer = scope.spawn(|| train(&scene, &mut Random(round + 1)));
            let mut random = Random(round + 1000);
            loop {
                let follower = scene.follow(&flags);
                std::thread::sleep(Duration::from_millis(20 + random.below(150)));
                // Whole at any time.
                if let Some(bytes) = scene.output() {
                    safetensors::SafeTensors::deserialize(&bytes).unwrap();
                }
                if trainer.is_finished() {
                    ended_well(&follower.end());
                    break;
                }
                follower.kill();
                kills += 1;
            }
        });
        assert!(scene.output().unwrap() == expected, "round {round}");
        let names: Vec<String> = (1..=24).map(|i| format!("c_{i}.safetensors")).collect();
        let mut marked = listing(&scene.path("ack"));
        marked.sort_by_key(|name| names.iter().position(|other| other == name));
        assert_eq!(marked, names);
    }
    eprintln!("{rounds} runs, {kills} kills");
    assert!(kills > rounds as usize);
}

#[test]
fn a_command_is_told_what_there_is_and_its_failure_ends_nothing() {
    let scene = Scene::new(4);
    // The second fails.
    let line = "echo $SWA_OUTPUT $SWA_COUNT $SWA_NEWEST >> log; test $SWA_NEWEST != 3";
    let mut follower =
        scene.follow(&["--exec", line, "--until", "4", "--start", "2", "--every", "1", "--json"]);
    // The first is before the start.
    scene.put(1);
    for i in 2..=4 {
        scene.put(i);
        if i < 4 {
            let lines =
                || std::fs::read_to_string(scene.path("log")).unwrap_or_default().lines().count();
            scene.until("the command", &mut follower, || lines() == i - 1);
        }
    }
    scene.put(3); // the same again
    let is_third = |bytes: Vec<u8>| bytes == scene.expected(2..=4, &[]);
    scene.until("all", &mut follower, || scene.output().is_some_and(is_third));
    std::fs::copy(scene.path("all/c_1.safetensors"), scene.path("run/c_5.safetensors")).unwrap();
    let output = follower.end();
    let stderr = ended_well(&output);
    assert!(
        stderr.contains("note: the command after the update failed: exit status: 1"),
        "{stderr}"
    );
    let log = std::fs::read_to_string(scene.path("log")).unwrap();
    assert_eq!(log.lines().next_back(), Some("swa.safetensors 4 5"), "{log}");
    assert!(
        log.starts_with("swa.safetensors 1 2\nswa.safetensors 2 3\nswa.safetensors 3 4\n"),
        "{log}"
    );
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.len() == 5, "{lines:?}");
    assert!(lines[..4].iter().all(|line| line["event"] == "update"));
    let added: Vec<&Value> = lines[..4].iter().map(|line| &line["added"][0]).collect();
    assert_eq!(
        added,
        [
            "run/c_2.safetensors",
            "run/c_3.safetensors",
            "run/c_4.safetensors",
            "run/c_5.safetensors"
        ]
    );
    let end = &lines[4];
    assert_eq!(
        (&end["event"], &end["ended"], &end["failed_commands"]),
        (&"end".into(), &"count".into(), &1.into())
    );
}

#[test]
fn a_signal_ends_it_with_everything_that_is_there() {
    for (signal, in_place) in [("-TERM", false), ("-INT", true), ("-HUP", false)] {
        let scene = Scene::new(3);
        let mut follower = scene.follow(&["--state", "s"]);
        scene.put(1);
        scene.until("the first", &mut follower, || scene.output().is_some());
        // The last ones come just before the signal.
        scene.put(2);
        match in_place {
            true => std::fs::write(scene.path("run/c_3.safetensors"), scene.bytes(3)).unwrap(),
            false => scene.put(3),
        }
        follower.signal(signal);
        let output = follower.end();
        ended_well(&output);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("ended: swa.safetensors is the mean of 3 checkpoint(s)"), "{said}");
        assert!(scene.output().unwrap() == scene.expected(1..=3, &[]), "{signal}");
        let left = listing(scene.dir.path());
        assert!(!left.iter().any(|name| name.ends_with(".tmp")), "{left:?}");
    }
}

#[test]
fn a_signal_ends_the_command_too() {
    let scene = Scene::new(1);
    let mut follower = scene.follow(&["--exec", "echo > begun; sleep 1000; echo > survived"]);
    scene.put(1);
    scene.until("the command", &mut follower, || scene.path("begun").exists());
    follower.signal("-TERM");
    let stderr = ended_well(&follower.end());
    assert!(stderr.contains("the command after the update failed: signal: 15"), "{stderr}");
    assert!(!scene.path("survived").exists());
}

#[test]
fn a_window_is_the_mean_of_the_last_ones() {
    let scene = Scene::new(5);
    let mut follower = scene.follow(&["--last", "2", "--until", "5"]);
    for i in 1..=5 {
        scene.put(i);
        let expected = scene.expected(i.saturating_sub(1).max(1)..=i, &[]);
        if i < 5 {
            scene.until("the window", &mut follower, || {
                scene.output().is_some_and(|bytes| bytes == expected)
            });
        }
    }
    let stderr = ended_well(&follower.end());
    assert!(stderr.contains("the mean of the last 2 checkpoints, which are read anew"), "{stderr}");
    assert!(scene.output().unwrap() == scene.expected(4..=5, &[]));
}

/// A Python that has torch: `PYTHON`, or python3.
fn python_with_torch() -> Option<String> {
    let python = std::env::var("PYTHON").unwrap_or("python3".into());
    let found = Command::new(&python).args(["-c", "import torch"]).output();
    found.is_ok_and(|output| output.status.success()).then_some(python)
}

const LOOP: &str = "
import os, sys, time, torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(40, 30), torch.nn.BatchNorm1d(30), torch.nn.ReLU(), torch.nn.Linear(30, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(1, 13):
    x = torch.randn(64, 40)
    loss = torch.nn.functional.cross_entropy(model(x), (x[:, 0] > 0).long())
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    state = {'model': model.state_dict(), 'optimizer': optimizer.state_dict(), 'epoch': epoch}
    torch.save(state, f'all/e_{epoch}.pt')
    torch.save(state, f'run/e_{epoch}.pt')
    for name in os.listdir('ack'):
        if os.path.exists('run/' + name): os.remove('run/' + name)
    time.sleep(0.03)
";

#[test]
fn a_pytorch_loop_is_followed_to_the_same_file() {
    let Some(python) = python_with_torch() else {
        eprintln!("skipped: a real training loop needs a python3 with torch (or PYTHON)");
        return;
    };
    let scene = Scene::new(0);
    let mut trainer =
        Command::new(python).args(["-c", LOOP]).current_dir(&scene.dir).spawn().unwrap();
    let mut random = Random(5);
    let mut kills = 0;
    let output = loop {
        let mut command = Command::new(TOOL);
        command.current_dir(&scene.dir).args([
            "--follow",
            "run/e_*.pt",
            "-o",
            "swa.safetensors",
            "--poll",
            "0.02",
        ]);
        command.args(["--state", "s", "--ack", "ack", "--until", "12", "--quiet"]);
        let follower =
            Follower(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()));
        if trainer.try_wait().unwrap().is_some_and(|status| status.success()) {
            break follower.end();
        }
        std::thread::sleep(Duration::from_millis(40 + random.below(120)));
        follower.kill();
        kills += 1;
    };
    ended_well(&output);
    let once = scene.path("once.safetensors");
    swa_avg().current_dir(&scene.dir).args(["all/e_*.pt", "-qo"]).arg(&once).assert().success();
    assert!(scene.output().unwrap() == std::fs::read(once).unwrap());
    eprintln!("a PyTorch loop, {kills} kills");
}
