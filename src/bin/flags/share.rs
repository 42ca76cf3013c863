//! Flags of several processes that write a folder together.

use std::path::PathBuf;

use swa_cli::{Common, ShardArg};
use swa_tools::Result;
use swa_tools::jobs::{Average, Finish, Share};

/// Flags of several processes that write a folder together.
#[derive(Debug, Clone, clap::Args)]
pub struct ShareArgs {
    /// Write part I of N, counted from 0, of the files of a folder of shards, to PATH.partial; or auto: the part that
    /// the environment says (Slurm, Kubernetes, MPI, torchrun, …). What is there already is kept
    #[arg(long, value_name = "I/N", conflicts_with_all = ["list", "verify", "follow", "state", "explain", "finish"], help_heading = "Several processes")]
    pub shard: Option<ShardArg>,

    /// Make the folder PATH of what all parts wrote: check that it is complete, and give it its name
    #[arg(long, value_name = "PATH", conflicts_with_all = ["inputs", "output", "list", "verify", "dry_run", "follow", "state"], help_heading = "Several processes")]
    pub finish: Option<PathBuf>,
}

impl ShareArgs {
    /// The part to write, if it is one.
    pub fn share(&self, average: &Average, common: &Common) -> Result<Option<Share>> {
        let Some(shard) = self.shard else { return Ok(None) };
        Ok(Some(Share { average: average.clone(), shard: shard.shard(common)? }))
    }

    /// The folder to finish, if that is asked for.
    pub fn finish(&self, force: bool) -> Option<Finish> {
        self.finish.clone().map(|output| Finish { output, force })
    }
}
