//! The twin of the ledger: what the service must know of each claim, by what was acknowledged, and what it may know, by
//! what was asked and never answered.

use std::time::Instant;

#[derive(Debug)]
pub(crate) struct Claim {
    /// Names the claim in the ledger; the human sees it in the list of sessions.
    pub(crate) label: String,
    pub(crate) human: String,
    pub(crate) token: String,
    /// Where the human decides.
    pub(crate) page: String,
    pub(crate) requested: Vec<&'static str>,
    pub(crate) decided: Decided,
    pub(crate) exchange: Exchange,
}

#[derive(Clone, Debug)]
pub(crate) enum Decision {
    Approve(Vec<&'static str>),
    Deny,
}

#[derive(Clone, Debug)]
pub(crate) enum Decided {
    Not,
    /// The form was sent, and no answer came.
    Perhaps(Decision),
    Surely(Decision),
}

#[derive(Debug)]
pub(crate) enum Exchange {
    Not,
    /// It was asked for, and no answer came.
    Perhaps,
    Done(Session),
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) scopes: Vec<&'static str>,
    pub(crate) since: Instant,
    /// When its tokens came.
    pub(crate) renewed: Instant,
    /// The access token before the last refresh.
    pub(crate) retired: Option<String>,
    pub(crate) fate: Fate,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    Live,
    /// A refresh was asked for then, and no answer came.
    PerhapsRefreshed(Instant),
    /// A revoke was asked for, and no answer came.
    PerhapsRevoked,
    Revoked,
}

impl Claim {
    pub(crate) const fn session(&self) -> Option<&Session> {
        match &self.exchange {
            Exchange::Done(session) => Some(session),
            Exchange::Not | Exchange::Perhaps => None,
        }
    }

    /// The session, to change it, beside the label to ask about it with.
    pub(crate) fn session_mut(&mut self) -> Option<(&str, &mut Session)> {
        match &mut self.exchange {
            Exchange::Done(session) => Some((&self.label, session)),
            Exchange::Not | Exchange::Perhaps => None,
        }
    }

    /// What was granted, if anything was.
    pub(crate) fn granted(&self) -> Vec<&'static str> {
        match &self.decided {
            Decided::Perhaps(Decision::Approve(scopes)) | Decided::Surely(Decision::Approve(scopes)) => scopes.clone(),
            _ => Vec::new(),
        }
    }

    /// What completing it may answer now.
    pub(crate) const fn completes_with(&self) -> &'static [u16] {
        const SESSION: u16 = 200;
        const PENDING: u16 = 400;
        const DENIED: u16 = 403;
        const CLAIMED: u16 = 409;
        match (&self.decided, &self.exchange) {
            (_, Exchange::Done(_)) => &[CLAIMED],
            (Decided::Surely(Decision::Approve(_)), Exchange::Perhaps) => &[SESSION, CLAIMED],
            (Decided::Surely(Decision::Approve(_)), Exchange::Not) => &[SESSION],
            (Decided::Surely(Decision::Deny), _) => &[DENIED],
            (Decided::Perhaps(Decision::Approve(_)), Exchange::Not) => &[SESSION, PENDING],
            (Decided::Perhaps(Decision::Approve(_)), Exchange::Perhaps) => &[SESSION, PENDING, CLAIMED],
            (Decided::Perhaps(Decision::Deny), _) => &[DENIED, PENDING],
            (Decided::Not, _) => &[PENDING],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Claim, Decided, Decision, Exchange};

    fn claim(decided: Decided, exchange: Exchange) -> Claim {
        let text = String::new;
        Claim { label: text(), human: text(), token: text(), page: text(), requested: vec![], decided, exchange }
    }

    #[test]
    fn what_was_acknowledged_leaves_one_answer_and_what_was_not_leaves_some() {
        let approve = || Decision::Approve(vec!["projects:read"]);
        let may = |decided, exchange| claim(decided, exchange).completes_with();
        assert_eq!(may(Decided::Not, Exchange::Not), [400]);
        assert_eq!(may(Decided::Surely(Decision::Deny), Exchange::Not), [403]);
        assert_eq!(may(Decided::Surely(approve()), Exchange::Not), [200]);
        assert_eq!(may(Decided::Surely(approve()), Exchange::Perhaps), [200, 409]);
        assert_eq!(may(Decided::Perhaps(approve()), Exchange::Not), [200, 400]);
    }
}
