//! Errors that the store logs, for tests to look at.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// All errors of this process so far. Each test looks for its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Errors(Arc<Mutex<Vec<String>>>);

/// Watches from now on.
pub(crate) fn watch() -> Errors {
    static ERRORS: OnceLock<Errors> = OnceLock::new();
    let errors = ERRORS.get_or_init(|| {
        let errors = Errors::default();
        tracing::subscriber::set_global_default(errors.clone()).unwrap();
        errors
    });
    errors.clone()
}

impl Errors {
    pub(crate) fn contains(&self, text: &str) -> bool {
        let lines = self.0.lock().unwrap();
        lines.iter().any(|line| line.contains(text))
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.0.insert_str(0, &format!("{value:?}")),
            name => write!(self.0, " {name}={value:?}").unwrap(),
        }
    }
}

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
