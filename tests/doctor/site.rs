//! A service of the tests: it answers each request from a table, so that a fault is a changed row.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

pub(crate) const PRM: &str = "/.well-known/oauth-protected-resource/mcp";
pub(crate) const PRM_ROOT: &str = "/.well-known/oauth-protected-resource";
pub(crate) const AS: &str = "/.well-known/oauth-authorization-server";
pub(crate) const OPENID: &str = "/.well-known/openid-configuration";

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) hangs: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, media_type: &str, body: &str) -> Self {
        let headers = vec![("content-type".to_owned(), media_type.to_owned())];
        Self { status, headers, body: body.as_bytes().to_vec(), hangs: false }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", &body.to_string())
    }

    /// It never comes.
    pub(crate) fn hanging() -> Self {
        Self { hangs: true, ..Self::new(200, "", "") }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// One more header line of this name.
    pub(crate) fn and(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    fn public(self) -> Self {
        self.with("access-control-allow-origin", "*").with("cache-control", "public, max-age=300")
    }
}

/// The answers of a service: by `METHOD /path`, with `TOKEN /path` for a request that has a token.
pub(crate) struct Routes {
    pub(crate) base: String,
    rows: BTreeMap<String, Reply>,
    pub(crate) fallback: Reply,
    not_allowed: Reply,
}

impl Routes {
    pub(crate) fn set(&mut self, key: &str, reply: Reply) {
        self.rows.insert(key.to_owned(), reply);
    }

    pub(crate) fn get(&self, key: &str) -> Reply {
        self.rows.get(key).unwrap_or_else(|| panic!("no {key}")).clone()
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.rows.remove(key).unwrap_or_else(|| panic!("no {key}"));
    }

    /// Answers at another path.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        let reply = self.get(from);
        self.remove(from);
        self.set(to, reply);
    }

    pub(crate) fn change(&mut self, key: &str, change: impl FnOnce(Reply) -> Reply) {
        let reply = change(self.get(key));
        self.set(key, reply);
    }

    fn change_json(&mut self, path: &str, change: impl Fn(&mut Value)) {
        self.change(&format!("GET {path}"), |reply| {
            let mut document = serde_json::from_slice(&reply.body).unwrap();
            change(&mut document);
            Reply { body: document.to_string().into_bytes(), ..reply }
        });
    }

    /// Changes the protected resource metadata, at both places.
    pub(crate) fn resource(&mut self, change: impl Fn(&mut Value)) {
        [PRM, PRM_ROOT].into_iter().for_each(|path| self.change_json(path, &change));
    }

    pub(crate) fn resource_at(&mut self, path: &str, change: impl Fn(&mut Value)) {
        self.change_json(path, change);
    }

    /// Changes the authorization server metadata, at both places.
    pub(crate) fn server(&mut self, change: impl Fn(&mut Value)) {
        [AS, OPENID].into_iter().for_each(|path| self.change_json(path, &change));
    }

    pub(crate) fn server_at(&mut self, path: &str, change: impl Fn(&mut Value)) {
        self.change_json(path, change);
    }

    pub(crate) fn auth_md(&mut self, change: impl FnOnce(String) -> String) {
        self.change("GET /auth.md", |reply| {
            let body = change(String::from_utf8(reply.body.clone()).unwrap()).into_bytes();
            Reply { body, ..reply }
        });
    }

    /// Changes the refusal of a request without a token, for all methods.
    pub(crate) fn refusal(&mut self, change: impl Fn(Reply) -> Reply) {
        ["GET /mcp", "POST /mcp"].into_iter().for_each(|key| self.change(key, &change));
    }

    /// Replaces the challenge to a request without a token.
    pub(crate) fn challenge(&mut self, value: &str) {
        self.refusal(|reply| reply.with("www-authenticate", value));
    }

    /// A service that does all right.
    fn good(base: String) -> Self {
        let mut site = Self::nothing(base.clone());
        let url = |path: &str| format!("{base}{path}");
        let error = |code: &str| json!({ "error": code, "error_description": code, "message": code });
        let metadata = url(PRM);
        let refusal = Reply::json(401, &error("unauthorized"))
            .with("access-control-allow-origin", "*")
            .with("access-control-expose-headers", "WWW-Authenticate");
        let challenge = format!("Bearer resource_metadata=\"{metadata}\", scope=\"notes:read\"");
        site.set("GET /mcp", refusal.clone().with("www-authenticate", &challenge));
        site.set("POST /mcp", refusal.clone().with("www-authenticate", &challenge));
        let challenge = format!("{challenge}, error=\"invalid_token\"");
        site.set("TOKEN /mcp", refusal.with("www-authenticate", &challenge));
        let preflight = Reply::new(204, "text/plain", "").with("access-control-allow-origin", "*");
        site.set("OPTIONS /mcp", preflight.clone());
        site.set("OPTIONS /token", preflight);

        let resource = json!({
            "resource": url("/mcp"),
            "authorization_servers": [base],
            "scopes_supported": ["notes:read", "notes:write"],
            "bearer_methods_supported": ["header"],
        });
        [PRM, PRM_ROOT]
            .into_iter()
            .for_each(|path| site.set(&format!("GET {path}"), Reply::json(200, &resource).public()));
        let server = json!({
            "issuer": base,
            "authorization_endpoint": url("/authorize"),
            "token_endpoint": url("/token"),
            "registration_endpoint": url("/register"),
            "revocation_endpoint": url("/revoke"),
            "introspection_endpoint": url("/introspect"),
            "device_authorization_endpoint": url("/device"),
            "jwks_uri": url("/keys"),
            "scopes_supported": ["notes:read", "notes:write"],
            "response_types_supported": ["code"],
            "grant_types_supported":
                ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:jwt-bearer"],
            "token_endpoint_auth_methods_supported": ["none"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "client_id_metadata_document_supported": true,
            "agent_auth": {
                "skill": url("/auth.md"),
                "register_uri": url("/agent/auth"),
                "claim_uri": url("/agent/auth/claim"),
                "identity_endpoint": url("/agent/identity"),
                "claim_endpoint": url("/agent/identity/claim"),
                "events_endpoint": url("/agent/event/notify"),
                "events_supported": ["https://schemas.workos.com/events/agent/auth/identity/assertion/revoked"],
                "revocation_url": url("/revoke"),
                "supported_identity_types": ["anonymous", "identity_assertion"],
                "identity_types_supported": ["anonymous", "identity_assertion"],
                "anonymous": { "credential_types_supported": ["access_token"] },
                "identity_assertion": {
                    "assertion_types_supported": ["urn:ietf:params:oauth:token-type:id-jag"],
                    "credential_types_supported": ["access_token"],
                },
            },
        });
        [AS, OPENID].into_iter().for_each(|path| site.set(&format!("GET {path}"), Reply::json(200, &server).public()));
        site.set("GET /authorize", Reply::new(400, "text/html", "<!doctype html><title>No client</title>"));
        site.set("GET /keys", Reply::json(200, &json!({ "keys": [] })));
        for path in ["/token", "/revoke", "/device", "/agent/auth", "/agent/auth/claim", "/agent/identity"] {
            site.set(&format!("POST {path}"), Reply::json(400, &error("invalid_request")));
        }
        site.set("POST /register", Reply::json(400, &error("invalid_client_metadata")));
        site.set("POST /introspect", Reply::json(401, &error("invalid_client")));
        site.set("POST /agent/identity/claim", Reply::json(400, &error("invalid_request")));
        site.set("POST /agent/event/notify", Reply::json(400, &json!({ "err": "invalid_request" })));
        site.set("GET /docs", Reply::new(200, "text/html", "<!doctype html><title>Documentation</title>"));
        let text = [
            "```sh\n# not the heading\n```\n\n# auth.md: how an agent gets access to Notes\n\n",
            &format!("POST `{base}/agent/identity`, or {base}/agent/auth in the old way. Show `{base}/approve/…`.\n"),
            &format!("Then POST {base}/agent/identity/claim, or <{base}/agent/auth/claim>. See {base}/docs.\n"),
        ]
        .concat();
        site.set("GET /auth.md", Reply::new(200, "text/markdown; charset=utf-8", &text).public());
        site
    }

    fn nothing(base: String) -> Self {
        let not_allowed = Reply::json(405, &json!({ "error": "not_allowed" }));
        Self { base, rows: BTreeMap::new(), fallback: Reply::json(404, &json!({ "error": "not_found" })), not_allowed }
    }

    fn reply(&self, head: &str) -> &Reply {
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let row = |method: &str| self.rows.get(&format!("{method} {path}"));
        let has_token = head.to_ascii_lowercase().contains("\nauthorization:");
        let token = has_token.then(|| row("TOKEN")).flatten();
        let get = (method == "HEAD").then(|| row("GET")).flatten();
        // A router knows which methods a path has (RFC 9110 section 15.5.6).
        let other = (method == "OPTIONS").then(|| row("POST")).flatten().map(|_| &self.not_allowed);
        token.or_else(|| row(method)).or(get).or(other).unwrap_or(&self.fallback)
    }
}

/// A service that listens.
pub(crate) struct Site {
    pub(crate) base: String,
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl Site {
    /// A service that does all right, changed by `plant`.
    pub(crate) fn start(plant: impl Fn(&mut Routes)) -> Self {
        Self::serve(Routes::good, plant)
    }

    /// A service that has nothing, changed by `plant`.
    pub(crate) fn empty(plant: impl Fn(&mut Routes)) -> Self {
        Self::serve(Routes::nothing, plant)
    }

    fn serve(make: impl FnOnce(String) -> Routes, plant: impl Fn(&mut Routes)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let mut routes = make(base.clone());
        plant(&mut routes);
        let (routes, seen) = (Arc::new(routes), Arc::new(Mutex::new(Vec::new())));
        let site = Self { base, seen: Arc::clone(&seen) };
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (routes, seen) = (Arc::clone(&routes), Arc::clone(&seen));
                thread::spawn(move || {
                    let (head, body) = request(&mut stream);
                    let reply = routes.reply(&head);
                    send(&mut stream, reply, head.starts_with("HEAD "));
                    seen.lock().unwrap().push((head, body));
                });
            }
        });
        site
    }

    pub(crate) fn target(&self) -> String {
        format!("{}/mcp", self.base)
    }

    /// The requests so far: head and body.
    pub(crate) fn seen(&self) -> Vec<(String, String)> {
        self.seen.lock().unwrap().clone()
    }
}

/// Reads a request: its head and its body.
pub(crate) fn request(stream: &mut TcpStream) -> (String, String) {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut piece).unwrap_or(0);
        bytes.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_ascii_lowercase()
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return (head.to_owned(), body.to_owned());
            }
        }
        if read == 0 {
            return (text, String::new());
        }
    }
}

fn send(stream: &mut TcpStream, reply: &Reply, is_head: bool) {
    if reply.hangs {
        thread::sleep(Duration::from_secs(60));
        return;
    }
    let mut head = format!("HTTP/1.1 {} Status\r\nconnection: close\r\n", reply.status);
    if reply.status != 204 {
        head.push_str(&format!("content-length: {}\r\n", reply.body.len()));
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = if is_head || reply.status == 204 { &[][..] } else { &reply.body };
    let _ = stream.write_all(&[head.as_bytes(), b"\r\n", body].concat());
}

/// A gzip member (RFC 1952) with one block that is not compressed (RFC 1951 section 3.2.4).
pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    packed.extend([length.to_le_bytes(), (!length).to_le_bytes()].concat());
    packed.extend_from_slice(data);
    packed.extend(crc32fast::hash(data).to_le_bytes());
    packed.extend(u32::from(length).to_le_bytes());
    packed
}
