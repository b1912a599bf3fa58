-- name: put_response(id, owner, previous, created_at, expires_at, items, response)!
INSERT INTO stored_responses (id, owner, previous, created_at, expires_at, items, response)
VALUES (:id, :owner, :previous, :created_at, :expires_at, :items, :response)
ON CONFLICT (id) DO NOTHING;

-- name: prolong_conversation(id, owner, expires_at)!
-- The turns before a response live as long as it does.
WITH RECURSIVE turns (id, previous) AS (
    SELECT id, previous FROM stored_responses WHERE id = :id AND owner = :owner
    UNION ALL
    SELECT earlier.id, earlier.previous
    FROM stored_responses AS earlier JOIN turns ON earlier.id = turns.previous
    WHERE earlier.owner = :owner
)
UPDATE stored_responses SET expires_at = :expires_at
WHERE id IN (SELECT id FROM turns) AND expires_at < :expires_at;

-- name: read_conversation(id, owner, now)
-- The first turn first.
WITH RECURSIVE turns (id, previous, items, depth) AS (
    SELECT id, previous, items, 0 FROM stored_responses WHERE id = :id AND owner = :owner AND expires_at > :now
    UNION ALL
    SELECT earlier.id, earlier.previous, earlier.items, turns.depth + 1
    FROM stored_responses AS earlier JOIN turns ON earlier.id = turns.previous
    WHERE earlier.owner = :owner
)
SELECT previous, items FROM turns ORDER BY depth DESC;

-- name: read_response(id, owner, now)^
SELECT response FROM stored_responses WHERE id = :id AND owner = :owner AND expires_at > :now;

-- name: delete_response(id, owner, now)^
DELETE FROM stored_responses WHERE id = :id AND owner = :owner AND expires_at > :now RETURNING id;

-- name: delete_expired_responses(now)!
DELETE FROM stored_responses WHERE expires_at <= :now;
