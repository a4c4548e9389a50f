//! A server under measurement: its start, its figures from outside, its end.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use crate::process::Guarded;

const LONGEST_START: Duration = Duration::from_secs(60);
const LONGEST_STOP: Duration = Duration::from_secs(40);

/// A running server that has said that it is ready.
pub struct Server {
    process: Guarded,
    id: u32,
    log: PathBuf,
    /// The fields of its `ready` line.
    ready: Value,
    /// From start to the `ready` line, in milliseconds.
    pub ready_ms: u64,
}

impl Server {
    /// Starts the command with its log in the file `log`, and waits for its `ready` line.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        File::create(log)?;
        // Appending, so that the file can be emptied while the server writes.
        let file = OpenOptions::new().append(true).open(log)?;
        let began = Instant::now();
        let mut process = Guarded::spawn(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(file),
        )?;
        let id = process.child().id();
        loop {
            let text = fs::read_to_string(log)?;
            if let Some(ready) = ready_line(&text) {
                let ready_ms = u64::try_from(began.elapsed().as_millis())?;
                let log = log.to_path_buf();
                return Ok(Self {
                    process,
                    id,
                    log,
                    ready,
                    ready_ms,
                });
            }
            if let Some(status) = process.child().try_wait()? {
                bail!("the server ended at once with {status}: {text}");
            }
            if began.elapsed() > LONGEST_START {
                bail!("the server is not ready after {LONGEST_START:?}: {text}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Returns a field of the `ready` line, such as `partner_addr`.
    pub fn address(&self, field: &str) -> Result<String> {
        let value = self.ready[field].as_str();
        Ok(value
            .with_context(|| format!("the ready line has no {field}: {}", self.ready))?
            .to_owned())
    }

    /// Reads the most memory that it ever held, in MB (VmHWM: anonymous and mapped pages).
    pub fn memory_mb(&self) -> Result<f64> {
        let path = format!("/proc/{}/status", self.id);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let kilobytes: f64 = text
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .context("no VmHWM")?
            .parse()?;
        Ok(kilobytes * 1024.0 / 1e6)
    }

    /// Reads the CPU time that it has used so far, in microseconds.
    pub fn cpu_us(&self) -> Result<u64> {
        let path = format!("/proc/{}/stat", self.id);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        cpu_us_of(&text, rustix::param::clock_ticks_per_second())
            .with_context(|| format!("no times in {path}"))
    }

    /// Empties the log, which grows by one line a request.
    pub fn empty_log(&self) -> Result<()> {
        Ok(OpenOptions::new().write(true).open(&self.log)?.set_len(0)?)
    }

    /// Ends it by SIGTERM as an operator does, and waits for it.
    pub fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::TERM);
        let deadline = Instant::now() + LONGEST_STOP;
        while Instant::now() < deadline {
            if let Some(status) = self.process.child().try_wait()? {
                if !status.success() {
                    bail!("the server ended with {status}");
                }
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the server does not stop within {LONGEST_STOP:?}")
    }
}

/// Finds the `ready` line of a log, wherever its formatter puts the fields.
fn ready_line(log: &str) -> Option<Value> {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|line| {
            let fields = line.get("fields").unwrap_or(&line);
            (fields["message"] == "ready").then(|| fields.clone())
        })
}

/// Adds up the user and system time in the text of `/proc/PID/stat`, in microseconds.
fn cpu_us_of(stat: &str, ticks_per_second: u64) -> Option<u64> {
    // The second field is the program's name, which may have spaces and parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some((user + system) * 1_000_000 / ticks_per_second.max(1))
}

#[cfg(test)]
mod tests {
    use super::{cpu_us_of, ready_line};

    #[test]
    fn the_times_stand_behind_the_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
        assert_eq!(cpu_us_of(stat, 100), Some(3_000_000));
        assert_eq!(cpu_us_of("7 (goodpon) S 1", 100), None);
    }

    #[test]
    fn the_ready_line_is_found_among_others() {
        let log = "{\"message\":\"start\"}\nno json\n{\"message\":\"ready\",\"partner_addr\":\"127.0.0.1:1\"}\n{\"mess";
        let line = ready_line(log).unwrap_or_default();
        assert_eq!(line["partner_addr"], "127.0.0.1:1");
        assert!(ready_line("{\"message\":\"start\"}").is_none());
    }
}
