//! Which images a network takes.

/// What a network demands of its input. A known family demands nothing; a program may have been exported for one size,
/// or for so many images at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Takes {
    /// Height, if only one will do.
    pub height: Option<usize>,
    /// Width, if only one will do.
    pub width: Option<usize>,
    /// Exactly so many images at a time.
    pub batch: Option<usize>,
    /// At most so many images at a time.
    pub most: Option<usize>,
}

impl Takes {
    /// "3 × 224 × 224"; a size that is free is `any`.
    pub fn describe(&self, channels: usize) -> String {
        let side = |side: Option<usize>| side.map_or("any".to_string(), |n| n.to_string());
        format!("{channels} × {} × {}", side(self.height), side(self.width))
    }

    /// Whether images of this height and width will do.
    pub fn fits(&self, height: usize, width: usize) -> bool {
        let fits = |side: Option<usize>, found: usize| side.is_none_or(|side| side == found);
        fits(self.height, height) && fits(self.width, width)
    }
}
