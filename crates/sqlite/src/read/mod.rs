//! Reading: on the caller's thread if that is quick, else on threads for look-ups and for scans.

pub(crate) mod filler;
pub(crate) mod glance;
pub(crate) mod reader;
