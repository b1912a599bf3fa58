-- Times are UTC epoch milliseconds, money is nano-dollars, JSON is text, booleans are 0 or 1, ids are made by the program.

CREATE TABLE apipod_migrations (
    number BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at BIGINT NOT NULL
);

-- One row. Every change of catalog or keys raises version; catalog_version is the last one that changed more than users and keys.
CREATE TABLE apipod_state (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    version BIGINT NOT NULL,
    catalog_version BIGINT NOT NULL,
    limits TEXT NOT NULL,
    applied TEXT NOT NULL
);

INSERT INTO apipod_state (id, version, catalog_version, limits, applied) VALUES (1, 1, 1, '', '');

-- Leases of periodic jobs.
CREATE TABLE apipod_locks (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE providers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    base_url TEXT NOT NULL,
    timeouts TEXT NOT NULL,
    retries TEXT NOT NULL,
    breaker TEXT NOT NULL,
    pool TEXT NOT NULL,
    headers TEXT NOT NULL,
    options TEXT NOT NULL,
    limits TEXT NOT NULL,
    active BIGINT NOT NULL,
    source TEXT NOT NULL
);

-- api_key is encrypted; origin is the ${NAME} that it came from, or empty.
CREATE TABLE provider_accounts (
    id TEXT PRIMARY KEY,
    provider_id TEXT NOT NULL REFERENCES providers (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    place BIGINT NOT NULL,
    api_key TEXT NOT NULL,
    origin TEXT NOT NULL,
    weight DOUBLE PRECISION NOT NULL,
    limits TEXT NOT NULL,
    active BIGINT NOT NULL,
    UNIQUE (provider_id, name)
);

-- Prices are nano-dollars per token; where price_input is null there is none.
CREATE TABLE llm_models (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    provider_id TEXT NOT NULL REFERENCES providers (id),
    upstream_model TEXT NOT NULL,
    limits TEXT NOT NULL,
    price_input BIGINT,
    price_output BIGINT,
    price_cached_input BIGINT,
    price_cache_write BIGINT,
    price_reasoning BIGINT,
    capabilities TEXT,
    context_window BIGINT,
    max_output BIGINT,
    active BIGINT NOT NULL,
    source TEXT NOT NULL
);

CREATE INDEX llm_models_provider ON llm_models (provider_id);

CREATE TABLE subscriptions (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    limits TEXT NOT NULL,
    user_limits TEXT NOT NULL,
    active BIGINT NOT NULL,
    source TEXT NOT NULL
);

CREATE TABLE routes (
    id TEXT PRIMARY KEY,
    subscription_id TEXT NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    requested_name TEXT NOT NULL,
    strategy TEXT NOT NULL,
    max_wait DOUBLE PRECISION NOT NULL,
    hedge BIGINT NOT NULL,
    UNIQUE (subscription_id, requested_name)
);

CREATE TABLE quota_items (
    id TEXT PRIMARY KEY,
    route_id TEXT NOT NULL REFERENCES routes (id) ON DELETE CASCADE,
    place BIGINT NOT NULL,
    llm_model_id TEXT REFERENCES llm_models (id),
    provider_id TEXT REFERENCES providers (id),
    weight DOUBLE PRECISION NOT NULL,
    priority BIGINT NOT NULL,
    CHECK ((llm_model_id IS NULL) <> (provider_id IS NULL))
);

CREATE INDEX quota_items_route ON quota_items (route_id);
CREATE INDEX quota_items_model ON quota_items (llm_model_id);
CREATE INDEX quota_items_provider ON quota_items (provider_id);

-- Users and keys that are gone stay as rows with deleted = 1, so that what changed since a version can be asked for.
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    subscription_id TEXT REFERENCES subscriptions (id),
    role TEXT NOT NULL,
    limits TEXT NOT NULL,
    active BIGINT NOT NULL,
    expires_at BIGINT,
    source TEXT NOT NULL,
    deleted BIGINT NOT NULL,
    version BIGINT NOT NULL
);

CREATE INDEX users_version ON users (version);
CREATE INDEX users_subscription ON users (subscription_id);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    limits TEXT NOT NULL,
    allowed_models TEXT,
    allowed_providers TEXT,
    active BIGINT NOT NULL,
    revoked_at BIGINT,
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    source TEXT NOT NULL,
    deleted BIGINT NOT NULL,
    version BIGINT NOT NULL
);

CREATE INDEX api_keys_version ON api_keys (version);
CREATE INDEX api_keys_user ON api_keys (user_id);

-- One row per request, appended and never changed. No foreign keys: a row outlives what it speaks of, and none is ever refused.
CREATE TABLE usage_logs (
    request_id TEXT PRIMARY KEY,
    client_request_id TEXT,
    started_at BIGINT NOT NULL,
    user_id TEXT,
    api_key_id TEXT,
    subscription_id TEXT,
    path TEXT NOT NULL,
    dialect TEXT NOT NULL,
    requested_model TEXT,
    routed_model TEXT,
    provider TEXT,
    account TEXT,
    status BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    streamed BIGINT NOT NULL,
    input_tokens BIGINT,
    cache_read_tokens BIGINT,
    cache_write_tokens BIGINT,
    output_tokens BIGINT,
    reasoning_tokens BIGINT,
    estimated BIGINT NOT NULL,
    ttft_ms BIGINT,
    duration_ms BIGINT NOT NULL,
    attempts TEXT NOT NULL,
    cost_nano BIGINT
);

CREATE INDEX usage_logs_started ON usage_logs (started_at);

-- What limits had used when they were last saved.
CREATE TABLE limit_levels (
    scope TEXT NOT NULL,
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    value BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (scope, owner, kind)
);
