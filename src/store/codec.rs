//! Records as text, for a store of your own whose engine keeps one value for each key.
//!
//! A record is a JSON object whose members have the names of the columns in the SQL stores. A member without a value is
//! left out. The text of an older version of this crate is read by every newer one. Text of a newer version, and text
//! that this module did not write, is [`Corrupt`](StoreErrorKind::Corrupt). [`ordered`](super::ordered) is a whole store of them.
//!
//! ```
//! use tower_agent_auth::{
//!     store::codec,
//!     types::{
//!         authorization::{AuthorizationRequest, Client, Flow, NewAuthorizationRequest},
//!         clock::Timestamp,
//!         id::AuthorizationRequestId,
//!         text::HumanText,
//!     },
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let id = AuthorizationRequestId::parse("reg_0123456789abcdefABCDEF").ok_or("not an id")?;
//! let client = Client::named(HumanText::from_stored("Agent"));
//! let (created_at, expires_at) = (Timestamp::from_millis(1_000), Timestamp::from_millis(2_000));
//! let flow = Flow::from_stored("{}"); // only the ceremony reads it
//! let request = AuthorizationRequest::new(id, "https://api.example.com", client, flow, created_at, expires_at);
//!
//! let text = codec::encode_authorization(&NewAuthorizationRequest::new(request.clone(), Vec::new()));
//! assert_eq!(codec::decode_authorization(&text)?.request, request);
//! # Ok(())
//! # }
//! ```

use data_encoding::HEXLOWER;
use serde_json::{Map, Value as Json};

use super::{
    RefreshToken, StoreError, StoreErrorKind, StoredSession,
    columns::{self, AUTHORIZATION, CLIENT, Row, SESSION, Value, Values, garbage},
};
use crate::types::{
    authorization::{Lookup, NewAuthorizationRequest},
    client::RegisteredClient,
    clock::Timestamp,
    secret::Digest,
};

/// The version of the text. A new member raises it too: an older version would drop it when it writes the record again.
const VERSION: i64 = 1;
const VERSION_NAME: &str = "version";
const LOOKUPS: &str = "lookups";
const REFRESH_TOKENS: &str = "refresh_tokens";
/// The members of a session after its columns: its last refresh.
const REFRESHED: [&str; 2] = ["refreshed_at", "salt"];

/// An authorization request with its lookups, as text.
#[must_use]
pub fn encode_authorization(new: &NewAuthorizationRequest) -> String {
    let mut object = object(&AUTHORIZATION, Values::authorization(&new.request));
    let lookups = new.lookups.iter().map(|lookup| HEXLOWER.encode(lookup.as_bytes()).into());
    object.insert(LOOKUPS.into(), Json::Array(lookups.collect()));
    Json::Object(object).to_string()
}

/// Reads what [`encode_authorization`] wrote.
///
/// # Errors
/// [`StoreErrorKind::Corrupt`] if it did not, or a newer version did. The error names the member.
pub fn decode_authorization(text: &str) -> Result<NewAuthorizationRequest, StoreError> {
    let object = parse(text)?;
    let request = columns::authorization(&Members::of(&object, &AUTHORIZATION)?)?;
    let lookups = list(&object, LOOKUPS)?.iter().map(|lookup| lookup.as_str().and_then(bytes).map(Lookup::from_bytes));
    let lookups = lookups.collect::<Option<Vec<Lookup>>>().ok_or_else(|| garbage(LOOKUPS))?;
    Ok(NewAuthorizationRequest::new(request, lookups))
}

/// A session with its refresh tokens, as text.
#[must_use]
pub fn encode_session(stored: &StoredSession) -> String {
    let StoredSession { session, refreshed, refresh_tokens } = stored;
    let mut object = object(&SESSION, Values::session(session));
    let [at, salt] = REFRESHED;
    if let Some(refreshed) = refreshed {
        object.insert(at.into(), refreshed.at.as_millis().into());
        object.insert(salt.into(), json(&Value::Bytes(Some(refreshed.salt.0.to_vec()))));
    }
    let token = |token: &RefreshToken| {
        let digest = HEXLOWER.encode(token.digest.as_bytes());
        Json::from(vec![Json::from(digest), token.generation.into(), token.ends_at.as_millis().into()])
    };
    object.insert(REFRESH_TOKENS.into(), Json::Array(refresh_tokens.iter().map(token).collect()));
    Json::Object(object).to_string()
}

/// Reads what [`encode_session`] wrote.
///
/// # Errors
/// [`StoreErrorKind::Corrupt`] if it did not, or a newer version did. The error names the member.
pub fn decode_session(text: &str) -> Result<StoredSession, StoreError> {
    const NAMES: [&str; SESSION.len() + REFRESHED.len()] = {
        let mut names = [""; SESSION.len() + REFRESHED.len()];
        let mut index = 0;
        while index < names.len() {
            names[index] = if index < SESSION.len() { SESSION[index] } else { REFRESHED[index - SESSION.len()] };
            index += 1;
        }
        names
    };
    let object = parse(text)?;
    let token = |token: &Json| {
        Some(RefreshToken {
            digest: Digest::from_bytes(bytes(token.get(0)?.as_str()?)?),
            generation: token.get(1)?.as_u64()?,
            ends_at: Timestamp::from_millis(token.get(2)?.as_i64()?),
        })
    };
    let tokens = list(&object, REFRESH_TOKENS)?.iter().map(token);
    let tokens = tokens.collect::<Option<Vec<RefreshToken>>>().ok_or_else(|| garbage(REFRESH_TOKENS))?;
    columns::stored_session(&Members::of(&object, &NAMES)?, tokens)
}

/// A client that registered itself, as text.
#[must_use]
pub fn encode_client(client: &RegisteredClient) -> String {
    Json::Object(object(&CLIENT, Values::registered_client(client))).to_string()
}

/// Reads what [`encode_client`] wrote.
///
/// # Errors
/// [`StoreErrorKind::Corrupt`] if it did not, or a newer version did. The error names the member.
pub fn decode_client(text: &str) -> Result<RegisteredClient, StoreError> {
    columns::registered_client(&Members::of(&parse(text)?, &CLIENT)?)
}

fn object(names: &[&str], values: Values) -> Map<String, Json> {
    let members = names.iter().zip(&values.0).map(|(name, value)| ((*name).to_owned(), json(value)));
    let version = (VERSION_NAME.to_owned(), VERSION.into());
    members.filter(|(_, value)| !value.is_null()).chain([version]).collect()
}

/// Bytes are an array of one hexadecimal text, so that no text is taken for bytes.
fn json(value: &Value) -> Json {
    match value {
        Value::Text(text) | Value::AnyText(text) => text.clone().into(),
        Value::Integer(integer) => (*integer).into(),
        Value::Bytes(bytes) => bytes.as_ref().map(|bytes| vec![HEXLOWER.encode(bytes)]).into(),
    }
}

fn parse(text: &str) -> Result<Map<String, Json>, StoreError> {
    let object: Map<String, Json> =
        serde_json::from_str(text).map_err(|error| StoreError::because(StoreErrorKind::Corrupt, error))?;
    match object.get(VERSION_NAME).and_then(Json::as_i64) {
        Some(1..=VERSION) => Ok(object),
        _ => Err(garbage(VERSION_NAME)),
    }
}

fn list<'o>(object: &'o Map<String, Json>, name: &str) -> Result<&'o [Json], StoreError> {
    object.get(name).and_then(Json::as_array).map(Vec::as_slice).ok_or_else(|| garbage(name))
}

fn bytes(hexadecimal: &str) -> Option<[u8; 32]> {
    HEXLOWER.decode(hexadecimal.as_bytes()).ok()?.try_into().ok()
}

/// The members of an object in the order of columns.
struct Members {
    names: &'static [&'static str],
    values: Vec<Option<Value>>,
}

impl Members {
    fn of(object: &Map<String, Json>, names: &'static [&'static str]) -> Result<Self, StoreError> {
        let value = |name: &&str| match object.get(*name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(Value::Text(Some(text.clone())))),
            Some(Json::Number(number)) => Ok(Some(Value::Integer(Some(number.as_i64().ok_or_else(|| garbage(name))?)))),
            Some(Json::Array(array)) => {
                let decoded = array.first().and_then(Json::as_str).map(|text| HEXLOWER.decode(text.as_bytes()));
                let decoded = decoded.and_then(Result::ok).filter(|_| array.len() == 1);
                Ok(Some(Value::Bytes(Some(decoded.ok_or_else(|| garbage(name))?))))
            }
            Some(_) => Err(garbage(name)),
        };
        Ok(Self { names, values: names.iter().map(value).collect::<Result<_, StoreError>>()? })
    }

    fn value(&self, index: usize) -> Option<&Value> {
        self.values.get(index).and_then(Option::as_ref)
    }

    fn wrong<T>(&self, index: usize) -> Result<T, StoreError> {
        Err(garbage(self.names.get(index).unwrap_or(&"?")))
    }
}

impl Row for Members {
    fn text(&self, index: usize) -> Result<Option<&str>, StoreError> {
        match self.value(index) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(text.as_deref()),
            Some(_) => self.wrong(index),
        }
    }

    fn any_text(&self, index: usize) -> Result<Option<&str>, StoreError> {
        self.text(index)
    }

    fn integer(&self, index: usize) -> Result<Option<i64>, StoreError> {
        match self.value(index) {
            None => Ok(None),
            Some(Value::Integer(integer)) => Ok(*integer),
            Some(_) => self.wrong(index),
        }
    }

    fn bytes(&self, index: usize) -> Result<Option<&[u8]>, StoreError> {
        match self.value(index) {
            None => Ok(None),
            Some(Value::Bytes(bytes)) => Ok(bytes.as_deref()),
            Some(_) => self.wrong(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by the first version, with a value in every member.
    const REQUEST: &str = r#"{"account_id":"alice","account_label":"Alice \u0000","client_address":"192.0.2.7","client_claims":"{\"reason\":\"to help\"}","client_id":"https://agent.example/client.json","client_instance":"i","client_kind":"cli","client_label":"laptop","client_method":"mail","client_name":"Agent","created_at":1000,"expires_at":2000,"failed_attempts":1,"flow":"{}","granted":"a b","id":"reg_0123456789abcdefABCDEF","lasting":60000,"lookups":["0101010101010101010101010101010101010101010101010101010101010101"],"requested":"a b c","resource":"https://api.example.com","source":"v4 192.0.2.7","state":"approved","version":1}"#;
    const SESSION: &str = r#"{"access":["0202020202020202020202020202020202020202020202020202020202020202"],"account_id":"alice","account_label":"Alice","client_name":"Agent","created_at":1000,"expires_at":5000,"granted":"a b","id":"ses_0123456789abcdefABCDEF","last_use_address":"192.0.2.8","last_use_at":3000,"lasts_until":9000,"name":"mine","redeemer_address":"192.0.2.9","redeemer_program":"node","refresh_expires_at":8000,"refresh_tokens":[["0303030303030303030303030303030303030303030303030303030303030303",0,8000],["0404040404040404040404040404040404040404040404040404040404040404",1,8000]],"refreshed_at":2000,"request":"reg_0123456789abcdefABCDEF","resource":"https://api.example.com","revoked_at":4000,"revoked_by":"human","salt":["0505050505050505050505050505050505050505050505050505050505050505"],"scopes":"a","version":1}"#;

    #[test]
    fn what_the_first_version_wrote_is_read_and_written_the_same() {
        assert_eq!(encode_authorization(&decode_authorization(REQUEST).unwrap()), REQUEST);
        assert_eq!(encode_session(&decode_session(SESSION).unwrap()), SESSION);
        const CLIENT: &str = r#"{"created_at":1000,"id":"c","metadata":"{}","used_at":2000,"version":1}"#;
        assert_eq!(encode_client(&decode_client(CLIENT).unwrap()), CLIENT);
    }

    /// Each member without its value, of another type, or with text that makes no sense: an error, or the value's absence.
    /// Nothing panics, and nothing is guessed.
    #[test]
    fn what_is_damaged_is_corrupt() {
        fn damage<T>(text: &str, decode: impl Fn(&str) -> Result<T, StoreError>, needed: &[&str]) {
            let whole: Map<String, Json> = serde_json::from_str(text).unwrap();
            for name in whole.keys() {
                let with = |value: Option<Json>| {
                    let mut object = whole.clone();
                    object.remove(name);
                    object.extend(value.map(|value| (name.clone(), value)));
                    decode(&Json::Object(object).to_string()).map(drop).map_err(|error| error.kind())
                };
                let corrupt = Err(StoreErrorKind::Corrupt);
                assert_eq!(with(Some(true.into())), corrupt, "{name}");
                assert_eq!(with(Some(serde_json::json!({}))), corrupt, "{name}");
                assert_eq!(with(Some(serde_json::json!([["0"]]))), corrupt, "{name}");
                assert_eq!(with(Some(1.5.into())), corrupt, "{name}");
                assert_eq!(with(None) == corrupt, needed.contains(&name.as_str()), "{name}");
            }
            for text in
                ["", "null", "[]", "{}", "{", "\u{0}", r#"{"version":2}"#, r#"{"version":0}"#, &text[..text.len() - 1]]
            {
                assert_eq!(
                    decode(text).map(drop).map_err(|error| error.kind()),
                    Err(StoreErrorKind::Corrupt),
                    "{text}"
                );
            }
        }
        let session = [
            "access",
            "account_id",
            "account_label",
            "client_name",
            "created_at",
            "expires_at",
            "granted",
            "id",
            "last_use_at",
            "refresh_expires_at",
            "refresh_tokens",
            "refreshed_at",
            "request",
            "resource",
            "revoked_at",
            "revoked_by",
            "salt",
            "scopes",
            "version",
        ];
        damage(SESSION, decode_session, &session);
        let request = [
            "account_id",
            "account_label",
            "client_name",
            "created_at",
            "expires_at",
            "failed_attempts",
            "flow",
            "granted",
            "id",
            "lookups",
            "requested",
            "resource",
            "state",
            "version",
        ];
        damage(REQUEST, decode_authorization, &request);
    }

    #[test]
    fn an_error_names_the_member() {
        let error = decode_session(&SESSION.replace("\"human\"", "\"nobody\"")).unwrap_err();
        assert!(format!("{error:?}").contains("`revoked_by`"), "{error:?}");
    }
}
