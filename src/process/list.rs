//! A list that a signal handler may read while threads add to it and remove from it.
//!
//! A handler must not wait for a lock or touch memory that may be freed. So entries are never freed, only reused,
//! and a reader skips an entry that is being changed at that moment: to try a lock is a few atomic instructions. Threads find free entries, and the end of the
//! list, behind a lock that no handler takes.

use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

/// Grows to the largest number of values that it held at one time.
pub(crate) struct List<T: 'static> {
    first: OnceLock<&'static Entry<T>>,
    writers: Mutex<Writers<T>>,
}

struct Entry<T: 'static> {
    /// None while it is free.
    value: RwLock<Option<T>>,
    next: OnceLock<&'static Entry<T>>,
}

struct Writers<T: 'static> {
    last: Option<&'static Entry<T>>,
    free: Vec<&'static Entry<T>>,
}

/// Keeps a value in the list until it is dropped.
pub(crate) struct Listed<T: 'static> {
    list: &'static List<T>,
    entry: &'static Entry<T>,
}

impl<T> List<T> {
    pub const fn new() -> Self {
        let writers = Mutex::new(Writers { last: None, free: vec![] });
        List { first: OnceLock::new(), writers }
    }

    /// Adds a value. Takes the same time however many there are.
    pub fn push(&'static self, value: T) -> Listed<T> {
        let mut writers = self.writers();
        if let Some(entry) = writers.free.pop() {
            entry.set(Some(value));
            return Listed { list: self, entry };
        }
        let entry = Entry { value: RwLock::new(Some(value)), next: OnceLock::new() };
        let entry: &'static Entry<T> = Box::leak(Box::new(entry));
        let end = writers.last.map_or(&self.first, |last| &last.next);
        end.get_or_init(|| entry);
        writers.last = Some(entry);
        Listed { list: self, entry }
    }

    /// Visits the values. Neither waits nor allocates, so a signal handler may call it. A value that is being added
    /// or removed meanwhile may be left out.
    pub fn each(&self, mut visit: impl FnMut(&T)) {
        let mut next = self.first.get();
        while let Some(entry) = next {
            if let Ok(value) = entry.value.try_read()
                && let Some(value) = &*value
            {
                visit(value);
            }
            next = entry.next.get();
        }
    }

    fn writers(&self) -> MutexGuard<'_, Writers<T>> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn entries(&self) -> usize {
        std::iter::successors(self.first.get(), |entry| entry.next.get()).count()
    }
}

impl<T> Entry<T> {
    fn set(&self, value: Option<T>) {
        *self.value.write().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

impl<T> Drop for Listed<T> {
    fn drop(&mut self) {
        self.entry.set(None);
        self.list.writers().free.push(self.entry);
    }
}

impl<T> fmt::Debug for Listed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list<T>() -> &'static List<T> {
        Box::leak(Box::new(List::new()))
    }

    fn values(list: &List<i32>) -> Vec<i32> {
        let mut values = vec![];
        list.each(|value| values.push(*value));
        values
    }

    #[test]
    fn a_list_shows_what_was_added_and_not_removed() {
        let list = list();
        let [first, second, _third] = [1, 2, 3].map(|n| list.push(n));
        drop(second);
        assert_eq!(values(list), [1, 3]);
        let _fourth = list.push(4);
        assert_eq!(values(list), [1, 4, 3]);
        drop(first);
        assert_eq!(values(list), [4, 3]);
    }

    #[test]
    fn a_long_lived_list_is_as_long_as_what_it_held_at_once() {
        let list = list();
        let _stays = list.push(String::new());
        for round in 0..100_000 {
            let _one = list.push(round.to_string());
            let _other = list.push(round.to_string());
        }
        assert_eq!(list.entries(), 3);
    }

    #[test]
    fn a_reader_never_waits_for_a_writer() {
        let list = list();
        let (_one, _two) = (list.push(1), list.push(2));
        // What a handler meets that interrupts a writer.
        let _writers = list.writers();
        let _value = list.first.get().unwrap().value.write().unwrap();
        assert_eq!(values(list), [2]);
    }

    #[test]
    fn threads_may_add_and_remove_while_one_reads() {
        let list = list::<[u64; 8]>();
        std::thread::scope(|scope| {
            for thread in 0..3 {
                scope.spawn(move || {
                    (0..20_000).for_each(|n| drop(list.push([thread << 32 | n; 8])))
                });
            }
            for _ in 0..20_000 {
                list.each(|value| assert!(value.iter().all(|n| n == &value[0])));
            }
        });
        assert!(list.entries() <= 3);
    }
}
