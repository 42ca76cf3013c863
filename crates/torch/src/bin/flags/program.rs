//! The flag that brings networks of any kind.

use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct ProgramArgs {
    /// The network, as torch.export.save wrote it (.pt2): for networks that --list-archs does not list
    /// (docs/programs.md). Once for each kind of network; each MODEL takes the one that has its tensors
    #[arg(id = "program", long = "program", value_name = "FILE", help_heading = "Network")]
    programs: Vec<PathBuf>,
}

impl ProgramArgs {
    /// The files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.programs.clone()
    }
}
