//! The events that are still to happen, in the order of time. Only the events of one millisecond are kept sorted: with half a
//! million customers waiting, one heap of them all took most of the time of a sale.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use super::{MILLI, Micros, course::Event};

/// When, in which order among those of one time, and where the event lies.
type Entry = (Micros, u64, usize);

#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// The millisecond of the events in `near`, and those that were due before.
    present: u64,
    near: BinaryHeap<Reverse<Entry>>,
    later: BTreeMap<u64, Vec<Entry>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    order: u64,
}

impl Agenda {
    pub(super) fn add(&mut self, at: Micros, event: Event) {
        let slot = self.free.pop().unwrap_or(self.events.len());
        if slot == self.events.len() {
            self.events.push(None);
        }
        self.events[slot] = Some(event);
        self.order += 1;
        let (entry, millisecond) = ((at, self.order, slot), at / MILLI);
        if millisecond <= self.present {
            self.near.push(Reverse(entry));
        } else {
            self.later.entry(millisecond).or_default().push(entry);
        }
    }

    /// The time at which the next event is due.
    pub(super) fn next_at(&mut self) -> Option<Micros> {
        if self.near.is_empty() {
            let (millisecond, entries) = self.later.pop_first()?;
            self.present = millisecond;
            self.near = entries.into_iter().map(Reverse).collect();
        }
        self.near.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next event.
    pub(super) fn take(&mut self) -> Option<Event> {
        self.next_at()?;
        let Reverse((_, _, slot)) = self.near.pop()?;
        self.free.push(slot);
        self.events[slot].take()
    }

    pub(super) fn len(&self) -> usize {
        self.events.len() - self.free.len()
    }
}
