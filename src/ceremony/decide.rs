use std::net::IpAddr;

use super::{Ceremony, CeremonyError};
use crate::{
    audit::Event,
    core::{
        id::RegistrationId,
        registration::{Account, Client, Registration, State, Transition},
        scope::ScopeSet,
    },
};

/// What a human decides.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// These scopes, all of which were asked for.
    Approve(ScopeSet),
    /// Nothing.
    Deny,
}

/// What a human sees who opens the approval page.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct View {
    /// The registration.
    pub registration: Registration,
    /// Where it stands.
    pub state: State,
    /// What should make the human look twice.
    pub warnings: Vec<Warning>,
}

/// Something about a registration that should make a human look twice.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// The client's name mixes scripts, as look-alikes do.
    DeceptiveName,
    /// The client's name sounds like the service itself.
    OfficialName,
    /// The agent asked from another network address than the human's browser has.
    OtherAddress,
}

impl Ceremony {
    /// Shows a registration to a signed-in human, and binds it to their account: from now on no other account can decide.
    ///
    /// # Errors
    /// When there is no such registration, when another account opened it first, or when the service fails.
    pub async fn view(
        &self,
        id: &RegistrationId,
        account: &Account,
        browser: Option<IpAddr>,
    ) -> Result<View, CeremonyError> {
        let mut registration = self.by_id(id).await?;
        let now = self.now();
        if registration.account.is_none() && registration.state_at(now) == State::Pending {
            let open = Transition::Open(account.clone());
            if self.store.transition(id, &open, now).await? {
                self.record(&Event::Viewed { registration: id.clone(), account: account.id.clone() });
            }
            registration = self.by_id(id).await?;
        }
        self.check_account(&registration, account)?;
        let warnings = self.warnings(&registration.client, browser);
        Ok(View { state: registration.state_at(now), registration, warnings })
    }

    /// Takes the decision of the human of the bound account.
    ///
    /// # Errors
    /// When another account opened it, when it was decided before or has expired, when `decision` names a scope that was
    /// not asked for or none, when the account may no longer be acted for, or when the service fails. Nothing has changed
    /// then.
    pub async fn decide(
        &self,
        id: &RegistrationId,
        account: &Account,
        decision: Decision,
    ) -> Result<Registration, CeremonyError> {
        let registration = self.by_id(id).await?;
        self.check_account(&registration, account)?;
        let (transition, event) = match decision {
            Decision::Approve(scopes) => {
                if scopes.is_empty() || !scopes.is_subset(&registration.requested) {
                    return Err(CeremonyError::NotRequested);
                }
                if !self.accounts.is_active(&account.id).await? {
                    return Err(CeremonyError::Inactive);
                }
                let event = Event::Approved {
                    registration: id.clone(),
                    account: account.id.clone(),
                    requested: registration.requested,
                    granted: scopes.clone(),
                };
                (Transition::Approve(account.id.clone(), scopes), event)
            }
            Decision::Deny => {
                let event = Event::Denied { registration: id.clone(), account: account.id.clone() };
                (Transition::Deny(account.id.clone()), event)
            }
        };
        if self.store.transition(id, &transition, self.now()).await? {
            self.record(&event);
            return self.by_id(id).await;
        }
        match self.by_id(id).await?.state_at(self.now()) {
            State::Expired => Err(CeremonyError::Expired),
            _ => Err(CeremonyError::AlreadyDecided),
        }
    }

    /// A registration is shown to, and decided by, the account that opened it.
    fn check_account(&self, registration: &Registration, account: &Account) -> Result<(), CeremonyError> {
        match &registration.account {
            Some(bound) if bound.id == account.id => Ok(()),
            // Nobody opened it in time: whoever comes now may know that much.
            None if registration.state_at(self.now()) == State::Expired => Err(CeremonyError::Expired),
            _ => Err(CeremonyError::WrongAccount),
        }
    }

    fn warnings(&self, client: &Client, browser: Option<IpAddr>) -> Vec<Warning> {
        let name = client.name.as_str().to_lowercase();
        let reserved = [self.config.name().to_lowercase(), "official".into(), "support".into()];
        let elsewhere = match (client.address, browser) {
            (Some(agent), Some(browser)) => agent != browser,
            _ => false,
        };
        let deceptive = client.name.looks_deceptive()
            || client.label.as_ref().is_some_and(crate::core::text::HumanText::looks_deceptive);
        let all = [
            (Warning::DeceptiveName, deceptive),
            (Warning::OfficialName, reserved.iter().any(|word| name.contains(word.as_str()))),
            (Warning::OtherAddress, elsewhere),
        ];
        all.into_iter().filter_map(|(warning, holds)| holds.then_some(warning)).collect()
    }
}
