use super::{
    Resource,
    check::Check,
    resource::{absolute, are_equal},
};
use crate::types::{
    callback::host_of,
    id::ClientId,
    redirect_uri::{RedirectUri, Schemes},
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
    /// Whether programs that can't receive their human's browser may log in by a code that the human types (RFC 8628).
    /// Default: true.
    pub device: bool,
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
    /// Services that may ask whether a token is valid (RFC 7662), for resources of this issuer that they guard.
    pub resource_servers: Vec<ResourceServer>,
}

impl Default for OAuth {
    fn default() -> Self {
        Self {
            registration: true,
            redirect_hosts: Vec::new(),
            private_use_schemes: false,
            redirect_to_own_host: false,
            device: true,
            openid_configuration: true,
            metadata_documents: true,
            metadata_hosts: Vec::new(),
            metadata_denied_hosts: Vec::new(),
            clients: Vec::new(),
            resource_servers: Vec::new(),
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

/// A service that may ask whether a token is valid (RFC 7662 section 2), such as one with `store::RemoteSessions` (feature
/// `remote`).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ResourceServer {
    /// Its name, which it sends with its secret: visible ASCII characters without a colon.
    pub id: String,
    /// The SHA-256 of its secret, as 64 hexadecimal digits. The secret must be random: at least 32 characters.
    pub secret_sha256: String,
    /// The resources that it guards, by identifier or path. It learns nothing of tokens for others.
    pub resources: Vec<String>,
}

impl ResourceServer {
    /// A resource server with this id and hash of its secret, for these resources.
    #[must_use]
    pub fn new(id: &str, secret_sha256: &str, resources: &[&str]) -> Self {
        let resources = resources.iter().map(|&resource| resource.into()).collect();
        Self { id: id.into(), secret_sha256: secret_sha256.into(), resources }
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

    pub(super) fn check(&self, check: &mut Check, resources: &[Resource]) {
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
            check.human_text(&field("name"), &client.name);
            if client.redirect_uris.is_empty() {
                check.note(field("redirect_uris"), "", "is required: name at least one");
            }
            for uri in &client.redirect_uris {
                if let Err(error) = RedirectUri::parse(uri, self.schemes()) {
                    check.note(field("redirect_uris"), uri, error.to_string());
                }
            }
        }
        self.check_resource_servers(check, resources);
    }

    fn check_resource_servers(&self, check: &mut Check, resources: &[Resource]) {
        for (index, server) in self.resource_servers.iter().enumerate() {
            let field = |name: &str| format!("oauth.resource_servers[{index}].{name}");
            let plain = server.id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
            if server.id.is_empty() || !plain {
                check.note(field("id"), &server.id, "must be visible ASCII characters without a colon");
            }
            if self.resource_servers[..index].iter().any(|other| other.id == server.id) {
                check.note(field("id"), &server.id, "is there twice; give each server its own id");
            }
            let is_digest =
                server.secret_sha256.len() == 64 && server.secret_sha256.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_digest {
                check.note(field("secret_sha256"), "", "must be the SHA-256 of the secret, as 64 hexadecimal digits");
            }
            if server.resources.is_empty() {
                check.note(field("resources"), "", "is required: name at least one resource");
            }
            for name in &server.resources {
                let named = |resource: &Resource| {
                    let top = resources.first().map_or("", Resource::id);
                    are_equal(resource.id(), &absolute(top, name))
                };
                if !resources.iter().any(named) {
                    check.note(field("resources"), name, "is no resource of this configuration");
                }
            }
        }
    }
}

/// What the ids of clients begin with that registered themselves.
pub(crate) const DYNAMIC: &str = "dyn_";
/// The path of the introspection endpoint, below the issuer.
pub(crate) const INTROSPECT: &str = "/oauth2/introspect";
/// The parameter of the introspection endpoint with the SHA-256 of the token in hexadecimal digits, in place of `token`.
pub(crate) const TOKEN_SHA256: &str = "token_sha256";
