//! Ends the process in the moment.

use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

/// The time that the last line may take: stderr may be a full pipe.
const LAST_LINE_WITHIN: Duration = Duration::from_secs(1);

/// Ends the process at once, for what must not go on for another moment: it finishes nothing, and the next start
/// recovers. Writes `why` to stderr as one line, past the queue of the log, and to the log as far as that still works.
pub fn end_at_once(why: &str) -> ! {
    tracing::error!(why, "ending at once");
    let line = format!("goodpon: ending at once: {why}\n");
    let (written, wait) = mpsc::channel();
    let writing = std::thread::Builder::new().spawn(move || {
        let mut stderr = std::io::stderr();
        let _ = stderr.write_all(line.as_bytes());
        let _ = written.send(());
    });
    if writing.is_ok() {
        let _ = wait.recv_timeout(LAST_LINE_WITHIN);
    }
    std::process::abort();
}
