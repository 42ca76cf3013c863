//! What an evaluation has collected, in a file: of each image `image` U64 and `label` U32, [images]; of
//! each model, the ensemble last, and image `predicted` U32, `right` U8 (1: top-1, 2: top-5), `nll` F64 and
//! `confidence` F64, [models, images]; where the best outputs are kept, `best` U32 and `share` F32,
//! [models, images, outputs].

use super::evaluation::{Evaluation, Record};
use super::scores::Outcome;
use crate::parts::{Content, read_tensor};
use swa_base::Result;
use swa_tools::checkpoint::{Checkpoint, Dtype, TensorInfo};

impl Content for Evaluation {
    fn tensors(&self) -> Vec<(TensorInfo, Vec<u8>)> {
        let n = self.labels.len();
        let outcomes = || self.records().flat_map(|record| &record.outcomes);
        let top = || self.records().flat_map(|record| &record.top);
        let each = vec![self.records().count(), n];
        let right = |o: &Outcome| o.top1 as u8 | (o.top5 as u8) << 1;
        let u32s = |values: &mut dyn Iterator<Item = u32>| {
            values.flat_map(u32::to_le_bytes).collect::<Vec<u8>>()
        };
        let f64s = |of: fn(&Outcome) -> f64| {
            outcomes().flat_map(|outcome| of(outcome).to_le_bytes()).collect::<Vec<u8>>()
        };
        let images = self.images.iter().flat_map(|image| image.to_le_bytes()).collect();
        let mut all = vec![
            ("image", Dtype::U64, vec![n], images),
            ("label", Dtype::U32, vec![n], u32s(&mut self.labels.iter().copied())),
            ("predicted", Dtype::U32, each.clone(), u32s(&mut outcomes().map(|o| o.predicted))),
            ("right", Dtype::U8, each.clone(), outcomes().map(right).collect()),
            ("nll", Dtype::F64, each.clone(), f64s(|outcome| outcome.nll)),
            ("confidence", Dtype::F64, each.clone(), f64s(|outcome| outcome.confidence)),
        ];
        let best = self.records().next().map_or(0, |record| record.top.len() / n.max(1));
        if best > 0 {
            let shape = [&each[..], &[best]].concat();
            let shares = top().flat_map(|(_, share)| share.to_le_bytes()).collect();
            all.push(("best", Dtype::U32, shape.clone(), u32s(&mut top().map(|(o, _)| *o))));
            all.push(("share", Dtype::F32, shape, shares));
        }
        let named = |(name, dtype, shape, bytes): (&str, Dtype, Vec<usize>, Vec<u8>)| {
            (TensorInfo { name: name.into(), dtype, shape }, bytes)
        };
        all.into_iter().map(named).collect()
    }

    fn merge(&mut self, part: &Checkpoint) -> Result<()> {
        let n = part.get("image").and_then(|info| info.shape.first().copied()).unwrap_or(0);
        let each = [self.records().count(), n];
        let read = |name: &str, dtype, shape: &[usize]| read_tensor(part, name, dtype, shape);
        let u32s = |bytes: &[u8]| -> Vec<u32> {
            bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
        };
        let f64s = |bytes: &[u8]| -> Vec<f64> {
            bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
        };
        let images = read("image", Dtype::U64, &[n])?;
        let images = images.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        let labels = u32s(&read("label", Dtype::U32, &[n])?);
        let predicted = u32s(&read("predicted", Dtype::U32, &each)?);
        let right = read("right", Dtype::U8, &each)?;
        let nll = f64s(&read("nll", Dtype::F64, &each)?);
        let confidence = f64s(&read("confidence", Dtype::F64, &each)?);
        let best = part.get("best").and_then(|info| info.shape.last().copied()).unwrap_or(0);
        let top: Vec<(u32, f32)> = match best {
            0 => vec![],
            _ => {
                let shape = [&each[..], &[best]].concat();
                let shares = read("share", Dtype::F32, &shape)?;
                let shares = shares.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
                u32s(&read("best", Dtype::U32, &shape)?).into_iter().zip(shares).collect()
            }
        };
        let record = |number: usize| {
            let rows = number * n..(number + 1) * n;
            let outcome = |i: usize| Outcome {
                predicted: predicted[i],
                top1: right[i] & 1 != 0,
                top5: right[i] & 2 != 0,
                nll: nll[i],
                confidence: confidence[i],
            };
            let top = top[rows.start * best..rows.end * best].to_vec();
            Record { outcomes: rows.map(outcome).collect(), top }
        };
        let models = self.models.len();
        self.append(Evaluation {
            images,
            labels,
            models: (0..models).map(record).collect(),
            ensemble: self.ensemble.as_ref().map(|_| record(models)),
        });
        Ok(())
    }
}
