//! Names of clients: what is refused, what passes in any language, and what is warned of (faults A12 and A13).
#![cfg(feature = "full")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::sync::{Arc, atomic::AtomicUsize};

use http::StatusCode;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection, raw_sql, sqlite::SqliteConnectOptions};
use tower_agent_auth::{
    AgentAuth,
    accounts::SignedIn,
    audit::Event,
    ceremony::Warning,
    types::{clock::ManualClock, id::AuthorizationRequestId, text::HumanText},
};

mod common;
#[path = "common/places.rs"]
mod places;

use common::{Audit, Pending, START, Service, TestAccounts, account, app, browse, config};
use places::{Place, TempFile};

/// Honest names: every one passes, and none is warned of.
const HONEST: [&str; 92] = [
    "Claude Code",
    "Claude 助手",
    "Claude デスクトップ",
    "Claude助手",
    "Ａｇｅｎｔ助手",
    "クロードくん",
    "がぎぐげご プログラム",
    "Помощник Клод",
    "Claude помощник",
    "GPT-помощник",
    "Помічник для Єви",
    "Ѓорѓи асистент",
    "Βοηθός της Άννας",
    "Օգնական Կլոդ",
    "עוזר של דנה",
    "Claude עוזר",
    "צה״ל סוכן",
    "צה\"ל סוכן",
    "مساعد كلود",
    "دستیار می\u{200c}خواهم",
    "نامه\u{200c}رسان",
    "می\u{200c}نویسم Claude",
    "مددگار ایجنٹ",
    "کلاؤد مددگار",
    "सहायक एजेंट",
    "मेरा एजेंट Claude",
    "क्\u{200c}ष सहायक",
    "সহায়ক এজেন্ট",
    "র\u{200d}্যাম সহায়ক",
    "ਸਹਾਇਕ ਏਜੰਟ",
    "સહાયક એજન્ટ",
    "ସହାୟକ ଏଜେଣ୍ଟ",
    "உதவியாளர் முகவர்",
    "సహాయక ఏజెంట్",
    "ಸಹಾಯಕ ಏಜೆಂಟ್",
    "സഹായി ഏജന്റ്",
    "അവന്\u{200d} സഹായി",
    "ක්\u{200d}රියාකාරී සහායක",
    "ผู้ช่วยของฉัน",
    "ผู้ช่วยClaude",
    "ຜູ້ຊ່ວຍຂອງຂ້ອຍ",
    "ལས་རོགས་རྒྱུད",
    "ကူညီသူ မြှောက်",
    "ភ្នាក់ងារជំនួយ",
    "ረዳት ወኪል",
    "კლოდის დამხმარე",
    "ᎠᏰᎵ ᏗᎦᎳᏫᏍᏙᏗ",
    "ᠲᠤᠰᠠᠯᠠᠭᠴᠢ",
    "ᠮᠣᠩᠭᠣᠯ ᠬᠡᠯᠡ",
    "助手小明",
    "助理小幫手",
    "에이전트 도우미",
    "Claude 도우미",
    "ㄅㄆㄇ 注音助手",
    "Élan 2",
    "Trợ lý của Hạnh",
    "Ağ yardımcısı",
    "Əli köməkçi",
    "ʻōlelo kōkua",
    "Łódź bot",
    "Þórr aðstoð",
    "Njuŋŋis",
    "Ẹ̀rọ olùrànlọ́wọ́",
    "mataimaki ɓɗƙ",
    "Assistente nº 1",
    "L’assistant de Zoé",
    "Bob's helper",
    "rock ’n’ roll bot",
    "Agent Ⅱ",
    "Agent™ 2",
    "🤖 helper",
    "👩\u{200d}💻 helper",
    "👨\u{200d}👩\u{200d}👧\u{200d}👦 family bot",
    "❤\u{fe0f} bot",
    "1\u{fe0f}⃣ bot",
    "🏳\u{fe0f}\u{200d}🌈 agent",
    "👋🏽 hi",
    "🇩🇪 Agent",
    "葛\u{e0100}城さん",
    "Unofficial Claude client",
    "Claude (not official)",
    "e-mail helper (v2)",
    "<b>bold</b>",
    "C++ helper #2",
    "「助手」",
    "ߒߞߏ ߞߊ߬ߟߊ߲",
    "ހެލްޕަރ",
    "ܥܕܪܢܐ",
    "ⴰⵎⴰⵡⵙ",
    "ꦥꦁꦫꦺꦮꦁ",
    "𞤀𞤣𞤤𞤢𞤥",
    "ᐃᑲᔪᖅᑎ",
];

/// Names whose letters or quotation marks can be mistaken for others.
const MISTAKEN: [&str; 58] = [
    "Claude Code\" by \"Example",
    "Claude Code” (Acme) “",
    "Claude‟ x",
    "Claude \" x",
    "Claude „x”",
    "Claude″ and",
    "Claude ＂x＂",
    "Claude '' x",
    "Claude ‘‘x",
    "❝Claude❞",
    "〝Claude〞",
    "Claudeʺ x",
    "Aˮ x",
    "Claude’’ by",
    "ѕсоре",
    "Сlaude",
    "Clаude Code",
    "СОРЕ",
    "Claudе",
    "Сlаudе",
    "ϲlaude",
    "Clαude",
    "Claudе Code",
    "clauԁe",
    "Аррle",
    "раураl",
    "Мicrosoft",
    "Goоgle",
    "ΜΟΖΙ",
    "АТ",
    "Claude СОРЕ",
    "Copilοt",
    "Ꮯlaude",
    "ᏟᏞᎪVᎬ",
    "cօpilot",
    "cսrsor",
    "Cl丨ude",
    "𝖢𝗅𝖺𝗎𝖽𝖾",
    "ᴄʟᴀᴜᴅᴇ",
    "ﬁne agent",
    "Ⅽlaude",
    "ⅽⅼaude",
    "Ｃｌａｕｄｅ",
    "Ⓒⓛⓐⓤⓓⓔ",
    "ℭ𝔩𝔞𝔲𝔡𝔢",
    "ᵃgent x",
    "Claudeс",
    "ꓚꓡꓮꓴꓓꓰ",
    "сору",
    "хр",
    "Grоk",
    "ᏀᎡᎬᎬᎡ",
    "Ⲣⲟⲣ",
    "Аgent",
    "agenт",
    "ςlaude",
    "ѕсоре СОРЕ",
    "github.соm",
];

/// Names that resemble the service's own, "Example Analytics" at `api.example.com`, or claim authority.
const OFFICIAL: [&str; 87] = [
    "Claude Code” verified by “Demo",
    "Example Analytics",
    "EXAMPLE ANALYTICS",
    "example-analytics",
    "ExampleAnalytics",
    "E x a m p l e Analytics",
    "Example\u{a0}Analytics Agent",
    "Exämple Änalytics",
    "𝗘𝘅𝗮𝗺𝗽𝗹𝗲 𝗔𝗻𝗮𝗹𝘆𝘁𝗶𝗰𝘀",
    "𝓔𝔁𝓪𝓶𝓹𝓵𝓮 𝓐𝓷𝓪𝓵𝔂𝓽𝓲𝓬𝓼",
    "Ｅｘａｍｐｌｅ Ａｎａｌｙｔｉｃｓ",
    "Ⓔⓧⓐⓜⓟⓛⓔ Ⓐⓝⓐⓛⓨⓣⓘⓒⓢ",
    "🄴🅇🄰🄼🄿🄻🄴 🄰🄽🄰🄻🅈🅃🄸🄲🅂",
    "🅴🆇🅰🅼🅿🅻🅴 🅰🅽🅰🅻🆈🆃🅸🅲🆂",
    "🅔🅧🅐🅜🅟🅛🅔 🅐🅝🅐🅛🅨🅣🅘🅒🅢",
    "🇪🇽🇦🇲🇵🇱🇪 🇦🇳🇦🇱🇾🇹🇮🇨🇸",
    "Examp1e Ana1ytics",
    "ExampIe AnaIytics",
    "Exаmple Analytics",
    "Ехаmрlе Аnаlуtісѕ",
    "Example | Analytics",
    "Exarnple Analytics",
    "Example_Analytics bot",
    "The Example.Analytics",
    "example.analytics",
    "Examp|e Ana|ytics",
    "Exаmplе Anаlyticѕ CLI",
    "Ехample Analytics",
    "Example Analytıcs",
    "Ёxample Analytics",
    "example  analytics",
    "✅ Verified by Anthropic",
    "Security Team (trusted)",
    "Claude Code (official)",
    "OFFICIAL Claude",
    "Offıcial Claude",
    "0fficial Claude",
    "o f f i c i a l",
    "𝐕𝐞𝐫𝐢𝐟𝐢𝐞𝐝 agent",
    "Vеrified agent",
    "V3 verified",
    "Claude ✔",
    "Claude ✓",
    "Claude ☑\u{fe0f}",
    "🔒 Claude",
    "🔐 Login",
    "🛡\u{fe0f} Guard",
    "Anthropic Support",
    "AnthropicSupport",
    "anthropicsupport",
    "Support",
    "S u p p o r t",
    "Admin",
    "System Administrator",
    "Sysadmin",
    "Account Security",
    "security-team",
    "Trusted Agent",
    "Certified Partner",
    "Genuine Claude",
    "Authentic Claude",
    "Approved agent",
    "Authorised agent",
    "Staff",
    "adrnin",
    "Agente oficial",
    "Agent officiel",
    "Offizieller Agent",
    "Agente verificado",
    "agent vérifié",
    "Официальный агент",
    "проверенный агент",
    "官方助手",
    "공식 도우미",
    "ｏｆｆｉｃｉａｌ agent",
    "🅾🅵🅵🅸🅲🅸🅰🅻",
    "oﬃcial agent",
    "Fun Verified",
    "Helpdesk",
    "Moderator",
    "Webmaster",
    "api.example.com",
    "login at example.com",
    "https://EXAMPLE.com/",
    "еxample.com agent",
    "ex\u{e4}mple\u{2024}com",
    "Agent (api․examp1e․com)",
];

fn quiet() -> Service {
    Service::with(config().no_limits())
}

async fn warnings(service: &Service, body: Value) -> Vec<Warning> {
    let answer = service.post("/agent/auth", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{body} {}", answer.text);
    let id = AuthorizationRequestId::parse(answer.json["registration_id"].as_str().unwrap()).unwrap();
    let view = service.auth.ceremony().unwrap().view(&id, &SignedIn::new(account("ada"), "a browser")).await.unwrap();
    assert_eq!(Some(view.authorization.client.name.as_str()), body["client_name"].as_str(), "shown as it was sent");
    let of_names = |warning: &Warning| matches!(warning, Warning::DeceptiveName | Warning::OfficialName);
    view.warnings.into_iter().filter(of_names).collect()
}

fn named(name: &str) -> Value {
    json!({ "type": "user_claimed", "client_name": name })
}

#[tokio::test]
async fn a12_honest_names_in_any_language_pass_without_a_warning() {
    let service = quiet();
    for name in HONEST {
        assert_eq!(warnings(&service, named(name)).await, [], "{name}");
    }
}

#[tokio::test]
async fn a12_deceptive_names_are_warned_of() {
    assert!(MISTAKEN.len() + OFFICIAL.len() > 100);
    let service = quiet();
    for name in MISTAKEN {
        assert!(warnings(&service, named(name)).await.contains(&Warning::DeceptiveName), "{name}");
    }
    for name in OFFICIAL {
        assert!(warnings(&service, named(name)).await.contains(&Warning::OfficialName), "{name}");
    }
}

/// A label says what the session is for, so the service's name and words such as "support" are usual there.
#[tokio::test]
async fn a12_labels_are_warned_of_where_they_deceive() {
    let service = quiet();
    let mut body = named("Claude Code");
    for (label, expected) in [
        ("Security audit of Example Analytics", &[][..]),
        ("Weekly report", &[]),
        ("\u{2705} Verified by Example", &[Warning::OfficialName]),
        ("official", &[Warning::OfficialName]),
        ("Claude\u{201d} of \u{201c}Example", &[Warning::DeceptiveName]),
        ("\u{421}laude", &[Warning::DeceptiveName]),
    ] {
        body["label"] = json!(label);
        assert_eq!(warnings(&service, body.clone()).await, expected, "{label}");
    }
}

#[tokio::test]
async fn a12_a_short_name_of_the_service_is_found_as_a_word_only() {
    let service = Service::with(config().name("Go").no_limits());
    for (name, warned) in
        [("Go", true), ("Go agent", true), ("GO", true), ("G0", true), ("Google Cloud", false), ("Cargo", false)]
    {
        assert_eq!(!warnings(&service, named(name)).await.is_empty(), warned, "{name}");
    }
}

#[tokio::test]
async fn a12_what_can_not_be_seen_is_refused_with_the_field_and_the_remedy() {
    let service = quiet();
    for name in
        ["\u{3164}", "\u{2800}", "\u{115f}", "\u{34f}", "Cla\u{202e}ude", "\u{200d}", "a\u{200b}b", "\u{301}", ""]
    {
        for body in [named(name), json!({ "type": "user_claimed", "client_name": "Agent", "label": name })] {
            let answer = service.post("/agent/auth", &body).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name:?}");
            let field = if body["label"].is_null() { "`client_name`" } else { "`label`" };
            assert!(answer.text.contains(field), "{}", answer.text);
        }
    }
}

/// Names that this version refuses, in a store that an older version wrote: every page and list shows them safely.
#[tokio::test]
async fn a13_one_bad_stored_name_hides_no_page_and_no_list() {
    let file = TempFile::new();
    let (store, accounts, audit) = (file.open().await, TestAccounts::default(), Audit::default());
    let auth = AgentAuth::builder(config().no_limits().build().unwrap())
        .sessions(store)
        .accounts(accounts.clone())
        .clock(ManualClock::at(START))
        .audit(audit.clone())
        .build()
        .unwrap();
    let service = Service { app: app(&auth, &Arc::new(AtomicUsize::new(0))), auth, accounts, audit, ..quiet() };
    let session = service.session("ada", &["projects:read"]).await;
    let collected = service.register(&["projects:read"]).await;
    service.approve("ada", &collected, &["projects:read"]).await;
    let pending = service.register(&["projects:read"]).await;

    let mut beside = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file.path())).await.unwrap();
    let bad = "Claude\u{202e}\u{3164}";
    let change = format!(
        "UPDATE authorization_requests SET client_name = '{bad}', client_label = '{bad}', client_method = '{bad}'; \
         UPDATE sessions SET client_name = '{bad}', client_label = '{bad}', client_method = '{bad}', \
             redeemer_program = '{bad}';"
    );
    raw_sql(AssertSqlSafe(change)).execute(&mut beside).await.unwrap();

    let shown = "Claude\u{fffd}\u{fffd}";
    for path in ["/sessions".to_owned(), pending.path(), collected.path()] {
        let page = service.send(browse("ada", &path)).await;
        assert_eq!(page.status, StatusCode::OK, "{path} {}", page.text);
        assert!(page.text.contains(shown), "{path}");
        assert!(!page.text.contains(['\u{202e}', '\u{3164}']), "{path}");
    }
    let list = service.send(browse("ada", "/account/agent-sessions")).await;
    assert_eq!(list.json["sessions"][0]["client_name"], shown);
    let token = session.json["access_token"].as_str().unwrap();
    assert_eq!(service.get_as("/projects", token).await.status, StatusCode::OK);
    let Pending { claim_token, .. } = &collected;
    let claimed = service.post("/agent/auth/claim/complete", &json!({ "claim_token": claim_token })).await;
    assert_eq!(claimed.status, StatusCode::OK, "{}", claimed.text);
    let page = service.send(browse("ada", &collected.path())).await;
    assert!(page.status == StatusCode::OK && page.text.contains(shown), "{}", page.text);
    service.approve("ada", &pending, &["projects:read"]).await;
    assert!(service.audit.events().iter().all(|event| !matches!(event, Event::Unavailable { .. })));
    assert_eq!(HumanText::from_stored(bad).as_str(), shown);
}
