//! The README and the chapters of `docs/`: their snippets compile, and their links lead somewhere.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    reason = "a test that can't go on fails; the snippets are compiled, not run"
)]

use std::{collections::BTreeSet, fs, path::Path};

/// The code of the README. Its snippets are the lines between the marks.
mod snippets {
    use std::net::SocketAddr;

    use axum::{Router, extract::ConnectInfo, routing::get};
    use http::request::Parts;
    use tower_agent_auth::{
        AgentAuth, Config,
        accounts::{Accounts, AccountsError, SignedIn},
        guard::AgentSession,
        store::SqliteStore,
        types::id::AccountId,
    };

    struct MyLogin;

    impl Accounts for MyLogin {
        async fn current(&self, _: &Parts) -> Result<Option<SignedIn>, AccountsError> {
            Ok(None)
        }

        fn login_url(&self, return_to: &str) -> String {
            format!("/login?next={return_to}")
        }

        async fn is_active(&self, _: &AccountId) -> Result<bool, AccountsError> {
            Ok(true)
        }
    }

    async fn service() -> Result<Router, Box<dyn std::error::Error>> {
        let auth = AgentAuth::builder(Config::from_toml(include_str!("agent-auth.toml"))?)
            .sessions(SqliteStore::open("sessions.db").await?) // or PostgresStore, RedisStore, MemoryStore, your own
            .accounts(MyLogin) // who is the human behind this browser request?
            .peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()))
            .build()?;

        let app = Router::new()
            .route("/projects", get(projects).layer(auth.require("projects:read")))
            .route("/billing", get(billing).layer(auth.owner_only()))
            .merge(auth.router()); // documents, ceremony endpoints, pages
        Ok(app)
    }

    async fn projects(agent: AgentSession) -> String {
        format!("the projects of {}", agent.account.label)
    }

    async fn billing() -> &'static str {
        "nothing due"
    }
}

const CODE: &str = include_str!("readme.rs");
const README: &str = include_str!("../README.md");

/// The blocks of code of that kind, each as lines without indentation.
fn blocks<'t>(text: &'t str, kind: &str) -> Vec<Vec<&'t str>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == format!("```{kind}") {
            let block = lines.by_ref().take_while(|line| *line != "```").map(str::trim).filter(|line| !line.is_empty());
            blocks.push(block.collect());
        }
    }
    blocks
}

#[test]
fn the_snippets_of_the_readme_compile() {
    let code: Vec<&str> = CODE.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let snippets = blocks(README, "rust,ignore");
    assert!(snippets.len() >= 2 && blocks(README, "rust").is_empty());
    for snippet in snippets {
        assert!(code.windows(snippet.len()).any(|lines| lines == snippet), "not in tests/readme.rs: {snippet:#?}");
    }
}

#[test]
fn the_configuration_of_the_readme_is_valid() {
    let [configuration] = &blocks(README, "toml")[..] else { panic!("one configuration") };
    let shown = configuration.join("\n");
    let known = include_str!("agent-auth.toml").lines().map(str::trim).filter(|line| !line.is_empty());
    assert_eq!(shown, known.collect::<Vec<_>>().join("\n"));
    assert!(tower_agent_auth::Config::from_toml(&shown).is_ok());
}

/// The configurations of the chapters that begin with a resource are whole, and valid.
#[test]
fn the_configurations_of_the_chapters_are_valid() {
    let mut tried = 0;
    for chapter in chapters() {
        let text = fs::read_to_string(&chapter).unwrap();
        for block in blocks(&text, "toml") {
            if block.iter().any(|line| line.starts_with("resource =")) && block.contains(&"[[scopes]]") {
                let config = tower_agent_auth::Config::from_toml(&block.join("\n"));
                assert!(config.is_ok(), "{}: {:?}", chapter.display(), config.err());
                tried += 1;
            }
        }
    }
    assert!(tried >= 2, "{tried}");
}

fn chapters() -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// What follows `](` or a definition such as `[name]: `, without a fragment.
fn links(text: &str) -> BTreeSet<&str> {
    let inline = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
    let definitions = text.lines().filter(|line| line.starts_with('[')).filter_map(|line| line.split_once("]: "));
    let all = inline.chain(definitions.map(|(_, link)| link)).filter_map(|link| link.split('#').next());
    all.filter(|link| !link.is_empty() && !link.contains("://") && !link.contains("::") && !link.contains(' '))
        .collect()
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let papers = ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "RELEASING.md"];
    let mut followed = 0;
    for paper in papers.map(|paper| root.join(paper)).into_iter().chain(chapters()) {
        let text = fs::read_to_string(&paper).unwrap();
        for link in links(&text) {
            assert!(paper.parent().unwrap().join(link).exists(), "{}: {link}", paper.display());
            followed += 1;
        }
    }
    assert!(followed > 80, "{followed}");
}

/// A chapter that no other paper leads to is read by nobody. One without compiled examples tells what was true once.
#[test]
fn every_chapter_is_linked_from_the_readme_and_compiled() {
    let compiled = ["src/guide.rs", "src/admin/mod.rs", "src/store/mod.rs", "src/testing/mod.rs", "src/guard/mod.rs"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources: String = compiled.map(|source| fs::read_to_string(root.join(source)).unwrap_or_default()).concat();
    for chapter in chapters() {
        let name = chapter.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(README.contains(&format!("docs/{name}")), "the README does not lead to {name}");
        let text = fs::read_to_string(&chapter).unwrap();
        if !blocks(&text, "rust").is_empty() {
            assert!(sources.contains(&name), "no module includes {name}");
        }
    }
}
