use std::{sync::Arc, time::Duration};

use super::{Ceremony, CeremonyError, DRAWS};
use crate::{
    audit::Event,
    store::{RevokeTarget, StoreError, StoreErrorKind},
    types::{
        authorization::{Account, AuthorizationRequest, Mode, State, Transition},
        id::SessionId,
        scope::ScopeSet,
        secret::{Access, Refresh, Secret},
        session::{NewSession, Noted, Redeemer, RevokedBy, Session, SessionRecord},
    },
};

/// For so long a claim that is completed twice is taken for a request that was sent twice.
const REPLAY_GRACE: Duration = Duration::from_secs(10);

/// A session and its secrets, for the agent that redeemed an authorization request or refreshed a session. The secrets are delivered
/// here and never again.
#[derive(Debug)]
#[non_exhaustive]
pub struct Issued {
    /// The session.
    pub session: SessionRecord,
    /// What the agent sends as `Authorization: Bearer`.
    pub access_token: Secret<Access>,
    /// What continues the session.
    pub refresh_token: Secret<Refresh>,
}

/// What an agent presents that redeems a login.
#[derive(Clone, Debug, Default)]
pub struct Attempt<'a> {
    /// The authorization request's id.
    pub authorization: &'a str,
    /// The exchange code or finish code.
    pub code: &'a str,
    /// The code verifier, for a live browser login.
    pub verifier: Option<&'a str>,
    /// The poll token. A login by finish code needs it; elsewhere it is checked if it is sent.
    pub poll_token: Option<&'a str>,
    /// Who presents it.
    pub redeemer: Redeemer,
}

impl Ceremony {
    /// Turns an approved authorization request into a session, once. Of any number of callers at once exactly one gets it.
    ///
    /// A claim token that comes back later than 10 seconds after it was redeemed ends the session: either the answer was
    /// lost, and nobody has its secrets, or two hold the claim token (RFC 6749 section 4.1.2).
    ///
    /// # Errors
    /// When the claim token is unknown, when the authorization request is not approved, when the account may no longer be acted
    /// for, or when the service fails.
    pub async fn redeem(&self, claim_token: &str, redeemer: &Redeemer) -> Result<Issued, CeremonyError> {
        let authorization = self.by_claim(claim_token).await?;
        let (_, asked) = self.ask(&authorization);
        asked.map_err(|interval| CeremonyError::SlowDown { interval })?;
        self.issue(&authorization, redeemer).await
    }

    /// Issues the session of an authorization request whose secret was presented.
    pub(super) async fn issue(
        &self,
        authorization: &AuthorizationRequest,
        redeemer: &Redeemer,
    ) -> Result<Issued, CeremonyError> {
        let state = authorization.state_at(self.now());
        if state == State::Redeemed {
            self.end_if_replayed(authorization).await?;
        }
        let (State::Approved, Some(account), Some(granted)) = (state, &authorization.account, authorization.granted())
        else {
            return Err(self.for_state(authorization, state));
        };
        if !self.accounts.is_active(&account.id).await? {
            self.store.transition(&authorization.id, &Transition::Revoke, self.now()).await?;
            return Err(CeremonyError::Denied);
        }
        for _ in 0..DRAWS {
            let (new, access_token, refresh_token) = self.draw_session(authorization, account, granted, redeemer)?;
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
        // What is taken every time is not a secret but the authorization request: it was redeemed.
        match self.by_id(&authorization.id).await?.state_at(self.now()) {
            State::Redeemed => Err(CeremonyError::AlreadyClaimed),
            _ => Err(StoreError::new(StoreErrorKind::Conflict).into()),
        }
    }

    /// Ends the session of an authorization request that is redeemed again, unless it was just now. A detached login is left alone:
    /// clients exist that are handed its code twice by their human, and a code that works alone may be presented by
    /// anybody who reads it.
    async fn end_if_replayed(&self, authorization: &AuthorizationRequest) -> Result<(), CeremonyError> {
        if matches!(authorization.mode, Mode::Detached { .. }) {
            return Ok(());
        }
        let Some(session) = self.store.session_of(&authorization.id).await? else { return Ok(()) };
        if session.revoked.is_some() || self.now().since(session.created_at) <= REPLAY_GRACE {
            return Ok(());
        }
        self.record(&Event::ReuseDetected { session: session.id.clone() });
        let target = RevokeTarget::Session(session.id.clone(), session.account.id.clone());
        self.revoke(&target, RevokedBy::Reuse).await.map(drop)
    }

    fn draw_session(
        &self,
        authorization: &AuthorizationRequest,
        account: &Account,
        granted: &ScopeSet,
        redeemer: &Redeemer,
    ) -> Result<(NewSession, Secret<Access>, Secret<Refresh>), CeremonyError> {
        let prefixes = self.config.prefixes();
        let access_token = prefixes.access.generate(&*self.random)?;
        let refresh_token = prefixes.refresh.generate(&*self.random)?;
        let created_at = self.now();
        let session = Session {
            id: SessionId::generate(&*self.random)?,
            access: access_token.digest(),
            resource: self.config.shared_resource(),
            account: account.clone(),
            client: authorization.client.name.clone(),
            scopes: granted.clone(),
            expires_at: self.access_end(created_at),
            noted: Noted::default(),
        };
        let record = SessionRecord {
            session: Arc::new(session),
            authorization: authorization.id.clone(),
            client: authorization.client.clone(),
            granted: granted.clone(),
            created_at,
            redeemer: redeemer.clone(),
            refresh_expires_at: self.refresh_end(created_at),
            last_use: None,
            revoked: None,
        };
        let new = NewSession { session: record, refresh: refresh_token.digest() };
        Ok((new, access_token, refresh_token))
    }

    fn issued(&self, session: SessionRecord, access_token: Secret<Access>, refresh_token: Secret<Refresh>) -> Issued {
        self.record(&Event::Redeemed {
            authorization: session.authorization.clone(),
            session: session.id.clone(),
            account: session.account.id.clone(),
            address: session.redeemer.address,
        });
        Issued { session, access_token, refresh_token }
    }
}
