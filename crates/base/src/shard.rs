//! Which part of a job that several processes share.

use std::fmt;
use std::str::FromStr;

/// Part `index` of `of`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub index: usize,
    /// How many parts there are.
    pub of: usize,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Shard = Shard { index: 0, of: 1 };

    /// How many of `count` things it has, if it takes those of the numbers `index`, `index + of`, …
    pub fn share(self, count: usize) -> usize {
        count.saturating_sub(self.index).div_ceil(self.of)
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
