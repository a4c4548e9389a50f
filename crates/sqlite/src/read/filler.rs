//! The thread that fills the filter of holders after the start.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use goodpon_domain::id::TemplateId;
use goodpon_supervise::{Supervisor, Task, Thread};
use rusqlite::{Connection, params};

use super::reader;
use crate::{codec::row_limit, error::OpenError, late::holder_filter::HolderFilter};

/// Holders that are read in one statement, so that it keeps no snapshot for long.
const CHUNK: usize = 4_096;

pub(crate) const CHUNK_OF_HOLDERS: &str =
    "SELECT merchant_id, user_id, template_id FROM coupon_holders
     WHERE (merchant_id, user_id, template_id) > (?1, ?2, ?3)
     ORDER BY merchant_id, user_id, template_id LIMIT ?4";

/// A way through the index of holders, chunk by chunk.
pub(crate) struct Fill {
    last: (i64, String, i64),
    chunk: usize,
}

impl Fill {
    /// From the beginning, in chunks of this many holders.
    pub(crate) fn by(chunk: usize) -> Self {
        Self {
            last: (i64::MIN, String::new(), i64::MIN),
            chunk,
        }
    }

    /// Adds the next holders to the filter, and declares it whole behind the last. Returns whether that was it. Holders
    /// that come meanwhile are added by the writer.
    pub(crate) fn go_on(
        &mut self,
        filter: &HolderFilter,
        connection: &Connection,
    ) -> rusqlite::Result<bool> {
        let mut statement = connection.prepare_cached(CHUNK_OF_HOLDERS)?;
        let (merchant, user, template) = &self.last;
        let mut rows = statement.query(params![merchant, user, template, row_limit(self.chunk)])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            self.last = (row.get(0)?, row.get(1)?, row.get(2)?);
            filter.add(TemplateId(self.last.2), &self.last.1);
            count += 1;
        }
        let is_end = count < self.chunk;
        if is_end {
            filter.declare_whole();
        }
        Ok(is_end)
    }
}

/// The thread. Dropping this ends it.
pub(crate) struct Filler {
    is_stopped: Arc<AtomicBool>,
    thread: Option<Thread>,
}

impl Filler {
    /// To be started after the writer, which adds each holder that comes.
    pub(crate) fn start(
        path: &Path,
        filter: Arc<HolderFilter>,
        supervisor: &Supervisor,
    ) -> Result<Self, OpenError> {
        let path = path.to_owned();
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&is_stopped);
        // Until the filter is whole every user is looked up.
        let task = Task::restart("holder_filter").ends_by_itself();
        let thread = supervisor.spawn_thread(task, move |report| {
            let connection = reader::connect(&path).map_err(|error| error.to_string())?;
            let mut fill = Fill::by(CHUNK);
            while !stopped.load(Ordering::Relaxed)
                && !fill
                    .go_on(&filter, &connection)
                    .map_err(|error| error.to_string())?
            {}
            report.ran();
            Ok(())
        });
        let thread = thread.map_err(OpenError::Thread)?;
        Ok(Self {
            is_stopped,
            thread: Some(thread),
        })
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
