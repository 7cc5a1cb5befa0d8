//! Three instances on one database, of which one dies, one stands still and one loses the database.

use crate::agency_log::{browser, cookie};
use crate::kill::{Ground, check_log, keys, protocol_with_call, wait_for_all};
use crate::support::client::{Caller, GUARD};
use crate::support::link::Link;
use crate::support::postgres::ScratchDir;
use crate::support::process::{Setup, TestProcess};
use crate::support::server::{DEMO_PASSWORD, seats};
use crate::support::service::TestService;
use crate::waits::{publish, until};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Instant;

/// Runs that each instance has in hand.
const EACH: usize = 10;

/// An instance with a directory, a key and a way to the database of its own.
struct Instance {
    process: TestProcess,
    setup: Setup,
    link: Link,
    _scratch: ScratchDir,
}

impl Instance {
    /// The demo is for its users alone: one of the instances makes them.
    async fn start(ground: &Ground, demo: bool, allow_hosts: &str) -> Instance {
        let (scratch, link) = (ScratchDir::new(), Link::to(&ground.database.url()).await);
        let database = Some((link.url(), ground.database.owner_url()));
        let plain = ground.setup(demo, allow_hosts.to_owned());
        let setup = Setup { data_dir: scratch.path().to_owned(), database, ..plain };
        Instance { process: TestProcess::start(&setup), setup, link, _scratch: scratch }
    }

    fn user(&self, name: &str) -> Caller {
        self.process.user(name)
    }

    fn base_url(&self) -> String {
        self.process.base_url().to_owned()
    }
}

struct Three {
    first: Instance,
    second: Instance,
    third: Instance,
    ground: Ground,
}

impl Three {
    async fn start(service: &TestService) -> Three {
        let ground = Ground::new();
        let first = Instance::start(&ground, true, service.address()).await;
        let second = Instance::start(&ground, false, service.address()).await;
        let third = Instance::start(&ground, false, service.address()).await;
        Three { first, second, third, ground }
    }

    fn all(&self) -> [&Instance; 3] {
        [&self.first, &self.second, &self.third]
    }
}

/// The cookie of somebody who signed in at one instance. The others know it too.
async fn session(instance: &Instance, user: &str) -> String {
    let form = format!("user={user}&password={DEMO_PASSWORD}");
    let request = browser().post(format!("{}/sign-in", instance.base_url()));
    let request = request.header("sec-fetch-site", "same-origin");
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
    cookie(&request.send().await.expect("the server answers"))
}

/// Follows the page of a run as a browser does, until it says that it is over: when the stream breaks it connects
/// again, to the next of these instances. The positions that it was shown.
async fn follow_page(instances: Vec<String>, session: String, run: i64) -> Vec<u64> {
    let mut positions: Vec<u64> = Vec::new();
    for base_url in instances.iter().cycle() {
        let last = positions.last().copied().unwrap_or(0);
        let request = browser().get(format!("{base_url}/runs/{run}/live?after=0")).header("cookie", &session);
        let request = request.header("last-event-id", last.to_string());
        let Ok(mut stream) = request.send().await else { continue };
        if !stream.status().is_success() {
            continue;
        }
        let mut text = String::new();
        while let Ok(Some(more)) = stream.chunk().await {
            text.push_str(&String::from_utf8_lossy(&more));
            while let Some((event, rest)) = text.split_once("\n\n") {
                let id = event.lines().find_map(|line| line.strip_prefix("id: "));
                positions.extend(id.map(|id| id.parse::<u64>().expect("a position")));
                if event.starts_with("event: end") {
                    return positions;
                }
                text = rest.to_owned();
            }
        }
    }
    unreachable!("it goes round")
}

/// Follows a run by long polls, until it is over: what each of them showed. One that fails is asked again elsewhere.
async fn poll(callers: Vec<Caller>, run: i64) -> Vec<Value> {
    let (mut seen, mut path) = (Vec::new(), format!("/acts/runs/{run}"));
    for caller in callers.iter().cycle() {
        let Ok(answer) = caller.request(reqwest::Method::GET, &path).send().await else { continue };
        if !answer.status().is_success() {
            continue;
        }
        let Ok(shown) = answer.json::<Value>().await else { continue };
        let over = shown["status"] == "completed";
        seen.push(shown);
        if over {
            return seen;
        }
        path = format!("/acts/runs/{run}?wait=20");
    }
    unreachable!("it goes round")
}

/// What was shown of a run never went back, and ended with all of it.
async fn check_shown(auditor: &Caller, run: i64, positions: &[u64], polled: &[Value]) {
    let entries = auditor.entries(run).await;
    assert!(positions.is_sorted_by(|before, after| before < after), "{positions:?}");
    assert_eq!(positions.last().copied(), Some(entries.len() as u64));
    let lengths: Vec<usize> = polled.iter().map(|run| run["log"].as_array().expect("a log").len()).collect();
    assert!(lengths.is_sorted(), "{lengths:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_through_one_is_shown_by_all_three() {
    let (_seats, service) = (seats(3).await, TestService::start());
    let three = Three::start(&service).await;
    let definition = json!({"tasks": [
        {"id": "before", "type": "script", "uses": "compute"},
        {"id": "approve", "type": "hitl"},
        {"id": "after", "type": "script", "uses": "compute"},
    ]});
    let protocol = publish(&three.first.user("admin"), "Ask", definition).await;
    let session = session(&three.first, "staff").await;
    for turn in 0..3 {
        let [here, there, third] = [0, 1, 2].map(|step| three.all()[(turn + step) % 3]);
        let run = here.user("staff").start(protocol, json!({"turn": turn})).await;
        let pages = three.all().map(|it| follow_page(vec![it.base_url()], session.clone(), run));
        let polls = three.all().map(|it| poll(vec![it.user("staff")], run));
        let decided = async {
            third.user("staff").wait_for_status(run, "waiting").await;
            let supervisor = there.user("supervisor");
            let approval = supervisor.approval(run).await;
            supervisor.decide(approval, "approve", "From there.").await.expect(200);
        };
        let all = async { tokio::join!(join_all(pages), join_all(polls), decided) };
        let (pages, polls, ()) = tokio::time::timeout(GUARD, all).await.expect("all show its end");
        for (positions, polled) in pages.iter().zip(&polls) {
            check_shown(&third.user("auditor"), run, positions, polled).await;
        }
    }
    for instance in [three.first, three.second, three.third] {
        assert!(instance.process.terminate().success());
    }
    check_log(&three.ground.setup(false, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_go_on_while_one_dies_one_stands_still_and_one_loses_the_database() {
    let (_seats, service) = (seats(3).await, TestService::start());
    let three = Three::start(&service).await;
    let session = session(&three.first, "staff").await;
    let protocol = protocol_with_call(&three.first.user("admin"), &service).await;
    let mut runs = Vec::new();
    for instance in three.all() {
        let staff = instance.user("staff");
        runs.extend(join_all((0..EACH).map(|n| staff.start(protocol, json!({"n": n})))).await);
    }
    service.called(3 * EACH).await;
    let watched: Vec<i64> = runs.iter().copied().step_by(EACH).collect();
    let watching: Vec<_> = watched
        .iter()
        .zip(three.all())
        .map(|(run, instance)| {
            let (pages, caller) =
                (vec![instance.base_url(), three.second.base_url()], instance.user("staff"));
            let polls = poll(vec![caller, three.second.user("staff")], *run);
            let page = follow_page(pages, session.clone(), *run);
            tokio::spawn(async move { tokio::join!(page, polls) })
        })
        .collect();
    let Three { first, mut second, third, ground } = three;
    let mut database = ground.database.connect();

    // One dies, and one stands still past its lease: the third takes over what they had in hand.
    let began = Instant::now();
    first.process.kill9();
    second.process.freeze();
    service.called(5 * EACH).await;
    let from_two = began.elapsed();
    second.process.thaw();
    until(&mut database, "SELECT count(*) AS it FROM instances", 2);

    // The third loses the database, with everything in hand: the one that was thawed takes over.
    let began = Instant::now();
    third.link.cut();
    service.called(8 * EACH).await;
    let from_third = began.elapsed();
    // Whoever asked gets its answer; most are no longer wanted.
    service.open();
    let ended = wait_for_all(&second.user("staff"), &runs, "completed").await;
    third.link.heal();
    third.process.ready().await;
    let staff = third.user("staff");
    assert_eq!(join_all(runs.iter().map(|run| staff.run(*run))).await, ended, "it shows what the others did");

    // The dead one comes back: all three work on.
    let first = TestProcess::start(&first.setup);
    for process in [&first, &second.process, &third.process] {
        let staff = process.user("staff");
        runs.push(staff.start(protocol, json!({"n": 0})).await);
        staff.wait_for_status(runs[runs.len() - 1], "completed").await;
    }
    let auditor = third.process.user("auditor");
    for (run, watching) in watched.iter().zip(watching) {
        let (positions, polled) =
            tokio::time::timeout(GUARD, watching).await.expect("all show its end").expect("no panic");
        check_shown(&auditor, *run, &positions, &polled).await;
    }
    // Nothing was done twice: whatever was asked again was asked under its key, and ended once.
    let heard = service.heard();
    let asked: BTreeSet<(&str, &str)> = heard.iter().map(|it| (it.run.as_str(), it.key.as_str())).collect();
    assert_eq!((heard.len(), asked.len()), (8 * EACH + 3, runs.len()));
    for run in &runs {
        let log = auditor.entries(*run).await;
        assert!(asked.contains(&(run.to_string().as_str(), keys(&log)["call"].as_str())));
        let ends = log.iter().filter(|entry| entry["type"] == "step.done" && entry["step"] == "call");
        assert_eq!(ends.count(), 1, "{log:#?}");
    }
    for process in [first, second.process, third.process] {
        assert!(process.terminate().success());
    }
    check_log(&ground.setup(false, String::new()));
    println!(
        "three instances: {} runs acknowledged, {} calls under {} keys; taken over from one that died and one that \
         stood still in {from_two:.1?}, from one that lost the database in {from_third:.1?}",
        runs.len(),
        heard.len(),
        asked.len()
    );
}
