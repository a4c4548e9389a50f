-- Times are microseconds since the epoch, UTC. Enumerations are small integers; their meaning stands in codec.rs.
-- Texts compare byte for byte (SQLite's BINARY collation), as the contract wants of user and order ids.

CREATE TABLE accounts (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    email         TEXT NOT NULL,
    email_key     TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    verified      INTEGER NOT NULL DEFAULT 0,
    created_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE verification_tokens (
    digest     BLOB NOT NULL PRIMARY KEY,
    account_id INTEGER NOT NULL REFERENCES accounts (id),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX verification_tokens_by_account ON verification_tokens (account_id);
CREATE INDEX verification_tokens_by_age ON verification_tokens (created_at);

-- next_try_at is null for a mail that left or was refused for good.
CREATE TABLE mails (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    recipient   TEXT NOT NULL,
    subject     TEXT NOT NULL,
    text        TEXT NOT NULL,
    html        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    sent_at     INTEGER,
    next_try_at INTEGER,
    attempts    INTEGER NOT NULL DEFAULT 0,
    last_error  TEXT
) STRICT;
CREATE INDEX mails_due ON mails (next_try_at) WHERE next_try_at IS NOT NULL;
CREATE INDEX mails_sent ON mails (sent_at) WHERE sent_at IS NOT NULL;
CREATE INDEX mails_by_recipient ON mails (recipient COLLATE NOCASE);

CREATE TABLE merchants (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL,
    client_id  TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE merchant_members (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    merchant_id INTEGER NOT NULL REFERENCES merchants (id),
    account_id  INTEGER NOT NULL REFERENCES accounts (id),
    role        INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    UNIQUE (merchant_id, account_id)
) STRICT;
CREATE INDEX merchant_members_by_account ON merchant_members (account_id);

CREATE TABLE client_secrets (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    merchant_id INTEGER NOT NULL REFERENCES merchants (id),
    digest      BLOB NOT NULL,
    head        TEXT NOT NULL,
    tail        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    expired_at  INTEGER
) STRICT;
CREATE INDEX client_secrets_by_merchant ON client_secrets (merchant_id);

CREATE TABLE coupon_templates (
    id                  INTEGER PRIMARY KEY AUTOINCREMENT,
    merchant_id         INTEGER NOT NULL REFERENCES merchants (id),
    name                TEXT NOT NULL,
    description         TEXT NOT NULL,
    min_order_amount    INTEGER,
    discount_type       INTEGER NOT NULL,
    discount_value      INTEGER NOT NULL,
    max_discount_amount INTEGER,
    issue_start_at      INTEGER NOT NULL,
    issue_end_at        INTEGER,
    validity_days       INTEGER,
    absolute_expires_at INTEGER,
    limit_type          INTEGER NOT NULL,
    limit_count         INTEGER,
    status              INTEGER NOT NULL,
    issue_count         INTEGER NOT NULL DEFAULT 0,
    redeem_count        INTEGER NOT NULL DEFAULT 0,
    created_at          INTEGER NOT NULL,
    discard_reason      TEXT
) STRICT;
CREATE INDEX coupon_templates_by_merchant ON coupon_templates (merchant_id, created_at, id);
CREATE INDEX coupon_templates_ending ON coupon_templates (absolute_expires_at)
    WHERE status = 1 AND absolute_expires_at IS NOT NULL;
CREATE INDEX coupon_templates_discarded ON coupon_templates (id) WHERE status = 3;

-- How far the walk that expires or discards a template's coupons has come in the template's history, see sweep.rs.
-- It has passed all entries up to this one. next_due_at is null if somebody must look what comes next.
CREATE TABLE template_walks (
    template_id INTEGER PRIMARY KEY,
    passed_at   INTEGER NOT NULL,
    passed_id   BLOB NOT NULL,
    next_due_at INTEGER,
    finished    INTEGER NOT NULL
) STRICT;

-- order_id is the order of the last redemption; null exactly if there never was one.
-- changes tells how many entries the coupon has behind its ISSUE; the last stands at changed_at and change_id, which
-- are null if there is none. These and the status are entered late, as an index into the ledger: see coupon_state.rs.
CREATE TABLE coupons (
    id          BLOB NOT NULL PRIMARY KEY,
    merchant_id INTEGER NOT NULL,
    template_id INTEGER NOT NULL,
    user_id     TEXT NOT NULL,
    status      INTEGER NOT NULL,
    issued_at   INTEGER NOT NULL,
    expires_at  INTEGER,
    order_id    TEXT,
    changes     INTEGER NOT NULL,
    changed_at  INTEGER,
    change_id   BLOB
) STRICT, WITHOUT ROWID;
-- One coupon of a template for one user for ever. A template has one merchant, so this is UNIQUE (template, user);
-- the merchant stands in front so that the same index finds a user's coupons of one merchant. Entered late.
CREATE TABLE coupon_holders (
    merchant_id INTEGER NOT NULL,
    user_id     TEXT NOT NULL,
    template_id INTEGER NOT NULL,
    coupon_id   BLOB NOT NULL,
    PRIMARY KEY (merchant_id, user_id, template_id)
) STRICT, WITHOUT ROWID;

-- Clustered by template, then time: issue appends. A merchant's page is merged from its templates.
-- An ISSUE entry's id is its coupon's, so that it is found by the coupon's issued_at and id.
-- The entries of a coupon are numbered from 0, the ISSUE. From 2 on each tells where the one before it stands.
CREATE TABLE coupon_histories (
    template_id INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    id          BLOB NOT NULL,
    merchant_id INTEGER NOT NULL,
    action      INTEGER NOT NULL,
    coupon_id   BLOB NOT NULL,
    number      INTEGER NOT NULL,
    previous_at INTEGER,
    previous_id BLOB,
    order_id    TEXT,
    reason      TEXT,
    PRIMARY KEY (template_id, recorded_at, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX coupon_histories_by_order ON coupon_histories (merchant_id, order_id) WHERE order_id IS NOT NULL;

-- Answers that many requests get, kept once each: refusals, and successes that tell nothing of their own.
CREATE TABLE common_answers (
    id     INTEGER PRIMARY KEY,
    status INTEGER NOT NULL,
    body   BLOB NOT NULL,
    UNIQUE (status, body)
) STRICT;

-- In order of age, so that the oldest are deleted from one end. The answer is one of common_answers, or stands here.
CREATE TABLE idempotency_records (
    seq           INTEGER PRIMARY KEY,
    key           BLOB NOT NULL,
    body          BLOB NOT NULL,
    stored_at     INTEGER NOT NULL,
    common_answer INTEGER,
    own_status    INTEGER,
    own_answer    BLOB
) STRICT;

-- Where a key's record stands. Entered late; an entry may outlive its record.
CREATE TABLE idempotency_keys (
    key BLOB NOT NULL PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How far the indexes are whole that are entered late, see src/late/: all rows before that place are entered.
CREATE TABLE late_indexes (
    name          TEXT NOT NULL PRIMARY KEY,
    entered_below ANY NOT NULL
) STRICT, WITHOUT ROWID;
