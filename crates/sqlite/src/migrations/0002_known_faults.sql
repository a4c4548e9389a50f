-- generation is 64 random bits that access tokens carry; 0 until it is drawn, which the first login does. The first
-- one of an account is also good for tokens without a generation.
ALTER TABLE accounts ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN is_first_generation INTEGER NOT NULL DEFAULT 1;
CREATE INDEX accounts_unverified ON accounts (created_at) WHERE verified = 0;

-- When the token verified its account. A spent one is kept for a day, so that its link can say so.
ALTER TABLE verification_tokens ADD COLUMN spent_at INTEGER;
-- How many passwords were tried with it on the page behind its link.
ALTER TABLE verification_tokens ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;

-- kind 1 is a verification mail asked for again, or by another sign-up of the same address; 0 is the first.
-- token_ends_at is when the token in the mail is void at the latest; null once it was blanked, or without one.
-- origin is the network whose request wrote the mail, null if that is not known.
ALTER TABLE mails ADD COLUMN kind INTEGER NOT NULL DEFAULT 0;
ALTER TABLE mails ADD COLUMN token_ends_at INTEGER;
ALTER TABLE mails ADD COLUMN origin TEXT;
UPDATE mails SET token_ends_at = created_at + 1800000000;
CREATE INDEX mails_with_token ON mails (token_ends_at) WHERE token_ends_at IS NOT NULL AND next_try_at IS NULL;
CREATE INDEX mails_unsent ON mails (created_at) WHERE sent_at IS NULL;
CREATE INDEX mails_waiting_by_origin ON mails (origin) WHERE origin IS NOT NULL AND next_try_at IS NOT NULL;

-- Both in REDEEM entries, the discount also in CANCEL_REDEMPTION entries; null in others, and in those written before.
ALTER TABLE coupon_histories ADD COLUMN order_amount INTEGER;
ALTER TABLE coupon_histories ADD COLUMN discount_amount INTEGER;
-- Entries recorded up to then were written by programs that kept no amounts; those of a new store all have them.
CREATE TABLE ledger_amounts (lack_until INTEGER NOT NULL) STRICT;
INSERT INTO ledger_amounts SELECT coalesce(max((
    SELECT max(recorded_at) FROM coupon_histories WHERE template_id = t.id
)), 0) FROM coupon_templates t;

-- In which seconds a template recorded something: a page of a merchant's history opens the templates of the seconds
-- that it is about, and no others. Seconds since the epoch, rounded down.
CREATE TABLE template_activity (
    merchant_id INTEGER NOT NULL,
    second      INTEGER NOT NULL,
    template_id INTEGER NOT NULL,
    PRIMARY KEY (merchant_id, second, template_id)
) STRICT, WITHOUT ROWID;
INSERT INTO template_activity
SELECT DISTINCT merchant_id, recorded_at / 1000000, template_id FROM coupon_histories;
