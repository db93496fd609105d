use std::collections::{HashMap, hash_map::Entry};

use super::{
    ClientGroup, Filter, GivenScope, Instant, Notice, Pages, ResourceName, SessionEntry, SessionsPage, WaitingEntry,
    csrf::FormKey, sessions::SUBJECT,
};
use crate::{
    accounts::SignedIn,
    ceremony::{CeremonyError, KnownFlow, SessionSearch},
    types::{
        authorization::{AuthorizationRequest, Client},
        clock::Timestamp,
        id::{AccountId, ClientId, SessionId},
        session::{RevokedBy, SessionRecord, SessionState},
        text::HumanText,
    },
};

/// How many bytes the sessions of a page take at most, about: a page has less than 100 KiB with its style.
const ROOM: usize = 84_000;
/// How many sessions of a client are listed beside those of others.
const OF_ONE_CLIENT: usize = 10;
/// The longest text to search for, in characters. Names are not longer.
const LONGEST_TEXT: usize = 64;

/// What the human looks for, and where the page begins: the query of the page's URL.
#[derive(Clone, Default)]
pub(super) struct Place {
    text: String,
    active: Option<bool>,
    /// Any session of the client whose sessions are shown.
    client: Option<SessionId>,
    /// Of an account with very many sessions, those that come after this one.
    older: Option<SessionId>,
    /// The newest session when the human saw the first page. Later ones don't move the pages that follow.
    newest: Option<SessionId>,
    /// The page begins after this session.
    after: Option<SessionId>,
}

impl Place {
    pub(super) fn of(query: Option<&str>) -> Self {
        let text = parameter(query, "q").unwrap_or_default();
        let id = |name| parameter(query, name).and_then(|id| SessionId::parse(&id));
        Self {
            text: text.trim().chars().take(LONGEST_TEXT).collect(),
            active: match parameter(query, "state").as_deref() {
                Some("active") => Some(true),
                Some("ended") => Some(false),
                _ => None,
            },
            client: id("client"),
            older: id("older"),
            newest: id("newest"),
            after: id("after"),
        }
    }

    /// Its URL, with further parameters.
    pub(super) fn url(&self, path: &str, more: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let text = Some(self.text.as_str()).filter(|text| !text.is_empty());
        let ids = [("client", &self.client), ("older", &self.older), ("newest", &self.newest), ("after", &self.after)];
        let ids = ids.into_iter().filter_map(|(name, id)| id.as_ref().map(|id| (name, id.as_str())));
        query.extend_pairs(text.map(|text| ("q", text))).extend_pairs(self.active.map(|_| ("state", self.state())));
        query.extend_pairs(ids).extend_pairs(more);
        let query = query.finish();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }

    fn state(&self) -> &'static str {
        match self.active {
            None => "all",
            Some(true) => "active",
            Some(false) => "ended",
        }
    }

    /// The first page of what is looked for.
    fn first(&self) -> Self {
        Self { newest: None, after: None, ..self.clone() }
    }

    /// The same with the sessions that came meanwhile.
    pub(super) fn without_newest(&self) -> Self {
        Self { newest: None, ..self.clone() }
    }

    fn is_first(&self) -> bool {
        self.after.is_none() && self.older.is_none()
    }
}

/// The first value of a parameter of a query.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut all = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    all.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// The sessions of an account, by client.
pub(super) struct SessionList {
    sessions: Vec<SessionRecord>,
    /// The sessions of each client, newest first. The client with the newest session is first.
    clients: Vec<Vec<usize>>,
    /// The last session, if there are more.
    next: Option<SessionId>,
    now: Timestamp,
}

/// A session that is looked for.
struct Row {
    session: usize,
    client: usize,
    /// Its position among all sessions, which stays the same when others end.
    rank: usize,
}

impl SessionList {
    pub(super) async fn read(pages: &Pages, account: &AccountId, place: &Place) -> Result<Self, CeremonyError> {
        let ceremony = &pages.context.ceremony;
        let mut found = ceremony.many_sessions(account, place.older.as_ref()).await?;
        let is_newest = |record: &SessionRecord| Some(&record.session.id) == place.newest.as_ref();
        if let (None, Some(newest)) = (&place.older, found.sessions.iter().position(is_newest)) {
            found.sessions.drain(..newest);
        }
        let mut clients: Vec<Vec<usize>> = Vec::new();
        let mut known: HashMap<ClientKey<'_>, usize> = HashMap::new();
        for (index, record) in found.sessions.iter().enumerate() {
            match known.entry(ClientKey::of(&record.client)) {
                Entry::Occupied(client) => clients[*client.get()].push(index),
                Entry::Vacant(new) => {
                    new.insert(clients.len());
                    clients.push(vec![index]);
                }
            }
        }
        drop(known);
        Ok(Self { sessions: found.sessions, clients, next: found.next, now: ceremony.now() })
    }

    /// The client of a session and how many active sessions it has, if the list has that session.
    pub(super) fn client_of(&self, session: &SessionId) -> Option<(&Client, usize)> {
        let client = self.clients.iter().find(|client| self.has(client, session))?;
        client.first().map(|newest| (&self.sessions[*newest].client, self.active(client)))
    }

    /// Whether the account has sessions that are not in the list at `place`.
    pub(super) fn has_more(&self, place: &Place) -> bool {
        self.next.is_some() || place.older.is_some()
    }

    /// How many sessions are active.
    pub(super) fn all_active(&self) -> usize {
        self.clients.iter().map(|client| self.active(client)).sum()
    }

    fn active(&self, client: &[usize]) -> usize {
        client.iter().filter(|index| self.is_active(**index)).count()
    }

    fn is_active(&self, index: usize) -> bool {
        self.sessions[index].state_at(self.now) == SessionState::Active
    }

    fn has(&self, client: &[usize], session: &SessionId) -> bool {
        client.iter().any(|index| self.sessions[*index].session.id == *session)
    }

    fn id(&self, row: &Row) -> &SessionId {
        &self.sessions[row.session].session.id
    }

    /// Shows the page at `place`, or the one with the session of `notice`.
    pub(super) fn show(
        &self,
        pages: &Pages,
        place: &Place,
        human: &SignedIn,
        key: &FormKey,
        notice: Option<Notice>,
        waiting: &[AuthorizationRequest],
    ) -> SessionsPage {
        let path = pages.sessions_path();
        let about = notice.as_ref().and_then(|notice| SessionId::parse(notice.session.as_deref()?));
        let Found { rows, of_client, active, ended, only } = self.find(place, about.as_ref());
        let is_whole = place.is_first() && !only && place.text.is_empty();
        let waiting = if is_whole && place.active != Some(false) { waiting } else { &[] };
        let mut room = ROOM / 2;
        let entries = waiting.iter().map(|request| waiting_entry(pages, request));
        let shown_waiting: Vec<WaitingEntry> = entries.take_while(|entry| fits(&mut room, entry.weight())).collect();

        let begin = self.begin(&rows, place);
        let mut page = self.page(pages, &rows, begin, room + ROOM / 2);
        let about_row = about.as_ref().and_then(|about| rows.iter().position(|row| self.id(row) == about));
        while about_row.is_some_and(|row| row >= page.end) {
            page = self.page(pages, &rows, page.end, ROOM);
        }
        if about_row.is_some_and(|row| row < page.begin) {
            page = self.page(pages, &rows, self.begin_before(pages, &rows, about_row.map_or(0, |row| row + 1)), ROOM);
        }

        let newest = || place.newest.clone().or_else(|| self.sessions.first().map(|newest| newest.session.id.clone()));
        let newest = || if place.older.is_none() { newest() } else { None };
        let after = |row: &Row| Place { newest: newest(), after: Some(self.id(row).clone()), ..place.clone() };
        let next = match rows.get(page.end..).unwrap_or_default().first() {
            Some(_) => rows.get(page.end - 1).map(after),
            None => self.next.clone().map(|next| Place { older: Some(next), ..place.first() }),
        };
        let previous = match page.begin {
            0 if place.older.is_some() => Some(Place { older: None, ..place.first() }),
            0 => None,
            begin => match self.begin_before(pages, &rows, begin) {
                0 => Some(place.first()),
                begin => rows.get(begin - 1).map(after),
            },
        };
        let filter = |(state, count)| {
            let filtered = Place { active: state, ..place.first() };
            Filter { state: filtered.state(), href: filtered.url(&path, &[]), count, current: state == place.active }
        };
        let is_on_page = |id: &SessionId| rows[page.begin..page.end].iter().any(|row| self.id(row) == id);
        SessionsPage {
            form: pages.form(place.url(&path, &[]), key, human, SUBJECT),
            account: human.account.label.clone(),
            notice: notice
                .map(|notice| Notice { session: about.filter(is_on_page).map(|id| id.to_string()), ..notice }),
            query: place.text.clone(),
            state: place.state(),
            filters: [(None, active + ended), (Some(true), active), (Some(false), ended)].map(filter).into(),
            one_client: only,
            more: self.has_more(place),
            waiting_more: waiting.len() - shown_waiting.len(),
            revoke_all_url: (self.all_active() > 0 || self.has_more(place) || !waiting.is_empty())
                .then(|| place.url(&path, &[("confirm", "all")])),
            waiting: shown_waiting,
            groups: self.groups(pages, &rows, page.begin, page.entries, place, &of_client),
            export_url: format!("{path}?export"),
            all_url: (!is_whole || place.active.is_some()).then(|| path.clone()),
            previous_url: previous.map(|previous| previous.url(&path, &[])),
            next_url: next.map(|next| next.url(&path, &[])),
            path,
        }
    }

    /// Finds what is looked for at `place`, and `about`.
    fn find(&self, place: &Place, about: Option<&SessionId>) -> Found {
        let search = SessionSearch::new().text(&place.text);
        let only = place.client.as_ref().and_then(|id| self.clients.iter().position(|client| self.has(client, id)));
        let (rows, of_client) = (Vec::new(), vec![0; self.clients.len()]);
        let mut found = Found { rows, of_client, active: 0, ended: 0, only: only.is_some() };
        let all = self.clients.iter().enumerate();
        let all = all.flat_map(|(client, sessions)| sessions.iter().map(move |session| (client, *session)));
        let mut listed = vec![0; self.clients.len()];
        for (rank, (client, session)) in all.enumerate() {
            let record = &self.sessions[session];
            if only.is_some_and(|only| only != client) {
                continue;
            }
            let is_active = self.is_active(session);
            let has_text = search.is_met_by(record, self.now);
            found.active += usize::from(has_text && is_active);
            found.ended += usize::from(has_text && !is_active);
            let is_found = has_text && place.active.is_none_or(|active| active == is_active);
            found.of_client[client] += usize::from(is_found);
            // What was just ended is still shown, though only active ones may be looked for.
            let is_listed = is_found && (found.only || listed[client] < OF_ONE_CLIENT);
            if is_listed || Some(&record.session.id) == about {
                listed[client] += 1;
                found.rows.push(Row { session, client, rank });
            }
        }
        found
    }

    /// The first row of the page. A session that is kept no longer is on none, so the list begins anew.
    fn begin(&self, rows: &[Row], place: &Place) -> usize {
        let Some(after) = &place.after else { return 0 };
        let rank = self.clients.iter().flatten().position(|index| self.sessions[*index].session.id == *after);
        rank.map_or(0, |rank| rows.partition_point(|row| row.rank <= rank))
    }

    /// The page that begins with a row, with as many as there is room for, and one at least.
    fn page(&self, pages: &Pages, rows: &[Row], begin: usize, mut room: usize) -> PageOfRows {
        let mut page = PageOfRows { begin, end: begin, entries: Vec::new() };
        for row in rows.iter().skip(begin) {
            let entry = self.entry(pages, row);
            let is_new = page.entries.is_empty() || rows[page.end - 1].client != row.client;
            if !fits(&mut room, entry.weight(is_new)) && !page.entries.is_empty() {
                break;
            }
            page.end += 1;
            page.entries.push(entry);
        }
        page
    }

    /// The first row of the page that ends before a row.
    fn begin_before(&self, pages: &Pages, rows: &[Row], end: usize) -> usize {
        let mut room = ROOM;
        let mut begin = end;
        while let Some(row) = begin.checked_sub(1).and_then(|row| rows.get(row)) {
            let is_new = begin == end || rows[begin].client != row.client;
            if !fits(&mut room, self.entry(pages, row).weight(is_new)) && begin < end {
                break;
            }
            begin -= 1;
        }
        begin
    }

    fn entry(&self, pages: &Pages, row: &Row) -> SessionEntry {
        entry(pages, &self.sessions[row.session], self.now)
    }

    fn groups(
        &self,
        pages: &Pages,
        rows: &[Row],
        begin: usize,
        entries: Vec<SessionEntry>,
        place: &Place,
        found: &[usize],
    ) -> Vec<ClientGroup> {
        let path = pages.sessions_path();
        let mut groups: Vec<ClientGroup> = Vec::new();
        let mut last = None;
        for (index, entry) in (begin..).zip(entries) {
            let client = rows[index].client;
            if last != Some(client) {
                last = Some(client);
                let sessions = &self.clients[client];
                let active = self.active(sessions);
                let newest = &self.sessions[sessions[0]];
                let confirm = [("confirm", "client"), ("session", entry.id.as_str())];
                groups.push(ClientGroup {
                    client: newest.client.name.to_string(),
                    host: host(&newest.client),
                    active,
                    continued: index > 0 && rows[index - 1].client == client,
                    revoke_url: (active > 1).then(|| place.url(&path, &confirm)),
                    found: found[client],
                    sessions: Vec::new(),
                    all_url: None,
                });
            }
            if let Some(group) = groups.last_mut() {
                let is_last = rows.get(index + 1).is_none_or(|next| next.client != client);
                let listed = rows.iter().filter(|row| row.client == client).count();
                if is_last && found[client] > listed {
                    let client = SessionId::parse(&entry.id);
                    group.all_url = Some(Place { client, ..place.first() }.url(&path, &[]));
                }
                group.sessions.push(entry);
            }
        }
        groups
    }
}

/// What is looked for.
struct Found {
    rows: Vec<Row>,
    /// How many there are of each client, listed or not.
    of_client: Vec<usize>,
    /// How many have the text that is looked for, and are active.
    active: usize,
    /// How many of the others have it.
    ended: usize,
    /// Whether all are of the client that is looked for.
    only: bool,
}

/// A part of the rows, and what is shown of each.
struct PageOfRows {
    begin: usize,
    end: usize,
    entries: Vec<SessionEntry>,
}

/// What tells clients apart, as [`Client::is_same_as`] does.
#[derive(Eq, Hash, PartialEq)]
enum ClientKey<'a> {
    Id(&'a ClientId),
    Name(&'a HumanText, Option<&'a HumanText>),
}

impl<'a> ClientKey<'a> {
    fn of(client: &'a Client) -> Self {
        match &client.id {
            Some(id) => Self::Id(id),
            None => Self::Name(&client.name, client.kind.as_ref()),
        }
    }
}

/// Takes the room that something needs, if there is as much left.
fn fits(room: &mut usize, weight: usize) -> bool {
    let left = room.checked_sub(weight);
    *room = left.unwrap_or(0);
    left.is_some()
}

impl SessionEntry {
    /// About how many bytes it takes in a page, with the heading of its client if that is new there.
    fn weight(&self, with_client: bool) -> usize {
        const CLIENT: usize = 900;
        let claims = [&self.label, &self.reason, &self.collected_by];
        let facts = [&self.asked_from, &self.collected_from, &self.used_from, &self.ended_by];
        // Its name also stands in a field. That of its client is read out with its button, and may differ from the heading.
        let client = escaped(&self.client) * if with_client { 6 } else { 2 };
        let own = self.name.as_deref().map_or(0, escaped) * 2;
        let end = if self.lasts_until.is_some() { 2 * FACT } else { 0 };
        let heading = if with_client { CLIENT } else { 0 };
        heading + client + own + end + weight(&self.scopes, self.resource.as_ref(), claims.into_iter().chain(facts))
    }
}

impl WaitingEntry {
    fn weight(&self) -> usize {
        let facts = [&self.label, &self.reason, &self.address];
        2 * escaped(&self.client) + weight(&self.scopes, self.resource.as_ref(), facts.into_iter())
    }
}

/// What surrounds a fact.
const FACT: usize = 90;

fn weight<'t>(
    scopes: &[GivenScope],
    resource: Option<&ResourceName>,
    facts: impl Iterator<Item = &'t Option<String>>,
) -> usize {
    // What every session has, and what surrounds a scope.
    const SESSION: usize = 2_100;
    const SCOPE: usize = 80;
    let scopes = scopes.iter().map(|scope| SCOPE + escaped(&scope.name) + escaped(&scope.description));
    let resource = resource.map(|resource| FACT + escaped(&resource.id) + resource.name.as_deref().map_or(0, escaped));
    SESSION + scopes.chain(resource).chain(facts.flatten().map(|fact| FACT + escaped(fact))).sum::<usize>()
}

/// How long a text is at most once it is escaped.
fn escaped(text: &str) -> usize {
    const LONGER: usize = "&#x27;".len() - 1;
    text.len() + LONGER * text.bytes().filter(|byte| matches!(byte, b'"' | b'&' | b'\'' | b'/' | b'<' | b'>')).count()
}

fn host(client: &Client) -> Option<String> {
    client.id.as_ref().and_then(ClientId::metadata_host).map(ToString::to_string)
}

fn text(text: Option<&HumanText>) -> Option<String> {
    text.map(ToString::to_string)
}

const fn ended_by(by: RevokedBy) -> &'static str {
    match by {
        RevokedBy::Agent => "by-agent",
        RevokedBy::Human => "by-human",
        RevokedBy::Service => "by-service",
        RevokedBy::Reuse => "by-reuse",
    }
}

fn waiting_entry(pages: &Pages, request: &AuthorizationRequest) -> WaitingEntry {
    let client = &request.client;
    WaitingEntry {
        id: request.id.to_string(),
        client: client.name.to_string(),
        host: host(client),
        label: text(client.label.as_ref()),
        reason: text(client.reason.as_ref()),
        scopes: request.granted().map(|granted| pages.given(granted)).unwrap_or_default(),
        resource: pages.resource(&request.resource),
        asked: pages.instant(request.created_at),
        expires: pages.instant(request.expires_at),
        standing: matches!(KnownFlow::of(request), Ok(KnownFlow::Identity(flow)) if flow.is_held()),
        address: client.address.map(|address| address.to_string()),
    }
}

fn entry(pages: &Pages, session: &SessionRecord, now: Timestamp) -> SessionEntry {
    let client = &session.client;
    let instant = |at: Option<Timestamp>| -> Option<Instant> { at.map(|at| pages.instant(at)) };
    let last_address = session.last_use.and_then(|last| last.address);
    SessionEntry {
        id: session.session.id.to_string(),
        name: text(session.name.as_ref()),
        client: client.name.to_string(),
        label: text(client.label.as_ref()),
        reason: text(client.reason.as_ref()),
        scopes: pages.given(&session.granted),
        resource: pages.resource(&session.session.resource),
        created: pages.instant(session.created_at),
        last_used: instant(session.last_use.map(|last| last.at)),
        asked_from: client.address.map(|address| address.to_string()),
        collected_from: session.redeemer.address.map(|address| address.to_string()),
        collected_by: text(session.redeemer.program.as_ref()),
        used_from: last_address.map(|address| address.to_string()),
        expires: pages.instant(session.ends_at()),
        lasts_until: instant(session.lasts_until),
        state: session.state_at(now).as_str(),
        revoked: instant(session.revoked.map(|revoked| revoked.at)),
        ended_by: session.revoked.map(|revoked| pages.say(ended_by(revoked.by), &[])),
    }
}
