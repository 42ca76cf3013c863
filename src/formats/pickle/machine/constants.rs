//! Texts, bytes and integers that instructions spell out.

use super::Machine;
use crate::Result;
use crate::formats::pickle::Value;

impl Machine<'_> {
    pub(super) fn text(&mut self, bytes: &[u8]) {
        // Lone surrogates are lost; no tensor's name has any.
        self.push(Value::Text(String::from_utf8_lossy(bytes).into()));
    }

    /// A string of Python 2: text, or bytes if it is not UTF-8.
    pub(super) fn string(&mut self, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.push(Value::Text(text.into())),
            Err(_) => self.bytes_value(bytes),
        }
    }

    pub(super) fn bytes_value(&mut self, bytes: &[u8]) {
        self.push(Value::Bytes(self.at - bytes.len()..self.at));
    }

    /// A two's complement integer of any length, little-endian.
    pub(super) fn long(&mut self, bytes: &[u8]) {
        let sign = bytes.last().is_some_and(|&b| b & 0x80 != 0);
        let filler = if sign { 0xff } else { 0 };
        let (low, high) = bytes.split_at(bytes.len().min(8));
        let mut all = [filler; 8];
        all[..low.len()].copy_from_slice(low);
        let n = i64::from_le_bytes(all);
        let fits = high.iter().all(|&b| b == filler) && (n < 0) == sign;
        self.push(if fits { Value::Int(n) } else { Value::BigInt });
    }

    pub(super) fn decimal(&mut self, digits: &str) -> Result<()> {
        let digits = digits.trim_end_matches('L');
        let value = match digits.parse() {
            Ok(n) => Value::Int(n),
            Err(_) if digits.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit()) => {
                Value::BigInt
            }
            Err(_) => return Err(self.bad("a bad number")),
        };
        self.push(value);
        Ok(())
    }
}
