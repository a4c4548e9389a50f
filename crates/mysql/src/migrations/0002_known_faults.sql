-- Programs of the version before go on working: columns are only added, each with a default.

-- generation is 64 random bits that access tokens carry; 0 until the first login draws it. While an account has its first
-- generation, tokens without one are valid too.
ALTER TABLE accounts
    ADD COLUMN generation BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN is_first_generation TINYINT NOT NULL DEFAULT 1,
    ADD KEY accounts_unverified (verified, created_at);

-- spent_at is the time at which the token verified its account; it is kept for a day, so that its link can say so.
-- tries is the number of passwords that were tried with it on the verification page.
ALTER TABLE verification_tokens
    ADD COLUMN spent_at BIGINT,
    ADD COLUMN tries INT NOT NULL DEFAULT 0;

-- kind is 1 for a verification mail that was requested again, or by another sign-up with the address; 0 for the first.
-- token_ends_at is the time from which the token in the mail is surely void; null without a token, or once it was blanked.
-- origin is the network of the request that caused the mail; null if that is not known.
ALTER TABLE mails
    ADD COLUMN kind TINYINT NOT NULL DEFAULT 0,
    ADD COLUMN token_ends_at BIGINT,
    ADD COLUMN origin VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin,
    ADD KEY mails_with_token (next_try_at, token_ends_at),
    ADD KEY mails_unsent (sent_at, created_at),
    ADD KEY mails_waiting_by_origin (origin, next_try_at);
UPDATE mails SET token_ends_at = created_at + 1800000000 WHERE token_ends_at IS NULL;

-- REDEEM entries have both, CANCEL_REDEMPTION entries the discount; others, and those written before this step, none.
ALTER TABLE coupon_histories
    ADD COLUMN order_amount BIGINT,
    ADD COLUMN discount_amount BIGINT;

-- The answers of issues, byte for byte: an idempotency record in Valkey names its answer by the number. Texts change with
-- releases, and none is ever deleted. since is the time at which the first process was about to give the answer.
CREATE TABLE IF NOT EXISTS issue_answers (
    number     INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    is_success TINYINT NOT NULL,
    status     SMALLINT NOT NULL,
    body       VARBINARY(2000) NOT NULL,
    since      BIGINT NOT NULL,
    UNIQUE KEY issue_answers_by_text (is_success, status, body)
) ENGINE=InnoDB;
