//! Writing a copy of a PyTorch file with other weights in it: optimizer, scheduler and whatever else it holds
//! stay as they were, byte for byte, so that a trainer can resume from it.

use std::ops::Range;

use super::layout::{Destination, Layout, Sink};
use crate::checkpoint::{Checkpoint, Container, Extent, Source, TensorInfo};
use crate::tensors::checksum::{Checksum, RunningChecksum};
use crate::{Error, Kind, Result, setting};
use crate::{formats::torch, tensors::view::Storage};

/// The setting that names the file to copy.
const LIKE: &str = setting!("like");

/// Bytes that are copied at once.
const PART: u64 = 1 << 20;

/// Where everything goes in a copy of another file.
pub(crate) struct LikeLayout<'a> {
    model: &'a Checkpoint,
    /// What is copied.
    source: &'a Source,
    /// Its number among the model's files, if it is one.
    number: u32,
    /// Numbers in the model of the tensors in it.
    tensors: Vec<usize>,
    /// Which of them lie in a row, and share bytes with another one: tied tensors.
    tied: Vec<usize>,
    saved: Saved,
}

/// What `torch.save` wrote into a file.
pub(super) enum Saved {
    /// The file is all of it: its storages.
    File(Vec<Storage>),
    /// Parts of the file, each by itself.
    Parts(Vec<Range<u64>>),
}

impl<'a> LikeLayout<'a> {
    /// Fails if the model is not one file of PyTorch, or lacks a tensor, or has it of another shape or
    /// type. Names are compared without what wrappers put into them.
    pub fn new(model: &'a Checkpoint, names: &[&str], infos: &[TensorInfo]) -> Result<Self> {
        if !model.container().is_torch_file() {
            let what = match model.container() {
                Container::Distributed => "is a folder: this output is a file".into(),
                other => format!("is {}, which holds nothing but weights", other.name()),
            };
            return Err(Error::usage(format!("{LIKE}: {what}"))
                .at(model.path())
                .remedy(format!("leave out {LIKE}, or name a .pth or .ckpt file")));
        }
        let source = &model.files()[0];
        if source.reach() > source.size() {
            let what = "is compressed, and a copy has other values of the same length";
            return Err(Error::new(Kind::Unsupported, format!("{LIKE}: {what}"))
                .at(model.path())
                .remedy("save it again without compression"));
        }
        let tensors = matching(model, names, infos)?;
        let contents = torch::read(source, 0..source.size()).map_err(|e| e.at(model.path()))?;
        let saved = Saved::File(contents.storages.into_values().collect());
        Ok(Self::of_file(model, (source, 0), tensors, saved))
    }

    /// A copy of one file of the model.
    pub(super) fn of_file(
        model: &'a Checkpoint,
        (source, number): (&'a Source, u32),
        tensors: Vec<usize>,
        saved: Saved,
    ) -> Self {
        let tied = tied(model, number, &tensors);
        LikeLayout { model, source, number, tensors, tied, saved }
    }

    /// Fails if a tensor is not there as it was written, since another one is in its place.
    fn check_tied(&self, sink: &dyn Sink, file: usize, sums: &[(&TensorInfo, u128)]) -> Result<()> {
        let mut buffer = vec![];
        for &tensor in &self.tied {
            let (Destination::Row(start), (info, sum)) = (self.destination(tensor), sums[tensor])
            else {
                continue;
            };
            let size = info.size();
            let mut found = RunningChecksum::new(Checksum::Digest, 0, size);
            for at in (0..size).step_by(PART as usize) {
                buffer.resize((size - at).min(PART) as usize, 0);
                sink.read_at(file, &mut buffer, start + at)?;
                found.add(&buffer);
            }
            if found.finish() != sum {
                let what = format!(
                    "{LIKE}: the model has other tensors in the same place (tied), and their results differ"
                );
                return Err(Error::new(Kind::Mismatch, what)
                    .at(self.model.path())
                    .tensor(&info.name)
                    .remedy(format!("leave out {LIKE}, or name a checkpoint in which each has a place of its own")));
            }
        }
        Ok(())
    }

    /// The storages with a CRC that other weights change.
    fn storages(&self) -> Result<Vec<Storage>> {
        let spans = self.tensors.iter().flat_map(|&t| self.model.spans(t, self.number));
        let mut written: Vec<Range<u64>> = spans.collect();
        written.sort_by_key(|span| span.start);
        // How far those up to each reach: they may overlap.
        let mut end = 0;
        written
            .iter_mut()
            .for_each(|span| (end, span.end) = (end.max(span.end), end.max(span.end)));
        let meets = |bytes: &Range<u64>| {
            let before = written.partition_point(|span| span.start < bytes.end);
            written[..before].last().is_some_and(|span| bytes.start < span.end)
        };
        let mut storages = vec![];
        match &self.saved {
            Saved::File(all) => storages.extend(all.iter().cloned()),
            Saved::Parts(parts) => {
                for part in parts.iter().filter(|part| meets(part)) {
                    let read = torch::read(self.source, part.clone());
                    let read = read.map_err(|e| e.at(self.source.path()))?;
                    storages.extend(read.storages.into_values());
                }
            }
        }
        storages.retain(|storage| storage.crc.is_some() && meets(&storage.bytes));
        storages.sort_by_key(|storage| storage.bytes.start);
        Ok(storages)
    }
}

/// Which tensors of a file lie in a row and share bytes with another.
fn tied(model: &Checkpoint, number: u32, tensors: &[usize]) -> Vec<usize> {
    let spans = tensors.iter().enumerate().flat_map(|(place, &tensor)| {
        model.spans(tensor, number).into_iter().map(move |span| (span.start, span.end, place))
    });
    let mut spans: Vec<(u64, u64, usize)> = spans.filter(|(start, end, _)| start < end).collect();
    spans.sort_unstable();
    let (mut tied, mut before) = (vec![], (0, 0));
    for &(start, end, place) in &spans {
        let (reach, by) = before;
        if start < reach && by != place {
            tied.extend([by, place]);
        }
        if end > reach {
            before = (end, place);
        }
    }
    tied.retain(|&place| matches!(model.extent(tensors[place]), Extent::Contiguous(_)));
    tied.sort_unstable();
    tied.dedup();
    tied
}

/// Numbers in a model of the tensors to be written into its copy. Fails if it lacks one, or has it of another shape
/// or type.
pub(super) fn matching(
    model: &Checkpoint,
    names: &[&str],
    infos: &[TensorInfo],
) -> Result<Vec<usize>> {
    let mut problems = vec![];
    let mut tensors = vec![];
    for (name, info) in names.iter().zip(infos) {
        let Some(number) = model.position(name) else {
            problems.push(format!("tensor `{name}`: missing"));
            continue;
        };
        let own = &model.tensors()[number];
        if own.shape != info.shape {
            problems.push(format!(
                "tensor `{name}`: has shape {:?}, the model {:?}",
                own.shape, info.shape
            ));
        } else if own.dtype != info.dtype {
            problems
                .push(format!("tensor `{name}`: is {:?}, the model {:?}", own.dtype, info.dtype));
        } else if let Extent::Gathered(gather) = model.extent(number)
            && (gather.swap > 1 || gather.slabs.len() == 1 && gather.overlaps())
        {
            problems.push(format!(
                "tensor `{name}`: its values share places, or have another byte order"
            ));
        }
        tensors.push(number);
    }
    if problems.is_empty() {
        return Ok(tensors);
    }
    let what = format!("{LIKE}: {} tensor(s) do not match the model's", problems.len());
    Err(Error::new(Kind::Mismatch, what)
        .at(model.path())
        .remedy(format!("name a checkpoint of the same model and type, or leave out {LIKE}"))
        .list(problems))
}

impl Layout for LikeLayout<'_> {
    fn size(&self) -> u64 {
        self.source.size()
    }

    fn destination(&self, tensor: usize) -> Destination<'_> {
        match self.model.extent(self.tensors[tensor]) {
            Extent::Contiguous(start) => Destination::Row(start),
            Extent::Gathered(gather) if gather.slabs.len() == 1 => Destination::Scattered(gather),
            Extent::Gathered(gather) => Destination::Pieces(gather, self.number),
        }
    }

    /// The file's are of whole storages, so they are computed when all is written.
    fn checksum(&self) -> Option<Checksum> {
        (!self.tied.is_empty()).then_some(Checksum::Digest)
    }

    fn begin(&self, sink: &dyn Sink, file: usize) -> Result<()> {
        let (source, mut scratch) = (self.source, vec![]);
        for start in (0..source.size()).step_by(PART as usize) {
            let part = start..source.size().min(start + PART);
            sink.write_at(file, source.read(part, &mut scratch)?, start)?;
        }
        source.check_unchanged()?;
        self.model.check_unchanged()
    }

    fn finish(&self, sink: &dyn Sink, file: usize, sums: &[(&TensorInfo, u128)]) -> Result<()> {
        self.check_tied(sink, file, sums)?;
        let mut buffer = vec![];
        for Storage { bytes, crc } in self.storages()? {
            let mut hasher = crc32fast::Hasher::new();
            for start in (bytes.start..bytes.end).step_by(PART as usize) {
                buffer.resize((bytes.end - start).min(PART) as usize, 0);
                sink.read_at(file, &mut buffer, start)?;
                hasher.update(&buffer);
            }
            let crc_bytes = hasher.finalize().to_le_bytes();
            for place in crc.into_iter().flatten() {
                sink.write_at(file, &crc_bytes, place)?;
            }
        }
        Ok(())
    }
}
