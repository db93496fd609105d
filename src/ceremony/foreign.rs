use super::{
    Ceremony, CeremonyError, Identified, IdentityFlow, IdentityKind, IdentityRequested, Issued, Request,
    flow::{KnownFlow, NewFlow},
    identity::Grant,
    sessions::Revoker,
};
use crate::{
    audit::Event,
    types::{
        authorization::{Account, AuthorizationRequest, Lookup, State, Transition},
        clock::Timestamp,
        id::{AccountId, AuthorizationRequestId},
        identity::ForeignIdentity,
        scope::ScopeSet,
        session::{Redeemer, RevokedBy},
    },
};

/// How many requests of an account are read at a time.
const AT_ONCE: usize = 250;

/// What stands for the human of another issuer.
struct Standing {
    account: Account,
    scopes: ScopeSet,
    until: Timestamp,
}

impl Ceremony {
    /// Asks a human of the service to confirm that they are the one for whom another issuer vouches, and to let the agent
    /// in. The caller has verified `identity`. `login_hint` is the address that the issuer has verified.
    ///
    /// # Errors
    /// When the request is invalid, when too many requests are pending, or when the service fails.
    pub async fn request_foreign(
        &self,
        request: Request,
        identity: &ForeignIdentity,
        login_hint: Option<String>,
    ) -> Result<IdentityRequested, CeremonyError> {
        let draw = |_: &AuthorizationRequestId| {
            let claim_token = self.config.prefixes().claim.generate(&*self.random)?;
            let mut flow = self.to_be_claimed(IdentityKind::IdentityAssertion, login_hint.clone())?;
            flow.foreign = Some(identity.into());
            let lookups = vec![Lookup::from(claim_token.digest())];
            Ok((NewFlow { flow: KnownFlow::Identity(Box::new(flow.clone())), lookups }, (claim_token, flow)))
        };
        let (authorization, (claim_token, flow)) = self.create(&request, None, draw).await?;
        Ok(self.requested_identity(authorization, &flow, Some(claim_token), None))
    }

    /// Lets in the agent of a human for whom another issuer vouches, as far as an approval of this human for this identity
    /// stands: with scopes that it has, and until it ends. `None` if there is no such approval, or if it has none of the
    /// requested scopes. The caller has verified `identity`. `presented` is the assertion that proves it, which was used
    /// once.
    ///
    /// # Errors
    /// [`CeremonyError::Denied`] when agents may no longer act for the account. When the request is invalid, when too many
    /// requests are pending, or when the service fails.
    pub async fn identify_foreign(
        &self,
        request: Request,
        identity: &ForeignIdentity,
        presented: &str,
    ) -> Result<Option<Identified>, CeremonyError> {
        let Some(standing) = self.standing(&request, identity).await? else { return Ok(None) };
        let expires_at = self.now().after(self.config.lifetimes().refresh).min(standing.until);
        self.grant_foreign(request, identity, presented, standing, expires_at).await.map(Some)
    }

    /// The same for an access token alone (RFC 7523 section 2.1). Nothing renews it but another assertion.
    ///
    /// # Errors
    /// As for [`identify_foreign`](Self::identify_foreign).
    pub async fn issue_foreign(
        &self,
        request: Request,
        identity: &ForeignIdentity,
        presented: &str,
        redeemer: &Redeemer,
    ) -> Result<Option<Issued>, CeremonyError> {
        let Some(standing) = self.standing(&request, identity).await? else { return Ok(None) };
        let expires_at = self.access_end(self.now(), standing.until);
        let scopes = standing.scopes.clone();
        let identified = self.grant_foreign(request, identity, presented, standing, expires_at).await?;
        self.issue_of_identity(&identified.authorization, &scopes, redeemer).await.map(Some)
    }

    /// Ends all that the account of an identity gave to agents of that identity, and its link, because its issuer says that
    /// its statements hold no longer. Returns how many sessions were revoked. The same call again does no harm.
    ///
    /// # Errors
    /// When the service fails; sessions may still be active.
    pub async fn end_foreign(&self, identity: &ForeignIdentity) -> Result<usize, CeremonyError> {
        let Some(identities) = &self.identities else { return Ok(0) };
        let Some(account) = identities.find_identity(&identity.key()).await? else { return Ok(0) };
        let mut ended = self.end_of_account(&account.id, identity).await?;
        identities.unlink_identity(&identity.key()).await?;
        // What was let in meanwhile.
        ended += self.end_of_account(&account.id, identity).await?;
        Ok(ended)
    }

    async fn end_of_account(&self, account: &AccountId, identity: &ForeignIdentity) -> Result<usize, CeremonyError> {
        let (mut ended, mut last) = (0, None::<AuthorizationRequestId>);
        loop {
            let read = self.store.list_authorizations(account, last.as_ref(), AT_ONCE).await?;
            for request in read.iter().filter(|request| is_of(request, identity)) {
                if request.state_at(self.now()) == State::Pending {
                    self.store.transition(&request.id, &Transition::Deny(account.clone()), self.now()).await?;
                }
                ended += self.end_identity(&request.id, &Revoker::by(RevokedBy::Service)).await?;
            }
            match read.last() {
                Some(request) if read.len() == AT_ONCE => last = Some(request.id.clone()),
                _ => return Ok(ended),
            }
        }
    }

    pub(super) async fn link(&self, identity: &ForeignIdentity, account: &Account) -> Result<(), CeremonyError> {
        match &self.identities {
            Some(identities) => Ok(identities.link_identity(&identity.key(), account, self.now()).await?),
            None => Ok(()),
        }
    }

    /// The approval of an identity's human that lasts longest and has one of the requested scopes.
    async fn standing(&self, request: &Request, identity: &ForeignIdentity) -> Result<Option<Standing>, CeremonyError> {
        let Some(identities) = &self.identities else { return Ok(None) };
        let Some(account) = identities.find_identity(&identity.key()).await? else { return Ok(None) };
        if !self.accounts.is_active(&account.id).await? {
            return Err(CeremonyError::Denied);
        }
        let resource = self.resource(request.resource_id())?;
        let asked = request.names_scopes().then(|| self.requested(resource, request)).transpose()?;
        let approved = self.store.list_approved(&account.id, self.now(), usize::MAX).await?;
        let of_identity = approved.iter().filter(|approved| {
            is_of(approved, identity) && *approved.resource == *resource.id() && approved.client.id == *request.id()
        });
        let standing = of_identity.filter_map(|approved| {
            let granted = approved.granted()?.iter();
            let scopes: ScopeSet =
                granted.filter(|scope| asked.as_ref().is_none_or(|asked| asked.contains(scope))).cloned().collect();
            let until = flow_of(approved)?.until()?;
            (!scopes.is_empty()).then(|| Standing { account: account.clone(), scopes, until })
        });
        Ok(standing.max_by_key(|standing| standing.until))
    }

    async fn grant_foreign(
        &self,
        request: Request,
        identity: &ForeignIdentity,
        presented: &str,
        standing: Standing,
        expires_at: Timestamp,
    ) -> Result<Identified, CeremonyError> {
        let Standing { account, scopes, until } = standing;
        let request = request.scopes(scopes.iter().map(ToString::to_string).collect());
        let mut flow = self.to_be_claimed(IdentityKind::IdentityAssertion, None)?;
        (flow.foreign, flow.user_code) = (Some(identity.into()), None);
        let draw = |_: &AuthorizationRequestId| Ok((NewFlow::from(KnownFlow::Identity(Box::new(flow.clone()))), ()));
        let (authorization, ()) = self.create(&request, None, draw).await?;
        let event = Event::Vouched {
            authorization: authorization.id.clone(),
            account: account.id.clone(),
            scopes: scopes.clone(),
        };
        let grant = Grant { account, scopes, until, expires_at, refreshes: true };
        let identified = self.grant(authorization, flow.clone(), presented, grant).await?;
        self.record(&event);
        Ok(identified)
    }
}

fn flow_of(request: &AuthorizationRequest) -> Option<Box<IdentityFlow>> {
    match KnownFlow::of(request) {
        Ok(KnownFlow::Identity(flow)) => Some(flow),
        _ => None,
    }
}

fn is_of(request: &AuthorizationRequest, identity: &ForeignIdentity) -> bool {
    flow_of(request).is_some_and(|flow| flow.foreign.is_some_and(|foreign| foreign.is(identity)))
}
