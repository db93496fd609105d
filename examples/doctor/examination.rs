//! What all checks share: the client, the report, and the documents that were read.

use std::collections::HashMap;

use http::{Method, StatusCode, header};
use serde_json::{Map, Value};
use url::Url;

use crate::{
    catalogue::Check,
    fetch::{Answer, Client, LARGEST_BODY, Problem},
    report::Report,
    urls,
};

const MOST_REDIRECTS: usize = 3;
/// RFC 9728 section 7.10 asks for a finite time, since clients keep the keys and endpoints of an old document for so long.
const LONGEST_CACHE: u64 = 24 * 60 * 60;

/// The members of a JSON document.
pub(crate) type Members = Map<String, Value>;

/// A look at one service.
pub(crate) struct Examination {
    pub(crate) client: Client,
    pub(crate) report: Report,
    /// What agents call.
    pub(crate) target: Url,
    pub(crate) is_mcp: bool,
    documents: HashMap<String, Option<Members>>,
}

impl Examination {
    pub(crate) fn new(client: Client, target: Url, is_mcp: bool) -> Self {
        Self { client, report: Report::default(), target, is_mcp, documents: HashMap::new() }
    }

    /// Reports why there is no answer.
    pub(crate) fn problem(&mut self, url: &str, problem: &Problem) {
        // What was not read may be right, so there is no grade.
        self.report.is_unreachable |= problem.check == Check::Unavailable;
        self.report.add(problem.check, url, &problem.text);
    }

    /// The JSON document at a URL, read once. `None` if there is none; whoever needs it reports that. Where a document
    /// `is_spare`, clients that follow the challenge never look.
    pub(crate) fn document(&mut self, url: &str, is_spare: bool) -> Option<Members> {
        if let Some(known) = self.documents.get(url) {
            return known.clone();
        }
        let read = self.read_document(url, is_spare);
        self.documents.insert(url.to_owned(), read.clone());
        read
    }

    fn read_document(&mut self, url: &str, is_spare: bool) -> Option<Members> {
        let (answer, moved) = self.follow(url);
        // A page for humans may be anywhere where no document was promised.
        let leads_astray = answer.as_ref().is_some_and(|answer| answer.is_html() || !answer.status.is_success());
        if let Some(moved) = moved.filter(|_| !is_spare && !leads_astray) {
            self.report.add(Check::DocumentRedirect, url, moved);
        }
        let answer = answer?;
        let graded = |check| if is_spare { Check::DocumentSpare } else { check };
        if !answer.status.is_success() {
            if answer.status.is_server_error() {
                self.report.add(graded(Check::DocumentStatus), url, answer.summary());
            } else if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                self.report.add(Check::DocumentGuarded, url, answer.summary());
            }
            return None;
        }
        if answer.is_html() {
            let text = format!("{}, where JSON or 404 is expected", answer.summary());
            self.report.add(graded(Check::DocumentHtml), url, text);
            return None;
        }
        if answer.is_cut {
            self.report.add(graded(Check::DocumentTooLarge), url, format!("more than {LARGEST_BODY} bytes"));
            return None;
        }
        let members = match serde_json::from_slice(&answer.body) {
            Ok(members) => members,
            Err(error) => {
                self.report.add(graded(Check::DocumentNotJson), url, format!("not a JSON object: {error}"));
                return None;
            }
        };
        if answer.media_type() != "application/json" {
            let text = format!("Content-Type: {:?}", answer.header(header::CONTENT_TYPE));
            self.report.add(Check::DocumentMediaType, url, text);
        }
        self.check_transport(url, &answer);
        self.report.looked_at(url);
        Some(members)
    }

    /// What holds for all public documents.
    pub(crate) fn check_transport(&mut self, url: &str, answer: &Answer) {
        match self.client.send(Method::HEAD, url, &[], "") {
            Ok(head) if head.status.is_success() || head.status.is_redirection() => {}
            Ok(head) => self.report.add(Check::DocumentHead, url, format!("{} to HEAD", head.status)),
            Err(problem) => self.problem(url, &problem),
        }
        if answer.header(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_empty() {
            self.report.add(Check::DocumentCors, url, "no Access-Control-Allow-Origin");
        }
        let cache = answer.header(header::CACHE_CONTROL);
        let age = cache.split(',').find_map(|part| part.trim().strip_prefix("max-age=")?.parse::<u64>().ok());
        let is_fresh = cache.contains("no-store") || cache.contains("no-cache") || age.is_some();
        if !is_fresh && answer.header(header::EXPIRES).is_empty() || age.is_some_and(|age| age > LONGEST_CACHE) {
            self.report.add(Check::DocumentCache, url, format!("Cache-Control: {cache:?}"));
        }
    }

    /// GETs a URL and follows a few redirects. Returns also the first one.
    pub(crate) fn follow(&mut self, url: &str) -> (Option<Answer>, Option<String>) {
        let mut moved = None;
        let answer = self.follow_to_end(url, &mut moved);
        (answer, moved)
    }

    fn follow_to_end(&mut self, url: &str, moved: &mut Option<String>) -> Option<Answer> {
        let mut next = url.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let answer = match self.client.get(&next) {
                Ok(answer) => answer,
                Err(problem) => {
                    self.problem(&next, &problem);
                    return None;
                }
            };
            let location = answer.header(header::LOCATION);
            if !answer.status.is_redirection() || location.is_empty() {
                return Some(answer);
            }
            moved.get_or_insert_with(|| answer.summary());
            next = Url::parse(&next).ok()?.join(location).ok().filter(urls::is_secure)?.into();
        }
        None
    }

    /// Reports a URL that is relative or not secure. Returns it if it can be called.
    pub(crate) fn callable(&mut self, field: &str, text: &str, at: &str, relative: Check) -> Option<Url> {
        let Some(url) = urls::absolute(text) else {
            self.report.add(relative, at, format!("{field} is {text:?}"));
            return None;
        };
        if !urls::is_secure(&url) {
            self.report.add(Check::UrlInsecure, text, format!("{field} is {text}"));
            return None;
        }
        Some(url)
    }
}

/// A member that is a text.
pub(crate) fn text<'a>(members: &'a Members, name: &str) -> Option<&'a str> {
    members.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// A member that is a list of texts; `None` if it is missing or of another type.
pub(crate) fn list<'a>(members: &'a Members, name: &str) -> Option<Vec<&'a str>> {
    members.get(name)?.as_array()?.iter().map(Value::as_str).collect()
}

/// Whether a member is a list with this text.
pub(crate) fn has(members: &Members, name: &str, wanted: &str) -> bool {
    list(members, name).is_some_and(|list| list.contains(&wanted))
}

/// A member that is an object.
pub(crate) fn object<'a>(members: &'a Members, name: &str) -> Option<&'a Members> {
    members.get(name)?.as_object()
}
