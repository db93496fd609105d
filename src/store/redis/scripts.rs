//! The scripts and their arguments.

use redis::Script;

use super::super::columns::{AUTHORIZATION, CHECKED, CLIENT, IDENTITY, SESSION, Value, Values};
use crate::types::{authorization::Lookup, clock::Timestamp};

/// Refuses to run on a replica. The argument is whether the script may store more than it deletes.
macro_rules! guard {
    ($may_grow:literal) => {
        concat!("local refused = replica_error(", $may_grow, ")\nif refused then\n    return refused\nend\n")
    };
}

macro_rules! scripts {
    ($($guard:expr => $($name:ident)*;)*) => {
        pub(super) struct Scripts {
            $($(pub(super) $name: Script,)*)*
        }

        impl Scripts {
            pub(super) fn new() -> Self {
                let before = format!("{}{}", names(), include_str!("scripts/common.lua"));
                Self {
                    $($($name: Script::new(&format!(
                        "{before}{}{}",
                        $guard,
                        include_str!(concat!("scripts/", stringify!($name), ".lua")),
                    )),)*)*
                }
            }
        }
    };
}

scripts! {
    guard!("false") => find_session find_authorization_by_id find_authorization_by_lookup sessions_of find_record
        find_refresh list list_approved list_authorizations revoke forget
        forget_account find_client forget_clients find_identity list_identities unlink_identity unlink_account is_used forget_used;
    guard!("true") => create redeem rotate rename_session record_uses import_authorization import_session migrate create_client use_client
        link_identity use_once;
    // It depends on the transition, and a copy has one reader.
    "" => transition authorizations_after sessions_after refresh_tokens_of;
}

/// The column names, and the positions of the two session columns that the scripts read.
fn names() -> String {
    let quoted = |names: &[&str]| names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    let place = |name: &str| 1 + SESSION.iter().take_while(|known| **known != name).count();
    format!(
        "local AUTHORIZATION = {{{}}}\nlocal SESSION = {{{}}}\nlocal CHECKED = {{{}}}\n\
         local CLIENT = {{{}}}\nlocal IDENTITY = {{{}}}\n\
         local ACCOUNT, REVOKED = {}, {}\n",
        quoted(&AUTHORIZATION),
        quoted(&SESSION),
        quoted(CHECKED),
        quoted(&CLIENT),
        quoted(&IDENTITY),
        place("account_id"),
        place("revoked_at"),
    )
}

/// The arguments of a script. Where a value is optional, the empty string means none.
#[derive(Debug, Default)]
pub(super) struct Arguments(pub(super) Vec<Vec<u8>>);

impl Arguments {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.push(bytes.to_vec());
        self
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    pub(super) fn integer(self, integer: i64) -> Self {
        self.text(&integer.to_string())
    }

    pub(super) fn instant(self, instant: Timestamp) -> Self {
        self.integer(instant.as_millis())
    }

    /// Adds the number of lookups, then each lookup.
    pub(super) fn lookups(self, lookups: &[Lookup]) -> Self {
        let counted = self.text(&lookups.len().to_string());
        lookups.iter().fold(counted, |arguments, lookup| arguments.bytes(lookup.as_bytes()))
    }

    pub(super) fn values(self, values: Values) -> Self {
        values.0.into_iter().fold(self, |arguments, value| arguments.bytes(&bytes(value).unwrap_or_default()))
    }

    /// Adds the names and values of the columns that have a value.
    pub(super) fn columns(self, names: &[&str], values: Values) -> Self {
        names.iter().zip(values.0).fold(self, |arguments, (name, value)| match bytes(value) {
            Some(value) => arguments.text(name).bytes(&value),
            None => arguments,
        })
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::Text(text) | Value::AnyText(text) => text.map(String::into_bytes),
        Value::Integer(integer) => integer.map(|integer| integer.to_string().into_bytes()),
        Value::Bytes(bytes) => bytes,
    }
}
