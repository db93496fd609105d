//! The demo's data: the same few websites for every account, in memory. Additions are lost at a restart.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;
use tower_agent_auth::types::{
    clock::{Clock, SystemClock},
    id::AccountId,
};

/// The maximum number of projects, and of experiments, per account.
const MOST: usize = 100;
const SEEDED_AT: &str = "2026-06-01T08:00:00Z";
const SEEDED: [(&str, &str, &str); 3] = [
    ("prj_bakery", "Corner Bakery", "https://bakery.example"),
    ("prj_notes", "Field Notes", "https://notes.example"),
    ("prj_trails", "Trail Maps", "https://trails.example"),
];

/// The data of all accounts.
#[derive(Default)]
pub(crate) struct Data {
    accounts: Mutex<HashMap<AccountId, Books>>,
    clock: SystemClock,
}

/// The data of one account.
pub(crate) struct Books {
    pub(crate) projects: Vec<Project>,
    pub(crate) experiments: Vec<Experiment>,
    feedback: usize,
    now: String,
}

#[derive(Clone, Serialize)]
pub(crate) struct Project {
    pub(crate) id: String,
    pub(crate) name: String,
    /// A public token: it is part of the website's pages, and can only send visits.
    pub(crate) project_token: String,
    pub(crate) allowed_origins: String,
    pub(crate) created_at: String,
}

#[derive(Clone, Serialize)]
pub(crate) struct Experiment {
    pub(crate) id: String,
    pub(crate) project: String,
    pub(crate) name: String,
    pub(crate) variants: Vec<String>,
    pub(crate) status: &'static str,
    pub(crate) created_at: String,
}

/// The account has reached its maximum.
pub(crate) struct Full;

impl Data {
    /// Calls `work` with the data of one account.
    pub(crate) fn of<T>(&self, account: &AccountId, work: impl FnOnce(&mut Books) -> T) -> T {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let books = accounts.entry(account.clone()).or_insert_with(Books::seeded);
        books.now = self.clock.now().to_string();
        work(books)
    }
}

impl Data {
    /// Moves what an agent made before its human claimed it to their account.
    pub(crate) fn merge(&self, from: &AccountId, into: &AccountId) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(moved) = accounts.remove(from) else { return };
        let books = accounts.entry(into.clone()).or_insert_with(Books::seeded);
        for project in moved.projects.into_iter().filter(|project| !is_seeded(project)) {
            let added = books.add_project(project.name, project.allowed_origins);
            if added.is_err() {
                tracing::warn!("the account has no room for what its agent made");
            }
        }
        books.feedback += moved.feedback;
    }
}

impl Books {
    fn seeded() -> Self {
        let project = |(id, name, origin): (&str, &str, &str)| Project {
            id: id.to_owned(),
            name: name.to_owned(),
            project_token: token_of(id),
            allowed_origins: origin.to_owned(),
            created_at: SEEDED_AT.to_owned(),
        };
        let experiment = Experiment {
            id: "exp_headline".to_owned(),
            project: "prj_bakery".to_owned(),
            name: "Headline with today’s bread".to_owned(),
            variants: vec!["control".to_owned(), "bread_of_the_day".to_owned()],
            status: "running",
            created_at: SEEDED_AT.to_owned(),
        };
        Self { projects: SEEDED.map(project).into(), experiments: vec![experiment], feedback: 0, now: String::new() }
    }

    /// A project by its id or its name.
    pub(crate) fn project(&self, key: &str) -> Option<&Project> {
        self.projects.iter().find(|project| project.id == key || project.name == key)
    }

    pub(crate) fn add_project(&mut self, name: String, allowed_origins: String) -> Result<Project, Full> {
        let id = format!("prj_{}", self.projects.len() + 1);
        let project_token = token_of(&id);
        let created_at = self.now.clone();
        add(&mut self.projects, Project { id, name, project_token, allowed_origins, created_at })
    }

    pub(crate) fn add_experiment(
        &mut self,
        project: String,
        name: String,
        variants: Vec<String>,
    ) -> Result<Experiment, Full> {
        let id = format!("exp_{}", self.experiments.len() + 1);
        let created_at = self.now.clone();
        add(&mut self.experiments, Experiment { id, project, name, variants, status: "running", created_at })
    }

    /// The number of the feedback.
    pub(crate) fn add_feedback(&mut self) -> usize {
        self.feedback += 1;
        self.feedback
    }
}

fn token_of(project: &str) -> String {
    format!("aat_demo_{}", project.trim_start_matches("prj_"))
}

fn add<T: Clone>(list: &mut Vec<T>, new: T) -> Result<T, Full> {
    if list.len() >= MOST {
        return Err(Full);
    }
    list.push(new.clone());
    Ok(new)
}

/// One day of a website.
#[derive(Serialize)]
pub(crate) struct Day {
    date: String,
    pub(crate) visitors: usize,
    pub(crate) page_views: usize,
}

/// The last week of a website; a new website has no visitors yet.
pub(crate) fn last_week(project: &Project) -> Vec<Day> {
    let size = if is_seeded(project) { project.name.len() } else { 0 };
    let day = |day: usize| {
        let visitors = size * (9 + day * 7 % 5);
        Day { date: format!("2026-06-{day:02}"), visitors, page_views: visitors * 3 + size * day }
    };
    (1..=7).map(day).collect()
}

/// The number of current visitors on each page of a website.
pub(crate) fn live_pages(project: &Project) -> Vec<(&'static str, usize)> {
    if is_seeded(project) { vec![("/", project.name.len()), ("/about", 3), ("/contact", 1)] } else { Vec::new() }
}

fn is_seeded(project: &Project) -> bool {
    SEEDED.iter().any(|(id, ..)| *id == project.id)
}
