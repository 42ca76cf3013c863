//! The flag that brings networks of any kind.

use std::path::PathBuf;

use swa_tools::text::shell_word;

#[derive(Debug, clap::Args)]
pub struct ProgramArgs {
    /// The network, as torch.export.save wrote it (.pt2): for networks that --list-archs does not list
    /// (docs/programs.md). Once for each kind of network; each MODEL takes the one that has its tensors
    #[arg(id = "program", long = "program", value_name = "FILE", help_heading = "Network")]
    programs: Vec<PathBuf>,
}

impl ProgramArgs {
    /// The flags that give them, for a command to run next; empty without any.
    pub fn words(&self) -> String {
        self.programs.iter().map(|file| format!(" --program {}", shell_word(file))).collect()
    }

    /// The files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.programs.clone()
    }
}
