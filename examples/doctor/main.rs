//! A doctor for services that agents sign in to: it reads what an agent reads, and grades any auth.md or MCP server.
//!
//! ```text
//! cargo run --example doctor -- https://api.example.com/projects
//! cargo run --example doctor -- https://api.example.com/mcp --json
//! ```
//!
//! It knows one URL, and follows the challenge, the metadata and auth.md from there. It sends no credential, and asks each
//! endpoint only what a right service refuses, so that nothing is created. `docs/doctor.md` lists what it finds.
//!
//! Read `examination.rs` first, then one module for each topic. `catalogue.rs` has the words of all findings.
#![allow(clippy::print_stderr, reason = "it talks to the human who started it")]

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use url::Url;

mod agent_auth;
mod auth_md;
mod catalogue;
mod challenge;
mod endpoints;
mod examination;
mod fetch;
mod mcp;
#[path = "../common/plain.rs"]
mod plain;
mod report;
mod resource;
mod server;
#[path = "../common/terminal.rs"]
mod terminal;
mod urls;

use catalogue::Check;
use examination::Examination;
use fetch::Client;
use report::{EXIT_CODES, NOT_WRITTEN};

/// So many authorization servers of one resource are looked at.
const MOST_SERVERS: usize = 3;

/// Grades an auth.md or MCP server: reads what an agent reads, and says what is wrong
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Options {
    /// The URL that agents call: a route that needs a token, or an MCP endpoint
    #[arg(value_parser = absolute, required_unless_present = "list")]
    url: Option<Url>,

    /// Writes the report as JSON: url, grade, findings
    #[arg(long)]
    json: bool,

    /// Treats the URL as an MCP endpoint. Default: if its path ends in /mcp or /sse, or its host begins with mcp
    #[arg(long)]
    mcp: bool,

    /// How long each answer may take
    #[arg(long, value_name = "TIME", value_parser = timeout, default_value = "10s")]
    timeout: Duration,

    /// Lists all findings as a Markdown table
    #[arg(long, conflicts_with_all = ["url", "json", "mcp"])]
    list: bool,
}

fn absolute(text: &str) -> Result<Url, String> {
    let url = urls::absolute(text).filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or("it must be an absolute URL that begins with https:// or http://")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must have no user name and no password: this program sends no credential".to_owned());
    }
    Ok(url)
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let is_sane = (Duration::from_millis(100)..=Duration::from_secs(600)).contains(&timeout);
    is_sane.then_some(timeout).ok_or_else(|| "it must be between 100ms and 10m".to_owned())
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut stdout = io::stdout().lock();
    let (written, exit) = match &options.url {
        None => (stdout.write_all(report::catalogue().as_bytes()), ExitCode::SUCCESS),
        Some(url) => {
            let is_mcp = options.mcp || urls::looks_like_mcp(url);
            let mut examination = Examination::new(Client::new(options.timeout), without_fragment(url), is_mcp);
            examine(&mut examination);
            let report = &examination.report;
            let written = if options.json {
                writeln!(stdout, "{:#}", report.to_json(url.as_str()))
            } else {
                let has_escapes = terminal::has_escapes(&stdout);
                report.write(&mut stdout, url.as_str(), has_escapes)
            };
            (written, report.grade().into())
        }
    };
    // A reader that has seen enough, as `head` does, changes nothing about the grade.
    match written.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("The report can't be written: {error}");
            NOT_WRITTEN.into()
        }
        _ => exit,
    }
}

fn without_fragment(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_fragment(None);
    url
}

/// Follows the way of an agent: challenge, resource, authorization server, endpoints, auth.md.
fn examine(examination: &mut Examination) {
    let target = examination.target.clone();
    if !urls::is_secure(&target) {
        examination.report.add(Check::UrlInsecure, &target, format!("the URL is {target}"));
    }
    let challenged = match challenge::check(examination) {
        Ok(challenged) => challenged,
        Err(problem) => {
            examination.report.is_unreachable = true;
            return examination.problem(target.as_str(), &problem);
        }
    };
    let resource = resource::check(examination, &challenged);
    let mut servers = Vec::new();
    match &resource {
        Some(resource) => {
            for issuer in resource.servers.iter().take(MOST_SERVERS) {
                servers.extend(server::check(examination, issuer, true));
            }
        }
        // Older clients take the origin of the URL for the issuer.
        None => servers.extend(server::check(examination, &urls::origin(&target), false)),
    }
    for server in &servers {
        if let Some(identifier) = resource.as_ref().and_then(|resource| resource.identifier.as_deref()) {
            server::check_resource(examination, server, identifier);
        }
        endpoints::check(examination, server);
        agent_auth::check(examination, server);
    }
    auth_md::check(examination, &servers);
    if examination.is_mcp {
        mcp::check(examination, &challenged);
    }
    let is_nothing = challenged.refused.is_none() && !examination.report.has_documents();
    if is_nothing && !examination.report.has(Check::Unavailable) {
        let pages = if examination.report.has(Check::DocumentHtml) {
            "; it answers with a web page where documents would be, as a single-page app does for every path"
        } else {
            ""
        };
        let found = format!(
            "{target} does not ask for a token ({}); nothing here says that it is an auth.md or MCP server{pages}",
            challenged.summary
        );
        examination.report.replace(Check::NotAnAuthServer, target.as_str(), &found);
    }
    let sent = examination.client.sent();
    examination.report.looked_at(format!("{sent} requests in total"));
}
