-- Programs of the version before go on beside this schema: columns are only added, each with a default.

-- generation is 64 random bits that access tokens carry; 0 until it is drawn, which the first login does. The first
-- one of an account is also good for tokens without a generation.
ALTER TABLE accounts
    ADD COLUMN generation BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN is_first_generation TINYINT NOT NULL DEFAULT 1,
    ADD KEY accounts_unverified (verified, created_at);

-- When the token verified its account. A spent one is kept for a day, so that its link can say so.
-- tries is how many passwords were tried with it on the page behind its link.
ALTER TABLE verification_tokens
    ADD COLUMN spent_at BIGINT,
    ADD COLUMN tries INT NOT NULL DEFAULT 0;

-- kind 1 is a verification mail asked for again, or by another sign-up of the same address; 0 is the first.
-- token_ends_at is when the token in the mail is void at the latest; null once it was blanked, or without one.
-- origin is the network whose request wrote the mail, null if that is not known.
ALTER TABLE mails
    ADD COLUMN kind TINYINT NOT NULL DEFAULT 0,
    ADD COLUMN token_ends_at BIGINT,
    ADD COLUMN origin VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin,
    ADD KEY mails_with_token (next_try_at, token_ends_at),
    ADD KEY mails_unsent (sent_at, created_at),
    ADD KEY mails_waiting_by_origin (origin, next_try_at);
UPDATE mails SET token_ends_at = created_at + 1800000000 WHERE token_ends_at IS NULL;

-- Both in REDEEM entries, the discount also in CANCEL_REDEMPTION entries; null in others, and in those written before.
ALTER TABLE coupon_histories
    ADD COLUMN order_amount BIGINT,
    ADD COLUMN discount_amount BIGINT;

-- What issues are answered with, to the byte: a remembered answer of an issue names one by its number. Texts change with
-- versions, and none is ever deleted. since is when the first process was about to answer so.
CREATE TABLE IF NOT EXISTS issue_answers (
    number     INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    is_success TINYINT NOT NULL,
    status     SMALLINT NOT NULL,
    body       VARBINARY(2000) NOT NULL,
    since      BIGINT NOT NULL,
    UNIQUE KEY issue_answers_by_text (is_success, status, body)
) ENGINE=InnoDB;
