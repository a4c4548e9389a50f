//! The decision to stop, and the time between it and the stop.

use std::time::Duration;

use goodpon_supervise::{Failure, Supervisor};
use goodpon_web::serve::Draining;

use super::signals::{Signals, Wish};
use super::{handover, notify};

/// The time in which clients of a process that hands over hear with an answer that their connection ends, so that few are
/// left whose next request could meet a closed one.
const DRAIN_BEFORE_HANDOVER: Duration = Duration::from_secs(1);

/// The stop of a process.
pub(super) struct Stop {
    /// The part whose failure is the reason.
    pub(super) failure: Option<Failure>,
    /// True if another program takes over.
    pub(super) hands_over: bool,
}

/// Waits for a signal and then for the time of draining, or for the failure of a part without which the process cannot
/// serve. A second signal to end the process ends it at once.
pub(super) async fn wanted(
    mut signals: Signals,
    supervisor: &Supervisor,
    draining: &Draining,
    drain_for: Duration,
) -> Stop {
    let stop = tokio::select! {
        wish = granted(&mut signals) => Stop { failure: None, hands_over: wish == Wish::HandOver },
        failure = supervisor.failed() => Stop { failure: Some(failure), hands_over: false },
    };
    let drain_for = match stop.hands_over {
        true => drain_for.max(DRAIN_BEFORE_HANDOVER),
        false => drain_for,
    };
    if !stop.hands_over {
        notify::stopping();
    }
    draining.begin();
    tokio::spawn(async move {
        signals.end().await;
        // Every answered success is durable; the effect of other requests is open to their clients.
        std::process::exit(130);
    });
    if stop.failure.is_none() && !drain_for.is_zero() {
        let drain_s = drain_for.as_secs();
        tracing::info!(drain_s, "draining: not ready any more, and still serving");
        tokio::select! {
            () = tokio::time::sleep(drain_for) => {}
            failure = supervisor.failed() => {
                return Stop { failure: Some(failure), hands_over: false };
            }
        }
    }
    tracing::info!("stopping: finishing what runs");
    stop
}

/// Waits for a wish that can be granted: to hand over is none if the other program could not serve.
async fn granted(signals: &mut Signals) -> Wish {
    loop {
        if signals.next().await == Wish::End {
            return Wish::End;
        }
        notify::reloading();
        let checked = tokio::select! {
            checked = handover::check() => checked,
            () = signals.end() => return Wish::End,
        };
        match checked {
            Ok(()) => return Wish::HandOver,
            Err(reason) => {
                tracing::error!(
                    reason,
                    "the other program cannot take over, so this one goes on"
                );
                notify::ready();
            }
        }
    }
}
