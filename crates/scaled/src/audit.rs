//! The part of `goodpon verify` that compares the gates with the records.

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

/// The time limit for answers of Valkey and Kafka.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The time limit for the issuers to process the records that are in the log.
const ISSUER_TIMEOUT: Duration = Duration::from_secs(10);

/// The number of holders that are read and looked up together.
const HOLDERS_PER_PAGE: usize = 5_000;

impl Scaled {
    /// Compares every open gate with the coupons of its template. Both may change meanwhile.
    ///
    /// # Errors
    /// A server does not answer, or no issuer writes the accepted issues: then the comparison is impossible.
    pub async fn audit_gates(&self) -> StoreResult<Vec<Difference>> {
        let bound = self.valkey.bound_within(ANSWER_TIMEOUT).await?;
        let mut differences = Vec::new();
        for (template, gate) in self.partner.all_gates_in(GateState::Open).await? {
            // A gate of another server is about to be opened anew, from the records.
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
        // The rows are counted first: the gate knows of each coupon before it is written.
        let before = self.count_written(template).await?;
        let missing = self.count_missing_holders(template, gate, bound).await?;
        // The script that hands out reservations deletes a gate that has lost a part, and the gate is then opened anew, so
        // no user gets a second coupon there. Asked for no reservation, it does so now, and there is nothing to report.
        if missing > 0
            && let Err(_closed) = bound
                .pending(GateId::of(template), gate.epoch, Duration::ZERO, 0)
                .await?
        {
            return Ok(Vec::new());
        }
        let Some(counts) = self.gate_counts(template, gate, bound).await? else {
            // The gate was lost, or moved to another epoch, meanwhile.
            return Ok(Vec::new());
        };
        let Some(read) = self.store.read_gate(template).await? else {
            return Ok(Vec::new());
        };
        let found = Found {
            counts,
            max: read.template.terms.limit.max_issue_count(),
            coupons_before: before,
            missing_holders: missing,
        };
        let mut differences = found.compare(template);
        let least = found.counts.base + found.counts.confirmed;
        let written = self.count_written_in_time(template, least).await?;
        if written < least {
            differences.push(Difference::new(
                format!("template {template} coupons"),
                format!("at least {least}, as confirmed"),
                written,
            ));
        }
        Ok(differences)
    }

    async fn count_written(&self, template: TemplateId) -> StoreResult<i64> {
        let counts = self.store.written_counts(&[template]).await?;
        Ok(counts.first().copied().unwrap_or_default())
    }

    /// Counts the written coupons and the places of parked events. If they are fewer than `least`, it waits until the
    /// issuers have processed the log as it is now, and counts again.
    async fn count_written_in_time(&self, template: TemplateId, least: i64) -> StoreResult<i64> {
        let count = async || -> StoreResult<i64> {
            let written = self.count_written(template).await?;
            Ok(written + self.store.parked_places(template).await?)
        };
        let written = count().await?;
        if written >= least {
            return Ok(written);
        }
        self.wait_until_log_is_processed().await?;
        count().await
    }

    /// Waits until the issuers have processed all records that are in the log now.
    async fn wait_until_log_is_processed(&self) -> StoreResult<()> {
        let unavailable = |reason| StoreError::Unavailable {
            reason,
            may_have_happened: false,
        };
        let up = self.kafka.publisher.wait_until_up(ANSWER_TIMEOUT).await;
        up.map_err(unavailable)?;
        let partitions = self.store.progress().await?.into_keys();
        let ticks = partitions.map(|one| self.kafka.publisher.tick(one, ANSWER_TIMEOUT));
        let ends = try_join_all(ticks)
            .await
            .map_err(|error| unavailable(format!("Kafka: {error}")))?;
        let give_up_at = Instant::now() + ISSUER_TIMEOUT;
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

    /// Reads the gate's numbers; `None` if it is not open to this process.
    async fn gate_counts(
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

    /// Counts the holders that the gate does not know: each could get another coupon.
    async fn count_missing_holders(
        &self,
        template: TemplateId,
        gate: &Gate,
        bound: &Bound,
    ) -> StoreResult<i64> {
        let (mut missing, mut after) = (0, String::new());
        loop {
            let page = self
                .store
                .holders(template, &after, HOLDERS_PER_PAGE)
                .await?;
            let Some(last) = page.last() else {
                return Ok(missing);
            };
            after.clone_from(&last.user_id);
            let users: Vec<_> = page.iter().map(|one| user_digest(&one.user_id)).collect();
            let unknown = bound
                .count_unknown_users(GateId::of(template), gate.epoch, &users)
                .await?;
            // A gate that is gone answers 0 here; `gate_counts` finds that out.
            missing += unknown as i64;
        }
    }
}

/// A gate and the records beside it, as they were found.
struct Found {
    counts: Counts,
    /// The template's limit of coupons, if it has one.
    max: Option<i64>,
    /// The coupons that were written before the gate was looked at.
    coupons_before: i64,
    missing_holders: i64,
}

impl Found {
    /// Compares what holds at every moment, however far the issuers are.
    fn compare(&self, template: TemplateId) -> Vec<Difference> {
        let Counts {
            cap,
            base,
            spent,
            confirmed,
            ..
        } = self.counts;
        let places = base + cap;
        let parked = self.max.map_or(i64::MAX / 2, |max| max - places);
        let most = base.saturating_add(spent).saturating_add(parked);
        let at_most = |most: i64| format!("at most {most}");
        let checks = [
            (spent <= cap, "gate spent", at_most(cap), spent),
            (
                confirmed <= spent,
                "gate confirmed",
                at_most(spent),
                confirmed,
            ),
            (
                self.max.is_none_or(|max| places <= max),
                "gate places",
                at_most(self.max.unwrap_or(i64::MAX)),
                places,
            ),
            (
                self.coupons_before <= most,
                "coupons",
                at_most(most),
                self.coupons_before,
            ),
            (
                self.missing_holders == 0,
                "gate users",
                "every holder".into(),
                -self.missing_holders,
            ),
        ];
        checks
            .into_iter()
            .filter(|(holds, ..)| !holds)
            .map(|(_, subject, expected, found)| {
                Difference::new(format!("template {template} {subject}"), expected, found)
            })
            .collect()
    }
}
