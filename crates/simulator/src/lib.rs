//! The scaled-out issue path on simulated servers.
