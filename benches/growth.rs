//! What finding a session costs as sessions become many: in our store, and in maps that it might have been built on.
//!
//! ```text
//! cargo bench --bench growth              up to a million sessions
//! cargo bench --bench growth -- 10000000  up to so many: ten million need 16 GB
//! ```
//!
//! All maps hold the same sessions under the same digests and take a digest as its own hash. The table it prints is drawn
//! to `target/growth.svg`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a bench")]

#[path = "common/world.rs"]
mod world;

use std::{
    collections::HashMap,
    env,
    hash::{BuildHasherDefault, Hasher},
    hint::black_box,
    path::Path,
    sync::{Arc, RwLock},
    task::Poll,
    time::Instant,
};

use plotters::prelude::*;
use tower_agent_auth::{
    store::{
        MemoryStore, SessionStore,
        conformance::fixtures::{authorization, session_of},
    },
    types::{
        secret::{Access, Digest, Secret},
        session::Session,
    },
};

const LOOKUPS: usize = 200_000;
const ROUNDS: usize = 7;

type Found = Option<Arc<Session>>;

/// A digest is its own hash.
#[derive(Default)]
struct Own(u64);

impl Hasher for Own {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some((first, _)) = bytes.split_first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}
}

type Same = BuildHasherDefault<Own>;

/// Nanoseconds to find a session, take a reference and give it back: the median of rounds over all digests at random.
fn find(digests: &[Digest<Access>], find: impl Fn(&Digest<Access>) -> Found) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|round| {
            let mut at = round * 7_919;
            let begun = Instant::now();
            for _ in 0..LOOKUPS {
                at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                assert!(black_box(find(&digests[(at >> 20) % digests.len()])).is_some());
            }
            begun.elapsed().as_secs_f64() * 1e9 / LOOKUPS as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

/// Our own store with so many sessions.
fn ours(count: usize) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = MemoryStore::new();
    let digests: Vec<_> = runtime.block_on(world::sessions(&store, count)).iter().map(Secret::digest).collect();
    find(&digests, |digest| match store.try_find_session(digest) {
        Poll::Ready(found) => found,
        Poll::Pending => unreachable!("the memory store does not wait"),
    })
}

/// Every other map, with sessions that differ from ours in nothing but that their texts are shared.
fn others(count: usize) -> Vec<(&'static str, f64)> {
    let session = session_of(&authorization(), "acct_1").session.session;
    let sessions: Vec<(Digest<Access>, Arc<Session>)> =
        (0..count).map(|_| (world::token().digest(), Arc::new(Session::clone(&session)))).collect();
    let digests: Vec<_> = sessions.iter().map(|(digest, _)| *digest).collect();
    let each = || sessions.iter().map(|(digest, session)| (*digest, Arc::clone(session)));
    let mut costs = Vec::new();
    {
        let map: RwLock<HashMap<_, _, Same>> = RwLock::new(each().collect());
        costs.push(("RwLock<HashMap>", find(&digests, |digest| map.read().unwrap().get(digest).cloned())));
    }
    {
        let map: dashmap::DashMap<_, _, Same> = each().collect();
        costs.push(("dashmap", find(&digests, |digest| map.get(digest).map(|found| Arc::clone(&found)))));
    }
    {
        let map: papaya::HashMap<_, _, Same> = each().collect();
        costs.push(("papaya", find(&digests, |digest| map.pin().get(digest).cloned())));
    }
    {
        let map = quick_cache::sync::Cache::with(
            count * 2,
            count as u64 * 2,
            quick_cache::UnitWeighter,
            Same::default(),
            quick_cache::sync::DefaultLifecycle::default(),
        );
        each().for_each(|(digest, session)| map.insert(digest, session));
        costs.push(("quick_cache", find(&digests, |digest| map.get(digest))));
    }
    {
        let map = moka::sync::Cache::builder().max_capacity(count as u64 * 2).build_with_hasher(Same::default());
        each().for_each(|(digest, session)| map.insert(digest, session));
        costs.push(("moka", find(&digests, |digest| map.get(digest))));
    }
    costs
}

type Row = (usize, Vec<(&'static str, f64)>);

fn draw(rows: &[Row]) {
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/growth.svg");
    let root = SVGBackend::new(&out, (760, 440)).into_drawing_area();
    root.fill(&WHITE).unwrap();
    let most = rows.iter().flat_map(|(_, costs)| costs).map(|(_, ns)| *ns).fold(10.0, f64::max) * 1.3;
    let (first, last) = (rows[0].0 as f64, rows[rows.len() - 1].0 as f64);
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d((first..last * 1.05).log_scale(), (10.0..most).log_scale())
        .unwrap();
    let whole = |value: &f64| format!("{value:.0}");
    let (x, y) = ("sessions", "nanoseconds to find one");
    chart.configure_mesh().x_desc(x).y_desc(y).x_label_formatter(&whole).y_label_formatter(&whole).draw().unwrap();
    for (number, (name, _)) in rows[0].1.iter().enumerate() {
        let color = Palette99::pick(number).stroke_width(if number == 0 { 4 } else { 2 });
        let line = rows.iter().map(|(count, costs)| (*count as f64, costs[number].1));
        let drawn = chart.draw_series(LineSeries::new(line, color)).unwrap();
        drawn.label(*name).legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
    }
    let place = SeriesLabelPosition::UpperLeft;
    chart.configure_series_labels().position(place).background_style(WHITE).border_style(BLACK).draw().unwrap();
    root.present().unwrap();
}

fn main() {
    let most = env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let mut rows: Vec<Row> = Vec::new();
    for count in [1_000, 10_000, 100_000, 1_000_000, 10_000_000].into_iter().filter(|count| *count <= most) {
        let mut costs = vec![("tower-agent-auth", ours(count))];
        costs.extend(others(count));
        if rows.is_empty() {
            let names: String = costs.iter().map(|(name, _)| format!("{name:>18}")).collect();
            println!("{:>10}{names}", "sessions");
        }
        println!("{count:>10}{}", costs.iter().map(|(_, ns)| format!("{ns:>18.0}")).collect::<String>());
        rows.push((count, costs));
    }
    draw(&rows);
}
