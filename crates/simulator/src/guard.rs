//! The guards of the protocol, each of which can be taken out.

/// A rule that keeps the protocol's promises. The simulated servers leave it out where it was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// A gate is open only on the server that it was installed on.
    ServerBinding,
    /// A server is known by its replication id too, not by its run id alone.
    ReplicationId,
    /// A gate is open only to a process that read its very epoch.
    Epoch,
    /// An epoch opens only when nothing of the older ones can become a coupon any more.
    Seal,
    /// A seal waits for [`goodpon_domain::gate::CLOCK_TOLERANCE`] longer than copies count.
    ClockTolerance,
    /// A bump is stamped after it was committed.
    StampAfterBump,
    /// A success is answered only when the log has acknowledged the event.
    Acknowledgement,
    /// Partner and issuer compare the append time with `valid_until`.
    ValidUntil,
    /// An issuer writes nothing for a user who has a coupon.
    UserRow,
    /// An issuer's progress is committed with its rows.
    ProgressWithRows,
    /// An issuer writes nothing where another one worked its batch through.
    ProgressCompared,
    /// An issuer writes nothing beyond the limit.
    LimitChecked,
    /// "Sold out" and "already issued" are answered only of what is confirmed.
    ConfirmedRefusals,
    /// A process that meets a pending reservation publishes it again.
    Help,
    /// A new gate gets the keys of the coupons.
    KeysLoaded,
    /// A gate is installed only if all users are there that were loaded.
    LoadedCounted,
    /// An epoch is installed once, by the process that sealed it.
    InstalledOnce,
}

impl Guard {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::ServerBinding,
        Self::ReplicationId,
        Self::Epoch,
        Self::Seal,
        Self::ClockTolerance,
        Self::StampAfterBump,
        Self::Acknowledgement,
        Self::ValidUntil,
        Self::UserRow,
        Self::ProgressWithRows,
        Self::ProgressCompared,
        Self::LimitChecked,
        Self::ConfirmedRefusals,
        Self::Help,
        Self::KeysLoaded,
        Self::LoadedCounted,
        Self::InstalledOnce,
    ];
}
