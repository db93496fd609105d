-- Authorization requests and sessions store the id of the OAuth client, if there is one. Clients that registered
-- themselves are stored, and those of them are counted that have never been used.

ALTER TABLE authorization_requests ADD COLUMN client_id TEXT;
ALTER TABLE sessions ADD COLUMN client_id TEXT;

CREATE TABLE clients (
    id         TEXT    NOT NULL PRIMARY KEY,
    metadata   TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    used_at    INTEGER
) STRICT;

CREATE INDEX clients_unused ON clients (created_at) WHERE used_at IS NULL;
CREATE INDEX clients_by_use ON clients (used_at) WHERE used_at IS NOT NULL;

CREATE TABLE client_counts (
    id     INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    unused INTEGER NOT NULL CHECK (unused >= 0)
) STRICT;

INSERT INTO client_counts (id, unused) VALUES (1, 0);

PRAGMA user_version = 5;
