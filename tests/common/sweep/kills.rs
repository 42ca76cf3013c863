//! Killed at random times.

use std::os::unix::process::ExitStatusExt;

use super::{Numbers, Scene, Way};

/// Kills each way of writing, so many times in all. `scene` makes the folder of a way.
pub fn kills(ways: &[Way], all: usize, scene: &dyn Fn(Way) -> (tempfile::TempDir, Scene)) {
    let (mut numbers, mut lines, mut hit) = (Numbers::new(1), vec![], 0);
    for &way in ways {
        let (_dir, scene) = scene(way);
        let time = scene.time();
        let (mut killed, mut new, mut left) = (0, 0, 0);
        for round in 0..all.div_ceil(ways.len()) {
            let mut child = scene.command(way.line).spawn().unwrap();
            std::thread::sleep(time.mul_f64(1.3 * numbers.part()));
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            let after = format!("killed, round {round}");
            let is_new = scene.is_new(&after);
            killed += (output.status.signal() == Some(9)) as usize;
            new += is_new.contains(&true) as usize;
            left += scene.age_leftovers();
            if output.status.success() {
                assert!(!is_new.contains(&false), "{}, {after}: acknowledged", way.name);
            }
            match round % 8 {
                0 => scene.goes_on(&after),
                _ => scene.reset(),
            }
        }
        hit += killed;
        lines.push(format!("{}: {killed} ({new} new, {left} left something)", way.name));
    }
    assert!(hit > 0, "all had ended before they were killed");
    eprintln!("kills at random times: {}", lines.join("; "));
}
