//! A configuration is refused with everything that is wrong with it at once: the field, the value, the remedy.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{num::NonZeroU32, time::Duration};

use tower_agent_auth::{
    AgentAuth, Config, ConfigBuilder, ConfigError, accounts::AccountsError, config::Dialect, store::MemoryStore,
    types::scope::Effect,
};

mod common;
use common::config;

const WHOLE: &str = r#"
resource = "https://api.example.com/v1"
issuer = "https://api.example.com"
name = "Example Analytics"
logo = "https://cdn.example.com/logo.svg"
documentation = "https://docs.example.com"
terms = "https://example.com/terms"
policy = "https://example.com/privacy"
contact = "mailto:help@example.com"
dialects = ["agent_auth"]
claim_methods = ["google_oauth"]
challenge_scope = true
mount_path = "/from-the-proxy"
sessions_path = "/me/agents"
trusted_proxies = ["10.0.0.0/8", "::1"]

[[scopes]]
name = "experiments:read"
description = "See your experiments"
default = true

[[scopes]]
name = "experiments:write"
description = "Change your experiments"
implies = ["experiments:read"]
effect = "change"
caution = "Visitors notice"

[lifetimes]
authorization_request = "5m"
exchange_code = "30s"
finish_code = "5m"
access = "15m"
refresh = "7d"
session = "30d"
choices = ["1d", "1h", "30d"]
proposed = "1d"
refresh_grace = "5s"
sign_in = "20m"
history = "5d"

[modes]
browser = false
detached = true
finish_code = false
finish_code_alone = true
callback_origins = ["https://app.example.com"]

[limits]
pending_per_source = 5
pending_total = 100
poll_interval = "2s"
store_read = "100ms"
store_write = "300ms"
authorization_requests_per_minute = 100
polls_per_minute = 0
redemptions_per_minute = 7
refreshes_per_minute = 8
revocations_per_minute = 9
pages_per_minute = 11

[prefixes]
access = "exa_"
refresh = "exr_"
claim = "exc_"
poll = "exp_"
exchange = "exe_"
finish = "exf_"

[auth_md]
extra = "Be kind."
"#;

fn fields(error: &ConfigError) -> Vec<String> {
    error.problems().iter().map(|problem| problem.field.clone()).collect()
}

#[test]
fn toml_json_and_the_builder_say_the_same() {
    let toml = Config::from_toml(WHOLE).unwrap();
    let json: serde_json::Value = toml::from_str(WHOLE).unwrap();
    let json = Config::from_json(&json.to_string()).unwrap();
    let built = Config::builder()
        .resource("https://api.example.com/v1")
        .issuer("https://api.example.com")
        .name("Example Analytics")
        .logo("https://cdn.example.com/logo.svg")
        .documentation("https://docs.example.com")
        .terms("https://example.com/terms")
        .policy("https://example.com/privacy")
        .contact("mailto:help@example.com")
        .claim_method("google_oauth")
        .challenge_scope(true)
        .mount_path("/from-the-proxy")
        .sessions_path("/me/agents")
        .trusted_proxy("10.0.0.0/8")
        .trusted_proxy("::1")
        .scope("experiments:read", "See your experiments", |scope| scope.by_default())
        .scope("experiments:write", "Change your experiments", |scope| {
            scope.implies("experiments:read").effect(Effect::Change).caution("Visitors notice")
        })
        .lifetimes(|lifetimes| lifetimes.authorization_request = Duration::from_secs(300))
        .lifetimes(|lifetimes| lifetimes.access = Duration::from_secs(900))
        .dialects(&[Dialect::AgentAuth])
        .lifetimes(|lifetimes| lifetimes.refresh = Duration::from_secs(7 * 86_400))
        .lifetimes(|lifetimes| {
            lifetimes.session = Duration::from_secs(30 * 86_400);
            lifetimes.choices = [3_600, 30 * 86_400, 86_400].map(Duration::from_secs).into();
            lifetimes.proposed = Some(Duration::from_secs(86_400));
        })
        .lifetimes(|lifetimes| {
            lifetimes.exchange_code = Duration::from_secs(30);
            lifetimes.finish_code = Duration::from_secs(300);
        })
        .lifetimes(|lifetimes| lifetimes.refresh_grace = Duration::from_secs(5))
        .lifetimes(|lifetimes| lifetimes.sign_in = Some(Duration::from_secs(1_200)))
        .modes(|modes| {
            (modes.browser, modes.finish_code, modes.finish_code_alone) = (false, false, true);
            modes.callback_origins = vec!["https://app.example.com".into()];
        })
        .limits(|limits| (limits.pending_per_source, limits.pending_total) = (Some(5), Some(100)))
        .lifetimes(|lifetimes| lifetimes.history = Duration::from_secs(5 * 86_400))
        .limits(|limits| limits.poll_interval = Duration::from_secs(2))
        .limits(|limits| {
            limits.store_read = Duration::from_millis(100);
            limits.store_write = Duration::from_millis(300);
            let rates = &mut limits.rates;
            rates.authorization_requests = NonZeroU32::new(100);
            rates.polls = None;
            rates.redemptions = NonZeroU32::new(7);
            rates.refreshes = NonZeroU32::new(8);
            rates.revocations = NonZeroU32::new(9);
            rates.pages = NonZeroU32::new(11);
        })
        .prefixes(|prefixes| {
            (prefixes.access, prefixes.refresh, prefixes.claim) = ("exa_".into(), "exr_".into(), "exc_".into());
            (prefixes.poll, prefixes.exchange, prefixes.finish) = ("exp_".into(), "exe_".into(), "exf_".into());
        })
        .auth_md_extra("Be kind.")
        .build()
        .unwrap();
    assert_eq!(format!("{toml:#?}"), format!("{json:#?}"));
    assert_eq!(format!("{toml:#?}"), format!("{built:#?}"));
    assert_eq!(
        toml.protected_resource_metadata_url(),
        "https://api.example.com/.well-known/oauth-protected-resource/v1"
    );
}

#[test]
fn all_problems_are_reported_at_once_with_value_and_remedy() {
    let error = Config::from_toml(
        r#"
        resource = "http://api.example.com"
        issuer = "https://api.example.com/x/"
        name = "x`y"
        logo = "logo.png"
        contact = "mailto:nobody"
        naem = "typo"
        dialects = ["agent_auth", "telepathy"]
        challenge_scope = "yes"
        sessions_path = "sessions"
        trusted_proxies = ["10.0.0.0/8", "everybody"]
        [[scopes]]
        name = "a b"
        description = "A"
        [[scopes]]
        name = "c"
        description = ""
        implies = ["d"]
        [[scopes]]
        name = "c"
        description = "C"
        colour = "red"
        [lifetimes]
        authorization_request = "2h"
        access = 3600
        refresh = "0s"
        [limits]
        pending_total = 0
        pending_per_source = -1
        poll_interval = "1ms"
        [prefixes]
        access = "TOOLONG_"
        claim = "aar_"
        "#,
    )
    .unwrap_err();
    let mut found = fields(&error);
    found.sort();
    let mut expected = [
        "resource",
        "issuer",
        "name",
        "logo",
        "contact",
        "naem",
        "dialects",
        "challenge_scope",
        "sessions_path",
        "trusted_proxies",
        "scopes[0].name",
        "scopes[1].description",
        "scopes[1].implies",
        "scopes[2].name",
        "scopes[2].colour",
        "lifetimes.authorization_request",
        "lifetimes.access",
        "lifetimes.refresh",
        "lifetimes.access",
        "limits.pending_total",
        "limits.pending_per_source",
        "limits.poll_interval",
        "prefixes.access",
        "prefixes.claim",
    ];
    expected.sort();
    assert_eq!(found, expected, "{error}");
    for problem in error.problems() {
        assert!(!problem.remedy.is_empty());
        assert!(error.to_string().contains(&problem.to_string()), "{problem}");
    }
    let dialect = error.problems().iter().find(|problem| problem.field == "dialects").unwrap();
    assert_eq!(
        (dialect.value.as_str(), dialect.remedy.as_str()),
        ("telepathy", "is not a dialect of this version; there is: agent_auth, agent_sessions, oauth, auth_md")
    );
}

#[test]
fn r12_the_choices_of_a_human_have_bounds() {
    let with = |lifetimes: &str| {
        Config::from_toml(&format!(
            "resource = 'https://api.example.com'\nname = 'x'\n[[scopes]]\nname = 'a'\ndescription = 'A'\n\
             [lifetimes]\nsession = '30d'\n{lifetimes}"
        ))
    };
    let days = |days: u64| Duration::from_secs(days * 86_400);
    for (text, choices, proposed) in [
        ("", vec![], None),
        ("choices = []", vec![], None),
        ("choices = ['1d']", vec![days(1)], Some(days(1))),
        ("choices = ['30d', '1m', '1d']", vec![Duration::from_secs(60), days(1), days(30)], Some(days(30))),
        ("choices = ['1d', '2d']\nproposed = '1d'", vec![days(1), days(2)], Some(days(1))),
        ("choices = ['1d', '2d', '3d', '4d', '5d', '6d']", (1..=6).map(days).collect(), Some(days(6))),
    ] {
        let config = with(text).unwrap();
        let lifetimes = config.lifetimes();
        assert_eq!((&lifetimes.choices, lifetimes.proposed), (&choices, proposed), "{text}");
    }
    for (text, field) in [
        ("choices = ['59s']", "lifetimes.choices"),
        ("choices = ['1d', '31d']", "lifetimes.choices"),
        ("choices = ['1d', '1d']", "lifetimes.choices"),
        ("choices = ['1d', '24h']", "lifetimes.choices"),
        ("choices = ['90s 1ms']", "lifetimes.choices"),
        ("choices = ['1d', '2d', '3d', '4d', '5d', '6d', '7d']", "lifetimes.choices"),
        ("choices = '1d'", "lifetimes.choices"),
        ("choices = [3600]", "lifetimes.choices"),
        ("choices = ['soon']", "lifetimes.choices"),
        ("choices = ['1d']\nproposed = '2d'", "lifetimes.proposed"),
        ("proposed = '1d'", "lifetimes.proposed"),
        ("proposed = 5", "lifetimes.proposed"),
    ] {
        let error = with(text).unwrap_err();
        assert_eq!(fields(&error), [field], "{text}: {error}");
    }
}

#[test]
fn a_choice_that_no_session_can_last_is_refused_when_the_service_is_built() {
    let build = |dialects: &[Dialect], hours: u64| {
        let config = config().dialects(dialects).lifetimes(|lifetimes| {
            (lifetimes.access, lifetimes.choices) =
                (Duration::from_secs(7_200), vec![Duration::from_secs(hours * 3_600)]);
        });
        let builder = AgentAuth::builder(config.build().unwrap()).sessions(MemoryStore::new());
        builder.accounts(common::TestAccounts::default()).build().map(drop)
    };
    build(&[Dialect::AgentAuth], 2).unwrap();
    build(&[Dialect::AgentAuth, Dialect::AgentSessions], 3).unwrap();
    let error = build(&[Dialect::AgentAuth], 3).unwrap_err();
    assert_eq!(fields(&error), ["lifetimes.choices"]);
    assert!(error.problems()[0].remedy.contains("lifetimes.access"), "{error}");
}

#[test]
fn a_scope_says_its_effect_and_a_caution() {
    let scopes =
        |scopes: &str| Config::from_toml(&format!("resource = 'https://api.example.com'\nname = 'x'\n{scopes}"));
    let problem = |text: &str| {
        let error = scopes(text).unwrap_err();
        assert_eq!(error.problems().len(), 1, "{error}");
        (error.problems()[0].field.clone(), error.problems()[0].remedy.clone())
    };
    let whole = scopes(
        "[[scopes]]\nname = 'read'\ndescription = 'r'\n\n[[scopes]]\nname = 'pay'\ndescription = 'p'\n\
         effect = 'spend'\ncaution = 'Costs money'",
    );
    let whole = whole.unwrap();
    let entries = whole.catalogue().entries();
    assert_eq!((entries[0].effect, entries[0].caution.as_deref()), (Effect::See, None));
    assert_eq!((entries[1].effect, entries[1].caution.as_deref()), (Effect::Spend, Some("Costs money")));

    let one = |line: &str| problem(&format!("[[scopes]]\nname = 'a'\ndescription = 'A'\n{line}"));
    for (line, field) in [
        ("effect = 'see '", "scopes[0].effect"),
        ("effect = 'Change'", "scopes[0].effect"),
        ("effect = 'write'", "scopes[0].effect"),
        ("effect = ''", "scopes[0].effect"),
        ("effect = 1", "scopes[0].effect"),
        ("caution = ''", "scopes[0].caution"),
        ("caution = ' '", "scopes[0].caution"),
        ("caution = 'a<b>'", "scopes[0].caution"),
        ("caution = \"a\\u001b[2J\"", "scopes[0].caution"),
        (&format!("caution = '{}'", "x".repeat(65)), "scopes[0].caution"),
    ] {
        assert_eq!(one(line).0, field, "{line}");
    }
    assert!(one("effect = 'write'").1.contains("see, change, spend"));

    // A scope must not stand in a group that hides what it gives.
    let (field, remedy) = problem(
        "[[scopes]]\nname = 'a'\ndescription = 'A'\nimplies = ['b']\n\n[[scopes]]\nname = 'b'\ndescription = 'B'\n\
         implies = ['c']\neffect = 'spend'\n\n[[scopes]]\nname = 'c'\ndescription = 'C'\neffect = 'change'",
    );
    assert_eq!((&*field, remedy.contains("spend at least: the scope gives b")), ("scopes[0].effect", true), "{remedy}");
}

#[test]
fn what_is_no_text_of_its_kind_is_reported_and_not_guessed() {
    for (text, word) in
        [("resource = ", "line 1"), ("{", ""), ("resource = 5", "resource"), ("[[resource]]", "resource")]
    {
        let error = Config::from_toml(text).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
    for text in ["", "[]", "null", "{\"resource\":", "\"x\""] {
        assert!(Config::from_json(text).is_err(), "{text}");
    }
}

#[test]
fn r32_r33_identifiers_have_one_spelling() {
    for good in [
        "https://api.example.com",
        "https://api.example.com/",
        "https://api.example.com:8443/v1",
        "http://127.0.0.1:3000",
        "http://[::1]:3000",
        "https://192.0.2.1",
        "https://[2001:db8::1]:8443/v1",
        "https://xn--bcher-kva.example",
        "http://localhost",
        "https://api.example.com/v1/",
    ] {
        assert!(config().resource(good).build().is_ok(), "{good}");
    }
    for bad in [
        "",
        "api.example.com",
        "/v1",
        "ftp://api.example.com",
        "http://api.example.com",
        "http://127.0.0.1.evil.com",
        "https://API.example.com",
        "HTTPS://api.example.com",
        "https://api.example.com:443",
        "http://localhost:80",
        "https://api.example.com:",
        "https://api.example.com:0",
        "https://api.example.com:08443",
        "https://api.example.com:65536",
        "https://api:one.example.com",
        "http://[::1]:port",
        "https://1.2",
        "https://0x7f.1",
        "https://256.256.256.256",
        "https://[::0001]",
        "https://[::ffff:192.0.2.1]",
        "https://[v1.x]",
        "https://api.example.com.",
        "https://api..example.com",
        "https://api!example.com",
        "https://api.example.com/a/%2e%2E/b",
        "https://api.example.com/é",
        "https://user:pass@api.example.com",
        "https://api.example.com#f",
        "https://api.example.com?q",
        "https://api.example.com/a/../b",
        "https://api.example.com//a",
        "https://api.example.com/a b",
        "https://",
        "https://api.example.com\r\nX: 1",
        "https://api.example.com/\"",
    ] {
        assert_eq!(fields(&config().resource(bad).build().unwrap_err())[0], "resource", "{bad}");
    }
    assert_eq!(fields(&config().issuer("https://api.example.com/").build().unwrap_err()), ["issuer"]);
}

#[test]
fn r12_r13_lifetimes_have_bounds() {
    let day = Duration::from_secs(86_400);
    for bad in [Duration::ZERO, Duration::from_millis(999), 31 * day, Duration::MAX] {
        assert!(
            fields(&config().lifetimes(|lifetimes| lifetimes.access = bad).build().unwrap_err())
                .contains(&"lifetimes.access".into()),
            "{bad:?}"
        );
    }
    assert_eq!(
        fields(&config().lifetimes(|lifetimes| lifetimes.refresh = 91 * day).build().unwrap_err()),
        ["lifetimes.refresh"]
    );
    assert_eq!(
        fields(&config().lifetimes(|lifetimes| lifetimes.authorization_request = day).build().unwrap_err()),
        ["lifetimes.authorization_request"]
    );
    assert_eq!(
        fields(&config().lifetimes(|lifetimes| lifetimes.history = Duration::ZERO).build().unwrap_err()),
        ["lifetimes.history"]
    );
    let deadlines = config().limits(|limits| {
        limits.store_read = Duration::from_millis(9);
        limits.store_write = 61 * Duration::from_secs(1);
    });
    let deadlines = deadlines.build().unwrap_err();
    assert_eq!(fields(&deadlines), ["limits.store_read", "limits.store_write"]);
    let shorter = config()
        .lifetimes(|lifetimes| lifetimes.access = 2 * day)
        .lifetimes(|lifetimes| lifetimes.refresh = day)
        .build()
        .unwrap_err();
    assert_eq!(fields(&shorter), ["lifetimes.access"]);
}

#[test]
fn r26_nothing_that_would_break_a_header_or_a_policy_gets_in() {
    for bad in [
        "https://cdn.example.com/a;script-src *",
        "https://cdn.example.com/a,b",
        "https://cdn.example.com/'",
        "javascript:alert(1)",
        "//x",
    ] {
        assert_eq!(fields(&config().logo(bad).build().unwrap_err()), ["logo"], "{bad}");
    }
    for bad in ["sessions", "/", "/a//b", "/a/../b", "/a b", "/a?b", "/a/", "/é", "/a\r\nb"] {
        assert_eq!(fields(&config().sessions_path(bad).build().unwrap_err()), ["sessions_path"], "{bad}");
    }
}

#[test]
fn a_service_without_a_part_is_refused_when_it_is_built() {
    let build = || tower_agent_auth::AgentAuth::builder(config().build().unwrap());
    assert_eq!(fields(&build().build().unwrap_err()), ["sessions"]);
    assert_eq!(fields(&build().sessions(MemoryStore::new()).build().unwrap_err()), ["accounts"]);
    assert!(build().checks_only(MemoryStore::new()).build().is_ok());
}

#[test]
#[should_panic(expected = "`projects:raed` is not in the scope catalogue")]
fn a_route_with_an_unknown_scope_panics_when_the_service_is_built() {
    let _ = common::Service::new().auth.require("projects:raed");
}

#[test]
fn errors_keep_their_chain_and_tell_no_cause() {
    use std::error::Error;
    let error = AccountsError::new("password authentication failed for user root");
    assert_eq!(error.to_string(), "the service's accounts are unavailable");
    assert!(error.source().unwrap().to_string().contains("password"));
}

#[test]
fn c2_the_grace_is_a_minute_unless_set_and_never_longer() {
    let grace = |config: ConfigBuilder| config.build().map(|config| config.lifetimes().refresh_grace);
    let set = |span: Duration| grace(config().lifetimes(|lifetimes| lifetimes.refresh_grace = span));
    let minute = Duration::from_secs(60);
    assert_eq!(grace(config()).unwrap(), minute);
    for span in [Duration::ZERO, Duration::from_millis(1), Duration::from_secs(10), minute] {
        assert_eq!(set(span).unwrap(), span);
    }
    for span in [minute + Duration::from_millis(1), Duration::from_secs(3_600), Duration::MAX] {
        assert_eq!(fields(&set(span).unwrap_err()), ["lifetimes.refresh_grace"], "{span:?}");
    }
    for (text, span) in [("0s", Duration::ZERO), ("45s", Duration::from_secs(45)), ("1m", minute)] {
        let toml = format!(
            "resource = \"https://api.example.com\"\nname = \"Example\"\n\
             scopes = [{{ name = \"a\", description = \"A\" }}]\nlifetimes = {{ refresh_grace = \"{text}\" }}"
        );
        let json = format!(
            r#"{{ "resource": "https://api.example.com", "name": "Example",
                "scopes": [{{ "name": "a", "description": "A" }}], "lifetimes": {{ "refresh_grace": "{text}" }} }}"#
        );
        for config in [Config::from_toml(&toml), Config::from_json(&json)] {
            assert_eq!(config.unwrap().lifetimes().refresh_grace, span);
        }
    }
}

#[test]
fn what_makes_no_sense_of_a_login_is_refused() {
    let problems = |lines: &str| {
        let text = format!(
            "resource = \"https://api.example.com\"\nname = \"Example\"\nscopes = [{{ name = \"a\", description = \"A\" }}]\n{lines}"
        );
        Config::from_toml(&text).map_or_else(|error| fields(&error), |_| Vec::new())
    };
    for (lines, field) in [
        ("lifetimes = { exchange_code = \"0s\" }", "lifetimes.exchange_code"),
        ("lifetimes = { finish_code = \"11m\" }", "lifetimes.finish_code"),
        ("lifetimes = { session = \"400d\" }", "lifetimes.session"),
        ("lifetimes = { refresh_grace = \"61s\" }", "lifetimes.refresh_grace"),
        ("lifetimes = { sign_in = \"0s\" }", "lifetimes.sign_in"),
        ("modes = { detached = false, finish_code_alone = true }", "modes.finish_code_alone"),
        ("modes = { callback_origins = [\"http://app.example.com\"] }", "modes.callback_origins"),
        ("modes = { callback_origins = [\"https://app.example.com/\"] }", "modes.callback_origins"),
        ("modes = { callback_origins = [\"https://*.example.com\"] }", "modes.callback_origins"),
        ("modes = { callback_origins = [\"https://app.example.com; script-src *\"] }", "modes.callback_origins"),
        ("modes = { interactive = true }", "modes.interactive"),
        ("limits = { pages_per_minute = -1 }", "limits.pages_per_minute"),
        ("prefixes = { poll = \"aae_\" }", "prefixes.exchange"),
    ] {
        assert_eq!(problems(lines), [field], "{lines}");
    }
    for lines in
        ["lifetimes = { refresh_grace = \"0s\" }", "modes = { callback_origins = [\"https://app.example.com:8443\"] }"]
    {
        assert!(problems(lines).is_empty(), "{lines}");
    }
}

#[test]
fn b8_two_things_on_one_path_are_an_error_that_names_both() {
    use tower_agent_auth::{AgentAuth, store::MemoryStore};
    for (path, other) in [
        ("/agent/auth", "an endpoint of a dialect"),
        ("/agent/auth/claim/complete", "an endpoint of a dialect"),
        ("/agent-sessions/poll", "an endpoint of a dialect"),
        ("/account/agent-sessions", "an endpoint of a dialect"),
        ("/agent/auth/approve/mine", "the approval page"),
        ("/auth.md", "auth.md"),
        ("/.well-known/oauth-protected-resource", "the protected resource metadata"),
        ("/.well-known/oauth-authorization-server", "the authorization server metadata"),
    ] {
        let config = config().sessions_path(path).build().unwrap();
        let builder = AgentAuth::builder(config).sessions(MemoryStore::new()).accounts(Nobody);
        let error = builder.build().unwrap_err();
        assert_eq!(fields(&error), ["sessions_path"], "{path}");
        let text = error.to_string();
        assert!(text.contains(path) && text.contains("the sessions page") && text.contains(other), "{text}");
    }
    for free in ["/agent/auth/sessions", "/agent/auth/approve", "/auth", "/agent-sessions"] {
        let config = config().sessions_path(free).build().unwrap();
        assert!(AgentAuth::builder(config).sessions(MemoryStore::new()).accounts(Nobody).build().is_ok(), "{free}");
    }
}

struct Nobody;

impl tower_agent_auth::accounts::Accounts for Nobody {
    async fn current(
        &self,
        _: &http::request::Parts,
    ) -> Result<Option<tower_agent_auth::accounts::SignedIn>, tower_agent_auth::accounts::AccountsError> {
        Ok(None)
    }

    fn login_url(&self, _: &str) -> String {
        "/login".into()
    }

    async fn is_active(
        &self,
        _: &tower_agent_auth::types::id::AccountId,
    ) -> Result<bool, tower_agent_auth::accounts::AccountsError> {
        Ok(true)
    }
}

#[test]
fn g8_an_error_that_main_returns_says_what_to_do() {
    let error = Config::from_json("{}").unwrap_err();
    assert_eq!(format!("{error:?}"), error.to_string());
    let shown = format!("{:?}", Box::<dyn std::error::Error>::from(error));
    assert!(shown.contains("\n  resource: is required"), "{shown}");

    use tower_agent_auth::store::{StoreError, StoreErrorKind};
    let cause = std::io::Error::other("the disk is gone");
    let error = StoreError::because(StoreErrorKind::Unavailable, cause);
    assert_eq!(format!("{error:?}"), "the session store is unavailable: the disk is gone");
    let error = tower_agent_auth::ceremony::CeremonyError::from(error);
    assert_eq!(format!("{error:?}"), "the session store is unavailable: the disk is gone");
    let error = tower_agent_auth::accounts::AccountsError::new("the directory is down");
    assert_eq!(format!("{error:?}"), "the service's accounts are unavailable: the directory is down");
    let error = tower_agent_auth::types::scope::Scope::new("a b").unwrap_err();
    assert_eq!(format!("{error:?}"), error.to_string());
}

/// A configuration with these trusted issuers.
fn trusting(issuers: &str) -> Result<Config, ConfigError> {
    const BASE: &str = r#"
        resource = "https://api.example.com"
        name = "Example"
        [[scopes]]
        name = "projects:read"
        description = "See your projects"
    "#;
    Config::from_toml(&format!("{BASE}\n{issuers}"))
}

#[test]
fn trusted_issuers_are_read_and_by_default_there_are_none() {
    assert_eq!(trusting("").unwrap().trusted_issuers(), []);
    let config = trusting(
        r#"
        [[trusted_issuers]]
        issuer = "https://idp.example/"
        jwks_uri = "https://idp.example/keys?p=1"
        algorithms = ["ES384"]
        client_ids = ["https://agent.example/client.json"]

        [[trusted_issuers]]
        issuer = "https://idp.example"
        jwks_uri = "https://idp.example/keys"
        "#,
    );
    let config = config.unwrap();
    let [first, second] = config.trusted_issuers() else { panic!("two issuers") };
    assert_eq!((&*first.issuer, &*first.jwks_uri), ("https://idp.example/", "https://idp.example/keys?p=1"));
    assert_eq!((first.algorithms.join(" "), first.client_ids.len()), ("ES384".into(), 1));
    assert_eq!((second.algorithms.join(" "), second.client_ids.len()), ("ES256 RS256 EdDSA".into(), 0));
}

#[test]
fn wrong_trusted_issuers_are_refused_with_field_and_remedy() {
    let with = |fields: &str| {
        let error = trusting(&format!("[[trusted_issuers]]\n{fields}")).unwrap_err();
        error.problems().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    const KEYS: &str = "jwks_uri = \"https://idp.example/keys\"";
    for (issuer, remedy) in [
        ("", "trusted_issuers[0].issuer: is required"),
        ("http://idp.example", "must be an absolute https URL"),
        ("http://127.0.0.1:8080", "must be an absolute https URL"),
        ("idp.example", "must be an absolute https URL"),
        ("HTTPS://idp.example", "must be an absolute https URL"),
        ("https://IDP.example", "its host in lower case"),
        ("https://idp.example:443", "default port"),
        ("https://ada@idp.example", "no user name"),
        ("https://idp.example?x", "no query"),
        ("https://idp.example#x", "no query and no fragment"),
        ("https://idp.example/a/../b", "without empty, . and .. segments"),
        ("https://api.example.com", "is this service itself"),
    ] {
        let said = with(&format!("issuer = \"{issuer}\"\n{KEYS}"));
        assert!(said.contains(remedy), "{issuer}: {said}");
    }
    for (keys, remedy) in [
        ("", "trusted_issuers[0].jwks_uri: is required"),
        ("http://idp.example/keys", "must be an absolute https URL"),
        ("https://idp.example/keys?p=1#x", "no fragment"),
        ("https://idp.example/keys#x", "no fragment"),
        ("https://idp.example/keys?a b", "does not allow"),
    ] {
        let said = with(&format!("issuer = \"https://idp.example\"\njwks_uri = \"{keys}\""));
        assert!(said.contains(remedy), "{keys}: {said}");
    }
    for (fields, remedy) in [
        ("algorithms = []", "must name at least one"),
        ("algorithms = [\"none\"]", "\"none\": must be one of these"),
        ("algorithms = [\"ES256\", \"HS256\"]", "\"HS256\": must be one of these"),
        ("algorithms = [\"es256\"]", "must be one of these"),
        ("algorithms = \"ES256\"", "must be a list of texts"),
        ("client_ids = [\"two words\"]", "visible ASCII"),
        ("keys = 7", "trusted_issuers[0].keys"),
        ("[[trusted_issuers]]\nissuer = \"https://idp.example\"\njwks_uri = \"https://x.example\"", "is there twice"),
    ] {
        let said = with(&format!("issuer = \"https://idp.example\"\n{KEYS}\n{fields}"));
        assert!(said.contains(remedy), "{fields}: {said}");
    }
}
