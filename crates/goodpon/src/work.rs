//! What a process does beside its requests.

use std::sync::Arc;

use goodpon_application::App;
use goodpon_application::mail::MailTransport;
use goodpon_mail::Smtp;
use goodpon_scaled::Issuer;
use goodpon_supervise::{Supervisor, end_at_once};
use goodpon_worker::Worker;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::Settings;
use crate::failed::Failed;
use crate::serve::Role;
use crate::wiring::Backends;

/// The background work of a role.
pub struct Work {
    worker: Option<Worker>,
    reconciler: Option<JoinSet<()>>,
    issuer: Option<Issuer>,
}

impl Work {
    /// Starts what belongs to the role. It ends soon after `stop` turns true.
    ///
    /// # Errors
    /// A setting of Kafka is wrong.
    pub fn start(
        backends: &Backends,
        app: &Arc<App>,
        settings: &mut Settings,
        role: Role,
        stop: &watch::Receiver<bool>,
    ) -> Result<Self, Failed> {
        let smtp = settings.smtp.take();
        if smtp.as_ref().is_some_and(Smtp::password_in_clear) {
            tracing::warn!(
                "smtp-url lets its password go unencrypted: use smtps:// or ?tls=required"
            );
        }
        let transport = smtp.map(|smtp| Arc::new(smtp) as Arc<dyn MailTransport>);
        let worker = role
            .has_dashboard()
            .then(|| Worker::start(app, transport, settings.sweep_interval, stop));
        let (mut reconciler, mut issuer) = (None, None);
        if let (Backends::Scaled { scaled, .. }, Some(servers)) = (backends, &settings.servers) {
            reconciler = Some(match role.has_partner() {
                true => scaled.start_partner(stop),
                false => scaled.start_informed(stop),
            });
            if role.has_issuer() {
                let supervisor = supervised_until(stop.clone());
                let started = Issuer::start(scaled, &servers.cluster, &supervisor);
                issuer = Some(started.map_err(Failed::new)?);
            }
        }
        Ok(Self {
            worker,
            reconciler,
            issuer,
        })
    }

    /// Waits until all of it has ended, until `deadline` at most.
    pub async fn finished_by(self, deadline: Instant) {
        let ended = async {
            if let Some(worker) = self.worker {
                worker.finished().await;
            }
            if let Some(mut loops) = self.reconciler {
                while loops.join_next().await.is_some() {}
            }
            if let Some(issuer) = self.issuer {
                issuer.finished().await;
            }
        };
        if tokio::time::timeout_at(deadline, ended).await.is_err() {
            tracing::warn!("background work was cut off; the next start goes on with it");
        }
    }
}

/// A supervisor that stops when `stop` turns true; a failure that ends the process ends it at once.
fn supervised_until(mut stop: watch::Receiver<bool>) -> Supervisor {
    let supervisor = Supervisor::new();
    let supervised = supervisor.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => supervised.stop(),
            failure = supervised.failed() => end_at_once(&failure.to_string()),
        }
    });
    supervisor
}
