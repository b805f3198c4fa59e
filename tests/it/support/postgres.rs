//! A real Postgres: one server for all tests of this binary, and a database of its own for each.
//!
//! `TOLLGATE_TEST_POSTGRES_BIN` is the folder with `initdb` and `postgres`; `tests/run` sets it.
//! Postgres refuses to run as root, so where the tests do, it runs as the user `postgres`.
//!
//! Nothing is left behind, however the tests end: a shell starts the server and holds the read end
//! of a pipe whose write end only this process has. When this process is gone, however it went,
//! the shell reads the end of the pipe, stops the server and removes its folder.

use std::{
    collections::HashMap,
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tollgate::{
    domain::timestamp::Timestamp,
    ledger::postgres::{PostgresLedger, PostgresOptions},
};

use super::{
    instant,
    processes::{children, is_alive, signal},
    servers::{free_port, wait},
};

/// Says where Postgres' programs are.
const BIN: &str = "TOLLGATE_TEST_POSTGRES_BIN";
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a server is looked at until it has started.
const LOOKS_MAX: u32 = 3000;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// A migrated ledger without any entries, to be copied.
const TEMPLATE: &str = "ledger_template";
/// Starts the server, waits for the tests to end, and cleans up. Its arguments: the folder, then
/// the server's command line.
const WATCH: &str = r#"trap '' INT TERM HUP
folder="$1"; shift
"$@" >>"$folder/log" 2>&1 </dev/null &
server=$!
cat >/dev/null
kill -QUIT "$server" 2>/dev/null
wait "$server"
rm -rf "$folder""#;

/// A server that runs.
pub struct Server {
    folder: PathBuf,
    port: u16,
    owner: Option<(u32, u32)>,
    /// Whoever watches over a start: all stay to the end, since the first to go takes the folder.
    watchers: Mutex<Vec<Child>>,
    /// Databases that nobody uses any more.
    dropped: mpsc::Sender<String>,
}

/// A database; dropped on the server when this is.
pub struct Database {
    pub name: String,
    server: &'static Server,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

/// The server that all tests share.
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<&'static Server> = OnceLock::new();
    SHARED.get_or_init(|| {
        let server = Server::start();
        in_thread(async {
            server
                .sql("postgres", &format!("CREATE DATABASE {TEMPLATE}"))
                .await;
            let options = PostgresOptions::new(&url(server.port, TEMPLATE)).expect("a URL");
            PostgresLedger::migrate(&options, instant("2026-01-31T10:00:00Z"))
                .await
                .expect("a migration");
        });
        server
    })
}

/// Runs a future on a runtime of its own, from within or without another one.
fn in_thread<T: Send>(future: impl Future<Output = T> + Send) -> T {
    let run = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(future)
    };
    std::thread::scope(|scope| scope.spawn(run).join().expect("no panic"))
}

impl Server {
    /// Starts a server for as long as this process lives.
    pub fn start() -> &'static Server {
        let bin = std::env::var(BIN).unwrap_or_else(|_| {
            panic!("{BIN} is not set: start the tests with tests/run, or set it to Postgres' bin")
        });
        let folder = tempfile::Builder::new()
            .prefix("tollgate-pg-")
            .tempdir()
            .expect("a folder")
            .keep();
        let owner = owner();
        if let Some((user, group)) = owner {
            chown(&folder, Some(user), Some(group)).expect("a folder of Postgres' own");
        }
        let data = folder.join("data");
        let made = as_owner(owner, &Path::new(&bin).join("initdb"))
            .args(["--no-sync", "-A", "trust", "--no-locale", "-E", "UTF8"])
            .args(["-U", "tollgate", "-D"])
            .arg(&data)
            .current_dir(&folder)
            .output()
            .expect("initdb runs");
        let told = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "initdb: {told}");
        certify(&folder, &folder.join("data"), owner);
        let port = free_port();
        let (dropped, to_drop) = mpsc::channel();
        let server = Server {
            folder,
            port,
            owner,
            watchers: Mutex::default(),
            dropped,
        };
        let server: &'static Server = Box::leak(Box::new(server));
        server.run();
        server.drop_in_background(to_drop);
        server
    }

    fn run(&self) {
        let bin = std::env::var(BIN).expect("it was there at the first start");
        let postgres = as_owner(self.owner, &Path::new(&bin).join("postgres"));
        let mut watch = Command::new("sh");
        watch
            .args(["-c", WATCH, "watch"])
            .arg(&self.folder)
            .arg(postgres.get_program())
            .args(postgres.get_args())
            .arg("-F")
            .args(["-p", &self.port.to_string(), "-k"])
            .arg(&self.folder)
            .arg("-D")
            .arg(self.folder.join("data"));
        for setting in [
            "listen_addresses=127.0.0.1",
            "ssl=on",
            "max_connections=400",
            "shared_buffers=128MB",
            "log_line_prefix=%d|",
            "max_wal_size=4GB",
        ] {
            watch.args(["-c", setting]);
        }
        let watcher = watch
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell");
        self.watchers.lock().unwrap().push(watcher);
        in_thread(async {
            let url = url(self.port, "postgres");
            for _ in 0..LOOKS_MAX {
                if PgConnection::connect(&url).await.is_ok() {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
            panic!("Postgres did not start:\n{}", self.log());
        });
    }

    /// Kills it as a crash would: every session, and nothing is written any more.
    pub fn kill(&self) {
        let pid = self.pid();
        signal(&[pid], "QUIT");
        wait("the end of Postgres", || !is_alive(pid));
    }

    /// Starts it again, with what is on its disk.
    pub fn start_again(&self) {
        self.run();
    }

    /// Starts it again as a standby, as a primary is that another server has taken over from.
    pub async fn demote(&self) {
        tokio::task::block_in_place(|| {
            let pid = self.pid();
            signal(&[pid], "INT");
            wait("the end of Postgres", || !is_alive(pid));
            fs::write(self.folder.join("data/standby.signal"), "").expect("a file");
            self.run();
        });
    }

    /// Makes the standby a primary again.
    pub async fn promote(&self) {
        self.sql("postgres", "SELECT pg_promote()").await;
    }

    /// Stops it and all of its sessions where they are, as a machine that hangs.
    pub fn freeze(&self) {
        self.signal_all("STOP");
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, name: &str) {
        let parent = self.pid();
        // The first forks the others: it must not while they are counted.
        signal(&[parent], name);
        signal(&children(parent), name);
    }

    fn pid(&self) -> u32 {
        let file = self.folder.join("data/postmaster.pid");
        let told = fs::read_to_string(file).expect("it runs");
        let first = told.lines().next().expect("a line");
        first.trim().parse().expect("a number")
    }

    /// Drops databases one after the other, so that hundreds of tests do not fill the disk.
    fn drop_in_background(&'static self, names: mpsc::Receiver<String>) {
        std::thread::spawn(move || {
            for name in names {
                in_thread(self.sql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)")));
            }
        });
    }

    /// The certificate of whoever signed the server's, as a file. Its name is `localhost`.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// Its TCP port, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// An empty ledger in a database of its own.
    pub async fn ledger(&'static self) -> Database {
        self.create(&format!("TEMPLATE {TEMPLATE}")).await
    }

    /// A database without any tables.
    pub async fn empty(&'static self) -> Database {
        self.create("").await
    }

    async fn create(&'static self, with: &str) -> Database {
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} {with}"))
            .await;
        Database { name, server: self }
    }

    async fn sql(&self, database: &str, sql: &str) {
        let mut connection = PgConnection::connect(&url(self.port, database))
            .await
            .expect("a connection");
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        connection.close().await.expect("an end");
    }

    /// Everything that the server has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

fn url(port: u16, database: &str) -> String {
    format!("postgres://tollgate@127.0.0.1:{port}/{database}?sslmode=disable")
}

impl Database {
    /// Its URL, without TLS.
    pub fn url(&self) -> String {
        self.url_at(self.server.port)
    }

    /// Its URL behind a proxy's port, without TLS.
    pub fn url_at(&self, port: u16) -> String {
        url(port, &self.name)
    }

    /// Its URL with TLS in some mode, and whom to trust.
    pub fn tls_url(&self, host: &str, mode: &str, authority: &Path) -> String {
        format!(
            "postgres://tollgate@{host}:{}/{}?sslmode={mode}&sslrootcert={}",
            self.server.port,
            self.name,
            authority.display()
        )
    }

    /// How a ledger here is opened.
    pub fn options(&self) -> PostgresOptions {
        let mut options = PostgresOptions::new(&self.url()).expect("a URL");
        options.connections_max = 8;
        // Two cores are shared by every test that runs at the same time.
        options.acquire_timeout = PATIENCE;
        options.lock_timeout = PATIENCE;
        options.statement_timeout = PATIENCE;
        options
    }

    /// Opens the ledger as a start in January 2026 does.
    pub async fn open(&self) -> Arc<PostgresLedger> {
        self.open_at(instant("2026-01-31T10:00:00Z")).await
    }

    /// Opens the ledger as a start does.
    pub async fn open_at(&self, now: Timestamp) -> Arc<PostgresLedger> {
        let ledger = PostgresLedger::open(&self.options(), now).await;
        Arc::new(ledger.unwrap_or_else(|error| panic!("{error}")))
    }

    /// A connection behind the ledger's back.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url())
            .await
            .expect("a connection")
    }

    /// Runs statements behind the ledger's back.
    pub async fn sql(&self, sql: &str) {
        self.server.sql(&self.name, sql).await;
    }

    /// The first column of every row, as text.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let mut connection = self.connect().await;
        let found = sqlx::query(AssertSqlSafe(sql.to_owned()))
            .fetch_all(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        found.iter().map(|row| row.get::<String, _>(0)).collect()
    }

    /// What the server's log says about this database.
    pub fn log(&self) -> String {
        let mine = format!("{}|", self.name);
        let mut lines = Vec::new();
        let mut is_mine = false;
        for line in self.server.log().lines() {
            if let Some(told) = line.strip_prefix(&mine) {
                is_mine = true;
                lines.push(told.to_owned());
            } else if is_mine && line.starts_with('\t') {
                lines.push(line.to_owned());
            } else {
                is_mine = false;
            }
        }
        lines.join("\n")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // At the very end nobody listens, and the whole server goes.
        let _ = self.server.dropped.send(std::mem::take(&mut self.name));
    }
}

/// The database of each folder: what a process finds again when it restarts in its folder. Goes
/// with the folder.
pub async fn of_folder(folder: &Path) -> Arc<Database> {
    static KNOWN: OnceLock<Mutex<HashMap<PathBuf, Arc<Database>>>> = OnceLock::new();
    let known = KNOWN.get_or_init(Mutex::default);
    {
        let mut known = known.lock().unwrap();
        known.retain(|folder, _| folder.exists());
        if let Some(database) = known.get(folder) {
            return Arc::clone(database);
        }
    }
    let database = Arc::new(shared().ledger().await);
    let mut known = known.lock().unwrap();
    known.insert(folder.to_owned(), Arc::clone(&database));
    database
}

/// The user and group that Postgres runs as; `None`: as ourselves.
fn owner() -> Option<(u32, u32)> {
    let number = |what: &str, user: &[&str]| -> u32 {
        let told = Command::new("id").arg(what).args(user).output();
        let told = told.expect("id runs");
        assert!(told.status.success(), "there is no user {user:?}");
        let told = String::from_utf8(told.stdout).expect("a number");
        told.trim().parse().expect("a number")
    };
    if number("-u", &[]) != 0 {
        return None;
    }
    Some((number("-u", &["postgres"]), number("-g", &["postgres"])))
}

/// A command that runs as that user.
fn as_owner(owner: Option<(u32, u32)>, program: &Path) -> Command {
    let Some((user, group)) = owner else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command
        .args([format!("--reuid={user}"), format!("--regid={group}")])
        .arg("--clear-groups")
        .arg(program);
    command
}

/// Gives the server a certificate for `localhost`, and puts its signer's beside it.
fn certify(folder: &Path, data: &Path, owner: Option<(u32, u32)>) {
    let signer_key = KeyPair::generate().expect("a key");
    let mut signer = CertificateParams::new([]).expect("no names");
    signer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = signer.self_signed(&signer_key).expect("a signer");
    fs::write(folder.join("authority.pem"), certificate.pem()).expect("a file");
    let issuer = Issuer::new(signer, signer_key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    for (name, text) in [
        ("server.crt", certificate.pem()),
        ("server.key", key.serialize_pem()),
    ] {
        let path = data.join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
        if let Some((user, group)) = owner {
            chown(&path, Some(user), Some(group)).expect("a file of Postgres' own");
        }
    }
}
