-- Programs of the versions before go on working: a column is added that may be null. What they write has none.

-- The W3C traceparent of the request that caused the mail; null if that was not sampled.
ALTER TABLE mails ADD COLUMN traceparent TEXT;
