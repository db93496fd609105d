//! What WebDriver has no command for, in each browser's own way.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{browser::Browser, engine::Engine, harness::PATIENCE};

/// What the human has set for all pages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Preferences {
    pub dark: bool,
    pub forced_colours: bool,
    pub reduced_motion: bool,
}

impl Browser {
    /// Lets the pages run their scripts, or not.
    pub fn allow_scripts(&self, allowed: bool) {
        match self.engine {
            Engine::Chromium => {
                self.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": !allowed }));
            }
            Engine::Firefox => {
                self.system(
                    "gBrowser.selectedBrowser.browsingContext.allowJavascript = arguments[0]",
                    &[json!(allowed)],
                );
            }
        }
    }

    pub fn prefer(&self, preferences: Preferences) {
        let Preferences { dark, forced_colours, reduced_motion } = preferences;
        match self.engine {
            Engine::Chromium => {
                let feature =
                    |name, set: bool, value, usual| json!({ "name": name, "value": if set { value } else { usual } });
                let features = json!({ "features": [
                    feature("prefers-color-scheme", dark, "dark", "light"),
                    feature("forced-colors", forced_colours, "active", "none"),
                    feature("prefers-reduced-motion", reduced_motion, "reduce", "no-preference"),
                ] });
                self.devtools("Emulation.setEmulatedMedia", &features);
            }
            Engine::Firefox => {
                let script = "const [dark, forced, reduced] = arguments;
                    gBrowser.selectedBrowser.browsingContext.prefersColorSchemeOverride = dark ? 'dark' : 'light';
                    Services.prefs.setIntPref('browser.display.document_color_use', forced ? 2 : 1);
                    Services.prefs.setIntPref('ui.prefersReducedMotion', reduced ? 1 : 0);";
                self.system(script, &[json!(dark), json!(forced_colours), json!(reduced_motion)]);
            }
        }
        let queries =
            "return ['(prefers-color-scheme: dark)', '(forced-colors: active)', '(prefers-reduced-motion: reduce)']
            .map((query) => matchMedia(query).matches)";
        self.follows(queries, &json!([dark, forced_colours, reduced_motion]));
    }

    /// Waits until the page has what was set, which takes a moment in another process.
    fn follows(&self, script: &str, set: &Value) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.post("execute/sync", &json!({ "script": script, "args": [] }));
            if shown == *set {
                return;
            }
            assert!(Instant::now() < deadline, "{script}: {shown}, not {set}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sets the size of plain text, as the human does in the browser's settings: media queries follow it. In Chromium only,
    /// as are the tests of every page in every state.
    pub fn set_text_size(&self, pixels: u32) {
        let sizes = json!({ "fontSizes": { "standard": pixels, "fixed": pixels } });
        self.devtools("Page.setFontSizes", &sizes);
    }

    /// Sets the size of the page, in CSS pixels.
    pub fn narrow(&self, width: u32, height: u32) {
        match self.engine {
            Engine::Chromium => {
                let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
                self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
            }
            // Its windows are never as narrow as a phone, but the page in one can be.
            Engine::Firefox => {
                let script = "const style = gBrowser.selectedBrowser.style;
                    for (const [side, length] of [['width', arguments[0]], ['height', arguments[1]]])
                        for (const name of [side, `min-${side}`, `max-${side}`]) style.setProperty(name, `${length}px`);";
                self.system(script, &[json!(width), json!(height)]);
            }
        }
        self.follows("return [innerWidth, innerHeight]", &json!([width, height]));
    }

    /// Sends this `Authorization` header with each request from now on, or none. In Chromium only, as above.
    pub fn send_authorization(&self, value: Option<&str>) {
        let headers = value.map_or_else(|| json!({}), |value| json!({ "authorization": value }));
        self.devtools("Network.enable", &json!({}));
        self.devtools("Network.setExtraHTTPHeaders", &json!({ "headers": headers }));
    }

    /// Lets a site write to the clipboard after a click, as it may in a browser with a window.
    pub fn allow_clipboard(&self, origin: &str) {
        // Firefox allows it without a screen, too.
        if self.engine == Engine::Chromium {
            let grant = json!({ "permissions": ["clipboardSanitizedWrite"], "origin": origin });
            self.devtools("Browser.grantPermissions", &grant);
        }
    }

    /// Moves the pointer.
    pub fn point_at(&self, [x, y]: [f64; 2]) {
        match self.engine {
            Engine::Chromium => self.mouse("mouseMoved", [x, y]),
            Engine::Firefox => self.pointer(&[json!({ "type": "pointerMove", "x": x, "y": y })]),
        }
    }

    /// Presses and releases the mouse.
    pub fn press(&self, [x, y]: [f64; 2]) {
        match self.engine {
            // chromedriver's own clicks wait for the page that the one before leads to: no second click would be quick.
            Engine::Chromium => {
                self.mouse("mousePressed", [x, y]);
                self.mouse("mouseReleased", [x, y]);
            }
            Engine::Firefox => self.pointer(&[
                json!({ "type": "pointerMove", "x": x, "y": y }),
                json!({ "type": "pointerDown", "button": 0 }),
                json!({ "type": "pointerUp", "button": 0 }),
            ]),
        }
    }

    fn mouse(&self, kind: &str, [x, y]: [f64; 2]) {
        let button = if kind == "mouseMoved" { "none" } else { "left" };
        let event = json!({ "type": kind, "x": x, "y": y, "button": button, "clickCount": 1 });
        self.devtools("Input.dispatchMouseEvent", &event);
    }

    fn pointer(&self, actions: &[Value]) {
        let mouse =
            json!({ "type": "pointer", "id": "mouse", "parameters": { "pointerType": "mouse" }, "actions": actions });
        self.post("actions", &json!({ "actions": [mouse] }));
    }

    /// Presses a key.
    pub fn press_key(&self, key: &str) {
        // https://www.w3.org/TR/webdriver2/#keyboard-actions
        let value = match key {
            "Tab" => "\u{E004}",
            "Enter" => "\u{E007}",
            "ArrowUp" => "\u{E013}",
            " " => " ",
            _ => panic!("no key {key}"),
        };
        let actions = [json!({ "type": "keyDown", "value": value }), json!({ "type": "keyUp", "value": value })];
        self.post("actions", &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] }));
    }

    /// What the console said since the last time: violations of the content security policy, errors, and in Chromium failed
    /// loads, which Firefox has in no console that a script can read.
    pub fn console(&self) -> Vec<String> {
        let entries = match self.engine {
            Engine::Chromium => self.post("se/log", &json!({ "type": "browser" })),
            Engine::Firefox => {
                let script = "const entries = Services.console.getMessageArray(); Services.console.reset();
                    const isOfPage = ({ sourceName, category }) =>
                        !/^(chrome|resource):/.test(sourceName) && category !== 'bounceTrackingProtection';
                    return entries.filter((entry) => entry instanceof Ci.nsIScriptError && isOfPage(entry))
                        .map((entry) => ({ message: `${entry.sourceName} ${entry.category}: ${entry.errorMessage}` }));";
                self.system(script, &[])
            }
        };
        let messages = entries.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap().to_owned());
        // Browsers ask every site for an icon; the demo has none.
        messages.filter(|message| !message.contains("/favicon.ico")).collect()
    }

    pub fn assert_quiet_console(&self) {
        assert_eq!(self.console(), Vec::<String>::new());
    }

    /// The same, but for loads that failed with this status.
    pub fn assert_quiet_console_but(&self, status: &str) {
        let rest = self.console().into_iter().filter(|line| !line.contains(status));
        assert_eq!(rest.collect::<Vec<String>>(), Vec::<String>::new());
    }

    /// A command of Chromium's own protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.post("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// Runs a script of Firefox itself.
    fn system(&self, script: &str, arguments: &[Value]) -> Value {
        self.post("moz/context", &json!({ "context": "chrome" }));
        let returned = self.post("execute/sync", &json!({ "script": script, "args": arguments }));
        self.post("moz/context", &json!({ "context": "content" }));
        returned
    }
}
