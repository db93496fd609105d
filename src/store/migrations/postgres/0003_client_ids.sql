-- Authorization requests and sessions store the id of the OAuth client, if there is one.

ALTER TABLE authorization_requests ADD COLUMN client_id TEXT;
ALTER TABLE sessions ADD COLUMN client_id TEXT;
