//! The background work of a process.

use std::sync::Arc;

use goodpon_application::App;
use goodpon_application::ports::MailTransport;
use goodpon_scaled::Issuer;
use goodpon_supervise::Supervisor;
use tokio::time::Instant;

use crate::backends::Backends;
use crate::config::Settings;
use crate::failed::Failed;
use crate::role::Role;

/// The background work of a role that the supervisor does not run.
pub struct BackgroundWork {
    issuer: Option<Issuer>,
}

impl BackgroundWork {
    /// Starts the background work of the role. It ends soon after the supervisor stops.
    ///
    /// # Errors
    /// A setting of Kafka is wrong.
    pub fn start(
        backends: &Backends,
        app: &Arc<App>,
        settings: &mut Settings,
        role: Role,
        supervisor: &Supervisor,
    ) -> Result<Self, Failed> {
        let smtp = settings.smtp.take();
        let transport = smtp.map(|smtp| Arc::new(smtp) as Arc<dyn MailTransport>);
        if role.has_dashboard() {
            goodpon_worker::start(app, transport, settings.sweep_interval, supervisor);
        }
        let mut issuer = None;
        if let (Backends::Scaled(scaled), Some(servers)) = (backends, &settings.servers) {
            match role.has_partner() {
                true => scaled.start_partner(supervisor),
                false => scaled.start_informed(supervisor),
            }
            if role.has_issuer() {
                let started = Issuer::start(scaled, &servers.cluster, supervisor);
                issuer = Some(started.map_err(Failed::new)?);
            }
        }
        Ok(Self { issuer })
    }

    /// Waits until this work and that of the supervisor have ended, at most until `deadline`.
    pub async fn finished_by(self, deadline: Instant, supervisor: &Supervisor) {
        let ended = async {
            if let Some(issuer) = self.issuer {
                issuer.finished().await;
            }
        };
        let in_time = tokio::time::timeout_at(deadline, ended).await.is_ok();
        let left = deadline.saturating_duration_since(Instant::now());
        let late = supervisor.finish(left).await;
        if !in_time || !late.is_empty() {
            tracing::warn!(
                tasks = late.join(", "),
                "background work was cut off; the next start continues it"
            );
        }
    }
}
