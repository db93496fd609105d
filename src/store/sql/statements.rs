//! All statements, shared by all SQL engines. `$n` is the n-th value. Names in braces are replaced for each engine.

use std::sync::Arc;

use super::super::columns::{AUTHORIZATION, CHECKED, CLIENT, IDENTITY, LINKED_IDENTITY, SESSION};

/// The SQL that differs between engines.
pub(in super::super) struct Syntax {
    /// The prefix of table names.
    pub(in super::super) schema: String,
    /// Whether `$4` has one or more scopes, all of them in `requested`.
    pub(in super::super) grantable: &'static str,
    /// The uses in `$1`, a JSON array of `[id, at, address]`, as rows.
    pub(in super::super) uses: &'static str,
    /// A condition that holds, and fails the statement on a read-only server.
    pub(in super::super) on_primary: &'static str,
    /// The time of the database server in milliseconds; null if there is no server.
    pub(in super::super) server_time: &'static str,
    /// Locks the rows of a subquery in its order, to avoid deadlocks.
    pub(in super::super) for_update: &'static str,
    /// The same, but skips rows that another writer has locked.
    pub(in super::super) skip_locked: &'static str,
}

impl Syntax {
    fn write(&self, template: &str) -> Arc<str> {
        let authorization = AUTHORIZATION.join(", ");
        let session = SESSION.join(", ");
        let checked = CHECKED.join(", ");
        let numbers = |count: usize| (1..=count).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
        let table = |name: &str| format!("{}{name}", self.schema);
        let sql = template
            .replace("{authorizations}", &table("authorization_requests"))
            .replace("{lookups}", &table("authorization_lookups"))
            .replace("{sessions}", &table("sessions"))
            .replace("{refresh_tokens}", &table("refresh_tokens"))
            .replace("{clients}", &table("clients"))
            .replace("{client_counts}", &table("client_counts"))
            .replace("{identities}", &table("identities"))
            .replace("{used_tokens}", &table("used_tokens"))
            .replace("{identity}", &IDENTITY.join(", "))
            .replace("{linked_identity}", &LINKED_IDENTITY.join(", "))
            .replace("{authorization}", &authorization)
            .replace("{session}", &session)
            .replace("{checked}", &checked)
            .replace("{client}", &CLIENT.join(", "))
            .replace("{client_values}", &numbers(CLIENT.len()))
            .replace("{authorization_values}", &numbers(AUTHORIZATION.len()))
            .replace("{session_values}", &numbers(SESSION.len()))
            .replace("{is_pending}", "coalesce(state, '') = 'pending' AND coalesce(expires_at, 0) > $2")
            .replace("{is_approved}", "coalesce(state, '') = 'approved' AND coalesce(expires_at, 0) > $2")
            .replace("{grantable}", self.grantable)
            .replace("{uses}", self.uses)
            .replace("{on_primary}", self.on_primary)
            .replace("{server_time}", self.server_time)
            .replace("{for_update}", self.for_update)
            .replace("{skip_locked}", self.skip_locked);
        sql.into()
    }
}

macro_rules! statements {
    ($($name:ident = $template:literal;)*) => {
        pub(in super::super) struct Statements {
            $(pub(super) $name: Arc<str>,)*
        }

        impl Statements {
            pub(in super::super) fn new(dialect: &Syntax) -> Self {
                Self { $($name: dialect.write($template),)* }
            }
        }
    };
}

statements! {
    // A standby may not know the newest sessions and revocations.
    find_session = "SELECT {checked} FROM {sessions} WHERE {on_primary} AND access = $1 AND revoked_at IS NULL";
    sessions_of = "SELECT {session} FROM {sessions} WHERE {on_primary} AND request = $1 ORDER BY seq DESC";
    find_record = "SELECT {session} FROM {sessions} WHERE {on_primary} AND id = $1";
    list_sessions = "SELECT {session} FROM {sessions} WHERE {on_primary} AND account_id = $1 AND seq < \
        coalesce((SELECT seq FROM {sessions} WHERE id = $2 AND account_id = $1), 9223372036854775807) \
        ORDER BY seq DESC LIMIT $3";
    find_refresh = "SELECT {session}, session.generation - token.generation, refreshed_at, refresh_salt \
        FROM {refresh_tokens} AS token JOIN {sessions} AS session ON session.id = token.session \
        WHERE {on_primary} AND token.refresh = $1";
    authorization_by_id = "SELECT {authorization} FROM {authorizations} WHERE {on_primary} AND id = $1";
    authorization_by_lookup = "SELECT {authorization} FROM {authorizations} \
        WHERE {on_primary} AND id = (SELECT request FROM {lookups} WHERE lookup = $1)";

    list_approved = "SELECT {authorization} FROM {authorizations} \
        WHERE {on_primary} AND account_id = $1 AND state = 'approved' AND expires_at > $2 \
        ORDER BY created_at DESC, seq DESC LIMIT $3";

    list_authorizations = "SELECT {authorization} FROM {authorizations} \
        WHERE {on_primary} AND account_id = $1 AND id > $2 ORDER BY id LIMIT $3";

    authorization_exists = "SELECT id FROM {authorizations} WHERE id = $1";
    // Counts no further than to the cap. The order lets no planner scan the pending requests of other sources.
    count_pending_of = "SELECT count(*) FROM (SELECT 1 FROM {authorizations} \
        WHERE state = 'pending' AND source >= $1 AND source <= $2 AND expires_at > $3 \
        ORDER BY source, expires_at LIMIT $4) AS counted";
    // The pending ones among the $3 requests after which exactly as many as the cap $1, or a few more, were created. By
    // their places alone, so that neither clocks nor the number of pending requests matter.
    beyond_cap = "SELECT seq, account_id FROM {authorizations} \
        WHERE seq <= (SELECT coalesce(max(seq), 0) FROM {authorizations}) + 1 - $1 \
        AND seq > (SELECT coalesce(max(seq), 0) FROM {authorizations}) + 1 - $1 - $3 AND {is_pending} ORDER BY seq";
    oldest_unopened = "SELECT seq FROM {authorizations} \
        WHERE state = 'pending' AND account_id IS NULL AND expires_at > $1 ORDER BY expires_at LIMIT 1";
    // Another writer that has locked the row is displacing, opening or deciding it.
    give_way = "UPDATE {authorizations} SET expires_at = $2 WHERE seq = \
        (SELECT seq FROM {authorizations} WHERE seq = $1 {skip_locked}) \
        AND state = 'pending' AND account_id IS NULL AND expires_at > $2 RETURNING id";
    insert_authorization = "INSERT INTO {authorizations} ({authorization}) VALUES ({authorization_values}) \
        ON CONFLICT DO NOTHING RETURNING id";
    insert_lookup = "INSERT INTO {lookups} (lookup, request) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING request";
    forget_authorizations = "DELETE FROM {authorizations} WHERE seq IN \
        (SELECT seq FROM {authorizations} WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 {skip_locked}) RETURNING id";

    // Each WHERE clause has the conditions of `AuthorizationRequest::allows`. The row is found by its id alone.
    // Otherwise a planner that expects few pending or approved rows would scan all of them.
    open = "UPDATE {authorizations} SET account_id = $3, account_label = $4, flow = $5 \
        WHERE id = $1 AND {is_pending} AND (account_id IS NULL OR account_id = $3) RETURNING id";
    release = "UPDATE {authorizations} SET account_id = NULL, account_label = NULL, flow = $5 \
        WHERE id = $1 AND {is_pending} AND account_id = $3 AND flow = $4 RETURNING id";
    approve = "UPDATE {authorizations} \
        SET state = 'approved', granted = $4, flow = $5, expires_at = $6, lasting = $7 \
        WHERE id = $1 AND {is_pending} AND account_id = $3 AND {grantable} RETURNING id";
    deny = "UPDATE {authorizations} SET state = 'denied' \
        WHERE id = $1 AND {is_pending} AND account_id = $3 RETURNING id";
    renew = "UPDATE {authorizations} SET flow = $4, expires_at = $5 \
        WHERE id = $1 AND {is_approved} AND flow = $3 RETURNING id";
    revoke = "UPDATE {authorizations} SET state = 'revoked', granted = NULL \
        WHERE id = $1 AND {is_approved} RETURNING id";
    failed_attempt = "UPDATE {authorizations} SET failed_attempts = failed_attempts + 1, \
        state = CASE WHEN failed_attempts + 1 < $3 THEN state ELSE 'locked' END, \
        granted = CASE WHEN failed_attempts + 1 < $3 THEN granted END \
        WHERE id = $1 AND ({is_pending} OR {is_approved}) RETURNING id";
    redeem_once = "UPDATE {authorizations} SET state = 'redeemed' \
        WHERE id = $1 AND {is_approved} RETURNING id";
    // Locks the row, so that it is serialised with a revocation of the account.
    redeem_again = "UPDATE {authorizations} SET state = state \
        WHERE id = $1 AND {is_approved} RETURNING id";
    revoke_approved = "UPDATE {authorizations} SET state = 'revoked', granted = NULL WHERE seq IN \
        (SELECT seq FROM {authorizations} WHERE account_id = $1 AND state = 'approved' AND expires_at > $2 \
            ORDER BY seq {for_update}) \
        AND state = 'approved'";

    insert_session = "INSERT INTO {sessions} ({session}) VALUES ({session_values})";
    insert_refresh = "INSERT INTO {refresh_tokens} (refresh, session, generation, ends_at) VALUES ($1, $2, $3, $4)";
    rotate = "UPDATE {sessions} SET access = $3, scopes = $4, expires_at = $5, refresh_expires_at = $6, \
            generation = generation + 1, refreshed_at = $2, refresh_salt = $7 \
        FROM (SELECT session AS owner, generation AS age FROM {refresh_tokens} WHERE refresh = $1) AS token \
        WHERE id = token.owner AND generation = token.age AND revoked_at IS NULL AND coalesce(refresh_expires_at, 0) > $2 \
        RETURNING id, generation";
    record_uses = "UPDATE {sessions} AS session SET last_use_at = use.at, last_use_address = use.address \
        FROM {uses} AS use \
        WHERE session.id = use.id AND (last_use_at IS NULL OR last_use_at < use.at OR last_use_at > $2) AND session.seq IN \
        (SELECT seq FROM {sessions} WHERE id IN (SELECT id FROM {uses} AS use) ORDER BY seq {for_update})";

    rename_session = "UPDATE {sessions} SET name = $3 WHERE id = $1 AND account_id = $2 RETURNING id";

    end_by_access = "UPDATE {sessions} SET revoked_at = $1, revoked_by = $2 WHERE revoked_at IS NULL AND access = $3 \
        RETURNING id";
    end_by_refresh = "UPDATE {sessions} SET revoked_at = $1, revoked_by = $2 WHERE revoked_at IS NULL \
        AND id = (SELECT session FROM {refresh_tokens} WHERE refresh = $3) RETURNING id";
    end_by_id = "UPDATE {sessions} SET revoked_at = $1, revoked_by = $2 WHERE revoked_at IS NULL \
        AND id = $3 AND account_id = $4 RETURNING id";
    end_by_account = "UPDATE {sessions} SET revoked_at = $1, revoked_by = $2 WHERE revoked_at IS NULL AND seq IN \
        (SELECT seq FROM {sessions} WHERE account_id = $3 AND revoked_at IS NULL ORDER BY seq {for_update}) RETURNING id";

    authorizations_after = "SELECT {authorization}, seq FROM {authorizations} WHERE seq > $1 ORDER BY seq LIMIT $2";
    lookups_of = "SELECT lookup FROM {lookups} WHERE request = $1 ORDER BY lookup";
    sessions_after = "SELECT {session}, refreshed_at, refresh_salt, seq \
        FROM {sessions} WHERE seq > $1 ORDER BY seq LIMIT $2";
    refresh_tokens_of = "SELECT refresh, generation, ends_at FROM {refresh_tokens} WHERE session = $1 ORDER BY generation";
    has_session = "SELECT id FROM {sessions} WHERE id = $1";
    set_refreshed = "UPDATE {sessions} SET generation = $2, refreshed_at = $3, refresh_salt = $4 WHERE id = $1";

    forget_sessions = "DELETE FROM {sessions} WHERE seq IN \
        (SELECT seq FROM {sessions} WHERE refresh_expires_at <= $1 AND expires_at <= $1 \
            ORDER BY refresh_expires_at LIMIT $2 {skip_locked}) RETURNING id";
    forget_authorizations_of = "DELETE FROM {authorizations} WHERE seq IN \
        (SELECT seq FROM {authorizations} WHERE account_id = $1 ORDER BY seq LIMIT $2 {for_update}) RETURNING id";
    forget_sessions_of = "DELETE FROM {sessions} WHERE seq IN \
        (SELECT seq FROM {sessions} WHERE account_id = $1 ORDER BY seq LIMIT $2 {for_update}) RETURNING id";
    server_time = "SELECT {server_time}";

    find_client = "SELECT {client} FROM {clients} WHERE {on_primary} AND id = $1";
    insert_client = "INSERT INTO {clients} ({client}) VALUES ({client_values}) ON CONFLICT DO NOTHING RETURNING id";
    count_client = "UPDATE {client_counts} SET unused = unused + 1 WHERE id = 1 AND unused < $1 RETURNING unused";
    discount_clients = "UPDATE {client_counts} SET unused = unused - $1 WHERE id = 1";
    use_client = "UPDATE {clients} SET used_at = $2 WHERE id = $1 AND used_at < $2 RETURNING id";
    use_client_first = "UPDATE {clients} SET used_at = $2 WHERE id = $1 AND used_at IS NULL RETURNING id";
    forget_unused_clients = "DELETE FROM {clients} WHERE id IN \
        (SELECT id FROM {clients} WHERE used_at IS NULL AND created_at <= $1 ORDER BY created_at LIMIT $2 {skip_locked}) \
        RETURNING id";
    forget_used_clients = "DELETE FROM {clients} WHERE id IN \
        (SELECT id FROM {clients} WHERE used_at <= $1 ORDER BY used_at LIMIT $2 {skip_locked}) RETURNING id";

    find_identity = "SELECT {identity} FROM {identities} WHERE {on_primary} AND identity = $1";
    list_identities = "SELECT {linked_identity} FROM {identities} \
        WHERE {on_primary} AND account_id = $1 AND identity > $2 ORDER BY identity LIMIT $3";
    link_identity = "INSERT INTO {identities} (identity, account_id, account_label, linked_at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (identity) DO UPDATE SET account_id = excluded.account_id, \
        account_label = excluded.account_label, linked_at = excluded.linked_at";
    unlink_identity = "DELETE FROM {identities} WHERE identity = $1 RETURNING {identity}";
    // A link that was moved to another account meanwhile stays.
    unlink_account = "DELETE FROM {identities} WHERE account_id = $1 AND identity IN \
        (SELECT identity FROM {identities} WHERE account_id = $1 ORDER BY identity LIMIT $2 {for_update}) \
        RETURNING account_id";
    use_token = "INSERT INTO {used_tokens} (token, until_at) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING until_at";
    find_used_token = "SELECT until_at FROM {used_tokens} WHERE {on_primary} AND token = $1";
    forget_used_tokens = "DELETE FROM {used_tokens} WHERE token IN \
        (SELECT token FROM {used_tokens} WHERE until_at <= $1 ORDER BY until_at LIMIT $2 {skip_locked}) \
        RETURNING until_at";

    forget_refresh_tokens = "DELETE FROM {refresh_tokens} WHERE refresh IN \
        (SELECT refresh FROM {refresh_tokens} AS token JOIN {sessions} AS session ON session.id = token.session \
            WHERE token.ends_at <= $1 AND token.generation < session.generation LIMIT $2) RETURNING session";
}
