//! Identities of other issuers that are linked to accounts, and used tokens of these issuers.

use super::{
    super::StoreError,
    Engine,
    columns::{self, Values},
};
use crate::types::{
    authorization::Account,
    clock::Timestamp,
    id::AccountId,
    identity::{IdentityKey, LinkedIdentity, TokenKey},
};

fn key(bytes: &[u8; 32]) -> Values {
    Values::default().bytes(bytes.as_slice())
}

pub(in super::super) async fn link_identity<E: Engine>(
    engine: &E,
    identity: &IdentityKey,
    account: &Account,
    at: Timestamp,
) -> Result<(), StoreError> {
    let values = key(identity.as_bytes()).account(Some(account)).instant(at);
    engine.write(&engine.statements().link_identity, values).await.map(drop)
}

pub(in super::super) async fn find_identity<E: Engine>(
    engine: &E,
    identity: &IdentityKey,
) -> Result<Option<Account>, StoreError> {
    let rows = engine.read(&engine.statements().find_identity, key(identity.as_bytes())).await?;
    rows.first().map(columns::account).transpose()
}

pub(in super::super) async fn list_identities<E: Engine>(
    engine: &E,
    account: &AccountId,
    after: Option<&IdentityKey>,
    limit: usize,
) -> Result<Vec<LinkedIdentity>, StoreError> {
    // No key comes before the empty one.
    let after = after.map_or(&[][..], |key| key.as_bytes().as_slice());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = Values::default().text(account.as_str()).bytes(after).integer(limit);
    let rows = engine.read(&engine.statements().list_identities, values).await?;
    rows.iter().map(columns::linked_identity).collect()
}

pub(in super::super) async fn unlink_identity<E: Engine>(
    engine: &E,
    identity: &IdentityKey,
) -> Result<Option<Account>, StoreError> {
    let rows = engine.write(&engine.statements().unlink_identity, key(identity.as_bytes())).await?;
    rows.first().map(columns::account).transpose()
}

pub(in super::super) async fn unlink_account<E: Engine>(
    engine: &E,
    account: &AccountId,
    limit: usize,
) -> Result<bool, StoreError> {
    let values = Values::default().text(account.as_str()).integer(i64::try_from(limit).unwrap_or(i64::MAX));
    Ok(engine.write(&engine.statements().unlink_account, values).await?.len() >= limit)
}

pub(in super::super) async fn use_once<E: Engine>(
    engine: &E,
    token: &TokenKey,
    until: Timestamp,
) -> Result<bool, StoreError> {
    let used = engine.write(&engine.statements().use_token, key(token.as_bytes()).instant(until)).await?;
    Ok(!used.is_empty())
}

pub(in super::super) async fn is_used<E: Engine>(engine: &E, token: &TokenKey) -> Result<bool, StoreError> {
    Ok(!engine.read(&engine.statements().find_used_token, key(token.as_bytes())).await?.is_empty())
}

pub(in super::super) async fn forget_used<E: Engine>(
    engine: &E,
    cutoff: Timestamp,
    limit: usize,
) -> Result<bool, StoreError> {
    let values = Values::default().instant(cutoff).integer(i64::try_from(limit).unwrap_or(i64::MAX));
    Ok(engine.write(&engine.statements().forget_used_tokens, values).await?.len() >= limit)
}
