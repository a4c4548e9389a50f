//! Parks records of the log for an operator, and counts the places that they keep.

use goodpon_domain::{
    gate::{IssueEvent, LogRecord, Unreadable},
    id::TemplateId,
};

use crate::{codec::micros, fault::Result, session::Session};

struct Row<'a> {
    template: Option<i64>,
    user: Option<&'a str>,
    reason: &'a str,
    raw: &'a [u8],
}

/// Parks a record that this program cannot read.
pub(crate) async fn unreadable(
    session: &mut Session<'_>,
    partition: i32,
    record: &LogRecord,
    unreadable: &Unreadable,
) -> Result<()> {
    let row = Row {
        template: unreadable.template_id.map(|template| template.0),
        user: unreadable.user_id.as_deref(),
        reason: &unreadable.reason,
        raw: &unreadable.raw,
    };
    write(session, partition, record, row).await
}

/// Parks an event that cannot become a coupon. `raw` is the whole event, so that it can be read again.
pub(crate) async fn event(
    session: &mut Session<'_>,
    partition: i32,
    record: &LogRecord,
    event: &IssueEvent,
    reason: &str,
    raw: &[u8],
) -> Result<()> {
    let row = Row {
        template: Some(event.template_id.0),
        user: Some(&event.user_id),
        reason,
        raw,
    };
    write(session, partition, record, row).await
}

async fn write(
    session: &mut Session<'_>,
    partition: i32,
    record: &LogRecord,
    row: Row<'_>,
) -> Result<()> {
    let reason: String = row.reason.chars().take(255).collect();
    // A longer user id does not fit its column, and no shop can have sent one. The user is then unknown.
    let user = row.user.filter(|user| user.chars().count() <= 255);
    let sql = "INSERT INTO parked_events
               (partition_id, log_offset, template_id, user_id, reason, raw, appended_at, parked_at)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    let now = micros(session.now);
    let appended_at = micros(record.appended_at);
    let values = (
        partition,
        record.offset,
        row.template,
        user,
        reason,
        row.raw,
        appended_at,
        now,
    );
    session.run(sql, values).await?;
    Ok(())
}

/// Counts the places that parked events of a template keep: one for each user without a coupon, and one for each event
/// whose user is unknown.
pub(crate) async fn places(session: &mut Session<'_>, template: TemplateId) -> Result<i64> {
    let sql = "SELECT COUNT(DISTINCT p.user_id) + COALESCE(CAST(SUM(p.user_id IS NULL) AS SIGNED), 0)
               FROM parked_events p
               WHERE p.template_id = ? AND p.settled_at IS NULL AND NOT EXISTS
                 (SELECT 1 FROM coupons c WHERE c.template_id = p.template_id AND c.user_id = p.user_id)";
    let places = session.first(sql, (template.0,), |row| row.read()).await?;
    Ok(places.unwrap_or(0))
}
