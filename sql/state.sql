-- name: read_state()^
-- born: when the database was made. Versions of different databases cannot be compared.
SELECT version, catalog_version, limits, applied, (SELECT MIN(applied_at) FROM apipod_migrations) AS born
FROM apipod_state WHERE id = 1;

-- name: bump_version(whole)^
-- Takes the lock that lets one writer at a time change the catalog: versions are in the order of commits.
UPDATE apipod_state
SET version = version + 1, catalog_version = CASE WHEN :whole = 1 THEN version + 1 ELSE catalog_version END
WHERE id = 1
RETURNING version;

-- name: put_limits(limits)!
UPDATE apipod_state SET limits = :limits WHERE id = 1;

-- name: put_applied(applied)!
UPDATE apipod_state SET applied = :applied WHERE id = 1;

-- name: read_migrations()
SELECT number, name FROM apipod_migrations ORDER BY number;

-- name: put_migration(number, name, applied_at)!
INSERT INTO apipod_migrations (number, name, applied_at) VALUES (:number, :name, :applied_at);

-- name: take_lock(name, owner, expires_at, now)^
INSERT INTO apipod_locks AS held (name, owner, expires_at) VALUES (:name, :owner, :expires_at)
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
WHERE held.owner = excluded.owner OR held.expires_at <= :now
RETURNING owner;

-- name: drop_lock(name, owner)!
DELETE FROM apipod_locks WHERE name = :name AND owner = :owner;
