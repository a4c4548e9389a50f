//! Goodpon: telemetry.
