//! The loopback callback for the human's browser (RFC 8252 section 7.3).
//!
//! Any program and any page on this machine can reach the port. So only a GET of the callback path is accepted, with
//! the right `Host` and with the parameters of this login. All other requests are refused, and the listener keeps
//! waiting.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::failure::{Exit, Failure};

const PATH: &str = "/callback";
const DONE: &str = "/done";
const LARGEST_HEAD: u64 = 16 * 1024;
/// What is said if the human did not decide in time.
pub(crate) const TOO_LATE: &str = "Nobody decided in time. Start again when your human is there.";
/// The timeout of one connection, so that an idle one does not stay open.
const CALL_TIME: Duration = Duration::from_secs(5);

pub(crate) struct Listener {
    listener: TcpListener,
    authority: String,
}

impl Listener {
    /// Listens on a free port, where only this machine reaches it. The host is not the service's own: a browser would send
    /// the service's cookies along, because cookies don't tell ports apart.
    pub(crate) fn bind(own_hosts: &[&str]) -> Result<Self, Failure> {
        let free = ["127.0.0.1", "localhost", "[::1]"].into_iter().find(|host| !own_hosts.contains(host));
        let host = free.ok_or("the service has every name of this machine")?;
        let address = if host == "[::1]" { host } else { "127.0.0.1" };
        let listener = TcpListener::bind(format!("{address}:0")).map_err(|error| format!("can't listen: {error}"))?;
        let authority = format!("{host}:{}", listener.local_addr()?.port());
        Ok(Self { listener, authority })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}{PATH}", self.authority)
    }

    /// Waits for the request that has all `expected` parameters and one of `answers`, and returns the name and the value
    /// of the latter. Meanwhile it calls `poll` every `interval`, whose error ends the wait: after a denial, no browser may
    /// come.
    pub(crate) fn wait(
        self,
        expected: &[(&str, &str)],
        answers: &'static [&'static str],
        deadline: Instant,
        interval: Duration,
        mut poll: impl FnMut() -> Result<(), Failure>,
    ) -> Result<(&'static str, String), Failure> {
        let expected: Vec<(String, String)> =
            expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (sender, receiver) = mpsc::channel();
        let Self { listener, authority } = self;
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (sender, authority, expected) = (sender.clone(), authority.clone(), expected.clone());
                // One thread for each connection, so that an idle one does not block the others.
                thread::spawn(move || {
                    if let Ok(Some(code)) = answer(&stream, &authority, &expected, answers) {
                        let _ = sender.send(code);
                    }
                });
            }
        });
        let code = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(left.min(interval)) {
                Ok(code) => break code,
                Err(_) if left > interval => poll()?,
                Err(_) => return Err(Failure::new(Exit::TooLate, TOO_LATE)),
            }
        };
        // Gives the browser time to follow the redirect from the callback to the final page.
        thread::sleep(Duration::from_millis(500));
        Ok(code)
    }
}

/// Responds to one request. Returns the name and the value of the answer if it is the expected callback.
fn answer(
    stream: &TcpStream,
    authority: &str,
    expected: &[(String, String)],
    answers: &'static [&'static str],
) -> io::Result<Option<(&'static str, String)>> {
    stream.set_read_timeout(Some(CALL_TIME))?;
    stream.set_write_timeout(Some(CALL_TIME))?;
    let (line, host) = read_head(stream)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // A different `Host` may be a DNS rebinding attack.
    if method != "GET" || host.as_deref() != Some(authority) {
        return reply(stream, "400 Bad Request", "", "This is not for you.").map(|()| None);
    }
    if path == DONE {
        return reply(stream, "200 OK", "", "Done. You can close this page and go back to your agent.").map(|()| None);
    }
    let parameters: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let one = |name: &str| {
        let mut values = parameters.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
        values.next().filter(|_| values.next().is_none())
    };
    let fits = path == PATH && expected.iter().all(|(name, value)| one(name) == Some(value));
    match answers.iter().find_map(|name| Some((*name, one(name)?.clone()))).filter(|_| fits) {
        // Redirect away from the URL with the code, so that it does not stay in the browser's history.
        Some(answer) => {
            // A browser may follow the redirect before it has read all of the reply. What it brought counts.
            let _ = reply(stream, "303 See Other", &format!("Location: {DONE}\r\n"), "");
            Ok(Some(answer))
        }
        None => reply(stream, "400 Bad Request", "", "This is not what your agent waits for.").map(|()| None),
    }
}

/// Reads the request line and the `Host`.
fn read_head(stream: &TcpStream) -> io::Result<(String, Option<String>)> {
    let mut lines = BufReader::new(stream.take(LARGEST_HEAD)).lines();
    let line = lines.next().transpose()?.unwrap_or_default();
    let mut host = None;
    for header in lines {
        let header = header?;
        if header.is_empty() {
            break;
        }
        match header.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("host") => host = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    Ok((line, host))
}

fn reply(mut stream: &TcpStream, status: &str, headers: &str, text: &str) -> io::Result<()> {
    let page = format!("<!doctype html><meta charset=\"utf-8\"><title>Agent</title><p>{text}</p>\n");
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}Content-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Content-Security-Policy: default-src 'none'\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{page}",
        page.len()
    )?;
    stream.flush()
}
