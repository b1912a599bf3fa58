-- When a row was written, and how many candidates were asked for it; of rows that were there before neither is known.
ALTER TABLE usage_logs ADD COLUMN booked_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_logs ADD COLUMN attempt_count BIGINT NOT NULL DEFAULT 2;

CREATE INDEX usage_logs_booked ON usage_logs (booked_at);
CREATE INDEX usage_logs_retried ON usage_logs (started_at) WHERE attempt_count > 1;

-- Sums of usage_logs by the hour in which requests started. Everything that was booked before the mark is in here.
CREATE TABLE usage_totals (
    hour BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    api_key_id TEXT NOT NULL,
    subscription_id TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    account TEXT NOT NULL,
    requests BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cache_read_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL,
    PRIMARY KEY (hour, user_id, api_key_id, subscription_id, model, provider, account)
);

CREATE TABLE usage_marks (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);

INSERT INTO usage_marks (name, value) VALUES ('summed', 0);
