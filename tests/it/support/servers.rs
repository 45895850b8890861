//! Servers that one test owns, so that it can break them without harm to others. Gone with the value, whatever happens.

use diesel::{Connection as _, PgConnection, connection::SimpleConnection as _};
use rand::RngExt as _;
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// What a server's start or stop may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);
/// The folder of PostgreSQL's programs, where it is not on the path.
const BIN: &str = "TEST_POSTGRES_BIN";

/// A PostgreSQL server.
pub struct PostgresServer {
    port: u16,
    bin: PathBuf,
    /// The process that starts the others. None while it is stopped.
    postmaster: Option<Child>,
    folder: TempDir,
}

impl PostgresServer {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With settings of its own, such as `("max_connections", "20")`.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_letting(settings, "").await
    }

    /// With a role that must tell a password (SCRAM), such as one made with [`PostgresServer::execute`].
    pub async fn start_asking(role: &str, settings: &[(&str, &str)]) -> Self {
        let rule = format!("host all {role} all scram-sha-256\n");
        Self::start_letting(settings, &rule).await
    }

    /// With rules for who is let in that come before the usual one.
    async fn start_letting(settings: &[(&str, &str)], rules: &str) -> Self {
        let bin = postgres_bin();
        // A socket's path has about 100 bytes.
        let folder = tempfile::Builder::new().prefix("hookonce-pg").tempdir();
        let folder = folder.expect("a folder");
        copy(template(&bin), &folder.path().join("data"));
        give_to_server_user(folder.path());
        let mut server = Self {
            port: 0,
            bin,
            postmaster: None,
            folder,
        };
        server.configure("listen_addresses", "127.0.0.1");
        let sockets = server.folder.path().display().to_string();
        server.configure("unix_socket_directories", &sockets);
        // What is committed has to outlive a crash.
        server.configure("fsync", "on");
        server.configure("max_connections", "100");
        for (name, value) in settings {
            server.configure(name, value);
        }
        let access = server.data().join("pg_hba.conf");
        let usual = fs::read_to_string(&access).expect("who is let in");
        fs::write(access, format!("{rules}{usual}")).expect("who is let in");
        loop {
            server.port = free_port();
            if server.try_start().await {
                return server;
            }
        }
    }

    /// Where it listens, without a database.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}", self.port)
    }

    /// Changes a setting: at once while it runs, else with its start.
    pub fn set(&self, name: &str, value: &str) {
        self.configure(name, value);
        if let Some(postmaster) = &self.postmaster {
            signal("HUP", &[postmaster.id()]);
        }
    }

    /// Stops it as an operator does: whoever is connected is thrown out, what is not committed is rolled back.
    pub async fn stop_fast(&mut self) {
        self.stop("INT").await;
    }

    /// Stops it as a crash does: nothing is tidied up, its next start recovers from the log.
    pub async fn stop_immediate(&mut self) {
        self.stop("QUIT").await;
    }

    async fn stop(&mut self, name: &str) {
        let mut postmaster = self.postmaster.take().expect("a server that runs");
        signal(name, &[postmaster.id()]);
        ended(&mut postmaster).await;
    }

    /// Starts it after a stop, on the same port and data. It takes connections when this is done.
    pub async fn start_again(&mut self) {
        let begun = Instant::now();
        // Another may have looked whether the port is free.
        while !self.try_start().await {
            let late = begun.elapsed() > PATIENCE;
            assert!(
                !late,
                "port {} did not come free:\n{}",
                self.port,
                self.log()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends all connections but the one that it needs itself.
    pub fn terminate_connections(&self) {
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
        );
    }

    /// Runs SQL outside of the databases of the tests.
    pub fn execute(&self, sql: &str) {
        let mut conn = self.connect().expect("PostgreSQL");
        let done = conn.batch_execute(sql);
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// A connection outside of the databases of the tests, where it still gives one.
    pub fn connect(&self) -> diesel::ConnectionResult<PgConnection> {
        PgConnection::establish(&format!("{}/postgres", self.url()))
    }

    /// From now on it is away without its connections being closed, as behind a network that is gone.
    pub fn freeze(&self) {
        let postmaster = self.postmaster.as_ref().expect("a server that runs").id();
        // First the one that would start more.
        signal("STOP", &[postmaster]);
        signal("STOP", &children(postmaster));
    }

    pub fn thaw(&self) {
        let postmaster = self.postmaster.as_ref().expect("a server that runs").id();
        signal("CONT", &children(postmaster));
        signal("CONT", &[postmaster]);
    }

    /// Whether it started: not where somebody has taken the port.
    async fn try_start(&mut self) -> bool {
        let log = File::create(self.log_path()).expect("a log");
        let mut postmaster = as_server_user(&self.bin.join("postgres"))
            .arg("-D")
            .arg(self.data())
            .arg("-p")
            .arg(self.port.to_string())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("PostgreSQL starts");
        let begun = Instant::now();
        loop {
            let ended = postmaster.try_wait().expect("its state");
            let log = self.log();
            if ended.is_some() && log.contains("could not bind") {
                return false;
            }
            if log.contains("database system is ready to accept") {
                self.postmaster = Some(postmaster);
                return true;
            }
            let late = begun.elapsed() > PATIENCE;
            assert!(ended.is_none() && !late, "PostgreSQL did not start:\n{log}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The last word on a setting is what counts.
    fn configure(&self, name: &str, value: &str) {
        let file = self.data().join("postgresql.conf");
        let mut file = File::options().append(true).open(file).expect("a file");
        writeln!(file, "{name} = '{value}'").expect("a setting");
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What it has said since it was started last.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).expect("its log")).into_owned()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let Some(postmaster) = &mut self.postmaster else {
            return;
        };
        let mut all = children(postmaster.id());
        all.push(postmaster.id());
        // It takes its shared memory away with it, unless it is killed. Where it is frozen, it must hear it.
        signal("QUIT", &[postmaster.id()]);
        signal("CONT", &all);
        for _ in 0..500 {
            if !matches!(postmaster.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        signal("KILL", &all);
        let _ = postmaster.wait();
    }
}

/// Where PostgreSQL's programs are. Debian does not put them on the path.
fn postgres_bin() -> PathBuf {
    if let Some(named) = std::env::var_os(BIN) {
        return named.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut on_path = std::env::split_paths(&path);
    let complete = |bin: &PathBuf| bin.join("initdb").exists() && bin.join("postgres").exists();
    if let Some(bin) = on_path.find(complete) {
        return bin;
    }
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let installed = installed
        .flatten()
        .map(|version| version.path().join("bin"));
    let newest = installed.filter(complete).max_by_key(|bin| version(bin));
    newest
        .unwrap_or_else(|| panic!("PostgreSQL's programs are not found: set {BIN} to their folder"))
}

/// The version in `/usr/lib/postgresql/15/bin`.
fn version(bin: &Path) -> Option<u32> {
    bin.parent()?.file_name()?.to_str()?.parse().ok()
}

/// The data folder of a new server, to be copied: made once, and kept beside what cargo builds.
fn template(bin: &Path) -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let version = output(Command::new(bin.join("postgres")).arg("--version"));
        let version = version.split_whitespace().nth(2).expect("a version");
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let template = kept.join(format!("postgres-{version}-{}", id("-u", None)));
        if !template.exists() {
            make_template(bin, &template);
        }
        template
    })
}

fn make_template(bin: &Path, template: &Path) {
    // What cargo builds may be closed to the server's user.
    let folder = tempfile::tempdir().expect("a folder");
    give_to_server_user(folder.path());
    let made = folder.path().join("data");
    output(
        as_server_user(&bin.join("initdb"))
            .arg("--pgdata")
            .arg(&made)
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync"]),
    );
    // Whoever comes at the same time sees all of it or nothing.
    let parts = template.with_extension(std::process::id().to_string());
    copy(&made, &parts);
    if let Err(error) = fs::rename(&parts, template) {
        let _ = fs::remove_dir_all(&parts);
        assert!(template.exists(), "{}: {error}", template.display());
    }
}

/// With owners and modes, of which PostgreSQL is particular.
fn copy(from: &Path, to: &Path) {
    output(Command::new("cp").arg("-a").arg(from).arg(to));
}

/// Who runs PostgreSQL, which refuses to be run by root: nobody else where we are not.
fn server_user() -> Option<(u32, u32)> {
    static USER: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *USER.get_or_init(|| {
        let known = |user: &&str| {
            Command::new("id")
                .arg(user)
                .output()
                .is_ok_and(|o| o.status.success())
        };
        (id("-u", None) == 0).then(|| {
            let user = ["postgres", "nobody"].into_iter().find(known);
            let user = user.expect("PostgreSQL does not run as root: add a user postgres");
            (id("-u", Some(user)), id("-g", Some(user)))
        })
    })
}

fn id(what: &str, user: Option<&str>) -> u32 {
    let id = output(Command::new("id").arg(what).args(user));
    id.trim().parse().expect("a number")
}

fn give_to_server_user(path: &Path) {
    if let Some((user, group)) = server_user() {
        chown(path, Some(user), Some(group)).expect("a folder to give away");
    }
}

fn as_server_user(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).current_dir("/").env_clear();
    // Its log is read.
    command.env("LC_ALL", "C");
    if let Some((user, group)) = server_user() {
        command.uid(user).gid(group);
    }
    command
}

/// A Redis server that keeps nothing on disk.
pub struct RedisServer {
    port: u16,
    settings: Vec<String>,
    /// None while it is stopped.
    child: Option<Child>,
    folder: TempDir,
}

impl RedisServer {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With arguments of its own, such as `&["--maxmemory", "1mb"]`.
    pub async fn start_with(settings: &[&str]) -> Self {
        let mut server = Self {
            port: 0,
            settings: settings.iter().map(|&text| text.to_owned()).collect(),
            child: None,
            folder: tempfile::tempdir().expect("a folder"),
        };
        loop {
            server.port = free_port();
            if server.try_start().await {
                return server;
            }
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it at once, and all that it holds.
    pub async fn stop(&mut self) {
        let mut child = self.child.take().expect("a server that runs");
        signal("KILL", &[child.id()]);
        ended(&mut child).await;
    }

    /// Starts it after a stop, empty and on the same port.
    pub async fn start_again(&mut self) {
        let begun = Instant::now();
        while !self.try_start().await {
            let late = begun.elapsed() > PATIENCE;
            assert!(!late, "port {} did not come free", self.port);
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// From now on it takes connections and requests, and answers none.
    pub fn freeze(&self) {
        signal("STOP", &[self.pid()]);
    }

    pub fn thaw(&self) {
        signal("CONT", &[self.pid()]);
    }

    /// Sends a command, such as `["SET", "name", "value"]`, and gives its answer: the text of one value, the lines of
    /// many. None where there is nothing. An answer that is an error begins with `-`.
    pub fn command(&self, command: &[&str]) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("Redis");
        let bound = Some(Duration::from_secs(10));
        stream.set_read_timeout(bound).expect("a bound");
        let mut bytes = format!("*{}\r\n", command.len());
        for part in command {
            bytes += &format!("${}\r\n{part}\r\n", part.len());
        }
        stream.write_all(bytes.as_bytes()).expect("a command");
        redis_answer(&mut BufReader::new(stream))
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().expect("a server that runs").id()
    }

    /// Whether it started: not where somebody has taken the port.
    async fn try_start(&mut self) -> bool {
        let log = self.folder.path().join("log");
        let mut child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(&self.settings)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(&log).expect("a log"))
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server starts: it must be installed");
        let begun = Instant::now();
        loop {
            let ended = child.try_wait().expect("its state");
            let said = fs::read(&log).expect("its log");
            let said = String::from_utf8_lossy(&said);
            if ended.is_some() && said.contains("bind: Address already in use") {
                return false;
            }
            if said.contains("Ready to accept connections") {
                self.child = Some(child);
                return true;
            }
            let late = begun.elapsed() > PATIENCE;
            assert!(ended.is_none() && !late, "Redis did not start:\n{said}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One answer in Redis's protocol.
fn redis_answer(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).expect("an answer of Redis");
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).expect("an answer of Redis");
    let length = || rest.parse::<i64>().expect("a length");
    match kind {
        "+" | ":" => Some(rest.to_owned()),
        "$" => {
            let length = usize::try_from(length()).ok()?;
            let mut value = vec![0; length + "\r\n".len()];
            stream.read_exact(&mut value).expect("a value");
            Some(String::from_utf8_lossy(&value[..length]).into_owned())
        }
        "*" => {
            let values = (0..length()).map(|_| redis_answer(stream).unwrap_or_default());
            Some(values.collect::<Vec<_>>().join("\n"))
        }
        _ => Some(line.to_owned()),
    }
}

/// A port that was free a moment ago, below those that systems hand to outgoing connections.
fn free_port() -> u16 {
    loop {
        let port = rand::rng().random_range(15_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn children(process: u32) -> Vec<u32> {
    let listed = Command::new("pgrep")
        .args(["-P", &process.to_string()])
        .output();
    let listed = listed.expect("pgrep").stdout;
    let listed = String::from_utf8_lossy(&listed);
    listed
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect()
}

/// Sends a signal to processes, of which some may have ended.
fn signal(name: &str, processes: &[u32]) {
    let mut command = Command::new("kill");
    command.arg(format!("-{name}"));
    command.args(processes.iter().map(u32::to_string));
    command.stderr(Stdio::null()).status().expect("kill");
}

async fn ended(child: &mut Child) {
    let begun = Instant::now();
    while child.try_wait().expect("its state").is_none() {
        assert!(begun.elapsed() < PATIENCE, "a server does not stop");
        sleep(Duration::from_millis(5)).await;
    }
}

/// What a command that must succeed prints.
fn output(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
