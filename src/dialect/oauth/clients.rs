use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::{
    Config,
    config::DYNAMIC,
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
///
/// Free ports are left out. A program that listens on another port, and registers again before it refreshes, is then the
/// same client, and its refresh token is still its own.
pub(super) fn dynamic_id(name: &HumanText, redirect_uris: &[RedirectUri]) -> Option<ClientId> {
    let mut redirect_uris: Vec<_> =
        redirect_uris.iter().map(|uri| uri.without_free_port().as_str().to_owned()).collect();
    redirect_uris.dedup();
    let metadata = serde_json::to_vec(&Metadata { name: name.to_string(), redirect_uris }).ok()?;
    ClientId::new(&format!("{DYNAMIC}{}", BASE64URL_NOPAD.encode(&metadata))).ok()
}

/// Finds a client: one of the configuration, or one that registered itself.
pub(super) fn find(config: &Config, id: &str) -> Option<KnownClient> {
    let id = ClientId::new(id).ok()?;
    match id.as_str().strip_prefix(DYNAMIC) {
        Some(metadata) if config.oauth().registration => dynamic(config, &id, metadata),
        Some(_) => None,
        None => {
            let client = config.oauth().clients.iter().find(|client| client.id == id.as_str())?;
            let redirect_uris = client.redirect_uris.iter().map(|uri| RedirectUri::from_stored(uri)).collect();
            Some(KnownClient { id, name: HumanText::from_stored(&client.name), redirect_uris })
        }
    }
}

fn dynamic(config: &Config, id: &ClientId, metadata: &str) -> Option<KnownClient> {
    let metadata: Metadata = serde_json::from_slice(&BASE64URL_NOPAD.decode(metadata.as_bytes()).ok()?).ok()?;
    let name = HumanText::new(&metadata.name).ok()?;
    let oauth = config.oauth();
    let parse = |uri: &String| RedirectUri::parse(uri, oauth.schemes()).ok().filter(|uri| oauth.allows(uri));
    let redirect_uris: Option<Vec<_>> = metadata.redirect_uris.iter().map(parse).collect();
    Some(KnownClient { id: id.clone(), name, redirect_uris: redirect_uris? })
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

    #[test]
    fn ci13_the_id_of_a_dynamic_client_is_its_metadata() {
        let name = HumanText::new("Zoë’s \"Agent\" {n}").unwrap();
        let uris = ["http://127.0.0.1/callback", "https://claude.ai/api/mcp/auth_callback"];
        let uris = uris.map(|uri| RedirectUri::parse(uri, Schemes::Web).unwrap());
        let elsewhere = RedirectUri::parse("http://127.0.0.1:43123/callback", Schemes::Web).unwrap();
        let id = dynamic_id(&name, &uris).unwrap();
        let found = find(&config(true), id.as_str()).unwrap();
        assert_eq!((&found.name, &*found.redirect_uris, &found.id), (&name, &uris[..], &id));
        assert_eq!(dynamic_id(&name, &[elsewhere, uris[1].clone()]).unwrap(), id, "a port is no part of a client");
        assert!(find(&config(false), id.as_str()).is_none());
        for cut in 0..id.as_str().len() {
            assert!(find(&config(true), &id.as_str()[..cut]).is_none(), "cut at {cut}");
        }
        let many =
            [1, 2, 3, 4].map(|n| RedirectUri::from_stored(&format!("https://example.com/{n}{}", "a".repeat(490))));
        assert!(dynamic_id(&name, &many).is_none());
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
