//! The works that a benchmark measures, and the back ends that it measures them on.

use clap::ValueEnum;
use serde::Serialize;

/// A set of back ends of the product.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// The embedded store.
    Embedded,
    /// MySQL, Valkey and Kafka, brought up as by `cargo xtask services up`.
    Scaled,
}

/// A kind of requests that is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Work {
    Floor,
    Issue,
    IssueIdempotent,
    SoldOut,
    AlreadyIssued,
    Template,
    /// The template's detail for a user, while it is issued to others.
    TemplateInSale,
    List,
    Redeem,
    #[serde(rename = "issue_at_1m")]
    #[value(name = "issue_at_1m")]
    IssueAt1m,
    #[serde(rename = "issue_at_5m")]
    #[value(name = "issue_at_5m")]
    IssueAt5m,
    /// The gate's script alone, without HTTP.
    FloorScript,
    /// The script and an awaited publish, without HTTP.
    FloorPublish,
    /// Issues while one issuer writes.
    IssueWritten,
    /// Issues over two partner processes.
    #[serde(rename = "issue_2_partners")]
    #[value(name = "issue_2_partners")]
    Issue2Partners,
    /// Redemptions of a template with a limit of them.
    RedeemLimited,
    /// Coupons that an issuer writes: they have figures of their own.
    Issuer,
}

impl Work {
    /// Returns the name in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Issue => "issue",
            Self::IssueIdempotent => "issue_idempotent",
            Self::SoldOut => "sold_out",
            Self::AlreadyIssued => "already_issued",
            Self::Template => "template",
            Self::TemplateInSale => "template_in_sale",
            Self::List => "list",
            Self::Redeem => "redeem",
            Self::IssueAt1m => "issue_at_1m",
            Self::IssueAt5m => "issue_at_5m",
            Self::FloorScript => "floor_script",
            Self::FloorPublish => "floor_publish",
            Self::IssueWritten => "issue_written",
            Self::Issue2Partners => "issue_2_partners",
            Self::RedeemLimited => "redeem_limited",
            Self::Issuer => "issuer",
        }
    }

    /// Says that it is measured on these back ends.
    pub fn is_of(self, backend: Backend) -> bool {
        match self {
            Self::IssueAt1m | Self::IssueAt5m => backend == Backend::Embedded,
            Self::FloorScript
            | Self::FloorPublish
            | Self::IssueWritten
            | Self::Issue2Partners
            | Self::RedeemLimited
            | Self::Issuer => backend == Backend::Scaled,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use serde_json::json;

    use super::Work;

    #[test]
    fn a_work_has_one_name_everywhere() {
        for work in Work::value_variants() {
            assert_eq!(json!(work), work.name());
            let value = work.to_possible_value();
            assert_eq!(
                value.map(|value| value.get_name().to_owned()),
                Some(work.name().to_owned())
            );
        }
    }
}
