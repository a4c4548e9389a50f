//! What `goodpon verify` looks at beside the records: whether the gates agree with them.

use std::time::Duration;

use futures::future::try_join_all;
use goodpon_application::ports::{Difference, StoreError, StoreResult};
use goodpon_domain::{
    gate::{Appended, Counts, Gate, GateId, GateState},
    id::TemplateId,
};
use goodpon_valkey::{Bound, user_digest};
use tokio::time::Instant;

use crate::scaled::Scaled;

/// How long Valkey and Kafka may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// How long the issuers may take to work through what is in the log.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

/// Holders that are looked at together.
const PAGE: usize = 5_000;

impl Scaled {
    /// Holds every open gate against the coupons of its template, also while they change.
    ///
    /// # Errors
    /// A server cannot be asked, or no issuer writes what was accepted: then nothing can be said.
    pub async fn audit_gates(&self) -> StoreResult<Vec<Difference>> {
        let bound = self.valkey.bound_within(ANSWERS_WITHIN).await?;
        let mut differences = Vec::new();
        for (template, gate) in self.partner.all_gates_in(GateState::Open).await? {
            // One that is elsewhere is about to be opened anew, from the records.
            if gate.server.as_deref() == Some(bound.server()) {
                differences.extend(self.audit_gate(template, &gate, &bound).await?);
            }
        }
        Ok(differences)
    }

    async fn audit_gate(
        &self,
        template: TemplateId,
        gate: &Gate,
        bound: &Bound,
    ) -> StoreResult<Vec<Difference>> {
        // Rows first: the gate knows of each before it is written.
        let before = self.written(template).await?;
        let missing = self.missing_holders(template, gate, bound).await?;
        // A gate of which something was thrown away notices that when it is next asked for a place or for help, goes, and
        // is opened anew. Asked for no help at all, it notices it now: nobody gets a second coupon there.
        if missing > 0
            && let Err(_closed) = bound
                .pending(GateId::of(template), gate.epoch, Duration::ZERO, 0)
                .await?
        {
            return Ok(Vec::new());
        }
        let Some(counts) = self.counts(template, gate, bound).await? else {
            // It was lost, or moved on, meanwhile.
            return Ok(Vec::new());
        };
        let Some(read) = self.store.read_gate(template).await? else {
            return Ok(Vec::new());
        };
        let mut differences = Vec::new();
        let mut hold = |holds: bool, subject: &str, expected: String, found: i64| {
            if !holds {
                differences.push(Difference {
                    subject: format!("template {template} {subject}"),
                    expected,
                    found: found.to_string(),
                });
            }
        };
        let Counts {
            cap,
            base,
            spent,
            confirmed,
            ..
        } = counts;
        hold(spent <= cap, "gate spent", format!("at most {cap}"), spent);
        hold(
            confirmed <= spent,
            "gate confirmed",
            format!("at most {spent}"),
            confirmed,
        );
        let parked = match read.template.terms.limit.max_issue_count() {
            Some(max) => {
                let most = format!("at most {max}");
                hold(base + cap <= max, "gate places", most, base + cap);
                max - base - cap
            }
            None => i64::MAX / 2,
        };
        let most = base.saturating_add(spent).saturating_add(parked);
        hold(before <= most, "coupons", format!("at most {most}"), before);
        hold(missing == 0, "gate users", "every holder".into(), -missing);
        let least = base + confirmed;
        let written = self.written_in_time(template, least).await?;
        hold(
            written >= least,
            "coupons",
            format!("at least {least}, as confirmed"),
            written,
        );
        Ok(differences)
    }

    async fn written(&self, template: TemplateId) -> StoreResult<i64> {
        let counts = self.store.written_counts(&[template]).await?;
        Ok(counts.first().copied().unwrap_or_default())
    }

    /// The coupons written: at least `least`, or all that there will be of what was confirmed before. Parked events
    /// count as written here: they keep their places.
    async fn written_in_time(&self, template: TemplateId, least: i64) -> StoreResult<i64> {
        let count = async || -> StoreResult<i64> {
            Ok(self.written(template).await? + self.store.parked_places(template).await?)
        };
        let written = count().await?;
        if written >= least {
            return Ok(written);
        }
        self.log_worked_through().await?;
        count().await
    }

    /// Waits until the issuers have worked through all that is in the log now.
    async fn log_worked_through(&self) -> StoreResult<()> {
        let unavailable = |reason| StoreError::Unavailable {
            reason,
            may_have_happened: false,
        };
        let up = self.kafka.publisher.wait_until_up(ANSWERS_WITHIN).await;
        up.map_err(unavailable)?;
        let partitions = self.store.progress().await?.into_keys();
        let ticks = partitions.map(|one| self.kafka.publisher.tick(one, ANSWERS_WITHIN));
        let ends = try_join_all(ticks)
            .await
            .map_err(|error| unavailable(format!("Kafka: {error}")))?;
        let give_up_at = Instant::now() + WRITTEN_WITHIN;
        loop {
            let progress = self.store.progress().await?;
            let is_behind = |end: &&Appended| progress.get(&end.partition) <= Some(&end.offset);
            let Some(end) = ends.iter().find(is_behind) else {
                return Ok(());
            };
            if Instant::now() >= give_up_at {
                return Err(unavailable(format!(
                    "coupons are not written yet: no issuer has worked through partition {}",
                    end.partition
                )));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn counts(
        &self,
        template: TemplateId,
        gate: &Gate,
        bound: &Bound,
    ) -> StoreResult<Option<Counts>> {
        let now = self.partner.clock.now();
        let look = bound
            .look(GateId::of(template), gate.epoch, None, None, now)
            .await?;
        Ok(look.gate.ok())
    }

    /// How many holders the gate does not know: each could get another coupon.
    async fn missing_holders(
        &self,
        template: TemplateId,
        gate: &Gate,
        bound: &Bound,
    ) -> StoreResult<i64> {
        let (mut missing, mut after) = (0, String::new());
        loop {
            let page = self.store.holders(template, &after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(missing);
            };
            after.clone_from(&last.user_id);
            let users: Vec<_> = page.iter().map(|one| user_digest(&one.user_id)).collect();
            let strangers = bound
                .count_unknown_users(GateId::of(template), gate.epoch, &users)
                .await?;
            // A gate that is gone knows nobody; that is told by its counts.
            missing += strangers as i64;
        }
    }
}
