-- Identities of other issuers are linked to accounts. Tokens of these issuers that may be used once are remembered.

CREATE TABLE identities (
    identity      BYTEA  NOT NULL PRIMARY KEY CHECK (length(identity) = 32),
    account_id    TEXT   NOT NULL,
    account_label BYTEA  NOT NULL,
    linked_at     BIGINT NOT NULL
);

CREATE INDEX identities_by_account ON identities (account_id, identity);

CREATE TABLE used_tokens (
    token    BYTEA  NOT NULL PRIMARY KEY CHECK (length(token) = 32),
    until_at BIGINT NOT NULL
);

CREATE INDEX used_tokens_by_end ON used_tokens (until_at);
