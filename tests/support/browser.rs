//! Real browsers: one driver a test run, a fresh profile for every person.
//!
//! What a person does is said in their words (fields by their labels, buttons and links by their texts), and waits
//! are for what they would see. Nothing is left behind, also when the run is killed: a watchdog outside waits for
//! the run's end on a pipe that only the run holds open, then ends the driver and its browsers.

use super::postgres::ScratchDir;
use super::server::DEMO_PASSWORD;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use thirtyfour::common::log::LoggingPrefsLogLevel;
use thirtyfour::extensions::query::ElementPollerWithTimeout;
use thirtyfour::prelude::*;
use thirtyfour::stringmatch::StringMatch;
use thirtyfour::{ChromeCapabilities, ChromiumLikeCapabilities, PageLoadStrategy};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The longest that anybody waits for something to appear: far beyond what anything takes.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

const FLAGS: [&str; 12] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--force-prefers-reduced-motion",
    "--window-size=1280,900",
];

/// Waits until its input ends; then the browsers go, and the driver that started them.
const WATCHDOG: &str = r#"
    cat > /dev/null
    browsers=$(cat /proc/"$1"/task/*/children || pgrep -P "$1")
    kill -KILL "$1" $browsers
"#;

struct Driver {
    address: String,
    chromium: PathBuf,
    _child: Child,
    _watchdog: Child,
}

static DRIVER: LazyLock<Driver> = LazyLock::new(|| {
    let chromium = installed(&["chromium", "chromium-browser", "google-chrome"]);
    let mut command = Command::new(installed(&["chromedriver"]));
    command.arg("--port=0").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("chromedriver starts");
    let mut watchdog = Command::new("/bin/sh");
    watchdog.args(["-c", WATCHDOG, "sh"]).arg(child.id().to_string()).current_dir("/").process_group(0);
    watchdog.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let watchdog = watchdog.spawn().expect("a shell");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let started = |line: String| line.split_once("successfully on port ").map(|(_, port)| port.to_owned());
    let port = lines.find_map(started).expect("chromedriver says its port");
    // Goes on reading, so that the driver never blocks on a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    let address = format!("http://127.0.0.1:{}", port.trim_end_matches('.'));
    Driver { address, chromium, _child: child, _watchdog: watchdog }
});

fn installed(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let found = names.iter().flat_map(|name| places.iter().map(move |place| place.join(name)));
    let mut found = found.filter(|file| file.is_file());
    found.next().unwrap_or_else(|| panic!("none of {names:?} is in PATH: run `make setup-test`"))
}

/// How many browsers may be open at once.
static DESKS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(3)));

/// Room for the browsers of one test, taken together: take it before the server.
pub struct Desks {
    _permit: OwnedSemaphorePermit,
}

pub async fn desks(count: u32) -> Desks {
    let permit = Arc::clone(&DESKS).acquire_many_owned(count).await.expect("never closed");
    Desks { _permit: permit }
}

impl Desks {
    /// A browser with a fresh profile, at one server.
    pub async fn open(&self, base_url: &str) -> Browser {
        Browser::start(base_url, true, PageLoadStrategy::Normal).await
    }

    /// The same without JavaScript.
    pub async fn open_without_javascript(&self, base_url: &str) -> Browser {
        Browser::start(base_url, false, PageLoadStrategy::Normal).await
    }

    /// The same for a person who does not wait until a page is loaded.
    pub async fn open_hasty(&self, base_url: &str) -> Browser {
        Browser::start(base_url, true, PageLoadStrategy::None).await
    }

    /// A browser at a server, with somebody signed in.
    pub async fn seat(&self, base_url: &str, user: &str) -> Browser {
        let browser = self.open(base_url).await;
        browser.sign_in(user).await;
        browser
    }
}

/// Somebody's browser.
pub struct Browser {
    pub driver: WebDriver,
    base_url: String,
    _profile: ScratchDir,
}

impl Browser {
    async fn start(base_url: &str, javascript: bool, wait: PageLoadStrategy) -> Browser {
        let profile = ScratchDir::new();
        let mut wanted = capabilities(&profile, javascript).expect("capabilities");
        wanted.set_page_load_strategy(wait).expect("capabilities");
        let driver = connect(wanted).await;
        Browser { driver, base_url: base_url.to_owned(), _profile: profile }
    }

    /// Ends the browser, and looks at what it wrote on its console: nothing but what is expected.
    pub async fn close_expecting(self, expected: &[&str]) {
        let log = self.driver.browser_log().await.expect("a log");
        let surprises: Vec<_> =
            log.iter().filter(|entry| !expected.iter().any(|text| entry.message.contains(text))).collect();
        assert!(surprises.is_empty(), "on the console: {surprises:#?}");
        self.driver.quit().await.expect("the browser ends");
    }

    pub async fn close(self) {
        self.close_expecting(&[]).await;
    }

    pub async fn goto(&self, path: &str) {
        self.driver.goto(format!("{}{path}", self.base_url)).await.expect("the page loads");
    }

    pub async fn reload(&self) {
        self.driver.refresh().await.expect("the page loads");
    }

    pub async fn path(&self) -> String {
        let url = self.driver.current_url().await.expect("an address");
        url.path().to_owned()
    }

    /// Waits until the address is this one.
    pub async fn arrive(&self, path: &str) {
        let script = "return location.pathname";
        self.wait_for(&format!("the address {path}"), async || {
            self.driver.execute(script, []).await.is_ok_and(|found| found.json() == path)
        })
        .await;
    }

    pub async fn sign_in(&self, user: &str) {
        self.goto("/sign-in").await;
        self.fill("User name", user).await;
        self.fill("Password", DEMO_PASSWORD).await;
        self.press("Sign in").await;
        self.see("Sign out").await;
    }

    /// The element, once it is displayed.
    pub async fn find(&self, by: By) -> WebElement {
        let what = format!("{by:?}");
        match self.driver.query(by).ignore_errors(true).and_displayed().first().await {
            Ok(element) => element,
            Err(error) => panic!("no {what}: {error}\n{}", self.everything().await),
        }
    }

    /// The field with this label.
    pub async fn field(&self, label: &str) -> WebElement {
        let label = format!("//label[starts-with(normalize-space(.), {label:?})]");
        self.find(By::XPath(format!("//*[@id = {label}/@for]"))).await
    }

    pub async fn fill(&self, label: &str, text: &str) {
        let field = self.field(label).await;
        field.clear().await.expect("it can be written to");
        field.send_keys(text).await.expect("it can be written to");
    }

    /// Chooses a radio button or a checkbox by its label.
    pub async fn choose(&self, label: &str) {
        let label =
            self.find(By::XPath(format!("//label[starts-with(normalize-space(.), {label:?})]"))).await;
        label.click().await.expect("it can be chosen");
    }

    pub async fn press(&self, button: &str) {
        self.click(By::XPath(format!("//button[normalize-space(.) = {button:?}]"))).await;
    }

    pub async fn follow(&self, link: &str) {
        self.click(By::XPath(format!("//a[normalize-space(.) = {link:?}]"))).await;
    }

    /// Opens what is folded under this heading.
    pub async fn unfold(&self, summary: &str) {
        self.click(By::XPath(format!("//summary[normalize-space(.) = {summary:?}]"))).await;
    }

    async fn click(&self, by: By) {
        let element = self.find(by).await;
        // Centred, so that nothing at the edge of the window is in the way.
        element.scroll_into_view().await.expect("it is on the page");
        element.click().await.expect("it can be clicked");
    }

    /// Waits until the page shows this.
    pub async fn see(&self, text: &str) {
        self.see_in("body", text).await;
    }

    /// Waits until a part of the page shows this.
    pub async fn see_in(&self, css: &str, text: &str) {
        let seen = StringMatch::new(text).partial();
        let query = self.driver.query(By::Css(css)).ignore_errors(true).with_text(seen);
        if query.first().await.is_err() {
            panic!("{text:?} does not appear in {css} of\n{}", self.everything().await);
        }
    }

    /// The visible text of the page.
    pub async fn text(&self) -> String {
        self.find(By::Tag("body")).await.text().await.expect("a text")
    }

    pub async fn texts(&self, css: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for element in self.driver.find_all(By::Css(css)).await.expect("a list") {
            texts.push(element.text().await.expect("a text"));
        }
        texts
    }

    async fn everything(&self) -> String {
        let address = self.driver.current_url().await.map(|url| url.to_string()).unwrap_or_default();
        let body = self.driver.find(By::Tag("body")).await;
        let text = match body {
            Ok(body) => body.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        let log = self.driver.browser_log().await.unwrap_or_default();
        format!("{address}\n{text}\nconsole: {log:#?}")
    }

    /// Marks the page: the mark is gone once it is loaded again.
    pub async fn mark(&self) {
        self.evaluate("window.marked = true", []).await;
    }

    pub async fn is_marked(&self) -> bool {
        self.evaluate("return window.marked === true", []).await == true
    }

    /// Waits until the page's stream is open.
    pub async fn listening(&self) {
        let is_open = "return Boolean(document.getElementById('live')?._htmx?.sse?.reader)";
        self.wait_for("the stream", async || self.evaluate(is_open, []).await == true).await;
    }

    pub async fn evaluate(&self, script: &str, arguments: impl Into<Arc<[Value]>>) -> Value {
        self.driver.execute(script, arguments).await.expect("the script runs").json().clone()
    }

    /// Waits until something is so.
    pub async fn wait_for(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let waiting = async {
            let mut looks = tokio::time::interval(LOOK);
            while !is_so().await {
                looks.tick().await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("waited in vain for {what} at\n{}", self.everything().await);
        }
    }

    /// A command of the DevTools protocol.
    pub async fn devtools(&self, method: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(method, parameters).await.expect("the browser does it")
    }

    /// The page's width in CSS pixels, as on a phone or a desk, and its colours.
    pub async fn look_at(&self, width: u32, colours: &str) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = json!([{"name": "prefers-color-scheme", "value": colours}]);
        self.devtools("Emulation.setEmulatedMedia", json!({"features": scheme})).await;
    }
}

fn capabilities(profile: &ScratchDir, javascript: bool) -> WebDriverResult<ChromeCapabilities> {
    let mut wanted = DesiredCapabilities::chrome();
    wanted.set_binary(DRIVER.chromium.to_str().expect("UTF-8"))?;
    for flag in FLAGS {
        wanted.add_arg(flag)?;
    }
    wanted.add_arg(&format!("--user-data-dir={}", profile.path().join("profile").display()))?;
    wanted.set_logging_prefs("browser", LoggingPrefsLogLevel::All)?;
    if !javascript {
        let blocked = json!({"profile.managed_default_content_settings.javascript": 2});
        wanted.add_experimental_option("prefs", blocked)?;
    }
    Ok(wanted)
}

async fn connect(wanted: ChromeCapabilities) -> WebDriver {
    // To this machine, whatever proxy the surroundings name.
    let client = reqwest::Client::builder().no_proxy().timeout(2 * PATIENCE).build().expect("a client");
    let builder = WebDriver::builder(&DRIVER.address, wanted).client(client);
    let poller = ElementPollerWithTimeout::new(PATIENCE, LOOK);
    builder.poller(Arc::new(poller)).connect().await.expect("a browser starts")
}
