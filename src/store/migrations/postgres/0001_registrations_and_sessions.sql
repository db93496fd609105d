-- Instants are milliseconds since the Unix epoch, scopes are space-separated, digests are SHA-256. What a host or an agent
-- chose freely is kept as bytes of UTF-8, since a text of PostgreSQL can't hold every character.

CREATE TABLE registrations (
    seq             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id              TEXT   NOT NULL UNIQUE,
    mode            TEXT   NOT NULL
                    CHECK (mode IN ('claim', 'browser', 'detached', 'detached_or_finish_code', 'finish_code')),
    claim           BYTEA  UNIQUE CHECK (length(claim) = 32),
    poll            BYTEA  CHECK (length(poll) = 32),
    exchange        BYTEA  CHECK (length(exchange) = 32),
    callback        TEXT,
    callback_state  BYTEA,
    challenge       BYTEA  CHECK (length(challenge) = 32),
    client_name     TEXT   NOT NULL,
    client_label    TEXT,
    client_kind     TEXT,
    client_instance TEXT,
    client_address  TEXT,
    client_method   TEXT,
    source          TEXT, -- whom the caps count it against: an IPv4 address or an IPv6 /64
    requested       TEXT   NOT NULL,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    account_id      TEXT,
    account_label   BYTEA,
    state           TEXT   NOT NULL
                    CHECK (state IN ('pending', 'approved', 'denied', 'exchanged', 'revoked', 'locked')),
    granted         TEXT,
    code            BYTEA  CHECK (length(code) = 32), -- handed out at approval: an exchange code for `browser`, else a finish code
    code_expires_at BIGINT,
    misses          BIGINT NOT NULL DEFAULT 0,
    CHECK ((claim IS NOT NULL) = (mode = 'claim')),
    CHECK ((poll IS NULL) = (mode = 'claim')),
    CHECK ((exchange IS NOT NULL) = (mode LIKE 'detached%')),
    CHECK ((callback IS NOT NULL) = (mode = 'browser')),
    CHECK ((challenge IS NOT NULL) = (mode = 'browser')),
    CHECK ((account_id IS NULL) = (account_label IS NULL)),
    CHECK ((granted IS NOT NULL) = (state IN ('approved', 'exchanged'))),
    CHECK ((code IS NULL) = (code_expires_at IS NULL))
);

CREATE INDEX registrations_by_expiry ON registrations (expires_at);
CREATE INDEX registrations_pending ON registrations (expires_at) WHERE state = 'pending';
CREATE INDEX registrations_pending_by_source ON registrations (source, expires_at) WHERE state = 'pending';
CREATE INDEX registrations_approved ON registrations (account_id) WHERE state = 'approved';

-- No foreign key to registrations: those are forgotten, sessions are not.
CREATE TABLE sessions (
    seq                BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id                 TEXT   NOT NULL UNIQUE,
    registration       TEXT   NOT NULL UNIQUE,
    access             BYTEA  NOT NULL UNIQUE CHECK (length(access) = 32),
    resource           TEXT   NOT NULL,
    account_id         TEXT   NOT NULL,
    account_label      BYTEA  NOT NULL,
    client_name        TEXT   NOT NULL,
    client_label       TEXT,
    client_kind        TEXT,
    client_instance    TEXT,
    client_address     TEXT,
    client_method      TEXT,
    granted            TEXT   NOT NULL,
    scopes             TEXT   NOT NULL,
    created_at         BIGINT NOT NULL,
    redeemer_address   TEXT,
    redeemer_program   TEXT,
    expires_at         BIGINT NOT NULL,
    refresh_expires_at BIGINT NOT NULL,
    generation         BIGINT NOT NULL DEFAULT 0, -- of its current refresh token
    refreshed_at       BIGINT,
    refresh_salt       BYTEA  CHECK (length(refresh_salt) = 32),
    last_use_at        BIGINT,
    last_use_address   TEXT,
    revoked_at         BIGINT,
    revoked_by         TEXT CHECK (revoked_by IN ('agent', 'human', 'service', 'reuse')),
    CHECK ((refreshed_at IS NULL) = (refresh_salt IS NULL)),
    CHECK (last_use_at IS NOT NULL OR last_use_address IS NULL),
    CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);

CREATE INDEX sessions_by_account ON sessions (account_id, seq);
CREATE INDEX sessions_by_end ON sessions (refresh_expires_at);

-- Refresh tokens of every generation: one that was used up and comes back tells of a theft, or of a lost answer.
CREATE TABLE refresh_tokens (
    refresh    BYTEA  NOT NULL PRIMARY KEY CHECK (length(refresh) = 32),
    session    TEXT   NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    generation BIGINT NOT NULL,
    ends_at    BIGINT NOT NULL,
    UNIQUE (session, generation)
);

CREATE INDEX refresh_tokens_by_end ON refresh_tokens (ends_at);
