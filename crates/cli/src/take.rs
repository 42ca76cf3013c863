//! Which weights of a checkpoint to use.

/// Flags of every command that reads checkpoints.
#[derive(Debug, Clone, clap::Args)]
pub struct TakeArgs {
    /// Use the averaged weights (EMA, SWA) that the trainer kept, if a file holds both
    #[arg(long, conflicts_with = "weights_key", help_heading = "Which weights")]
    pub ema: bool,

    /// Where in a file the weights are: keys joined with dots, such as `state.model`
    #[arg(long, value_name = "KEY", help_heading = "Which weights")]
    pub weights_key: Option<String>,
}
