//! The promises of an [`IdentityStore`].

use proptest::{collection::vec, prelude::*};

use super::{
    dropped::{at_every_point, dropped_after},
    fixtures::{account, after},
    property,
    races::{RACERS, race},
};
use crate::{
    store::IdentityStore,
    types::{
        authorization::Account,
        clock::Timestamp,
        id::AccountId,
        identity::{IdentityKey, LinkedIdentity, TokenKey},
        random::{OsRandom, Random as _},
    },
};

fn random_key() -> [u8; 32] {
    let mut key = [0; 32];
    OsRandom.fill(&mut key).unwrap();
    key
}

fn identity(number: u8) -> IdentityKey {
    IdentityKey::from_bytes([number; 32])
}

fn token(number: u8) -> TokenKey {
    TokenKey::from_bytes([number; 32])
}

async fn link(store: &impl IdentityStore, identity: &IdentityKey, account: &Account) {
    store.link_identity(identity, account, after(0)).await.unwrap();
}

async fn find(store: &impl IdentityStore, identity: &IdentityKey) -> Option<Account> {
    store.find_identity(identity).await.unwrap()
}

async fn unlink(store: &impl IdentityStore, identity: &IdentityKey) -> Option<Account> {
    store.unlink_identity(identity).await.unwrap()
}

pub async fn r91_an_identity_that_is_unknown_is_an_answer_and_no_error(store: impl IdentityStore) {
    assert_eq!(find(&store, &identity(1)).await, None);
    assert_eq!(unlink(&store, &identity(1)).await, None);
    assert!(!store.unlink_account(&account("alice").id, 10).await.unwrap());
    assert!(!store.is_used(&token(1)).await.unwrap());
    assert!(!store.forget_used(after(0), 10).await.unwrap());
}

pub async fn an_identity_has_one_link_and_the_last_one_counts(store: impl IdentityStore) {
    let (alice, bob) = (account("alice"), account("bob"));
    link(&store, &identity(1), &alice).await;
    link(&store, &identity(2), &alice).await;
    assert_eq!(find(&store, &identity(1)).await, Some(alice.clone()));
    link(&store, &identity(1), &bob).await;
    assert_eq!(find(&store, &identity(1)).await, Some(bob.clone()));
    // The label is the one of the last link.
    let renamed = Account::new(bob.id.clone(), "Robert");
    link(&store, &identity(1), &renamed).await;
    assert_eq!(find(&store, &identity(1)).await, Some(renamed.clone()));
    // A link that was replaced is no link of its former account.
    assert!(!store.unlink_account(&alice.id, 9).await.unwrap());
    assert_eq!(find(&store, &identity(1)).await, Some(renamed.clone()));
    assert_eq!(find(&store, &identity(2)).await, None);
    assert_eq!(unlink(&store, &identity(1)).await, Some(renamed));
    assert_eq!(unlink(&store, &identity(1)).await, None);
    assert_eq!(find(&store, &identity(1)).await, None);
    link(&store, &identity(1), &alice).await;
    assert_eq!(find(&store, &identity(1)).await, Some(alice));
}

pub async fn r99_keys_of_any_bytes_and_hostile_accounts_come_back_as_they_were(store: impl IdentityStore) {
    let hostile = *b"%_\\?*[]{}()\"`;--\r\n\0\0\0 null {}#$1";
    let mut keys = vec![[0; 32], [0xff; 32], [b'\''; 32], [b' '; 32], [b':'; 32], hostile];
    // They differ in their last byte only.
    keys.extend((0..8).map(|last| {
        let mut key = [7; 32];
        key[31] = last;
        key
    }));
    let hostile = ["';DROP TABLE identities--", "\u{1f980}\u{202e}", "a:b", "*", "null", "\u{410}"];
    let accounts = hostile.map(|text| Account::new(AccountId::new(text).unwrap(), format!("{text}\0\n\u{7f}")));
    for (number, key) in keys.iter().enumerate() {
        let account = &accounts[number % accounts.len()];
        link(&store, &IdentityKey::from_bytes(*key), account).await;
        assert!(store.use_once(&TokenKey::from_bytes(*key), after(number as i64)).await.unwrap());
    }
    for (number, key) in keys.iter().enumerate() {
        let account = &accounts[number % accounts.len()];
        assert_eq!(find(&store, &IdentityKey::from_bytes(*key)).await.as_ref(), Some(account), "{number}");
        assert!(store.is_used(&TokenKey::from_bytes(*key)).await.unwrap(), "{number}");
    }
}

pub async fn the_links_of_an_account_are_deleted_a_few_at_a_time(store: impl IdentityStore) {
    let (alice, bob) = (account("alice"), account("bob"));
    for number in 0..7 {
        link(&store, &identity(number), if number == 3 { &bob } else { &alice }).await;
    }
    let left = async || {
        let mut left = 0;
        for number in 0..7 {
            left += usize::from(find(&store, &identity(number)).await.as_ref() == Some(&alice));
        }
        left
    };
    assert!(store.unlink_account(&alice.id, 4).await.unwrap());
    assert_eq!(left().await, 2);
    assert!(!store.unlink_account(&alice.id, 4).await.unwrap());
    assert_eq!(left().await, 0);
    assert!(!store.unlink_account(&alice.id, 4).await.unwrap());
    assert_eq!(find(&store, &identity(3)).await, Some(bob));
}

pub async fn the_links_of_an_account_are_listed_a_few_at_a_time(store: impl IdentityStore) {
    let (alice, bob) = (account("alice"), Account::new(account("bob").id, "Bob\0 '*"));
    assert_eq!(store.list_identities(&alice.id, None, 9).await.unwrap(), []);
    // Keys that begin and end with the smallest and the largest byte, in another order than that of their links.
    for number in [200, 0, 255, 7, 92] {
        store.link_identity(&identity(number), &alice, after(i64::from(number))).await.unwrap();
    }
    link(&store, &identity(8), &bob).await;
    let mut all = Vec::new();
    loop {
        let read = store.list_identities(&alice.id, all.last(), 2).await.unwrap();
        assert!(read.len() <= 2);
        for linked in &read {
            let number = linked.key.as_bytes()[0];
            assert_eq!((&linked.account, linked.linked_at), (&alice, after(i64::from(number))));
            all.push(linked.key);
        }
        if read.is_empty() {
            break;
        }
    }
    assert_eq!(all, [0, 7, 92, 200, 255].map(identity));
    // One that moved is listed where it is, with its new label and date, and one that was unlinked nowhere.
    store.link_identity(&identity(7), &bob, after(9)).await.unwrap();
    unlink(&store, &identity(92)).await;
    let listed = store.list_identities(&bob.id, None, 9).await.unwrap();
    let expected = [(7, 9), (8, 0)].map(|(number, at)| LinkedIdentity::new(identity(number), bob.clone(), after(at)));
    assert_eq!(listed, expected);
    let left: Vec<_> =
        store.list_identities(&alice.id, None, 9).await.unwrap().iter().map(|linked| linked.key).collect();
    assert_eq!(left, [0, 200, 255].map(identity));
    assert!(!store.unlink_account(&bob.id, 9).await.unwrap());
    assert_eq!(store.list_identities(&bob.id, None, 9).await.unwrap(), []);
}

pub async fn a_token_is_used_once_until_it_is_forgotten(store: impl IdentityStore) {
    assert!(store.use_once(&token(1), after(5)).await.unwrap());
    assert!(store.is_used(&token(1)).await.unwrap());
    // The instant of the first use counts, and whether it has passed does not.
    for until in [0, 5, 99] {
        assert!(!store.use_once(&token(1), after(until)).await.unwrap());
    }
    assert!(!store.is_used(&token(2)).await.unwrap());
    assert!(!store.forget_used(after(4), 9).await.unwrap());
    assert!(store.is_used(&token(1)).await.unwrap());
    assert!(!store.forget_used(after(5), 9).await.unwrap(), "at this instant or before");
    assert!(!store.is_used(&token(1)).await.unwrap());
    assert!(store.use_once(&token(1), after(9)).await.unwrap());
}

pub async fn r99_used_tokens_are_forgotten_a_few_at_a_time(store: impl IdentityStore) {
    for number in 0..9 {
        assert!(store.use_once(&token(number), after(i64::from(number))).await.unwrap());
    }
    let left = async || {
        let mut left = Vec::new();
        for number in 0..9 {
            if store.is_used(&token(number)).await.unwrap() {
                left.push(number);
            }
        }
        left
    };
    assert!(store.forget_used(after(6), 3).await.unwrap(), "the oldest first");
    assert_eq!(left().await, [3, 4, 5, 6, 7, 8]);
    assert!(store.forget_used(after(6), 3).await.unwrap());
    assert!(!store.forget_used(after(6), 3).await.unwrap());
    assert_eq!(left().await, [7, 8]);
}

pub async fn r93_a_dropped_link_is_whole_or_nothing(store: impl IdentityStore) {
    let (alice, bob) = (account("alice"), account("bob"));
    at_every_point(async |polls, hastily| {
        let new = IdentityKey::from_bytes(random_key());
        link(&store, &new, &alice).await;
        let outcome = dropped_after(store.link_identity(&new, &bob, after(1)), polls, hastily).await;
        // Waits for work in progress.
        let left = unlink(&store, &new).await;
        let done = left.as_ref() == Some(&bob);
        assert!(done || (outcome.is_none() && left.as_ref() == Some(&alice)), "what was acknowledged is kept");
        assert_eq!(find(&store, &new).await, None);
        done
    })
    .await;
}

pub async fn r93_a_dropped_use_of_a_token_is_whole_or_nothing(store: impl IdentityStore) {
    at_every_point(async |polls, hastily| {
        let new = TokenKey::from_bytes(random_key());
        let outcome = dropped_after(store.use_once(&new, after(1)), polls, hastily).await;
        let again = store.use_once(&new, after(1)).await.unwrap();
        assert!(outcome.is_none() || !again, "what was acknowledged is kept");
        assert!(store.is_used(&new).await.unwrap());
        !again
    })
    .await;
}

pub async fn r98_a_token_is_used_by_one_of_2_to_256_racing_callers(store: impl IdentityStore + Clone) {
    for racers in [2, 3, 8, RACERS, 256] {
        let new = TokenKey::from_bytes(random_key());
        let answers = race((0..racers).map(|racer| {
            let store = store.clone();
            async move { store.use_once(&new, after(racer as i64)).await.unwrap() }
        }));
        assert_eq!(answers.await.iter().filter(|won| **won).count(), 1, "of {racers}");
        assert!(store.is_used(&new).await.unwrap());
    }
}

/// Links of one identity to two accounts, and deletions by identity and by account, at once.
pub async fn racing_links_and_deletions_leave_one_whole_link_or_none(store: impl IdentityStore + Clone) {
    let accounts = [account("alice"), account("bob")];
    for racers in [2, 8, RACERS, 256] {
        let new = IdentityKey::from_bytes(random_key());
        let answers = race((0..racers).map(|racer| {
            let (store, account) = (store.clone(), accounts[racer % 2].clone());
            async move {
                match racer / 2 % 4 {
                    0 | 1 => {
                        store.link_identity(&new, &account, after(racer as i64)).await.unwrap();
                        None
                    }
                    2 => store.unlink_identity(&new).await.unwrap(),
                    _ => {
                        store.unlink_account(&account.id, 9).await.unwrap();
                        None
                    }
                }
            }
        }));
        let unlinked = answers.await;
        assert!(unlinked.iter().flatten().all(|account| accounts.contains(account)));
        // What is left is found by its account.
        let left = find(&store, &new).await;
        for account in &accounts {
            let before = find(&store, &new).await;
            assert!(!store.unlink_account(&account.id, 9).await.unwrap());
            let expected = before.filter(|_| left.as_ref() != Some(account));
            assert_eq!(find(&store, &new).await, expected, "of {racers}");
        }
    }
}

pub async fn r98_an_identity_is_unlinked_by_one_of_2_to_256_racing_callers(store: impl IdentityStore + Clone) {
    for racers in [2, 8, RACERS, 256] {
        let new = IdentityKey::from_bytes(random_key());
        link(&store, &new, &account("alice")).await;
        let answers = race((0..racers).map(|_| {
            let store = store.clone();
            async move { store.unlink_identity(&new).await.unwrap() }
        }));
        assert_eq!(answers.await.iter().flatten().count(), 1, "of {racers}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Link { identity: u8, account: usize },
    Unlink { identity: u8 },
    UnlinkAccount { account: usize },
    Use { token: u8, until: i64 },
    Forget { cutoff: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (key, account, at) = (0..6_u8, 0..3_usize, 0..20_i64);
    prop_oneof![
        4 => (key.clone(), account.clone()).prop_map(|(identity, account)| Step::Link { identity, account }),
        2 => key.clone().prop_map(|identity| Step::Unlink { identity }),
        1 => account.prop_map(|account| Step::UnlinkAccount { account }),
        4 => (key, at.clone()).prop_map(|(token, until)| Step::Use { token, until }),
        1 => at.prop_map(|cutoff| Step::Forget { cutoff }),
    ]
}

pub async fn random_traces_of_identities_agree_with_the_model(store: impl IdentityStore) {
    property(128, vec(step(), 1..=60), async |steps| run(&store, &steps).await);
}

async fn run(store: &impl IdentityStore, steps: &[Step]) {
    let accounts = ["alice", "bob", "carol"].map(account);
    for account in &accounts {
        store.unlink_account(&account.id, 99).await.unwrap();
    }
    store.forget_used(after(99), 99).await.unwrap();
    let mut links: [Option<usize>; 6] = [None; 6];
    let mut used: [Option<Timestamp>; 6] = [None; 6];
    for (number, step) in steps.iter().enumerate() {
        let said = format!("step {number} {step:?}");
        match *step {
            Step::Link { identity: key, account } => {
                link(store, &identity(key), &accounts[account]).await;
                links[usize::from(key)] = Some(account);
            }
            Step::Unlink { identity: key } => {
                let expected = links[usize::from(key)].take().map(|account| accounts[account].clone());
                assert_eq!(unlink(store, &identity(key)).await, expected, "{said}");
            }
            Step::UnlinkAccount { account } => {
                links = links.map(|link| link.filter(|owner| *owner != account));
                assert!(!store.unlink_account(&accounts[account].id, 99).await.unwrap(), "{said}");
            }
            Step::Use { token: key, until } => {
                let known = &mut used[usize::from(key)];
                let is_new = known.is_none();
                known.get_or_insert(after(until));
                assert_eq!(store.use_once(&token(key), after(until)).await.unwrap(), is_new, "{said}");
            }
            Step::Forget { cutoff } => {
                used = used.map(|until| until.filter(|until| *until > after(cutoff)));
                assert!(!store.forget_used(after(cutoff), 99).await.unwrap(), "{said}");
            }
        }
        for key in 0..6 {
            let expected = links[usize::from(key)].map(|account| accounts[account].clone());
            assert_eq!(find(store, &identity(key)).await, expected, "{said}");
            assert_eq!(store.is_used(&token(key)).await.unwrap(), used[usize::from(key)].is_some(), "{said}");
        }
    }
}
