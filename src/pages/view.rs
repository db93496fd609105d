use std::fmt;

use serde::Serialize;

use crate::config::Links;

/// A page, with everything that it shows. A template gets the fields of the struct inside, and those of [`Frame`].
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
#[serde(untagged)]
pub enum Page {
    /// The page on which a human decides about an agent's request. Template `approval.html`.
    Approval(Box<ApprovalPage>),
    /// What became of a request, at the same URL. Template `outcome.html`.
    Outcome(Box<OutcomePage>),
    /// The sessions of the account. Template `sessions.html`.
    Sessions(Box<SessionsPage>),
    /// The page for the code that a device shows. Template `code_entry.html`.
    CodeEntry(CodeEntryPage),
    /// Something that stands in the way, and what to do about it. Template `message.html`.
    Message(MessagePage),
}

impl Page {
    /// The names of the further fields of its action.
    pub(super) fn fields(&self) -> impl Iterator<Item = &'static str> + use<'_> {
        let action = match self {
            Self::Outcome(page) => page.action.as_ref(),
            Self::Message(page) => page.action.as_ref(),
            Self::Approval(_) | Self::Sessions(_) | Self::CodeEntry(_) => None,
        };
        action.into_iter().flat_map(|action| action.fields.iter().map(|(name, _)| *name))
    }

    pub(super) const fn template(&self) -> &'static str {
        match self {
            Self::Approval(_) => "approval.html",
            Self::Outcome(_) => "outcome.html",
            Self::Sessions(_) => "sessions.html",
            Self::CodeEntry(_) => "code_entry.html",
            Self::Message(_) => "message.html",
        }
    }
}

/// What all pages have.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Frame {
    /// The service.
    pub service: Service,
    /// The language of the page: a tag such as `en` (RFC 5646).
    pub language: String,
    /// The base direction of its text: `ltr` or `rtl`.
    pub direction: &'static str,
    /// The value of the `nonce` attribute that a `<style>` or `<script>` of the page needs. Nothing else may have styles or
    /// scripts: the content security policy forbids it.
    pub nonce: String,
}

/// The service that the pages belong to.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its links, each a field of its own in a template: `service.logo`.
    #[serde(flatten)]
    pub links: Links,
}

/// A form to send. Its method is POST.
///
/// Write the seal into the form: `<input type="hidden" name="csrf" value="…">`. A form without it is refused.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct Form {
    /// Where to send it: the value of the `action` attribute.
    pub action: String,
    /// What proves that the form comes from this page, for this human in this browser: the value of the field `csrf`.
    pub seal: String,
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Form").field("action", &self.action).finish_non_exhaustive()
    }
}

/// A form with one button: `<button name="decision" value="…">`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Action {
    /// The form.
    #[serde(flatten)]
    pub form: Form,
    /// The value of the button.
    pub decision: &'static str,
    /// Further fields of the form, by name.
    pub fields: Vec<(&'static str, String)>,
    /// The text of the button.
    pub text: String,
}

/// A link.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Link {
    /// Where it leads. If it is empty, to this page again.
    pub href: String,
    /// Its text.
    pub text: String,
}

/// An instant.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Instant {
    /// In RFC 3339: `2026-11-24T01:10:00Z`.
    pub at: String,
    /// To the minute: `2026-11-24 01:10 UTC`.
    pub text: String,
    /// How long ago it was, in words. An instant that is ahead has none.
    pub ago: Option<String>,
    /// How long it is until then, in words. An instant that is past has none.
    pub ahead: Option<String>,
}

/// The approval page. All names are from outside and nobody has checked them, but for [`Identity`].
///
/// The form has the fields `csrf` (the seal), `scope` (once for each scope that is ticked), `lasting` (the chosen
/// [`Choice`]), `user_code` (what was typed into the [`CodeField`]) and `decision`: `approve`, `deny`, or `switch` for another account.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ApprovalPage {
    /// The form.
    pub form: Form,
    /// The signed-in account.
    pub account: String,
    /// What to say first, if the page answers a form that did not count.
    pub notice: Option<String>,
    /// How another account can be used; `None` if this browser did not open the request.
    pub switch: Option<Switch>,
    /// How the agent gets its access: `claim`, `browser`, `finish_code`, `detached`,
    /// `authorization_code`, `device` or `identity`.
    pub flow: &'static str,
    /// Whether the agent runs on this computer, by what its flow requires.
    pub from_here: bool,
    /// The phrase that the agent shows as well.
    pub check_phrase: Option<String>,
    /// The code that the device shows as well.
    pub user_code: Option<String>,
    /// How the human types a code that the agent shows: in the field `user_code`. `None`: there is none to type.
    pub code_field: Option<CodeField>,
    /// Who asks.
    pub client: Requester,
    /// When it asked.
    pub asked: Instant,
    /// What this account gave to clients of this name before.
    pub before: Before,
    /// What access is asked to, if there are several resources.
    pub resource: Option<ResourceName>,
    /// Where the access goes once it is approved.
    pub handover: String,
    /// What hints at a deception.
    pub warnings: Vec<String>,
    /// The requested scopes, by effect. No group is empty.
    pub groups: Vec<Group>,
    /// Whether some scopes are unticked because the client is new to the account.
    pub has_unticked: bool,
    /// Whether the client holds some of the scopes already.
    pub has_held: bool,
    /// How long the access can last, to choose from. The first one is not always the proposed one. Empty: no choice.
    pub choices: Vec<Choice>,
    /// How long the access lasts at most, if nothing else is chosen.
    pub at_most: String,
    /// After how much time without use it ends sooner.
    pub unused: Option<String>,
    /// What no agent can ever reach.
    pub never: Vec<String>,
    /// How long the human has to decide.
    pub expires_in: String,
    /// The URL of the sessions page.
    pub sessions_url: String,
}

/// How the human types the code that their agent shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "snake_case")]
pub enum CodeField {
    /// They have to: nothing is approved without it.
    Required,
    /// They may leave it empty. Once they have approved, the page then shows a code that they tell the agent.
    Optional,
}

/// How another account can be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// By a button of the form, `decision=switch`.
    Button,
    /// By signing out and in; the host has no URL for it.
    ByHand,
}

/// Who asks.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Requester {
    /// The name that it gives itself.
    pub name: String,
    /// What it wants to do, in its own words.
    pub reason: Option<String>,
    /// Its label for the session.
    pub label: Option<String>,
    /// How it would like its human to sign in.
    pub method: Option<String>,
    /// Whom it expects to decide, such as an e-mail address.
    pub login_hint: Option<String>,
    /// The issuer that vouches for its human: proven.
    pub vouched_by: Option<String>,
    /// What is known of it beside its own words.
    pub identity: Option<Identity>,
    /// The address that it asked from, if that is not the browser's.
    pub address: Option<String>,
    /// Whether that address is in the browser's network; `None` if an address is unknown.
    pub same_network: Option<bool>,
    /// The browser's address.
    pub browser: Option<String>,
}

/// What is known of an OAuth client.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Identity {
    /// The host of its metadata document; `None` if the service registered it.
    pub host: Option<String>,
    /// Whether it is proven: the access goes to a web host that belongs to it. If not, any program could say so.
    pub proven: bool,
}

/// What the account gave before.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Before {
    /// Whether it let any agent in.
    pub any: bool,
    /// How many of its last 50 sessions it gave to a client of this name.
    pub count: usize,
    /// How long ago one of them was last used, in words.
    pub last_used: Option<String>,
}

/// A resource.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ResourceName {
    /// Its identifier (RFC 9728 section 2).
    pub id: String,
    /// Its name, if the configuration has it.
    pub name: Option<String>,
}

/// The requested scopes of one effect.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Group {
    /// `see`, `change` or `spend`.
    pub effect: &'static str,
    /// The scopes, in the order of the catalogue.
    pub scopes: Vec<AskedScope>,
}

/// A requested scope.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AskedScope {
    /// The scope.
    pub name: String,
    /// What it allows.
    pub description: String,
    /// What to be careful about.
    pub caution: Option<String>,
    /// Whether it is ticked at first.
    pub ticked: bool,
    /// Whether this client, or one of its name, has it already.
    pub held: bool,
    /// The scopes that it gives as well.
    pub gives: Vec<GivenScope>,
    /// The requested scopes that give it as well.
    pub given_by: Vec<String>,
}

/// A scope that another one gives as well.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct GivenScope {
    /// The scope.
    pub name: String,
    /// What it allows.
    pub description: String,
    /// Whether it was granted itself, too.
    pub implied: bool,
}

/// A duration to choose.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Choice {
    /// The value of the field `lasting`: seconds.
    pub seconds: u64,
    /// In words.
    pub text: String,
    /// Whether it is chosen at first.
    pub chosen: bool,
}

/// What became of a request.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct OutcomePage {
    /// `approved`, `collected`, `used`, `ended`, `denied`, `taken_back`, `locked` or `expired`.
    pub state: &'static str,
    /// The tone: `good`, `neutral` or `bad`.
    pub tone: Tone,
    /// The first sentence.
    pub title: String,
    /// Further sentences.
    pub lines: Vec<String>,
    /// The code to take to the agent.
    pub code: Option<FinishCode>,
    /// Terms and their details.
    pub facts: Vec<Fact>,
    /// What takes the access back.
    pub action: Option<Action>,
    /// Where to go on.
    pub links: Vec<Link>,
    /// The path of this page.
    pub path: String,
    /// Whether something may still change. Our script looks again every few seconds, and shows the page anew once the
    /// attribute `data-state` of the new one differs.
    pub live: bool,
}

/// A code to take to the agent.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct FinishCode {
    /// The code.
    pub code: String,
    /// A message to the agent with the code.
    pub message: String,
}

impl fmt::Debug for FinishCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FinishCode").finish_non_exhaustive()
    }
}

/// A term and its detail.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Fact {
    /// The term.
    pub term: String,
    /// The detail.
    pub detail: String,
    /// The instant that the detail is, if it is one.
    pub instant: Option<Instant>,
}

/// The tone of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// It went as it should.
    Good,
    /// Neither.
    Neutral,
    /// Something is wrong.
    Bad,
}

/// Something that stands in the way, and what to do about it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct MessagePage {
    /// The tone.
    pub tone: Tone,
    /// The first sentence.
    pub title: String,
    /// Further sentences.
    pub lines: Vec<String>,
    /// A form with one button.
    pub action: Option<Action>,
    /// Where to go on.
    pub link: Option<Link>,
}

/// The page for the code that a device shows. The form has the fields `csrf` and `code`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CodeEntryPage {
    /// The form.
    pub form: Form,
    /// The signed-in account.
    pub account: String,
    /// What to say first.
    pub notice: Option<String>,
    /// The code in the link, or the one that was typed.
    pub code: String,
}

/// The sessions of an account, or those of them that are looked for. A page has as many as fit into less than 100 KiB.
///
/// All URLs keep what is looked for. The action of the form also keeps the page, and the browser returns to it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SessionsPage {
    /// The form for each button.
    pub form: Form,
    /// The signed-in account.
    pub account: String,
    /// What was just done, or refused.
    pub notice: Option<Notice>,
    /// The path of this page, for a form to search with. Its method is GET; its fields are `q` and `state`.
    pub path: String,
    /// The text that is looked for; empty if none is.
    pub query: String,
    /// Which sessions are shown: `all`, `active` or `ended`.
    pub state: &'static str,
    /// Links to show all, the active or the ended sessions.
    pub filters: Vec<Filter>,
    /// Whether only the sessions of one client are shown.
    pub one_client: bool,
    /// Whether the account has more sessions than were counted.
    pub more: bool,
    /// What was approved and not collected. On the first page only.
    pub waiting: Vec<WaitingEntry>,
    /// How many more of that there are than this page has room for.
    pub waiting_more: usize,
    /// The sessions, by client. The client with the newest session is first.
    pub groups: Vec<ClientGroup>,
    /// The URL of the page that asks before it revokes all sessions; `None` if there is nothing to revoke.
    pub revoke_all_url: Option<String>,
    /// The URL of a JSON file with all that is stored about the account.
    pub export_url: String,
    /// The URL of all sessions, if this page does not begin with them.
    pub all_url: Option<String>,
    /// The URL of the page before this one.
    pub previous_url: Option<String>,
    /// The URL of the next page.
    pub next_url: Option<String>,
}

/// What was just done on the sessions page, or refused.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Notice {
    /// In words.
    pub text: String,
    /// The session that it is about, if that is on the page.
    pub session: Option<String>,
    /// The name that was typed for the session, if it was refused. Nothing was changed.
    pub refused: Option<String>,
}

/// A link that shows some of the sessions.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Filter {
    /// `all`, `active` or `ended`.
    pub state: &'static str,
    /// The URL.
    pub href: String,
    /// How many there are.
    pub count: usize,
    /// Whether they are shown now.
    pub current: bool,
}

/// The sessions of one client: of one OAuth client, or of all that call themselves by one name.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ClientGroup {
    /// The name that the client gave itself.
    pub client: String,
    /// The host of its metadata document.
    pub host: Option<String>,
    /// How many of its sessions are active.
    pub active: usize,
    /// Whether its first sessions are on the page before.
    pub continued: bool,
    /// Its sessions on this page, newest first.
    pub sessions: Vec<SessionEntry>,
    /// The URL of the page that asks before it revokes all of them; `None` unless several are active.
    pub revoke_url: Option<String>,
    /// How many of its sessions were looked for.
    pub found: usize,
    /// The URL of all of those, if not all are listed. With the last that is.
    pub all_url: Option<String>,
}

/// An approval that no agent has collected. To take it back: the fields `request` and `decision=take_back`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct WaitingEntry {
    /// The authorization request.
    pub id: String,
    /// The name that the client gave itself.
    pub client: String,
    /// The host of its metadata document.
    pub host: Option<String>,
    /// Its label for the session.
    pub label: Option<String>,
    /// What it wants to do, in its own words.
    pub reason: Option<String>,
    /// What it may do.
    pub scopes: Vec<GivenScope>,
    /// Where, if there are several resources.
    pub resource: Option<ResourceName>,
    /// When it asked.
    pub asked: Instant,
    /// Until when it can collect the access.
    pub expires: Instant,
    /// Whether the agent has collected it, and can get further sessions until then.
    pub standing: bool,
    /// The address that it asked from.
    pub address: Option<String>,
}

/// A session. To revoke it: the fields `session` and `decision=revoke`. To name it: `session`, `name` and
/// `decision=rename`; an empty name takes the name away. The browser returns to the fragment that is the session's `id`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SessionEntry {
    /// The session.
    pub id: String,
    /// The name that its human gave it.
    pub name: Option<String>,
    /// The name that the client gave itself.
    pub client: String,
    /// Its label for the session.
    pub label: Option<String>,
    /// What it wanted to do, in its own words.
    pub reason: Option<String>,
    /// What it may do.
    pub scopes: Vec<GivenScope>,
    /// Where, if there are several resources.
    pub resource: Option<ResourceName>,
    /// When the agent collected it.
    pub created: Instant,
    /// When it was last used.
    pub last_used: Option<Instant>,
    /// The address that asked for it.
    pub asked_from: Option<String>,
    /// The address that collected it.
    pub collected_from: Option<String>,
    /// The program that collected it, by its own claim.
    pub collected_by: Option<String>,
    /// The address of the last use.
    pub used_from: Option<String>,
    /// When it ends, unless it is refreshed before; or when it expired.
    pub expires: Instant,
    /// When it ends at the latest, if its human chose that.
    pub lasts_until: Option<Instant>,
    /// `active`, `expired` or `revoked`.
    pub state: &'static str,
    /// When it was revoked.
    pub revoked: Option<Instant>,
    /// Who revoked it, in words.
    pub ended_by: Option<String>,
}
