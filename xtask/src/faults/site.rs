//! A service under test: its processes, what its clients share, and the books that are kept about it.

use std::{path::Path, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::time::sleep;

use super::{
    check,
    claim::Claim,
    demo::Demo,
    leak::Secrets,
    ledger::Ledger,
    load::{Load, Records},
    node::{Fault, Node},
    pulse::Pulse,
    report::{Report, Rule},
    world::World,
};
use crate::{
    Outcome,
    output::{complain, say},
    servers::port,
};

/// A service that takes longer to serve again is a violation.
const READY: Duration = Duration::from_secs(5);

/// How long the load goes on when the service is right again.
const AFTER: Duration = Duration::from_millis(500);

pub(crate) struct Site {
    // Dropped in this order: processes before the files that they write.
    demos: Vec<Demo>,
    pub(crate) world: Arc<World>,
    /// What the clients of earlier rounds knew.
    archive: Records,
    directory: TempDir,
}

impl Site {
    /// Starts `processes` of the demo on one store. A `{}` in its name stands for a directory of the run.
    pub(crate) async fn open(binary: &Path, store: &str, processes: usize, report: Report) -> Outcome<Self> {
        Self::open_with(binary, store, processes, report, &[]).await
    }

    /// The same with variables in the environment of the processes.
    pub(crate) async fn open_with(
        binary: &Path,
        store: &str,
        processes: usize,
        report: Report,
        environment: &[(&'static str, String)],
    ) -> Outcome<Self> {
        let directory = tempfile::Builder::new().prefix("faults-").tempdir()?;
        let store = store.replace("{}", &directory.path().to_string_lossy());
        let ports: Vec<u16> = (0..processes).map(|_| port::free()).collect::<Result<_, _>>()?;
        let first = ports.first().ok_or("a site has a process")?;
        let origin = format!("http://127.0.0.1:{first}");
        let log = |port: &u16| directory.path().join(format!("server-{port}.log"));
        let mut demos: Vec<Demo> =
            ports.iter().map(|port| Demo::new(binary, *port, &store, &origin, &log(port))).collect();
        for demo in &mut demos {
            demo.environment.extend_from_slice(environment);
            demo.start().await?;
        }
        let ledger = Ledger::create(&directory.path().join("ledger"))?;
        let pulse = Pulse::start(&directory.path().join("pulse"))?;
        let nodes = ports.into_iter().map(|port| Arc::new(Node::new(port))).collect();
        let world = Arc::new(World { nodes, origin, ledger, report, secrets: Secrets::default(), pulse });
        Ok(Self { demos, world, archive: Records::default(), directory })
    }

    /// Kills one of the processes.
    pub(crate) async fn kill(&mut self, index: usize) -> Outcome<()> {
        self.world.nodes[index].begin(Fault::Gone);
        self.demos[index].kill().await
    }

    /// Starts it again, and expects everything of it from now on.
    pub(crate) async fn start_again(&mut self, index: usize) -> Outcome<()> {
        let time = self.demos[index].start().await?;
        self.world.report.took("ready again", time);
        if time > READY {
            self.world.report.violation(Rule::Late, format!("served after {time:?}, not within {READY:?}"));
        }
        self.world.nodes[index].comes();
        Ok(())
    }

    /// Lets the load go on with nothing forgiven, and ends the round. `checks` and `writes` are how long it took until
    /// they were right again.
    pub(crate) async fn check_after(&mut self, load: Load, checks: Duration, writes: Duration) -> Outcome<()> {
        let report = &self.world.report;
        report.took("token checks right again", checks);
        report.took("writes right again", writes);
        sleep(AFTER).await;
        let records = load.stop().await?;
        let count = records.len();
        report.tell(&format!("checks right again after {checks:?}, writes after {writes:?}; {count} claims to check"));
        self.check(records).await
    }

    /// Checks what the clients of a round know, and keeps it for the end. It skips that for a service that is not right
    /// again.
    pub(crate) async fn check(&mut self, records: Records) -> Outcome<()> {
        if self.is_late() {
            return Ok(());
        }
        let checked = check::after_fault(&self.world, records).await?;
        self.archive.extend(checked);
        self.check_logs()
    }

    /// Checks a single claim, and answers it with what is known now.
    pub(crate) async fn check_one(&mut self, claim: Claim) -> Outcome<Claim> {
        self.check_logs()?;
        let mut checked = check::after_fault(&self.world, vec![claim].into()).await?;
        checked.claims.pop().ok_or_else(|| "the claim is gone".into())
    }

    fn is_late(&self) -> bool {
        self.world.report.violations_of(Rule::Late) > 0
    }

    /// Hands out what was kept for the end, for a store that will have forgotten it by then.
    pub(crate) fn take_archive(&mut self) -> Records {
        std::mem::take(&mut self.archive)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the servers write to.
    pub(crate) fn logs(&self) -> impl Iterator<Item = &Path> {
        self.demos.iter().map(|demo| demo.log.path())
    }

    /// I7: no secret in what the servers wrote.
    pub(crate) fn check_logs(&mut self) -> Outcome<()> {
        for demo in &mut self.demos {
            let text = demo.log.news()?;
            if text.is_empty() {
                return Err("a server wrote no log, so that nothing could be looked for in it".into());
            }
            if let Some(head) = self.world.secrets.found_in(&text) {
                self.world.report.violation(Rule::Leaked, format!("the log has a secret that begins with {head}"));
            }
        }
        Ok(())
    }

    /// The last checks. Says how the run went, and answers whether nothing was violated.
    pub(crate) async fn close(self) -> Outcome<bool> {
        if !self.is_late() {
            check::at_the_end(&self.world, self.archive).await?;
        }
        let report = &self.world.report;
        say(&report.summary());
        if !self.world.fault_was_met() {
            return Err("no request met a fault, so that nothing was tested; make more rounds, or more clients".into());
        }
        if report.violations() == 0 {
            return Ok(true);
        }
        let (ledger, directory) = (self.world.ledger.path().to_owned(), self.directory);
        complain(&format!("the ledger is {}, and the logs are beside it", ledger.display()));
        let _ = directory.keep();
        Ok(false)
    }
}
