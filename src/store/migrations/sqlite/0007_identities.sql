-- Identities of other issuers are linked to accounts. Tokens of these issuers that may be used once are remembered.

CREATE TABLE identities (
    identity      BLOB    NOT NULL PRIMARY KEY CHECK (length(identity) = 32),
    account_id    TEXT    NOT NULL,
    account_label TEXT    NOT NULL,
    linked_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX identities_by_account ON identities (account_id, identity);

CREATE TABLE used_tokens (
    token    BLOB    NOT NULL PRIMARY KEY CHECK (length(token) = 32),
    until_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX used_tokens_by_end ON used_tokens (until_at);

PRAGMA user_version = 7;
