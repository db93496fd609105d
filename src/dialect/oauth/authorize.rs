use std::net::IpAddr;

use super::{
    clients::{self, KnownClient, NotFound},
    parameters::{InvalidTarget, Parameters, Repeated},
};
use crate::{
    ceremony::{self, CeremonyError, CodeGrant},
    client_metadata::Failure,
    config::Resource,
    endpoints::{Arrival, Context, Turned},
    types::{pkce::CodeChallenge, redirect_uri::RedirectUri, scope::Scope},
};

/// The longest query in bytes.
const LONGEST: usize = 12 * 1024;
/// Scopes of OpenID Connect that clients ask for out of habit. They give nothing here.
pub(super) const IGNORED: [&str; 2] = ["offline_access", "openid"];

/// Reads an authorization request (RFC 6749 section 4.1.1, RFC 7636 section 4.3, RFC 8707 section 2.1).
///
/// Until the client and its redirect URI are proven, an error is shown to the human. From then on it is taken to the
/// client. [`Proven`] is the difference.
pub(super) async fn read(context: &Context, query: &str, browser: Option<IpAddr>) -> Result<Arrival, Turned> {
    let parameters = Parameters::read(query.as_bytes());
    let proven = Proven::of(context, query, &parameters, browser).await?;
    proven.read(context, &parameters).map_err(|error| proven.turn(context, &error))
}

/// The URL that takes an answer to the client.
pub(super) fn answer(
    context: &Context,
    redirect_uri: &RedirectUri,
    state: Option<&str>,
    parameters: &[(&str, &str)],
) -> String {
    let mut parameters = parameters.to_vec();
    parameters.extend(state.map(|state| ("state", state)));
    parameters.push(("iss", context.config.issuer()));
    redirect_uri.with(&parameters)
}

/// A client, and a redirect URI of it.
struct Proven {
    client: KnownClient,
    redirect_uri: RedirectUri,
    state: Option<String>,
}

/// The code and the text of an error that is taken to the client (RFC 6749 section 4.1.2.1).
pub(super) struct Answer(pub(super) &'static str, pub(super) String);

impl From<Repeated> for Answer {
    fn from(repeated: Repeated) -> Self {
        Self("invalid_request", repeated.text())
    }
}

impl From<InvalidTarget> for Answer {
    fn from(_: InvalidTarget) -> Self {
        Self("invalid_target", "`resource` must be the identifier of one resource of this service".into())
    }
}

impl Proven {
    async fn of(
        context: &Context,
        query: &str,
        parameters: &Parameters<'_>,
        browser: Option<IpAddr>,
    ) -> Result<Self, Turned> {
        let shown = |text: &str| Turned::Page(text.to_owned());
        let repeated = |repeated: Repeated| Turned::Page(format!("the link has {}", repeated.text()));
        if query.len() > LONGEST {
            return Err(shown("the link is too long"));
        }
        let id = parameters.one("client_id").map_err(repeated)?;
        let id = id.ok_or_else(|| shown("the link does not say which app asks: `client_id` is missing"))?;
        let client = clients::find(context, id, browser).await.map_err(|not_found| match not_found {
            NotFound::Unknown => {
                shown("the service does not know the app that asks (`client_id`); it has to register again")
            }
            NotFound::Ceremony(error) => Turned::Failed(error),
            NotFound::Document(Failure::TooMany) => Turned::Later("too many apps are being looked up".into()),
            NotFound::Document(failure) => Turned::Page(format!("the app can't be identified: {failure}")),
        })?;
        let uri = parameters.one("redirect_uri").map_err(repeated)?;
        let uri = uri.ok_or_else(|| shown("the link does not say where the app waits: `redirect_uri` is missing"))?;
        if !client.redirect_uris.iter().any(|registered| registered.matches(uri)) {
            return Err(shown("the app did not register the place where it waits (`redirect_uri`)"));
        }
        let redirect_uri = RedirectUri::from_stored(uri);
        let own = redirect_uri.host().is_some_and(|host| context.config.is_own_host(host));
        if redirect_uri.is_loopback() && own && !context.config.oauth().redirect_to_own_host {
            return Err(shown(
                "the app waits on the host of this service (`redirect_uri`), so it would get your cookies; the service \
                 can allow it with `oauth.redirect_to_own_host`",
            ));
        }
        let state = parameters.one("state").ok().flatten().map(str::to_owned);
        Ok(Self { client, redirect_uri, state })
    }

    /// Takes an error to the client.
    fn turn(&self, context: &Context, Answer(code, text): &Answer) -> Turned {
        let error = [("error", *code), ("error_description", text)];
        Turned::Url(answer(context, &self.redirect_uri, self.state.as_deref(), &error))
    }

    fn read(&self, context: &Context, parameters: &Parameters<'_>) -> Result<Arrival, Answer> {
        let invalid = |text: &str| Answer("invalid_request", text.to_owned());
        parameters.one("state")?;
        match parameters.one("response_type")? {
            Some("code") => {}
            Some(_) => return Err(Answer("unsupported_response_type", "`response_type` must be code".into())),
            None => return Err(invalid("`response_type` is required: send code")),
        }
        if parameters.one("response_mode")?.is_some_and(|mode| mode != "query") {
            return Err(invalid("`response_mode` must be query, or be left out"));
        }
        if parameters.one("code_challenge_method")? != Some("S256") {
            return Err(invalid("`code_challenge_method` must be S256 (RFC 7636)"));
        }
        let challenge = parameters.one("code_challenge")?.filter(|challenge| challenge.len() == 43);
        let challenge = challenge.and_then(CodeChallenge::parse).ok_or_else(|| {
            invalid("`code_challenge` must be the SHA-256 of the code verifier, as 43 characters of base64url")
        })?;
        if parameters.one("prompt")? == Some("none") {
            return Err(Answer("interaction_required", "`prompt` can't be none: a human decides".into()));
        }
        let resource = parameters.resource(&context.config)?.unwrap_or_else(|| context.config.default_resource());
        let scopes = scopes(context, resource, parameters.one("scope")?)?;
        let request = ceremony::Request::by(self.client.name.clone())
            .client_id(Some(self.client.id.clone()))
            .scopes(scopes)
            .resource(Some(resource.id().to_owned()));
        Ok(Arrival { request, grant: CodeGrant::new(self.redirect_uri.clone(), self.state.clone(), challenge) })
    }
}

/// The scopes that are asked for. Unknown ones are left out, as RFC 6749 section 3.3 allows: clients ask for all that any
/// service might have. Without any, the defaults, or if the catalogue has none, all that the resource has.
pub(super) fn scopes(context: &Context, resource: &Resource, asked: Option<&str>) -> Result<Vec<String>, Answer> {
    let offered = resource.scopes();
    let asked: Vec<&str> = asked.unwrap_or_default().split(' ').filter(|name| !name.is_empty()).collect();
    let asked: Vec<&str> = asked.into_iter().filter(|name| !IGNORED.contains(name)).collect();
    let known = |name: &&str| Scope::new(name).is_ok_and(|scope| offered.contains(&scope));
    let scopes: Vec<String> = asked.iter().filter(|name| known(name)).map(|&name| name.to_owned()).collect();
    if !asked.is_empty() && scopes.is_empty() {
        let offered = offered.names().join(" ");
        return Err(Answer("invalid_scope", format!("`scope` has no scope that is offered; offered are: {offered}")));
    }
    let no_default = || !context.config.catalogue().defaults().intersects(offered);
    if scopes.is_empty() && no_default() {
        return Ok(offered.names().iter().map(ToString::to_string).collect());
    }
    Ok(scopes)
}

/// The error of the ceremony for a request whose redirect URI is proven, as the client gets it.
pub(super) fn refused(context: &Context, grant: &CodeGrant, error: &CeremonyError) -> Option<String> {
    let code = match error {
        CeremonyError::NoScope { .. } | CeremonyError::UnknownScope { .. } => "invalid_scope",
        CeremonyError::InvalidTarget => "invalid_target",
        CeremonyError::StateTooLong { .. } => "invalid_request",
        CeremonyError::TooManyFromSource | CeremonyError::TooManyPending => "temporarily_unavailable",
        _ => return None,
    };
    let error = [("error", code), ("error_description", &error.to_string())];
    Some(answer(context, &grant.redirect_uri, grant.state.as_deref(), &error))
}
