//! Clients that registered themselves.
//!
//! One row counts those that have never been used, so that no call counts them. Whoever changes the count takes a turn
//! first: creations, first uses and deletions.

use super::{
    super::{ClientCreation, ClientCutoff, StoreError},
    Engine,
    columns::{self, Values},
};
use crate::types::{client::RegisteredClient, clock::Timestamp, id::ClientId};

/// What those take turns for that change the count.
const COUNT: &str = "client_counts";

pub(in super::super) async fn create_client<E: Engine>(
    engine: &E,
    new: &RegisteredClient,
    most_unused: Option<u32>,
) -> Result<ClientCreation, StoreError> {
    let sql = engine.statements();
    let mut transaction = engine.begin().await?;
    engine.take_turn(&mut transaction, COUNT).await?;
    if E::run(&mut transaction, &sql.insert_client, Values::registered_client(new)).await?.is_empty() {
        return Ok(ClientCreation::Conflict);
    }
    if new.used_at.is_none() {
        let most = Values::default().integer(most_unused.map_or(i64::MAX, i64::from));
        if E::run(&mut transaction, &sql.count_client, most).await?.is_empty() {
            return Ok(ClientCreation::Full);
        }
    }
    E::commit(transaction).await?;
    Ok(ClientCreation::Created)
}

pub(in super::super) async fn find_client<E: Engine>(
    engine: &E,
    id: &ClientId,
) -> Result<Option<RegisteredClient>, StoreError> {
    let rows = engine.read(&engine.statements().find_client, Values::default().text(id.as_str())).await?;
    rows.first().map(columns::registered_client).transpose()
}

pub(in super::super) async fn use_client<E: Engine>(
    engine: &E,
    id: &ClientId,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let sql = engine.statements();
    let client = || Values::default().text(id.as_str());
    if !engine.write(&sql.use_client, client().instant(at)).await?.is_empty() {
        return Ok(true);
    }
    match find_client(engine, id).await? {
        None => return Ok(false),
        Some(client) if client.used_at.is_some_and(|last| last >= at) => return Ok(true),
        Some(_) => {}
    }
    let mut transaction = engine.begin().await?;
    engine.take_turn(&mut transaction, COUNT).await?;
    let is_known = if E::run(&mut transaction, &sql.use_client_first, client().instant(at)).await?.is_empty() {
        // Another call was the first, or has deleted it.
        E::run(&mut transaction, &sql.use_client, client().instant(at)).await?;
        !E::run(&mut transaction, &sql.find_client, client()).await?.is_empty()
    } else {
        E::run(&mut transaction, &sql.discount_clients, Values::default().integer(1)).await?;
        true
    };
    E::commit(transaction).await?;
    Ok(is_known)
}

pub(in super::super) async fn forget_clients<E: Engine>(
    engine: &E,
    cutoff: &ClientCutoff,
    limit: usize,
) -> Result<bool, StoreError> {
    let sql = engine.statements();
    let until = |at| Values::default().instant(at).integer(i64::try_from(limit).unwrap_or(i64::MAX));
    let used = engine.write(&sql.forget_used_clients, until(cutoff.used)).await?.len();
    let mut transaction = engine.begin().await?;
    engine.take_turn(&mut transaction, COUNT).await?;
    let unused = E::run(&mut transaction, &sql.forget_unused_clients, until(cutoff.unused)).await?.len();
    let count = i64::try_from(unused).unwrap_or(i64::MAX);
    E::run(&mut transaction, &sql.discount_clients, Values::default().integer(count)).await?;
    E::commit(transaction).await?;
    Ok(used >= limit || unused >= limit)
}
