-- name: insert_usage(request_id, client_request_id, started_at, user_id, api_key_id, subscription_id, path, dialect, requested_model, routed_model, provider, account, status, outcome, streamed, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, estimated, ttft_ms, duration_ms, attempts, cost_nano)!
-- A row that is there already was written by a batch whose acknowledgement got lost.
INSERT INTO usage_logs (request_id, client_request_id, started_at, user_id, api_key_id, subscription_id, path, dialect,
    requested_model, routed_model, provider, account, status, outcome, streamed, input_tokens, cache_read_tokens,
    cache_write_tokens, output_tokens, reasoning_tokens, estimated, ttft_ms, duration_ms, attempts, cost_nano)
VALUES (:request_id, :client_request_id, :started_at, :user_id, :api_key_id, :subscription_id, :path, :dialect,
    :requested_model, :routed_model, :provider, :account, :status, :outcome, :streamed, :input_tokens, :cache_read_tokens,
    :cache_write_tokens, :output_tokens, :reasoning_tokens, :estimated, :ttft_ms, :duration_ms, :attempts, :cost_nano)
ON CONFLICT (request_id) DO NOTHING;

-- name: read_usage(since, until, most)
-- Newest first.
SELECT request_id, client_request_id, started_at, user_id, api_key_id, subscription_id, path, dialect, requested_model,
    routed_model, provider, account, status, outcome, streamed, input_tokens, cache_read_tokens, cache_write_tokens,
    output_tokens, reasoning_tokens, estimated, ttft_ms, duration_ms, attempts, cost_nano
FROM usage_logs WHERE started_at >= :since AND started_at < :until
ORDER BY started_at DESC, request_id DESC LIMIT :most;

-- name: total_usage(grouping, since, until)
-- grouping: proxy, user, key, subscription, model, provider or account. Tokens that nobody reported count as none.
SELECT owner, COUNT(*), SUM(CASE WHEN outcome = 'ok' THEN 0 ELSE 1 END),
    CAST(COALESCE(SUM(input_tokens), 0) AS BIGINT), CAST(COALESCE(SUM(cache_read_tokens), 0) AS BIGINT),
    CAST(COALESCE(SUM(cache_write_tokens), 0) AS BIGINT), CAST(COALESCE(SUM(output_tokens), 0) AS BIGINT),
    CAST(COALESCE(SUM(reasoning_tokens), 0) AS BIGINT), CAST(COALESCE(SUM(cost_nano), 0) AS BIGINT)
FROM (
    SELECT outcome, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nano,
        CASE CAST(:grouping AS TEXT)
            WHEN 'proxy' THEN ''
            WHEN 'user' THEN NULLIF(user_id, '')
            WHEN 'key' THEN NULLIF(api_key_id, '')
            WHEN 'subscription' THEN NULLIF(subscription_id, '')
            WHEN 'model' THEN NULLIF(routed_model, '')
            WHEN 'provider' THEN NULLIF(provider, '')
            WHEN 'account' THEN NULLIF(provider, '') || '/' || account
        END AS owner
    FROM usage_logs WHERE started_at >= :since AND started_at < :until
) AS owned
WHERE owner IS NOT NULL GROUP BY owner ORDER BY owner;

-- name: retried_attempts(since)
-- The attempts of requests that took more than one: the JSON is compact, and only a list of several objects holds this text.
SELECT attempts FROM usage_logs WHERE started_at >= :since AND attempts LIKE '%},{%';

-- name: delete_usage(before)!
DELETE FROM usage_logs WHERE started_at < :before;

-- name: read_levels()
SELECT scope, owner, kind, value, at FROM limit_levels;

-- name: put_level(scope, owner, kind, value, at)!
INSERT INTO limit_levels (scope, owner, kind, value, at) VALUES (:scope, :owner, :kind, :value, :at)
ON CONFLICT (scope, owner, kind) DO UPDATE SET value = excluded.value, at = excluded.at;

-- name: delete_levels(before)!
DELETE FROM limit_levels WHERE at < :before;
