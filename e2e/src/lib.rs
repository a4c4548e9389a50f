//! Goodpon end-to-end suite.
