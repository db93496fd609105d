use super::{Attempt, Ceremony, CeremonyError, Request};
use crate::{
    audit::Event,
    types::{
        authorization::{Account, AuthorizationRequest, CodeDigest, Mode, State, Transition},
        callback::Callback,
        id::AuthorizationRequestId,
        pkce::CodeChallenge,
        secret::{Exchange, Poll, Secret},
    },
};

const LONGEST_STATE: usize = 1_024;

/// By which way an agent logs in. It is fixed when the login starts.
#[derive(Clone, Debug)]
pub enum Login {
    /// The human's browser, on the agent's machine, brings the exchange code to the agent's callback.
    Browser {
        /// Where the browser goes: a loopback URL, or an https URL of an origin that the configuration lists.
        callback: String,
        /// What is handed back beside the code, at most 1 KiB.
        state: Option<String>,
        /// The code challenge (RFC 7636).
        challenge: String,
    },
    /// The agent asks by its poll token, wherever the human's browser is.
    Detached,
    /// The human carries a finish code to the agent, which has its poll token.
    FinishCode,
}

/// What an agent gets that started a login.
#[derive(Debug)]
#[non_exhaustive]
pub struct Started {
    /// The authorization request.
    pub authorization: AuthorizationRequest,
    /// What the agent asks with. It is delivered here and never again.
    pub poll_token: Secret<Poll>,
}

/// What an agent is told that asks by its poll token.
#[derive(Debug)]
#[non_exhaustive]
pub struct Polled {
    /// Where the authorization request stands.
    pub state: State,
    /// What the agent redeems, once a detached login is approved.
    pub exchange_code: Option<Secret<Exchange>>,
    /// Who approved, while that is news.
    pub account: Option<Account>,
}

impl Ceremony {
    /// Starts a login. Like [`register`](Self::register) it gives nothing by itself: a human decides.
    ///
    /// # Errors
    /// When the mode is off, when the request can't be used, when too many wait, or when the service fails.
    pub async fn start_login(&self, request: Request, login: Login) -> Result<Started, CeremonyError> {
        self.check_mode(&login)?;
        let bound = match &login {
            Login::Browser { callback, state, challenge } => Some(self.bind(callback, state.as_deref(), challenge)?),
            Login::Detached | Login::FinishCode => None,
        };
        let draw = |id: &AuthorizationRequestId| {
            let poll_token = self.config.prefixes().poll.generate(&*self.random)?;
            let poll = poll_token.digest();
            let mode = match (&login, &bound) {
                (_, Some((callback, state, challenge))) => {
                    Mode::Browser { poll, callback: callback.clone(), state: state.clone(), challenge: *challenge }
                }
                (Login::FinishCode, None) => Mode::FinishCode { poll },
                (_, None) => Mode::Detached {
                    poll,
                    exchange: self.exchange_code(poll_token.expose(), id)?.digest(),
                    finish_code: self.config.modes().finish_code_alone,
                },
            };
            Ok((mode, poll_token))
        };
        let (authorization, poll_token) = self.create(&request, draw).await?;
        Ok(Started { authorization, poll_token })
    }

    /// Tells an agent what has become of its login. It changes and consumes nothing.
    ///
    /// # Errors
    /// When id and poll token are not of one login, when the agent asks far too often, or when the service fails.
    pub async fn poll(&self, id: &str, poll_token: &str) -> Result<Polled, CeremonyError> {
        let authorization = self.attempted(id).await?;
        if !self.is_poll_token(&authorization, poll_token) {
            return Err(CeremonyError::WrongCode);
        }
        self.pace.poll(&authorization.id).map_err(|wait| CeremonyError::TooFast { wait })?;
        let state = authorization.state_at(self.now());
        let approved = state == State::Approved;
        let exchange_code = match authorization.mode {
            Mode::Detached { .. } if approved => Some(self.exchange_code(poll_token, &authorization.id)?),
            _ => None,
        };
        Ok(Polled { state, exchange_code, account: authorization.account.filter(|_| approved) })
    }

    /// Turns an approved login into a session, once. Of any number of callers at once exactly one gets it.
    ///
    /// # Errors
    /// When the proof does not hold, when the login is not approved, when the account may no longer be acted for, or when
    /// the service fails. Where a code was guessed at by whoever held the other half of the proof, that is counted, and
    /// the fifth time locks the login.
    pub async fn exchange(&self, attempt: &Attempt<'_>) -> Result<super::Issued, CeremonyError> {
        let authorization = self.attempted(attempt.authorization).await?;
        match self.weigh(&authorization, attempt)? {
            Weight::Holds => self.issue(&authorization, &attempt.redeemer).await,
            Weight::HalfHolds => {
                self.miss(&authorization).await?;
                Err(CeremonyError::WrongCode)
            }
            Weight::Nothing => Err(CeremonyError::WrongCode),
        }
    }

    /// Whether this is the finish code that the human was shown who approved.
    #[must_use]
    pub fn is_finish_code(&self, authorization: &AuthorizationRequest, code: &str) -> bool {
        let digest = self.config.prefixes().finish.digest(code.as_bytes());
        match (authorization.code.map(|code| code.digest), digest) {
            (Some(CodeDigest::Finish(handed_out)), Some(digest)) => handed_out.matches(&digest),
            _ => false,
        }
    }

    fn check_mode(&self, login: &Login) -> Result<(), CeremonyError> {
        let modes = self.config.modes();
        let (on, mode) = match login {
            Login::Browser { .. } => (modes.browser, "live browser login"),
            Login::Detached => (modes.detached, "detached login"),
            Login::FinishCode => (modes.finish_code, "login by finish code"),
        };
        if on { Ok(()) } else { Err(CeremonyError::ModeOff { mode }) }
    }

    fn bind(
        &self,
        callback: &str,
        state: Option<&str>,
        challenge: &str,
    ) -> Result<(Callback, Option<String>, CodeChallenge), CeremonyError> {
        let invalid = |field, problem: String| CeremonyError::Invalid { field, problem };
        let callback = Callback::parse(callback, &self.config.modes().callback_origins)
            .map_err(|error| invalid("callback_url", error.to_string()))?;
        let challenge = CodeChallenge::parse(challenge).ok_or_else(|| {
            let problem = "must be the SHA-256 of the code verifier, as 43 characters of base64url or 64 lower-case \
                           hexadecimal digits";
            invalid("code_challenge", problem.to_owned())
        })?;
        if state.is_some_and(|state| state.len() > LONGEST_STATE) {
            return Err(invalid("state", format!("must be {LONGEST_STATE} bytes at most")));
        }
        Ok((callback, state.map(str::to_owned), challenge))
    }

    /// The exchange code of a detached login: it follows from the poll token, so that asking for it changes nothing, and
    /// that nobody learns it from the store.
    fn exchange_code(&self, poll_token: &str, id: &AuthorizationRequestId) -> Result<Secret<Exchange>, CeremonyError> {
        Ok(self.config.prefixes().exchange.derive(poll_token, b"", id.as_str())?)
    }

    /// The authorization request that somebody claims to hold a secret of; it is not told whether there is one.
    async fn attempted(&self, id: &str) -> Result<AuthorizationRequest, CeremonyError> {
        let id = AuthorizationRequestId::parse(id).ok_or(CeremonyError::WrongCode)?;
        self.by_id(&id).await.map_err(|error| match error {
            CeremonyError::UnknownAuthorization => CeremonyError::WrongCode,
            other => other,
        })
    }

    fn is_poll_token(&self, authorization: &AuthorizationRequest, presented: &str) -> bool {
        let digest = self.config.prefixes().poll.digest(presented.as_bytes());
        authorization.mode.poll().zip(digest).is_some_and(|(poll, digest)| poll.matches(&digest))
    }

    fn weigh(&self, authorization: &AuthorizationRequest, attempt: &Attempt<'_>) -> Result<Weight, CeremonyError> {
        let prefixes = self.config.prefixes();
        if !matches!(authorization.mode, Mode::Browser { .. }) && attempt.verifier.is_some() {
            let problem = "is not for this login: it was started without a code challenge".into();
            return Err(CeremonyError::Invalid { field: "code_verifier", problem });
        }
        let holds_poll_token = attempt.poll_token.map(|token| self.is_poll_token(authorization, token));
        if holds_poll_token == Some(false) {
            return Ok(Weight::Nothing);
        }
        let handed_out = authorization.code.map(|code| code.digest);
        match &authorization.mode {
            Mode::Claim { .. } => Ok(Weight::Nothing),
            Mode::Browser { challenge, .. } => {
                let meets = attempt.verifier.is_some_and(|verifier| challenge.is_met_by(verifier));
                let Some(CodeDigest::Exchange(handed_out)) = handed_out else {
                    return if meets { Ok(Weight::Holds) } else { Ok(Weight::Nothing) };
                };
                let digest = prefixes.exchange.digest(attempt.code.as_bytes());
                let has_code = digest.is_some_and(|digest| handed_out.matches(&digest));
                Ok(Weight::of(has_code, meets))
            }
            Mode::FinishCode { .. } => {
                if holds_poll_token.is_none() {
                    return Err(CeremonyError::PollTokenRequired);
                }
                Ok(Weight::of(handed_out.is_none() || self.is_finish_code(authorization, attempt.code), true))
            }
            Mode::Detached { exchange, finish_code, .. } => {
                let digest = prefixes.exchange.digest(attempt.code.as_bytes());
                if digest.is_some_and(|digest| exchange.matches(&digest)) {
                    return Ok(Weight::Holds);
                }
                match authorization.code {
                    None if *finish_code => Ok(Weight::Holds),
                    Some(code) if self.is_finish_code(authorization, attempt.code) => {
                        let late = code.expires_at.has_passed(self.now());
                        if late && authorization.state_at(self.now()) == State::Approved {
                            return Err(CeremonyError::Expired);
                        }
                        Ok(Weight::Holds)
                    }
                    // With no other half to hold, each wrong code counts: that is what this mode is off by default for.
                    Some(_) => Ok(Weight::HalfHolds),
                    None => Ok(Weight::Nothing),
                }
            }
        }
    }

    /// Counts a wrong code, before anybody is told that it was wrong.
    async fn miss(&self, authorization: &AuthorizationRequest) -> Result<(), CeremonyError> {
        if !self.store.transition(&authorization.id, &Transition::FailedAttempt, self.now()).await? {
            return Ok(());
        }
        self.record(&Event::CodeFailed { authorization: authorization.id.clone() });
        if self.by_id(&authorization.id).await?.state_at(self.now()) == State::Locked {
            self.record(&Event::Locked { authorization: authorization.id.clone() });
        }
        Ok(())
    }
}

/// How much of the proof holds.
enum Weight {
    /// All of it, or as much as there can be before the human has decided.
    Holds,
    /// One half of two.
    HalfHolds,
    Nothing,
}

impl Weight {
    const fn of(one: bool, other: bool) -> Self {
        match (one, other) {
            (true, true) => Self::Holds,
            (false, false) => Self::Nothing,
            _ => Self::HalfHolds,
        }
    }
}
