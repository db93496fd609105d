use std::{net::IpAddr, sync::Arc};

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::{
    Config,
    ceremony::CeremonyError,
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

/// The metadata of a client that registered itself, stored or in its id.
///
/// In the second case, the id is the metadata, encoded, and nothing proves that this service made it. Nothing needs to: whoever can write
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

impl Metadata {
    /// Free ports are left out. A program that listens on another port, and registers again before it refreshes, is then
    /// the same client, and its refresh token is still its own.
    fn of(name: &HumanText, redirect_uris: &[RedirectUri]) -> Self {
        let mut redirect_uris: Vec<_> =
            redirect_uris.iter().map(|uri| uri.without_free_port().as_str().to_owned()).collect();
        redirect_uris.dedup();
        Self { name: name.to_string(), redirect_uris }
    }

    #[expect(clippy::expect_used, reason = "texts can always be written as JSON")]
    fn to_text(&self) -> String {
        serde_json::to_string(self).expect("metadata can be written as JSON")
    }

    fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// The id that contains it; `None` if it would be too long.
    fn to_id(&self) -> Option<ClientId> {
        ClientId::new(&format!("{DYNAMIC}{}", BASE64URL_NOPAD.encode(self.to_text().as_bytes()))).ok()
    }

    /// The client, if the rules of the configuration allow what the metadata says.
    fn to_client(&self, config: &Config, id: &ClientId) -> Option<KnownClient> {
        let name = HumanText::new(&self.name).ok()?;
        let oauth = config.oauth();
        let parse = |uri: &String| RedirectUri::parse(uri, oauth.schemes()).ok().filter(|uri| oauth.allows(uri));
        let redirect_uris: Option<Vec<_>> = self.redirect_uris.iter().map(parse).collect();
        Some(KnownClient { id: id.clone(), name, redirect_uris: redirect_uris? })
    }
}

/// Why a client is not found.
pub(super) enum NotFound {
    Unknown,
    /// Its id is the URL of a metadata document, which is not there.
    Document(Failure),
    /// The store of registered clients failed.
    Ceremony(CeremonyError),
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
        _ => match local(&context.config, &id) {
            Some(client) => Ok(client),
            None => registered(context, &id).await.map_err(NotFound::Ceremony)?.ok_or(NotFound::Unknown),
        },
    }
}

/// Finds a client whose registration is stored.
async fn registered(context: &Context, id: &ClientId) -> Result<Option<KnownClient>, CeremonyError> {
    let Some(clients) = context.ceremony.clients().filter(|_| context.config.oauth().registration) else {
        return Ok(None);
    };
    let found = clients.find(id).await?;
    Ok(found.and_then(|client| Metadata::read(client.metadata.as_bytes())?.to_client(&context.config, id)))
}

/// Registers a client, and returns its id: stored if the service stores registrations, else its metadata. `None` if the
/// id would be too long.
pub(super) async fn register(
    context: &Context,
    name: &HumanText,
    redirect_uris: &[RedirectUri],
) -> Result<Option<ClientId>, CeremonyError> {
    let metadata = Metadata::of(name, redirect_uris);
    match context.ceremony.clients() {
        Some(clients) => match clients.register(&metadata.to_text()).await {
            // Whoever fills the store keeps nobody out: such an id needs no place in it.
            Err(CeremonyError::TooManyClients) => Ok(metadata.to_id()),
            registered => Ok(Some(registered?.id)),
        },
        None => Ok(metadata.to_id()),
    }
}

/// Records in a task that a client got tokens, so that its stored registration outlives them. A failure costs only that.
pub(super) fn note_use(context: &Arc<Context>, id: &ClientId) {
    if context.ceremony.clients().is_none() {
        return;
    }
    let (context, id) = (Arc::clone(context), id.clone());
    tokio::spawn(async move {
        let Some(clients) = context.ceremony.clients() else { return };
        if let Err(error) = clients.note_use(&id).await {
            context.note_failure(&error);
        }
    });
}

/// The id of a client that this service knows.
///
/// The URL of a metadata document counts as known, and the document is not fetched: a code or a refresh token is good
/// for its own client alone, and only a client whose document was valid can have one. So a login goes on while the
/// client's server is down. For a dead token such a client hears `invalid_grant` and logs in again: there is nothing
/// that it could register. If the service no longer takes the URL, it hears `invalid_client`.
pub(super) async fn known_id(context: &Context, id: &str) -> Result<Option<ClientId>, CeremonyError> {
    let Ok(id) = ClientId::new(id) else { return Ok(None) };
    let is_known = match &context.client_metadata {
        Some(metadata) if is_url(&id) => metadata.check(&id).is_ok(),
        _ => local(&context.config, &id).is_some() || registered(context, &id).await?.is_some(),
    };
    Ok(is_known.then_some(id))
}

/// Whether the id is a URL. No id of the configuration begins so.
fn is_url(id: &ClientId) -> bool {
    id.as_str().starts_with("https:")
}

/// Finds a client without asking a store or another host.
fn local(config: &Config, id: &ClientId) -> Option<KnownClient> {
    match id.as_str().strip_prefix(DYNAMIC) {
        Some(metadata) if config.oauth().registration => {
            Metadata::read(&BASE64URL_NOPAD.decode(metadata.as_bytes()).ok()?)?.to_client(config, id)
        }
        Some(_) => None,
        None => {
            let client = config.oauth().clients.iter().find(|client| client.id == id.as_str())?;
            let redirect_uris = client.redirect_uris.iter().map(|uri| RedirectUri::from_stored(uri)).collect();
            Some(KnownClient { id: id.clone(), name: HumanText::from_stored(&client.name), redirect_uris })
        }
    }
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
        let elsewhere = RedirectUri::parse("http://127.0.0.1:43123/callback", Schemes::Web).unwrap();
        let id = Metadata::of(&name, &uris).to_id().unwrap();
        let found = find(&config(true), id.as_str()).unwrap();
        assert_eq!((&found.name, &*found.redirect_uris, &found.id), (&name, &uris[..], &id));
        assert_eq!(
            Metadata::of(&name, &[elsewhere, uris[1].clone()]).to_id().unwrap(),
            id,
            "a port is no part of a client"
        );
        assert!(find(&config(false), id.as_str()).is_none());
        for cut in 0..id.as_str().len() {
            assert!(find(&config(true), &id.as_str()[..cut]).is_none(), "cut at {cut}");
        }
        let many =
            [1, 2, 3, 4].map(|n| RedirectUri::from_stored(&format!("https://example.com/{n}{}", "a".repeat(490))));
        assert!(Metadata::of(&name, &many).to_id().is_none());
    }

    #[test]
    fn ci13_what_a_written_id_says_obeys_the_rules() {
        let id = |json: &str| format!("dyn_{}", BASE64URL_NOPAD.encode(json.as_bytes()));
        for bad in [
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
