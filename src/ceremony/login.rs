use std::fmt;

use super::{
    Attempt, Ceremony, CeremonyError, Request,
    flow::{KnownFlow, NewFlow},
    sessions::Revoker,
};
use crate::{
    audit::Event,
    types::{
        authorization::{Account, AuthorizationRequest, State, Transition},
        callback::{Callback, CallbackError},
        id::AuthorizationRequestId,
        phrase::CheckPhrase,
        pkce::CodeChallenge,
        secret::{Exchange, Poll, Secret},
        session::RevokedBy,
    },
};

const LONGEST_STATE: usize = 1_024;

/// The login mode. It is fixed when the login starts.
#[derive(Clone)]
#[non_exhaustive]
pub enum Login {
    /// The human's browser, on the agent's machine, sends the exchange code to the agent's callback.
    Browser {
        /// The callback URL: a loopback URL, or an https URL of an origin that the configuration lists.
        callback: String,
        /// A value that is returned with the code, at most 1 KiB.
        state: Option<String>,
        /// The code challenge (RFC 7636).
        challenge: String,
    },
    /// The agent polls with its poll token. The human's browser may be on any machine.
    Detached,
    /// The human passes a finish code to the agent, which redeems it with its poll token.
    FinishCode,
}

impl fmt::Debug for Login {
    /// Without the agent's state value and the query of its callback, which may contain secrets of the agent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Browser { .. } => "Browser",
            Self::Detached => "Detached",
            Self::FinishCode => "FinishCode",
        })
    }
}

/// The result of starting a login.
#[derive(Debug)]
#[non_exhaustive]
pub struct LoginRequested {
    /// The authorization request.
    pub authorization: AuthorizationRequest,
    /// The token that the agent polls with. It is returned only here.
    pub poll_token: Secret<Poll>,
}

impl LoginRequested {
    /// The phrase that the agent shows its human beside the link. The approval page shows the same.
    #[must_use]
    pub fn check_phrase(&self) -> CheckPhrase {
        self.authorization.check_phrase()
    }
}

/// The status of a login, for an agent that polls with its poll token.
#[derive(Debug)]
#[non_exhaustive]
pub struct LoginStatus {
    /// The state of the authorization request.
    pub state: State,
    /// The code that the agent redeems, while a detached login is approved.
    pub exchange_code: Option<Secret<Exchange>>,
    /// The account that approved, until the login is redeemed.
    pub account: Option<Account>,
}

impl Login {
    /// The mode's name in error texts.
    const fn name(&self) -> &'static str {
        match self {
            Self::Browser { .. } => "live browser login",
            Self::Detached => "detached login",
            Self::FinishCode => "login by finish code",
        }
    }
}

impl Ceremony {
    /// Creates an authorization request that is redeemed by a login. It grants nothing until a human approves it.
    ///
    /// # Errors
    /// When the login mode is off, when the request is invalid, when too many requests are pending, or when the service
    /// fails.
    pub async fn request_login(&self, request: Request, login: Login) -> Result<LoginRequested, CeremonyError> {
        self.check_mode(&login)?;
        let bound = match &login {
            Login::Browser { callback, state, challenge } => Some(self.bind(callback, state.as_deref(), challenge)?),
            Login::Detached | Login::FinishCode => None,
        };
        let draw = |id: &AuthorizationRequestId| {
            let poll_token = self.config.prefixes().poll.generate(&*self.random)?;
            let poll = poll_token.digest();
            let flow = match (&login, &bound) {
                (_, Some((callback, state, challenge))) => KnownFlow::Browser {
                    poll,
                    callback: callback.clone(),
                    state: state.clone(),
                    challenge: *challenge,
                    code: None,
                },
                (Login::FinishCode, None) => KnownFlow::FinishCode { poll, code: None },
                (_, None) => KnownFlow::Detached {
                    poll,
                    exchange: self.exchange_code(poll_token.expose(), id)?.digest(),
                    finish_code: self.config.modes().finish_code_alone,
                    code: None,
                },
            };
            Ok((NewFlow::from(flow), poll_token))
        };
        let (authorization, poll_token) = self.create(&request, None, draw).await?;
        Ok(LoginRequested { authorization, poll_token })
    }

    /// Returns the status of a login. It changes and consumes nothing.
    ///
    /// # Errors
    /// When the id and the poll token do not belong to the same login, when the agent polls far too often, or when the
    /// service fails.
    pub async fn login_status(&self, id: &str, poll_token: &str) -> Result<LoginStatus, CeremonyError> {
        let (authorization, flow) = self.attempted(id).await?;
        if !self.is_poll_token(&flow, poll_token) {
            return Err(CeremonyError::WrongCode);
        }
        self.polling.poll(&authorization.id).map_err(|wait| CeremonyError::TooFast { wait })?;
        let state = authorization.state_at(self.now());
        let approved = state == State::Approved;
        let exchange_code = match flow {
            KnownFlow::Detached { .. } if approved => Some(self.exchange_code(poll_token, &authorization.id)?),
            _ => None,
        };
        Ok(LoginStatus { state, exchange_code, account: authorization.account.filter(|_| approved) })
    }

    /// Redeems an approved login for a session, once. Of any number of concurrent callers, exactly one gets the
    /// session.
    ///
    /// # Errors
    /// When the proof is wrong, when the login is not approved, when agents may no longer act for the account, or when
    /// the service fails. A wrong code from a caller that has the other half of the proof is a failed attempt; the
    /// fifth locks the login.
    pub async fn redeem_login(&self, attempt: &Attempt<'_>) -> Result<super::Issued, CeremonyError> {
        let (authorization, flow) = self.attempted(attempt.authorization).await?;
        match self.verify_proof(&authorization, &flow, attempt)? {
            Proof::Holds => self.issue(&authorization, &flow, &attempt.redeemer).await,
            Proof::HalfHolds => {
                self.count_failed_attempt(&authorization).await?;
                Err(CeremonyError::WrongCode)
            }
            Proof::Fails => Err(CeremonyError::WrongCode),
        }
    }

    /// Whether `code` is the finish code that was shown to the human who approved.
    fn is_finish_code(&self, flow: &KnownFlow, code: &str) -> bool {
        let digest = self.config.prefixes().finish.digest(code.as_bytes());
        flow.finish_code().zip(digest).is_some_and(|(handed_out, digest)| handed_out.digest.matches(&digest))
    }

    fn check_mode(&self, login: &Login) -> Result<(), CeremonyError> {
        let modes = self.config.modes();
        let on = match login {
            Login::Browser { .. } => modes.browser,
            Login::Detached => modes.detached,
            Login::FinishCode => modes.finish_code,
        };
        if on { Ok(()) } else { Err(CeremonyError::LoginOff(login.name())) }
    }

    /// Checks a callback: its form, and that it is not on a host to which browsers send the service's cookies. A listed
    /// origin is the operator's choice.
    pub(super) fn check_callback(&self, url: &str) -> Result<Callback, CallbackError> {
        let callback = Callback::parse(url, &self.config.modes().callback_origins)?;
        if callback.is_loopback() && self.config.is_own_host(callback.host()) {
            return Err(CallbackError::OwnHost);
        }
        Ok(callback)
    }

    fn bind(
        &self,
        callback: &str,
        state: Option<&str>,
        challenge: &str,
    ) -> Result<(Callback, Option<String>, CodeChallenge), CeremonyError> {
        let callback = self.check_callback(callback)?;
        let challenge = CodeChallenge::parse(challenge).ok_or(CeremonyError::InvalidChallenge)?;
        if state.is_some_and(|state| state.len() > LONGEST_STATE) {
            return Err(CeremonyError::StateTooLong { longest: LONGEST_STATE });
        }
        Ok((callback, state.map(str::to_owned), challenge))
    }

    /// The exchange code of a detached login. It is derived from the poll token, so that polling changes nothing and
    /// the store does not reveal it.
    fn exchange_code(&self, poll_token: &str, id: &AuthorizationRequestId) -> Result<Secret<Exchange>, CeremonyError> {
        Ok(self.config.prefixes().exchange.derive(poll_token, b"", id.as_str())?)
    }

    /// Finds the authorization request that a secret is presented for. The error does not reveal whether it exists.
    async fn attempted(&self, id: &str) -> Result<(AuthorizationRequest, KnownFlow), CeremonyError> {
        let id = AuthorizationRequestId::parse(id).ok_or(CeremonyError::WrongCode)?;
        let authorization = self.by_id(&id).await.map_err(|error| match error {
            CeremonyError::UnknownAuthorization => CeremonyError::WrongCode,
            other => other,
        })?;
        let flow = KnownFlow::of(&authorization)?;
        Ok((authorization, flow))
    }

    fn is_poll_token(&self, flow: &KnownFlow, presented: &str) -> bool {
        let digest = self.config.prefixes().poll.digest(presented.as_bytes());
        flow.poll().zip(digest).is_some_and(|(poll, digest)| poll.matches(&digest))
    }

    fn verify_proof(
        &self,
        authorization: &AuthorizationRequest,
        flow: &KnownFlow,
        attempt: &Attempt<'_>,
    ) -> Result<Proof, CeremonyError> {
        if !matches!(flow, KnownFlow::Browser { .. }) && attempt.verifier.is_some() {
            return Err(CeremonyError::UnexpectedVerifier);
        }
        let holds_poll_token = attempt.poll_token.map(|token| self.is_poll_token(flow, token));
        if holds_poll_token == Some(false) {
            return Ok(Proof::Fails);
        }
        let presented = self.config.prefixes().exchange.digest(attempt.code.as_bytes());
        let has_exchange_code = |known: &_| presented.is_some_and(|digest| digest.matches(known));
        match flow {
            KnownFlow::Claim
            | KnownFlow::AuthorizationCode { .. }
            | KnownFlow::Device { .. }
            | KnownFlow::Identity(_) => Ok(Proof::Fails),
            KnownFlow::Browser { challenge, code, .. } => {
                let meets = attempt.verifier.is_some_and(|verifier| challenge.is_met_by(verifier));
                let Some(handed_out) = code else {
                    return if meets { Ok(Proof::Holds) } else { Ok(Proof::Fails) };
                };
                Ok(Proof::of(has_exchange_code(&handed_out.digest), meets))
            }
            KnownFlow::FinishCode { code, .. } => {
                if holds_poll_token.is_none() {
                    return Err(CeremonyError::PollTokenRequired);
                }
                Ok(Proof::of(code.is_none() || self.is_finish_code(flow, attempt.code), true))
            }
            KnownFlow::Detached { exchange, .. } if has_exchange_code(exchange) => Ok(Proof::Holds),
            // There is no finish code yet. Only the poll token proves anything, and only where a code may be presented.
            KnownFlow::Detached { finish_code, code: None, .. } => {
                if *finish_code && holds_poll_token == Some(true) {
                    Ok(Proof::Holds)
                } else {
                    Ok(Proof::Fails)
                }
            }
            KnownFlow::Detached { code: Some(code), .. } if self.is_finish_code(flow, attempt.code) => {
                let late = code.expires_at.has_passed(self.now());
                if late && authorization.state_at(self.now()) == State::Approved {
                    return Err(CeremonyError::Expired);
                }
                Ok(Proof::Holds)
            }
            // This mode has no second half of the proof, so each wrong code counts. It is therefore off by default.
            KnownFlow::Detached { .. } => Ok(Proof::HalfHolds),
        }
    }

    /// Counts a failed attempt before the refusal is returned.
    pub(super) async fn count_failed_attempt(&self, authorization: &AuthorizationRequest) -> Result<(), CeremonyError> {
        if !self.store.transition(&authorization.id, &Transition::FailedAttempt, self.now()).await? {
            return Ok(());
        }
        self.record(&Event::CodeFailed { authorization: authorization.id.clone() });
        if self.by_id(&authorization.id).await?.state_at(self.now()) == State::Locked {
            self.record(&Event::Locked { authorization: authorization.id.clone() });
            // The agent of an identity may have sessions already, and somebody else holds its claim token.
            self.end_request(&authorization.id, &Revoker::by(RevokedBy::Reuse)).await?;
        }
        Ok(())
    }
}

/// The result of verifying a proof.
enum Proof {
    /// All of it is correct, as far as it can be checked before the human decides.
    Holds,
    /// One of its two halves is correct.
    HalfHolds,
    Fails,
}

impl Proof {
    const fn of(one: bool, other: bool) -> Self {
        match (one, other) {
            (true, true) => Self::Holds,
            (false, false) => Self::Fails,
            _ => Self::HalfHolds,
        }
    }
}
