//! JSON-RPC 2.0 messages, read for their methods and names only.
//!
//! The inner service reads the same bytes with a parser of its own. So what two parsers could read differently is an
//! error: a member that is there twice, and a name in another case.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

/// The body of a POST.
#[derive(Debug)]
pub(super) enum Content {
    One(Message),
    /// JSON-RPC 2.0 section 6.
    Batch(Vec<Message>),
}

/// A request or a notification; or a response, which has no method.
#[derive(Debug)]
pub(super) struct Message {
    /// The id of a request, to answer with. Null if there is none.
    pub(super) id: Value,
    pub(super) method: Option<String>,
    params: Params,
}

/// The parameters by which MCP methods name what they use.
#[derive(Debug, Default)]
struct Params {
    name: Option<Value>,
    uri: Option<Value>,
}

impl Message {
    /// The text of `params.name`.
    pub(super) fn name(&self) -> Option<&str> {
        self.params.name.as_ref()?.as_str()
    }

    /// The text of `params.uri`.
    pub(super) fn uri(&self) -> Option<&str> {
        self.params.uri.as_ref()?.as_str()
    }
}

const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
const PARAMS: [&str; 2] = ["name", "uri"];

/// Notes a member. It must be new, and must not be a name that has a meaning in another case.
fn note<E: serde::de::Error>(name: &str, known: &[&str], seen: &mut HashSet<String>) -> Result<(), E> {
    // Some parsers fold case by Unicode, where a long s is an s.
    let folded = name.to_uppercase();
    if known.iter().any(|known| *known != name && known.to_uppercase() == folded) {
        return Err(E::custom(format_args!("write the member {name:?} in lower case")));
    }
    if seen.insert(name.to_owned()) {
        Ok(())
    } else {
        Err(E::custom(format_args!("the member {name:?} is there twice")))
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON-RPC message or an array of them")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Content, A::Error> {
                read_message(members).map(Content::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
                let mut messages = Vec::new();
                while let Some(message) = list.next_element()? {
                    messages.push(message);
                }
                if messages.is_empty() {
                    Err(A::Error::custom("the batch is empty"))
                } else {
                    Ok(Content::Batch(messages))
                }
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Envelope;

        impl<'de> Visitor<'de> for Envelope {
            type Value = Message;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON-RPC message")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Message, A::Error> {
                read_message(members)
            }
        }

        deserializer.deserialize_map(Envelope)
    }
}

fn read_message<'de, A: MapAccess<'de>>(mut members: A) -> Result<Message, A::Error> {
    let mut seen = HashSet::new();
    let mut message = Message { id: Value::Null, method: None, params: Params::default() };
    let mut version = None;
    while let Some(name) = members.next_key::<String>()? {
        note(&name, &ENVELOPE, &mut seen)?;
        match name.as_str() {
            "jsonrpc" => version = Some(members.next_value::<String>()?),
            "id" => message.id = members.next_value()?,
            "method" => message.method = Some(members.next_value()?),
            "params" => message.params = members.next_value_seed(ReadParams)?,
            _ => drop(members.next_value::<IgnoredAny>()?),
        }
    }
    if version.as_deref() != Some("2.0") {
        return Err(A::Error::custom("`jsonrpc` must be \"2.0\""));
    }
    if !matches!(message.id, Value::Null | Value::String(_) | Value::Number(_)) {
        return Err(A::Error::custom("`id` must be a text or a number"));
    }
    let answers = seen.contains("result") || seen.contains("error");
    if message.method.is_some() == answers {
        return Err(A::Error::custom("a message has either a `method`, or a `result` or an `error`"));
    }
    Ok(message)
}

/// Reads `params`: an object, or a list or null, which name nothing.
struct ReadParams;

impl<'de> DeserializeSeed<'de> for ReadParams {
    type Value = Params;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Params, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ReadParams {
    type Value = Params;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Params, A::Error> {
        let mut seen = HashSet::new();
        let mut params = Params::default();
        while let Some(name) = members.next_key::<String>()? {
            note(&name, &PARAMS, &mut seen)?;
            match name.as_str() {
                "name" => params.name = Some(members.next_value()?),
                "uri" => params.uri = Some(members.next_value()?),
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(params)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Params, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Params::default())
    }

    fn visit_unit<E>(self) -> Result<Params, E> {
        Ok(Params::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Content, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn a_call_names_its_method_and_its_tool() {
        let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/c\u0061ll","params":{"arguments":{"name":1,"name":2},"name":"a"}}"#;
        let Ok(Content::One(message)) = read(call) else { panic!("it is a call") };
        assert_eq!((message.method.as_deref(), message.name(), message.uri()), (Some("tools/call"), Some("a"), None));
        assert_eq!(message.id, 7);
        let Ok(Content::Batch(messages)) = read(&format!("[{call},{call}]")) else { panic!("it is a batch") };
        assert_eq!(messages.len(), 2);
    }

    #[test]
    fn responses_and_params_of_other_forms_name_nothing() {
        for response in [r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, r#"{"jsonrpc":"2.0","id":"a","error":{"code":1}}"#]
        {
            assert!(matches!(read(response), Ok(Content::One(Message { method: None, .. }))), "{response}");
        }
        for params in ["null", "[]", r#"["a"]"#, "{}", r#"{"name":1}"#, r#"{"name":["a"]}"#] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
            assert!(matches!(read(&text), Ok(Content::One(message)) if message.name().is_none()), "{text}");
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for bad in [
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","meth\u006fd":"tools/call"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"},"param\u017f":{"name":"b"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"METHOD":"tools/call","result":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"x":1,"x":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"},"params":{"name":"b"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":"name"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":["ping"]}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"id":1,"method":"ping"}"#,
            "[]",
            "[[]]",
            "[1]",
            "1",
            "null",
            "\"ping\"",
        ] {
            assert!(read(bad).is_err_and(|error| error.is_data()), "{bad}");
        }
        for bad in ["", "{", "\u{feff}{}", r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#, "{} {}", "NaN"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
