use std::{fmt, sync::Arc, time::Duration};

use super::{Ceremony, CeremonyError, DRAWS, flow::KnownFlow};
use crate::{
    audit::Event,
    store::{StoreError, StoreErrorKind},
    types::{
        authorization::{Account, AuthorizationRequest, State, Transition},
        id::SessionId,
        scope::ScopeSet,
        secret::{Access, Refresh, Secret},
        session::{NewSession, Redeemer, RevokedBy, Session, SessionRecord},
    },
};

/// How long a second redemption counts as a repeated request, not as a replay.
pub(super) const REPLAY_GRACE: Duration = Duration::from_secs(10);

/// A session and its secrets, for the agent that redeemed an authorization request or refreshed a session. The secrets
/// are returned only here.
#[derive(Debug)]
#[non_exhaustive]
pub struct Issued {
    /// The session.
    pub record: SessionRecord,
    /// The token that the agent sends as `Authorization: Bearer`.
    pub access_token: Secret<Access>,
    /// The token that refreshes the session.
    pub refresh_token: Secret<Refresh>,
}

/// What an agent presents to redeem a login.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Attempt<'a> {
    /// The authorization request's id.
    pub authorization: &'a str,
    /// The exchange code or finish code.
    pub code: &'a str,
    /// The code verifier, for a live browser login.
    pub verifier: Option<&'a str>,
    /// The poll token. Required for a login by finish code; otherwise checked if it is sent.
    pub poll_token: Option<&'a str>,
    /// The client that presents it.
    pub redeemer: Redeemer,
}

impl<'a> Attempt<'a> {
    /// An attempt with this code for the authorization request with this id. Set the rest as fields.
    #[must_use]
    pub fn new(authorization: &'a str, code: &'a str) -> Self {
        Self { authorization, code, ..Self::default() }
    }
}

impl fmt::Debug for Attempt<'_> {
    /// Without the code, the verifier and the poll token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("redeemer", &self.redeemer).finish_non_exhaustive()
    }
}

impl Ceremony {
    /// Redeems an approved authorization request for a session, once. Of any number of concurrent callers, exactly one
    /// gets the session.
    ///
    /// If a claim token is presented again more than 10 seconds after it was redeemed, the session is revoked. Either
    /// the response was lost, or two parties hold the claim token (RFC 6749 section 4.1.2).
    ///
    /// # Errors
    /// When the claim token is unknown, when the authorization request is not approved, when agents may no longer act
    /// for the account, or when the service fails.
    pub async fn redeem(&self, claim_token: &str, redeemer: &Redeemer) -> Result<Issued, CeremonyError> {
        let (authorization, flow) = self.by_claim(claim_token).await?;
        if flow != KnownFlow::Claim {
            return Err(CeremonyError::UnknownClaim);
        }
        let (_, asked) = self.ask(&authorization);
        asked.map_err(|interval| CeremonyError::SlowDown { interval })?;
        self.issue(&authorization, &flow, redeemer).await
    }

    /// Issues the session of an authorization request after its secret was verified.
    pub(super) async fn issue(
        &self,
        authorization: &AuthorizationRequest,
        flow: &KnownFlow,
        redeemer: &Redeemer,
    ) -> Result<Issued, CeremonyError> {
        let state = authorization.state_at(self.now());
        if state == State::Redeemed {
            self.end_if_replayed(authorization, flow).await?;
        }
        let (State::Approved, Some(granted)) = (state, authorization.granted()) else {
            return Err(self.for_state(authorization, state));
        };
        let issued = self.issue_with(authorization, flow, granted, redeemer).await?;
        self.notify_of_session(&issued.record, flow);
        Ok(issued)
    }

    /// Issues a session of an approved authorization request with these of its scopes.
    pub(super) async fn issue_with(
        &self,
        authorization: &AuthorizationRequest,
        flow: &KnownFlow,
        scopes: &ScopeSet,
        redeemer: &Redeemer,
    ) -> Result<Issued, CeremonyError> {
        let Some(account) = &authorization.account else {
            return Err(self.for_state(authorization, State::Pending));
        };
        if !self.accounts.is_active(&account.id).await? {
            self.store.transition(&authorization.id, &Transition::Revoke, self.now()).await?;
            return Err(CeremonyError::Denied);
        }
        for _ in 0..DRAWS {
            let (new, access_token, refresh_token) =
                self.draw_session(authorization, flow, account, scopes, redeemer)?;
            match self.store.redeem(&new, new.session.created_at).await {
                Ok(true) => return Ok(self.issued(new.session, access_token, refresh_token)),
                Ok(false) => {
                    let state = self.by_id(&authorization.id).await?.state_at(self.now());
                    return Err(self.for_state(authorization, state));
                }
                Err(error) if error.kind() == StoreErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::new(StoreErrorKind::Conflict).into())
    }

    /// Revokes the sessions of an authorization request that is redeemed again after the grace period. Detached logins
    /// are exempt: some humans give the code to their client twice, and anybody who reads a finish code can present it.
    async fn end_if_replayed(
        &self,
        authorization: &AuthorizationRequest,
        flow: &KnownFlow,
    ) -> Result<(), CeremonyError> {
        if matches!(flow, KnownFlow::Detached { .. }) {
            return Ok(());
        }
        for record in self.store.sessions_of(&authorization.id).await? {
            if record.revoked.is_none() && self.now().since(record.created_at) > REPLAY_GRACE {
                self.record(&Event::ReuseDetected { session: record.session.id.clone() });
                self.end(&record.session, RevokedBy::Reuse).await?;
            }
        }
        Ok(())
    }

    fn draw_session(
        &self,
        authorization: &AuthorizationRequest,
        flow: &KnownFlow,
        account: &Account,
        granted: &ScopeSet,
        redeemer: &Redeemer,
    ) -> Result<(NewSession, Secret<Access>, Secret<Refresh>), CeremonyError> {
        let prefixes = self.config.prefixes();
        let access_token = prefixes.access.generate(&*self.random)?;
        let refresh_token = prefixes.refresh.generate(&*self.random)?;
        let created_at = self.now();
        let is_renewed = matches!(flow, KnownFlow::Identity(_));
        let lasts_until = authorization.lasting.filter(|_| !is_renewed).map(|span| created_at.after(span));
        // Its agent gets another session by its assertion, for as long as the identity lasts.
        let last = if is_renewed { authorization.expires_at } else { self.last_instant(created_at, lasts_until) };
        let session = Session::new(
            SessionId::generate(&*self.random)?,
            access_token.digest(),
            Arc::clone(&authorization.resource),
            account.clone(),
            authorization.client.name.clone(),
            granted.clone(),
            self.access_end(created_at, last),
        );
        let client = authorization.client.clone();
        let mut record = SessionRecord::new(session, authorization.id.clone(), client, created_at);
        record.redeemer = redeemer.clone();
        let access_end = record.session.expires_at;
        record.refresh_expires_at = if is_renewed { access_end } else { self.refresh_end(created_at, last) };
        record.lasts_until = lasts_until;
        let mut new = NewSession::new(record, refresh_token.digest());
        new.redemption = flow.redemption();
        Ok((new, access_token, refresh_token))
    }

    fn issued(&self, record: SessionRecord, access_token: Secret<Access>, refresh_token: Secret<Refresh>) -> Issued {
        self.record(&Event::Redeemed {
            authorization: record.authorization.clone(),
            session: record.session.id.clone(),
            account: record.session.account.id.clone(),
            address: record.redeemer.address,
        });
        Issued { record, access_token, refresh_token }
    }
}
