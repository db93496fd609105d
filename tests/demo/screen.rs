//! A program in a terminal, and what its human sees there.

use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use nix::{
    pty::{OpenptyResult, Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rqrr::PreparedImage;

/// How long something may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program whose stdin and stderr are a terminal, and stdout too unless it is to be read alone.
pub struct Screen {
    process: Child,
    keyboard: File,
    seen: Arc<Mutex<Vec<u8>>>,
}

/// The size of a terminal.
#[derive(Clone, Copy)]
pub struct Size {
    pub columns: u16,
    pub rows: u16,
}

pub const USUAL: Size = Size { columns: 100, rows: 50 };

impl Screen {
    /// Starts it where the language is `locale`, on a terminal that knows colours.
    pub fn start(command: &mut Command, size: Size, locale: &str, stdout: Option<Stdio>) -> Self {
        let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        let stream = || Stdio::from(slave.try_clone().unwrap());
        let process = command
            .env("LC_ALL", locale)
            .env("TERM", "xterm")
            .stdin(stream())
            .stderr(stream())
            .stdout(stdout.unwrap_or_else(stream))
            .spawn()
            .unwrap();
        // `command` has copies of the terminal: without them, the end of the program is the end of what is read.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut master = File::from(master);
        let keyboard = master.try_clone().unwrap();
        let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
        let shown = Arc::clone(&seen);
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            // Linux answers with an error when the other side is closed.
            while let Ok(length @ 1..) = master.read(&mut bytes) {
                shown.lock().unwrap().extend_from_slice(&bytes[..length]);
            }
        });
        Self { process, keyboard, seen }
    }

    /// All that is there by now.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).replace('\r', "")
    }

    /// Waits until `part` is there, and answers all that is.
    pub fn shows(&self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.seen();
            if seen.contains(part) {
                return seen;
            }
            assert!(Instant::now() < deadline, "no {part} in {seen}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    }

    /// Waits for its end. Answers its exit code, what was seen, and its stdout if that was piped.
    pub fn end(mut self) -> (Option<i32>, String, String) {
        let deadline = Instant::now() + PATIENCE;
        while self.process.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end: {}", self.seen());
            thread::sleep(Duration::from_millis(10));
        }
        let code = self.process.wait().unwrap().code();
        // What is still on its way.
        let mut before = usize::MAX;
        while before != self.seen.lock().unwrap().len() {
            before = self.seen.lock().unwrap().len();
            thread::sleep(Duration::from_millis(50));
        }
        let mut stdout = String::new();
        if let Some(mut pipe) = self.process.stdout.take() {
            pipe.read_to_string(&mut stdout).unwrap();
        }
        (code, self.seen(), stdout)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a camera reads from the QR code in a text, on a dark background.
pub fn qr_code(text: &str) -> Option<String> {
    const SCALE: usize = 4;
    let plain = text.replace("\u{1b}[97;40m", "").replace("\u{1b}[0m", "");
    let rows: Vec<Vec<char>> = plain
        .lines()
        .map(|line| line.chars().collect::<Vec<char>>())
        .filter(|line| line.len() > 20 && line.iter().all(|painted| " ▀▄█".contains(*painted)))
        .collect();
    let width = rows.first()?.len();
    assert!(rows.iter().all(|row| row.len() == width), "{text}");
    let is_dark = |x: usize, y: usize| match rows[y / 2][x] {
        '█' => false,
        '▀' => y % 2 == 1,
        '▄' => y % 2 == 0,
        _ => true,
    };
    let mut picture =
        PreparedImage::prepare_from_bitmap(width * SCALE, rows.len() * 2 * SCALE, |x, y| is_dark(x / SCALE, y / SCALE));
    let codes = picture.detect_grids();
    assert_eq!(codes.len(), 1, "{text}");
    Some(codes[0].decode().unwrap().1)
}
