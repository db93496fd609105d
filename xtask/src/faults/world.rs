//! What all clients and checks of a run share, and the one way by which they ask anything: intent, request, outcome,
//! judgement.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

use super::{
    http::{Answer, Http},
    identity::{self, Told},
    leak::Secrets,
    ledger::Ledger,
    node::{Fault, Mercy, Need, Node},
    pulse::Pulse,
    report::{Report, Rule},
    wire,
};
use crate::{Failure, Outcome};

/// The service must be right again within these times: the deadlines of store calls (docs/stores.md, Failures), and a
/// second for the machine, which also runs the load and the servers.
pub(crate) const READ_DEADLINE: Duration = Duration::from_secs(2 + 1);
pub(crate) const WRITE_DEADLINE: Duration = Duration::from_secs(5 + 1);

pub(crate) struct World {
    pub(crate) nodes: Vec<Arc<Node>>,
    /// The public URL of the service.
    pub(crate) origin: String,
    pub(crate) ledger: Ledger,
    pub(crate) report: Report,
    pub(crate) secrets: Secrets,
    pub(crate) pulse: Arc<Pulse>,
}

/// Why a client does not go on with what it was doing.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The fault that is being made reached it: whether what it asked for was done is unknown.
    Fault,
    /// The service broke a promise, which the report knows.
    Broken,
    /// The harness itself fails.
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

pub(crate) type Step<T> = Result<T, Stop>;

/// A question and what may be answered.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    /// The claim that it is about.
    pub(crate) label: &'a str,
    pub(crate) what: &'a str,
    pub(crate) expected: Expected<'a>,
    /// What another answer breaks.
    pub(crate) rule: Rule,
}

/// The answers that keep every promise.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected<'a> {
    Status(&'a [u16]),
    /// A status with its error.
    Told(&'a [Told]),
}

impl Expected<'_> {
    fn has(&self, answer: &Answer) -> bool {
        match self {
            Self::Status(all) => all.contains(&answer.status),
            Self::Told(all) => all.contains(&(answer.status, answer.error())),
        }
    }
}

impl Question<'_> {
    /// A token check is named by its path.
    fn need(&self) -> Need {
        match self.what {
            what if what.starts_with('/') => Need::TokenCheck,
            wire::REVOKES => Need::Revocation,
            what if identity::is_asked(what) => Need::Identity,
            _ => Need::Other,
        }
    }
}

/// A question that was asked.
struct Asked {
    began: Instant,
    took: Duration,
    /// What the server is forgiven.
    mercy: Mercy,
}

impl Asked {
    const fn when(&self) -> &'static str {
        if self.mercy.is_none() { "an answer came" } else { "an answer during the fault came" }
    }
}

/// What the report counts of a fault. A fault that met no request proves nothing.
const REFUSED: &str = "refused during the fault";
const BROKEN: &str = "connections broken by it";
const ANSWERED: &str = "right answers in spite of it";

impl World {
    /// Whether any request met the fault.
    pub(crate) fn fault_was_met(&self) -> bool {
        [REFUSED, BROKEN, ANSWERED].iter().any(|what| self.report.counted(what) > 0)
    }

    /// Asks `node`. Whatever is not expected, and not forgiven while a fault is being made, is a violation.
    pub(crate) async fn ask<F>(
        &self,
        node: &Node,
        question: &Question<'_>,
        send: impl FnOnce(Http) -> F,
    ) -> Step<Answer>
    where
        F: Future<Output = Outcome<Answer>>,
    {
        let mercy = node.mercy();
        let entry = self.ledger.intend(self.report.round(), question.label, question.what).await?;
        let began = Instant::now();
        let answer = send(node.http()).await;
        let asked = Asked { began, took: began.elapsed(), mercy: mercy.and(node.mercy()) };
        self.ledger.settle(entry, &answer).await?;
        match answer {
            Ok(answer) if question.expected.has(&answer) => {
                self.report.acknowledge();
                if asked.mercy.has(Fault::Harmless) {
                    self.report.count(ANSWERED);
                }
                self.report.took(asked.when(), asked.took);
                if let (Need::TokenCheck, false) = (question.need(), asked.mercy.is_none()) {
                    self.report.took("a token check during the fault came", asked.took);
                }
                Ok(answer)
            }
            Ok(answer) => Err(self.unexpected(question, &asked, &answer)),
            Err(_) if asked.mercy.forgives_silence() => {
                self.report.count(BROKEN);
                Err(Stop::Fault)
            }
            Err(failure) => Err(self.broken(question, 0, &format!("no answer ({failure})"))),
        }
    }

    fn unexpected(&self, question: &Question<'_>, asked: &Asked, answer: &Answer) -> Stop {
        if asked.mercy.forgives(answer.status, question.need()) {
            self.report.took("a refusal during the fault came", asked.took);
            self.report.count(REFUSED);
            return Stop::Fault;
        }
        if answer.status == 503 && self.pulse.stood_still_since(asked.began) {
            self.report.count("refused while the machine stood still");
            return Stop::Fault;
        }
        if !identity::is_documented(question.what, answer) {
            let rule = Rule::Undocumented;
            return self.broken(&Question { rule, ..*question }, answer.status, &describe(answer));
        }
        self.broken(question, answer.status, &describe(answer))
    }

    /// From now on `fault` is being made to all servers.
    pub(crate) fn begin(&self, fault: Fault) {
        self.nodes.iter().for_each(|node| node.begin(fault));
    }

    /// No longer. What was asked before is still forgiven.
    pub(crate) fn end(&self, fault: Fault) {
        self.nodes.iter().for_each(|node| node.end(fault));
    }

    /// The store is back: token checks must be right after the deadline to read, all else after the one to write.
    pub(crate) async fn await_deadlines(&self) {
        let began = tokio::time::Instant::now();
        sleep_until(began + READ_DEADLINE).await;
        self.begin(Fault::WritesFail);
        self.end(Fault::StoreAway);
        sleep_until(began + WRITE_DEADLINE).await;
        self.end(Fault::WritesFail);
    }

    /// Notes another broken promise about a claim.
    pub(crate) fn violation(&self, rule: Rule, label: &str, text: &str) {
        self.report.violation(rule, format!("{label}: {text}"));
    }

    fn broken(&self, question: &Question<'_>, status: u16, got: &str) -> Stop {
        // A failure is not the answer that the promise is about, whatever was asked.
        let rule = match question.rule {
            _ if status == 0 || status >= 500 => Rule::Undocumented,
            Rule::Double if status != 200 => Rule::Lost,
            rule => rule,
        };
        let text = format!("{}: expected {:?}, got {got}", question.what, question.expected);
        self.violation(rule, question.label, &text);
        Stop::Broken
    }
}

fn describe(answer: &Answer) -> String {
    format!("{} {}", answer.status, answer.error()).trim_end().to_owned()
}
