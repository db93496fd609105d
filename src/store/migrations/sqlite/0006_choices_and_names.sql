-- Clients state a reason, humans choose how long a session lasts and name it. Further claims of a client are one JSON
-- object, so that the next one needs no column. All requests of an account are found by one index.

ALTER TABLE authorization_requests ADD COLUMN client_claims TEXT;
ALTER TABLE authorization_requests ADD COLUMN lasting INTEGER; -- milliseconds
ALTER TABLE sessions ADD COLUMN client_claims TEXT;
ALTER TABLE sessions ADD COLUMN lasts_until INTEGER;
ALTER TABLE sessions ADD COLUMN name TEXT;

DROP INDEX authorization_requests_approved;
CREATE INDEX authorization_requests_by_account ON authorization_requests (account_id, id) WHERE account_id IS NOT NULL;

PRAGMA user_version = 6;
