-- name: insert_usage(request_id, client_request_id, started_at, user_id, api_key_id, subscription_id, path, dialect, requested_model, routed_model, provider, account, status, outcome, streamed, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, estimated, ttft_ms, duration_ms, attempts, cost_nano, booked_at, attempt_count)!
-- A row that is there already was written by a batch whose acknowledgement got lost.
INSERT INTO usage_logs (request_id, client_request_id, started_at, user_id, api_key_id, subscription_id, path, dialect,
    requested_model, routed_model, provider, account, status, outcome, streamed, input_tokens, cache_read_tokens,
    cache_write_tokens, output_tokens, reasoning_tokens, estimated, ttft_ms, duration_ms, attempts, cost_nano, booked_at,
    attempt_count)
VALUES (:request_id, :client_request_id, :started_at, :user_id, :api_key_id, :subscription_id, :path, :dialect,
    :requested_model, :routed_model, :provider, :account, :status, :outcome, :streamed, :input_tokens, :cache_read_tokens,
    :cache_write_tokens, :output_tokens, :reasoning_tokens,
    :estimated, :ttft_ms, :duration_ms, :attempts, :cost_nano, :booked_at, :attempt_count)
ON CONFLICT (request_id) DO NOTHING;

-- name: read_usage(since, until, last_id, most)
-- Newest first. The next page goes on from the last row: its started_at as until, and its request_id.
SELECT request_id, client_request_id, started_at, user_id, api_key_id, subscription_id, path, dialect, requested_model,
    routed_model, provider, account, status, outcome, streamed, input_tokens, cache_read_tokens, cache_write_tokens,
    output_tokens, reasoning_tokens, estimated, ttft_ms, duration_ms, attempts, cost_nano
FROM usage_logs
WHERE started_at >= :since AND started_at <= :until AND (started_at < :until OR request_id < :last_id)
ORDER BY started_at DESC, request_id DESC LIMIT :most;

-- name: total_usage(grouping, since, until, first_hour, last_hour, summed, asked)
-- Whole hours from the sums; what was booked after them, and the parts of hours at both ends, from the log. A plus sign keeps an
-- index from being used. grouping: proxy, user, key, subscription, model, provider or account. asked: 1 for those requests only
-- for which some candidate was asked.
SELECT owner, CAST(SUM(requests) AS BIGINT), CAST(SUM(failed) AS BIGINT), CAST(SUM(input_tokens) AS BIGINT),
    CAST(SUM(cache_read_tokens) AS BIGINT), CAST(SUM(cache_write_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT),
    CAST(SUM(reasoning_tokens) AS BIGINT), CAST(SUM(cost_nano) AS BIGINT)
FROM (
    SELECT requests, failed, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nano,
        model, CASE CAST(:grouping AS TEXT)
            WHEN 'proxy' THEN 'proxy'
            WHEN 'user' THEN user_id
            WHEN 'key' THEN api_key_id
            WHEN 'subscription' THEN subscription_id
            WHEN 'model' THEN model
            WHEN 'provider' THEN provider
            WHEN 'account' THEN CASE WHEN provider <> '' AND account <> '' THEN provider || '/' || account ELSE '' END
            ELSE ''
        END AS owner
    FROM (
        SELECT user_id, api_key_id, subscription_id, model, provider, account, requests, failed, input_tokens,
            cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nano
        FROM usage_totals WHERE hour >= :first_hour AND hour < :last_hour
        UNION ALL
        SELECT COALESCE(user_id, ''), COALESCE(api_key_id, ''), COALESCE(subscription_id, ''), COALESCE(routed_model, ''),
            COALESCE(provider, ''), COALESCE(account, ''), 1, CASE WHEN outcome = 'ok' THEN 0 ELSE 1 END,
            COALESCE(input_tokens, 0), COALESCE(cache_read_tokens, 0), COALESCE(cache_write_tokens, 0),
            COALESCE(output_tokens, 0), COALESCE(reasoning_tokens, 0), COALESCE(cost_nano, 0)
        FROM usage_logs WHERE booked_at >= :summed AND +started_at >= :since AND +started_at < :until
        UNION ALL
        SELECT COALESCE(user_id, ''), COALESCE(api_key_id, ''), COALESCE(subscription_id, ''), COALESCE(routed_model, ''),
            COALESCE(provider, ''), COALESCE(account, ''), 1, CASE WHEN outcome = 'ok' THEN 0 ELSE 1 END,
            COALESCE(input_tokens, 0), COALESCE(cache_read_tokens, 0), COALESCE(cache_write_tokens, 0),
            COALESCE(output_tokens, 0), COALESCE(reasoning_tokens, 0), COALESCE(cost_nano, 0)
        FROM usage_logs WHERE started_at >= :since AND started_at < :first_hour AND +booked_at < :summed
        UNION ALL
        SELECT COALESCE(user_id, ''), COALESCE(api_key_id, ''), COALESCE(subscription_id, ''), COALESCE(routed_model, ''),
            COALESCE(provider, ''), COALESCE(account, ''), 1, CASE WHEN outcome = 'ok' THEN 0 ELSE 1 END,
            COALESCE(input_tokens, 0), COALESCE(cache_read_tokens, 0), COALESCE(cache_write_tokens, 0),
            COALESCE(output_tokens, 0), COALESCE(reasoning_tokens, 0), COALESCE(cost_nano, 0)
        FROM usage_logs WHERE started_at >= :last_hour AND started_at < :until AND +booked_at < :summed
    ) AS counted
) AS owned
WHERE owner <> '' AND (CAST(:asked AS BIGINT) = 0 OR model <> '') GROUP BY owner ORDER BY owner;

-- name: read_mark(name)^
SELECT value FROM usage_marks WHERE name = :name;

-- name: put_mark(name, value)!
UPDATE usage_marks SET value = :value WHERE name = :name;

-- name: sum_usage(since, until)!
-- Adds what was booked in [since, until) to the sums of its hours.
INSERT INTO usage_totals AS known (hour, user_id, api_key_id, subscription_id, model, provider, account, requests, failed,
    input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nano)
SELECT started_at / 3600000 * 3600000, COALESCE(user_id, ''), COALESCE(api_key_id, ''), COALESCE(subscription_id, ''),
    COALESCE(routed_model, ''), COALESCE(provider, ''), COALESCE(account, ''), COUNT(*),
    SUM(CASE WHEN outcome = 'ok' THEN 0 ELSE 1 END), CAST(COALESCE(SUM(input_tokens), 0) AS BIGINT),
    CAST(COALESCE(SUM(cache_read_tokens), 0) AS BIGINT), CAST(COALESCE(SUM(cache_write_tokens), 0) AS BIGINT),
    CAST(COALESCE(SUM(output_tokens), 0) AS BIGINT), CAST(COALESCE(SUM(reasoning_tokens), 0) AS BIGINT),
    CAST(COALESCE(SUM(cost_nano), 0) AS BIGINT)
FROM usage_logs WHERE booked_at >= :since AND booked_at < :until
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY 1, 2, 3, 4, 5, 6, 7
ON CONFLICT (hour, user_id, api_key_id, subscription_id, model, provider, account) DO UPDATE SET
    requests = known.requests + excluded.requests, failed = known.failed + excluded.failed,
    input_tokens = known.input_tokens + excluded.input_tokens,
    cache_read_tokens = known.cache_read_tokens + excluded.cache_read_tokens,
    cache_write_tokens = known.cache_write_tokens + excluded.cache_write_tokens,
    output_tokens = known.output_tokens + excluded.output_tokens,
    reasoning_tokens = known.reasoning_tokens + excluded.reasoning_tokens,
    cost_nano = known.cost_nano + excluded.cost_nano;

-- name: retried_attempts(since)
-- The attempts of requests that took more than one: the JSON is compact, and only a list of several objects holds this text.
SELECT attempts FROM usage_logs WHERE started_at >= :since AND attempt_count > 1 AND attempts LIKE '%},{%';

-- name: end_of_slice(before, most)^
SELECT started_at FROM usage_logs WHERE started_at < :before ORDER BY started_at LIMIT 1 OFFSET :most;

-- name: delete_usage(before)!
-- Only what the sums hold already.
DELETE FROM usage_logs
WHERE started_at < :before AND booked_at < (SELECT value FROM usage_marks WHERE name = 'summed');

-- name: read_levels()
SELECT scope, owner, kind, value, at FROM limit_levels;

-- name: put_level(scope, owner, kind, value, at)!
INSERT INTO limit_levels (scope, owner, kind, value, at) VALUES (:scope, :owner, :kind, :value, :at)
ON CONFLICT (scope, owner, kind) DO UPDATE SET value = excluded.value, at = excluded.at;

-- name: delete_levels(before)!
DELETE FROM limit_levels WHERE at < :before;
