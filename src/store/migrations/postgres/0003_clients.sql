-- Authorization requests and sessions store the id of the OAuth client, if there is one. Clients that registered
-- themselves are stored, and those of them are counted that have never been used.

ALTER TABLE authorization_requests ADD COLUMN client_id TEXT;
ALTER TABLE sessions ADD COLUMN client_id TEXT;

CREATE TABLE clients (
    id         TEXT   NOT NULL PRIMARY KEY,
    metadata   TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    used_at    BIGINT
);

CREATE INDEX clients_unused ON clients (created_at) WHERE used_at IS NULL;
CREATE INDEX clients_by_use ON clients (used_at) WHERE used_at IS NOT NULL;

CREATE TABLE client_counts (
    id     BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    unused BIGINT NOT NULL CHECK (unused >= 0)
);

INSERT INTO client_counts (id, unused) VALUES (1, 0);
