use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION,
        CONTENT_TYPE, ORIGIN,
    },
};

use super::{
    Answer, App, Misassembly, Report,
    driver::request,
    endpoints::{redirected, refused_preflight, unreadable},
    is_unrouted,
};
use crate::{
    Config,
    challenge::Challenge,
    config::{Resource, path_of},
    guard::NO_GUARD,
};

/// What a test says that a route is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Protected,
    OwnerOnly,
    Grpc,
}

/// A route that a test names.
#[derive(Clone, Debug)]
pub(super) struct Named {
    kind: Kind,
    method: Method,
    path: String,
}

/// What the check knows beside the route.
pub(super) struct Context<'a> {
    pub(super) config: &'a Config,
    /// What a proxy in front removes from the paths.
    pub(super) removed: Option<&'a str>,
    pub(super) session: Option<&'a HeaderValue>,
    pub(super) origin: Option<&'a str>,
    pub(super) unrouted: Option<&'a Answer>,
}

const GRPC: &str = "application/grpc";

impl Named {
    pub(super) fn new(kind: Kind, route: &str) -> Self {
        let named = route.split_once(char::is_whitespace);
        let (method, path) = named.map_or(("GET", route), |(method, path)| (method, path.trim()));
        Self { kind, method: method.to_ascii_uppercase().parse().unwrap_or(Method::GET), path: path.into() }
    }

    pub(super) fn path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    fn label(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn request(&self, headers: &[(HeaderName, &str)]) -> Request<Bytes> {
        let mut asked = request(&self.method, &self.path, headers, Bytes::new());
        if self.kind == Kind::Grpc {
            asked.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
        }
        asked
    }

    pub(super) async fn check(&self, context: &Context<'_>, app: &mut impl App, report: &mut Report) {
        let label = self.label();
        let answer = match app.send(self.request(&[])).await {
            Ok(answer) => answer,
            Err(error) => return report.add(Misassembly::Failed, &label, error),
        };
        if let Err((kind, seen)) = self.refusal(&answer, context) {
            return report.add(kind, &label, seen);
        }
        let Some(challenge) = answer.challenge() else {
            return report.add(
                Misassembly::NoChallenge,
                &label,
                "its refusal has no challenge with `resource_metadata`",
            );
        };
        if let Some((kind, seen)) = self.check_challenge(&challenge, context) {
            report.add(kind, &label, seen);
        }
        self.check_token(context, app, report).await;
        self.check_session(context, app, report).await;
        self.check_cors(context, app, report).await;
    }

    /// Whether this is how a guard refuses a request without credentials.
    fn refusal(&self, answer: &Answer, context: &Context<'_>) -> Result<(), (Misassembly, String)> {
        let status = answer.status;
        let grpc_status = answer.headers.get("grpc-status").map(HeaderValue::as_bytes);
        Err(match status {
            StatusCode::UNAUTHORIZED if self.kind == Kind::Grpc && answer.challenge().is_some() => {
                (Misassembly::NotGrpc, "it refuses a gRPC call with 401 and no `grpc-status`".into())
            }
            StatusCode::UNAUTHORIZED => return Ok(()),
            StatusCode::OK if self.kind == Kind::Grpc && grpc_status == Some(b"16") => return Ok(()),
            StatusCode::OK if self.kind == Kind::Grpc && grpc_status == Some(b"12") => {
                (Misassembly::NoSuchRoute, "the service has no such gRPC method".into())
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                (Misassembly::NoSuchRoute, format!("the service answered {status}"))
            }
            _ if answer.text().contains(NO_GUARD) => {
                (Misassembly::Unguarded, "its handler takes the caller, and no guard looked for one".into())
            }
            _ if status.is_redirection() => (Misassembly::NoChallenge, redirected(answer)),
            StatusCode::FORBIDDEN => (Misassembly::NoChallenge, "a request without credentials is answered 403".into()),
            _ if self.kind != Kind::Grpc && is_unrouted(answer, context.unrouted) => {
                (Misassembly::NoSuchRoute, format!("the service's fallback answered {status}"))
            }
            _ => (Misassembly::Unguarded, format!("a request without credentials is answered {status}")),
        })
    }

    /// Whether the challenge leads to a resource of this service that the route is below.
    fn check_challenge(&self, challenge: &Challenge, context: &Context<'_>) -> Option<(Misassembly, String)> {
        let named = challenge.parameter("resource_metadata").unwrap_or_default();
        let own = |resource: &&Resource| resource.protected_resource_metadata_url() == named;
        let Some(resource) = context.config.resources().iter().find(own) else {
            return Some((
                Misassembly::ForeignChallenge,
                format!("its challenge names {named}, which is none of this service"),
            ));
        };
        let place = path_of(resource.id());
        let (place, path) = match context.removed {
            Some(removed) => (place.to_owned(), format!("{removed}{}", self.path())),
            None => (context.config.arriving_path(place), self.path().to_owned()),
        };
        let below = path.strip_prefix(place.trim_end_matches('/'));
        if below.is_some_and(|below| below.is_empty() || below.starts_with('/')) {
            return None;
        }
        Some((Misassembly::OutsideResource, format!("its challenge leads to the resource {}", resource.id())))
    }

    /// A token that no store knows must get to the guard.
    async fn check_token(&self, context: &Context<'_>, app: &mut impl App, report: &mut Report) {
        let token = format!("Bearer {}unknown", context.config.prefixes().access.as_str());
        let Ok(answer) = app.send(self.request(&[(AUTHORIZATION, &token)])).await else { return };
        let error = answer.challenge().and_then(|challenge| challenge.parameter("error").map(str::to_owned));
        let seen = match error.as_deref() {
            Some("invalid_token") => return,
            _ if answer.status.is_success() && !answer.headers.contains_key("grpc-status") => {
                return report.add(Misassembly::Unguarded, &self.label(), "an unknown token passes");
            }
            Some(error) => format!("an unknown token is refused with `{error}`"),
            None => "an unknown token is refused like a request without one".into(),
        };
        report.add(Misassembly::AuthorizationLost, &self.label(), seen);
    }

    /// The session that the check was given passes, but not where only the owner may.
    async fn check_session(&self, context: &Context<'_>, app: &mut impl App, report: &mut Report) {
        let Some(session) = context.session.filter(|_| self.kind == Kind::OwnerOnly || self.method == Method::GET)
        else {
            return;
        };
        let mut asked = self.request(&[]);
        asked.headers_mut().insert(AUTHORIZATION, session.clone());
        let answer = match app.send(asked).await {
            Ok(answer) => answer,
            Err(error) => return report.add(Misassembly::Failed, &self.label(), error),
        };
        let status = answer.status;
        let code = answer.challenge().and_then(|challenge| challenge.parameter("error").map(str::to_owned));
        let (kind, seen) = match self.kind {
            Kind::OwnerOnly if status == StatusCode::FORBIDDEN => return,
            Kind::OwnerOnly => (Misassembly::OpenToAgents, format!("a valid session is answered {status}")),
            _ => match answer.refusal {
                Some(refusal) => {
                    (Misassembly::SessionRefused, format!("the guard's refusal is `{}`", refusal.as_str()))
                }
                None if code.is_some() => {
                    (Misassembly::SessionRefused, format!("the guard's refusal is `{}`", code.unwrap_or_default()))
                }
                None if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
                    || status.is_redirection() =>
                {
                    (Misassembly::RefusedInside, format!("a valid session with the scopes is answered {status}"))
                }
                None => return,
            },
        };
        report.add(kind, &self.label(), seen);
    }

    /// A page of the given origin calls the route, and reads the challenge.
    async fn check_cors(&self, context: &Context<'_>, app: &mut impl App, report: &mut Report) {
        let Some(origin) = context.origin.filter(|_| self.kind == Kind::Protected) else { return };
        let method = self.method.as_str();
        let asked = [
            (ORIGIN, origin),
            (ACCESS_CONTROL_REQUEST_METHOD, method),
            (ACCESS_CONTROL_REQUEST_HEADERS, "authorization"),
        ];
        let preflight = app.send(request(&Method::OPTIONS, &self.path, &asked, Bytes::new())).await;
        let refused = preflight.map(|answer| refused_preflight(&answer, origin, method, &["authorization"]));
        let seen = match refused {
            Err(error) => Some(error),
            Ok(Some(seen)) => Some(seen),
            Ok(None) => match app.send(self.request(&[(ORIGIN, origin)])).await {
                Err(error) => Some(error),
                Ok(answer) => unreadable(&answer, origin).or_else(|| {
                    let exposed = answer.headers.get_all(ACCESS_CONTROL_EXPOSE_HEADERS).iter();
                    let mut exposed =
                        exposed.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
                    let is_exposed = exposed
                        .any(|name| matches!(name.trim().to_ascii_lowercase().as_str(), "*" | "www-authenticate"));
                    (!is_exposed).then(|| "`Access-Control-Expose-Headers` has no `www-authenticate`".to_owned())
                }),
            },
        };
        if let Some(seen) = seen {
            report.add(Misassembly::Cors, &self.label(), seen);
        }
    }
}
