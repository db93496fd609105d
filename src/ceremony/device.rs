use std::{fmt, time::Duration};

use sha2::Digest as _;

use super::{
    Ceremony, CeremonyError, Issued, Request,
    flow::{KnownFlow, NewFlow},
};
use crate::{
    store::AuthorizationKey,
    types::{
        authorization::{AuthorizationRequest, Lookup},
        id::{AccountId, AuthorizationRequestId, ClientId},
        random::{Random, RandomError},
        secret::{Claim, Secret},
        session::Redeemer,
    },
};

/// The letters of a user code (RFC 8628 section 6.1): no vowels, so that it spells no word.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Letters in a user code: 8 × log2(20) = 34.5 bits.
const LENGTH: usize = 8;

/// The result of a device's authorization request (RFC 8628 section 3.2).
#[non_exhaustive]
pub struct DeviceRequested {
    /// The authorization request.
    pub authorization: AuthorizationRequest,
    /// The device code, which the device polls with and redeems. It is returned only here.
    pub device_code: Secret<Claim>,
    /// The code that the device shows and its human types, such as `BCDF-GHJK`.
    pub user_code: String,
    /// The remaining lifetime.
    pub expires_in: Duration,
    /// How long to wait before the first poll, and between polls.
    pub interval: Duration,
}

impl fmt::Debug for DeviceRequested {
    /// Without the codes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceRequested").field("authorization", &self.authorization).finish_non_exhaustive()
    }
}

impl Ceremony {
    /// Creates the authorization request of a device that can't receive its human's browser (RFC 8628). It grants
    /// nothing until a human types its code and approves it.
    ///
    /// # Errors
    /// When the request is invalid, when too many requests are pending, or when the service fails.
    pub async fn request_device(&self, request: Request) -> Result<DeviceRequested, CeremonyError> {
        let draw = |_: &AuthorizationRequestId| {
            let device_code = self.config.prefixes().claim.generate(&*self.random)?;
            let user_code = new_user_code(&*self.random)?;
            let lookups = vec![Lookup::from(device_code.digest()), lookup(&user_code)];
            let user_code = shown(&user_code);
            Ok((
                NewFlow { flow: KnownFlow::Device { user_code: user_code.clone() }, lookups },
                (device_code, user_code),
            ))
        };
        let (authorization, (device_code, user_code)) = self.create(&request, None, draw).await?;
        let expires_in = authorization.expires_at.since(authorization.created_at);
        let interval = self.config.limits().poll_interval;
        Ok(DeviceRequested { authorization, device_code, user_code, expires_in, interval })
    }

    /// The authorization request of the device that shows this code. Case, blanks and hyphens do not count. An account
    /// may try ten codes a minute (RFC 8628 section 5.1).
    ///
    /// # Errors
    /// When no device shows this code, when the account tries too often, or when the service fails.
    pub async fn find_user_code(
        &self,
        account: &AccountId,
        user_code: &str,
    ) -> Result<AuthorizationRequestId, CeremonyError> {
        self.polling.try_code(account).map_err(|wait| CeremonyError::TooFast { wait })?;
        let code = read(user_code).ok_or(CeremonyError::UnknownAuthorization)?;
        let found = self.find(&AuthorizationKey::Lookup(lookup(&code))).await?;
        found.map(|authorization| authorization.id).ok_or(CeremonyError::UnknownAuthorization)
    }

    /// Redeems a device code for a session, once. Of any number of concurrent callers, exactly one gets the session. The
    /// client and the resource are checked first; if one is wrong, nothing changes.
    ///
    /// # Errors
    /// When the device code is unknown or another client's, when the human has not decided or has denied, when the
    /// device polls too often, when agents may no longer act for the account, or when the service fails.
    pub async fn redeem_device(
        &self,
        device_code: &str,
        client: &ClientId,
        resource: Option<&str>,
        redeemer: &Redeemer,
    ) -> Result<Issued, CeremonyError> {
        let (authorization, flow) = self.by_claim(device_code).await?;
        if !matches!(flow, KnownFlow::Device { .. }) || authorization.client.id.as_ref() != Some(client) {
            return Err(CeremonyError::UnknownClaim);
        }
        if resource.is_some_and(|resource| resource != &*authorization.resource) {
            return Err(CeremonyError::InvalidTarget);
        }
        let (_, asked) = self.ask(&authorization);
        asked.map_err(|interval| CeremonyError::SlowDown { interval })?;
        self.issue(&authorization, &flow, redeemer).await
    }
}

fn new_user_code(random: &dyn Random) -> Result<String, RandomError> {
    let mut code = String::new();
    while code.len() < LENGTH {
        let mut bytes = [0; 16];
        random.fill(&mut bytes)?;
        // Bytes from 240 on would make the first letters likelier.
        let letters =
            bytes.into_iter().filter(|byte| *byte < 240).map(|byte| char::from(LETTERS[usize::from(byte) % 20]));
        code.extend(letters.take(LENGTH - code.len()));
    }
    Ok(code)
}

/// The code as a human reads it.
fn shown(code: &str) -> String {
    let (first, second) = code.split_at(LENGTH / 2);
    format!("{first}-{second}")
}

/// The code that a human typed; `None` if it can't be one.
fn read(typed: &str) -> Option<String> {
    const LONGEST: usize = 64;
    if typed.chars().nth(LONGEST).is_some() {
        return None;
    }
    let letters = typed.chars().filter(|letter| !letter.is_whitespace() && *letter != '-');
    let code: String = letters.map(|letter| letter.to_ascii_uppercase()).collect();
    (code.len() == LENGTH && code.bytes().all(|letter| LETTERS.contains(&letter))).then_some(code)
}

fn lookup(code: &str) -> Lookup {
    Lookup::from_bytes(sha2::Sha256::digest(format!("user code {code}")).into())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::types::random::OsRandom;

    #[test]
    fn a_user_code_has_every_letter_equally_often() {
        let mut counts: HashMap<char, u32> = HashMap::new();
        for _ in 0..5_000 {
            let code = new_user_code(&OsRandom).unwrap();
            assert_eq!(code.len(), LENGTH);
            code.chars().for_each(|letter| *counts.entry(letter).or_default() += 1);
        }
        // 40,000 letters: 2,000 of each, standard deviation 44. Six of them are never passed by chance.
        assert_eq!(counts.len(), 20);
        assert!(counts.values().all(|count| (1_736..2_264).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_typed_code_counts_by_its_letters() {
        for typed in ["BCDF-GHJK", "bcdfghjk", " bcdf - ghjk ", "B C D F G H J K", "bcdf--GHJK\n"] {
            assert_eq!(read(typed).as_deref(), Some("BCDFGHJK"), "{typed}");
        }
        for typed in ["", "BCDF-GHJ", "BCDF-GHJA", "BCDF-GHJKL", "BCDF_GHJK", "ВCDF-GHJK"] {
            assert_eq!(read(typed), None, "{typed}");
        }
        assert_eq!(read(&format!("BCDF-GHJK{}X", " ".repeat(64))), None, "nothing of it is left out");
        assert_eq!(shown("BCDFGHJK"), "BCDF-GHJK");
    }
}
