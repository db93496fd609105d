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

/// The code of the chapters, for snippets that are a part of a function.
#[rustfmt::skip]
#[allow(clippy::let_and_return, reason = "the snippet is a `let`")]
#[allow(unnameable_test_items, reason = "the conformance suite is compiled here, and run elsewhere")]
mod parts {
    use std::convert::Infallible;

    use axum::Router;
    use tonic::service::Routes;
    use tower::Layer;
    use tower_agent_auth::{
        AgentAuth, AgentAuthBuilder, Config,
        accounts::{Accounts, AccountsError, SignedIn},
        client_metadata::HttpFetcher,
        store::{
            CachedStore, MemoryStore, PostgresStore, RedisStore, RemoteSessions, SqliteStore, Transferred, transfer,
        },
        types::{authorization::{Account, Client}, id::AccountId},
    };

    type Done<T> = Result<T, Box<dyn std::error::Error>>;

    struct Database;

    impl Database {
        async fn new_trial(&self) -> Result<AccountId, std::io::Error> {
            unreachable!("compiled only")
        }

        async fn move_all(&self, _: &AccountId, _: &AccountId) -> Result<(), std::io::Error> {
            unreachable!("compiled only")
        }
    }

    struct MyLogin {
        database: Database,
    }

    // docs/auth-md.md
    impl Accounts for MyLogin {
        async fn current(&self, _: &http::request::Parts) -> Result<Option<SignedIn>, AccountsError> {
            Ok(None)
        }

        fn login_url(&self, return_to: &str) -> String {
            return_to.into()
        }

        async fn is_active(&self, _: &AccountId) -> Result<bool, AccountsError> {
            Ok(true)
        }

        async fn provisional(&self, client: &Client) -> Result<Option<Account>, AccountsError> {
            let id = self.database.new_trial().await.map_err(AccountsError::new)?;
            Ok(Some(Account::new(id, format!("{} (not claimed)", client.name))))
        }

        async fn merge(&self, provisional: &AccountId, claimed_by: &Account) -> Result<(), AccountsError> {
            self.database.move_all(provisional, &claimed_by.id).await.map_err(AccountsError::new)
        }
    }

    #[expect(non_snake_case, reason = "a value in place of a type without fields")]
    async fn identities(config: Config, store: SqliteStore, MyLogin: MyLogin) -> Done<AgentAuth> {
        let auth = AgentAuth::builder(config)
            .sessions(store.clone())
            .identities(store) // links, and used tokens
            .identity_assertions(HttpFetcher::new()?) // the issuers' keys
            .accounts(MyLogin)
            .build()?;
        Ok(auth)
    }

    // docs/pages.md
    fn words(builder: AgentAuthBuilder) -> AgentAuthBuilder {
        builder.pages(|pages| pages
            .words("fr", "approve = Autoriser") // a new language; what it lacks is in English
            .words("en", "approve = Let it in") // other words in one of ours
            .languages(["fr", "en"])) // these two only, French first
    }

    // docs/oauth.md
    fn an_mcp_endpoint(auth: &AgentAuth, app: Router, mcp_service: Router) -> Router {
        let mcp = auth.resource("/mcp");
        app.nest_service("/mcp", mcp.require("projects:read").layer(mcp_service))
    }

    fn without_the_store() -> Done<AgentAuth> {
        let config = Config::builder()
            .resource("https://reports.example.com")
            .issuer("https://example.com") // exactly as the issuer has it
            .name("Example Reports")
            .scope("reports:read", "Read your reports", |scope| scope)
            .build()?;
        let sessions = RemoteSessions::of(&config, "reports", &std::env::var("REPORTS_SECRET")?)?;
        let auth = AgentAuth::builder(config).checks_only(sessions).build()?;
        Ok(auth)
    }

    // docs/stores.md
    async fn one_of(builder: AgentAuthBuilder) -> Done<AgentAuthBuilder> {
        Ok(
            builder
            .sessions(SqliteStore::open("sessions.db").await?)
            .sessions(PostgresStore::connect("postgres://app@db.internal/app?sslmode=verify-full").await?)
            .sessions(RedisStore::connect("rediss://app:password@redis.internal/0").await?)
        )
    }

    async fn with_a_cache(config: Config, url: &str) -> Done<AgentAuthBuilder> {
        let store = PostgresStore::connect(url).await?;
        let builder = AgentAuth::builder(config).sessions(store.clone()).check_with(CachedStore::over(store));
        Ok(builder)
    }

    async fn to_another_store() -> Done<Transferred> {
        let from = SqliteStore::open("sessions.db").await?;
        let to = PostgresStore::connect("postgres://app@db.internal/app").await?;
        let copied = transfer(&from, &to).await?;
        Ok(copied)
    }

    fn a_store_of_your_own() {
        use MemoryStore as MyStore;

        trait Empty: Default {
            async fn empty() -> Self {
                Self::default()
            }
        }

        impl Empty for MyStore {}

        async fn fresh() -> (MyStore, ()) {
            (MyStore::empty().await, ())
        }

        tower_agent_auth::store_conformance!(fresh);
        tower_agent_auth::client_store_conformance!(fresh); // for a `ClientStore`
        tower_agent_auth::identity_store_conformance!(fresh); // for an `IdentityStore`
    }

    // docs/grpc.md
    struct NotesServer;

    impl NotesServer {
        #[expect(clippy::new_ret_no_self, reason = "any service stands for the generated one")]
        fn new<N>(notes: N) -> N {
            notes
        }
    }

    fn by_service<N>(auth: &AgentAuth, notes: N) -> Routes
    where
        N: tonic::server::NamedService + Clone + Send + Sync + 'static
            + tower::Service<http::Request<tonic::body::Body>, Response = http::Response<tonic::body::Body>, Error = Infallible>,
        N::Future: Send,
    {
        let notes = Routes::new(auth.require("notes:read").grpc().layer(NotesServer::new(notes)));
        notes
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
fn the_snippets_compile() {
    let plain = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let code: Vec<String> = CODE.lines().map(plain).filter(|line| !line.is_empty()).collect();
    assert!(blocks(README, "rust").is_empty(), "nothing compiles a snippet of the README but this file");
    let mut seen = 0;
    for paper in chapters().into_iter().chain([Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")]) {
        for snippet in blocks(&fs::read_to_string(&paper).unwrap(), "rust,ignore") {
            // A line that is a comment stands for what is left out.
            for part in snippet.split(|line| line.starts_with("//")) {
                let part: Vec<String> = part.iter().copied().map(plain).collect();
                let known = part.is_empty() || code.windows(part.len()).any(|lines| lines == part);
                assert!(known, "a snippet of {} is not in tests/readme.rs: {part:#?}", paper.display());
            }
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen}");
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
