//! The log of accepted issues, scaled out: what an issuer reads from it.

use goodpon_domain::{gate::IssueEvent, id::TemplateId};
use jiff::Timestamp;

/// A record of one partition of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the partition.
    pub offset: i64,
    /// When the log appended it, by the log's clock.
    pub appended_at: Timestamp,
    /// What it says.
    pub content: Content,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An issue was accepted.
    Event(IssueEvent),
    /// Nothing but that time goes on.
    Tick,
    /// What this program cannot read.
    Unreadable(Unreadable),
}

/// A record that this program cannot read, with what is known of it all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Why not, for people.
    pub reason: String,
    /// Which template it is about.
    pub template_id: Option<TemplateId>,
    /// Which user it is about.
    pub user_id: Option<String>,
    /// Until when it counts.
    pub valid_until: Option<Timestamp>,
    /// All of it, to be read by a later program.
    pub raw: Vec<u8>,
}
