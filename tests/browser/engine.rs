//! The browsers that the tests run in, and the driver of each.

use std::{
    env::VarError,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

/// Which browser the human uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Engine {
    Chromium,
    Firefox,
}

impl Engine {
    /// The one that the variable `BROWSER_TESTS` names; Chromium without it.
    pub fn chosen() -> Self {
        match std::env::var("BROWSER_TESTS").as_deref() {
            Ok("firefox") => Self::Firefox,
            Ok("chromium") | Err(VarError::NotPresent) => Self::Chromium,
            other => panic!("BROWSER_TESTS is {other:?}: chromium and firefox are known"),
        }
    }

    /// The capabilities of a session that prefers `language` and keeps its files in `profile`.
    pub fn capabilities(self, language: &str, profile: &Path) -> Value {
        match self {
            Self::Chromium => {
                let arguments = [
                    "--headless=new",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-quic",
                    "--no-first-run",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-sync",
                    "--disable-dev-shm-usage",
                    "--hide-scrollbars",
                    "--window-size=1280,1100",
                    // A mouse, as a desktop has: newer versions see none on a machine without a screen.
                    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",
                    &format!("--accept-lang={language}"),
                    &format!("--user-data-dir={}", profile.display()),
                ];
                json!({
                    "goog:chromeOptions": { "args": arguments },
                    "goog:loggingPrefs": { "browser": "ALL" },
                    "unhandledPromptBehavior": "ignore",
                })
            }
            Self::Firefox => json!({
                "moz:firefoxOptions": {
                    "args": ["-headless", "-width", "1280", "-height", "1100"],
                    "prefs": {
                        "intl.accept_languages": language,
                        // A mouse: fine and hovering.
                        "ui.primaryPointerCapabilities": 6,
                        "ui.allPointerCapabilities": 6,
                        // Otherwise a script that still runs while its process ends is an error on the console.
                        "dom.abort_script_on_child_shutdown": false,
                        // Its scroll bars take no room, as those of Chromium here.
                        "widget.gtk.overlay-scrollbars.enabled": true,
                    },
                },
                "unhandledPromptBehavior": "ignore",
            }),
        }
    }

    /// The command of the driver, and what comes before the port in the line that it says when it listens.
    fn driver(self, profile: &Path) -> (String, &'static str) {
        match self {
            Self::Chromium => ("chromedriver --port=0".into(), "successfully on port "),
            // Its console and its settings are in reach of a script of the browser itself alone.
            Self::Firefox => (
                format!("geckodriver --port 0 --allow-system-access --profile-root '{}'", profile.display()),
                "Listening on 127.0.0.1:",
            ),
        }
    }
}

/// A driver of one browser: geckodriver has no more.
pub struct Driver {
    process: Child,
    pub url: String,
}

impl Driver {
    pub fn start(engine: Engine, profile: &Path) -> Self {
        let (command, listens) = engine.driver(profile);
        // The shell, the driver and the browser are a process group. It ends once nobody holds the shell's stdin, however this
        // process ends. The shell does not hold the driver's stdout, so that a driver that does not start is noticed.
        let mut process = Command::new("sh")
            .args(["-c", &format!("{command} & exec >/dev/null; read -r _; kill 0")])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("can't start a shell: {error}"));
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once(listens)?;
            rest.trim_end_matches('.').parse::<u16>().ok()
        });
        let port = port.unwrap_or_else(|| panic!("no {command}; run tests/run browser or tests/run firefox"));
        std::thread::spawn(move || lines.count());
        Self { process, url: format!("http://127.0.0.1:{port}") }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
