//! What all clients and checks of a run share, and the one way by which they ask anything: intent, request, outcome,
//! judgement.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    http::{Answer, Http},
    leak::Secrets,
    ledger::Ledger,
    node::{Mercy, Node},
    pulse::Pulse,
    report::{Report, Rule},
};
use crate::{Failure, Outcome};

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
pub(crate) struct Question<'a> {
    /// The claim that it is about.
    pub(crate) label: &'a str,
    pub(crate) what: &'a str,
    pub(crate) expected: &'a [u16],
    /// What another answer breaks.
    pub(crate) rule: Rule,
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

impl World {
    /// Whether any request met the fault.
    pub(crate) fn fault_was_met(&self) -> bool {
        [REFUSED, BROKEN].iter().any(|what| self.report.counted(what) > 0)
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
            Ok(answer) if question.expected.contains(&answer.status) => {
                self.report.acknowledge();
                self.report.took(asked.when(), asked.took);
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
        if asked.mercy.forgives(answer.status) {
            self.report.took("a refusal during the fault came", asked.took);
            self.report.count(REFUSED);
            return Stop::Fault;
        }
        if answer.status == 503 && self.pulse.stood_still_since(asked.began) {
            self.report.count("refused while the machine stood still");
            return Stop::Fault;
        }
        self.broken(question, answer.status, &describe(answer))
    }

    /// From now on, or no longer, the store of all servers is away.
    pub(crate) fn set_store_away(&self, away: bool) {
        self.nodes.iter().for_each(|node| node.set_store_away(away));
    }

    /// From now on, or no longer, the store of all servers may have forgotten what it knew.
    pub(crate) fn set_store_forgets(&self, forgets: bool) {
        self.nodes.iter().for_each(|node| node.set_store_forgets(forgets));
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
