use super::{Ceremony, CeremonyError, DRAWS};
use crate::{
    audit::Event,
    core::{
        id::SessionId,
        registration::{Account, Registration, State, Transition},
        scope::ScopeSet,
        secret::{Access, Refresh, Secret},
        session::{NewSession, Session},
    },
    store::{StoreError, StoreErrorKind},
};

/// What an agent gets that redeems an approved registration. The secrets are delivered here and never again.
#[derive(Debug)]
#[non_exhaustive]
pub struct Redeemed {
    /// The session.
    pub session: Session,
    /// What the agent sends as `Authorization: Bearer`.
    pub access_token: Secret<Access>,
    /// What continues the session.
    pub refresh_token: Secret<Refresh>,
}

impl Ceremony {
    /// Turns an approved registration into a session, once. Of any number of callers at once exactly one gets it.
    ///
    /// # Errors
    /// When the claim token is unknown, when the registration is not approved, when the account may no longer be acted
    /// for, or when the service fails.
    pub async fn redeem(&self, claim_token: &str) -> Result<Redeemed, CeremonyError> {
        let registration = self.by_claim(claim_token).await?;
        let (Some(account), Some(scopes)) = (self.approved_for(&registration)?, registration.granted()) else {
            return Err(CeremonyError::UnknownRegistration);
        };
        if !self.accounts.is_active(&account.id).await? {
            self.store.transition(&registration.id, &Transition::Revoke, self.now()).await?;
            return Err(CeremonyError::Denied);
        }
        for _ in 0..DRAWS {
            let (new, access_token, refresh_token) = self.draw_session(&registration, account, scopes)?;
            match self.store.redeem(&new, new.session.created_at).await {
                Ok(true) => return Ok(self.redeemed(new.session, access_token, refresh_token)),
                Ok(false) => return Err(self.lost(&registration).await?),
                Err(error) if error.kind() == StoreErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            }
        }
        // What is taken every time is not a secret but the registration: it was redeemed.
        match self.by_id(&registration.id).await?.state_at(self.now()) {
            State::Exchanged => Err(CeremonyError::AlreadyClaimed),
            _ => Err(StoreError::new(StoreErrorKind::Conflict).into()),
        }
    }

    /// The account that approved, if the registration is approved now.
    fn approved_for<'a>(&self, registration: &'a Registration) -> Result<Option<&'a Account>, CeremonyError> {
        let now = self.now();
        match registration.state_at(now) {
            State::Approved => Ok(registration.account.as_ref()),
            State::Pending => match self.pace.ask(registration, now) {
                Ok(interval) => Err(CeremonyError::Pending { interval }),
                Err(interval) => Err(CeremonyError::SlowDown { interval }),
            },
            state => Err(CeremonyError::for_state(state, self.config.limits().poll_interval)),
        }
    }

    fn draw_session(
        &self,
        registration: &Registration,
        account: &Account,
        scopes: &ScopeSet,
    ) -> Result<(NewSession, Secret<Access>, Secret<Refresh>), CeremonyError> {
        let prefixes = self.config.prefixes();
        let access_token = prefixes.access.generate(&*self.random)?;
        let refresh_token = prefixes.refresh.generate(&*self.random)?;
        let lifetimes = self.config.lifetimes();
        let created_at = self.now();
        let session = Session {
            id: SessionId::generate(&*self.random)?,
            registration: registration.id.clone(),
            resource: self.config.shared_resource(),
            account: account.clone(),
            client: registration.client.clone(),
            scopes: scopes.clone(),
            created_at,
            expires_at: created_at.after(lifetimes.access),
            refresh_expires_at: created_at.after(lifetimes.refresh),
            last_use: None,
            revoked: None,
        };
        let new = NewSession { session, access: access_token.digest(), refresh: refresh_token.digest() };
        Ok((new, access_token, refresh_token))
    }

    fn redeemed(&self, session: Session, access_token: Secret<Access>, refresh_token: Secret<Refresh>) -> Redeemed {
        self.record(&Event::Redeemed {
            registration: session.registration.clone(),
            session: session.id.clone(),
            account: session.account.id.clone(),
        });
        Redeemed { session, access_token, refresh_token }
    }

    /// Why the registration that was approved a moment ago could not be redeemed.
    async fn lost(&self, registration: &Registration) -> Result<CeremonyError, CeremonyError> {
        let state = self.by_id(&registration.id).await?.state_at(self.now());
        Ok(CeremonyError::for_state(state, self.config.limits().poll_interval))
    }
}
