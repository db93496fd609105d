//! The pictures in `docs/screenshots`, made by `tests/run screenshots`.

use std::{cell::RefCell, fmt::Write as _, path::Path};

use data_encoding::BASE64;
use serde_json::json;

use super::{browser::Browser, settings::Preferences, states::every_page};

const WIDTHS: [(u32, u32); 2] = [(390, 844), (1280, 800)];
const SCHEMES: [(&str, bool); 2] = [("light", false), ("dark", true)];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "tests/run screenshots runs it"]
async fn screenshots() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let folder = docs.join("screenshots");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let human = Browser::open().await;
    let names = RefCell::new(Vec::new());
    every_page(&human, &async |name: &str| {
        for (width, height) in WIDTHS {
            human.narrow(width, height);
            human.wakes_up_if_it_sleeps().await;
            for (scheme, dark) in SCHEMES {
                human.prefer(Preferences { dark, ..Preferences::default() });
                let whole = json!({ "format": "webp", "quality": 50, "captureBeyondViewport": true });
                let picture = human.devtools("Page.captureScreenshot", &whole);
                let picture = BASE64.decode(picture["data"].as_str().unwrap().as_bytes()).unwrap();
                std::fs::write(folder.join(format!("{name}-{width}-{scheme}.webp")), picture).unwrap();
            }
        }
        names.borrow_mut().push(name.to_owned());
    })
    .await;
    human.close().await;

    let mut list = String::from(
        "# The pages, in every state\n\n`tests/run screenshots` makes them from the demo. The browser tests check the same states.\n",
    );
    for name in names.into_inner() {
        writeln!(list, "\n## {}\n", name.replace('-', " ")).unwrap();
        for (width, _) in WIDTHS {
            let links =
                SCHEMES.map(|(scheme, _)| format!("[{width} px, {scheme}](screenshots/{name}-{width}-{scheme}.webp)"));
            writeln!(list, "{}", links.join(" · ")).unwrap();
        }
    }
    std::fs::write(docs.join("screenshots.md"), list).unwrap();
}
