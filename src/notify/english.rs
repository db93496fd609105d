//! The words of notifications.

use super::{About, ApprovalPending, Collected, Notification};
use crate::types::{
    clock::Timestamp,
    text::{HumanText, without_direction},
};

pub(super) fn subject(notification: &Notification) -> String {
    let service = &notification.about().service;
    match notification {
        Notification::ApprovalPending(_) => format!("{service}: an agent asks for access to your account"),
        Notification::Collected(_) => format!("{service}: an agent now has access to your account"),
    }
}

pub(super) fn text(notification: &Notification) -> String {
    match notification {
        Notification::ApprovalPending(pending) => pending_text(pending),
        Notification::Collected(collected) => collected_text(collected),
    }
}

fn pending_text(pending: &ApprovalPending) -> String {
    let ApprovalPending { about, sentences, expires_at, .. } = pending;
    let About { client, service, approval_url, .. } = about;
    let mut text =
        format!("An agent that calls itself {} asks for access to your {service} account.\n\n", quoted(&client.name));
    text += &account(about);
    if let Some(reason) = &client.reason {
        text += &format!("Its reason, in its own words: {}\n", quoted(reason));
    }
    if let Some(address) = client.address {
        text += &format!("It asked from: {address}\n");
    }
    text += &format!("\nIt asks to:\n{}\n", list(sentences));
    text += &format!("Decide until {}:\n{approval_url}\n\n", time(*expires_at));
    text + "If you did not tell an agent to ask, deny it there, or do nothing: without your approval it gets no access.\n"
}

fn collected_text(collected: &Collected) -> String {
    let Collected { about, sentences, address, program, ends_at, .. } = collected;
    let About { client, service, approval_url, sessions_url, at, .. } = about;
    let mut text = format!(
        "The agent {} has collected the access to your {service} account that you approved.\n\n",
        quoted(&client.name)
    );
    text += &account(about);
    text += &format!("When: {}\n", time(*at));
    if let Some(address) = address {
        text += &format!("From: {address}\n");
    }
    if let Some(program) = program {
        text += &format!("Program, in its own words: {}\n", quoted(program));
    }
    text += &format!("The access ends: {} at the latest\n", time(*ends_at));
    text += &format!("\nIt may:\n{}\n", list(sentences));
    text + &format!(
        "If this was not your agent, take the access back now:\n{sessions_url}\n\nWhat you approved:\n{approval_url}\n"
    )
}

/// The words of an agent. They can't end their quotation marks, turn the text around, or become a link in a mail program.
fn quoted(text: &HumanText) -> String {
    let plain = without_direction(text.as_str());
    let plain = plain.replace(['"', '“', '”', '„', '«', '»'], "'").replace("://", ": //").replace("www.", "www ");
    format!("“{plain}”")
}

fn account(about: &About) -> String {
    format!("Account: {}\n", about.account.label)
}

fn list(sentences: &[String]) -> String {
    sentences.iter().map(|sentence| format!("- {sentence}\n")).collect()
}

/// A date and time in an unambiguous format: `2026-11-24 01:10 UTC`.
fn time(time: Timestamp) -> String {
    let text = time.to_string();
    let minute = text.get(..16).unwrap_or(&text).replace('T', " ");
    format!("{minute} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_words_stay_in_their_quotation_marks() {
        for (text, expected) in [
            ("Claude Code", "“Claude Code”"),
            ("Bot” is verified. “x", "“Bot' is verified. 'x”"),
            ("see https://evil.example/ok", "“see https: //evil.example/ok”"),
            ("www.evil.example", "“www evil.example”"),
        ] {
            assert_eq!(quoted(&HumanText::from_stored(text)), expected);
        }
        assert!(!quoted(&HumanText::from_stored("a\u{202e}b\u{2066}c")).contains('\u{202e}'));
    }
}
