-- Registrations live for minutes, yet one that waits for its human survives the migration.

CREATE TABLE registrations_2 (
    seq             INTEGER PRIMARY KEY,
    id              TEXT    NOT NULL UNIQUE,
    mode            TEXT    NOT NULL
                    CHECK (mode IN ('claim', 'browser', 'detached', 'detached_or_finish_code', 'finish_code')),
    claim           BLOB    UNIQUE CHECK (length(claim) = 32),
    poll            BLOB    CHECK (length(poll) = 32),
    exchange        BLOB    CHECK (length(exchange) = 32),
    callback        TEXT,
    callback_state  TEXT,
    challenge       BLOB    CHECK (length(challenge) = 32),
    client_name     TEXT    NOT NULL,
    client_label    TEXT,
    client_kind     TEXT,
    client_instance TEXT,
    client_address  TEXT,
    client_method   TEXT,
    source          TEXT, -- whom the caps count it against: an IPv4 address or an IPv6 /64
    requested       TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    account_id      TEXT,
    account_label   TEXT,
    state           TEXT    NOT NULL
                    CHECK (state IN ('pending', 'approved', 'denied', 'exchanged', 'revoked', 'locked')),
    granted         TEXT,
    code            BLOB    CHECK (length(code) = 32), -- handed out at approval: an exchange code for `browser`, else a finish code
    code_expires_at INTEGER,
    misses          INTEGER NOT NULL DEFAULT 0,
    CHECK ((claim IS NOT NULL) = (mode = 'claim')),
    CHECK ((poll IS NULL) = (mode = 'claim')),
    CHECK ((exchange IS NOT NULL) = (mode LIKE 'detached%')),
    CHECK ((callback IS NOT NULL) = (mode = 'browser')),
    CHECK ((challenge IS NOT NULL) = (mode = 'browser')),
    CHECK ((account_id IS NULL) = (account_label IS NULL)),
    CHECK ((granted IS NOT NULL) = (state IN ('approved', 'exchanged'))),
    CHECK ((code IS NULL) = (code_expires_at IS NULL))
) STRICT;

INSERT INTO registrations_2 (seq, id, mode, claim, client_name, client_label, client_address, client_method, source,
        requested, created_at, expires_at, account_id, account_label, state, granted)
    SELECT seq, id, 'claim', claim, client_name, client_label, client_address, client_method, source,
        requested, created_at, expires_at, account_id, account_label, state, granted
    FROM registrations;

DROP TABLE registrations;
ALTER TABLE registrations_2 RENAME TO registrations;

CREATE INDEX registrations_by_expiry ON registrations (expires_at);
CREATE INDEX registrations_pending ON registrations (expires_at) WHERE state = 'pending';
CREATE INDEX registrations_pending_by_source ON registrations (source, expires_at) WHERE state = 'pending';
CREATE INDEX registrations_approved ON registrations (account_id) WHERE state = 'approved';

CREATE TABLE sessions_2 (
    seq                INTEGER PRIMARY KEY AUTOINCREMENT,
    id                 TEXT    NOT NULL UNIQUE,
    registration       TEXT    NOT NULL UNIQUE,
    access             BLOB    NOT NULL UNIQUE CHECK (length(access) = 32),
    resource           TEXT    NOT NULL,
    account_id         TEXT    NOT NULL,
    account_label      TEXT    NOT NULL,
    client_name        TEXT    NOT NULL,
    client_label       TEXT,
    client_kind        TEXT,
    client_instance    TEXT,
    client_address     TEXT,
    client_method      TEXT,
    granted            TEXT    NOT NULL,
    scopes             TEXT    NOT NULL,
    created_at         INTEGER NOT NULL,
    redeemer_address   TEXT,
    redeemer_program   TEXT,
    expires_at         INTEGER NOT NULL,
    refresh_expires_at INTEGER NOT NULL,
    generation         INTEGER NOT NULL DEFAULT 0, -- of its current refresh token
    refreshed_at       INTEGER,
    refresh_salt       BLOB    CHECK (length(refresh_salt) = 32),
    last_use_at        INTEGER,
    last_use_address   TEXT,
    revoked_at         INTEGER,
    revoked_by         TEXT CHECK (revoked_by IN ('agent', 'human', 'service', 'reuse')),
    CHECK ((refreshed_at IS NULL) = (refresh_salt IS NULL)),
    CHECK (last_use_at IS NOT NULL OR last_use_address IS NULL),
    CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
) STRICT;

INSERT INTO sessions_2 (seq, id, registration, access, resource, account_id, account_label, client_name, client_label,
        client_address, client_method, granted, scopes, created_at, expires_at, refresh_expires_at, last_use_at,
        last_use_address, revoked_at, revoked_by)
    SELECT seq, id, registration, access, resource, account_id, account_label, client_name, client_label,
        client_address, client_method, scopes, scopes, created_at, expires_at, refresh_expires_at, last_use_at,
        last_use_address, revoked_at, revoked_by
    FROM sessions;

-- Refresh tokens of every generation: one that was used up and comes back tells of a theft, or of a lost answer.
CREATE TABLE refresh_tokens (
    refresh    BLOB    NOT NULL PRIMARY KEY CHECK (length(refresh) = 32),
    session    TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    generation INTEGER NOT NULL,
    UNIQUE (session, generation)
) STRICT, WITHOUT ROWID;

CREATE TEMPORARY TABLE carried AS SELECT refresh, id FROM sessions;

DROP TABLE sessions;
ALTER TABLE sessions_2 RENAME TO sessions;

INSERT INTO refresh_tokens (refresh, session, generation) SELECT refresh, id, 0 FROM carried;
DROP TABLE carried;

CREATE INDEX sessions_by_account ON sessions (account_id, seq);

PRAGMA user_version = 2;
