-- Times are microseconds since the epoch, UTC. Enumerations are small integers; codec.rs has their meaning.
-- {bin} is the server's name for the collation that compares texts byte for byte, trailing blanks included.
-- DDL is not part of a transaction, so each statement can be run again after an interrupted migration.

CREATE TABLE IF NOT EXISTS installation (
    id   TINYINT NOT NULL PRIMARY KEY,
    name CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS accounts (
    id            BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    email         VARCHAR(320) NOT NULL,
    email_key     VARCHAR(320) NOT NULL,
    name          VARCHAR(255) NOT NULL,
    password_hash VARCHAR(255) NOT NULL,
    verified      TINYINT NOT NULL DEFAULT 0,
    created_at    BIGINT NOT NULL,
    UNIQUE KEY accounts_by_email (email_key)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE {bin};

CREATE TABLE IF NOT EXISTS verification_tokens (
    digest     BINARY(32) NOT NULL PRIMARY KEY,
    account_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    KEY verification_tokens_by_account (account_id),
    KEY verification_tokens_by_age (created_at)
) ENGINE=InnoDB;

-- next_try_at is null for a mail that was sent or given up.
CREATE TABLE IF NOT EXISTS mails (
    id            BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    recipient     VARCHAR(320) NOT NULL,
    recipient_key VARCHAR(320) NOT NULL,
    subject       TEXT NOT NULL,
    text          MEDIUMTEXT NOT NULL,
    html          MEDIUMTEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    sent_at       BIGINT,
    next_try_at   BIGINT,
    attempts      INT NOT NULL DEFAULT 0,
    last_error    MEDIUMTEXT,
    KEY mails_due (next_try_at),
    KEY mails_sent (sent_at),
    KEY mails_by_age (created_at),
    KEY mails_by_recipient (recipient_key, created_at)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE {bin};

CREATE TABLE IF NOT EXISTS merchants (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name       VARCHAR(255) NOT NULL,
    client_id  VARCHAR(64) NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE KEY merchants_by_client_id (client_id)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE {bin};

CREATE TABLE IF NOT EXISTS merchant_members (
    id          BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    merchant_id BIGINT NOT NULL,
    account_id  BIGINT NOT NULL,
    role        TINYINT NOT NULL,
    created_at  BIGINT NOT NULL,
    UNIQUE KEY merchant_members_by_both (merchant_id, account_id),
    KEY merchant_members_by_account (account_id)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS client_secrets (
    id          BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    merchant_id BIGINT NOT NULL,
    digest      BINARY(32) NOT NULL,
    head        CHAR(4) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    tail        CHAR(4) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_at  BIGINT NOT NULL,
    expired_at  BIGINT,
    KEY client_secrets_by_merchant (merchant_id)
) ENGINE=InnoDB;

-- redeem_count is used only for templates with a redeem limit; template_redemptions counts those of the others.
CREATE TABLE IF NOT EXISTS coupon_templates (
    id                  BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    merchant_id         BIGINT NOT NULL,
    name                VARCHAR(255) NOT NULL,
    description         VARCHAR(255) NOT NULL,
    min_order_amount    BIGINT,
    discount_type       TINYINT NOT NULL,
    discount_value      BIGINT NOT NULL,
    max_discount_amount BIGINT,
    issue_start_at      BIGINT NOT NULL,
    issue_end_at        BIGINT,
    validity_days       BIGINT,
    absolute_expires_at BIGINT,
    limit_type          TINYINT NOT NULL,
    limit_count         BIGINT,
    status              TINYINT NOT NULL,
    issue_count         BIGINT NOT NULL DEFAULT 0,
    redeem_count        BIGINT NOT NULL DEFAULT 0,
    created_at          BIGINT NOT NULL,
    discard_reason      VARCHAR(255),
    KEY coupon_templates_by_merchant (merchant_id, created_at, id),
    KEY coupon_templates_ending (status, absolute_expires_at)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE {bin};

-- The redemptions of a template without a redeem limit are counted in several rows, so that they do not all lock one.
CREATE TABLE IF NOT EXISTS template_redemptions (
    template_id  BIGINT NOT NULL,
    slot         TINYINT UNSIGNED NOT NULL,
    redeem_count BIGINT NOT NULL,
    PRIMARY KEY (template_id, slot)
) ENGINE=InnoDB;

-- The progress of the walk that discards the coupons of a discarded template, in the order of their users.
CREATE TABLE IF NOT EXISTS discard_walks (
    template_id    BIGINT NOT NULL PRIMARY KEY,
    passed_user_id VARCHAR(255) NOT NULL,
    finished       TINYINT NOT NULL
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE {bin};

-- order_id is the order of the last redemption; null exactly if there never was one. changed_at is the time of the
-- coupon's last history entry; the next one is always later. issue_key and issue_body are the digests of the idempotency
-- key and the body of its issue.
CREATE TABLE IF NOT EXISTS coupons (
    id          BINARY(16) NOT NULL PRIMARY KEY,
    merchant_id BIGINT NOT NULL,
    template_id BIGINT NOT NULL,
    user_id     VARCHAR(255) NOT NULL,
    status      TINYINT NOT NULL,
    issued_at   BIGINT NOT NULL,
    expires_at  BIGINT,
    changed_at  BIGINT NOT NULL,
    order_id    VARCHAR(255),
    issue_key   BINARY(16),
    issue_body  BINARY(16),
    UNIQUE KEY coupons_one_for_each_user (template_id, user_id),
    KEY coupons_by_user (merchant_id, user_id),
    KEY coupons_due (status, expires_at)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE {bin};

CREATE TABLE IF NOT EXISTS coupon_histories (
    merchant_id BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    id          BINARY(16) NOT NULL,
    template_id BIGINT NOT NULL,
    action      TINYINT NOT NULL,
    coupon_id   BINARY(16) NOT NULL,
    order_id    VARCHAR(255),
    reason      VARCHAR(255),
    PRIMARY KEY (merchant_id, recorded_at, id),
    KEY coupon_histories_by_template (template_id, recorded_at, id),
    KEY coupon_histories_by_coupon (coupon_id, recorded_at, id),
    KEY coupon_histories_by_order (merchant_id, order_id, recorded_at, id)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE {bin};

-- The stored answers of redemptions and cancellations. An issue has none: its coupon's row is the record.
CREATE TABLE IF NOT EXISTS idempotency_records (
    id        BINARY(16) NOT NULL PRIMARY KEY,
    body      BINARY(16) NOT NULL,
    status    SMALLINT NOT NULL,
    answer    MEDIUMBLOB NOT NULL,
    stored_at BIGINT NOT NULL,
    KEY idempotency_records_by_age (stored_at)
) ENGINE=InnoDB;

-- Work that one process at a time does for all, with the process that has it. until is by the server's clock.
CREATE TABLE IF NOT EXISTS leases (
    name      VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    holder    BINARY(16) NOT NULL,
    until     BIGINT NOT NULL
) ENGINE=InnoDB;

-- The gates of templates, see domain/gate.rs. A template without a row has a gate that was never opened.
CREATE TABLE IF NOT EXISTS issue_gates (
    template_id BIGINT NOT NULL PRIMARY KEY,
    epoch       BIGINT NOT NULL,
    state       TINYINT NOT NULL,
    server      VARCHAR(120) CHARACTER SET ascii COLLATE ascii_bin,
    bumped_at   BIGINT,
    touched_at  BIGINT NOT NULL,
    KEY issue_gates_by_state (state)
) ENGINE=InnoDB;

-- The progress of the issuer in each partition of the log; log_time is the greatest append time before next_offset.
CREATE TABLE IF NOT EXISTS issue_progress (
    partition_id INT NOT NULL PRIMARY KEY,
    next_offset  BIGINT NOT NULL,
    log_time     BIGINT NOT NULL
) ENGINE=InnoDB;

-- Events that an issuer could not write. Until an event is settled, its coupon counts towards the issue limit, and its
-- user, if known, gets no other.
CREATE TABLE IF NOT EXISTS parked_events (
    partition_id INT NOT NULL,
    log_offset   BIGINT NOT NULL,
    template_id  BIGINT,
    user_id      VARCHAR(255),
    reason       VARCHAR(255) NOT NULL,
    raw          MEDIUMBLOB NOT NULL,
    appended_at  BIGINT NOT NULL,
    parked_at    BIGINT NOT NULL,
    settled_at   BIGINT,
    settled_as   TINYINT,
    PRIMARY KEY (partition_id, log_offset),
    KEY parked_events_by_template (template_id, settled_at)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE {bin};

-- The time at which each server of gates was last seen to take writes.
CREATE TABLE IF NOT EXISTS valkey_servers (
    server  VARCHAR(120) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    seen_at BIGINT NOT NULL
) ENGINE=InnoDB;
