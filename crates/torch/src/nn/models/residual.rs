//! The blocks of residual networks.

use crate::nn::layers::{ConvShape, conv};

/// The shapes of a residual block.
pub(super) struct ResidualBlock {
    /// `layer1.0`.
    pub name: String,
    /// Two of 3×3, or 1×1, 3×3, 1×1 (a bottleneck, four times as wide at its end); the first 3×3 has
    /// the stride.
    pub convs: Vec<ConvShape>,
    /// The projection of the shortcut, if the block changes size or width.
    pub shortcut: Option<ConvShape>,
    /// Channels that leave it.
    pub outputs: usize,
}

/// The blocks of stages of width `width`, twice that, …, each but the first halving the size;
/// `counts` blocks a stage. `inputs`: channels that enter the first.
pub(super) fn residual_blocks(
    mut inputs: usize,
    width: usize,
    counts: &[usize],
    bottleneck: bool,
) -> Vec<ResidualBlock> {
    let mut blocks = Vec::new();
    for (stage, &count) in counts.iter().enumerate() {
        let width = width << stage;
        let outputs = if bottleneck { 4 * width } else { width };
        for i in 0..count {
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            let convs = if bottleneck {
                vec![
                    conv(inputs, width, 1, 1),
                    conv(width, width, 3, stride),
                    conv(width, outputs, 1, 1),
                ]
            } else {
                vec![conv(inputs, width, 3, stride), conv(width, width, 3, 1)]
            };
            let shortcut =
                (stride != 1 || inputs != outputs).then(|| conv(inputs, outputs, 1, stride));
            let name = format!("layer{}.{i}", stage + 1);
            blocks.push(ResidualBlock { name, convs, shortcut, outputs });
            inputs = outputs;
        }
    }
    blocks
}
