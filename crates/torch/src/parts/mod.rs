//! A pass over data in parts: shared between processes, or between one that was interrupted and the one
//! that goes on.
//!
//! A [`Part`] is what was collected from some batches of the one seeded order. Part I of N ([`Shard`])
//! takes the batches I, I + N, … A finished part is merged with the others ([`Set`]); an unfinished one
//! is the state that [`Keeper`] keeps while a pass runs. Both are one file format (`file`). What is collected
//! ([`Content`]) does not depend on the order of the batches, so that a shared, a resumed and a plain pass end
//! in the same bytes.

pub mod file;
mod identity;
mod keeper;
mod set;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use identity::Identity;
pub use keeper::Keeper;
pub use set::Set;
use swa_base::Result;
use swa_data::Batch;
use swa_tools::checkpoint::{Checkpoint, TensorInfo};

/// Who is told what becomes of a state while a pass runs and as the process ends on a signal.
#[derive(Debug, Clone, Copy, Default)]
pub enum Tell {
    /// Nobody.
    #[default]
    Nobody,
    /// Takes a line that says what went wrong.
    Errors(fn(&str)),
    /// Takes these and a line that says how the interrupted pass can go on.
    All(fn(&str)),
}

impl Tell {
    fn error(self, line: &str) {
        if let Tell::Errors(tell) | Tell::All(tell) = self {
            tell(line);
        }
    }

    fn line(self, line: &str) {
        if let Tell::All(tell) = self {
            tell(line);
        }
    }
}

/// Part `index` of `of`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    pub index: usize,
    pub of: usize,
}

impl Shard {
    pub const WHOLE: Shard = Shard { index: 0, of: 1 };

    /// How many of a pass's batches it takes.
    pub fn share(self, batches: usize) -> usize {
        batches.saturating_sub(self.index).div_ceil(self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').map(|(i, n)| (i.parse(), n.parse()));
        match numbers {
            Some((Ok(index), Ok(of))) if index < of => Ok(Shard { index, of }),
            Some((Ok(_), Ok(of @ 1..))) => Err(format!("parts are counted from 0 to {}", of - 1)),
            _ => Err("expected I/N, part I of N, such as 0/4".into()),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// What a pass collects.
pub trait Content: Send + 'static {
    /// All of it, as tensors.
    fn tensors(&self) -> Vec<(TensorInfo, Vec<u8>)>;

    /// Adds what [`Content::tensors`] gave, from a file.
    fn merge(&mut self, file: &Checkpoint) -> Result<()>;
}

/// What is kept of a batch, but for what was collected of it.
#[derive(Debug, Clone)]
pub struct Seen {
    number: usize,
    images: usize,
    /// Height, width and channels.
    size: [usize; 3],
    skipped: Vec<(usize, String)>,
}

impl Seen {
    pub fn of(batch: &Batch) -> Self {
        Seen {
            number: batch.number,
            images: batch.n,
            size: [batch.height, batch.width, batch.channels],
            skipped: batch.skipped.clone(),
        }
    }
}

/// How far a part is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub shard: Shard,
    /// Batches done, of its own.
    pub done: usize,
    /// Of those, how many had an image left in them.
    pub filled: usize,
    /// Images in them.
    pub images: usize,
    /// Height, width and channels of the images.
    pub size: Option<[usize; 3]>,
    /// The images that were left out, each with its batch.
    pub skipped: Vec<(usize, String)>,
    /// How many may be left out.
    pub allow_bad: usize,
    /// For people: what the data and the models are called where it ran.
    pub data: String,
    pub models: Vec<String>,
    /// What else the tool wants to know when it merges.
    pub notes: Value,
}

impl Progress {
    /// The images that were left out, one line each.
    pub fn lines(&self) -> Vec<String> {
        self.skipped.iter().map(|(_, line)| line.clone()).collect()
    }
}

/// What was collected so far, and of what.
#[derive(Debug)]
pub struct Part<C> {
    pub identity: Identity,
    pub progress: Progress,
    pub content: C,
}

impl<C> Part<C> {
    /// How many batches it has when it is finished.
    pub fn batches(&self) -> usize {
        self.progress.shard.share(file::batches(&self.identity))
    }
}

/// In what a part differs from what was expected, `its seed is 1, not 0`.
fn differences(found: (&Identity, &Progress), expected: (&Identity, &Progress)) -> Vec<String> {
    let mut list = found.0.differences(expected.0);
    let mut other = |key: &str, a: &str, b: &str, what: &str| {
        if found.0.get(key) != expected.0.get(key) {
            list.push(match a == b {
                true => format!("{a} had other {what}"),
                false => format!("it is of {a}, not of {b}"),
            });
        }
    };
    let (a, b) = (found.1.models.join(", "), expected.1.models.join(", "));
    other("models", &a, &b, "weights");
    other("data", &found.1.data, &expected.1.data, "names or labels");
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_whole() {
        for (batches, of) in [(0, 1), (1, 1), (10, 3), (3, 10), (1000, 7)] {
            let share = |index| Shard { index, of }.share(batches);
            assert_eq!((0..of).map(share).sum::<usize>(), batches, "{batches} {of}");
            let taken = |index: usize| (0..batches).filter(|b| b % of == index).count();
            assert!((0..of).all(|index| share(index) == taken(index)));
        }
    }

    #[test]
    fn a_shard_is_written_as_it_is_read() {
        let shard: Shard = "3/8".parse().unwrap();
        assert_eq!((shard, shard.to_string().as_str()), (Shard { index: 3, of: 8 }, "3/8"));
        let refused = |text: &str| text.parse::<Shard>().unwrap_err();
        assert_eq!(refused("8/8"), "parts are counted from 0 to 7");
        for text in ["", "3", "a/b", "-1/2", "0/0", "1/2/3"] {
            assert!(refused(text).starts_with("expected I/N"), "{text}");
        }
    }
}
