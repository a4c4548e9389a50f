-- Programs of the versions before go on working: a column is added that may be null. What they write has none. Both
-- servers add it in place, without a copy of the table.

-- The W3C traceparent of the request that caused the mail; null if that was not sampled.
ALTER TABLE mails
    ADD COLUMN traceparent VARCHAR(55) CHARACTER SET ascii COLLATE ascii_bin;
