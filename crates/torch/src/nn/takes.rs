//! Which images a network takes.

use swa_base::{Error, Kind, Result};
use swa_tools::checkpoint::Dtype;
use swa_tools::programs::Program;

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
    /// Integers of this type, from 0 to 255 as images are stored: it normalises them itself.
    pub integers: Option<Dtype>,
}

impl Takes {
    /// Channels, and what else a program demands of its images.
    ///
    /// # Errors
    /// `Unsupported` if it takes no images, or images of other than one or three channels.
    pub fn of(program: &Program) -> Result<(usize, Takes)> {
        let image = program.image();
        let [batch, channels, height, width] = image.shape[..] else {
            let side = |side: &Option<usize>| side.map_or("any".to_string(), |n| n.to_string());
            let shape: Vec<String> = image.shape.iter().map(side).collect();
            let what = format!("takes a tensor of {}, not images", shape.join(" × "));
            return Err(Error::new(Kind::Unsupported, what).at(program.path()).remedy(
                "export a network that takes one tensor of [batch, channels, height, width]",
            ));
        };
        // Three channels where any number would do.
        let channels = channels.unwrap_or(3);
        if !matches!(channels, 1 | 3) {
            let what = format!("takes images of {channels} channels");
            return Err(Error::new(Kind::Unsupported, what)
                .at(program.path())
                .remedy("images are read as grey or RGB, in 1 or 3 channels"));
        }
        let integers = match image.dtype {
            dtype @ (Dtype::U8 | Dtype::I16 | Dtype::I32 | Dtype::I64) => Some(dtype),
            Dtype::I8 | Dtype::U16 | Dtype::U32 | Dtype::U64 => {
                let what = format!("takes images of {:?}", image.dtype);
                return Err(Error::new(Kind::Unsupported, what)
                    .at(program.path())
                    .remedy("export it for floating-point images, or for bytes (uint8)"));
            }
            _ => None,
        };
        let most = image.upper_batch;
        Ok((channels, Takes { height, width, batch, most, integers }))
    }

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
