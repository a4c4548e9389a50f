//! Word between processes that something they keep in memory has changed. Losing it harms nobody, for nothing is kept
//! long; it only makes changes known sooner.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use goodpon_application::ports::StoreResult;
use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::AbortHandle,
    time::{Instant, interval_at, sleep, timeout},
};

use crate::{Valkey, connection::Shared, names};

/// For a subscription to be made, and for each sign of life of its server.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// How often a sign of life is asked for.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Between two tries to subscribe, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many words wait for who does not fetch them; beyond that they count as missed.
const WAITING: usize = 1024;

/// What a subscriber hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalidation {
    /// What [`Valkey::invalidate`] was given.
    Changed(String),
    /// Words may have been missed: forget everything. Comes first of all, and after each interruption.
    Missed,
}

/// A subscription, on a connection of its own that is made anew by itself.
#[derive(Debug)]
pub struct Invalidations {
    words: broadcast::Receiver<Invalidation>,
    listener: AbortHandle,
}

impl Drop for Invalidations {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Invalidations {
    /// The next word. Waits for as long as it takes.
    pub async fn next(&mut self) -> Invalidation {
        match self.words.recv().await {
            Ok(word) => word,
            Err(RecvError::Lagged(_)) => Invalidation::Missed,
            // The listener ends with its runtime only, and then nobody is told anything any more.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Valkey {
    /// Tells all subscribers of this installation.
    ///
    /// # Errors
    ///
    /// Unavailable: they find out by themselves a little later.
    pub async fn invalidate(&self, text: &str) -> StoreResult<()> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel(self.shared())).arg(text);
        self.bound()?.query(&publish).await
    }

    /// Subscribes to what this installation's processes tell.
    #[must_use]
    pub fn subscribe(&self) -> Invalidations {
        let (sender, words) = broadcast::channel(WAITING);
        let listener = tokio::spawn(listen(Arc::clone(self.shared()), sender)).abort_handle();
        Invalidations { words, listener }
    }
}

fn channel(shared: &Shared) -> String {
    names::of_installation(&shared.installation, "changed")
}

async fn listen(shared: Arc<Shared>, words: broadcast::Sender<Invalidation>) {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Ok(Ok(subscription)) = timeout(ANSWERS_WITHIN, subscribe(&shared)).await {
            pause = FIRST_PAUSE;
            // Nobody listening any more is nobody's loss.
            let _ = words.send(Invalidation::Missed);
            pass_on(subscription, &words).await;
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

/// Passes words on until the connection is lost or its server shows no sign of life.
async fn pass_on(subscription: redis::aio::PubSub, words: &broadcast::Sender<Invalidation>) {
    let (mut asking, mut heard) = subscription.split();
    let mut ticks = interval_at(Instant::now() + ASK_EVERY, ASK_EVERY);
    loop {
        tokio::select! {
            word = heard.next() => {
                let Some(word) = word else { return };
                if let Ok(text) = word.get_payload::<String>() {
                    let _ = words.send(Invalidation::Changed(text));
                }
            }
            _ = ticks.tick() => {
                let alive = timeout(ANSWERS_WITHIN, asking.ping::<redis::Value>()).await;
                if !matches!(alive, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}
