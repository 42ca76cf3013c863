//! Checksums of a tensor's bytes, computed part by part in any order.

use super::digest;

/// How a tensor's bytes are summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// The digest of these tools, see [`checkpoint::digest`](crate::checkpoint::digest). Parts must begin at a block's boundary.
    Digest,
    /// CRC-32, as zip files have it.
    Crc,
}

impl Checksum {
    /// The contribution of a part that begins at byte `start` of `total`. Contributions are combined by
    /// [`Checksum::add`]; that of no bytes is 0.
    pub fn of_part(self, start: u64, part: &[u8], total: u64) -> u128 {
        match self {
            Checksum::Digest => {
                let first = start / digest::BLOCK;
                let blocks = part.chunks(digest::BLOCK as usize).enumerate();
                blocks.fold(0u128, |sum, (i, block)| {
                    sum.wrapping_add(digest::of_block(first + i as u64, block))
                })
            }
            Checksum::Crc => Self::of_crc(crc32fast::hash(part), total - start - part.len() as u64),
        }
    }

    /// The contribution of a part whose CRC is known, with so many bytes after it.
    pub fn of_crc(crc: u32, after: u64) -> u128 {
        shifted(crc, after) as u128
    }

    /// Combines two contributions.
    pub fn add(self, a: u128, b: u128) -> u128 {
        match self {
            Checksum::Digest => a.wrapping_add(b),
            Checksum::Crc => a ^ b,
        }
    }
}

/// The contribution of a run of bytes that comes in parts, in their order. It begins at a block's boundary.
pub struct RunningChecksum {
    kind: Checksum,
    /// Where the next part begins.
    at: u64,
    total: u64,
    sum: u128,
    block: Option<digest::BlockDigest>,
}

impl RunningChecksum {
    /// Of bytes from `start` of `total` on.
    pub fn new(kind: Checksum, start: u64, total: u64) -> Self {
        RunningChecksum { kind, at: start, total, sum: 0, block: None }
    }

    /// The next bytes.
    pub fn add(&mut self, mut part: &[u8]) {
        if self.kind == Checksum::Crc {
            self.sum = self.kind.add(self.sum, self.kind.of_part(self.at, part, self.total));
            self.at += part.len() as u64;
            return;
        }
        while !part.is_empty() {
            let to_end = digest::BLOCK - self.at % digest::BLOCK;
            let (now, later) = part.split_at(part.len().min(to_end as usize));
            let number = self.at / digest::BLOCK;
            let block = self.block.get_or_insert_with(|| digest::BlockDigest::new(number));
            block.add(now);
            self.at += now.len() as u64;
            if now.len() as u64 == to_end {
                self.end_block();
            }
            part = later;
        }
    }

    fn end_block(&mut self) {
        if let Some(block) = self.block.take() {
            self.sum = self.kind.add(self.sum, block.finish());
        }
    }

    /// Of all of them.
    pub fn finish(mut self) -> u128 {
        self.end_block();
        self.sum
    }
}

/// A CRC shifted past so many further bytes. CRCs are linear: the CRC of a whole is the exclusive or of those of its
/// parts, each shifted past what follows it.
fn shifted(crc: u32, after: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial_len(crc, 0);
    hasher.combine(&crc32fast::Hasher::new_with_initial_len(0, after));
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_in_any_order_make_the_whole() {
        let bytes: Vec<u8> = (0..3 * digest::BLOCK + 77).map(|i| (i * i / 32) as u8).collect();
        let (n, block) = (bytes.len() as u64, digest::BLOCK as usize);
        for (kind, whole) in [
            (Checksum::Crc, crc32fast::hash(&bytes) as u128),
            (Checksum::Digest, digest::of_blocks(&bytes)),
        ] {
            assert_eq!(kind.of_part(0, &bytes, n), whole);
            let cuts = [0, 2 * block, block, 3 * block];
            let ends = [block, 3 * block, 2 * block, bytes.len()];
            let shares =
                cuts.iter().zip(ends).map(|(&a, b)| kind.of_part(a as u64, &bytes[a..b], n));
            assert_eq!(shares.fold(0, |a, b| kind.add(a, b)), whole);
            // Runs from a block's boundary on, in small parts.
            let run = |start: usize, end: usize| {
                let mut running = RunningChecksum::new(kind, start as u64, n);
                bytes[start..end].chunks(77_777).for_each(|part| running.add(part));
                running.finish()
            };
            assert_eq!(kind.add(run(0, 2 * block), run(2 * block, bytes.len())), whole);
        }
        assert_eq!(Checksum::Crc.of_part(0, &[], 0), 0);
    }
}
