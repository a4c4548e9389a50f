//! The simulated log, to be written and to be read.

use std::time::Duration;

use async_trait::async_trait;
use goodpon_application::ports::StoreResult;
use goodpon_domain::gate::{Appended, IssueEvent, PollResult};
use goodpon_scaled::ports::{IssueLog, LogReader, LogTime};
use tokio::sync::oneshot;

use crate::{
    guard::Guard,
    world::{
        PARTITIONS, Shared,
        call::{CallKind, Caller, unavailable},
    },
};

/// A process's way to the log.
pub(crate) struct Log(pub(crate) Caller);

#[async_trait]
impl IssueLog for Log {
    fn problem(&self) -> Option<String> {
        None
    }

    async fn append(
        &self,
        event: &IssueEvent,
        partition: i32,
        within: Duration,
    ) -> StoreResult<Appended> {
        if !self.0.lives() {
            return std::future::pending().await;
        }
        let (reply, replied) = oneshot::channel();
        let is_awaited = {
            let mut world = self.0.shared.world();
            world.publish(&self.0, event, partition, reply);
            world.has(Guard::Acknowledgement)
        };
        if !is_awaited {
            return Ok(Appended {
                appended_at: event.valid_until,
                partition,
                offset: i64::MAX,
            });
        }
        let acknowledged = async {
            match replied.await {
                Ok(result) => result,
                // The message or its acknowledgement is lost.
                Err(_) => std::future::pending().await,
            }
        };
        let in_time = tokio::time::timeout(within, acknowledged).await;
        in_time.unwrap_or_else(|_| Err(unavailable("the log did not answer in time", true)))
    }

    fn went_back(&self, partition: i32, offset: i64, worked_through: i64) -> String {
        format!("partition {partition} was at {worked_through} and appends at {offset}")
    }
}

#[async_trait]
impl LogTime for Log {
    async fn tick(&self, partition: i32, within: Duration) -> StoreResult<Appended> {
        let tick = self.0.call(CallKind::Log, "sends a tick", move |world| {
            Ok(world.tick(partition))
        });
        let in_time = tokio::time::timeout(within, tick).await;
        in_time.unwrap_or_else(|_| Err(unavailable("the log did not answer in time", true)))
    }
}

/// An issuer's reading. Both issuers have all partitions, as two may for a while that take each other for dead.
pub(crate) struct IssuerReader {
    pub(crate) shared: Shared,
    pub(crate) issuer: usize,
}

impl LogReader for IssuerReader {
    fn poll(&mut self, _: Duration) -> PollResult {
        self.shared.world().poll(self.issuer)
    }

    fn seek(&mut self, partition: i32, offset: i64) {
        self.shared
            .world()
            .reader(self.issuer)
            .seek(partition, offset);
    }

    fn limit_batches(&mut self, partition: i32, most: usize) {
        self.shared
            .world()
            .reader(self.issuer)
            .limit(partition, most);
    }

    fn pause_all(&mut self) {
        self.shared.world().reader(self.issuer).pause(true);
    }

    fn resume_all(&mut self) {
        self.shared.world().reader(self.issuer).pause(false);
    }

    fn commit(&mut self, _: i32, _: i64) {}

    fn assigned(&self) -> Vec<i32> {
        (0..PARTITIONS)
            .filter_map(|partition| i32::try_from(partition).ok())
            .collect()
    }

    fn lag(&self) -> Vec<(i32, i64)> {
        Vec::new()
    }
}
