use std::net::IpAddr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::{
    Config,
    client_metadata::Failure,
    config::DYNAMIC,
    endpoints::Context,
    types::{id::ClientId, redirect_uri::RedirectUri, text::HumanText},
};

/// A client that may log in.
pub(super) struct KnownClient {
    pub(super) id: ClientId,
    pub(super) name: HumanText,
    pub(super) redirect_uris: Vec<RedirectUri>,
}

/// The metadata in the id of a client that registered itself.
///
/// The id is the metadata, encoded, and nothing proves that this service made it. Nothing needs to: whoever can write
/// such an id could as well register it. In exchange nothing is stored, and an id is valid for as long as the rules of
/// the configuration allow what it says.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    #[serde(rename = "n")]
    name: String,
    #[serde(rename = "r")]
    redirect_uris: Vec<String>,
}

/// The id of a client that registers itself; `None` if it would be too long.
pub(super) fn dynamic_id(name: &HumanText, redirect_uris: &[RedirectUri]) -> Option<ClientId> {
    let redirect_uris = redirect_uris.iter().map(|uri| uri.as_str().to_owned()).collect();
    let metadata = serde_json::to_vec(&Metadata { name: name.to_string(), redirect_uris }).ok()?;
    ClientId::new(&format!("{DYNAMIC}{}", BASE64URL_NOPAD.encode(&metadata))).ok()
}

/// Why a client is not found.
pub(super) enum NotFound {
    Unknown,
    /// Its id is the URL of a metadata document, which is not there.
    Document(Failure),
}

/// Finds a client for a browser at the address `browser`: one of the configuration, one that registered itself, or one
/// whose id is the URL of its metadata document.
pub(super) async fn find(context: &Context, id: &str, browser: Option<IpAddr>) -> Result<KnownClient, NotFound> {
    let id = ClientId::new(id).map_err(|_| NotFound::Unknown)?;
    match &context.client_metadata {
        Some(metadata) if is_url(&id) => {
            let document = metadata.find(&id, browser).await.map_err(NotFound::Document)?;
            let (name, redirect_uris) = (document.name.clone(), document.redirect_uris.clone());
            Ok(KnownClient { id, name, redirect_uris })
        }
        _ => local(&context.config, &id).ok_or(NotFound::Unknown),
    }
}

/// The id of a client that this service knows.
///
/// The URL of a metadata document counts as known, and the document is not fetched: a code or a refresh token is good
/// for its own client alone, and only a client whose document was valid can have one. So a login goes on while the
/// client's server is down. For a dead token such a client hears `invalid_grant` and logs in again: there is nothing
/// that it could register. If the service no longer takes the URL, it hears `invalid_client`.
pub(super) fn known_id(context: &Context, id: &str) -> Option<ClientId> {
    let id = ClientId::new(id).ok()?;
    let is_known = match &context.client_metadata {
        Some(metadata) if is_url(&id) => metadata.check(&id).is_ok(),
        _ => local(&context.config, &id).is_some(),
    };
    is_known.then_some(id)
}

/// Whether the id is a URL. No id of the configuration begins so.
fn is_url(id: &ClientId) -> bool {
    id.as_str().starts_with("https:")
}

/// Finds a client without asking another host.
fn local(config: &Config, id: &ClientId) -> Option<KnownClient> {
    match id.as_str().strip_prefix(DYNAMIC) {
        Some(metadata) if config.oauth().registration => dynamic(config, id, metadata),
        Some(_) => None,
        None => {
            let client = config.oauth().clients.iter().find(|client| client.id == id.as_str())?;
            let redirect_uris = client.redirect_uris.iter().map(|uri| RedirectUri::from_stored(uri)).collect();
            Some(KnownClient { id: id.clone(), name: HumanText::from_stored(&client.name), redirect_uris })
        }
    }
}

fn dynamic(config: &Config, id: &ClientId, metadata: &str) -> Option<KnownClient> {
    let metadata: Metadata = serde_json::from_slice(&BASE64URL_NOPAD.decode(metadata.as_bytes()).ok()?).ok()?;
    let name = HumanText::new(&metadata.name).ok()?;
    let oauth = config.oauth();
    let parse = |uri: &String| RedirectUri::parse(uri, oauth.schemes()).ok().filter(|uri| oauth.allows(uri));
    let redirect_uris: Vec<_> = metadata.redirect_uris.iter().filter_map(parse).collect();
    if redirect_uris.is_empty() { None } else { Some(KnownClient { id: id.clone(), name, redirect_uris }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::redirect_uri::Schemes;

    fn config(registration: bool) -> Config {
        let config = Config::builder().resource("https://api.example.com").name("Example");
        let config = config.scope("read", "Read", |scope| scope.by_default());
        config.oauth(|oauth| oauth.registration = registration).build().unwrap()
    }

    fn find(config: &Config, id: &str) -> Option<KnownClient> {
        local(config, &ClientId::new(id).ok()?)
    }

    #[test]
    fn ci13_the_id_of_a_dynamic_client_is_its_metadata() {
        let name = HumanText::new("Zoë’s \"Agent\" {n}").unwrap();
        let uris = ["http://127.0.0.1/callback", "https://claude.ai/api/mcp/auth_callback"];
        let uris = uris.map(|uri| RedirectUri::parse(uri, Schemes::Web).unwrap());
        let id = dynamic_id(&name, &uris).unwrap();
        let found = find(&config(true), id.as_str()).unwrap();
        assert_eq!((&found.name, &*found.redirect_uris, &found.id), (&name, &uris[..], &id));
        assert!(find(&config(false), id.as_str()).is_none());
        for cut in 0..id.as_str().len() {
            assert!(find(&config(true), &id.as_str()[..cut]).is_none(), "cut at {cut}");
        }
        let many = vec![RedirectUri::from_stored(&format!("https://example.com/{}", "a".repeat(490))); 4];
        assert!(dynamic_id(&name, &many).is_none());
    }

    #[test]
    fn ci13_what_a_written_id_says_obeys_the_rules() {
        let id = |json: &str| format!("dyn_{}", BASE64URL_NOPAD.encode(json.as_bytes()));
        for bad in [
            r#"{"n":"x","r":[]}"#,
            r#"{"n":"x","r":["javascript:alert(1)"]}"#,
            r#"{"n":"x","r":["http://example.com/cb"]}"#,
            r#"{"n":"","r":["https://example.com/cb"]}"#,
            r#"{"n":"x\u202ey","r":["https://example.com/cb"]}"#,
            r#"{"n":"x","r":["https://example.com/cb"],"more":1}"#,
            r#"{"n":"x","n":"y","r":["https://example.com/cb"]}"#,
            "[]",
        ] {
            assert!(find(&config(true), &id(bad)).is_none(), "{bad}");
        }
        assert!(find(&config(true), &id(r#"{"n":"x","r":["https://example.com/cb"]}"#)).is_some());
    }
}
