//! Which weights in a checkpoint are meant.

/// Flags of every command that reads checkpoints.
#[derive(Debug, Clone, clap::Args)]
pub struct TakeArgs {
    /// Take the averaged (EMA, SWA) weights that the trainer kept, where a file holds both
    #[arg(long, conflicts_with = "weights_key", help_heading = "Which weights")]
    pub ema: bool,

    /// Where in a file the weights are: keys with dots between them, as `state.model`
    #[arg(long, value_name = "KEY", help_heading = "Which weights")]
    pub weights_key: Option<String>,
}
