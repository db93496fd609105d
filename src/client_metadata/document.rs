use serde::{Deserialize, de::IgnoredAny};

use super::{FetchError, Fetched};
use crate::{
    config::OAuth,
    types::{
        id::ClientId,
        redirect_uri::RedirectUri,
        text::{HumanText, TextError},
    },
};

/// What a service uses of a client metadata document.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Document {
    pub(crate) name: HumanText,
    pub(crate) redirect_uris: Vec<RedirectUri>,
}

/// Why a document is not accepted. The fault is the client's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("it is no JSON object with the members `client_id`, `client_name` and `redirect_uris`, each once")]
    Json,
    #[error("its `client_id` is not its URL")]
    ClientId,
    #[error("its `client_name` {0}")]
    Name(TextError),
    #[error("it has a `client_secret`, which everybody can read")]
    Secret,
    #[error("the client must offer `none` as its method at the token endpoint")]
    AuthMethod,
    #[error(
        "none of its `redirect_uris` is allowed here: they must be https, or http on 127.0.0.1, [::1] or localhost"
    )]
    RedirectUris,
}

/// The members that count. Others are ignored. What the client asks for beside, such as other grants, it does not get.
#[derive(Deserialize)]
struct Members {
    client_id: String,
    client_name: String,
    redirect_uris: Vec<String>,
    client_secret: Option<IgnoredAny>,
    client_secret_expires_at: Option<IgnoredAny>,
    token_endpoint_auth_method: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Members {
    /// Whether the client can be a public one. It can prefer to authenticate by a key, but nothing here would verify
    /// that. A shared secret can't be in a public document.
    fn offers_none(&self) -> bool {
        let preferred = self.token_endpoint_auth_method.as_deref().unwrap_or("none");
        let listed = self.token_endpoint_auth_methods_supported.as_ref();
        let offered = listed.map_or(preferred == "none", |methods| methods.iter().any(|method| method == "none"));
        offered && !preferred.starts_with("client_secret")
    }
}

impl Document {
    /// Validates the document of a client id (draft-ietf-oauth-client-id-metadata-document section 4.1).
    ///
    /// Redirect URIs that this service does not allow are left out: a document serves all services, and lists the
    /// schemes of apps beside others.
    pub(super) fn read(id: &ClientId, body: &[u8], oauth: &OAuth) -> Result<Self, Invalid> {
        // All of it is UTF-8 (RFC 8259 section 8.1), also what is ignored.
        let text = std::str::from_utf8(body).map_err(|_| Invalid::Json)?;
        // An array would be read as the members in order.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(Invalid::Json);
        }
        let members: Members = serde_json::from_str(text).map_err(|_| Invalid::Json)?;
        if members.client_id != id.as_str() {
            return Err(Invalid::ClientId);
        }
        if members.client_secret.is_some() || members.client_secret_expires_at.is_some() {
            return Err(Invalid::Secret);
        }
        if !members.offers_none() {
            return Err(Invalid::AuthMethod);
        }
        let name = HumanText::new(members.client_name.trim()).map_err(Invalid::Name)?;
        let parse = |uri: &String| RedirectUri::parse(uri, oauth.schemes()).ok().filter(|uri| oauth.allows(uri));
        let redirect_uris: Vec<_> = members.redirect_uris.iter().filter_map(parse).collect();
        if redirect_uris.is_empty() { Err(Invalid::RedirectUris) } else { Ok(Self { name, redirect_uris }) }
    }
}

/// The rules for what a fetcher brings, whichever fetcher it is.
pub(crate) fn check(fetched: &Fetched, longest: usize) -> Result<(), FetchError> {
    if fetched.body.len() > longest {
        return Err(FetchError::TooLong(longest));
    }
    let media_type = fetched.media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = media_type.strip_prefix("application/").unwrap_or_default();
    let is_json = subtype == "json" || (subtype.ends_with("+json") && subtype.len() > "+json".len());
    if is_json { Ok(()) } else { Err(FetchError::MediaType) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{super::LONGEST, *};

    const URL: &str = "https://app.example.com/client.json";

    fn read(body: &str) -> Result<Document, Invalid> {
        Document::read(&ClientId::new(URL).unwrap(), body.as_bytes(), &OAuth::default())
    }

    /// A valid document with these members added or replaced; null leaves one out.
    fn with(changed: Value) -> Result<Document, Invalid> {
        let mut document = json!({ "client_id": URL, "client_name": "App", "redirect_uris": ["http://127.0.0.1/cb"] });
        let members = document.as_object_mut().unwrap();
        members.extend(changed.as_object().unwrap().clone());
        members.retain(|_, value| !value.is_null());
        read(&document.to_string())
    }

    #[test]
    fn ci3_the_members_that_a_document_must_have() {
        assert!(with(json!({})).is_ok());
        for id in [json!(null), json!(5), json!(["https://app.example.com/client.json"])] {
            assert_eq!(with(json!({ "client_id": id })), Err(Invalid::Json));
        }
        for id in ["https://app.example.com/client.json/", "https://APP.example.com/client.json", "", "x"] {
            assert_eq!(with(json!({ "client_id": id })), Err(Invalid::ClientId), "{id}");
        }
        for name in ["", "  ", "a\u{202e}b", &"x".repeat(300)] {
            assert!(matches!(with(json!({ "client_name": name })), Err(Invalid::Name(_))), "{name}");
        }
        for bad in [json!({ "client_name": null }), json!({ "redirect_uris": null }), json!({ "redirect_uris": "x" })] {
            assert_eq!(with(bad.clone()), Err(Invalid::Json), "{bad}");
        }
        for uris in [json!([]), json!(["http://app.example.com/cb"]), json!(["javascript:alert(1)", "cursor://x/y"])] {
            assert_eq!(with(json!({ "redirect_uris": uris })), Err(Invalid::RedirectUris));
        }
        // A document serves all services: what this one does not allow is left out.
        let document = with(json!({ "redirect_uris": ["cursor://x/y", "https://app.example.com/cb"] })).unwrap();
        assert_eq!(document.redirect_uris, [RedirectUri::from_stored("https://app.example.com/cb")]);
    }

    #[test]
    fn ci3_only_an_object_with_each_member_once_is_a_document() {
        let members = format!(r#""client_id":"{URL}","client_name":"App","redirect_uris":["http://127.0.0.1/cb"]"#);
        assert!(read(&format!(" \n{{{members}}} ")).is_ok());
        let mut no_text = format!(r#"{{{members},"x":"y"}}"#).into_bytes();
        let last = no_text.len() - 3;
        no_text[last] = 0xff;
        let id = ClientId::new(URL).unwrap();
        assert_eq!(Document::read(&id, &no_text, &OAuth::default()), Err(Invalid::Json), "it is not UTF-8");
        let deep = format!(r#"{{{members},"x":{}1{}}}"#, "[".repeat(2_000), "]".repeat(2_000));
        assert!(read(&deep).is_ok(), "what is ignored takes no stack");
        for bad in [
            String::new(),
            "null".into(),
            format!("[{{{members}}}]"),
            format!(r#"["{URL}","App",["http://127.0.0.1/cb"],null,null,null,null]"#),
            format!("{{{members}"),
            format!("{{{members}}}x"),
            format!(r#"{{{members},"client_id":"{URL}"}}"#),
            format!(r#"{{{members},"client_name":"Other"}}"#),
            format!(r#"{{{members},"redirect_uris":[]}}"#),
        ] {
            assert_eq!(read(&bad), Err(Invalid::Json), "{bad}");
        }
    }

    #[test]
    fn ci4_l6_the_client_is_a_public_one_and_has_no_secret() {
        for good in [
            json!({ "token_endpoint_auth_method": "none" }),
            json!({ "token_endpoint_auth_methods_supported": ["private_key_jwt", "none"] }),
            json!({
                "token_endpoint_auth_method": "private_key_jwt",
                "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
            }),
        ] {
            assert!(with(good.clone()).is_ok(), "{good}");
        }
        for bad in [
            json!({ "token_endpoint_auth_method": "client_secret_basic" }),
            json!({ "token_endpoint_auth_method": "client_secret_post" }),
            json!({ "token_endpoint_auth_method": "client_secret_jwt" }),
            json!({ "token_endpoint_auth_method": "private_key_jwt" }),
            json!({ "token_endpoint_auth_methods_supported": [] }),
            json!({ "token_endpoint_auth_methods_supported": ["private_key_jwt"] }),
            json!({
                "token_endpoint_auth_method": "client_secret_post",
                "token_endpoint_auth_methods_supported": ["none", "client_secret_post"],
            }),
        ] {
            assert_eq!(with(bad.clone()), Err(Invalid::AuthMethod), "{bad}");
        }
        for bad in
            [json!({ "client_secret": "x" }), json!({ "client_secret": 0 }), json!({ "client_secret_expires_at": 0 })]
        {
            assert_eq!(with(bad.clone()), Err(Invalid::Secret), "{bad}");
        }
    }

    #[test]
    fn ci3_l5_l13_what_else_a_document_has_is_ignored() {
        let more = json!({
            "grant_types": ["authorization_code", "refresh_token", "urn:example:other"],
            "response_types": ["code", "token"],
            "scope": "everything",
            "client_uri": "javascript:alert(1)",
            "logo_uri": "file:///etc/passwd",
            "tos_uri": "http://169.254.169.254/",
            "jwks_uri": "https://10.0.0.1/jwks",
            "application_type": ["odd"],
        });
        assert_eq!(with(more), with(json!({})));
    }

    #[test]
    fn ci2_the_media_type_is_json() {
        let of = |media_type: &str| check(&Fetched::new(media_type, "{}"), LONGEST).is_ok();
        for good in
            ["application/json", "Application/JSON; charset=utf-8", "application/cimd+json", "application/a.b+json"]
        {
            assert!(of(good), "{good}");
        }
        for bad in
            ["", "json", "text/json", "text/html", "application/json5", "application/+json", "application/x-json"]
        {
            assert!(!of(bad), "{bad}");
        }
        let long = Fetched::new("application/json", vec![b' '; LONGEST + 1]);
        assert!(matches!(check(&long, LONGEST), Err(FetchError::TooLong(LONGEST))));
    }

    proptest! {
        /// Whatever the members are: an accepted document has the id of its URL, a name and allowed redirect URIs.
        #[test]
        fn ci3_what_is_accepted_is_what_was_asked_for(
            id in prop_oneof![Just(URL.to_owned()), ".{0,20}"],
            name in ".{0,20}",
            uris in prop::collection::vec("(https?|cursor)://(127.0.0.1|localhost|[a-z.]{1,9})(:[0-9]{1,5})?/[a-z#?]{0,6}", 0..4),
            method in prop::option::of("none|client_secret_basic|private_key_jwt"),
            methods in prop::option::of(prop::collection::vec("none|private_key_jwt", 0..3)),
            secret in prop::option::of("x"),
        ) {
            let found = with(json!({
                "client_id": id,
                "client_name": name,
                "redirect_uris": uris,
                "token_endpoint_auth_method": method,
                "token_endpoint_auth_methods_supported": methods,
                "client_secret": secret,
            }));
            if let Ok(found) = found {
                prop_assert_eq!(id, URL);
                prop_assert!(secret.is_none());
                prop_assert_eq!(found.name.as_str(), name.trim());
                let offered = methods.unwrap_or_else(|| method.clone().into_iter().collect());
                prop_assert!(offered.iter().any(|method| method == "none") || method.is_none());
                prop_assert!(!found.redirect_uris.is_empty());
                for uri in &found.redirect_uris {
                    prop_assert!(uris.iter().any(|listed| listed == uri.as_str()));
                    prop_assert!(uri.is_loopback() || uri.scheme() == "https");
                }
            }
        }
    }
}
