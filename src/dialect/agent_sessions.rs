use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use minijinja::context;
use serde_json::{Map, Value, json};

use super::{
    busy, challenged, client_name, field_text,
    fields::{Fields, Refused, invalid},
    label, refuse_pages,
};
use crate::{
    Config,
    accounts::head_of,
    ceremony::limiter,
    ceremony::{
        self, Attempt, CeremonyError, Decided, HandedOut, Issued, KnownFlow, Login, LoginRequested, LoginStatus,
        Refreshing,
    },
    documents::{Metadata, auth_md},
    endpoints::{Context, Destination, Dialect, Endpoint, Handover, RateClass},
    http::{Answering, Credentials, Reply, has_agent_credential, jitter, json_reply, retry_after},
    types::{
        authorization::State,
        clock::Timestamp,
        id::{AccountId, SessionId},
        session::{Session, SessionRecord},
        text::HumanText,
    },
};

const START: &str = "/agent-sessions/start";
const AUTHORIZE: &str = "/agent-sessions/authorize/";
const POLL: &str = "/agent-sessions/poll";
const EXCHANGE: &str = "/agent-sessions/exchange";
const REFRESH: &str = "/agent-sessions/refresh";
const REVOKE: &str = "/agent-sessions/revoke";
const LIST: &str = "/account/agent-sessions";

/// `/agent-sessions/…` and `/account/agent-sessions`: request, poll, redeem, refresh, revoke, list.
pub(super) struct AgentSessionsDialect;

impl Dialect for AgentSessionsDialect {
    fn endpoints(&self, context: &Arc<Context>) -> Vec<(&'static str, Arc<dyn Endpoint>)> {
        let verbs = [
            (START, Verb::Start),
            (POLL, Verb::Poll),
            (EXCHANGE, Verb::Exchange),
            (REFRESH, Verb::Refresh),
            (REVOKE, Verb::Revoke),
            (LIST, Verb::List),
        ];
        let endpoint =
            |(path, verb)| -> (_, Arc<dyn Endpoint>) { (path, Arc::new(Call { verb, context: Arc::clone(context) })) };
        verbs.into_iter().map(endpoint).collect()
    }

    fn approval_path(&self) -> &'static str {
        AUTHORIZE
    }

    fn owns(&self, flow: &KnownFlow) -> bool {
        match flow {
            KnownFlow::Claim
            | KnownFlow::AuthorizationCode { .. }
            | KnownFlow::Device { .. }
            | KnownFlow::Identity(_) => false,
            KnownFlow::Browser { .. } | KnownFlow::Detached { .. } | KnownFlow::FinishCode { .. } => true,
        }
    }

    fn takes_refresh_tokens(&self) -> bool {
        true
    }

    fn destination<'f>(&self, flow: &'f KnownFlow) -> Option<Destination<'f>> {
        let KnownFlow::Browser { callback, .. } = flow else { return None };
        let (form_action, host, is_loopback) = (callback.location(), Some(callback.host()), callback.is_loopback());
        Some(Destination { form_action, host, is_loopback })
    }

    /// Sends an exchange code to the agent's callback.
    fn hand_over(&self, context: &Context, decided: Decided) -> Handover {
        match (decided.code, &decided.flow) {
            (Some(HandedOut::Exchange(code)), KnownFlow::Browser { callback, state, .. }) => {
                let id = decided.authorization.id.as_str();
                let mut parameters = vec![("request_id", id), ("exchange_code", code.expose())];
                parameters.extend(state.as_deref().map(|state| ("state", state)));
                parameters.push(("iss", context.config.issuer()));
                Handover::Url(callback.with(&parameters))
            }
            (Some(HandedOut::Finish(code)), _) => Handover::Code(code),
            _ => Handover::Page,
        }
    }

    fn describe(&self, context: &Context, metadata: &mut Metadata) {
        let config = &context.config;
        let block = json!({
            "start_uri": config.url(START),
            "poll_uri": config.url(POLL),
            "exchange_uri": config.url(EXCHANGE),
            "refresh_uri": config.url(REFRESH),
            "revoke_uri": config.url(REVOKE),
            "sessions_uri": config.url(LIST),
            "modes_supported": modes(config),
            "code_challenge_methods_supported": if config.modes().browser { json!(["S256"]) } else { json!([]) },
        });
        metadata.agent_auth.insert("agent_sessions".into(), block);
    }

    fn chapter(&self, context: &Context) -> Result<String, minijinja::Error> {
        let config = &context.config;
        let (modes, lifetimes, prefixes) = (config.modes(), config.lifetimes(), config.prefixes());
        let entries = config.catalogue().entries();
        let example = entries.iter().find(|entry| entry.default).or_else(|| entries.first());
        auth_md::fill(
            include_str!("agent_sessions.md.jinja"),
            context! {
                resource => config.resource().to_owned(),
                start => config.url(START),
                authorize => config.url(AUTHORIZE),
                poll => config.url(POLL),
                exchange => config.url(EXCHANGE),
                refresh => config.url(REFRESH),
                revoke => config.url(REVOKE),
                list => config.url(LIST),
                browser => modes.browser,
                callback_hosts => config.callback_hosts(),
                detached => modes.detached,
                finish_code => modes.finish_code,
                finish_code_alone => modes.finish_code_alone,
                origins => modes.callback_origins.clone(),
                example_scope => example.map(|entry| entry.scope.to_string()),
                access_prefix => prefixes.access.as_str().to_owned(),
                refresh_prefix => prefixes.refresh.as_str().to_owned(),
                poll_prefix => prefixes.poll.as_str().to_owned(),
                exchange_prefix => prefixes.exchange.as_str().to_owned(),
                finish_prefix => prefixes.finish.as_str().to_owned(),
                exchange_code_seconds => lifetimes.exchange_code.as_secs(),
                finish_code_seconds => lifetimes.finish_code.as_secs(),
                grace_seconds => lifetimes.refresh_grace.as_secs(),
            },
        )
    }
}

/// The enabled modes, by their names in this dialect.
fn modes(config: &Config) -> Vec<&'static str> {
    let modes = config.modes();
    let all = [(modes.browser, INTERACTIVE), (modes.detached, DETACHED), (modes.finish_code, FINISH_CODE)];
    all.into_iter().filter_map(|(on, name)| on.then_some(name)).collect()
}

const INTERACTIVE: &str = "interactive";
const DETACHED: &str = "detached";
const FINISH_CODE: &str = "finish_code";

#[derive(Clone, Copy)]
enum Verb {
    Start,
    Poll,
    Exchange,
    Refresh,
    Revoke,
    List,
}

struct Call {
    verb: Verb,
    context: Arc<Context>,
}

impl Endpoint for Call {
    fn methods(&self) -> &'static [Method] {
        static POST: [Method; 1] = [Method::POST];
        static GET: [Method; 2] = [Method::GET, Method::HEAD];
        match self.verb {
            Verb::List => &GET,
            _ => &POST,
        }
    }

    fn is_open(&self) -> bool {
        true
    }

    fn rate_class(&self) -> Option<RateClass> {
        Some(match self.verb {
            Verb::Start => RateClass::AuthorizationRequest,
            Verb::Poll => RateClass::Poll,
            Verb::Exchange => RateClass::Redemption,
            Verb::Refresh => RateClass::Refresh,
            Verb::Revoke | Verb::List => RateClass::Revocation,
        })
    }

    fn too_many(&self, seconds: u64, _: &HeaderMap) -> Reply {
        too_many(seconds)
    }

    fn answer(&self, request: Request<Bytes>) -> Answering<Reply> {
        let (verb, context) = (self.verb, Arc::clone(&self.context));
        Box::pin(
            async move { answer(verb, &context, &request).await.unwrap_or_else(|refused| refuse(&context, refused)) },
        )
    }
}

async fn answer(verb: Verb, context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    match verb {
        Verb::Start => start(context, request).await,
        Verb::Poll => poll(context, request).await,
        Verb::Exchange => exchange(context, request).await,
        Verb::Refresh => refresh(context, request).await,
        Verb::Revoke => revoke(context, request).await,
        Verb::List => list(context, request).await,
    }
}

async fn start(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    let fields = Fields::read(request.headers(), request.body())?;
    let kind = fields.human_text("client_type")?;
    let kind = kind.ok_or_else(|| invalid("`client_type` is required: send a string such as \"cli\""))?;
    let mode = fields.text("mode")?.unwrap_or(INTERACTIVE);
    let login = login(context, &fields, mode)?;
    let asked = ceremony::Request::by(client_name(&fields)?)
        .label(label(context, request.headers(), &fields)?)
        .reason(fields.human_text("reason")?)
        .kind(Some(kind), fields.human_text("client_instance_id")?)
        .scopes(fields.texts("scopes")?)
        .resource(fields.text("resource")?.map(str::to_owned))
        .address(context.client_address(request));
    let requested = context.ceremony.request_login(asked, login).await?;
    let check_phrase = requested.check_phrase();
    let LoginRequested { authorization, poll_token } = requested;
    let body = json!({
        "ok": true,
        "auth_request_id": authorization.id.as_str(),
        "authorize_url": context.config.url(&format!("{AUTHORIZE}{}", authorization.id)),
        "check_phrase": check_phrase.as_str(),
        "poll_token": poll_token.expose(),
        "mode": mode,
        "expires_at": authorization.expires_at.as_millis(),
        "scopes": authorization.requested.names(),
    });
    Ok(json_reply(StatusCode::CREATED, &body))
}

fn login(context: &Context, fields: &Fields, mode: &str) -> Result<Login, Refused> {
    if mode == INTERACTIVE {
        return Ok(Login::Browser {
            callback: fields.required("callback_url")?.to_owned(),
            state: fields.text("state")?.map(str::to_owned),
            challenge: fields.required("code_challenge")?.to_owned(),
        });
    }
    let login = match mode {
        DETACHED => Login::Detached,
        FINISH_CODE => Login::FinishCode,
        _ => return Err(invalid(format!("`mode` must be one of: {}", modes(&context.config).join(", ")))),
    };
    match ["callback_url", "code_challenge", "state"].into_iter().find(|field| fields.is_there(field)) {
        Some(field) => Err(invalid(format!("`{field}` is for the mode interactive only; leave it out"))),
        None => Ok(login),
    }
}

async fn poll(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    let fields = Fields::read(request.headers(), request.body())?;
    let polled =
        context.ceremony.login_status(fields.required("auth_request_id")?, fields.required("poll_token")?).await;
    let LoginStatus { state, exchange_code, account } = polled?;
    let (status, text) = match state {
        State::Pending => ("pending", None),
        State::Approved => ("approved", None),
        State::Redeemed => ("exchanged", None),
        State::Denied | State::Revoked | State::Locked => ("revoked", Some(over(state))),
        State::Expired => ("expired", Some(over(state))),
    };
    let mut body = json!({
        "status": status,
        "exchange_code": exchange_code.as_ref().map(|code| code.expose()),
        "account_id": account.as_ref().map(|account| account.id.as_str()),
        "approved_email": account.as_ref().map(|account| account.label.as_str()),
    });
    let Some((code, message)) = text else { return Ok(json_reply(StatusCode::OK, &body)) };
    body["error"] = json!(code);
    body["message"] = json!(message);
    Ok(json_reply(StatusCode::GONE, &body))
}

/// Code and text of a login that ended without a session. Clients search the text for the words `revoked` and
/// `expired`.
const fn over(state: State) -> (&'static str, &'static str) {
    match state {
        State::Expired => ("AUTH_REQUEST_EXPIRED", "auth request expired; start a new login"),
        State::Denied => {
            ("AUTH_REQUEST_REVOKED", "auth request revoked: your human denied it; do not ask again unless told to")
        }
        State::Locked => {
            ("AUTH_REQUEST_REVOKED", "auth request revoked: too many wrong codes were presented; start a new login")
        }
        _ => (
            "AUTH_REQUEST_REVOKED",
            "auth request revoked: the approval was taken back; do not ask again unless told to",
        ),
    }
}

async fn exchange(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    let fields = Fields::read(request.headers(), request.body())?;
    let attempt = Attempt {
        authorization: fields.required("auth_request_id")?,
        code: fields.required("exchange_code")?,
        verifier: fields.text("code_verifier")?,
        poll_token: fields.text("poll_token")?,
        redeemer: context.redeemer(request),
    };
    let issued = context.ceremony.redeem_login(&attempt).await?;
    let account = account(context, &issued.record.session).await?;
    let mut session = tokens(&issued);
    session.insert("id".into(), json!(issued.record.session.id.as_str()));
    let body = json!({ "ok": true, "agent_session": session, "account": account });
    Ok(json_reply(StatusCode::OK, &body))
}

/// Refreshes a session. A bearer token in the request is ignored: clients may send an expired access token.
async fn refresh(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    let fields = Fields::read(request.headers(), request.body())?;
    let asked = Refreshing {
        token: fields.required("refresh_token")?,
        scopes: fields.texts("scopes")?,
        resource: fields.text("resource")?,
        client: None,
    };
    let issued = context.ceremony.refresh(&asked).await?;
    let account = account(context, &issued.record.session).await?;
    let mut session = tokens(&issued);
    session.insert("session_id".into(), json!(issued.record.session.id.as_str()));
    session.insert("account".into(), account);
    Ok(json_reply(StatusCode::OK, &json!({ "ok": true, "agent_session": session })))
}

fn tokens(issued: &Issued) -> Map<String, Value> {
    let Issued { record, access_token, refresh_token } = issued;
    let fields = [
        ("access_token", json!(access_token.expose())),
        ("refresh_token", json!(refresh_token.expose())),
        ("access_expires_at", json!(record.session.expires_at.as_millis())),
        ("refresh_expires_at", json!(record.refresh_expires_at.as_millis())),
        ("scopes", json!(record.session.scopes.names())),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

async fn account(context: &Context, session: &Session) -> Result<Value, Refused> {
    let account = &session.account;
    // The issued secrets must reach the client, so a failure to get the plan, which is only for display, is not an
    // error.
    let plan = context.accounts.plan(&account.id).await.unwrap_or_else(|error| {
        context.note_failure(&error);
        None
    });
    let tier = plan.unwrap_or_else(|| "free".into());
    Ok(json!({
        "id": account.id.as_str(), "email": account.label, "github_login": null, "google_name": null, "tier": tier,
    }))
}

/// The caller of a sessions endpoint: an agent for its own session, or a human for all sessions of the account.
enum Asker {
    Agent(Arc<Session>),
    Human(AccountId),
}

async fn asker(context: &Context, request: &Request<Bytes>) -> Result<Asker, Refused> {
    match Credentials::of(request.headers()) {
        Credentials::Bearer(token) => context.ceremony.session(token).await?.map(Asker::Agent),
        // An attempt at an agent's credential, in whatever form, is never the human.
        Credentials::None if has_agent_credential(request.headers(), context.config.prefixes()) => None,
        Credentials::None => {
            refuse_pages(context, request.headers())?;
            let current = Arc::clone(&context.accounts).current(head_of(request)).await;
            current.map_err(CeremonyError::from)?.map(|human| Asker::Human(human.account.id))
        }
        Credentials::Ambiguous => return Err(invalid("send one `Authorization` header")),
    }
    .ok_or(Refused::SignedOut)
}

async fn revoke(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    let asker = asker(context, request).await?;
    let fields = Fields::read(request.headers(), request.body())?;
    let wanted = fields.required("session_id")?;
    let not_yours = || Refused::Request(StatusCode::NOT_FOUND, "NOT_FOUND", "you have no such active session".into());
    let id = SessionId::parse(wanted).ok_or_else(not_yours)?;
    let ended = match asker {
        Asker::Agent(own) => own.id == id && context.ceremony.revoke_own(&own).await?,
        Asker::Human(account) => context.ceremony.revoke_session(&account, &id).await?,
    };
    if !ended {
        return Err(not_yours());
    }
    Ok(json_reply(StatusCode::OK, &json!({ "ok": true, "session_id": wanted })))
}

async fn list(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    // Nothing is written for a caller who is not authenticated.
    let asker = asker(context, request).await?;
    let now = context.ceremony.now();
    let body = match asker {
        Asker::Agent(own) => {
            // Persist last-used times first, so that the entry is up to date. A list does it itself.
            context.ceremony.try_to_write_uses().await;
            let own = context.ceremony.own_record(&own).await?.ok_or(Refused::SignedOut)?;
            json!({ "sessions": [entry(&own, now)] })
        }
        Asker::Human(account) => {
            let query = request.uri().query().unwrap_or_default();
            let after = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "after");
            let after = after.and_then(|(_, id)| SessionId::parse(&id));
            let page = context.ceremony.sessions(&account, after.as_ref()).await?;
            let named = |record: &SessionRecord| {
                let mut entry = entry(record, now);
                // The human's own words are not for agents.
                entry["name"] = json!(record.name.as_ref().map(HumanText::as_str));
                entry
            };
            let sessions: Vec<Value> = page.sessions.iter().map(named).collect();
            let next = page.next.map(|next| context.config.url(&format!("{LIST}?after={next}")));
            json!({ "sessions": sessions, "next": next })
        }
    };
    Ok(json_reply(StatusCode::OK, &body))
}

fn entry(record: &SessionRecord, now: Timestamp) -> Value {
    let text = |text: &Option<HumanText>| text.as_ref().map(ToString::to_string);
    let (session, client) = (&record.session, &record.client);
    json!({
        "id": session.id.as_str(),
        "client_type": text(&client.kind),
        "client_name": client.name.as_str(),
        "client_instance_id": text(&client.instance),
        "label": text(&client.label),
        "scopes": session.scopes.names(),
        "status": record.state_at(now).as_str(),
        "created_at": record.created_at.as_millis(),
        // The published API has an integer here. A session that was never used was last touched when it was created.
        "last_used_at": record.last_use.map_or(record.created_at, |last| last.at).as_millis(),
        "access_expires_at": session.expires_at.as_millis(),
        "refresh_expires_at": record.refresh_expires_at.as_millis(),
        "revoked_at": record.revoked.map(|revoked| revoked.at.as_millis()),
    })
}

fn refuse(context: &Context, refused: Refused) -> Reply {
    match refused {
        Refused::Request(status, code, text) => error(status, &code.to_uppercase(), &text),
        Refused::SignedOut => challenged(
            context,
            error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "log in: the access token is missing, expired or revoked"),
        ),
        Refused::Ceremony(error) => refused_by_ceremony(context, &error),
    }
}

fn refused_by_ceremony(context: &Context, refused: &CeremonyError) -> Reply {
    if refused.is_unavailable() {
        context.note_failure(refused);
        let text = "the service can't do this right now; keep what you have and try again later";
        let mut reply = error(StatusCode::SERVICE_UNAVAILABLE, "TEMPORARILY_UNAVAILABLE", text);
        retry_after(&mut reply, jitter(context.ceremony.now()));
        return reply;
    }
    let text = field_text(refused, "scopes");
    let gone = |state| {
        let (code, text) = over(state);
        error(StatusCode::GONE, code, text)
    };
    match refused {
        CeremonyError::UnknownScope { .. } => error(StatusCode::BAD_REQUEST, "INVALID_SCOPE", &text),
        CeremonyError::InvalidTarget => error(StatusCode::BAD_REQUEST, "INVALID_TARGET", &text),
        CeremonyError::LoginOff(_) => error(StatusCode::BAD_REQUEST, "MODE_NOT_ENABLED", &text),
        CeremonyError::PollTokenRequired => error(StatusCode::BAD_REQUEST, "CLIENT_UPGRADE_REQUIRED", &text),
        // The command line searches for these two texts.
        CeremonyError::Pending { .. } => error(StatusCode::BAD_REQUEST, "INVALID_STATE", "auth request is not ready"),
        CeremonyError::AlreadyClaimed => {
            error(StatusCode::CONFLICT, "AUTH_REQUEST_ALREADY_EXCHANGED", "auth request already exchanged")
        }
        CeremonyError::WrongCode => challenged(context, error(StatusCode::UNAUTHORIZED, "INVALID_AUTH_REQUEST", &text)),
        CeremonyError::InvalidRefresh => {
            challenged(context, error(StatusCode::UNAUTHORIZED, "INVALID_REFRESH_TOKEN", &text))
        }
        CeremonyError::Denied => gone(State::Denied),
        CeremonyError::Revoked => gone(State::Revoked),
        CeremonyError::Locked => gone(State::Locked),
        CeremonyError::Expired => gone(State::Expired),
        CeremonyError::TooFast { wait } => too_many(limiter::seconds(*wait)),
        CeremonyError::TooManyFromSource => too_many(busy(context)),
        CeremonyError::TooManyPending => {
            let mut reply = error(StatusCode::SERVICE_UNAVAILABLE, "TEMPORARILY_UNAVAILABLE", &text);
            retry_after(&mut reply, busy(context));
            reply
        }
        _ => error(StatusCode::BAD_REQUEST, "INVALID_REQUEST", &text),
    }
}

fn error(status: StatusCode, code: &str, text: &str) -> Reply {
    json_reply(status, &json!({ "error": code, "message": text }))
}

fn too_many(seconds: u64) -> Reply {
    let text = format!("too many requests; wait {seconds} seconds");
    let mut reply = error(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", &text);
    retry_after(&mut reply, seconds);
    reply
}
