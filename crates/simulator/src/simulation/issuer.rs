//! The issuers: each works on a batch in the schedule's own task, for its reader belongs to one thread.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use goodpon_domain::gate::PollResult;
use goodpon_scaled::IssueWriter;

use crate::{
    ports::{
        issue_log::{IssuerReader, Log},
        records::Records,
    },
    world::{
        PARTNERS, Shared,
        call::{ACTOR, Actor, Caller},
    },
};

/// An issuer.
pub(super) enum Issuer {
    /// It can poll. `None` only while it does.
    Idle(Option<Box<IssueWriter>>),
    /// It works on a batch.
    Working(Pin<Box<dyn Future<Output = Box<IssueWriter>>>>),
}

impl Issuer {
    /// An issuer that begins where the database says.
    pub(super) fn new(shared: &Shared, issuer: usize) -> Self {
        let caller = Caller::new(shared, PARTNERS + issuer);
        shared.world().join(issuer);
        let reader = IssuerReader {
            shared: shared.clone(),
            issuer,
        };
        let writer = IssueWriter::new(
            Arc::new(Records(caller.clone())),
            Arc::new(Log(caller)),
            Box::new(reader),
        );
        Self::Idle(Some(Box::new(writer)))
    }

    /// Polls, and begins to work on what is found. Returns whether it works then.
    pub(super) fn poll(&mut self, issuer: usize) -> bool {
        let Self::Idle(idle) = self else {
            return true;
        };
        let Some(mut writer) = idle.take() else {
            return false;
        };
        match writer.poll() {
            PollResult::Idle => *idle = Some(writer),
            polled => {
                *self = Self::Working(Box::pin(ACTOR.scope(Actor::Issuer(issuer), async move {
                    writer.work_on(polled).await;
                    writer
                })));
            }
        }
        matches!(self, Self::Working(_))
    }

    /// Goes on until it waits. Returns whether it still works.
    pub(super) async fn go_on(&mut self) -> bool {
        let Self::Working(work) = self else {
            return false;
        };
        let done = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        if let Poll::Ready(writer) = done {
            *self = Self::Idle(Some(writer));
            return false;
        }
        true
    }
}
