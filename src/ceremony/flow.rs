use std::fmt;

use serde::{Deserialize, Serialize};

use super::{approver::Opener, identity::IdentityFlow};
use crate::{
    store::{StoreError, StoreErrorKind},
    types::{
        authorization::{AuthorizationRequest, Flow, Lookup, Redemption},
        callback::Callback,
        clock::Timestamp,
        pkce::CodeChallenge,
        redirect_uri::RedirectUri,
        secret::{Digest, Exchange, Finish, Kind, Poll},
        session::Salt,
    },
};

/// The version of the stored form of a flow.
const VERSION: u16 = 1;

/// A flow as the ceremony reads it: what the agent must present to poll and to redeem. It is fixed when access is
/// requested.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "flow", rename_all = "snake_case")]
#[non_exhaustive]
pub enum KnownFlow {
    /// The agent polls and redeems with its claim token, by which the request is looked up.
    Claim,
    /// Live browser login: the human's browser sends the exchange code to the agent's callback, and the agent redeems
    /// it with its code verifier.
    Browser {
        /// The digest of the poll token, with which the agent may poll. A status poll never returns the code.
        #[serde(with = "hex")]
        poll: Digest<Poll>,
        /// The callback URL that the browser is sent to.
        #[serde(with = "text")]
        callback: Callback,
        /// The agent's state value, returned with the code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<String>,
        /// The challenge that the code verifier must meet.
        #[serde(with = "hex")]
        challenge: CodeChallenge,
        /// The code that was sent to the callback, once the human has approved.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code<Exchange>>,
    },
    /// Detached login: the agent polls with its poll token, receives the exchange code, and redeems it.
    Detached {
        /// The digest of the poll token.
        #[serde(with = "hex")]
        poll: Digest<Poll>,
        /// The digest of the exchange code, which is derived from the poll token.
        #[serde(with = "hex")]
        exchange: Digest<Exchange>,
        /// Whether the human is also shown a finish code, which redeems without the poll token.
        finish_code: bool,
        /// The finish code that the human was shown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code<Finish>>,
    },
    /// Authorization code grant (RFC 6749 section 4.1): the human's browser takes the code to the client's redirect URI,
    /// and the client redeems it with its code verifier. The code alone finds the request.
    AuthorizationCode {
        /// Where the browser takes the answer, as the client asked.
        #[serde(with = "text")]
        redirect_uri: RedirectUri,
        /// The client's state value, returned with the answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<String>,
        /// The challenge that the code verifier must meet.
        #[serde(with = "hex")]
        challenge: CodeChallenge,
        /// The code, once the human has approved.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code<Exchange>>,
    },
    /// Device authorization grant (RFC 8628): the device polls and redeems with its device code, by which the request is
    /// looked up. The human finds the request by the code that the device shows.
    Device {
        /// The code that the device shows, and that its human compares.
        user_code: String,
    },
    /// An identity of the auth.md protocol. Its agent exchanges an assertion for sessions, again and again.
    Identity(Box<IdentityFlow>),
    /// The human passes the finish code to the agent, which redeems it with its poll token.
    FinishCode {
        /// The digest of the poll token.
        #[serde(with = "hex")]
        poll: Digest<Poll>,
        /// The finish code that the human was shown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code<Finish>>,
    },
}

/// A code that was handed out when an authorization request was approved.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(bound = "")]
#[non_exhaustive]
pub struct Code<K: Kind> {
    /// The digest that a presented code is compared with.
    #[serde(with = "hex")]
    pub digest: Digest<K>,
    /// When it expires.
    #[serde(with = "millis")]
    pub expires_at: Timestamp,
    /// The salt with which the browser session that approved can derive the code again. `None` if the code is random.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_hex")]
    pub salt: Option<Salt>,
}

impl<K: Kind> Code<K> {
    /// A code with this digest, valid until `expires_at`.
    pub(super) const fn new(digest: Digest<K>, expires_at: Timestamp, salt: Option<Salt>) -> Self {
        Self { digest, expires_at, salt }
    }
}

/// A flow with the version of its fields.
#[derive(Deserialize, Serialize)]
struct Stored<F> {
    version: u16,
    /// What identifies the browser that opened the request, while it is pending.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_hex")]
    opener: Option<Opener>,
    #[serde(flatten)]
    flow: F,
}

impl KnownFlow {
    /// The flow of an authorization request.
    ///
    /// # Errors
    /// When this version does not know the flow, for example because a newer version wrote it.
    pub fn of(authorization: &AuthorizationRequest) -> Result<Self, StoreError> {
        Self::read(authorization).map(|stored| stored.flow)
    }

    /// The flow, and what identifies the browser that opened the request.
    pub(super) fn with_opener(authorization: &AuthorizationRequest) -> Result<(Self, Option<Opener>), StoreError> {
        Self::read(authorization).map(|stored| (stored.flow, stored.opener))
    }

    fn read(authorization: &AuthorizationRequest) -> Result<Stored<Self>, StoreError> {
        let corrupt = |source| StoreError::because(StoreErrorKind::Corrupt, source);
        let text = authorization.flow.as_str();
        let stored: Stored<Self> = serde_json::from_str(text).map_err(|_| corrupt(UnknownFlow))?;
        if stored.version == VERSION { Ok(stored) } else { Err(corrupt(UnknownFlow)) }
    }

    /// The stored form of the flow.
    #[must_use]
    pub fn to_stored(&self) -> Flow {
        self.opened_by(None)
    }

    /// The stored form of the flow of a request that this browser opened.
    #[expect(clippy::expect_used, reason = "texts, numbers and booleans under texts can always be written as JSON")]
    pub(super) fn opened_by(&self, opener: Option<Opener>) -> Flow {
        let text = serde_json::to_string(&Stored { version: VERSION, opener, flow: self });
        Flow::from_stored(&text.expect("a flow can be written as JSON"))
    }

    /// Its name in stores and audit events.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Browser { .. } => "browser",
            Self::Detached { .. } => "detached",
            Self::AuthorizationCode { .. } => "authorization_code",
            Self::Device { .. } => "device",
            Self::Identity(_) => "identity",
            Self::FinishCode { .. } => "finish_code",
        }
    }

    /// How often the authorization request can be redeemed.
    #[must_use]
    pub const fn redemption(&self) -> Redemption {
        match self {
            Self::Claim
            | Self::Browser { .. }
            | Self::Detached { .. }
            | Self::AuthorizationCode { .. }
            | Self::Device { .. }
            | Self::FinishCode { .. } => Redemption::Once,
            Self::Identity(_) => Redemption::Again,
        }
    }

    /// The digest of the poll token, if there is one.
    #[must_use]
    pub const fn poll(&self) -> Option<&Digest<Poll>> {
        match self {
            Self::Claim | Self::AuthorizationCode { .. } | Self::Device { .. } | Self::Identity(_) => None,
            Self::Browser { poll, .. } | Self::Detached { poll, .. } | Self::FinishCode { poll, .. } => Some(poll),
        }
    }

    /// Whether the human is shown a finish code after approval.
    #[must_use]
    pub const fn has_finish_code(&self) -> bool {
        matches!(self, Self::FinishCode { .. } | Self::Detached { finish_code: true, .. })
    }

    /// Whether an approval handed out a code that is valid at `now`.
    pub(super) fn has_live_code(&self, now: Timestamp) -> bool {
        let ends = [self.callback_code().map(|code| code.expires_at), self.finish_code().map(|code| code.expires_at)];
        ends.into_iter().flatten().any(|end| !end.has_passed(now))
    }

    /// The code that was sent to the agent's callback or redirect URI.
    pub(super) const fn callback_code(&self) -> Option<&Code<Exchange>> {
        match self {
            Self::Browser { code, .. } | Self::AuthorizationCode { code, .. } => code.as_ref(),
            _ => None,
        }
    }

    /// The finish code that the human was shown, or what the code to read back is made of.
    #[must_use]
    pub const fn finish_code(&self) -> Option<&Code<Finish>> {
        match self {
            Self::Detached { code, .. } | Self::FinishCode { code, .. } => code.as_ref(),
            Self::Identity(identity) => identity.read_back.as_ref(),
            Self::Claim | Self::Browser { .. } | Self::AuthorizationCode { .. } | Self::Device { .. } => None,
        }
    }
}

impl fmt::Debug for KnownFlow {
    /// Without the agent's state value, which may be a secret of the agent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KnownFlow({})", self.name())
    }
}

/// A new flow, and the digest by which its request is looked up.
pub(super) struct NewFlow {
    pub(super) flow: KnownFlow,
    pub(super) lookups: Vec<Lookup>,
}

impl From<KnownFlow> for NewFlow {
    fn from(flow: KnownFlow) -> Self {
        Self { flow, lookups: Vec::new() }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("an authorization request has a flow that this version does not know; run the version that wrote it")]
struct UnknownFlow;

/// 32 bytes as lower-case hexadecimal digits.
pub(super) mod hex {
    use data_encoding::HEXLOWER;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{CodeChallenge, Digest, Kind, Opener, Salt};

    pub(in super::super) trait Bytes: Sized {
        fn bytes(&self) -> &[u8; 32];
        fn of(bytes: [u8; 32]) -> Self;
    }

    impl<K: Kind> Bytes for Digest<K> {
        fn bytes(&self) -> &[u8; 32] {
            self.as_bytes()
        }

        fn of(bytes: [u8; 32]) -> Self {
            Self::from_bytes(bytes)
        }
    }

    impl Bytes for CodeChallenge {
        fn bytes(&self) -> &[u8; 32] {
            self.as_bytes()
        }

        fn of(bytes: [u8; 32]) -> Self {
            Self::from_bytes(bytes)
        }
    }

    impl Bytes for Salt {
        fn bytes(&self) -> &[u8; 32] {
            &self.0
        }

        fn of(bytes: [u8; 32]) -> Self {
            Self(bytes)
        }
    }

    impl Bytes for Opener {
        fn bytes(&self) -> &[u8; 32] {
            &self.0
        }

        fn of(bytes: [u8; 32]) -> Self {
            Self(bytes)
        }
    }

    pub(in super::super) fn serialize<S: Serializer>(value: &impl Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(value.bytes()))
    }

    pub(in super::super) fn deserialize<'de, T: Bytes, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(T::of).ok_or_else(|| D::Error::custom("not 64 hexadecimal digits"))
    }
}

/// The same, for a value that may be missing.
pub(super) mod optional_hex {
    use serde::{Deserializer, Serializer};

    use super::hex::{self, Bytes};

    pub(in super::super) fn serialize<S: Serializer>(
        value: &Option<impl Bytes>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => hex::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, T: Bytes, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        hex::deserialize(deserializer).map(Some)
    }
}

/// A URL as text. It was validated before it was stored.
mod text {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Callback, RedirectUri};

    pub(super) trait Url {
        fn text(&self) -> &str;
        fn from_stored(url: &str) -> Self;
    }

    impl Url for Callback {
        fn text(&self) -> &str {
            self.as_str()
        }

        fn from_stored(url: &str) -> Self {
            Self::from_stored(url)
        }
    }

    impl Url for RedirectUri {
        fn text(&self) -> &str {
            self.as_str()
        }

        fn from_stored(url: &str) -> Self {
            Self::from_stored(url)
        }
    }

    pub(in super::super) fn serialize<S: Serializer>(url: &impl Url, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(url.text())
    }

    pub(in super::super) fn deserialize<'de, T: Url, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        String::deserialize(deserializer).map(|url| T::from_stored(&url))
    }
}

/// Milliseconds since the Unix epoch.
pub(super) mod millis {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Timestamp;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
    pub(in super::super) fn serialize<S: Serializer>(instant: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(instant.as_millis())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ceremony::{Attempt, Login, Refreshing};
    use crate::types::{authorization::Client, id::AuthorizationRequestId, random::OsRandom, text::HumanText};

    fn read(text: &str) -> Result<KnownFlow, StoreError> {
        let (id, now) = (AuthorizationRequestId::generate(&OsRandom).unwrap(), Timestamp::from_millis(0));
        let client = Client::named(HumanText::new("Agent").unwrap());
        KnownFlow::of(&AuthorizationRequest::new(
            id,
            "https://api.example.com",
            client,
            Flow::from_stored(text),
            now,
            now,
        ))
    }

    #[test]
    fn every_flow_reads_back() {
        let (poll, exchange) = (Digest::from_bytes([1; 32]), Digest::from_bytes([2; 32]));
        let finish = Code::new(Digest::from_bytes([3; 32]), Timestamp::from_millis(5), Some(Salt([9; 32])));
        let browser = KnownFlow::Browser {
            poll,
            callback: Callback::from_stored("http://127.0.0.1:4000/callback?a=b"),
            state: Some("&=%#é\0\n\"".into()),
            challenge: CodeChallenge::from_bytes([4; 32]),
            code: Some(Code::new(exchange, Timestamp::from_millis(-1), None)),
        };
        for flow in [
            KnownFlow::Claim,
            browser,
            KnownFlow::Detached { poll, exchange, finish_code: false, code: None },
            KnownFlow::Detached { poll, exchange, finish_code: true, code: Some(finish) },
            KnownFlow::FinishCode { poll, code: None },
            KnownFlow::Device { user_code: "BCDF-GHJK".into() },
            KnownFlow::AuthorizationCode {
                redirect_uri: RedirectUri::from_stored("cursor://x/cb?a=b"),
                state: Some("&=%#é\0".into()),
                challenge: CodeChallenge::from_bytes([4; 32]),
                code: Some(Code::new(exchange, Timestamp::from_millis(9), Some(Salt([7; 32])))),
            },
        ] {
            let stored = flow.to_stored();
            assert!(stored.as_str().contains(&format!("\"flow\":\"{}\"", flow.name())));
            assert_eq!(read(stored.as_str()).unwrap(), flow);
        }
    }

    #[test]
    fn debug_output_has_no_secret_of_the_agent() {
        let (secret, callback) = ("aap_secret", "http://127.0.0.1:4000/callback?key=aap_secret");
        let flow = KnownFlow::Browser {
            poll: Digest::from_bytes([1; 32]),
            callback: Callback::from_stored(callback),
            state: Some(secret.into()),
            challenge: CodeChallenge::from_bytes([4; 32]),
            code: None,
        };
        let login = Login::Browser { callback: callback.into(), state: Some(secret.into()), challenge: secret.into() };
        let mut attempt = Attempt::new("reg_1", secret);
        (attempt.verifier, attempt.poll_token) = (Some(secret), Some(secret));
        for shown in [
            format!("{flow:?}"),
            format!("{login:?}"),
            format!("{attempt:?}"),
            format!("{:?}", Refreshing::new(secret)),
        ] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn r91_a_flow_of_another_version_is_an_error() {
        assert_eq!(read(r#"{"version":1,"flow":"claim","more":null}"#).unwrap(), KnownFlow::Claim);
        for unknown in
            ["", "{}", r#"{"version":2,"flow":"claim"}"#, r#"{"version":1,"flow":"new"}"#, r#"{"flow":"claim"}"#]
        {
            assert_eq!(read(unknown).unwrap_err().kind(), StoreErrorKind::Corrupt, "{unknown}");
        }
    }
}
