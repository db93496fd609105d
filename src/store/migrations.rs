//! The schema migrations of the SQL stores.

/// One migration of a store's schema, for a migration tool of the service's own. See the [module](crate::store).
///
/// ```
/// # #[cfg(feature = "postgres")]
/// # {
/// use tower_agent_auth::store::PostgresOptions;
///
/// for migration in PostgresOptions::new().migrations()? {
///     println!("{}.sql:\n{}", migration.name, migration.sql);
/// }
/// # }
/// # Ok::<(), tower_agent_auth::store::StoreError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Migration {
    /// Its number. The first is 1, and none is left out.
    pub version: u32,
    /// Its name, which begins with the number in four digits.
    pub name: &'static str,
    /// Its statements. Run them in one transaction. They also record in the schema that the migration was applied.
    pub sql: String,
}

/// The name and the statements of a migration.
pub(super) type File = (&'static str, &'static str);

macro_rules! files {
    ($folder:literal: $($name:literal)*) => {
        [$(($name, include_str!(concat!("migrations/", $folder, "/", $name, ".sql")))),*]
    };
}

/// Those of SQLite, oldest first. Entry `n` sets `PRAGMA user_version` to `n + 1`.
#[cfg(feature = "sqlite")]
pub(super) const SQLITE: [File; 7] = files!("sqlite":
    "0001_registrations_and_sessions"
    "0002_modes_and_refresh"
    "0003_ends"
    "0004_flows_and_resources"
    "0005_clients"
    "0006_choices_and_names"
    "0007_identities"
);

/// Those of PostgreSQL, oldest first. They name tables without their schema.
#[cfg(feature = "postgres")]
pub(super) const POSTGRES: [File; 5] = files!("postgres":
    "0001_registrations_and_sessions"
    "0002_flows_and_resources"
    "0003_clients"
    "0004_choices_and_names"
    "0005_identities"
);

/// All migrations, each with the statements that `sql` makes of its version and its file.
pub(super) fn all(files: &[File], sql: impl Fn(u32, &'static str) -> String) -> Vec<Migration> {
    let numbered = (1..).zip(files);
    numbered.map(|(version, (name, file))| Migration { version, name, sql: sql(version, file) }).collect()
}
