-- Authorization requests store their resource, and their flow as one text that the ceremony writes and reads. Their
-- lookups are in a separate table. One request may become several sessions.

CREATE TABLE authorization_requests (
    seq             INTEGER PRIMARY KEY,
    id              TEXT    NOT NULL UNIQUE,
    resource        TEXT    NOT NULL,
    flow            TEXT    NOT NULL,
    client_name     TEXT    NOT NULL,
    client_label    TEXT,
    client_kind     TEXT,
    client_instance TEXT,
    client_address  TEXT,
    client_method   TEXT,
    source          TEXT, -- what the caps count: an IPv4 address or an IPv6 /64
    requested       TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    account_id      TEXT,
    account_label   TEXT,
    state           TEXT    NOT NULL
                    CHECK (state IN ('pending', 'approved', 'denied', 'redeemed', 'revoked', 'locked')),
    granted         TEXT,
    failed_attempts INTEGER NOT NULL DEFAULT 0,
    CHECK ((account_id IS NULL) = (account_label IS NULL)),
    CHECK ((granted IS NOT NULL) = (state IN ('approved', 'redeemed')))
) STRICT;

CREATE TABLE authorization_lookups (
    lookup  BLOB NOT NULL PRIMARY KEY CHECK (length(lookup) = 32),
    request TEXT NOT NULL REFERENCES authorization_requests (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX authorization_lookups_by_request ON authorization_lookups (request);

-- An old request gets the resource of the sessions, if they all have the same. Otherwise it is dropped, and its agent
-- must request access again.
INSERT INTO authorization_requests (id, resource, flow, client_name, client_label, client_kind, client_instance,
        client_address, client_method, source, requested, created_at, expires_at, account_id, account_label, state,
        granted, failed_attempts)
    SELECT id, known.resource,
        json_object(
            'flow', CASE mode WHEN 'detached_or_finish_code' THEN 'detached' ELSE mode END,
            'version', 1,
            'poll', nullif(lower(hex(poll)), ''),
            'exchange', nullif(lower(hex(exchange)), ''),
            'finish_code', json(CASE mode WHEN 'detached_or_finish_code' THEN 'true' WHEN 'detached' THEN 'false' END),
            'callback', callback,
            'state', callback_state,
            'challenge', nullif(lower(hex(challenge)), ''),
            'code', json(CASE WHEN code IS NOT NULL
                THEN json_object('digest', lower(hex(code)), 'expires_at', code_expires_at) END)
        ),
        client_name, client_label, client_kind, client_instance, client_address, client_method, source, requested,
        created_at, expires_at, account_id, account_label,
        CASE state WHEN 'exchanged' THEN 'redeemed' ELSE state END, granted, misses
    FROM registrations, (SELECT min(resource) AS resource FROM sessions HAVING count(DISTINCT resource) = 1) AS known
    ORDER BY seq;

INSERT INTO authorization_lookups (lookup, request)
    SELECT claim, id FROM registrations JOIN authorization_requests USING (id) WHERE claim IS NOT NULL;

DROP TABLE registrations;

CREATE INDEX authorization_requests_by_expiry ON authorization_requests (expires_at);
CREATE INDEX authorization_requests_pending ON authorization_requests (expires_at) WHERE state = 'pending';
CREATE INDEX authorization_requests_pending_by_source ON authorization_requests (source, expires_at)
    WHERE state = 'pending';
CREATE INDEX authorization_requests_approved ON authorization_requests (account_id) WHERE state = 'approved';

CREATE TABLE sessions_2 (
    seq                INTEGER PRIMARY KEY AUTOINCREMENT,
    id                 TEXT    NOT NULL UNIQUE,
    request            TEXT    NOT NULL,
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

INSERT INTO sessions_2 (seq, id, request, access, resource, account_id, account_label, client_name, client_label,
        client_kind, client_instance, client_address, client_method, granted, scopes, created_at, redeemer_address,
        redeemer_program, expires_at, refresh_expires_at, generation, refreshed_at, refresh_salt, last_use_at,
        last_use_address, revoked_at, revoked_by)
    SELECT seq, id, registration, access, resource, account_id, account_label, client_name, client_label,
        client_kind, client_instance, client_address, client_method, granted, scopes, created_at, redeemer_address,
        redeemer_program, expires_at, refresh_expires_at, generation, refreshed_at, refresh_salt, last_use_at,
        last_use_address, revoked_at, revoked_by
    FROM sessions;

CREATE TABLE refresh_tokens_2 (
    refresh    BLOB    NOT NULL PRIMARY KEY CHECK (length(refresh) = 32),
    session    TEXT    NOT NULL REFERENCES sessions_2 (id) ON DELETE CASCADE,
    generation INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL,
    UNIQUE (session, generation)
) STRICT, WITHOUT ROWID;

INSERT INTO refresh_tokens_2 (refresh, session, generation, ends_at)
    SELECT refresh, session, generation, ends_at FROM refresh_tokens;

DROP TABLE refresh_tokens;
DROP TABLE sessions;
ALTER TABLE sessions_2 RENAME TO sessions;
ALTER TABLE refresh_tokens_2 RENAME TO refresh_tokens;

CREATE INDEX sessions_by_account ON sessions (account_id, seq);
CREATE INDEX sessions_by_end ON sessions (refresh_expires_at);
CREATE INDEX sessions_by_request ON sessions (request);
CREATE INDEX refresh_tokens_by_end ON refresh_tokens (ends_at);

PRAGMA user_version = 4;
