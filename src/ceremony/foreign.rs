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
        scope::{Scope, ScopeSet},
        session::{Redeemer, RevokedBy},
    },
};

/// How many requests of an account are read at a time.
const AT_ONCE: usize = 250;

/// How many identities another issuer's word gives one client of an account. A further one ends the oldest.
const VOUCHED: usize = 16;

/// What stands for the human of another issuer.
struct Standing {
    account: Account,
    scopes: ScopeSet,
    until: Timestamp,
    /// The request that the human approved.
    approved: AuthorizationRequestId,
    /// What the issuer's word gave since, the newest first.
    vouched: Vec<AuthorizationRequestId>,
}

/// What an assertion is asked to give.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Vouching<'a> {
    /// The human for whom the issuer vouches.
    pub identity: &'a ForeignIdentity,
    /// The assertion that proves it, which was used once. The agent's secrets are derived from it.
    pub assertion: &'a str,
    /// The scopes that the assertion is for; `None` if it names none.
    pub limit: Option<&'a ScopeSet>,
}

impl<'a> Vouching<'a> {
    /// What a verified assertion is asked to give, without a limit.
    #[must_use]
    pub const fn new(identity: &'a ForeignIdentity, assertion: &'a str) -> Self {
        Self { identity, assertion, limit: None }
    }

    /// Sets the scopes that the assertion is for.
    #[must_use]
    pub const fn limit(mut self, limit: Option<&'a ScopeSet>) -> Self {
        self.limit = limit;
        self
    }
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
    /// and client stands: with scopes that it has, and until it ends. `None` if there is no such approval, or if it lacks a
    /// requested scope. The caller has verified the assertion.
    ///
    /// # Errors
    /// [`CeremonyError::Denied`] when agents may no longer act for the account, or when the approval ends meanwhile. When the
    /// request is invalid, when too many requests are pending, or when the service fails.
    pub async fn identify_foreign(
        &self,
        request: Request,
        vouching: &Vouching<'_>,
    ) -> Result<Option<Identified>, CeremonyError> {
        let Some(standing) = self.standing(&request, vouching, false).await? else { return Ok(None) };
        let expires_at = self.now().after(self.config.lifetimes().refresh).min(standing.until);
        self.grant_foreign(request, vouching, standing, expires_at).await.map(Some)
    }

    /// The same for an access token alone (RFC 7523 section 2.1), with those of the requested scopes that stand. Nothing
    /// renews it but another assertion.
    ///
    /// # Errors
    /// As for [`identify_foreign`](Self::identify_foreign).
    pub async fn issue_foreign(
        &self,
        request: Request,
        vouching: &Vouching<'_>,
        redeemer: &Redeemer,
    ) -> Result<Option<Issued>, CeremonyError> {
        let Some(standing) = self.standing(&request, vouching, true).await? else { return Ok(None) };
        let expires_at = self.access_end(self.now(), standing.until);
        let scopes = standing.scopes.clone();
        let identified = self.grant_foreign(request, vouching, standing, expires_at).await?;
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
        let ended = self.end_of_account(&account.id, identity, |_| true, &Revoker::by(RevokedBy::Service)).await?;
        // Nothing is let in by an approval that ended, so the link is worth nothing by now.
        identities.unlink_identity(&identity.key()).await?;
        Ok(ended)
    }

    /// Ends the requests of an account for an identity that are `meant`, with their sessions.
    pub(super) async fn end_of_account(
        &self,
        account: &AccountId,
        identity: &ForeignIdentity,
        meant: impl Fn(&AuthorizationRequest) -> bool,
        revoker: &Revoker,
    ) -> Result<usize, CeremonyError> {
        let (mut ended, mut last) = (0, None::<AuthorizationRequestId>);
        loop {
            let read = self.store.list_authorizations(account, last.as_ref(), AT_ONCE).await?;
            for request in read.iter().filter(|request| is_of(request, identity) && meant(request)) {
                if request.state_at(self.now()) == State::Pending {
                    self.store.transition(&request.id, &Transition::Deny(account.clone()), self.now()).await?;
                }
                ended += self.end_request(&request.id, revoker).await?;
            }
            match read.last() {
                Some(request) if read.len() == AT_ONCE => last = Some(request.id.clone()),
                _ => return Ok(ended),
            }
        }
    }

    /// Links the identity of a request to the account that approves it. A link alone gives nothing.
    ///
    /// # Errors
    /// [`CeremonyError::LinkedElsewhere`] when an approval of another account stands for it.
    pub(super) async fn link(&self, identity: &ForeignIdentity, account: &Account) -> Result<(), CeremonyError> {
        let Some(identities) = &self.identities else { return Ok(()) };
        match identities.find_identity(&identity.key()).await? {
            Some(linked) if linked.id != account.id => {
                let approved = self.store.list_approved(&linked.id, self.now(), usize::MAX).await?;
                if approved.iter().any(|approved| is_of(approved, identity)) {
                    return Err(CeremonyError::LinkedElsewhere);
                }
            }
            _ => {}
        }
        Ok(identities.link_identity(&identity.key(), account, self.now()).await?)
    }

    /// The approval of an identity's human that lasts longest and has the requested scopes: all of them, or some if `partly`.
    async fn standing(
        &self,
        request: &Request,
        vouching: &Vouching<'_>,
        partly: bool,
    ) -> Result<Option<Standing>, CeremonyError> {
        let Vouching { identity, limit, .. } = *vouching;
        let Some(identities) = &self.identities else { return Ok(None) };
        let Some(account) = identities.find_identity(&identity.key()).await? else { return Ok(None) };
        if !self.accounts.is_active(&account.id).await? {
            return Err(CeremonyError::Denied);
        }
        let resource = self.resource(request.resource_id())?;
        let asked = request.names_scopes().then(|| self.requested(resource, request)).transpose()?;
        let mut approved = self.store.list_approved(&account.id, self.now(), usize::MAX).await?;
        approved.retain(|approved| is_of(approved, identity) && approved.client.id == *request.id());
        let is_confirmed = |approved: &&AuthorizationRequest| flow_of(approved).is_some_and(|flow| flow.is_confirmed());
        let (confirmed, vouched): (Vec<_>, Vec<_>) = approved.iter().partition(is_confirmed);
        let vouched: Vec<_> = vouched.into_iter().map(|request| request.id.clone()).collect();
        let standing =
            confirmed.into_iter().filter(|approved| *approved.resource == *resource.id()).filter_map(|approved| {
                let is_meant = |scope: &&Scope| limit.is_none_or(|limit| limit.contains(scope));
                let all: ScopeSet = approved.granted()?.iter().filter(is_meant).cloned().collect();
                let scopes = match &asked {
                    None => all,
                    Some(asked) if partly => all.iter().filter(|scope| asked.contains(scope)).cloned().collect(),
                    Some(asked) if asked.is_subset(&all) => asked.clone(),
                    Some(_) => return None,
                };
                let (account, until, vouched) = (account.clone(), flow_of(approved)?.until()?, vouched.clone());
                let approved = approved.id.clone();
                (!scopes.is_empty()).then_some(Standing { account, scopes, until, approved, vouched })
            });
        Ok(standing.max_by_key(|standing| standing.until))
    }

    async fn grant_foreign(
        &self,
        request: Request,
        vouching: &Vouching<'_>,
        standing: Standing,
        expires_at: Timestamp,
    ) -> Result<Identified, CeremonyError> {
        let Standing { account, scopes, until, approved, vouched } = standing;
        for oldest in vouched.iter().skip(VOUCHED - 1) {
            self.end_request(oldest, &Revoker::by(RevokedBy::Agent)).await?;
        }
        let request = request.scopes(scopes.iter().map(ToString::to_string).collect());
        let mut flow = self.to_be_claimed(IdentityKind::IdentityAssertion, None)?;
        (flow.foreign, flow.user_code) = (Some(vouching.identity.into()), None);
        let draw = |_: &AuthorizationRequestId| Ok((NewFlow::from(KnownFlow::Identity(Box::new(flow.clone()))), ()));
        let (authorization, ()) = self.create(&request, None, draw).await?;
        let id = authorization.id.clone();
        let event = Event::Vouched { authorization: id.clone(), account: account.id.clone(), scopes: scopes.clone() };
        let grant = Grant { account, scopes, until, expires_at, refreshes: true };
        let identified = self.grant(authorization, flow.clone(), vouching.assertion, grant).await?;
        // The approval may have ended while this was written. Whoever ended it did not find this.
        if self.by_id(&approved).await.map_err(CeremonyError::after_a_write)?.state_at(self.now()) != State::Approved {
            self.end_request(&id, &Revoker::by(RevokedBy::Service)).await?;
            return Err(CeremonyError::Denied);
        }
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
