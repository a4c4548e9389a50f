//! Prepares a database and a topic for one benchmark, on the servers that `GOODPON_DATABASE_URL`, `GOODPON_VALKEY_URL` and
//! `GOODPON_KAFKA_BROKERS` name. `cargo xtask bench --backend scaled` runs it, so that it needs no clients of these servers
//! itself.
//!
//! `bench_room make NAME`: creates an empty database, and first deletes everything under that name.
//! `bench_room clear NAME`: deletes the database, the topic, and the installation's keys in Valkey.
//! `bench_room rows NAME COUNT`: waits until COUNT coupons are written, and prints `WRITTEN {…}`: the number of coupons
//! then, the number that were written while it waited, and the time in which these were.
//! `bench_room coupons NAME TEMPLATE`: prints the template's coupons, as lines `user coupon`.

#[path = "shared/clear.rs"]
mod clear;

use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

use mysql_async::{Conn, Opts, OptsBuilder, prelude::Queryable};

/// The time between two counts of the coupons, and the longest time without a new one.
const COUNT_INTERVAL: Duration = Duration::from_millis(20);
const MAX_STANDSTILL: Duration = Duration::from_secs(30);

fn setting(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("run `cargo xtask services up` and set {name}"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let server = Opts::from_url(&setting("GOODPON_DATABASE_URL")?)?;
    match words[..] {
        ["make", name] => {
            clear_away(&server, name).await?;
            let mut connection = Conn::new(server).await?;
            connection
                .query_drop(format!("CREATE DATABASE {name}"))
                .await?;
            Ok(())
        }
        ["clear", name] => clear_away(&server, name).await,
        ["rows", name, count] => rows(&mut within(server, name).await?, count.parse()?).await,
        ["coupons", name, template] => {
            coupons(&mut within(server, name).await?, template.parse()?).await
        }
        _ => Err("usage: make NAME, clear NAME, rows NAME COUNT, or coupons NAME TEMPLATE".into()),
    }
}

async fn within(server: Opts, name: &str) -> Result<Conn, mysql_async::Error> {
    let database = OptsBuilder::from_opts(server).db_name(Some(name));
    Conn::new(database).await
}

async fn clear_away(server: &Opts, name: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut connection = Conn::new(server.clone()).await?;
    let has_one = "SELECT COUNT(*) FROM information_schema.tables
                   WHERE table_schema = ? AND table_name = 'installation'";
    let has_one: Option<i64> = connection.exec_first(has_one, (name,)).await?;
    if has_one == Some(1) {
        let installation = format!("SELECT name FROM {name}.installation");
        let installation: Option<String> = connection.query_first(installation).await?;
        if let Some(installation) = installation {
            clear::keys(&setting("GOODPON_VALKEY_URL")?, &installation).await?;
        }
    }
    connection
        .query_drop(format!("DROP DATABASE IF EXISTS {name}"))
        .await?;
    clear::topic(&setting("GOODPON_KAFKA_BROKERS")?, name).await
}

/// Waits until `wanted` coupons are written, and prints the figures.
async fn rows(connection: &mut Conn, wanted: i64) -> Result<(), Box<dyn Error + Send + Sync>> {
    // The counters are written in the same transactions as the coupons, and are faster to read.
    let count = "SELECT CAST(COALESCE(SUM(issue_count), 0) AS SIGNED) FROM coupon_templates";
    let mut counts: Vec<(Instant, i64)> = Vec::new();
    loop {
        let now: Option<i64> = connection.query_first(count).await?;
        let now = now.unwrap_or_default();
        if counts.last().is_none_or(|(_, before)| now > *before) {
            counts.push((Instant::now(), now));
        }
        if now >= wanted {
            break;
        }
        if counts
            .last()
            .is_some_and(|(at, _)| at.elapsed() > MAX_STANDSTILL)
        {
            return Err(format!("{now} coupons are written, and no more come").into());
        }
        tokio::time::sleep(COUNT_INTERVAL).await;
    }
    // Measures from the first new coupons on, because it is not known when the earlier ones were written.
    let (began, before) = counts[usize::from(counts.len() > 2)];
    let (ended, after) = counts[counts.len() - 1];
    // Counts in one statement, because more coupons may be written meanwhile.
    let both = format!("SELECT ({count}), (SELECT COUNT(*) FROM coupons)");
    let both: Option<(i64, i64)> = connection.query_first(both).await?;
    let (counted, there) = both.unwrap_or_default();
    if there != counted {
        return Err(format!("{there} coupons are there, {counted} are counted").into());
    }
    println!(
        r#"WRITTEN {{"rows":{there},"came":{},"came_us":{}}}"#,
        after - before,
        ended.duration_since(began).as_micros()
    );
    Ok(())
}

async fn coupons(connection: &mut Conn, template: i64) -> Result<(), Box<dyn Error + Send + Sync>> {
    let all = "SELECT user_id, LOWER(HEX(id)) FROM coupons WHERE template_id = ?";
    let rows: Vec<(String, String)> = connection.exec(all, (template,)).await?;
    let mut stdout = std::io::stdout().lock();
    for (user, coupon) in rows {
        writeln!(stdout, "{user} {coupon}")?;
    }
    Ok(())
}
