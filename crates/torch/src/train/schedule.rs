//! The learning rate at every step, and the epochs after which a snapshot is taken.

use swa_base::{Choice, Error, Result, choices, setting};

choices! {
    /// How the learning rate goes.
    #[derive(Default)]
    pub enum Shape {
        /// Izmailov et al. 2018, the authors' `train.py`.
        #[default]
        Decay = "decay":
            "Flat for half of the epochs, down linearly until 90 %, flat again: to the rate of averaging where that begins, else to 1 %",
        /// Izmailov et al. 2018, figure 7.
        Constant = "constant": "The same throughout",
        /// Izmailov et al. 2018, equation 2.
        Sawtooth = "sawtooth": "Down linearly to the rate of averaging in each cycle",
        /// Garipov et al. 2018, "Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs", equation 2.
        Triangle = "triangle": "Down linearly to the rate of averaging in half a cycle, and up again",
        /// Huang et al. 2017, "Snapshot Ensembles: Train 1, Get M for Free", equation 2.
        Cosine = "cosine": "Down to 0 along half a cosine in each cycle",
    }
}

/// A schedule. Epochs count from 0 here, and snapshots are taken at the end of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    shape: Shape,
    lr: f64,
    swa_lr: f64,
    epochs: usize,
    /// The number of the first epoch whose weights may count, from 1.
    swa_start: Option<usize>,
    cycle: usize,
}

/// The rate of averaging by default, as a part of the first rate.
const DEFAULT: f64 = 0.01;

/// Steps are counted, too: with as many images as memory can name these still fit.
const MOST_EPOCHS: usize = 1_000_000;

impl Schedule {
    /// `cycle`: epochs from one snapshot to the next. `swa_lr`: the rate of averaging; None: 1 % of `lr`.
    ///
    /// # Errors
    /// `Usage` for rates that are not positive, cycles without a middle, and a start beyond the last epoch; `Limit`.
    pub fn new(
        shape: Shape,
        (lr, swa_lr): (f64, Option<f64>),
        epochs: usize,
        swa_start: Option<usize>,
        cycle: usize,
    ) -> Result<Self> {
        if epochs > MOST_EPOCHS {
            return Err(Error::limit(format!("more than {MOST_EPOCHS} epochs")));
        }
        let swa_lr = swa_lr.unwrap_or(DEFAULT * lr);
        for (name, rate) in [(setting!("lr"), lr), (setting!("swa_lr"), swa_lr)] {
            if !(rate > 0.0 && rate.is_finite()) {
                return Err(Error::usage(format!("{name} {rate}: expected a number above 0")));
            }
        }
        if cycle == 0 || (shape == Shape::Triangle && cycle % 2 == 1) {
            let what = format!("{} {cycle}: expected ", setting!("cycle"));
            return Err(Error::usage(
                what + if cycle == 0 { "1 or more" } else { "an even number" },
            )
            .remedy("a snapshot is taken in the middle of a triangle"));
        }
        if let Some(start) = swa_start.filter(|start| !(1..=epochs).contains(start)) {
            let what = format!("{} {start}: the epochs are 1 to {epochs}", setting!("swa_start"));
            return Err(Error::usage(what));
        }
        Ok(Schedule { shape, lr, swa_lr, epochs, swa_start, cycle })
    }

    /// The rate of a step: `iteration` of the `iterations` of an epoch.
    pub fn rate(&self, epoch: usize, iteration: usize, iterations: usize) -> f64 {
        let within = |offset: f64| {
            let done = (iteration as f64 + offset) / iterations as f64;
            ((epoch % self.cycle) as f64 + done) / self.cycle as f64
        };
        let between = |t: f64, from: f64, to: f64| (1.0 - t) * from + t * to;
        match self.shape {
            Shape::Constant => self.lr,
            Shape::Decay => {
                let last = self.swa_start.map_or(0.01, |_| self.swa_lr / self.lr);
                let t = self.decayed(epoch);
                self.lr
                    * if t <= 0.5 {
                        1.0
                    } else if t <= 0.9 {
                        1.0 - (1.0 - last) * (t - 0.5) / 0.4
                    } else {
                        last
                    }
            }
            // The last step of a cycle has the lowest rate.
            Shape::Sawtooth => between(within(1.0), self.lr, self.swa_lr),
            Shape::Triangle => {
                let t = within(0.0);
                let towards = if t < 0.5 { 2.0 * t } else { 2.0 - 2.0 * t };
                between(towards, self.lr, self.swa_lr)
            }
            Shape::Cosine => self.lr / 2.0 * ((std::f64::consts::PI * within(0.0)).cos() + 1.0),
        }
    }

    /// Whether the weights at the end of this epoch are a snapshot.
    pub fn collects(&self, epoch: usize) -> bool {
        let Some(start) = self.swa_start else { return false };
        let done = epoch + 1;
        done >= start
            && match self.shape {
                Shape::Decay | Shape::Constant => (done - start).is_multiple_of(self.cycle),
                Shape::Sawtooth | Shape::Cosine => done.is_multiple_of(self.cycle),
                Shape::Triangle => done % self.cycle == self.cycle / 2,
            }
    }

    /// Why a rate of averaging that was given has no part in the schedule; None if it has one, or is that of no rate.
    pub(crate) fn passes_over_swa_lr(&self) -> Option<String> {
        let why = match self.shape {
            Shape::Decay if self.swa_start.is_none() => {
                concat!("without ", setting!("swa_start"), " nothing is averaged").to_string()
            }
            Shape::Constant | Shape::Cosine => {
                format!("{} {} has no such rate", setting!("schedule"), self.shape.name())
            }
            _ => return None,
        };
        (self.swa_lr != DEFAULT * self.lr).then_some(why)
    }

    /// For the record of a run.
    pub(crate) fn record(&self) -> serde_json::Value {
        serde_json::json!({
            "shape": self.shape.name(),
            "lr": self.lr,
            "swa_lr": self.swa_lr,
            "epochs": self.epochs,
            "swa_start": self.swa_start,
            "cycle": self.cycle,
        })
    }

    /// From the record of a run; None if it is none.
    pub(crate) fn recorded(record: &serde_json::Value) -> Option<Self> {
        let number = |key: &str| record[key].as_u64().map(|n| n as usize);
        let shape = Shape::named(record["shape"].as_str()?)?;
        let rates = (record["lr"].as_f64()?, record["swa_lr"].as_f64());
        let (epochs, start) = (number("epochs")?, number("swa_start"));
        Schedule::new(shape, rates, epochs, start, number("cycle")?).ok()
    }

    /// How many epochs at the beginning have the same rates at each of their steps, and the same snapshots.
    pub(crate) fn in_common(&self, other: &Schedule, steps: usize) -> usize {
        let same = |&epoch: &usize| {
            self.collects(epoch) == other.collects(epoch)
                && (0..steps).all(|i| self.rate(epoch, i, steps) == other.rate(epoch, i, steps))
        };
        (0..self.epochs.min(other.epochs)).take_while(same).count()
    }

    /// How far the decay is, from 0 on; it ends at 1, or goes on at its last rate.
    fn decayed(&self, epoch: usize) -> f64 {
        epoch as f64 / self.swa_start.unwrap_or(self.epochs) as f64
    }

    /// How many epochs at the beginning have the first rate by the decay's form, whatever rate follows.
    pub(crate) fn level(&self) -> Option<usize> {
        if self.shape != Shape::Decay {
            return None;
        }
        let level = (0..self.epochs).take_while(|&epoch| self.decayed(epoch) <= 0.5).count();
        (level < self.epochs).then_some(level)
    }

    /// How many epochs there are.
    pub fn epochs(&self) -> usize {
        self.epochs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(shape: Shape, epochs: usize, start: Option<usize>, cycle: usize) -> Schedule {
        Schedule::new(shape, (0.1, Some(0.02)), epochs, start, cycle).unwrap()
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }

    /// Worked out by hand from the authors' `schedule` in train.py.
    #[test]
    fn the_papers_decay_ends_at_the_rate_of_averaging() {
        let swa = schedule(Shape::Decay, 225, Some(126), 1);
        for (epoch, expected) in
            [(0, 0.1), (62, 0.1), (63, 0.1), (88, 0.1 * (1.0 - 0.8 * (88.0 / 126.0 - 0.5) / 0.4))]
        {
            close(swa.rate(epoch, 3, 391), expected);
        }
        close(swa.rate(113, 0, 391), 0.1 * (1.0 - 0.8 * (113.0 / 126.0 - 0.5) / 0.4));
        close(swa.rate(114, 0, 391), 0.02);
        close(swa.rate(224, 390, 391), 0.02);
        let sgd = schedule(Shape::Decay, 150, None, 1);
        close(sgd.rate(75, 0, 391), 0.1);
        close(sgd.rate(105, 0, 391), 0.1 * (1.0 - 0.99 * 0.2 / 0.4));
        close(sgd.rate(136, 0, 391), 0.001);
        // Until half of the start both have the same rate.
        assert!((0..63).all(|epoch| swa.rate(epoch, 0, 9) == sgd.rate(epoch, 0, 9)));
    }

    /// α(i) = (1 − t)·α₁ + t·α₂, t(i) = (mod(i − 1, c) + 1) / c, with i from 1.
    #[test]
    fn the_papers_sawtooth_ends_each_cycle_at_the_lower_rate() {
        let sawtooth = schedule(Shape::Sawtooth, 4, Some(1), 2);
        for i in 1..=20 {
            let t = ((i - 1) % 10 + 1) as f64 / 10.0;
            let found = sawtooth.rate((i - 1) / 5, (i - 1) % 5, 5);
            close(found, (1.0 - t) * 0.1 + t * 0.02);
        }
        close(sawtooth.rate(1, 4, 5), 0.02);
        let collected: Vec<usize> = (0..4).filter(|&e| sawtooth.collects(e)).collect();
        assert_eq!(collected, [1, 3]);
    }

    /// `cyclic_learning_rate` in the authors' utils.py; members where the rate is lowest.
    #[test]
    fn the_triangle_is_lowest_in_the_middle() {
        let triangle = schedule(Shape::Triangle, 8, Some(3), 4);
        for (epoch, expected) in [(0, 0.1), (1, 0.06), (2, 0.02), (3, 0.06), (4, 0.1)] {
            close(triangle.rate(epoch, 0, 10), expected);
        }
        close(triangle.rate(1, 5, 10), 0.04);
        close(triangle.rate(2, 5, 10), 0.04);
        let collected: Vec<usize> = (0..8).filter(|&e| triangle.collects(e)).collect();
        assert_eq!(collected, [5]);
        assert!(Schedule::new(Shape::Triangle, (0.1, None), 8, Some(1), 3).is_err());
    }

    /// α(t) = α₀/2·(cos(π·mod(t − 1, ⌈T/M⌉)/⌈T/M⌉) + 1), t from 1.
    #[test]
    fn the_cosine_begins_again_with_each_cycle() {
        let cosine = schedule(Shape::Cosine, 10, Some(1), 5);
        for t in 1..=100 {
            let x = ((t - 1) % 50) as f64 / 50.0;
            let expected = 0.05 * ((std::f64::consts::PI * x).cos() + 1.0);
            close(cosine.rate((t - 1) / 10, (t - 1) % 10, 10), expected);
        }
        let collected: Vec<usize> = (0..10).filter(|&e| cosine.collects(e)).collect();
        assert_eq!(collected, [4, 9]);
    }

    #[test]
    fn snapshots_begin_with_the_epoch_of_that_number() {
        let swa = schedule(Shape::Decay, 10, Some(4), 3);
        let collected: Vec<usize> = (0..10).filter(|&e| swa.collects(e)).map(|e| e + 1).collect();
        assert_eq!(collected, [4, 7, 10]);
        assert!((0..10).all(|e| !schedule(Shape::Decay, 10, None, 1).collects(e)));
    }

    #[test]
    fn runs_have_the_level_epochs_in_common() {
        let swa = schedule(Shape::Decay, 150, Some(81), 1);
        let sgd = schedule(Shape::Decay, 100, None, 1);
        // t = 40 / 81 is the last that is not above a half.
        assert_eq!(swa.level(), Some(41));
        assert_eq!(sgd.level(), Some(51));
        assert_eq!(swa.in_common(&sgd, 7), 41);
        assert_eq!(sgd.in_common(&swa, 7), 41);
        // Averaged at the first rate.
        let steady = Schedule::new(Shape::Decay, (0.1, Some(0.1)), 150, Some(81), 1).unwrap();
        assert_eq!((steady.level(), steady.in_common(&sgd, 7)), (Some(41), 51));
        // A longer run of the same schedule: all of the shorter one.
        let longer = schedule(Shape::Decay, 200, Some(81), 1);
        assert_eq!(longer.in_common(&swa, 7), 150);
        // Other snapshots: up to the first that only one has.
        let sparse = schedule(Shape::Decay, 150, Some(81), 3);
        assert_eq!(sparse.in_common(&swa, 7), 81);
        // Rates within an epoch count.
        let sawtooth = schedule(Shape::Sawtooth, 4, None, 2);
        assert_eq!(sawtooth.in_common(&schedule(Shape::Constant, 4, None, 1), 7), 0);
        assert_eq!(schedule(Shape::Constant, 9, None, 1).level(), None);
        for one in [swa, sgd, longer, sparse, sawtooth] {
            assert_eq!(Schedule::recorded(&one.record()), Some(one));
        }
        assert_eq!(Schedule::recorded(&serde_json::json!({"shape": "decay"})), None);
    }

    #[test]
    fn what_makes_no_schedule_is_refused() {
        let error = |rates, start, cycle| {
            Schedule::new(Shape::Decay, rates, 10, start, cycle).unwrap_err().to_string()
        };
        assert!(error((0.0, None), None, 1).contains("`lr` 0"));
        assert!(error((0.1, Some(f64::NAN)), None, 1).contains("`swa_lr` NaN"));
        assert!(error((0.1, None), Some(11), 1).contains("`swa_start` 11: the epochs are 1 to 10"));
        assert!(error((0.1, None), Some(0), 1).contains("`swa_start` 0"));
        assert!(error((0.1, None), None, 0).contains("`cycle` 0"));
    }
}
