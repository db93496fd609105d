-- Instants are milliseconds since the Unix epoch, scopes are space-separated, digests are SHA-256.

CREATE TABLE registrations (
    seq            INTEGER PRIMARY KEY,
    id             TEXT    NOT NULL UNIQUE,
    claim          BLOB    NOT NULL UNIQUE CHECK (length(claim) = 32),
    client_name    TEXT    NOT NULL,
    client_label   TEXT,
    client_address TEXT,
    client_method  TEXT,
    source         TEXT, -- whom the caps count it against: an IPv4 address or an IPv6 /64
    requested      TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    account_id     TEXT,
    account_label  TEXT,
    state          TEXT    NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'exchanged', 'revoked')),
    granted        TEXT,
    CHECK ((account_id IS NULL) = (account_label IS NULL)),
    CHECK ((granted IS NOT NULL) = (state IN ('approved', 'exchanged')))
) STRICT;

CREATE INDEX registrations_by_expiry ON registrations (expires_at);
CREATE INDEX registrations_pending ON registrations (expires_at) WHERE state = 'pending';
CREATE INDEX registrations_pending_by_source ON registrations (source, expires_at) WHERE state = 'pending';
CREATE INDEX registrations_approved ON registrations (account_id) WHERE state = 'approved';

-- No foreign key to registrations: those are forgotten, sessions are not.
CREATE TABLE sessions (
    seq                INTEGER PRIMARY KEY AUTOINCREMENT,
    id                 TEXT    NOT NULL UNIQUE,
    registration       TEXT    NOT NULL UNIQUE,
    access             BLOB    NOT NULL UNIQUE CHECK (length(access) = 32),
    refresh            BLOB    NOT NULL UNIQUE CHECK (length(refresh) = 32),
    resource           TEXT    NOT NULL,
    account_id         TEXT    NOT NULL,
    account_label      TEXT    NOT NULL,
    client_name        TEXT    NOT NULL,
    client_label       TEXT,
    client_address     TEXT,
    client_method      TEXT,
    scopes             TEXT    NOT NULL,
    created_at         INTEGER NOT NULL,
    expires_at         INTEGER NOT NULL,
    refresh_expires_at INTEGER NOT NULL,
    last_use_at        INTEGER,
    last_use_address   TEXT,
    revoked_at         INTEGER,
    revoked_by         TEXT CHECK (revoked_by IN ('agent', 'human', 'service')),
    CHECK (last_use_at IS NOT NULL OR last_use_address IS NULL),
    CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
) STRICT;

CREATE INDEX sessions_by_account ON sessions (account_id, seq);

-- 'aga1' and the number of this migration: they tell the store's own file from others, and its age.
PRAGMA application_id = 0x61676131;
PRAGMA user_version = 1;
