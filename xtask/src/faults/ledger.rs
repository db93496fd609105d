//! The ledger: what was about to be asked and what was answered, on disk before anything else happens. It is what a
//! violation is argued from, and it is fsynced, so that it can't know less than the server did.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::http::Answer;
use crate::Outcome;

pub(crate) struct Ledger {
    lines: mpsc::Sender<Line>,
    path: PathBuf,
    next: AtomicUsize,
}

struct Line {
    text: String,
    written: oneshot::Sender<io::Result<()>>,
}

/// The number of an intent, which its outcome refers to.
#[derive(Clone, Copy)]
pub(crate) struct Entry(usize);

impl Ledger {
    pub(crate) fn create(path: &Path) -> Outcome<Self> {
        let file = File::create(path)?;
        let (lines, inbox) = mpsc::channel();
        thread::Builder::new().name("ledger".into()).spawn(move || keep(file, &inbox))?;
        Ok(Self { lines, path: path.to_owned(), next: AtomicUsize::new(1) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes what is about to be asked.
    pub(crate) async fn intend(&self, round: usize, label: &str, what: &str) -> Outcome<Entry> {
        let entry = Entry(self.next.fetch_add(1, Ordering::Relaxed));
        self.write(&json!({ "entry": entry.0, "round": round, "claim": label, "intent": what })).await?;
        Ok(entry)
    }

    /// Notes what came of it: a whole answer, or none.
    pub(crate) async fn settle(&self, entry: Entry, answer: &Outcome<Answer>) -> Outcome<()> {
        let line = match answer {
            Ok(answer) => json!({ "entry": entry.0, "status": answer.status, "answer": answer.json }),
            Err(failure) => json!({ "entry": entry.0, "lost": failure.to_string() }),
        };
        self.write(&line).await
    }

    async fn write(&self, line: &Value) -> Outcome<()> {
        let (written, waits) = oneshot::channel();
        self.lines.send(Line { text: format!("{line}\n"), written }).map_err(|_| "the ledger is closed")?;
        Ok(waits.await??)
    }
}

/// Writes lines until nobody can send any more. Those that wait together are synced together.
fn keep(mut file: File, inbox: &mpsc::Receiver<Line>) {
    while let Ok(first) = inbox.recv() {
        let batch: Vec<Line> = std::iter::once(first).chain(inbox.try_iter()).collect();
        let text: String = batch.iter().map(|line| line.text.as_str()).collect();
        let done = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        for line in batch {
            let copy = done.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string())).copied();
            // Who was interrupted no longer waits.
            let _ = line.written.send(copy);
        }
    }
}
