//! `serve --demo`: creates a verified account, a merchant and published templates once, and prints commands to try them.
//!
//! The store keeps only hashes of passwords and secrets, so the demo's own are also in a file that only its owner can
//! read: each restart prints them again.

mod commands;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use goodpon_application::idempotency::Outcome;
use goodpon_application::network::Network;
use goodpon_application::ports::{IssueRequest, StoreError};
use goodpon_application::{App, Failure, account, coupon, credentials, merchant, template};
use goodpon_domain::account::{Account, EmailKey};
use goodpon_domain::id::{AccountId, CouponId, MerchantId, TemplateId};
use goodpon_domain::merchant::Merchant;
use goodpon_domain::template::{DiscountType, Draft, LimitType, TemplateStatus};
use serde::{Deserialize, Serialize};

use crate::failed::Failed;
use crate::random::hex;
use crate::secrets::{make_folder, write_private};

pub use commands::{Addresses, commands};

const EMAIL: &str = "demo@goodpon.site";
const ACCOUNT_NAME: &str = "굿폰 데모";
const MERCHANT_NAME: &str = "굿폰 데모 상점";

/// The file within the data folder.
const FILE: &str = "demo.json";

/// The most reads that wait for the demo's coupon to be written, and the time between two of them.
const MAX_COUPON_READS: u32 = 200;
const COUPON_READ_INTERVAL: Duration = Duration::from_millis(100);

/// The content of the file. The password is written first, the secret only once the merchant has been created.
#[derive(Serialize, Deserialize)]
struct DemoSecrets {
    password: String,
    client_secret: Option<String>,
}

/// A demo that is ready.
pub struct Demo {
    email: &'static str,
    password: String,
    client_id: String,
    client_secret: String,
    /// The published templates with their names. The printed commands issue a coupon of the first.
    templates: Vec<(TemplateId, String)>,
    /// The user of the printed commands: another one at each start, because a user gets a coupon only once.
    user: String,
    /// A coupon that the user has already, which the printed commands redeem.
    coupon: CouponId,
}

/// Creates what is missing of the demo; an earlier start may have been interrupted anywhere.
///
/// # Errors
/// The folder has merchants that are not the demo's, the file with the demo's password is lost, or the store fails.
pub async fn prepare(app: &App, data_dir: &Path) -> Result<Demo, Failed> {
    make_folder(data_dir)?;
    let path = data_dir.join(FILE);
    let found = app
        .stores
        .accounts
        .find_by_email(&EmailKey::of(EMAIL))
        .await;
    let found = found.map_err(store_failed)?.map(|(account, _)| account);
    let ours = match &found {
        Some(account) => merchant::list(app, account.id)
            .await
            .map_err(store_failed)?
            .into_items(),
        None => Vec::new(),
    };
    let secrets = read(&path)?;
    if ours.len() > 1 || has_other_merchants(app, ours.first().map(|m| m.id)).await? {
        return Err(refused(data_dir));
    }
    if found.is_some() && secrets.is_none() {
        return Err(Failed::new(format!(
            "{} is missing, and with it the password of {EMAIL}: give --demo another --data-dir, or delete this one",
            path.display()
        )));
    }
    let mut secrets = match secrets {
        Some(secrets) => secrets,
        None => {
            let password = hex::<8>(app.random.as_ref());
            let secrets = DemoSecrets {
                password,
                client_secret: None,
            };
            write(&path, &secrets)?;
            secrets
        }
    };
    let account = match found {
        Some(account) if account.verified => account,
        _ => sign_up(app, &secrets.password).await?,
    };
    let ours = ours.into_iter().next();
    let (merchant, client_secret) =
        merchant_and_secret(app, account.id, ours, &mut secrets).await?;
    write(&path, &secrets)?;
    let templates = publish_templates(app, account.id, merchant.id).await?;
    let user = format!("shopper-{}", hex::<4>(app.random.as_ref()));
    let coupon = issue_one(app, merchant.id, &templates, &user).await?;
    Ok(Demo {
        email: EMAIL,
        password: secrets.password,
        client_id: merchant.client_id,
        client_secret,
        templates,
        user,
        coupon,
    })
}

/// Issues a coupon of the last template, so that the commands that redeem and cancel name a real one.
async fn issue_one(
    app: &App,
    merchant_id: MerchantId,
    templates: &[(TemplateId, String)],
    user: &str,
) -> Result<CouponId, Failed> {
    let missing = || Failed::new("the demo cannot be prepared: no coupon was issued");
    let &(template_id, _) = templates.last().ok_or_else(missing)?;
    let request = IssueRequest {
        merchant_id,
        template_id,
        user_id: user.to_owned(),
    };
    let issued = coupon::issue(app, request, None).await;
    if !matches!(issued.map_err(store_failed)?, Outcome::Ran(Ok(_))) {
        return Err(missing());
    }
    // Scaled out, an issuer writes it a moment later.
    for _ in 0..MAX_COUPON_READS {
        let held = coupon::in_hand(app, merchant_id, user).await;
        if let Some(held) = held.map_err(store_failed)?.into_items().first() {
            return Ok(held.coupon.id);
        }
        tokio::time::sleep(COUPON_READ_INTERVAL).await;
    }
    Err(Failed::new(
        "the demo's coupon was not written in time: does an issuer run?",
    ))
}

/// Returns the demo's merchant with a valid secret: the one in the file, or else a new one.
async fn merchant_and_secret(
    app: &App,
    account: AccountId,
    ours: Option<Merchant>,
    secrets: &mut DemoSecrets,
) -> Result<(Merchant, String), Failed> {
    let (merchant, secret) = match ours {
        None => {
            let made = merchant::create(app, account, MERCHANT_NAME.into()).await;
            let made = made.map_err(failed)?;
            (made.detail.merchant, made.full_secret)
        }
        Some(merchant) => {
            if let Some(secret) = &secrets.client_secret {
                let are_valid = credentials::are_valid(app, &merchant.client_id, secret).await;
                if are_valid.map_err(store_failed)? {
                    return Ok((merchant, secret.clone()));
                }
            }
            let added = merchant::add_secret(app, account, merchant.id).await;
            (merchant, added.map_err(failed)?.1)
        }
    };
    secrets.client_secret = Some(secret.clone());
    Ok((merchant, secret))
}

/// Returns whether there are merchants besides ours. Ids begin at 1 without gaps and merchants are never deleted, so the
/// first id and the one after ours are enough to look at.
async fn has_other_merchants(app: &App, ours: Option<MerchantId>) -> Result<bool, Failed> {
    let first_unexpected = match ours {
        None => MerchantId(1),
        Some(MerchantId(1)) => MerchantId(2),
        Some(_) => return Ok(true),
    };
    let standing = app
        .stores
        .merchants
        .standing(first_unexpected, AccountId(0))
        .await;
    Ok(standing.map_err(store_failed)?.exists)
}

fn refused(data_dir: &Path) -> Failed {
    Failed::new(format!(
        "{} is in use for more than the demo: leave out --demo, or give --demo a --data-dir of its own",
        data_dir.display()
    ))
}

/// Signs the demo's account up and verifies it; an earlier start may have been interrupted between the two. The
/// verification mail is not sent, because the verification gives it up.
async fn sign_up(app: &App, password: &str) -> Result<Account, Failed> {
    let input = account::SignUp {
        email: EMAIL.into(),
        password: password.to_owned(),
        name: ACCOUNT_NAME.into(),
        network: Network::UNKNOWN,
    };
    let (_, token) = account::sign_up_with_token(app, input)
        .await
        .map_err(failed)?;
    account::verify(app, &token).await.map_err(failed)
}

async fn publish_templates(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
) -> Result<Vec<(TemplateId, String)>, Failed> {
    let there = template::list(app, account, merchant)
        .await
        .map_err(failed)?
        .into_items();
    let mut published = Vec::new();
    for draft in drafts(app) {
        let name = draft.name.clone();
        let usable = [TemplateStatus::Draft, TemplateStatus::Issuable];
        let found = there
            .iter()
            .find(|view| view.template.terms.name == name && usable.contains(&view.status));
        let (id, status) = match found {
            Some(view) => (view.template.id, view.status),
            None => {
                let made = template::create(app, account, merchant, draft).await;
                let made = made.map_err(failed)?;
                (made.id, made.status)
            }
        };
        if status == TemplateStatus::Draft {
            let done = template::publish(app, account, merchant, id).await;
            done.map_err(failed)?;
        }
        published.push((id, name));
    }
    Ok(published)
}

/// Returns one draft of each kind. The first and the last, which the printed commands use, have no limit.
fn drafts(app: &App) -> [Draft; 4] {
    let plain = Draft {
        name: "무제한 3,000원 할인".into(),
        description: "누구나 한 장씩, 발급 수량 제한 없음".into(),
        min_order_amount: Some(10_000),
        discount_type: DiscountType::FixedAmount,
        discount_value: 3_000,
        max_discount_amount: None,
        issue_start_date: app.zone.date(app.clock.now()),
        issue_end_date: None,
        validity_days: Some(30),
        absolute_expiry_date: None,
        limit_type: LimitType::None,
        max_issue_count: None,
        max_redeem_count: None,
    };
    let first_come = Draft {
        name: "선착순 100명 5,000원 할인".into(),
        description: "먼저 온 100명에게 발급".into(),
        discount_value: 5_000,
        limit_type: LimitType::IssueCount,
        max_issue_count: Some(100),
        ..plain.clone()
    };
    let percentage = Draft {
        name: "10% 할인, 최대 2,000원".into(),
        description: "주문 금액의 10%, 최소 주문 금액 없음".into(),
        min_order_amount: None,
        discount_type: DiscountType::Percentage,
        discount_value: 10,
        max_discount_amount: Some(2_000),
        ..plain.clone()
    };
    let redeem_limited = Draft {
        name: "선착순 50회 사용 7,000원 할인".into(),
        description: "발급은 자유, 사용은 50회까지".into(),
        discount_value: 7_000,
        limit_type: LimitType::RedeemCount,
        max_redeem_count: Some(50),
        ..plain.clone()
    };
    [plain, first_come, redeem_limited, percentage]
}

fn read(path: &PathBuf) -> Result<Option<DemoSecrets>, Failed> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| {
            Failed::new(format!(
                "{} is not what --demo wrote ({error}): use another --data-dir",
                path.display()
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failed::new(format!(
            "{} cannot be read: {error}",
            path.display()
        ))),
    }
}

fn write(path: &Path, secrets: &DemoSecrets) -> Result<(), Failed> {
    let mut text = serde_json::to_vec_pretty(secrets).map_err(Failed::new)?;
    text.push(b'\n');
    write_private(path, &text)
        .map_err(|error| Failed::new(format!("{} cannot be written: {error}", path.display())))
}

fn store_failed(error: StoreError) -> Failed {
    Failed::new(format!("the demo cannot be prepared: {error}"))
}

fn failed<R: std::fmt::Debug>(failure: Failure<R>) -> Failed {
    match failure {
        Failure::Store(error) => store_failed(error),
        Failure::Refused(refusal) => {
            Failed::new(format!("the demo cannot be prepared: {refusal:?}"))
        }
    }
}
