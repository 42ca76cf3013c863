//! The parts of one pass, together.

use std::path::PathBuf;

use serde_json::Value;

use super::file::{self, Opened};
use super::identity::{Identity, PROGRAMS_KEY};
use super::part::{Content, Part, Progress, differences};
use swa_base::{Error, Kind, Result, Shard, setting};

/// All parts of a pass, each once.
#[derive(Debug)]
pub(crate) struct Set {
    /// In the order of their numbers.
    parts: Vec<Opened>,
}

impl Set {
    /// Opens the parts, given in any order.
    ///
    /// # Errors
    /// `Mismatch` for parts of different passes or with images of different sizes; `Input` if one is missing,
    /// repeated or unfinished; those of reading.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut parts: Vec<Opened> =
            paths.iter().map(|path| file::open(path)).collect::<Result<_>>()?;
        let Some((first, others)) = parts.split_first() else {
            return Err(Error::usage("no parts were given"));
        };
        let mended = parts.iter().any(|part| part.progress.broken);
        others.iter().try_for_each(|part| check_same_pass(part, first, mended))?;
        parts.sort_by_key(|part| part.progress.shard.index);
        check_complete(&parts)?;
        let (first, others) = parts.split_first().expect("one at least");
        others.iter().try_for_each(|part| check_same_size(part, first))?;
        Ok(Set { parts })
    }

    /// Which pass it is.
    pub fn identity(&self) -> &Identity {
        &self.parts[0].identity
    }

    /// The names of the models in the first part.
    pub fn models(&self) -> &[String] {
        &self.parts[0].progress.models
    }

    /// What the tool noted in the first part.
    pub fn notes(&self) -> &Value {
        &self.parts[0].progress.notes
    }

    /// # Errors
    /// `Mismatch` if it is a pass of another tool.
    pub fn expect_tool(&self, tool: &str) -> Result<()> {
        match self.identity().get("tool").as_str() {
            Some(found) if found == tool => Ok(()),
            found => {
                let what = format!("is a part of {}", found.unwrap_or("no tool"));
                Err(Error::new(Kind::Mismatch, what)
                    .at(self.parts[0].checkpoint.path())
                    .remedy(format!("give parts that {tool} saved")))
            }
        }
    }

    /// # Errors
    /// `Mismatch` if it is a pass of other models, by their digests.
    pub fn expect_models(&self, digests: &Value, names: &[String]) -> Result<()> {
        if self.identity().get("models") == digests {
            return Ok(());
        }
        let (found, given) = (self.models().join(", "), names.join(", "));
        let what = match found == given {
            true => format!("{given} had other weights when it was made"),
            false => format!("is of {found}, not of {given}"),
        };
        Err(Error::new(Kind::Mismatch, what)
            .at(self.parts[0].checkpoint.path())
            .remedy("give the model that the parts were made with"))
    }

    /// # Errors
    /// `Mismatch` if it is a pass with other programs, by their digests; null: with none.
    pub fn expect_programs(&self, digests: &Value) -> Result<()> {
        if self.identity().get(PROGRAMS_KEY) == digests {
            return Ok(());
        }
        let what = match (self.identity().get(PROGRAMS_KEY), digests) {
            (Value::Null, _) => "was made with a built-in network, not with a program",
            (_, Value::Null) => "was made with a program, not with a built-in network",
            _ => "was made with another program",
        };
        let program = setting!("program");
        Err(Error::new(Kind::Mismatch, what)
            .at(self.parts[0].checkpoint.path())
            .remedy(format!("give {program} as the parts were made")))
    }

    /// Adds up the contents, starting from an empty one. In all, `allow_bad` images may have been left out, or as many
    /// as the parts allowed.
    ///
    /// # Errors
    /// `BadImage` if more were left out; those of reading.
    pub fn merge<C: Content>(self, mut content: C, allow_bad: usize) -> Result<Part<C>> {
        let mut progress = Progress {
            shard: Shard::WHOLE,
            done: 0,
            filled: 0,
            images: 0,
            skipped: vec![],
            broken: false,
            allow_bad,
            ..self.parts[0].progress.clone()
        };
        for part in &self.parts {
            content.merge(&part.checkpoint)?;
            progress.done += part.progress.done;
            progress.filled += part.progress.filled;
            progress.images = progress.images.saturating_add(part.progress.images);
            progress.size = progress.size.or(part.progress.size);
            progress.skipped.extend(part.progress.skipped.iter().cloned());
            progress.allow_bad = progress.allow_bad.max(part.progress.allow_bad);
        }
        // In the order in which one process would have met them.
        progress.skipped.sort_by_key(|(batch, _)| *batch);
        let (found, allowed) = (progress.skipped.len(), progress.allow_bad);
        if found > allowed {
            let all = progress.skipped.into_iter().map(|(_, line)| line).collect();
            let what = format!("{found} bad images, {} is {allowed}", setting!("allow_bad"));
            return Err(Error::new(Kind::BadImage, what)
                .remedy("mend or remove them, or allow more")
                .list(all));
        }
        let identity = self.identity().clone();
        Ok(Part { identity, progress, content })
    }
}

fn name(part: &Opened) -> String {
    part.checkpoint.path().display().to_string()
}

fn check_same_pass(part: &Opened, first: &Opened, mended: bool) -> Result<()> {
    let expected = (&first.identity, &first.progress);
    let mut differences = differences((&part.identity, &part.progress), expected, mended);
    let (a, b) = (part.progress.shard, first.progress.shard);
    if a.of != b.of {
        differences.push(format!("it is part {a}, not one of {}", b.of));
    }
    if differences.is_empty() {
        return Ok(());
    }
    let what = format!("is of another pass than `{}`: {}", name(first), differences.join(", "));
    Err(Error::new(Kind::Mismatch, what)
        .at(part.checkpoint.path())
        .remedy("merge the parts of one pass"))
}

/// Fails unless each part is there once, and finished. `parts` are in the order of their numbers, one at least.
fn check_complete(parts: &[Opened]) -> Result<()> {
    for pair in parts.windows(2) {
        if pair[0].progress.shard == pair[1].progress.shard {
            let shard = pair[0].progress.shard;
            return Err(Error::input(format!("is part {shard}, as `{}` is", name(&pair[0])))
                .at(pair[1].checkpoint.path())
                .remedy("give each part once"));
        }
    }
    for part in parts {
        let Progress { shard, done, .. } = part.progress;
        let share = shard.share(part.identity.batches());
        if done < share {
            let unit = part.identity.unit();
            return Err(Error::input(format!("is unfinished: {done} of {share} {unit}"))
                .at(part.checkpoint.path())
                .remedy(concat!("finish it with ", setting!("resume"))));
        }
    }
    let of = parts[0].progress.shard.of;
    let is_there = |index: &usize| parts.iter().any(|p| p.progress.shard.index == *index);
    let missing: Vec<String> =
        (0..of).filter(|index| !is_there(index)).map(|i| format!("{i}/{of}")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (first, more) = missing.split_at(missing.len().min(10));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    Err(Error::input(format!("part {}{more} is missing", first.join(", ")))
        .remedy("give all parts of the pass"))
}

fn check_same_size(part: &Opened, first: &Opened) -> Result<()> {
    let (Some(a), Some(b)) = (&first.progress.size, &part.progress.size) else { return Ok(()) };
    if a == b {
        return Ok(());
    }
    let what = format!(
        "its images have {}x{} pixels, those of `{}` {}x{}",
        b[1],
        b[0],
        name(first),
        a[1],
        a[0]
    );
    Err(Error::new(Kind::Mismatch, what).at(part.checkpoint.path()).remedy(concat!(
        "bring them to one size with ",
        setting!("resize"),
        " and ",
        setting!("crop")
    )))
}
