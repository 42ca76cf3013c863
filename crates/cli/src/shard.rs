//! `--shard I/N`, and `--shard auto`: what the scheduler that started a process says of it.
//!
//! The variables are those of Slurm's arrays and steps, Kubernetes' Indexed Jobs, AWS Batch, Open MPI, MPICH and Intel
//! MPI (PMI), and torchrun; `docs/scale.md` lists them in this order.

use std::str::FromStr;

use swa_base::{Error, Result, Shard};

use crate::Common;

/// The value of `--shard`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardArg {
    /// `I/N`.
    Given(Shard),
    /// `auto`.
    Auto,
}

impl FromStr for ShardArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(ShardArg::Auto),
            _ => text
                .parse()
                .map(ShardArg::Given)
                .map_err(|e| if e.starts_with("expected") { format!("{e}, or auto") } else { e }),
        }
    }
}

impl ShardArg {
    /// Which one it is. What the environment says is noted on stderr.
    ///
    /// # Errors
    /// `Usage` where the environment says nothing, or contradicts itself.
    pub fn shard(self, common: &Common) -> Result<Shard> {
        match self {
            ShardArg::Given(shard) => Ok(shard),
            ShardArg::Auto => {
                let (shard, by) = of_environment(&|name| std::env::var(name).ok())?;
                common.note(format!("note: shard {shard}, by {by}"));
                Ok(shard)
            }
        }
    }
}

/// Says it outright.
const SHARD: &str = "SWA_SHARD";

/// How many there are, for schedulers that do not say it.
const SHARDS: &str = "SWA_SHARDS";

/// A scheduler's variables.
struct Source {
    /// The number of this process.
    index: &'static str,
    /// How many there are.
    of: Option<&'static str>,
    /// The smallest number, the step from one to the next, and the largest, where they do not begin with 0.
    row: Option<[&'static str; 3]>,
    /// Whether it numbers jobs; others number the processes of one.
    is_job: bool,
}

const fn job(index: &'static str, of: Option<&'static str>) -> Source {
    Source { index, of, row: None, is_job: true }
}

const fn process(index: &'static str, of: &'static str) -> Source {
    Source { index, of: Some(of), row: None, is_job: false }
}

/// In the order in which they count.
const SOURCES: [Source; 7] = [
    Source {
        row: Some(["SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_TASK_MAX"]),
        ..job("SLURM_ARRAY_TASK_ID", Some("SLURM_ARRAY_TASK_COUNT"))
    },
    job("JOB_COMPLETION_INDEX", None),
    job("AWS_BATCH_JOB_ARRAY_INDEX", Some("AWS_BATCH_JOB_ARRAY_SIZE")),
    process("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    process("PMI_RANK", "PMI_SIZE"),
    // A batch script has a number and SLURM_NTASKS as well, and is no step.
    process("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    process("RANK", "WORLD_SIZE"),
];

const REMEDY: &str = "set SWA_SHARD=I/N, or write --shard I/N";

/// The shard that environment variables say, and the variable that says which.
fn of_environment(env: &dyn Fn(&str) -> Option<String>) -> Result<(Shard, &'static str)> {
    let env = |name: &str| env(name).filter(|value| !value.is_empty());
    if let Some(value) = env(SHARD) {
        let shard = value.parse().map_err(|e| Error::usage(format!("{SHARD}={value}: {e}")))?;
        return Ok((shard, SHARD));
    }
    let (mut found, mut without_number): (Vec<(&Source, Shard)>, Option<Error>) = (vec![], None);
    for source in &SOURCES {
        match source.read(&env)? {
            Read::Nothing => {}
            Read::Shard(shard) => found.push((source, shard)),
            Read::IndexAlone(error) if source.is_job => return Err(error),
            // Some set a rank, but not how many there are, in what is no process of several.
            Read::IndexAlone(error) => without_number = without_number.or(Some(error)),
        }
    }
    // One process alone, as a batch script's own or one launcher a node, says nothing of those that it starts.
    let several: Vec<&(&Source, Shard)> = found.iter().filter(|(_, shard)| shard.of > 1).collect();
    let Some((first, shard)) = several.first().copied().or(found.first()) else {
        if let Some(error) = without_number {
            return Err(error);
        }
        let names: Vec<&str> = SOURCES.iter().map(|source| source.index).collect();
        let what = format!("--shard auto: none of {SHARD}, {} is set", names.join(", "));
        return Err(Error::usage(what).remedy(REMEDY));
    };
    // The first one counts where they number the same processes.
    let differs = |(source, other): &&&(&Source, Shard)| {
        source.is_job != first.is_job || other.of != shard.of
    };
    if let Some((other, said)) = several.iter().find(differs) {
        let what =
            format!("--shard auto: {} says {shard}, {} says {said}", first.index, other.index);
        return Err(Error::usage(what).remedy(REMEDY));
    }
    Ok((*shard, first.index))
}

/// What the variables of a scheduler say.
enum Read {
    Nothing,
    Shard(Shard),
    /// Which one, and not how many there are.
    IndexAlone(Error),
}

impl Source {
    fn read(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Read> {
        let Some(index) = number(self.index, env)? else { return Ok(Read::Nothing) };
        let own = self.of.map_or(Ok(None), |of| number(of, env))?;
        // A number of processes that was meant for a job is not theirs.
        let shards = if self.is_job { number(SHARDS, env)? } else { None };
        let of = match (own, shards) {
            (Some(own), Some(shards)) if own != shards => {
                let of = self.of.unwrap_or_default();
                let what = format!("--shard auto: {of} is {own}, {SHARDS} is {shards}");
                return Err(Error::usage(what).remedy("leave out the wrong one"));
            }
            (own, shards) => own.or(shards),
        };
        let Some(of) = of else {
            let what = match self.of {
                Some(of) => format!("{} is set and {of} is not", self.index),
                None => format!("{} does not say how many there are", self.index),
            };
            let remedy = format!("set {SHARDS} to their number, or {SHARD}=I/N");
            return Ok(Read::IndexAlone(
                Error::usage(format!("--shard auto: {what}")).remedy(remedy),
            ));
        };
        let (mut least, mut step, mut most) = (0, 1, None);
        if let Some([min, by, max]) = self.row {
            least = number(min, env)?.unwrap_or(0);
            step = number(by, env)?.unwrap_or(1).max(1);
            most = number(max, env)?;
        }
        // A list, as 1,3,7, has numbers that nothing tells apart from those of a row.
        let last = of.saturating_sub(1).checked_mul(step).and_then(|last| last.checked_add(least));
        let is_row = most.is_none() || most == last;
        let above = index.checked_sub(least).filter(|above| above.is_multiple_of(step) && is_row);
        let Some(index) = above.map(|above| above / step).filter(|&index| index < of) else {
            let what = format!(
                "--shard auto: {} is {index}, which is none of {of} numbers from {least} in steps of {step}",
                self.index
            );
            return Err(
                Error::usage(what).remedy(format!("number them from 0, or set {SHARD}=I/N"))
            );
        };
        Ok(Read::Shard(Shard { index, of }))
    }
}

/// The value of a variable, if it is set.
fn number(name: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<usize>> {
    let Some(value) = env(name) else { return Ok(None) };
    let parsed = value.trim().parse().map(Some);
    parsed.map_err(|_| {
        Error::usage(format!("--shard auto: {name}={value} is no number")).remedy(REMEDY)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<(String, &'static str), String> {
        let find = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| value.to_string())
        };
        let found = of_environment(&find);
        found.map(|(shard, by)| (shard.to_string(), by)).map_err(|e| e.to_string())
    }

    #[track_caller]
    fn is(variables: &[(&str, &str)], shard: &str, by: &str) {
        let (found, source) = of(variables).unwrap();
        assert_eq!((found.as_str(), source), (shard, by));
    }

    #[track_caller]
    fn fails(variables: &[(&str, &str)], words: &[&str]) {
        let error = of(variables).unwrap_err();
        words.iter().for_each(|word| assert!(error.contains(word), "{error}"));
    }

    const ARRAY: [(&str, &str); 3] = [
        ("SLURM_ARRAY_TASK_ID", "4"),
        ("SLURM_ARRAY_TASK_MIN", "1"),
        ("SLURM_ARRAY_TASK_COUNT", "8"),
    ];

    #[test]
    fn every_scheduler_is_understood() {
        is(&[("SWA_SHARD", "3/8")], "3/8", "SWA_SHARD");
        is(&ARRAY, "3/8", "SLURM_ARRAY_TASK_ID");
        // --array=10-40:10
        let steps = [
            ("SLURM_ARRAY_TASK_ID", "30"),
            ("SLURM_ARRAY_TASK_MIN", "10"),
            ("SLURM_ARRAY_TASK_STEP", "10"),
            ("SLURM_ARRAY_TASK_COUNT", "4"),
        ];
        is(&steps, "2/4", "SLURM_ARRAY_TASK_ID");
        let job = [("JOB_COMPLETION_INDEX", "1"), ("SWA_SHARDS", "2")];
        is(&job, "1/2", "JOB_COMPLETION_INDEX");
        let aws = [("AWS_BATCH_JOB_ARRAY_INDEX", "0"), ("AWS_BATCH_JOB_ARRAY_SIZE", "5")];
        is(&aws, "0/5", "AWS_BATCH_JOB_ARRAY_INDEX");
        is(&[aws[0], ("SWA_SHARDS", "5")], "0/5", "AWS_BATCH_JOB_ARRAY_INDEX");
        for (rank, size) in [
            ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
            ("PMI_RANK", "PMI_SIZE"),
            ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
            ("RANK", "WORLD_SIZE"),
        ] {
            is(&[(rank, "6"), (size, "7")], "6/7", rank);
        }
    }

    #[test]
    fn the_first_one_counts() {
        let all =
            [&ARRAY[..], &[("SWA_SHARD", "0/2"), ("RANK", "1"), ("WORLD_SIZE", "2")]].concat();
        is(&all, "0/2", "SWA_SHARD");
        // A batch script's own number, which mpirun's processes inherit.
        let mpi = [
            ("SLURM_PROCID", "0"),
            ("SLURM_STEP_NUM_TASKS", "8"),
            ("OMPI_COMM_WORLD_RANK", "3"),
            ("OMPI_COMM_WORLD_SIZE", "8"),
        ];
        is(&mpi, "3/8", "OMPI_COMM_WORLD_RANK");
        // One process alone says nothing of those that it starts, nor of the job that it is.
        let one = [("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1")];
        is(&[&one[..], &[("RANK", "3"), ("WORLD_SIZE", "4")]].concat(), "3/4", "RANK");
        is(&[&one[..], &ARRAY].concat(), "3/8", "SLURM_ARRAY_TASK_ID");
        // As in the batch script of an array's job.
        is(&[&one[..1], &ARRAY].concat(), "3/8", "SLURM_ARRAY_TASK_ID");
        is(&one, "0/1", "SLURM_PROCID");
        is(&[("SWA_SHARD", ""), ("RANK", "1"), ("WORLD_SIZE", "2")], "1/2", "RANK");
    }

    #[test]
    fn contradictions_are_said() {
        fails(&[], &["none of SWA_SHARD, SLURM_ARRAY_TASK_ID", "RANK is set", "SWA_SHARD=I/N"]);
        fails(&[("SWA_SHARD", "8/8")], &["SWA_SHARD=8/8", "from 0 to 7"]);
        fails(&[("RANK", "8"), ("WORLD_SIZE", "8")], &["RANK is 8", "none of 8 numbers"]);
        fails(&[("RANK", "x"), ("WORLD_SIZE", "8")], &["RANK=x is no number"]);
        fails(&[("RANK", "1")], &["RANK is set and WORLD_SIZE is not"]);
        fails(&[("JOB_COMPLETION_INDEX", "1")], &["how many there are", "SWA_SHARDS"]);
        // --array=1,3,7 is no row.
        for id in ["1", "3", "7"] {
            let list = [
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_MIN", "1"),
                ("SLURM_ARRAY_TASK_MAX", "7"),
                ("SLURM_ARRAY_TASK_COUNT", "3"),
            ];
            fails(&list, &["none of 3 numbers from 1 in steps of 1"]);
        }
        let aws = [
            ("AWS_BATCH_JOB_ARRAY_INDEX", "0"),
            ("AWS_BATCH_JOB_ARRAY_SIZE", "5"),
            ("SWA_SHARDS", "4"),
        ];
        fails(&aws, &["AWS_BATCH_JOB_ARRAY_SIZE is 5, SWA_SHARDS is 4"]);
        // Several processes in each job of an array, and launchers within launchers.
        let both = [&ARRAY[..], &[("SLURM_PROCID", "1"), ("SLURM_STEP_NUM_TASKS", "2")]].concat();
        fails(&both, &["SLURM_ARRAY_TASK_ID says 3/8, SLURM_PROCID says 1/2"]);
        let torchrun = [
            ("SLURM_PROCID", "1"),
            ("SLURM_STEP_NUM_TASKS", "2"),
            ("RANK", "9"),
            ("WORLD_SIZE", "16"),
        ];
        fails(&torchrun, &["SLURM_PROCID says 1/2, RANK says 9/16"]);
    }
}
