//! The common part of producers, consumers and chores: the cluster, the settings, and the client library's log.

use std::sync::Mutex;

use rdkafka::{
    ClientConfig, ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::KafkaError,
    statistics::Statistics,
};

use crate::Error;

/// True if this build can speak TLS with brokers.
pub const HAS_TLS: bool = cfg!(feature = "ssl");

/// The topic's usual name.
pub const DEFAULT_TOPIC: &str = "issue-coupon-requested";

/// The brokers and the topic of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Some of the brokers' addresses: `host:port,host:port`.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Further properties of librdkafka, such as `security.protocol`. They cannot change the properties on which the
    /// protocol rests (acknowledgement by all, idempotence, no automatic commits, ...), which are set after them.
    pub extra: Vec<(String, String)>,
}

impl Cluster {
    /// Makes the settings of a client: ours where the library's own are too slow, then the given ones, then `required`.
    pub(crate) fn config(&self, usual: &[(&str, &str)], required: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Info);
        let ours = [
            ("client.id", "goodpon"),
            ("reconnect.backoff.max.ms", "1000"),
            ("socket.connection.setup.timeout.ms", "5000"),
            ("topic.metadata.refresh.interval.ms", "30000"),
            ("log.connection.close", "false"),
        ];
        let given = self
            .extra
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        let places = [
            ("bootstrap.servers", self.brokers.as_str()),
            ("allow.auto.create.topics", "false"),
        ];
        for (key, value) in ours
            .into_iter()
            .chain(usual.iter().copied())
            .chain(given)
            .chain(places)
            .chain(required.iter().copied())
        {
            config.set(key, value);
        }
        config
    }

    /// Finds the first of the further properties that the library does not know or whose value it does not take.
    #[must_use]
    pub fn unusable_property(&self) -> Option<&str> {
        let keys = self.extra.iter().map(|(key, value)| {
            let mut config = ClientConfig::new();
            config.set(key, value);
            (key.as_str(), config.create_native_config().is_err())
        });
        keys.filter_map(|(key, is_wrong)| is_wrong.then_some(key))
            .next()
    }

    /// Makes the error that no broker answered, with the library's reason.
    pub(crate) fn unreachable(&self, reason: impl ToString) -> Error {
        Error::Unreachable {
            brokers: self.brokers.clone(),
            reason: reason.to_string(),
        }
    }
}

/// Makes a client. It does not connect yet, so every error is one of the settings.
pub(crate) fn create<C: ClientContext, T: FromClientConfigAndContext<C>>(
    config: &ClientConfig,
    context: C,
) -> Result<T, Error> {
    config
        .create_with_context(context)
        .map_err(|error| Error::Settings(error.to_string()))
}

/// Logs the client library's lines at the debug level, for it repeats the same trouble again and again. Other code logs
/// the trouble that operators must know of, once.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, "Kafka client: {message}");
        }
        RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning
        | RDKafkaLogLevel::Notice
        | RDKafkaLogLevel::Info => tracing::debug!(facility, "Kafka client: {message}"),
        RDKafkaLogLevel::Debug => tracing::trace!(facility, "Kafka client: {message}"),
    }
}

/// The latest trouble that the client library reported.
#[derive(Debug, Default)]
pub(crate) struct LastTrouble(Mutex<Option<String>>);

impl LastTrouble {
    pub(crate) fn note(&self, error: &KafkaError, reason: &str) {
        tracing::debug!("Kafka client: {error}: {reason}");
        // The library reports "all brokers down" after the reason of each, which says more.
        if error.rdkafka_error_code() != Some(rdkafka::types::RDKafkaErrorCode::AllBrokersDown) {
            *lock(&self.0) = Some(reason.to_owned());
        }
    }

    pub(crate) fn clear(&self) {
        *lock(&self.0) = None;
    }

    pub(crate) fn text(&self) -> Option<String> {
        lock(&self.0).clone()
    }
}

/// Returns the library's text of an error, without the name of the operation.
pub(crate) fn reason(error: &KafkaError) -> String {
    error
        .rdkafka_error_code()
        .map_or_else(|| error.to_string(), |code| code.to_string())
}

/// Locks a mutex whose data is whole after every statement, so that a panic elsewhere spoils nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A context for chores: it only logs.
pub(crate) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("Kafka client: {error}: {reason}");
    }

    fn stats(&self, _: Statistics) {}
}
