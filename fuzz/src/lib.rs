//! The bodies of the fuzz targets: each takes any bytes, and panics if a promise is broken.
//!
//! `cargo +nightly fuzz run NAME fuzz/corpus/NAME fuzz/seeds/NAME` runs one under libFuzzer. The smoke test in `tests/`
//! calls the same functions with the seeds, and with a few thousand inputs near them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a target fails by panicking")]

mod service;

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use tower_agent_auth::{
    AgentAuth, Config,
    challenge::Challenge,
    store::MemoryStore,
    types::{
        callback::Callback,
        redirect_uri::{RedirectUri, Schemes},
        text::HumanText,
    },
};
use url::Url;

use service::{Service, run, status_of};

/// A target by its name, for the smoke test.
pub type Target = fn(&[u8]);

/// Every target.
pub const TARGETS: [(&str, Target); 15] = [
    ("challenge", challenge),
    ("credentials", credentials),
    ("callback", callback),
    ("bodies", bodies),
    ("mcp", mcp),
    ("forwarded", forwarded),
    ("cookies", cookies),
    ("configuration", configuration),
    ("names", names),
    ("client_metadata", client_metadata),
    ("redirect", redirect),
    ("authorization", authorization),
    ("token", token),
    ("client_id", client_id),
    ("user_code", user_code),
];

/// `WWW-Authenticate`: what is read and can be written reads back as the same.
pub fn challenge(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let Ok(read) = Challenge::parse(text) else { return };
    assert!(!read.is_empty(), "a value without a challenge is an error");
    for challenge in read {
        if let Ok(written) = challenge.to_header() {
            assert_eq!(Challenge::parse(written.to_str().unwrap()), Ok(vec![challenge]));
        }
    }
}

/// `Authorization`, one line of the input each, at a guard whose store knows no session: refused, and never a failure.
pub fn credentials(input: &[u8]) {
    let mut request = Request::new(Full::<Bytes>::default());
    lines(input, "authorization", &mut request);
    let status = run(status_of(service::guarded(), request));
    assert!(matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED), "{status}");
}

/// A name, received or stored: any can be read and examined, and what is shown of it would be accepted.
pub fn names(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let shown = HumanText::from_stored(&text);
    assert_eq!(HumanText::new(shown.as_str()).as_ref(), Ok(&shown), "{text:?}");
    if let Ok(received) = HumanText::new(&text) {
        assert_eq!((received.as_str(), &received), (&*text, &shown));
    }
    let _ = (shown.looks_deceptive(), shown.claims_authority(), shown.imitates(&text));
}

/// A callback URL: what is taken is a loopback URL or one of the listed origin, as the `url` crate reads it too.
pub fn callback(input: &[u8]) {
    const LISTED: &str = "https://listed.example";
    let Ok(text) = str::from_utf8(input) else { return };
    let Ok(callback) = Callback::parse(text, &[LISTED.to_owned()]) else { return };
    assert_eq!(callback.as_str(), text);
    let url = Url::parse(text).unwrap_or_else(|error| panic!("{text} is no URL: {error}"));
    assert_eq!(url.as_str(), text, "a browser goes where the text says");
    assert_eq!((url.username(), url.password(), url.fragment()), ("", None, None), "{text}");
    if url.origin().ascii_serialization() != LISTED {
        assert_eq!(url.scheme(), "http", "{text}");
        assert!(matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost")), "{text}");
        assert!(url.port().is_some_and(|port| port >= 1_024), "{text}");
    }
    let value = "a b&c=%\u{e9}";
    let redirect = Url::parse(&callback.with(&[("state", value)])).unwrap();
    let states: Vec<String> =
        redirect.query_pairs().filter(|(name, _)| name == "state").map(|(_, value)| value.into_owned()).collect();
    assert_eq!(states, [value], "{redirect}");
    assert_eq!((redirect.origin(), redirect.path()), (url.origin(), url.path()), "{redirect}");
}

/// A body: the first byte chooses the endpoint, the second the media type. See [`Service::fill`] for what stands for a
/// live secret. The answer is never a failure.
pub fn bodies(input: &[u8]) {
    const TYPES: [&str; 4] =
        ["application/json", "application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8"];
    let [endpoint, media, body @ ..] = input else { return };
    Service::with(|service| {
        let paths = service.posts();
        let path = &paths[usize::from(*endpoint) % paths.len()];
        let request = Request::post(path)
            .header("content-type", TYPES[usize::from(*media) % TYPES.len()])
            .header("cookie", service.cookie())
            .header("origin", service::ORIGIN)
            .header("sec-fetch-site", "same-origin")
            .body(Full::new(service.fill(body).into()))
            .unwrap();
        let status = service.status(request);
        assert!(!status.is_server_error() && !status.is_informational(), "{status} from {path}");
    });
}

/// A POST to an MCP server: header lines, an empty line and a body. Nothing reaches the server but what it opens to the
/// agent: see [`Service::mcp`].
pub fn mcp(input: &[u8]) {
    let end = input.windows(2).position(|window| window == b"\n\n").unwrap_or(input.len());
    let (head, body) = (&input[..end], input.get(end + 2..).unwrap_or_default());
    Service::with(|service| {
        let mut request = Request::post("/mcp").body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        for line in head.split(|byte| *byte == b'\n') {
            let mut parts = line.splitn(2, |byte| *byte == b':');
            let name = parts.next().and_then(|name| HeaderName::from_bytes(name).ok());
            let value = parts.next().and_then(|value| HeaderValue::from_bytes(value.trim_ascii()).ok());
            if let (Some(name), Some(value)) = (name, value) {
                request.headers_mut().append(name, value);
            }
        }
        let status = service.mcp(request);
        assert!(!status.is_server_error(), "{status}");
        if status == service::REACHED {
            // What the guard skips may be more than another parser takes.
            let Ok(read) = serde_json::from_slice::<serde_json::Value>(body) else { return };
            for message in read.as_array().unwrap_or(&vec![read.clone()]) {
                let method = message["method"].as_str().unwrap_or_default();
                let is_open = method != "tools/call" || message["params"]["name"] == service::TOOL;
                assert!(is_open, "{message} reached the server");
            }
        }
    });
}

/// `X-Forwarded-For`, one line of the input each: a stranger is not believed, and a proxy not beyond what it says.
pub fn forwarded(input: &[u8]) {
    let text = String::from_utf8_lossy(input).into_owned();
    let said = |address: &IpAddr| {
        text.split(['\n', ',']).any(|hop| {
            let hop = hop.trim().trim_matches('"');
            let in_brackets = hop.strip_prefix('[').and_then(|rest| Some(rest.split_once(']')?.0));
            let before_port = hop.rsplit_once(':').map(|(address, _)| address);
            let readings = [Some(hop), in_brackets, before_port].into_iter().flatten();
            readings.filter_map(|text| text.parse::<IpAddr>().ok()).any(|hop| hop.to_canonical() == *address)
        })
    };
    Service::with(|service| {
        for (peer, trusted) in [("192.0.2.1", false), ("10.0.0.1", true)] {
            let peer: IpAddr = peer.parse().unwrap();
            let mut request = service.registration(peer);
            lines(input, "x-forwarded-for", &mut request);
            assert_eq!(service.status(request), StatusCode::CREATED);
            let seen = service.last_address().unwrap();
            assert!(seen == peer || trusted && said(&seen), "{seen} behind {peer}");
        }
    });
}

/// `Cookie`, one line of the input each, at the pages for humans: shown, refused or sent to sign in, and never a failure.
pub fn cookies(input: &[u8]) {
    Service::with(|service| {
        let filled = service.fill(input);
        for path in service.pages() {
            for method in [Method::GET, Method::POST] {
                let mut request = Request::new(Full::new(service.fill(b"csrf=<csrf>&decision=deny").into()));
                *request.method_mut() = method;
                *request.uri_mut() = path.parse().unwrap();
                for (name, value) in [
                    ("content-type", "application/x-www-form-urlencoded"),
                    ("origin", service::ORIGIN),
                    ("sec-fetch-site", "same-origin"),
                ] {
                    request.headers_mut().insert(name, HeaderValue::from_static(value));
                }
                lines(&filled, "cookie", &mut request);
                let status = service.status(request);
                assert!(!status.is_server_error(), "{status} from {path}");
            }
        }
    });
}

/// A configuration: an error or a service, whose documents are there and whose challenge can be read.
pub fn configuration(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    for config in [Config::from_toml(text), Config::from_json(text)].into_iter().flatten() {
        let named = config.protected_resource_metadata_url();
        // Whether a name of this kind is a good one is the business of whoever resolves it.
        let is_encoded = |url: &str| url.contains("xn--");
        if is_encoded(config.issuer()) || config.resources().iter().any(|resource| is_encoded(resource.id())) {
            continue;
        }
        let metadata = Url::parse(&named).unwrap_or_else(|error| panic!("{named} is no URL: {error}"));
        assert_eq!(metadata.as_str(), named, "an identifier has one spelling");
        let auth = AgentAuth::builder(config).checks_only(MemoryStore::new()).build();
        let Ok(auth) = auth else { continue };
        let own = [auth.config().issuer(), auth.config().resource()].map(|url| Url::parse(url).unwrap().origin());
        for resource in auth.config().resources() {
            let id = resource.id();
            let found = [auth.config().find_resource(id), auth.config().resource_of(id)];
            assert!(found.iter().all(|found| found.is_some_and(|found| found.id() == id)), "{id}: {found:?}");
            // A resource of another origin has its document at its own service.
            let url = Url::parse(&resource.protected_resource_metadata_url()).unwrap();
            if own.contains(&url.origin()) {
                let mut request = Request::new(Full::<Bytes>::default());
                *request.uri_mut() = auth.config().arriving_path(url.path()).parse().unwrap();
                assert_eq!(run(status_of(service::documents(&auth), request)), StatusCode::OK, "{url}");
            }
        }
        let challenge = run(service::challenge(&auth));
        let read = Challenge::parse(&challenge).unwrap();
        assert_eq!(read[0].parameter("resource_metadata"), Some(metadata.as_str()), "{challenge}");
    }
}

/// A client metadata document: refused, or taken, and then it says what the service uses of it.
pub fn client_metadata(input: &[u8]) {
    const REDIRECT: &str = "http://127.0.0.1:43123/callback";
    let status = service::identify(input, REDIRECT);
    assert!(matches!(status, StatusCode::BAD_REQUEST | StatusCode::SEE_OTHER), "{status}");
    if status == StatusCode::SEE_OTHER {
        // A value that is ignored may be one that this parser does not take, such as a number that is too large.
        let text = str::from_utf8(input).unwrap();
        let Ok(document) = serde_json::from_str::<serde_json::Value>(text) else { return };
        assert_eq!(document["client_id"], service::CLIENT);
        assert!(document["client_secret"].is_null() && document["client_name"].is_string());
        let mut uris = document["redirect_uris"].as_array().unwrap().iter().filter_map(|uri| uri.as_str());
        let without_port = |uri: &str| uri.starts_with("http://127.0.0.1") && uri.ends_with("/callback");
        assert!(uris.any(without_port), "{document}");
    }
}

/// A registered redirect URI in the first line, a requested one in the second: what is taken and what matches is what the
/// `url` crate reads too.
pub fn redirect(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let (registered, requested) = text.split_once('\n').unwrap_or((text, text));
    let Ok(uri) = RedirectUri::parse(registered, Schemes::AndPrivateUse) else { return };
    assert_eq!(uri.as_str(), registered);
    assert!(uri.matches(registered));
    let is_web = matches!(uri.scheme(), "http" | "https");
    assert_eq!(RedirectUri::parse(registered, Schemes::Web).is_ok(), is_web, "{registered}");
    if !is_web {
        assert_eq!(uri.matches(requested), registered == requested, "{registered} {requested}");
        return;
    }
    let url = Url::parse(registered).unwrap_or_else(|error| panic!("{registered} is no URL: {error}"));
    assert_eq!((url.username(), url.password(), url.fragment()), ("", None, None), "{registered}");
    // Whether a name of this kind is a good one is the business of whoever resolves it.
    if !registered.contains("xn--") {
        assert_eq!(url.host_str(), uri.host(), "{registered}");
    }
    assert!(url.scheme() == "https" || uri.is_loopback(), "{registered}");
    let value = "a b&c=%\u{e9}";
    let sent_to = Url::parse(&uri.with(&[("code", value)])).unwrap();
    let codes: Vec<String> =
        sent_to.query_pairs().filter(|(name, _)| name == "code").map(|(_, value)| value.into_owned()).collect();
    assert_eq!(codes, [value], "{sent_to}");
    assert_eq!((sent_to.origin(), sent_to.path()), (url.origin(), url.path()), "{sent_to}");
    if uri.matches(requested) && registered != requested {
        assert!(uri.is_loopback(), "{registered} {requested}");
        let mut other = Url::parse(requested).unwrap_or_else(|error| panic!("{requested} is no URL: {error}"));
        other.set_port(url.port()).unwrap();
        assert_eq!(other, url, "{registered} {requested}");
    }
}

/// The query of an authorization request, with a live client where it says `<client>`: a page, or an answer to that
/// client alone.
pub fn authorization(input: &[u8]) {
    reaches_approval(input);
}

/// Whether the human is asked.
pub fn reaches_approval(input: &[u8]) -> bool {
    Service::with(|service| {
        let query = service.fill(input);
        let Some((status, location)) = service.authorize(&query) else { return false };
        let Some(location) = location else {
            assert_eq!(status, StatusCode::BAD_REQUEST);
            return false;
        };
        // Whoever writes an id of their own is sent where it says. See `client_id`.
        let client =
            form_urlencoded::parse(&query).find(|(name, _)| name == "client_id").map(|(_, id)| id.into_owned());
        let asked = location.starts_with("/oauth2/authorize/reg_");
        if client.as_deref() != service.secret("<client>") || asked {
            return asked;
        }
        let [loopback, web] = service::REDIRECTS;
        let loopback = RedirectUri::parse(loopback, Schemes::Web).unwrap();
        let at_loopback = loopback.matches(location.split('?').next().unwrap());
        assert!(at_loopback || location.starts_with(&format!("{web}&")), "{location}");
        false
    })
}

/// The form of a token request, with live secrets where it names them: never a failure, and a token only for what has all
/// that belongs together.
pub fn token(input: &[u8]) {
    gives_token(input);
}

/// Whether a token is given.
pub fn gives_token(input: &[u8]) -> bool {
    Service::with(|service| {
        let form = service.fill(input);
        let (status, answer) = service.token(&form);
        assert!(!status.is_server_error() && !status.is_informational(), "{status}");
        if status == StatusCode::OK {
            let has = |name: &str| service.secret(name).is_some_and(|secret| contains(&form, secret.as_bytes()));
            let by_client = has("<client>") && (has("<code>") || has("<oauth_refresh>"));
            assert!(by_client || has("<assertion>") || has("<unclaimed_assertion>"), "{answer}");
        } else {
            assert!(answer["access_token"].is_null() && answer["error"].is_string(), "{answer}");
        }
        status == StatusCode::OK
    })
}

/// The metadata inside the id of a client that registered itself: unknown, or a browser is sent only where it says, by
/// the rules for redirect URIs.
pub fn client_id(input: &[u8]) {
    is_client(input);
}

/// Whether there is such a client, which waits at the place of the request.
pub fn is_client(input: &[u8]) -> bool {
    const URI: &str = "https://app.example.com/callback";
    let id = format!("dyn_{}", data_encoding::BASE64URL_NOPAD.encode(input));
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("client_id", &id)
        .append_pair("redirect_uri", URI)
        .append_pair("prompt", "none")
        .finish();
    Service::with(|service| {
        let Some((status, location)) = service.authorize(query.as_bytes()) else { return false };
        let Some(location) = location else {
            assert_eq!(status, StatusCode::BAD_REQUEST);
            return false;
        };
        assert!(location.starts_with(&format!("{URI}?error=")), "{location}");
        let metadata: serde_json::Value = serde_json::from_slice(input).unwrap();
        let uris: Vec<&str> = metadata["r"].as_array().unwrap().iter().map(|uri| uri.as_str().unwrap()).collect();
        assert!(uris.contains(&URI), "{metadata}");
        assert!(uris.iter().all(|uri| RedirectUri::parse(uri, Schemes::Web).is_ok()), "{metadata}");
        assert!(HumanText::new(metadata["n"].as_str().unwrap()).is_ok(), "{metadata}");
        true
    })
}

/// A code that a human types, with the live one where it says `<user_code>`: found by its letters alone, and never a
/// failure.
pub fn user_code(input: &[u8]) {
    is_user_code(input);
}

/// Whether a device waits with this code.
pub fn is_user_code(input: &[u8]) -> bool {
    Service::with(|service| {
        let typed = service.fill(input);
        let status = service.type_code(&typed);
        let letters = |text: &[u8]| -> String {
            let text = String::from_utf8_lossy(text);
            text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect::<String>().to_ascii_uppercase()
        };
        let live = service.secret("<user_code>").map(|code| letters(code.as_bytes()));
        match status {
            StatusCode::SEE_OTHER => assert_eq!(Some(letters(&typed)), live),
            StatusCode::NOT_FOUND => {
                assert!(Some(letters(&typed)) != live || String::from_utf8_lossy(&typed).chars().count() > 64);
            }
            StatusCode::PAYLOAD_TOO_LARGE => assert!(typed.len() > 1_024),
            other => panic!("{other}"),
        }
        status == StatusCode::SEE_OTHER
    })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    let decoded: Vec<u8> =
        form_urlencoded::parse(text).flat_map(|(_, value)| value.into_owned().into_bytes()).collect();
    decoded.windows(part.len()).any(|window| window == part)
}

/// Adds each line as a header of that name, unless no header may hold it.
fn lines<B>(input: &[u8], name: &'static str, request: &mut Request<B>) {
    for line in input.split(|byte| *byte == b'\n').take(8) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            request.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
}
