-- Authorization requests store their resource, and their flow as one text that the ceremony writes and reads. Their
-- lookups are in a separate table. One request may become several sessions.

CREATE TABLE authorization_requests (
    seq             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id              TEXT   NOT NULL UNIQUE,
    resource        TEXT   NOT NULL,
    flow            TEXT   NOT NULL,
    client_name     TEXT   NOT NULL,
    client_label    TEXT,
    client_kind     TEXT,
    client_instance TEXT,
    client_address  TEXT,
    client_method   TEXT,
    source          TEXT, -- what the caps count: an IPv4 address or an IPv6 /64
    requested       TEXT   NOT NULL,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    account_id      TEXT,
    account_label   BYTEA,
    state           TEXT   NOT NULL
                    CHECK (state IN ('pending', 'approved', 'denied', 'redeemed', 'revoked', 'locked')),
    granted         TEXT,
    failed_attempts BIGINT NOT NULL DEFAULT 0,
    CHECK ((account_id IS NULL) = (account_label IS NULL)),
    CHECK ((granted IS NOT NULL) = (state IN ('approved', 'redeemed')))
);

CREATE TABLE authorization_lookups (
    lookup  BYTEA NOT NULL PRIMARY KEY CHECK (length(lookup) = 32),
    request TEXT  NOT NULL REFERENCES authorization_requests (id) ON DELETE CASCADE
);

CREATE INDEX authorization_lookups_by_request ON authorization_lookups (request);

-- An old request gets the resource of the sessions, if they all have the same. Otherwise it is dropped, as is one with
-- a NUL byte in its callback state. The agent must then request access again.
INSERT INTO authorization_requests (id, resource, flow, client_name, client_label, client_kind, client_instance,
        client_address, client_method, source, requested, created_at, expires_at, account_id, account_label, state,
        granted, failed_attempts)
    SELECT id, known.resource,
        json_strip_nulls(json_build_object(
            'flow', CASE mode WHEN 'detached_or_finish_code' THEN 'detached' ELSE mode END,
            'version', 1,
            'poll', encode(poll, 'hex'),
            'exchange', encode(exchange, 'hex'),
            'finish_code', CASE mode WHEN 'detached_or_finish_code' THEN true WHEN 'detached' THEN false END,
            'callback', callback,
            'state', convert_from(callback_state, 'UTF8'),
            'challenge', encode(challenge, 'hex'),
            'code', CASE WHEN code IS NOT NULL
                THEN json_build_object('digest', encode(code, 'hex'), 'expires_at', code_expires_at) END
        ))::text,
        client_name, client_label, client_kind, client_instance, client_address, client_method, source, requested,
        created_at, expires_at, account_id, account_label,
        CASE state WHEN 'exchanged' THEN 'redeemed' ELSE state END, granted, misses
    FROM registrations, (SELECT min(resource) AS resource FROM sessions HAVING count(DISTINCT resource) = 1) AS known
    WHERE callback_state IS NULL OR position('\x00'::bytea IN callback_state) = 0
    ORDER BY seq;

INSERT INTO authorization_lookups (lookup, request)
    SELECT claim, id FROM registrations JOIN authorization_requests USING (id) WHERE claim IS NOT NULL;

DROP TABLE registrations;

CREATE INDEX authorization_requests_by_expiry ON authorization_requests (expires_at);
CREATE INDEX authorization_requests_pending ON authorization_requests (expires_at) WHERE state = 'pending';
CREATE INDEX authorization_requests_pending_by_source ON authorization_requests (source, expires_at)
    WHERE state = 'pending';
CREATE INDEX authorization_requests_approved ON authorization_requests (account_id) WHERE state = 'approved';

ALTER TABLE sessions RENAME COLUMN registration TO request;
ALTER TABLE sessions DROP CONSTRAINT sessions_registration_key;
CREATE INDEX sessions_by_request ON sessions (request);
