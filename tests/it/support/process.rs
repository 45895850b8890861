//! The real program: run, stopped and killed from outside, in an empty folder and an empty environment.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{
    database::Database,
    requests::{PUBLIC_URL, SHOP_PHONE, SHOP_PHONE_NUMBER_ID, provider_secrets},
    wait::until,
};

/// What a command or a start may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a service says when it listens, before its address.
const LISTENING: &str = "listening on http://";

pub const CATALOGUE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/catalogue.csv");

/// How the program is run. Of the tests' own environment it sees nothing but the path.
pub struct Program {
    executable: PathBuf,
    /// Where it runs: empty at first.
    pub folder: Arc<TempDir>,
    /// Where it puts its temporary files: empty at first.
    pub temporary: Arc<TempDir>,
    outputs: Arc<TempDir>,
    variables: Vec<(String, String)>,
    prepared: Option<String>,
    runs: AtomicUsize,
}

/// What a command did.
#[derive(Debug)]
pub struct Finished {
    /// None where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A service of its own process. Killed with the value.
pub struct Server {
    /// Empty until it listens.
    pub url: String,
    child: Child,
    stdout: PathBuf,
    log: PathBuf,
    /// Stay while it runs.
    _folders: [Arc<TempDir>; 3],
}

impl Program {
    /// With nothing configured at all.
    pub fn bare() -> Self {
        Self::at(env!("CARGO_BIN_EXE_hookonce").into())
    }

    /// One of the examples, with nothing configured. `cargo test` builds them, unless it is told to test one target.
    pub fn example(name: &str) -> Self {
        let tests = std::env::current_exe().expect("the tests");
        let built = tests.ancestors().nth(2).expect("what cargo has built");
        let executable = built.join("examples").join(name);
        assert!(executable.exists(), "run cargo build --example {name}");
        Self::at(executable)
    }

    /// As a shell runs it that has prepared something, `trap "" XFSZ` say.
    pub fn after(mut self, prepared: &str) -> Self {
        self.prepared = Some(prepared.to_owned());
        self
    }

    fn at(executable: PathBuf) -> Self {
        let program = Self {
            executable,
            folder: folder(),
            temporary: folder(),
            outputs: folder(),
            variables: Vec::new(),
            prepared: None,
            runs: AtomicUsize::new(0),
        };
        let temporary = program.temporary.path().to_string_lossy().into_owned();
        let path = std::env::var("PATH").unwrap_or_default();
        // PostgreSQL's programs make its backups.
        let path = match std::env::var("TEST_POSTGRES_BIN") {
            Ok(bin) => format!("{bin}:{path}"),
            Err(_) => path,
        };
        program.set("TMPDIR", &temporary).set("PATH", &path)
    }

    /// With the secrets of the tests, on a database and a free port.
    pub fn new(database: &Database) -> Self {
        let secrets = provider_secrets();
        secrets
            .fold(Self::bare(), |program, (setting, secret)| {
                program.set(setting.variable, &secret)
            })
            .set("DATABASE_URL", &database.url)
            .set("DATABASE_CONNECTIONS", "6")
            .set("BIND", "127.0.0.1:0")
            .set("PUBLIC_BASE_URL", PUBLIC_URL)
            .set("RATE_LIMIT", "off")
    }

    /// With a variable more, or another value for it.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a variable.
    pub fn unset(mut self, name: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self
    }

    /// Puts a `.env` into its folder, in one step.
    pub fn write_dotenv(&self, text: &str) {
        let (new, dotenv) = (
            self.folder.path().join("new"),
            self.folder.path().join(".env"),
        );
        fs::write(&new, text).expect("a file");
        fs::rename(new, dotenv).expect("the file in its place");
    }

    /// The command as it would be run, for whoever reads what it writes in a way of their own.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = match &self.prepared {
            None => Command::new(&self.executable),
            Some(prepared) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("{prepared}; exec \"$0\" \"$@\"")]);
                shell.arg(&self.executable);
                shell
            }
        };
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, args: &[&str]) -> Finished {
        self.finish(self.start(args)).await
    }

    /// The same with a file as its standard input.
    pub async fn run_with(&self, args: &[&str], stdin: &Path) -> Finished {
        let stdin = File::open(stdin).expect("a file");
        self.finish(self.start_with(args, stdin.into())).await
    }

    /// The bytes that a command prints which must succeed.
    pub async fn must_print(&self, args: &[&str]) -> Vec<u8> {
        let (mut child, stdout, stderr) = self.start(args);
        let status = ended(&mut child, PATIENCE).await;
        assert!(status.success(), "{args:?}: {}", text(&stderr));
        fs::read(stdout).expect("what it wrote")
    }

    async fn finish(&self, started: (Child, PathBuf, PathBuf)) -> Finished {
        let (mut child, stdout, stderr) = started;
        let status = ended(&mut child, PATIENCE).await;
        Finished {
            code: status.code(),
            stdout: text(&stdout),
            stderr: text(&stderr),
        }
    }

    /// Runs a command that must succeed; gives its standard output.
    pub async fn must(&self, args: &[&str]) -> String {
        let finished = self.run(args).await;
        assert_eq!(finished.code, Some(0), "{args:?}: {finished:?}");
        finished.stdout
    }

    /// Adds the retailer that the requests of the tests write to, with the catalogue of the fixtures. Gives its id.
    pub async fn open_shop(&self) -> String {
        let id = self.add_retailer(SHOP_PHONE, SHOP_PHONE_NUMBER_ID).await;
        self.must(&["catalog", "import", CATALOGUE, "--retailer", &id])
            .await;
        id
    }

    /// Adds a retailer. Gives its id.
    pub async fn add_retailer(&self, phone: &str, phone_number_id: &str) -> String {
        let mut args = vec!["retailer", "add", "--name", "Test Kitchen"];
        args.extend(["--phone", phone, "--phone-number-id", phone_number_id]);
        args.extend(["--currency", "USD"]);
        let added: serde_json::Value = serde_json::from_str(&self.must(&args).await)
            .expect("the retailer as JSON, and nothing else");
        added["id"].as_str().expect("an id").to_owned()
    }

    /// Starts the service and waits until it listens.
    pub async fn serve(&self) -> Server {
        let mut server = self.spawn();
        server.listening().await;
        server
    }

    /// Starts the service without waiting for it.
    pub fn spawn(&self) -> Server {
        self.spawn_with(&["serve"])
    }

    /// Starts a command that goes on.
    pub fn spawn_with(&self, args: &[&str]) -> Server {
        let (child, stdout, log) = self.start(args);
        Server {
            url: String::new(),
            child,
            stdout,
            log,
            _folders: [&self.folder, &self.temporary, &self.outputs].map(Arc::clone),
        }
    }

    fn start(&self, args: &[&str]) -> (Child, PathBuf, PathBuf) {
        self.start_with(args, Stdio::null())
    }

    fn start_with(&self, args: &[&str], stdin: Stdio) -> (Child, PathBuf, PathBuf) {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let file = |name| self.outputs.path().join(format!("{run}.{name}"));
        let (stdout, stderr) = (file("stdout"), file("stderr"));
        let child = self
            .command(args)
            .stdin(stdin)
            .stdout(File::create(&stdout).expect("a file"))
            .stderr(File::create(&stderr).expect("a file"))
            .spawn()
            .expect("the program starts");
        (child, stdout, stderr)
    }
}

impl Server {
    /// Waits until it says where it listens.
    pub async fn listening(&mut self) {
        let line = self.logged(LISTENING).await;
        self.listens_at(&line);
    }

    /// Waits until it listens. False where it has ended before that.
    pub async fn listens_or_ends(&mut self) -> bool {
        let log = self.log.clone();
        let Ok(line) = self.wrote_or_ended(&log, LISTENING).await else {
            return false;
        };
        self.listens_at(&line);
        true
    }

    fn listens_at(&mut self, line: &str) {
        let address = line.split("http://").nth(1).expect("an address");
        // In JSON a text ends with a quotation mark.
        let address = address.split('"').next().expect("an address");
        self.url = format!("http://{}", address.trim());
    }

    /// Waits for a line of the log that contains `words`, and gives it.
    pub async fn logged(&mut self, words: &str) -> String {
        let log = self.log.clone();
        self.wrote(&log, words).await
    }

    /// Waits for a line of its standard output that contains `words`, and gives it.
    pub async fn printed(&mut self, words: &str) -> String {
        let stdout = self.stdout.clone();
        self.wrote(&stdout, words).await
    }

    async fn wrote(&mut self, file: &Path, words: &str) -> String {
        let wrote = self.wrote_or_ended(file, words).await;
        wrote.unwrap_or_else(|ended| {
            let text = text(file);
            panic!(
                "it ended with {ended} and never said {words:?}:\n{text}\n{}",
                self.log()
            )
        })
    }

    async fn wrote_or_ended(&mut self, file: &Path, words: &str) -> Result<String, ExitStatus> {
        let begun = Instant::now();
        loop {
            let ended = self.child.try_wait().expect("its state");
            let text = text(file);
            // A line that is still being written has no end yet.
            let mut lines = text.split_inclusive('\n').filter(|l| l.ends_with('\n'));
            if let Some(line) = lines.find(|line| line.contains(words)) {
                return Ok(line.trim_end().to_owned());
            }
            if let Some(status) = ended {
                return Err(status);
            }
            let late = begun.elapsed() > PATIENCE;
            assert!(!late, "it never said {words:?}:\n{text}\n{}", self.log());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// All that it has written to standard error.
    pub fn log(&self) -> String {
        text(&self.log)
    }

    /// Where it listens, as HOST:PORT.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Ends it as a power cut does: SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("a process to kill");
        self.child.wait().expect("its end");
    }

    /// Bounds how large a file may become that it writes to: a number of bytes, or `unlimited`.
    pub fn limit_files(&self, bytes: &str) {
        let status = Command::new("prlimit")
            .args(["--pid", &self.child.id().to_string()])
            .arg(format!("--fsize={bytes}:unlimited"))
            .status()
            .expect("prlimit, of util-linux");
        assert!(status.success(), "prlimit: {status}");
    }

    /// Sends a signal by its name, as an operator does.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .expect("kill");
        assert!(status.success(), "kill -{name}: {status}");
    }

    /// The most memory that it has had, in bytes.
    pub fn peak_rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes: u64 = kibibytes.and_then(|it| it.parse().ok()).expect("a number");
        kibibytes * 1024
    }

    /// Holds it up, every thread of it, until it is sent CONT.
    pub async fn freeze(&self) {
        self.signal("STOP");
        // The signal is there before all threads have stopped.
        let tasks = format!("/proc/{}/task", self.child.id());
        until("all of its threads have stopped", async || {
            let mut tasks = fs::read_dir(&tasks).expect("its threads");
            tasks.all(|task| {
                let stat = fs::read_to_string(task.expect("a thread").path().join("stat"));
                // The name before the state is in brackets. A thread that has ended since has no state.
                stat.is_ok_and(|stat| {
                    stat.rsplit(") ")
                        .next()
                        .is_some_and(|rest| rest.starts_with('T'))
                })
            })
        })
        .await;
    }

    /// Waits until it has ended by itself, at most for `bound`.
    pub async fn exit(&mut self, bound: Duration) -> ExitStatus {
        ended(&mut self.child, bound).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = self.child.try_wait();
        // Errors where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("the last of the service (ended by itself: {ended:?}):\n{last}");
        }
    }
}

/// Waits until it has ended by itself, at most for `bound`.
pub async fn ended(child: &mut Child, bound: Duration) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("its state") {
            return status;
        }
        if begun.elapsed() > bound {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it was still running after {bound:?}");
        }
        sleep(Duration::from_millis(5)).await;
    }
}

fn folder() -> Arc<TempDir> {
    Arc::new(tempfile::tempdir().expect("a folder"))
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).expect("what it wrote")).into_owned()
}

/// A client without what the environment of the tests may say about proxies.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .expect("a client")
}
