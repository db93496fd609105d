//! A link as a QR code in a terminal, for the human's phone.

use std::{env, io::IsTerminal};

use clap::ValueEnum;
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use terminal_size::{Height, Width, terminal_size};
use url::{Host, Url};

use crate::terminal;

/// When a link is shown as a QR code.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Qr {
    /// On a UTF-8 terminal with room for it, unless the link leads to this machine only
    Auto,
    Always,
    Never,
}

impl Qr {
    /// The QR code of a link, as lines for `stream`. `None` if it is not to be shown, or the link is too long for one.
    pub(crate) fn lines(self, link: &str, stream: &impl IsTerminal) -> Option<String> {
        let code = QrCode::with_error_correction_level(link, EcLevel::L).ok()?;
        // Light is what the characters paint, as on a terminal with a dark background.
        let painted = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
        let is_shown = match self {
            Self::Auto => stream.is_terminal() && is_utf8() && has_room(&painted) && is_reachable(link),
            Self::Always => true,
            Self::Never => false,
        };
        // With colours, it is right on any background.
        let (start, end) = if terminal::has_escapes(stream) { ("\u{1b}[97;40m", "\u{1b}[0m") } else { ("", "") };
        is_shown.then(|| painted.lines().map(|line| format!("{start}{line}{end}\n")).collect())
    }
}

/// Whether the locale's character set is UTF-8. The first variable that is set decides.
fn is_utf8() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(env::var_os).find(|value| !value.is_empty());
    set.and_then(|value| value.into_string().ok()).is_some_and(|value| {
        let value = value.to_ascii_lowercase();
        value.ends_with("utf-8") || value.ends_with("utf8")
    })
}

fn has_room(painted: &str) -> bool {
    let (columns, rows) = (painted.lines().next().map_or(0, |line| line.chars().count()), painted.lines().count());
    terminal_size()
        .is_some_and(|(Width(width), Height(height))| columns <= usize::from(width) && rows < usize::from(height))
}

/// Whether another device may reach the link: on a phone, `localhost` is the phone.
fn is_reachable(link: &str) -> bool {
    Url::parse(link).is_ok_and(|url| match url.host() {
        Some(Host::Domain(name)) => name != "localhost" && !name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => !address.is_loopback(),
        Some(Host::Ipv6(address)) => !address.is_loopback(),
        None => false,
    })
}
