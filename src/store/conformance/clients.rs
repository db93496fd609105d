//! The promises of a [`ClientStore`].

use proptest::{collection::vec, prelude::*};

use super::{
    dropped::{at_every_point, dropped_after},
    fixtures::{after, client_id, longest_client_id},
    property,
    races::{RACERS, race},
};
use crate::{
    store::{ClientCreation, ClientCutoff, ClientStore},
    types::{client::RegisteredClient, clock::Timestamp, id::ClientId, random::OsRandom},
};

const NEVER: Timestamp = Timestamp::from_millis(i64::MIN);

fn client(id: &str, millis: i64) -> RegisteredClient {
    RegisteredClient::new(client_id(id), r#"{"version":1,"client_name":"Agent"}"#, after(millis))
}

fn random_client(millis: i64) -> RegisteredClient {
    RegisteredClient::new(ClientId::generate(&OsRandom).unwrap(), "{}", after(millis))
}

async fn create(store: &impl ClientStore, new: &RegisteredClient) -> ClientCreation {
    store.create_client(new, None).await.unwrap()
}

async fn find(store: &impl ClientStore, id: &ClientId) -> Option<RegisteredClient> {
    store.find_client(id).await.unwrap()
}

async fn is_stored(store: &impl ClientStore, client: &RegisteredClient) -> bool {
    find(store, &client.id).await.is_some()
}

pub async fn r91_a_client_that_is_unknown_is_an_answer_and_no_error(store: impl ClientStore) {
    let id = client_id("unknown");
    assert_eq!(find(&store, &id).await, None);
    assert!(!store.use_client(&id, after(1)).await.unwrap());
    assert_eq!(find(&store, &id).await, None, "a use creates nothing");
    assert!(!store.forget_clients(&ClientCutoff::new(after(0), after(0)), 10).await.unwrap());
}

pub async fn r98_a_client_is_stored_once_and_never_overwritten(store: impl ClientStore) {
    let first = client("a", 1);
    assert_eq!(create(&store, &first).await, ClientCreation::Created);
    assert!(store.use_client(&first.id, after(5)).await.unwrap());
    let mut kept = first.clone();
    kept.used_at = Some(after(5));
    let mut other = RegisteredClient::new(first.id.clone(), "other", after(2));
    assert_eq!(create(&store, &other).await, ClientCreation::Conflict);
    assert_eq!(store.create_client(&other, Some(0)).await.unwrap(), ClientCreation::Conflict);
    other.used_at = Some(after(9));
    assert_eq!(create(&store, &other).await, ClientCreation::Conflict);
    assert_eq!(find(&store, &first.id).await, Some(kept));
    // An id differs by every byte.
    for near in ["A", "a.", ".a"] {
        assert_eq!(find(&store, &client_id(near)).await, None, "{near}");
    }
}

pub async fn r99_hostile_ids_and_metadata_come_back_as_they_were(store: impl ClientStore) {
    let mut all = Vec::new();
    for (number, hostile) in
        ["';DROP--", "\"OR1=1--", "%_\\?1:@p$1", "<script>", "null", "{\"a\":[1]}", "*", "client:a"]
            .into_iter()
            .enumerate()
    {
        let metadata =
            format!("{{\"x\":\"{hostile} \u{0410}\u{1f980}\u{202e}\\u0000 {}\"}}\n", "é".repeat(4_000 * number));
        all.push(RegisteredClient::new(client_id(hostile), &metadata, after(number as i64)));
    }
    all.push(RegisteredClient::new(longest_client_id(), "", after(-7)));
    for new in &mut all {
        assert_eq!(create(&store, new).await, ClientCreation::Created);
    }
    for new in &mut all {
        assert_eq!(find(&store, &new.id).await.as_ref(), Some(&*new));
        assert!(store.use_client(&new.id, after(20)).await.unwrap());
        new.used_at = Some(after(20));
        assert_eq!(find(&store, &new.id).await.as_ref(), Some(&*new));
    }
    // One that was used before it was stored here, as a copy of another store.
    let mut copied = client("copied", 3);
    copied.used_at = Some(after(4));
    assert_eq!(store.create_client(&copied, Some(0)).await.unwrap(), ClientCreation::Created);
    assert_eq!(find(&store, &copied.id).await, Some(copied));
}

pub async fn the_later_use_of_a_client_stands(store: impl ClientStore) {
    let new = client("a", 0);
    create(&store, &new).await;
    for (at, kept) in [(5, 5), (3, 5), (5, 5), (9, 9), (-1, 9)] {
        assert!(store.use_client(&new.id, after(at)).await.unwrap());
        assert_eq!(find(&store, &new.id).await.unwrap().used_at, Some(after(kept)));
    }
}

pub async fn a_cap_counts_the_clients_that_have_never_been_used(store: impl ClientStore) {
    let capped = async |new: &RegisteredClient, most| store.create_client(new, Some(most)).await.unwrap();
    let all: Vec<RegisteredClient> = (0..9).map(|number| client(&format!("c{number}"), number)).collect();
    assert_eq!(capped(&all[0], 0).await, ClientCreation::Full);
    for new in &all[..3] {
        assert_eq!(capped(new, 3).await, ClientCreation::Created);
    }
    assert_eq!(capped(&all[3], 3).await, ClientCreation::Full);
    assert!(!is_stored(&store, &all[3]).await, "nothing changed");
    // What has been used does not count, however often, nor does what is refused as a conflict.
    for at in [5, 6, 4] {
        assert!(store.use_client(&all[1].id, after(at)).await.unwrap());
    }
    assert_eq!(capped(&all[0], 3).await, ClientCreation::Conflict);
    assert_eq!(capped(&all[1], 3).await, ClientCreation::Conflict);
    assert_eq!(capped(&all[4], 3).await, ClientCreation::Created);
    assert_eq!(capped(&all[5], 3).await, ClientCreation::Full);
    let mut used = all[5].clone();
    used.used_at = Some(after(6));
    assert_eq!(capped(&used, 3).await, ClientCreation::Created);
    assert_eq!(capped(&all[6], 3).await, ClientCreation::Full);
    // A deletion frees the places of those that it deletes, and no more.
    store.forget_clients(&ClientCutoff::new(after(0), NEVER), 9).await.unwrap();
    store.forget_clients(&ClientCutoff::new(NEVER, after(99)), 9).await.unwrap();
    assert!(!is_stored(&store, &all[0]).await && !is_stored(&store, &all[1]).await && !is_stored(&store, &used).await);
    assert_eq!(capped(&all[6], 3).await, ClientCreation::Created);
    assert_eq!(capped(&all[7], 3).await, ClientCreation::Full);
    assert_eq!(capped(&all[7], 4).await, ClientCreation::Created);
    assert_eq!(create(&store, &all[8]).await, ClientCreation::Created, "there is no cap");
}

pub async fn r99_clients_are_forgotten_by_their_last_use_a_few_at_a_time(store: impl ClientStore) {
    let all: Vec<RegisteredClient> = (0..10).map(|number| client(&format!("c{number}"), number)).collect();
    for new in &all {
        create(&store, new).await;
    }
    // The even ones were used, the first of them last.
    for (number, new) in all.iter().enumerate().step_by(2) {
        store.use_client(&new.id, after(100 - number as i64)).await.unwrap();
    }
    let left = async || {
        let mut left = Vec::new();
        for (number, new) in all.iter().enumerate() {
            if is_stored(&store, new).await {
                left.push(number);
            }
        }
        left
    };
    let forget =
        async |unused, used, limit| store.forget_clients(&ClientCutoff::new(unused, used), limit).await.unwrap();
    assert!(!forget(after(0), after(91), 5).await);
    assert_eq!(left().await.len(), 10, "their registration does not count, once they were used");
    assert!(!forget(after(1), NEVER, 5).await, "at this instant or before");
    assert_eq!(left().await, [0, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(!forget(NEVER, after(92), 5).await);
    assert_eq!(left().await, [0, 2, 3, 4, 5, 6, 7, 9]);
    assert!(forget(after(50), after(200), 2).await, "the oldest of each");
    assert_eq!(left().await, [0, 2, 7, 9]);
    assert!(forget(after(50), after(200), 2).await);
    assert_eq!(left().await, [0; 0]);
    assert!(!forget(after(50), after(200), 2).await);
    // An id can be used again.
    assert_eq!(create(&store, &all[0]).await, ClientCreation::Created);
    assert_eq!(find(&store, &all[0].id).await.as_ref(), Some(&all[0]));
}

pub async fn r93_a_dropped_creation_of_a_client_is_whole_or_nothing(store: impl ClientStore) {
    at_every_point(async |polls, hastily| {
        let new = random_client(0);
        let outcome = dropped_after(store.create_client(&new, None), polls, hastily).await;
        let again = create(&store, &new).await;
        assert!(outcome.is_none() || again == ClientCreation::Conflict, "what was acknowledged is kept");
        assert_eq!(find(&store, &new.id).await, Some(new));
        // Its count is whole too: after it is used, nothing is counted.
        let known = store.find_client(&client_id("last")).await.unwrap();
        assert_eq!(known, None);
        let all = ClientCutoff::new(after(0), NEVER);
        store.forget_clients(&all, 9).await.unwrap();
        let last = client("last", 0);
        assert_eq!(store.create_client(&last, Some(1)).await.unwrap(), ClientCreation::Created);
        store.forget_clients(&all, 9).await.unwrap();
        again == ClientCreation::Conflict
    })
    .await;
}

pub async fn r93_a_dropped_first_use_is_whole_or_nothing(store: impl ClientStore) {
    at_every_point(async |polls, hastily| {
        let new = random_client(0);
        create(&store, &new).await;
        let outcome = dropped_after(store.use_client(&new.id, after(5)), polls, hastily).await;
        // Waits for work in progress.
        assert!(store.use_client(&new.id, after(4)).await.unwrap());
        let used_at = find(&store, &new.id).await.unwrap().used_at;
        let done = used_at == Some(after(5));
        assert!(done || (outcome.is_none() && used_at == Some(after(4))), "what was acknowledged is kept");
        let last = random_client(0);
        assert_eq!(store.create_client(&last, Some(1)).await.unwrap(), ClientCreation::Created, "nothing is counted");
        store.forget_clients(&ClientCutoff::new(after(0), after(9)), 9).await.unwrap();
        done
    })
    .await;
}

pub async fn r98_one_winner_of_64_racing_creations_of_a_client(store: impl ClientStore + Clone) {
    for round in 0..5 {
        let id = format!("racing-{round}");
        let answers = race((0..RACERS).map(|racer| {
            let store = store.clone();
            let new = RegisteredClient::new(client_id(&id), &racer.to_string(), after(0));
            async move { (store.create_client(&new, None).await.unwrap(), new) }
        }));
        let answers = answers.await;
        let won: Vec<_> = answers.iter().filter(|(answer, _)| *answer == ClientCreation::Created).collect();
        let lost = answers.iter().filter(|(answer, _)| *answer == ClientCreation::Conflict).count();
        assert_eq!((won.len(), lost), (1, RACERS - 1));
        assert_eq!(find(&store, &won[0].1.id).await.as_ref(), Some(&won[0].1));
    }
}

pub async fn racing_creations_of_clients_stay_within_the_cap(store: impl ClientStore + Clone) {
    const CAP: u32 = 10;
    for round in 1..4 {
        let answers = race((0..RACERS).map(|_| {
            let (store, new) = (store.clone(), random_client(0));
            async move { (store.create_client(&new, Some(CAP * round)).await.unwrap(), new) }
        }));
        let answers = answers.await;
        let won = answers.iter().filter(|(answer, _)| *answer == ClientCreation::Created).count();
        assert_eq!(won, CAP as usize, "in round {round}");
        for (answer, new) in &answers {
            assert_eq!(is_stored(&store, new).await, *answer == ClientCreation::Created);
        }
    }
}

/// First uses, deletions and creations at once: each client was deleted or used, and the count is right in the end.
pub async fn racing_uses_and_deletions_of_clients_leave_the_count_right(store: impl ClientStore + Clone) {
    for _ in 0..5 {
        let mut all = Vec::new();
        for _ in 0..RACERS / 8 {
            let new = random_client(0);
            assert_eq!(store.create_client(&new, Some(10)).await.unwrap(), ClientCreation::Created);
            all.push(new);
        }
        let answers = race((0..RACERS).map(|racer| {
            let (store, new) = (store.clone(), all[racer % all.len()].clone());
            async move {
                match racer / 8 % 4 {
                    0 => drop(store.forget_clients(&ClientCutoff::new(after(0), NEVER), 2).await.unwrap()),
                    1 => drop(store.create_client(&new, Some(10)).await.unwrap()),
                    _ => drop(store.use_client(&new.id, after(racer as i64)).await.unwrap()),
                }
            }
        }));
        answers.await;
        for new in &all {
            // The latest of the uses, if it was not deleted before them.
            let used = find(&store, &new.id).await.and_then(|known| known.used_at);
            assert!(used.is_none_or(|at| at > after(0)), "{used:?}");
        }
        store.forget_clients(&ClientCutoff::new(after(0), after(RACERS as i64)), RACERS).await.unwrap();
        for most in 0..3 {
            assert_eq!(store.create_client(&random_client(1), Some(most)).await.unwrap(), ClientCreation::Full);
            assert_eq!(store.create_client(&random_client(1), Some(most + 1)).await.unwrap(), ClientCreation::Created);
        }
        store.forget_clients(&ClientCutoff::new(after(1), NEVER), RACERS).await.unwrap();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Create { client: usize, at: i64, most: Option<u32> },
    Use { client: usize, at: i64 },
    Forget { unused: i64, used: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (client, at) = (0..8_usize, 0..20_i64);
    let most = prop_oneof![Just(None), (0..5_u32).prop_map(Some)];
    prop_oneof![
        4 => (client.clone(), at.clone(), most).prop_map(|(client, at, most)| Step::Create { client, at, most }),
        3 => (client, at.clone()).prop_map(|(client, at)| Step::Use { client, at }),
        1 => (at.clone(), at).prop_map(|(unused, used)| Step::Forget { unused, used }),
    ]
}

/// Ids of every kind, metadata that differs, and the longest id.
fn clients_of_a_trace() -> Vec<ClientId> {
    let mut ids: Vec<ClientId> = (0..7).map(|number| client_id(&format!("https://agent.example/{number}'"))).collect();
    ids.push(longest_client_id());
    ids
}

pub async fn random_traces_of_clients_agree_with_the_model(store: impl ClientStore) {
    property(128, vec(step(), 1..=60), async |steps| run(&store, &steps).await);
}

async fn run(store: &impl ClientStore, steps: &[Step]) {
    let everything = ClientCutoff::new(after(99), after(99));
    store.forget_clients(&everything, 99).await.unwrap();
    let ids = clients_of_a_trace();
    let mut model: Vec<Option<RegisteredClient>> = vec![None; ids.len()];
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Step::Create { client, at, most } => {
                let new = RegisteredClient::new(ids[client].clone(), &format!("{number}"), after(at));
                let unused = model.iter().flatten().filter(|known| known.used_at.is_none()).count();
                let expected = if model[client].is_some() {
                    ClientCreation::Conflict
                } else if most.is_some_and(|most| unused >= most as usize) {
                    ClientCreation::Full
                } else {
                    model[client] = Some(new.clone());
                    ClientCreation::Created
                };
                assert_eq!(store.create_client(&new, most).await.unwrap(), expected, "step {number} {step:?}");
            }
            Step::Use { client, at } => {
                let known = model[client].as_mut();
                let expected = known.is_some();
                if let Some(known) = known {
                    known.used_at = known.used_at.max(Some(after(at)));
                }
                let found = store.use_client(&ids[client], after(at)).await.unwrap();
                assert_eq!(found, expected, "step {number} {step:?}");
            }
            Step::Forget { unused, used } => {
                let is_left = |known: &RegisteredClient| match known.used_at {
                    Some(at) => at > after(used),
                    None => known.created_at > after(unused),
                };
                for known in &mut model {
                    *known = known.take().filter(is_left);
                }
                let cutoff = ClientCutoff::new(after(unused), after(used));
                assert!(!store.forget_clients(&cutoff, 99).await.unwrap());
            }
        }
        for (client, id) in ids.iter().enumerate() {
            assert_eq!(find(store, id).await, model[client], "step {number} {step:?}");
        }
    }
}
