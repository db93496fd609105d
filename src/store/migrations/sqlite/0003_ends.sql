-- What has ended long ago is found by its end.

ALTER TABLE refresh_tokens ADD COLUMN ends_at INTEGER NOT NULL DEFAULT 0;

UPDATE refresh_tokens SET ends_at = (SELECT refresh_expires_at FROM sessions WHERE id = refresh_tokens.session);

CREATE INDEX refresh_tokens_by_end ON refresh_tokens (ends_at);
CREATE INDEX sessions_by_end ON sessions (refresh_expires_at);

PRAGMA user_version = 3;
