use super::check::Check;
use crate::types::{
    callback::host_of,
    id::ClientId,
    redirect_uri::{RedirectUri, Schemes},
    text::HumanText,
};

/// The settings of the dialect `oauth`: which clients it knows, and where it sends browsers.
///
/// Every OAuth client is public: it has no secret, and PKCE binds its code to it (RFC 9700 section 2.1.1).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct OAuth {
    /// Whether clients may register themselves (RFC 7591). A client id then contains the client's name and redirect
    /// URIs, so nothing is stored. Default: true.
    pub registration: bool,
    /// Hosts that an `https` redirect URI of a client may have, unless the service registered the client itself; empty,
    /// the default: any. Loopback addresses are always allowed.
    pub redirect_hosts: Vec<String>,
    /// Whether a redirect URI may have the scheme of an app, such as `com.example.app:/callback` (RFC 8252 section 7.1).
    /// Any program can claim such a scheme. Default: false.
    pub private_use_schemes: bool,
    /// Whether a loopback redirect URI may have the host of the service itself. It matters only for a service on a
    /// loopback address, in development: browsers send its cookies to every port of its host, so to the client too.
    /// Default: false.
    pub redirect_to_own_host: bool,
    /// Whether the authorization server metadata is also served as `openid-configuration`, where some clients look
    /// first. Turn it off if the service has an OpenID provider there. Default: true.
    pub openid_configuration: bool,
    /// Whether a client id may be the URL of a client metadata document
    /// (draft-ietf-oauth-client-id-metadata-document). It needs [`client_metadata`](crate::AgentAuthBuilder::client_metadata) too. Default: true.
    pub metadata_documents: bool,
    /// Hosts that such a URL may have, exactly; empty, the default: any.
    pub metadata_hosts: Vec<String>,
    /// Hosts that such a URL must not have, nor a host below them. Default: none.
    pub metadata_denied_hosts: Vec<String>,
    /// Clients that the service registered itself.
    pub clients: Vec<OAuthClient>,
}

impl Default for OAuth {
    fn default() -> Self {
        Self {
            registration: true,
            redirect_hosts: Vec::new(),
            private_use_schemes: false,
            redirect_to_own_host: false,
            openid_configuration: true,
            metadata_documents: true,
            metadata_hosts: Vec::new(),
            metadata_denied_hosts: Vec::new(),
            clients: Vec::new(),
        }
    }
}

/// An OAuth client that the service registered itself.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct OAuthClient {
    /// The client id: visible ASCII characters. It must not begin with `https:`, or with `dyn_`, which begins the ids of
    /// clients that registered themselves.
    pub id: String,
    /// The name that the human reads.
    pub name: String,
    /// The redirect URIs, at least one.
    pub redirect_uris: Vec<String>,
}

impl OAuthClient {
    /// A client with this id, name and redirect URIs.
    #[must_use]
    pub fn new(id: &str, name: &str, redirect_uris: &[&str]) -> Self {
        let redirect_uris = redirect_uris.iter().map(|&uri| uri.into()).collect();
        Self { id: id.into(), name: name.into(), redirect_uris }
    }
}

impl OAuth {
    /// The schemes that redirect URIs may have.
    #[must_use]
    pub const fn schemes(&self) -> Schemes {
        if self.private_use_schemes { Schemes::AndPrivateUse } else { Schemes::Web }
    }

    /// Whether a client that registered itself, or that has a metadata document, may have this redirect URI.
    #[must_use]
    pub fn allows(&self, uri: &RedirectUri) -> bool {
        match uri.host() {
            Some(host) if !uri.is_loopback() => {
                self.redirect_hosts.is_empty() || self.redirect_hosts.iter().any(|allowed| allowed == host)
            }
            Some(_) => true,
            None => self.private_use_schemes,
        }
    }

    /// Whether the metadata document of a client may be at this host.
    #[must_use]
    pub fn trusts_metadata_of(&self, host: &str) -> bool {
        let is_denied = |denied: &String| {
            let rest = host.strip_suffix(&**denied);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let is_listed = self.metadata_hosts.is_empty() || self.metadata_hosts.iter().any(|listed| listed == host);
        is_listed && !self.metadata_denied_hosts.iter().any(is_denied)
    }

    pub(super) fn check(&self, check: &mut Check) {
        for (field, hosts) in [
            ("oauth.redirect_hosts", &self.redirect_hosts),
            ("oauth.metadata_hosts", &self.metadata_hosts),
            ("oauth.metadata_denied_hosts", &self.metadata_denied_hosts),
        ] {
            for host in hosts {
                let url = format!("https://{host}/");
                if host_of(&url) != host || RedirectUri::parse(&url, Schemes::Web).is_err() {
                    check.note(field, host, "must be a host such as claude.ai, in lower case, without a port");
                }
            }
        }
        for (index, client) in self.clients.iter().enumerate() {
            let field = |name: &str| format!("oauth.clients[{index}].{name}");
            let reserved = client.id.starts_with("https:") || client.id.starts_with(DYNAMIC);
            if ClientId::new(&client.id).is_err() || reserved {
                let remedy = "must be visible ASCII characters, and begin neither with `https:` nor with `dyn_`";
                check.note(field("id"), &client.id, remedy);
            }
            if self.clients[..index].iter().any(|other| other.id == client.id) {
                check.note(field("id"), &client.id, "is there twice; give each client its own id");
            }
            if let Err(error) = HumanText::new(&client.name) {
                check.note(field("name"), &client.name, error.to_string());
            }
            if client.redirect_uris.is_empty() {
                check.note(field("redirect_uris"), "", "is required: name at least one");
            }
            for uri in &client.redirect_uris {
                if let Err(error) = RedirectUri::parse(uri, self.schemes()) {
                    check.note(field("redirect_uris"), uri, error.to_string());
                }
            }
        }
    }
}

/// What the ids of clients begin with that registered themselves.
pub(crate) const DYNAMIC: &str = "dyn_";
