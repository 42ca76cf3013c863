//! What instructions are followed by: numbers, lines, counted bytes.

use super::Machine;
use crate::{Error, Kind, Result};

impl<'b> Machine<'b> {
    pub(super) fn take(&mut self, n: usize) -> Result<&'b [u8]> {
        if n > self.bytes.len() - self.at {
            if self.bytes.len() == self.most {
                let what = format!("its pickle has more than {} bytes", self.most);
                return Err(Error::limit(what));
            }
            let what = format!("bad pickle: it ends within an instruction at byte {}", self.at);
            return Err(Error::new(Kind::Truncated, what).remedy("save or copy the file again"));
        }
        let taken = &self.bytes[self.at..self.at + n];
        self.at += n;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(*self.take(N)?.first_chunk().expect("as many were taken"))
    }

    /// A line, without its line feed.
    pub(super) fn line(&mut self) -> Result<&'b str> {
        let line = self.raw_line()?;
        std::str::from_utf8(line).map_err(|_| self.bad("a bad line"))
    }

    pub(super) fn raw_line(&mut self) -> Result<&'b [u8]> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|&b| b == b'\n') else {
            return Err(self.bad("a line without an end"));
        };
        let line = self.take(end)?;
        self.at += 1;
        Ok(line)
    }

    /// Bytes that follow their length, a little-endian number of N bytes.
    pub(super) fn counted<const N: usize>(&mut self) -> Result<&'b [u8]> {
        let mut length = [0; 8];
        length[..N].copy_from_slice(&self.array::<N>()?);
        let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
        self.take(length)
    }

    pub(super) fn key(&mut self) -> Result<u32> {
        self.line()?.parse().map_err(|_| self.bad("a bad memo"))
    }
}
