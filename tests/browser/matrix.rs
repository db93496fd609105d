//! Every page in every state, at every width, in every colour scheme and at large text: axe-core and the Nu HTML checker
//! find nothing, nothing is cut off, no word is broken, and there is a next step.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{browser::Browser, harness::Folder, settings::Preferences, states::every_page};

/// The widths of a small phone, a phone and a desktop.
const WIDTHS: [u32; 3] = [320, 390, 1280];

/// How the pages can look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Look {
    Light,
    Dark,
    ForcedColours,
    LargeText,
    RightToLeft,
}

impl Look {
    const ALL: [Self; 5] = [Self::Light, Self::Dark, Self::ForcedColours, Self::LargeText, Self::RightToLeft];

    async fn set(self, human: &Browser) {
        human.prefer(Preferences {
            dark: self == Self::Dark,
            forced_colours: self == Self::ForcedColours,
            ..Preferences::default()
        });
        human.set_text_size(if self == Self::LargeText { 32 } else { 16 });
        let direction = "const root = document.documentElement; root.dataset.dir ??= root.dir; root.dir = arguments[0] || root.dataset.dir";
        let forced = if self == Self::RightToLeft { "rtl" } else { "" };
        human.client.execute(direction, vec![json!(forced)]).await.unwrap();
    }
}

/// What `npm install` of `tests/run` brought.
fn package(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pages/node_modules").join(path);
    assert!(path.exists(), "{} is missing; run tests/run browser", path.display());
    path
}

/// What is cut off or broken: the page is too wide, an element is, or a word has a line break inside.
const BROKEN: &str = r"
    const found = [];
    const root = document.documentElement;
    if (root.scrollWidth > innerWidth) found.push(`the page is ${root.scrollWidth - innerWidth} px too wide`);
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const range = document.createRange();
    while (texts.nextNode()) {
        const text = texts.currentNode;
        const box = text.parentElement;
        if (box.closest('script, style, noscript, .unseen, code, pre') || !box.checkVisibility()) continue;
        // An address or the name of a scope may go on in a new line.
        const names = [...text.data.matchAll(/\S+[@:/._]\S+/gu)];
        for (const word of text.data.matchAll(/[\p{L}\p{M}\p{N}’]+/gu)) {
            if (names.some((name) => name.index <= word.index && word.index < name.index + name[0].length)) continue;
            // A hyphen that shows at the end of a line is counted with the letter after it.
            range.setStart(text, word.index + (text.data[word.index - 1] === '\u00ad' ? 1 : 0));
            range.setEnd(text, word.index + word[0].length);
            const lines = [...range.getClientRects()].filter((line) => line.width > 0);
            const tops = new Set(lines.map((line) => Math.round(line.top)));
            if (tops.size > 1) found.push(`“${word[0]}” is broken in ${box.tagName}.${box.className}`);
            for (const line of lines) {
                if (line.left < -1 || line.right > innerWidth + 1) found.push(`“${word[0]}” is cut off in ${box.tagName}.${box.className}`);
            }
        }
    }
    return [...new Set(found)];";

const AXE: &str = "
    const done = arguments[arguments.length - 1];
    axe.run(document).then(({ passes, violations }) => done(passes.length < 10 ? ['axe-core has looked at nothing'] : violations.map((violation) =>
        `${violation.id}: ${violation.nodes.map((node) => `${node.target} (${node.failureSummary})`).slice(0, 3).join('; ')}`)), (error) => done([String(error)]))";

/// What a human can do next on the page: how many buttons it has, and where its links lead.
const NEXT: &str = "
    const shown = (css) => [...document.querySelectorAll(css)].filter((element) => element.checkVisibility());
    const elsewhere = (link) => link.origin === location.origin && link.href.split('#')[0] !== location.href.split('#')[0];
    return {
        buttons: shown('main button:not([disabled])').length,
        links: shown('main a[href]').filter((link) => !link.getAttribute('href').startsWith('#')).length,
        own: shown('main a[href]').filter(elsewhere).map((link) => link.href),
    }";

/// Why the page is a dead end: it has no link and no button, or a link leads to an error.
async fn dead_ends(human: &Browser, state: &str) -> Vec<String> {
    let next = human.run(NEXT).await;
    let mut found = Vec::new();
    if next["buttons"] == 0 && next["links"] == 0 {
        found.push("there is no next step".to_owned());
    }
    for link in lines(&next["own"]) {
        let (status, _) = human.fetch(&link).await;
        // While the store fails, every page says so. The demo of the other two lets nobody see more than two pages a minute.
        let waits = match state {
            "unavailable" => status == 503,
            "expired" | "too-many-requests" => status == 429,
            _ => false,
        };
        if status >= 400 && !waits {
            found.push(format!("{link} is {status}"));
        }
    }
    found
}

fn lines(found: &Value) -> impl Iterator<Item = String> + '_ {
    found.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_in_every_state_is_whole_readable_and_valid() {
    find_nothing("en", &Look::ALL).await;
}

// In other languages, the words could be too long, and run the other way.

#[tokio::test(flavor = "multi_thread")]
async fn every_page_in_german_is_whole_readable_and_valid() {
    find_nothing("de", &[Look::Light, Look::LargeText]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_in_arabic_is_whole_readable_and_valid() {
    find_nothing("ar", &[Look::Light, Look::LargeText]).await;
}

async fn find_nothing(language: &str, looks: &[Look]) {
    let axe = std::fs::read_to_string(package("axe-core/axe.min.js")).unwrap();
    let folder = Folder::new();
    let human = Browser::open_in(language).await;
    let found = RefCell::new(Vec::new());
    every_page(&human, &async |name: &str| {
        let spoken = human.run("return document.documentElement.lang").await;
        assert!(name.starts_with("demo-") || spoken == json!(language), "{name} is in {spoken}");
        let mut here = Vec::new();
        std::fs::write(folder.0.join(format!("{name}.html")), human.source().await).unwrap();
        here.extend(dead_ends(&human, name).await);
        human.client.execute(&axe, Vec::new()).await.unwrap();
        for look in looks {
            look.set(&human).await;
            for width in WIDTHS {
                human.narrow(width, 900);
                let (broken, axe) =
                    (human.run(BROKEN).await, human.client.execute_async(AXE, Vec::new()).await.unwrap());
                here.extend(lines(&broken).chain(lines(&axe)).map(|line| format!("at {width} px, {look:?}: {line}")));
            }
        }
        Look::Light.set(&human).await;
        human.narrow(1280, 900);
        here.extend(
            human
                .console()
                .into_iter()
                .filter(|line| line.contains("Content Security Policy") || line.contains("Content-Security-Policy")),
        );
        found.borrow_mut().extend(here.into_iter().map(|line| format!("{name} in {language} {line}")));
    })
    .await;
    human.close().await;
    let mut found = found.into_inner();
    found.extend(checked_by_nu(&folder.0));
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
}

/// What the Nu HTML checker says of the pages in a folder.
fn checked_by_nu(folder: &Path) -> Vec<String> {
    let pages = std::fs::read_dir(folder).unwrap().map(|page| page.unwrap().path());
    let mut checker = Command::new("java");
    checker.arg("-jar").arg(package("vnu-jar/build/dist/vnu.jar")).args(["--stdout", "--exit-zero-always"]).args(pages);
    let output = checker.output().unwrap_or_else(|error| panic!("no java: {error}; run tests/run browser"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
