use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::{ceremony::CeremonyError, types::text::HumanText};

/// The maximum nesting depth of a body.
const DEPTH: usize = 16;

/// The fields of a JSON body, read strictly: it must be an object without duplicate keys, and each value must have the
/// expected type. Unknown fields are ignored.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body of the media type `application/json`.
    pub(super) fn read(headers: &HeaderMap, body: &Bytes) -> Result<Self, Refused> {
        if media_type(headers).as_deref() != Some("application/json") {
            return Err(unsupported("application/json"));
        }
        let fields: Self = serde_json::from_slice(body).map_err(|error| {
            // The parser's error text may quote input.
            let text = match (error.classify(), error.to_string().starts_with(DUPLICATE)) {
                (_, true) => "the body has a field twice; send each once",
                (serde_json::error::Category::Data, _) => "the body must be a JSON object",
                _ => "the body is not JSON",
            };
            invalid(text)
        })?;
        if fields.0.values().any(|value| depth(value) >= DEPTH) {
            return Err(invalid("the body nests too deep"));
        }
        Ok(fields)
    }

    /// A required string.
    pub(super) fn required(&self, field: &str) -> Result<&str, Refused> {
        self.text(field)?.ok_or_else(|| invalid(format!("`{field}` is required: send a string")))
    }

    /// A string that may be missing or null.
    pub(super) fn text(&self, field: &str) -> Result<Option<&str>, Refused> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(invalid(format!("`{field}` must be a string"))),
        }
    }

    /// Whether a field is present and not null.
    pub(super) fn is_there(&self, field: &str) -> bool {
        self.0.get(field).is_some_and(|value| !value.is_null())
    }

    /// A list of strings that may be missing or null.
    pub(super) fn texts(&self, field: &str) -> Result<Vec<String>, Refused> {
        let wrong = || invalid(format!("`{field}` must be an array of strings"));
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            Some(_) => Err(wrong()),
        }
    }

    /// A text for humans that may be missing or null.
    pub(super) fn human_text(&self, field: &str) -> Result<Option<HumanText>, Refused> {
        let text = self.text(field)?.map(HumanText::new).transpose();
        text.map_err(|error| invalid(format!("`{field}` {error}")))
    }
}

/// Why a request of a dialect was refused.
pub(super) enum Refused {
    /// The dialect refused it as invalid.
    Request(StatusCode, &'static str, String),
    /// The caller is not authenticated.
    SignedOut,
    /// The ceremony refused it.
    Ceremony(CeremonyError),
}

impl From<CeremonyError> for Refused {
    fn from(error: CeremonyError) -> Self {
        Self::Ceremony(error)
    }
}

/// 400 `invalid_request`.
pub(super) fn invalid(text: impl Into<String>) -> Refused {
    Refused::Request(StatusCode::BAD_REQUEST, "invalid_request", text.into())
}

/// 415.
pub(super) fn unsupported(media_types: &str) -> Refused {
    let text = format!("send the header `Content-Type` with {media_types}");
    Refused::Request(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request", text)
}

/// The media type without parameters, in lower case; `None` unless there is exactly one `Content-Type`.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let (line, None) = (lines.next()?, lines.next()) else {
        return None;
    };
    let media_type = line.to_str().ok()?.split(';').next()?.trim().to_ascii_lowercase();
    (!media_type.contains(',')).then_some(media_type)
}

const DUPLICATE: &str = "duplicate field";

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strict;

        impl<'de> Visitor<'de> for Strict {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Fields, A::Error> {
                let mut fields = Map::new();
                while let Some((name, value)) = entries.next_entry::<String, Value>()? {
                    if fields.insert(name, value).is_some() {
                        return Err(A::Error::custom(DUPLICATE));
                    }
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Strict)
    }
}

fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        _ => return 0,
    };
    1 + inner.unwrap_or(0)
}
