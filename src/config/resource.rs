use std::sync::Arc;

use super::{Config, PROTECTED_RESOURCE, origin_of, path_of};
use crate::types::scope::ScopeSet;

/// A protected resource of the service (RFC 9728 section 2): an API, or an MCP endpoint beside it.
///
/// [`Config::resources`] lists them. A session is issued for one resource, and is valid at its guards only (RFC 8707
/// section 2).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Resource {
    id: Arc<str>,
    name: Arc<str>,
    scopes: ScopeSet,
}

impl Resource {
    pub(super) fn new(id: &str, name: &str, scopes: ScopeSet) -> Self {
        Self { id: id.into(), name: name.into(), scopes }
    }

    /// The identifier: an absolute URL, character for character as configured (RFC 9728 section 3.3). If a path was
    /// configured, it stands after the origin of the top-level `resource`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn shared_id(&self) -> Arc<str> {
        Arc::clone(&self.id)
    }

    /// The name, as people know it. By default, the service's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The scopes that agents may be granted at this resource. By default, all of the catalogue.
    #[must_use]
    pub const fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// The URL of the protected resource metadata (RFC 9728 section 3.1), which every challenge of this resource names.
    #[must_use]
    pub fn protected_resource_metadata_url(&self) -> String {
        format!("{}{PROTECTED_RESOURCE}{}", origin_of(&self.id), path_of(&self.id).trim_end_matches('/'))
    }

    /// The paths of the protected resource metadata. RFC 9728 section 3.1 removes the slash that ends a resource without
    /// a path, and clients differ for one that ends a path. So the document of a resource that ends in a slash has both
    /// spellings.
    pub(crate) fn protected_resource_paths(&self) -> Vec<String> {
        let inserted = format!("{PROTECTED_RESOURCE}{}", path_of(&self.id));
        let mut paths = vec![inserted.trim_end_matches('/').to_owned(), inserted];
        paths.dedup();
        paths
    }
}

impl Config {
    /// The protected resources. The first one is the top-level `resource`: the default where an agent names none.
    #[must_use]
    pub fn resources(&self) -> &[Resource] {
        &self.0.resources
    }

    pub(crate) fn default_resource(&self) -> &Resource {
        &self.0.resources[0]
    }

    /// The resource with exactly this identifier, as sessions and authorization requests have it.
    pub(crate) fn resource_with_id(&self, id: &str) -> Option<&Resource> {
        self.resources().iter().find(|resource| resource.id() == id)
    }

    /// The resource that an agent asks for by its identifier (RFC 8707 section 2).
    ///
    /// Clients parse and write URLs again, so these do not count: upper case in scheme and host, the scheme's default
    /// port, and one slash at the end. An empty path equals `/`.
    ///
    /// ```
    /// # use tower_agent_auth::Config;
    /// let config = Config::from_json(r#"{
    ///     "resource": "https://example.com", "name": "Example",
    ///     "scopes": [{ "name": "projects:read", "description": "See your projects" }],
    ///     "resources": [{ "resource": "/mcp", "name": "Example for assistants" }]
    /// }"#)?;
    /// let found = |asked| config.find_resource(asked).map(|resource| resource.id());
    /// assert_eq!(found("https://example.com/"), Some("https://example.com"));
    /// assert_eq!(found("HTTPS://Example.com:443/mcp/"), Some("https://example.com/mcp"));
    /// assert_eq!(found("https://example.com/mcp/tools"), None);
    /// # Ok::<(), tower_agent_auth::ConfigError>(())
    /// ```
    #[must_use]
    pub fn find_resource(&self, asked: &str) -> Option<&Resource> {
        let asked = Location::of(asked)?;
        self.resources().iter().find(|resource| Location::of(resource.id()).as_ref() == Some(&asked))
    }

    /// The resource that a URL belongs to: the one that [`find_resource`](Self::find_resource) finds, or else the one
    /// with the longest path that the URL's path begins with, segment by segment. Some clients send the URL that a human
    /// typed in place of the identifier.
    ///
    /// A query does not count. A URL with a fragment, a dot segment, a user name or a character that no URL has belongs
    /// to no resource.
    ///
    /// ```
    /// # use tower_agent_auth::Config;
    /// # let config = Config::from_json(r#"{
    /// #     "resource": "https://example.com", "name": "Example",
    /// #     "scopes": [{ "name": "projects:read", "description": "See your projects" }],
    /// #     "resources": [{ "resource": "/mcp" }]
    /// # }"#)?;
    /// let found = |url| config.resource_of(url).map(|resource| resource.id());
    /// assert_eq!(found("https://example.com/mcp/tools"), Some("https://example.com/mcp"));
    /// assert_eq!(found("https://example.com/mcp-v2"), Some("https://example.com"));
    /// assert_eq!(found("https://example.com/mcp/../projects"), None);
    /// # Ok::<(), tower_agent_auth::ConfigError>(())
    /// ```
    #[must_use]
    pub fn resource_of(&self, url: &str) -> Option<&Resource> {
        if !url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\')) {
            return None;
        }
        let asked = Location::of(url.split('?').next()?)?;
        if asked.path.to_ascii_lowercase().replace("%2e", ".").split('/').any(|part| matches!(part, "." | "..")) {
            return None;
        }
        let length = |resource: &&Resource| {
            let place = Location::of(resource.id())?;
            let below = asked.path.strip_prefix(place.path).filter(|_| asked.origin == place.origin)?;
            (below.is_empty() || below.starts_with('/')).then_some(place.path.len())
        };
        self.resources().iter().filter(|resource| length(resource).is_some()).max_by_key(length)
    }

    /// The resource that the service's own code names: by its identifier, or by its path at the top-level resource's
    /// origin.
    pub(crate) fn resource_named(&self, id_or_path: &str) -> Option<&Resource> {
        self.find_resource(&absolute(self.resource(), id_or_path))
    }

    /// The resources whose documents this service serves: those at the origin of the issuer or of the top-level
    /// resource. The services at other origins serve their own.
    pub(crate) fn documented_resources(&self) -> impl Iterator<Item = (usize, &Resource)> {
        let origins = [origin_of(self.issuer()), origin_of(self.resource())];
        self.resources().iter().enumerate().filter(move |(_, resource)| origins.contains(&origin_of(resource.id())))
    }
}

/// The identifier of a resource that is configured as a path at the origin of `top`, or as an absolute URL.
pub(super) fn absolute(top: &str, resource: &str) -> String {
    if resource.starts_with('/') { format!("{}{resource}", origin_of(top)) } else { resource.to_owned() }
}

/// Whether agents could not tell the two identifiers apart.
pub(super) fn are_equal(one: &str, other: &str) -> bool {
    Location::of(one).is_some_and(|one| Location::of(other) == Some(one))
}

/// An absolute http or https URL, in the form in which resources are compared.
#[derive(Eq, PartialEq)]
struct Location<'a> {
    /// In lower case, without the scheme's default port.
    origin: String,
    /// All after the authority, without one slash at its end.
    path: &'a str,
}

impl<'a> Location<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match &*scheme {
            "https" => ":443",
            "http" => ":80",
            _ => return None,
        };
        let authority = authority.strip_suffix(default_port).unwrap_or(authority).to_ascii_lowercase();
        Some(Self { origin: format!("{scheme}://{authority}"), path: path.strip_suffix('/').unwrap_or(path) })
    }
}

/// Builds one further resource.
#[derive(Clone, Debug)]
#[must_use]
pub struct ResourceBuilder {
    pub(super) resource: String,
    pub(super) name: Option<String>,
    pub(super) scopes: Option<Vec<String>>,
}

impl ResourceBuilder {
    pub(super) fn new(resource: &str) -> Self {
        Self { resource: resource.into(), name: None, scopes: None }
    }

    /// The name, as people know it. The approval page shows it. By default, the service's name.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The scopes that agents may be granted at this resource, separated by spaces. By default, all of the catalogue.
    pub fn scopes(mut self, scopes: &str) -> Self {
        self.scopes = Some(scopes.split_ascii_whitespace().map(str::to_owned).collect());
        self
    }
}
