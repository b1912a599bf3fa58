-- name: read_users(since)
-- Those changed after a version; where it is 0, all that are not deleted.
SELECT users.id, users.name, subscriptions.name, users.role, users.limits, users.active, users.expires_at, users.source, users.deleted
FROM users LEFT JOIN subscriptions ON subscriptions.id = users.subscription_id
WHERE users.version > :since AND (users.deleted = 0 OR :since > 0);

-- name: read_keys(since)
SELECT api_keys.id, users.name, api_keys.name, api_keys.digest, api_keys.prefix, api_keys.limits, api_keys.allowed_models,
    api_keys.allowed_providers, api_keys.active, api_keys.revoked_at, api_keys.expires_at, api_keys.created_at, api_keys.source,
    api_keys.deleted
FROM api_keys JOIN users ON users.id = api_keys.user_id
WHERE api_keys.version > :since AND (api_keys.deleted = 0 OR :since > 0);

-- name: read_buried_keys()
-- Revoked, and then deleted.
SELECT digest FROM api_keys WHERE deleted = 1 AND revoked_at IS NOT NULL;

-- name: put_user(id, name, subscription_id, role, limits, active, expires_at, source, version)!
INSERT INTO users (id, name, subscription_id, role, limits, active, expires_at, source, deleted, version)
VALUES (:id, :name, :subscription_id, :role, :limits, :active, :expires_at, :source, 0, :version)
ON CONFLICT (id) DO UPDATE SET subscription_id = excluded.subscription_id, role = excluded.role, limits = excluded.limits,
    active = excluded.active, expires_at = excluded.expires_at, source = excluded.source, deleted = 0, version = excluded.version;

-- name: delete_user(id, version)!
UPDATE users SET deleted = 1, subscription_id = NULL, version = :version WHERE id = :id;

-- name: put_key(id, user_id, name, digest, prefix, limits, allowed_models, allowed_providers, active, revoked_at, expires_at, created_at, source, version)!
-- A key that was revoked stays so.
INSERT INTO api_keys (id, user_id, name, digest, prefix, limits, allowed_models, allowed_providers, active, revoked_at, expires_at,
    created_at, source, deleted, version)
VALUES (:id, :user_id, :name, :digest, :prefix, :limits, :allowed_models, :allowed_providers, :active, :revoked_at, :expires_at,
    :created_at, :source, 0, :version)
ON CONFLICT (digest) DO UPDATE SET user_id = excluded.user_id, name = excluded.name, prefix = excluded.prefix,
    limits = excluded.limits, allowed_models = excluded.allowed_models, allowed_providers = excluded.allowed_providers,
    active = excluded.active, expires_at = excluded.expires_at, source = excluded.source, deleted = 0, version = excluded.version;

-- name: delete_key(digest, version)!
UPDATE api_keys SET deleted = 1, version = :version WHERE digest = :digest;

-- name: revoke_key(digest, revoked_at, version)!
UPDATE api_keys SET revoked_at = :revoked_at, version = :version WHERE digest = :digest AND revoked_at IS NULL;

-- name: find_user(name)^
SELECT users.id, users.name, subscriptions.name, users.role, users.limits, users.active, users.expires_at, users.source, users.deleted
FROM users LEFT JOIN subscriptions ON subscriptions.id = users.subscription_id
WHERE users.name = :name;

-- name: find_subscription(name)^
SELECT id FROM subscriptions WHERE name = :name;

-- name: find_keys(what, digest)
-- By id, by the key itself, by what is shown of it, or by name.
SELECT api_keys.id, users.name, api_keys.name, api_keys.digest, api_keys.prefix, api_keys.limits, api_keys.allowed_models,
    api_keys.allowed_providers, api_keys.active, api_keys.revoked_at, api_keys.expires_at, api_keys.created_at, api_keys.source,
    api_keys.deleted
FROM api_keys JOIN users ON users.id = api_keys.user_id
WHERE api_keys.deleted = 0
    AND (api_keys.id = :what OR api_keys.digest = :digest OR api_keys.prefix = :what OR api_keys.name = :what)
ORDER BY api_keys.created_at, api_keys.id;
