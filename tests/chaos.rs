//! Three instances, their database and the service that they call come to harm at random, under load: they are killed,
//! and instances are also frozen past their lease, or cut off from the database.
//!
//! `HMS_ACT_TEST_HARMS` says how often (`make chaos`: 200). Everything random follows from a seed, which is printed;
//! `HMS_ACT_TEST_SEED` repeats it.

use crate::kill::{check_log, keys};
use crate::support::client::{Caller, GUARD};
use crate::support::link::Link;
use crate::support::postgres::{ScratchDir, TestCluster};
use crate::support::process::{Setup, TestProcess};
use crate::support::server::seats;
use crate::support::service::TestService;
use crate::waits::{number, publish, until};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const INSTANCES: usize = 3;
/// Runs that are started in each round.
const STARTS: usize = 12;
/// In a round there are at most so many harms.
const MOST: usize = 3;

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}: {value:?} is no number")))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Harm {
    KillDatabase,
    KillService,
    KillInstance,
    /// It stands still until its lease has run out.
    Freeze,
    /// Nothing gets through between it and the database, for a while or until its lease has run out.
    Cut,
}

impl Harm {
    /// What is dealt, shuffled, again and again: so often in the mean, and no kind is left out for long.
    const DECK: [Harm; 8] = [
        Harm::KillDatabase,
        Harm::KillService,
        Harm::KillInstance,
        Harm::KillInstance,
        Harm::Freeze,
        Harm::Freeze,
        Harm::Cut,
        Harm::Cut,
    ];

    fn kind(self) -> &'static str {
        match self {
            Harm::KillDatabase => "database killed",
            Harm::KillService => "service killed",
            Harm::KillInstance => "instance killed",
            Harm::Freeze => "instance frozen",
            Harm::Cut => "instance cut off",
        }
    }
}

/// What happens in each round. A round ends with the deck at the latest: the database dies once in it.
fn plan(seed: u64, mut harms: usize) -> Vec<Vec<Harm>> {
    let (mut random, mut rounds) = (StdRng::seed_from_u64(seed), Vec::new());
    while harms > 0 {
        let mut deck = Harm::DECK;
        deck.shuffle(&mut random);
        let mut dealt = &deck[..harms.min(deck.len())];
        harms -= dealt.len();
        while !dealt.is_empty() {
            let (round, rest) = dealt.split_at(random.random_range(1..=MOST.min(dealt.len())));
            rounds.push(round.to_vec());
            dealt = rest;
        }
    }
    rounds
}

/// A harm as it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Blow {
    /// After so many answers.
    after: usize,
    harm: Harm,
    /// The instance, where it is one.
    instance: usize,
}

/// What is asked under load.
#[derive(Debug, Clone)]
enum Ask {
    Start { key: String },
    Decide { run: i64, approval: i64 },
}

impl Ask {
    async fn send(&self, by: &Caller, protocol: i64) -> Option<reqwest::Response> {
        let request = match self {
            Ask::Start { key } => by
                .request(Method::POST, "/acts/run")
                .header("idempotency-key", key)
                .json(&json!({"protocol_id": protocol, "payload": {"key": key}})),
            Ask::Decide { approval, .. } => by
                .request(Method::POST, &format!("/acts/approvals/{approval}/decision"))
                .json(&json!({"decision": "approve"})),
        };
        request.send().await.ok()
    }
}

struct Trial {
    seed: u64,
    /// Sown anew for each round: what a round does depends on its number and the seed alone.
    random: StdRng,
    server: TestCluster,
    service: TestService,
    setups: Vec<Setup>,
    links: Vec<Link>,
    _scratch: Vec<ScratchDir>,
    /// None: killed.
    instances: Vec<Option<TestProcess>>,
    protocol: i64,
    /// Every run that was asked for, by the key that it was asked for under.
    runs: BTreeMap<String, i64>,
    /// Runs that wait for a decision, with the approval.
    waiting: BTreeMap<i64, i64>,
    /// Approvals whose decision was acknowledged.
    decided: BTreeSet<i64>,
    harms: BTreeMap<&'static str, usize>,
    resumed: usize,
}

impl Trial {
    async fn start(seed: u64) -> Trial {
        let (server, service) = (TestCluster::start(), TestService::start());
        service.open();
        let (mut scratch, mut links, mut setups) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..INSTANCES {
            let (directory, link) = (ScratchDir::new(), Link::to(&server.url()).await);
            setups.push(Setup {
                data_dir: directory.path().to_owned(),
                // For its users alone: one of the instances makes them.
                demo: index == 0,
                database: Some((link.url(), server.owner_url())),
                allow_hosts: service.address().to_owned(),
            });
            scratch.push(directory);
            links.push(link);
        }
        let instances: Vec<_> = setups.iter().map(|setup| Some(TestProcess::start(setup))).collect();
        let mut trial = Trial {
            seed,
            random: StdRng::seed_from_u64(seed),
            server,
            service,
            setups,
            links,
            _scratch: scratch,
            instances,
            protocol: 0,
            runs: BTreeMap::new(),
            waiting: BTreeMap::new(),
            decided: BTreeSet::new(),
            harms: BTreeMap::new(),
            resumed: 0,
        };
        let admin = trial.caller("admin");
        let config = json!({"method": "POST", "url": trial.service.url()});
        admin
            .post("/acts/actions", json!({"name": "call", "kind": "http", "config": config}))
            .await
            .expect(201);
        let retry =
            json!({"attempts": 100, "backoff_seconds": 0.2, "backoff_factor": 1.5, "max_backoff_seconds": 2});
        let definition = json!({"tasks": [
            {"id": "before", "type": "script", "uses": "compute"},
            {"id": "call", "type": "script", "retry": retry},
            {"id": "approve", "type": "hitl"},
            {"id": "publish", "type": "script", "uses": "call", "retry": retry},
            {"id": "after", "type": "script", "uses": "compute"},
        ]});
        trial.protocol = publish(&admin, "Trial", definition).await;
        trial
    }

    /// Somebody who calls one of the instances.
    fn caller(&mut self, user: &str) -> Caller {
        let index = self.random.random_range(0..INSTANCES);
        self.instance(index).user(user)
    }

    fn instance(&self, index: usize) -> &TestProcess {
        self.instances[index].as_ref().expect("it lives")
    }

    /// When what happens in this round happens, and to which instance: to each one thing.
    fn blows(&mut self, harms: Vec<Harm>, asked: usize) -> Vec<Blow> {
        let mut instances: Vec<usize> = (0..INSTANCES).collect();
        instances.shuffle(&mut self.random);
        let chosen = harms.into_iter().zip(instances);
        let mut blows: Vec<_> = chosen
            .map(|(harm, instance)| Blow { after: self.random.random_range(0..asked), harm, instance })
            .collect();
        blows.sort();
        blows
    }

    async fn harm(&mut self, Blow { harm, instance, .. }: Blow) {
        *self.harms.entry(harm.kind()).or_default() += 1;
        match harm {
            Harm::KillDatabase => self.server.kill(),
            Harm::KillService => self.service.kill().await,
            Harm::KillInstance => self.instances[instance].take().expect("it lives").kill9(),
            Harm::Freeze => self.instance(instance).freeze(),
            Harm::Cut => self.links[instance].cut(),
        }
    }

    fn mend(&mut self, Blow { harm, instance, .. }: Blow) {
        match harm {
            Harm::KillDatabase => self.server.restart(),
            Harm::KillService => self.service.restart(),
            Harm::KillInstance => {
                self.instances[instance] = Some(TestProcess::start(&self.setups[instance]));
            }
            Harm::Freeze => {
                self.outlast_its_lease(instance);
                self.instances[instance].as_mut().expect("it lives").thaw();
            }
            Harm::Cut => {
                if self.random.random() {
                    self.outlast_its_lease(instance);
                }
                self.links[instance].heal();
            }
        }
    }

    /// Returns when an instance has not been heard of for longer than its lease: just when the others take it for dead,
    /// or when they have taken over its work.
    fn outlast_its_lease(&mut self, instance: usize) {
        let seconds = self.random.random_range(5..10);
        let fresh = format!(
            "SELECT count(*) AS it FROM instances WHERE label LIKE '%:{}/instances'
             AND heartbeat_at > clock_timestamp() - make_interval(secs => {seconds})",
            self.setups[instance].data_dir.display()
        );
        until(&mut self.server.connect(), &fresh, 0);
    }

    /// Starts runs and approves what waits, while some come to harm; then all is mended, and all is checked.
    async fn round(&mut self, round: usize, harms: Vec<Harm>) {
        self.random = StdRng::seed_from_u64(self.seed.wrapping_add(round as u64));
        let starts = (0..STARTS).map(|n| Ask::Start { key: format!("{round}-{n}") });
        let decisions = std::mem::take(&mut self.waiting).into_iter();
        let decisions = decisions.map(|(run, approval)| Ask::Decide { run, approval });
        let mut asks: Vec<Ask> = starts.chain(decisions).collect();
        asks.shuffle(&mut self.random);
        let blows = self.blows(harms, asks.len());
        println!("round {round}: {blows:?}");
        let approved: Vec<i64> = asks
            .iter()
            .filter_map(|ask| if let Ask::Decide { run, .. } = ask { Some(*run) } else { None })
            .collect();
        let unanswered = self.harm_while_busy(asks, blows).await;
        join_all(self.instances.iter().flatten().map(TestProcess::ready)).await;
        self.ask_again(unanswered).await;
        self.check_decisions().await;
        let started: Vec<i64> = (0..STARTS).map(|n| self.runs[&format!("{round}-{n}")]).collect();
        self.progress(&started, &approved).await;
        self.check(&approved).await;
    }

    /// Gives back what was not acknowledged.
    async fn harm_while_busy(&mut self, asks: Vec<Ask>, blows: Vec<Blow>) -> Vec<Ask> {
        let protocol = self.protocol;
        let mut asked = FuturesUnordered::new();
        let mut open = [0; INSTANCES];
        for ask in asks {
            let index = self.random.random_range(0..INSTANCES);
            let user = if matches!(ask, Ask::Start { .. }) { "staff" } else { "supervisor" };
            let by = self.instance(index).user(user);
            open[index] += 1;
            asked.push(async move {
                let answer = ask.send(&by, protocol).await;
                let status = answer.as_ref().map(|answer| answer.status().as_u16());
                // Half an answer is none.
                let said = match answer {
                    Some(answer) => answer.json::<Value>().await.ok(),
                    None => None,
                };
                (index, ask, status.zip(said))
            });
        }
        let (mut answers, mut harmed) = (Vec::new(), Vec::<Blow>::new());
        let mut is_silent = [false; INSTANCES];
        for blow in blows {
            let without_database = harmed.iter().any(|blow| blow.harm == Harm::KillDatabase);
            // Without the database few get an answer, from an instance that is silent nobody.
            while answers.len() < blow.after
                && !without_database
                && (0..INSTANCES).any(|index| open[index] > 0 && !is_silent[index])
            {
                let (index, ask, answer) = asked.next().await.expect("more are open");
                open[index] -= 1;
                answers.push((ask, answer));
            }
            self.harm(blow).await;
            let (is_death, is_silence) = match blow.harm {
                Harm::KillDatabase | Harm::KillService | Harm::KillInstance => (true, false),
                Harm::Freeze | Harm::Cut => (false, true),
            };
            is_silent[blow.instance] |= is_silence;
            // An instance does not start without its database.
            if is_death && self.random.random() && !without_database {
                self.mend(blow);
            } else {
                harmed.push(blow);
            }
        }
        harmed.shuffle(&mut self.random);
        harmed.sort_by_key(|blow| blow.harm != Harm::KillDatabase);
        harmed.into_iter().for_each(|blow| self.mend(blow));
        let rest = async { asked.collect::<Vec<_>>().await };
        let rest = tokio::time::timeout(GUARD, rest).await.expect("whoever asks gets an answer");
        answers.extend(rest.into_iter().map(|(_, ask, answer)| (ask, answer)));
        let mut unanswered = Vec::new();
        for (ask, answer) in answers {
            match (ask, answer) {
                (Ask::Start { key }, Some((202, said))) => {
                    self.runs.insert(key, said["run_id"].as_i64().expect("a number"));
                }
                (Ask::Decide { approval, .. }, Some((200, _))) => {
                    self.decided.insert(approval);
                }
                (ask, Some((503, _)) | None) => unanswered.push(ask),
                (ask, Some((status, said))) => panic!("{ask:?}: {status} {said}\n{}", self.errors()),
            }
        }
        unanswered
    }

    /// Whatever became of them: asked again, a start is the same run, and a decision is there once.
    async fn ask_again(&mut self, asks: Vec<Ask>) {
        for ask in asks {
            let by = self.caller(if matches!(ask, Ask::Start { .. }) { "staff" } else { "supervisor" });
            let answer = ask.send(&by, self.protocol).await.expect("all live");
            let (status, said) = (answer.status().as_u16(), answer.text().await.expect("whole"));
            match (ask, status) {
                (Ask::Start { key }, 202) => {
                    let said: Value = serde_json::from_str(&said).expect("JSON");
                    self.runs.insert(key, said["run_id"].as_i64().expect("a number"));
                }
                (Ask::Decide { approval, .. }, 200 | 409) => {
                    self.decided.insert(approval);
                }
                (ask, status) => panic!("{ask:?}: {status} {said}\n{}", self.errors()),
            }
        }
    }

    /// What the instances told of as errors.
    fn errors(&self) -> String {
        let logs = self.setups.iter().map(Setup::log).collect::<String>();
        logs.lines().filter(|line| line.contains("ERROR")).collect::<Vec<_>>().join("\n")
    }

    async fn check_decisions(&mut self) {
        let supervisor = self.caller("supervisor");
        for approval in std::mem::take(&mut self.decided) {
            let found = supervisor.get(&format!("/acts/approvals/{approval}")).await.expect(200).json;
            assert_eq!(found["status"], "approved", "an acknowledged decision was lost");
        }
    }

    /// What was started gets as far as its approval, what was approved to its end. (A step that was lost three times in
    /// a row pauses its run: somebody resumes it.)
    async fn progress(&mut self, started: &[i64], approved: &[i64]) {
        let supervisor = self.caller("supervisor");
        let reach = async |run: i64, goal: fn(&Value) -> bool| {
            let mut resumed = 0;
            while supervisor.wait_until(run, |run| run["status"] == "paused" || goal(run)).await["status"]
                == "paused"
            {
                let body = json!({"reason": "All is up again."});
                supervisor.act(run, "resume", body).await.expect(202);
                resumed += 1;
            }
            resumed
        };
        let started_too = started.iter().map(|run| reach(*run, |run| run["current_step"] == "approve"));
        let approved_too = approved.iter().map(|run| reach(*run, |run| run["status"] == "completed"));
        let (begun, ended) = tokio::join!(join_all(started_too), join_all(approved_too));
        self.resumed += begun.iter().chain(&ended).sum::<usize>();
        for run in started {
            self.waiting.insert(*run, supervisor.approval(*run).await);
        }
    }

    /// Nothing is lost, nothing is done twice, and the log is whole.
    async fn check(&mut self, ended: &[i64]) {
        check_log(&self.setups[0]);
        let runs: BTreeSet<i64> = self.runs.values().copied().collect();
        assert_eq!(runs.len(), self.runs.len(), "two keys, one run");
        let all = format!("SELECT count(*) AS it FROM runs WHERE protocol_id = {}", self.protocol);
        assert_eq!(
            number(&mut self.server.connect(), &all),
            runs.len() as i64,
            "a run that nobody asked for"
        );
        let mut asked: BTreeMap<(String, String), String> = BTreeMap::new();
        for heard in self.service.heard() {
            let first = asked.entry((heard.run, heard.step)).or_insert_with(|| heard.key.clone());
            assert_eq!(*first, heard.key, "the same step under another key");
        }
        let auditor = self.caller("auditor");
        for (run, log) in ended.iter().zip(join_all(ended.iter().map(|run| auditor.entries(*run))).await) {
            let keys = keys(&log);
            for step in ["call", "publish"] {
                let heard = asked.get(&(run.to_string(), step.to_owned()));
                assert_eq!(heard, keys.get(step), "run {run} ended without its {step}");
                let done = |entry: &&Value| entry["type"] == "step.done" && entry["step"] == step;
                assert_eq!(log.iter().filter(done).count(), 1, "{log:#?}");
            }
        }
    }

    /// Approves what still waits, ends in order, and looks at all of it once more.
    async fn finish(mut self) -> String {
        let (supervisor, waiting) = (self.caller("supervisor"), std::mem::take(&mut self.waiting));
        join_all(waiting.values().map(async |approval| {
            supervisor.decide(*approval, "approve", "Checked.").await.expect(200);
        }))
        .await;
        let rest: Vec<i64> = waiting.into_keys().collect();
        self.progress(&[], &rest).await;
        let all: Vec<i64> = self.runs.values().copied().collect();
        let staff = self.caller("staff");
        for run in &all {
            assert_eq!(staff.run(*run).await["status"], "completed");
        }
        self.check(&all).await;
        for instance in self.instances.iter_mut().filter_map(Option::take) {
            assert!(instance.terminate().success());
        }
        check_log(&self.setups[0]);
        let (calls, resumed) = (self.service.heard().len(), self.resumed);
        format!(
            "{} runs under {:?}, {calls} calls under {} keys, {resumed} resumed by hand",
            all.len(),
            self.harms,
            2 * all.len()
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_done_twice_whatever_comes_to_harm() {
    let harms = setting("HMS_ACT_TEST_HARMS").unwrap_or(Harm::DECK.len() as u64) as usize;
    let seed = setting("HMS_ACT_TEST_SEED").unwrap_or_else(rand::random);
    println!("failure trial: HMS_ACT_TEST_SEED={seed}");
    let _seats = seats(INSTANCES as u32).await;
    let mut trial = Trial::start(seed).await;
    for (round, harms) in plan(seed, harms).into_iter().enumerate() {
        trial.round(round, harms).await;
    }
    println!("failure trial: {}", trial.finish().await);
}
