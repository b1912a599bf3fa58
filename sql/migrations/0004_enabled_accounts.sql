-- The version of the catalog with which an admin enabled the account last: what processes held against it before is over.
ALTER TABLE provider_accounts ADD COLUMN enabled BIGINT NOT NULL DEFAULT 0;
