//! The stack with its marks, and the memo.

use super::Machine;
use crate::Result;
use crate::formats::pickle::{Id, Value};

impl Machine<'_> {
    pub(super) fn push(&mut self, value: Value) {
        let id = self.add(value);
        self.stack.push(id);
    }

    /// The top of the stack, if it is above the last mark.
    pub(super) fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.bad("a value that is not there"));
        }
        self.stack.pop().ok_or_else(|| self.bad("a value that is not there"))
    }

    pub(super) fn top(&self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&id) if self.stack.len() > floor => Ok(id),
            _ => Err(self.bad("a value that is not there")),
        }
    }

    pub(super) fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let Some(height) = self.marks.pop() else { return Err(self.bad("no mark")) };
        Ok(self.stack.split_off(height))
    }

    pub(super) fn memoized(&self) -> usize {
        self.memo.len() + self.others.len()
    }

    pub(super) fn put(&mut self, key: u32) -> Result<()> {
        let top = self.top()?;
        match key as usize {
            n if n < self.memo.len() => self.memo[n] = top,
            n if n == self.memo.len() => {
                self.others.remove(&key);
                self.memo.push(top);
            }
            _ => drop(self.others.insert(key, top)),
        }
        Ok(())
    }

    pub(super) fn get(&mut self, key: u32) -> Result<()> {
        match self.memo.get(key as usize).or_else(|| self.others.get(&key)) {
            Some(&id) => self.stack.push(id),
            None => return Err(self.bad("a memo that was not put")),
        }
        Ok(())
    }
}
