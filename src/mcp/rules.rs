//! Which rule an MCP operation has, and which operation the headers of a request prove.

use std::{collections::HashMap, sync::Arc};

use data_encoding::BASE64;
use http::{HeaderMap, Method, StatusCode, request::Parts};
use serde_json::{Value, json};

use super::message::{Content, Message};
use crate::{
    AgentAuth,
    endpoints::is_preflight,
    guard::{Refusal, Rule},
    http::{Reply, json_reply},
    types::scope::ScopeSet,
};

const VERSION: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";
/// The first version whose servers must refuse headers that differ from the body (MCP 2026-07-28, Streamable HTTP,
/// "Server Validation").
const PROVES: &[u8; 10] = b"2026-07-28";
pub(super) const TOOL: &str = "tools/call";
pub(super) const RESOURCE: &str = "resources/read";
pub(super) const PROMPT: &str = "prompts/get";
/// What needs only a session: it starts the conversation, keeps it alive, or lists names and descriptions. Nothing of an
/// account is in it.
pub(super) const WITH_ANY_SESSION: [&str; 8] = [
    "initialize",
    "ping",
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "logging/setLevel",
];
/// The prefix of notifications. A client can only tell with them what it did.
const NOTIFICATION: &str = "notifications/";

/// The rules of one kind of names, and of all names of the kind that have none of their own.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) named: HashMap<String, Rule>,
    pub(super) others: Option<Rule>,
}

impl Names {
    fn of(&self, name: &str) -> Option<Rule> {
        self.named.get(name).or(self.others.as_ref()).cloned()
    }
}

/// The rules of all operations.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) auth: AgentAuth,
    pub(super) tools: Names,
    pub(super) resources: Names,
    pub(super) prompts: Names,
    pub(super) methods: HashMap<String, Rule>,
    pub(super) any_session: Rule,
}

impl Rules {
    /// The rule of an operation; `None` if it is not listed. `name` is the tool, the URI or the prompt.
    fn of(&self, method: &str, name: Option<&str>) -> Option<Rule> {
        let names = match method {
            TOOL => &self.tools,
            RESOURCE => &self.resources,
            PROMPT => &self.prompts,
            _ => {
                let for_any = WITH_ANY_SESSION.contains(&method) || method.starts_with(NOTIFICATION);
                let listed = self.methods.get(method).cloned();
                return listed.or_else(|| for_any.then(|| self.any_session.clone()));
            }
        };
        names.of(name?)
    }

    /// The rule of a request by its head. With `reads_body`, the operation of a POST that the headers do not prove is
    /// found in the body later, and any session passes until then.
    pub(super) fn of_head(&self, request: &Parts, reads_body: bool) -> Option<Rule> {
        match request.method {
            Method::POST => match Proof::of(&request.headers) {
                Ok(Proof::Operation { method, name }) => self.of(&method, name.as_deref()),
                Ok(Proof::Nothing) if reads_body => Some(self.any_session.clone()),
                Ok(Proof::Nothing) => Some(Fault::Unproven.rule()),
                Err(fault) => Some(fault.rule()),
            },
            // A stream of the server, and the end of a session of the server. Both existed until 2025-11-25.
            Method::GET | Method::HEAD | Method::DELETE => Some(self.any_session.clone()),
            // A browser sends no credentials with it (Fetch standard, "CORS-preflight fetch").
            Method::OPTIONS if is_preflight(request) => Some(Rule::public()),
            Method::OPTIONS => Some(self.any_session.clone()),
            _ => None,
        }
    }

    /// The rule of a POST by its body, which must agree with what its headers prove.
    pub(super) fn of_body(&self, headers: &HeaderMap, body: &[u8]) -> Result<Option<Rule>, (Fault, Value)> {
        let content: Content = serde_json::from_slice(body).map_err(|error| {
            let fault = if error.is_data() { Fault::NoMessage(error.to_string()) } else { Fault::NoJson };
            (fault, Value::Null)
        })?;
        let proof = Proof::of(headers).map_err(|fault| (fault, Value::Null))?;
        match (content, proof) {
            (Content::One(message), Proof::Nothing) => self.of_message(&message),
            (Content::One(message), Proof::Operation { method, name }) => {
                let same_name = !is_named(&method) || name.as_deref() == message.operand();
                if message.method.as_deref() == Some(&*method) && same_name {
                    self.of_message(&message)
                } else {
                    Err((Fault::Mismatch, message.id))
                }
            }
            (Content::Batch(messages), Proof::Nothing) => self.of_batch(&messages),
            (Content::Batch(_), Proof::Operation { .. }) => Err((Fault::Mismatch, Value::Null)),
        }
    }

    fn of_message(&self, message: &Message) -> Result<Option<Rule>, (Fault, Value)> {
        let Some(method) = &message.method else { return Ok(Some(self.any_session.clone())) };
        let name = message.operand();
        if is_named(method) && name.is_none() {
            return Err((Fault::Nameless, message.id.clone()));
        }
        Ok(self.of(method, name))
    }

    /// The rule that all messages together need. Its refusal names all missing scopes at once.
    fn of_batch(&self, messages: &[Message]) -> Result<Option<Rule>, (Fault, Value)> {
        let mut scopes = ScopeSet::default();
        for message in messages {
            let rule = self.of_message(message)?;
            // One that no agent may call refuses all.
            let Some(needed) = rule.as_ref().and_then(Rule::scopes) else { return Ok(rule) };
            if !needed.is_subset(&scopes) {
                scopes = scopes.iter().chain(needed).cloned().collect();
            }
        }
        Ok(if scopes.is_empty() { Some(self.any_session.clone()) } else { self.auth.all_of(&scopes.to_string()).ok() })
    }
}

impl Message {
    /// The tool, the URI or the prompt that the message is about.
    fn operand(&self) -> Option<&str> {
        if self.method.as_deref() == Some(RESOURCE) { self.uri() } else { self.name() }
    }
}

fn is_named(method: &str) -> bool {
    matches!(method, TOOL | RESOURCE | PROMPT)
}

/// What the headers of a POST prove.
#[derive(Debug, Eq, PartialEq)]
enum Proof {
    /// Servers of older versions ignore the headers, so they may differ from the body.
    Nothing,
    Operation {
        method: String,
        name: Option<String>,
    },
}

impl Proof {
    fn of(headers: &HeaderMap) -> Result<Self, Fault> {
        let [version, method, name] = [VERSION, METHOD, NAME].map(|header| only(headers, header));
        let (version, method, name) = (version?, method?, name?);
        if !version.is_some_and(proves) {
            return Ok(Self::Nothing);
        }
        let method = text(METHOD, method.ok_or(Fault::Missing(METHOD))?)?.to_owned();
        let name = match name {
            Some(name) => Some(decode(text(NAME, name)?)?),
            None if is_named(&method) => return Err(Fault::Missing(NAME)),
            None => None,
        };
        Ok(Self::Operation { method, name })
    }
}

/// Whether servers of this version check the headers. Versions are dates, which compare as texts.
fn proves(version: &[u8]) -> bool {
    let is_date = version.len() == PROVES.len()
        && version
            .iter()
            .zip(PROVES)
            .all(|(byte, like)| if *like == b'-' { *byte == b'-' } else { byte.is_ascii_digit() });
    is_date && version >= PROVES.as_slice()
}

/// The value of a header that may be there once.
fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a [u8]>, Fault> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (line, None) => Ok(line.map(|line| line.as_bytes())),
        (_, Some(_)) => Err(Fault::Repeated(name)),
    }
}

/// Visible ASCII and spaces (MCP 2026-07-28, Streamable HTTP, "Value Encoding").
fn text<'a>(header: &'static str, value: &'a [u8]) -> Result<&'a str, Fault> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    text.ok_or(Fault::Undecodable(header))
}

/// Decodes `=?base64?…?=`, whose markers are in lower case. Any other value stands for itself.
fn decode(value: &str) -> Result<String, Fault> {
    let Some(encoded) = value.strip_prefix("=?base64?").and_then(|value| value.strip_suffix("?=")) else {
        return Ok(value.to_owned());
    };
    let decoded = BASE64.decode(encoded.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or(Fault::Undecodable(NAME))
}

/// Why a request does not name its operation unambiguously. The client is at fault.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("send the header {0} once")]
    Repeated(&'static str),
    #[error("this protocol version requires the header {0}")]
    Missing(&'static str),
    #[error("the header {0} is neither visible ASCII nor =?base64?…?= of UTF-8")]
    Undecodable(&'static str),
    #[error(
        "this server knows the operation from the headers: send MCP-Protocol-Version: 2026-07-28 or later, with \
         Mcp-Method and Mcp-Name"
    )]
    Unproven,
    #[error("the headers Mcp-Method and Mcp-Name do not match the body")]
    Mismatch,
    #[error("the body is not JSON")]
    NoJson,
    #[error("the body is no JSON-RPC 2.0 message: {0}")]
    NoMessage(String),
    #[error("`params` must name the tool or the prompt in `name`, or the resource in `uri`")]
    Nameless,
}

impl Fault {
    /// The code of the JSON-RPC error. -32020 is HeaderMismatch (MCP 2026-07-28).
    const fn code(&self) -> i64 {
        match self {
            Self::Repeated(_) | Self::Missing(_) | Self::Undecodable(_) | Self::Mismatch => -32020,
            Self::Unproven | Self::NoMessage(_) => -32600,
            Self::NoJson => -32700,
            Self::Nameless => -32602,
        }
    }

    /// The response, a JSON-RPC error for the request with this id.
    pub(super) fn reply(&self, id: &Value) -> Reply {
        let error = json!({ "code": self.code(), "message": self.to_string() });
        json_reply(StatusCode::BAD_REQUEST, &json!({ "jsonrpc": "2.0", "id": id, "error": error }))
    }

    /// The rule that refuses an agent with this response.
    fn rule(&self) -> Rule {
        Rule::never(Refusal::InvalidOperation, &self.to_string(), self.reply(&Value::Null))
    }
}

/// The policy of a guard.
pub(super) fn policy(rules: Arc<Rules>, reads_body: bool) -> impl Fn(&Parts) -> Option<Rule> + Send + Sync + 'static {
    move |request| rules.of_head(request, reads_body)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn proof(lines: &[(&'static str, &[u8])]) -> Result<Proof, Fault> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        Proof::of(&headers)
    }

    #[test]
    fn only_dates_from_2026_07_28_on_prove_anything() {
        for version in ["2026-07-28", "2026-07-29", "2026-10-01", "2027-01-01", "9999-99-99"] {
            assert!(proves(version.as_bytes()), "{version}");
        }
        for version in [
            "",
            "2026-07-27",
            "2025-11-25",
            "2026-7-28",
            "2026-07-28 ",
            " 2026-07-28",
            "2026-07-280",
            "2026/07/28",
            "DRAFT",
            "draft-2026-07-28",
            "2026-07-2x",
            "3",
            "2026-07-\u{b2}8",
        ] {
            assert!(!proves(version.as_bytes()), "{version}");
        }
    }

    #[test]
    fn a_name_is_decoded_only_between_the_exact_markers() {
        for (value, name) in [
            ("list_projects", "list_projects"),
            ("=?base64?bGlzdA==?=", "list"),
            ("=?base64?w6lsw6h2ZXM=?=", "élèves"),
            ("=?base64??=", ""),
            ("=?BASE64?bGlzdA==?=", "=?BASE64?bGlzdA==?="),
            ("=?base64?bGlzdA==", "=?base64?bGlzdA=="),
            (" list", " list"),
        ] {
            assert_eq!(decode(value).unwrap(), name);
        }
        for bad in
            ["=?base64?bGlzdA?=", "=?base64?bGlz dA==?=", "=?base64?_-8=?=", "=?base64?/w==?=", "=?base64?bGlzdB==?="]
        {
            assert!(matches!(decode(bad), Err(Fault::Undecodable(NAME))), "{bad}");
        }
    }

    #[test]
    fn headers_prove_an_operation_or_are_refused_or_prove_nothing() {
        let new = (VERSION, &b"2026-07-28"[..]);
        let of =
            |method: &str, name: Option<&str>| Proof::Operation { method: method.into(), name: name.map(Into::into) };
        assert_eq!(proof(&[new, (METHOD, b"tools/list")]).unwrap(), of("tools/list", None));
        assert_eq!(proof(&[new, (METHOD, b"tools/call"), (NAME, b"a")]).unwrap(), of("tools/call", Some("a")));
        for nothing in [vec![], vec![(METHOD, &b"ping"[..])], vec![(VERSION, b"2025-11-25"), (METHOD, b"ping")]] {
            assert_eq!(proof(&nothing).unwrap(), Proof::Nothing);
        }
        for twice in [VERSION, METHOD, NAME] {
            let lines = [new, (METHOD, b"tools/call"), (NAME, b"a"), (twice, b"a")];
            assert!(matches!(proof(&lines), Err(Fault::Repeated(name)) if name == twice));
            assert!(matches!(proof(&[(twice, b"a"), (twice, b"a")]), Err(Fault::Repeated(_))), "whatever the version");
        }
        assert!(matches!(proof(&[new]), Err(Fault::Missing(METHOD))));
        for method in [TOOL, RESOURCE, PROMPT] {
            assert!(matches!(proof(&[new, (METHOD, method.as_bytes())]), Err(Fault::Missing(NAME))));
        }
        for bad in [&b"\xc3\xa9"[..], b"a\tb", b"\xff"] {
            assert!(matches!(proof(&[new, (METHOD, TOOL.as_bytes()), (NAME, bad)]), Err(Fault::Undecodable(NAME))));
            assert!(matches!(proof(&[new, (METHOD, bad)]), Err(Fault::Undecodable(METHOD))));
        }
    }
}
