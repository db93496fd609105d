use super::{
    Action, ApprovalPage, AskedScope, Before, Choice, ClientGroup, CodeEntryPage, CodeField, Fact, Filter, FinishCode,
    Form, GivenScope, Group, Identity, Instant, Link, MessagePage, Notice, OutcomePage, Page, Requester, ResourceName,
    SessionEntry, SessionsPage, Switch, Tone, WaitingEntry,
};

/// Pages of each kind with made-up content, long and hostile texts among it: for tests of templates and of
/// [`RenderPage`](super::RenderPage).
///
/// ```
/// use tower_agent_auth::pages::{Page, samples};
///
/// assert!(samples().iter().any(|page| matches!(page, Page::Approval(page) if page.user_code.is_some())));
/// ```
#[must_use]
pub fn samples() -> Vec<Page> {
    let message = MessagePage {
        tone: Tone::Bad,
        title: "That form is no longer good".into(),
        lines: vec![HOSTILE.into()],
        action: Some(action()),
        link: Some(link()),
    };
    let bare = MessagePage { lines: Vec::new(), action: None, link: None, ..message.clone() };
    let entry =
        CodeEntryPage { form: form(), account: HOSTILE.into(), notice: Some(HOSTILE.into()), code: "BCDF".into() };
    let outcome = outcome();
    let code = FinishCode { code: "aaf_sample".into(), message: HOSTILE.into() };
    let waiting = OutcomePage { state: "approved", code: Some(code), live: true, ..outcome.clone() };
    let over =
        OutcomePage { state: "expired", facts: Vec::new(), action: None, tone: Tone::Neutral, ..outcome.clone() };
    let approval = approval();
    let device = ApprovalPage {
        user_code: Some("BCDF-GHJK".into()),
        check_phrase: None,
        notice: None,
        switch: None,
        flow: "device",
        choices: Vec::new(),
        never: Vec::new(),
        warnings: Vec::new(),
        resource: None,
        ..approval.clone()
    };
    let sessions = sessions();
    let nothing = SessionsPage {
        notice: None,
        waiting: Vec::new(),
        groups: Vec::new(),
        filters: Vec::new(),
        all_url: None,
        previous_url: None,
        next_url: None,
        revoke_all_url: None,
        ..sessions.clone()
    };
    vec![
        Page::Approval(Box::new(approval)),
        Page::Approval(Box::new(device)),
        Page::Outcome(Box::new(waiting)),
        Page::Outcome(Box::new(outcome)),
        Page::Outcome(Box::new(over)),
        Page::Sessions(Box::new(sessions)),
        Page::Sessions(Box::new(nothing)),
        Page::CodeEntry(entry),
        Page::Message(message),
        Page::Message(bare),
    ]
}

const HOSTILE: &str = "“<b>Agent</b>” \u{202e}& {{ 7*7 }}";

fn form() -> Form {
    Form { action: "/sample".into(), seal: SEAL.into() }
}

/// An element in the texts, which no page may have.
pub(super) const TAG: &str = "<b>Agent</b>";

/// The seal of every form.
pub(super) const SEAL: &str = "the-seal-of-a-sample";

fn action() -> Action {
    Action {
        form: form(),
        decision: "take_back",
        fields: vec![("session", HOSTILE.into())],
        text: "Take it back".into(),
    }
}

fn link() -> Link {
    Link { href: "/sessions".into(), text: "See all sessions".into() }
}

fn instant() -> Instant {
    let (at, text) = ("2026-11-24T01:10:00Z".into(), "2026-11-24 01:10 UTC".into());
    Instant { at, text, ago: Some("2 minutes ago".into()), ahead: None }
}

fn given() -> GivenScope {
    GivenScope { name: "orders:read".into(), description: HOSTILE.into(), implied: true }
}

fn resource() -> ResourceName {
    ResourceName { id: "https://api.example.com/mcp".into(), name: Some(HOSTILE.into()) }
}

fn sessions() -> SessionsPage {
    let ahead = Instant { ago: None, ahead: Some("in 29 days".into()), ..instant() };
    let active = SessionEntry {
        id: "ses_0000000000000000000001".into(),
        name: Some(HOSTILE.into()),
        client: HOSTILE.into(),
        label: Some(HOSTILE.into()),
        reason: Some(HOSTILE.into()),
        scopes: vec![given(), GivenScope { implied: false, ..given() }],
        resource: Some(resource()),
        created: instant(),
        last_used: Some(instant()),
        asked_from: Some("203.0.113.9".into()),
        collected_from: Some("203.0.113.9".into()),
        collected_by: Some(HOSTILE.into()),
        used_from: Some("2001:db8::1".into()),
        expires: ahead.clone(),
        lasts_until: Some(ahead.clone()),
        state: "active",
        revoked: None,
        ended_by: None,
    };
    let revoked = SessionEntry {
        id: "ses_0000000000000000000002".into(),
        name: None,
        client: "Agent".into(),
        label: None,
        reason: None,
        resource: None,
        last_used: None,
        collected_by: None,
        used_from: None,
        lasts_until: None,
        state: "revoked",
        revoked: Some(instant()),
        ended_by: Some("you".into()),
        ..active.clone()
    };
    let expired = SessionEntry {
        id: "ses_0000000000000000000003".into(),
        state: "expired",
        expires: instant(),
        ..active.clone()
    };
    let notice = Notice { text: HOSTILE.into(), session: Some(active.id.clone()), refused: Some(HOSTILE.into()) };
    let group = ClientGroup {
        client: HOSTILE.into(),
        host: Some("app.example".into()),
        active: 2,
        continued: true,
        sessions: vec![active, revoked],
        revoke_url: Some("/sessions?confirm=client".into()),
        found: 12,
        all_url: Some("/sessions?client=ses_0000000000000000000001".into()),
    };
    let other = ClientGroup {
        host: None,
        active: 0,
        continued: false,
        sessions: vec![expired],
        revoke_url: None,
        found: 1,
        all_url: None,
        ..group.clone()
    };
    let waiting = WaitingEntry {
        id: "reg_0000000000000000000001".into(),
        client: HOSTILE.into(),
        host: Some("app.example".into()),
        label: Some(HOSTILE.into()),
        reason: Some(HOSTILE.into()),
        scopes: vec![given()],
        resource: Some(resource()),
        asked: instant(),
        expires: ahead,
        standing: true,
        address: Some("203.0.113.9".into()),
    };
    let filter = |state, count| Filter { state, href: "/sessions".into(), count, current: state == "all" };
    SessionsPage {
        form: form(),
        account: HOSTILE.into(),
        notice: Some(notice),
        path: "/sessions".into(),
        query: HOSTILE.into(),
        state: "all",
        filters: vec![filter("all", 13), filter("active", 2), filter("ended", 11)],
        one_client: false,
        more: true,
        waiting: vec![waiting],
        waiting_more: 2,
        groups: vec![group, other],
        revoke_all_url: Some("/sessions?confirm=all".into()),
        export_url: "/sessions?export".into(),
        all_url: Some("/sessions".into()),
        previous_url: Some("/sessions".into()),
        next_url: Some("/sessions?after=ses_0000000000000000000003".into()),
    }
}

fn outcome() -> OutcomePage {
    let fact = Fact { term: "Agent".into(), detail: HOSTILE.into(), instant: None };
    OutcomePage {
        state: "collected",
        tone: Tone::Good,
        title: "Approved, and collected".into(),
        lines: vec![HOSTILE.into()],
        code: None,
        facts: vec![fact.clone(), Fact { instant: Some(instant()), ..fact }],
        action: Some(action()),
        links: vec![link()],
        path: "/sample".into(),
        live: false,
    }
}

fn approval() -> ApprovalPage {
    let scope = AskedScope {
        name: "orders:write".into(),
        description: HOSTILE.into(),
        caution: Some(HOSTILE.into()),
        ticked: false,
        held: true,
        gives: vec![given()],
        given_by: vec!["orders:all".into()],
    };
    let plain = AskedScope { caution: None, ticked: true, gives: Vec::new(), given_by: Vec::new(), ..scope.clone() };
    let choice = Choice { seconds: 3_600, text: "1 hour".into(), chosen: true };
    ApprovalPage {
        form: form(),
        account: HOSTILE.into(),
        notice: Some(HOSTILE.into()),
        switch: Some(Switch::Button),
        flow: "claim",
        from_here: false,
        check_phrase: Some("amber otter 42".into()),
        user_code: None,
        code_field: Some(CodeField::Optional),
        client: Requester {
            name: HOSTILE.into(),
            reason: Some(HOSTILE.into()),
            label: Some(HOSTILE.into()),
            method: Some(HOSTILE.into()),
            login_hint: Some(HOSTILE.into()),
            vouched_by: Some("https://idp.example".into()),
            identity: Some(Identity { host: Some("app.example".into()), proven: false }),
            address: Some("203.0.113.9".into()),
            same_network: Some(false),
            browser: Some("198.51.100.4".into()),
        },
        asked: instant(),
        before: Before { any: true, count: 2, last_used: Some("1 day ago".into()) },
        resource: Some(resource()),
        handover: HOSTILE.into(),
        warnings: vec![HOSTILE.into()],
        groups: vec![Group { effect: "see", scopes: vec![plain] }, Group { effect: "spend", scopes: vec![scope] }],
        has_unticked: true,
        has_held: true,
        choices: vec![choice, Choice { seconds: 86_400, text: "1 day".into(), chosen: false }],
        at_most: "90 days".into(),
        unused: Some("30 days".into()),
        never: vec![HOSTILE.into()],
        expires_in: "8 minutes".into(),
        sessions_url: "/sessions".into(),
    }
}
