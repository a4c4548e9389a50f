//! Messages between processes that an item in their caches has changed. They only make changes known sooner: caches keep
//! nothing long, so a lost message does no harm.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use goodpon_application::ports::StoreResult;
use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::AbortHandle,
    time::{Instant, interval_at, sleep, timeout},
};

use crate::{Valkey, bound::Shared, names};

/// The time limit for subscribing, and for each ping.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The interval of pings, which find out that a subscription's server is gone.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// The first and the longest pause between two attempts to subscribe.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The largest number of messages that wait for a slow subscriber; more count as missed.
const MAX_WAITING: usize = 1024;

/// A message to a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalidation {
    /// The text that [`Valkey::invalidate`] was given.
    Changed(String),
    /// Messages may have been missed: the subscriber forgets everything. This comes first of all, and after each
    /// interruption.
    Missed,
}

/// A subscription, on a connection of its own, which is made anew whenever it is lost.
#[derive(Debug)]
pub struct Invalidations {
    messages: broadcast::Receiver<Invalidation>,
    listener: AbortHandle,
}

impl Drop for Invalidations {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Invalidations {
    /// Waits for the next message, without a time limit.
    pub async fn next(&mut self) -> Invalidation {
        match self.messages.recv().await {
            Ok(message) => message,
            Err(RecvError::Lagged(_)) => Invalidation::Missed,
            // The listener ends only with its runtime: no message comes any more.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Valkey {
    /// Sends a text to all subscribers of this installation.
    ///
    /// # Errors
    ///
    /// Unavailable. Caches then notice the change by their age, a little later.
    pub async fn invalidate(&self, text: &str) -> StoreResult<()> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel(self.shared())).arg(text);
        self.bound()?.query(&publish).await
    }

    /// Subscribes to the messages of this installation's processes.
    #[must_use]
    pub fn subscribe(&self) -> Invalidations {
        let (sender, messages) = broadcast::channel(MAX_WAITING);
        let listener = tokio::spawn(listen(Arc::clone(self.shared()), sender)).abort_handle();
        Invalidations { messages, listener }
    }
}

fn channel(shared: &Shared) -> String {
    names::of_installation(&shared.installation, "changed")
}

/// Subscribes, passes messages on until the subscription is lost, and subscribes again.
async fn listen(shared: Arc<Shared>, subscriber: broadcast::Sender<Invalidation>) {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Ok(Ok(subscription)) = timeout(ANSWER_TIMEOUT, subscribe(&shared)).await {
            pause = FIRST_PAUSE;
            // It fails only if the subscriber was dropped, which also aborts this task.
            let _ = subscriber.send(Invalidation::Missed);
            pass_on(subscription, &subscriber).await;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn subscribe(shared: &Shared) -> redis::RedisResult<redis::aio::PubSub> {
    let mut subscription = shared.client.get_async_pubsub().await?;
    subscription.subscribe(channel(shared)).await?;
    Ok(subscription)
}

/// Passes messages on until the connection is lost or its server does not answer a ping.
async fn pass_on(subscription: redis::aio::PubSub, subscriber: &broadcast::Sender<Invalidation>) {
    let (mut pings, mut messages) = subscription.split();
    let mut ticks = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    loop {
        tokio::select! {
            message = messages.next() => {
                let Some(message) = message else { return };
                if let Ok(text) = message.get_payload::<String>() {
                    let _ = subscriber.send(Invalidation::Changed(text));
                }
            }
            _ = ticks.tick() => {
                let answer = timeout(ANSWER_TIMEOUT, pings.ping::<redis::Value>()).await;
                if !matches!(answer, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}
