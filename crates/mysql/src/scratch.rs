//! Databases for the tests of this crate, and of crates that depend on it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

use std::hash::{BuildHasher, RandomState};

use mysql_async::{Opts, OptsBuilder, Pool, prelude::Queryable};

/// A database for one test, which is dropped with this value.
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    /// Creates a database on the server that the environment names.
    ///
    /// # Panics
    /// The environment names no server, or the server refuses.
    pub async fn create() -> Self {
        let server = std::env::var("GOODPON_DATABASE_URL").expect(
            "GOODPON_DATABASE_URL names no server: run `cargo xtask test`, which brings one up",
        );
        let name = format!("law_{:016x}", RandomState::new().hash_one(0));
        let database = Self { server, name };
        let create = format!("CREATE DATABASE {}", database.name);
        on_server(&database.server, &create).await;
        database
    }

    /// Runs a statement in it.
    pub async fn run(&self, sql: &str) {
        on_server(&self.url(), sql).await;
    }

    /// Returns its URL.
    ///
    /// # Panics
    /// Never: [`Self::create`] used the server's URL already.
    pub fn url(&self) -> String {
        let mut url = url::Url::parse(&self.server).unwrap();
        url.set_path(&self.name);
        url.to_string()
    }
}

async fn on_server(url: &str, statement: &str) {
    let opts = OptsBuilder::from_opts(Opts::from_url(url).unwrap());
    let pool = Pool::new(opts);
    let mut conn = pool.get_conn().await.expect("the database server answers");
    conn.query_drop(statement).await.unwrap();
    drop(conn);
    pool.disconnect().await.unwrap();
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, drop) = (self.server.clone(), format!("DROP DATABASE {}", self.name));
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(on_server(&server, &drop));
        });
        // A database that could not be dropped must not fail the test.
        let _ = dropped.join();
    }
}
