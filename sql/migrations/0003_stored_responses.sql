-- Responses that clients may go on from. ``items`` is what the turn added to its conversation, ``previous`` the turn before it.
CREATE TABLE stored_responses (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    previous TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    items TEXT NOT NULL,
    response TEXT NOT NULL
);

CREATE INDEX stored_responses_expires ON stored_responses (expires_at);
