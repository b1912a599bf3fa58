-- name: read_providers()
SELECT id, name, type, base_url, timeouts, retries, breaker, pool, headers, options, limits, active, source
FROM providers ORDER BY name;

-- name: read_accounts()
SELECT id, provider_id, name, api_key, origin, weight, limits, active, enabled
FROM provider_accounts ORDER BY provider_id, place, name;

-- name: read_models()
SELECT llm_models.id, llm_models.name, providers.name, llm_models.upstream_model, llm_models.limits,
    llm_models.price_input, llm_models.price_output, llm_models.price_cached_input, llm_models.price_cache_write,
    llm_models.price_reasoning, llm_models.capabilities, llm_models.context_window, llm_models.max_output,
    llm_models.active, llm_models.source
FROM llm_models JOIN providers ON providers.id = llm_models.provider_id
ORDER BY llm_models.name;

-- name: read_subscriptions()
SELECT id, name, limits, user_limits, active, source FROM subscriptions ORDER BY name;

-- name: read_routes()
SELECT id, subscription_id, requested_name, strategy, max_wait, hedge
FROM routes ORDER BY subscription_id, requested_name;

-- name: read_targets()
SELECT quota_items.route_id, llm_models.name, providers.name, quota_items.weight, quota_items.priority
FROM quota_items
LEFT JOIN llm_models ON llm_models.id = quota_items.llm_model_id
LEFT JOIN providers ON providers.id = quota_items.provider_id
ORDER BY quota_items.route_id, quota_items.place;

-- name: put_provider(id, name, type, base_url, timeouts, retries, breaker, pool, headers, options, limits, active, source)!
INSERT INTO providers (id, name, type, base_url, timeouts, retries, breaker, pool, headers, options, limits, active, source)
VALUES (:id, :name, :type, :base_url, :timeouts, :retries, :breaker, :pool, :headers, :options, :limits, :active, :source)
ON CONFLICT (id) DO UPDATE SET type = excluded.type, base_url = excluded.base_url, timeouts = excluded.timeouts,
    retries = excluded.retries, breaker = excluded.breaker, pool = excluded.pool, headers = excluded.headers,
    options = excluded.options, limits = excluded.limits, active = excluded.active, source = excluded.source;

-- name: delete_provider(id)!
DELETE FROM providers WHERE id = :id;

-- name: put_account(id, provider_id, name, place, api_key, origin, weight, limits, active)!
INSERT INTO provider_accounts (id, provider_id, name, place, api_key, origin, weight, limits, active)
VALUES (:id, :provider_id, :name, :place, :api_key, :origin, :weight, :limits, :active)
ON CONFLICT (id) DO UPDATE SET place = excluded.place, api_key = excluded.api_key, origin = excluded.origin,
    weight = excluded.weight, limits = excluded.limits, active = excluded.active;

-- name: delete_account(id)!
DELETE FROM provider_accounts WHERE id = :id;

-- name: put_model(id, name, provider_id, upstream_model, limits, price_input, price_output, price_cached_input, price_cache_write, price_reasoning, capabilities, context_window, max_output, active, source)!
INSERT INTO llm_models (id, name, provider_id, upstream_model, limits, price_input, price_output, price_cached_input,
    price_cache_write, price_reasoning, capabilities, context_window, max_output, active, source)
VALUES (:id, :name, :provider_id, :upstream_model, :limits, :price_input, :price_output, :price_cached_input,
    :price_cache_write, :price_reasoning, :capabilities, :context_window, :max_output, :active, :source)
ON CONFLICT (id) DO UPDATE SET provider_id = excluded.provider_id, upstream_model = excluded.upstream_model,
    limits = excluded.limits, price_input = excluded.price_input, price_output = excluded.price_output,
    price_cached_input = excluded.price_cached_input, price_cache_write = excluded.price_cache_write,
    price_reasoning = excluded.price_reasoning, capabilities = excluded.capabilities,
    context_window = excluded.context_window, max_output = excluded.max_output, active = excluded.active,
    source = excluded.source;

-- name: delete_model(id)!
DELETE FROM llm_models WHERE id = :id;

-- name: put_subscription(id, name, limits, user_limits, active, source)!
INSERT INTO subscriptions (id, name, limits, user_limits, active, source)
VALUES (:id, :name, :limits, :user_limits, :active, :source)
ON CONFLICT (id) DO UPDATE SET limits = excluded.limits, user_limits = excluded.user_limits, active = excluded.active,
    source = excluded.source;

-- name: delete_subscription(id)!
DELETE FROM subscriptions WHERE id = :id;

-- name: put_route(id, subscription_id, requested_name, strategy, max_wait, hedge)!
INSERT INTO routes (id, subscription_id, requested_name, strategy, max_wait, hedge)
VALUES (:id, :subscription_id, :requested_name, :strategy, :max_wait, :hedge)
ON CONFLICT (id) DO UPDATE SET strategy = excluded.strategy, max_wait = excluded.max_wait, hedge = excluded.hedge;

-- name: delete_route(id)!
DELETE FROM routes WHERE id = :id;

-- name: delete_targets(route_id)!
DELETE FROM quota_items WHERE route_id = :route_id;

-- name: put_target(id, route_id, place, llm_model_id, provider_id, weight, priority)!
INSERT INTO quota_items (id, route_id, place, llm_model_id, provider_id, weight, priority)
VALUES (:id, :route_id, :place, :llm_model_id, :provider_id, :weight, :priority);

-- name: enable_account(id, version)
UPDATE provider_accounts SET active = 1, enabled = :version WHERE id = :id RETURNING id;

-- name: disable_account(id)
UPDATE provider_accounts SET active = 0 WHERE id = :id RETURNING id;
