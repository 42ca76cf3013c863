//! Sweeps over what a command writes: killed at random times, each system call failing in each way. After each an output is
//! the old one or the new one as a whole, nothing acknowledged is lost, no message is more than a line, there is no panic.
//!
//! SWA_SWEEP_SEED chooses others.

mod calls;
mod kills;
mod scene;

pub use calls::{Cause, Met, calls_that_fail, check_end, code, faults};
pub use kills::kills;
pub use scene::{Content, Scene, Way, put};

use std::process::Output;

use crate::faults::long;

/// How many: what SWA_SWEEP_NAME says, or few, or some with SWA_TESTS_LONG.
pub fn count(name: &str, few: usize, some: usize) -> usize {
    let given = std::env::var(format!("SWA_SWEEP_{name}")).ok();
    let default = if long() { some } else { few };
    given.map_or(default, |text| text.parse().expect("a number"))
}

/// Numbers that look random (splitmix64).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(stream: u64) -> Self {
        let seed =
            std::env::var("SWA_SWEEP_SEED").map_or(0, |text| text.parse().expect("a number"));
        Numbers(stream << 40 ^ seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.bits() % n.max(1)
    }

    /// Between 0 and 1.
    pub fn part(&mut self) -> f64 {
        self.bits() as f64 / u64::MAX as f64
    }
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
