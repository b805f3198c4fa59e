//! What helm/tollgate/README.md tells operators to do, done: back up and restore, rotate the stores'
//! secrets, move to another Redis, answer a dispute, each with the real binary on real servers.

use std::{path::Path, process::Command};

use sqlx::{Connection, SqliteConnection};
use tollgate::pb::{CommitResponse, CreateAccountRequest, GetBalanceRequest};

use crate::{
    process::{Sidecar, binary},
    support::{
        postgres::{Database, shared},
        requests::{commit, reserve},
        servers::{Kind, Server, wait},
        texts::command_of,
    },
};

/// So long that a busy machine is no fault.
const PATIENT: [&str; 4] = [
    "--set",
    "redis.call_timeout_ms=2000",
    "--set",
    "grpc.request_timeout_ms=20000",
];

/// An account of 500 with 45 charged and a hold of 40: 415 are left.
async fn use_it(sidecar: &Sidecar) {
    let create = CreateAccountRequest {
        account_id: "acme".into(),
        plan_id: "starter".into(),
        ..CreateAccountRequest::default()
    };
    sidecar.admin().await.create_account(create).await.unwrap();
    let mut quota = sidecar.quota().await;
    quota.reserve(reserve("charged", 60)).await.unwrap();
    quota.reserve(reserve("open", 40)).await.unwrap();
    quota.commit(commit("charged", 45)).await.unwrap();
    assert_eq!(balance(sidecar).await, (415, 40));
}

/// Whether nothing was held any more for what was committed.
fn is_late(answer: &CommitResponse) -> bool {
    answer.receipt.as_ref().unwrap().late
}

/// Available and held.
async fn balance(sidecar: &Sidecar) -> (u64, u64) {
    let request = GetBalanceRequest {
        account_id: "acme".into(),
    };
    let answer = sidecar.quota().await.get_balance(request).await.unwrap();
    let balance = answer.into_inner().balance.unwrap();
    (balance.available, balance.held)
}

async fn start(folder: &Path, hot: &str, ledger: &str) -> Sidecar {
    let args = [&["--hot", hot, "--ledger", ledger][..], &PATIENT].concat();
    let sidecar = Sidecar::start(folder, &args);
    let request = || GetBalanceRequest {
        account_id: "nobody".into(),
    };
    // It answers as soon as the store is there: that there is no such account.
    for _ in 0..300 {
        let answer = sidecar.quota().await.get_balance(request()).await;
        if answer.unwrap_err().code() == tonic::Code::NotFound {
            return sidecar;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it does not serve");
}

fn stop(mut sidecar: Sidecar) {
    let (status, said) = sidecar.terminate();
    assert_eq!(status.code(), Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_folder_is_backed_up_stopped_and_running() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let sidecar = Sidecar::start(&data, &PATIENT);
    use_it(&sidecar).await;
    // While it runs: what SQLite gives is whole, and lacks what the redo log has not handed over.
    let running = folder.path().join("running");
    std::fs::create_dir(&running).unwrap();
    let source = data.join("ledger.db");
    let copy = running.join("ledger.db");
    wait("the redo log's records in SQLite", || {
        let _ = std::fs::remove_file(&copy);
        back_up(&source, &copy);
        entries(&copy) == 2
    });
    let restored = Sidecar::start(&running, &[]);
    let found = balance(&restored).await;
    let with_or_without_the_hold = [(415, 40), (455, 0)];
    assert!(with_or_without_the_hold.contains(&found), "{found:?}");
    drop(restored);
    stop(sidecar);

    let stopped = folder.path().join("stopped");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(&data)
        .arg(&stopped)
        .status();
    assert!(copied.unwrap().success());
    let restored = Sidecar::start(&stopped, &[]);
    assert_eq!(balance(&restored).await, (415, 40));
}

/// As `sqlite3 ledger.db "VACUUM INTO 'copy'"` does.
fn back_up(source: &Path, copy: &Path) {
    on_sqlite(source, |mut connection| async move {
        let into = format!("VACUUM INTO '{}'", copy.display());
        let into = sqlx::AssertSqlSafe(into);
        sqlx::query(into).execute(&mut connection).await.unwrap();
    });
}

fn entries(file: &Path) -> i64 {
    on_sqlite(file, |mut connection| async move {
        let count = sqlx::query_scalar("SELECT count(*) FROM entries");
        count.fetch_one(&mut connection).await.unwrap()
    })
}

fn on_sqlite<T: Send, F: Future<Output = T>>(
    file: &Path,
    run: impl FnOnce(SqliteConnection) -> F + Send,
) -> T {
    let url = format!("sqlite://{}", file.display());
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            crate::support::block_on(async {
                run(SqliteConnection::connect(&url).await.unwrap()).await
            })
        });
        thread.join().unwrap()
    })
}

/// A dump of the ledger beside an empty Redis is everything but the open holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_of_the_ledger_and_an_empty_redis_are_a_restored_tollgate() {
    let server = Server::start(Kind::Redis);
    let database = shared().empty().await;
    let folder = tempfile::tempdir().unwrap();
    let sidecar = start(&folder.path().join("a"), &server.url(), &database.url()).await;
    use_it(&sidecar).await;
    stop(sidecar);

    let dump = folder.path().join("ledger.dump");
    let restored = shared().empty().await;
    client("pg_dump", &database, &["-Fc", "-f", dump.to_str().unwrap()]);
    client(
        "pg_restore",
        &restored,
        &["--exit-on-error", dump.to_str().unwrap()],
    );
    let fresh = Server::start(Kind::Redis);
    let sidecar = start(&folder.path().join("b"), &fresh.url(), &restored.url()).await;
    assert_eq!(
        balance(&sidecar).await,
        (455, 0),
        "the ledger, without the hold"
    );
    let mut quota = sidecar.quota().await;
    let again = quota.commit(commit("charged", 45)).await;
    let late = quota.commit(commit("open", 10)).await.unwrap().into_inner();
    assert!(
        is_late(&late),
        "its hold is gone, and it is charged all the same"
    );
    // The charge that the ledger knows is not made a second time.
    drop(again);
    wait_for_balance(&sidecar, (445, 0)).await;
    stop(sidecar);
}

async fn wait_for_balance(sidecar: &Sidecar, wanted: (u64, u64)) {
    for _ in 0..200 {
        if balance(sidecar).await == wanted {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(balance(sidecar).await, wanted);
}

/// One of Postgres' own programs, on a database.
fn client(program: &str, database: &Database, args: &[&str]) {
    let bin = std::env::var("TOLLGATE_TEST_POSTGRES_BIN").unwrap();
    let output = Command::new(Path::new(&bin).join(program))
        .arg("-d")
        .arg(database.url())
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}");
}

/// With the holds: the new Redis is a replica first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_over_with_every_hold() {
    let (old, new) = (Server::start(Kind::Redis), Server::start(Kind::Redis));
    let database = shared().empty().await;
    let folder = tempfile::tempdir().unwrap();
    let sidecar = start(&folder.path().join("a"), &old.url(), &database.url()).await;
    use_it(&sidecar).await;
    let port = old.port.to_string();
    new.ask::<()>(redis::cmd("REPLICAOF").arg("127.0.0.1").arg(port));
    new.wait("the copy", |new| {
        let info: String = new.ask(redis::cmd("INFO").arg("replication"));
        info.contains("master_link_status:up")
    });
    stop(sidecar);
    let offset = |server: &Server| -> String {
        let info: String = server.ask(redis::cmd("INFO").arg("replication"));
        let line = info
            .lines()
            .find(|line| line.starts_with("master_repl_offset:"));
        line.unwrap().to_owned()
    };
    wait("the last writes", || offset(&old) == offset(&new));
    new.ask::<()>(redis::cmd("REPLICAOF").arg("NO").arg("ONE"));
    drop(old);

    let sidecar = start(&folder.path().join("b"), &new.url(), &database.url()).await;
    assert_eq!(balance(&sidecar).await, (415, 40));
    sidecar
        .quota()
        .await
        .commit(commit("open", 40))
        .await
        .unwrap();
    assert_eq!(balance(&sidecar).await, (415, 0));
    stop(sidecar);
}

/// Without them: the new Redis is empty, and the ledger has everything that was settled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_redis_takes_over_what_the_ledger_has() {
    let (old, new) = (Server::start(Kind::Redis), Server::start(Kind::Redis));
    let database = shared().empty().await;
    let folder = tempfile::tempdir().unwrap();
    let sidecar = start(&folder.path().join("a"), &old.url(), &database.url()).await;
    use_it(&sidecar).await;
    // A stop flushes the outbox: what was answered is in the ledger.
    stop(sidecar);
    drop(old);
    let sidecar = start(&folder.path().join("b"), &new.url(), &database.url()).await;
    assert_eq!(balance(&sidecar).await, (455, 0));
    let late = sidecar
        .quota()
        .await
        .commit(commit("open", 40))
        .await
        .unwrap();
    assert!(is_late(&late.into_inner()));
    assert_eq!(balance(&sidecar).await, (415, 0));
    stop(sidecar);
}

/// The user of Redis has two passwords for as long as both are in use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_of_redis_is_rotated_while_it_serves() {
    let server = Server::start(Kind::Redis);
    let database = shared().empty().await;
    let folder = tempfile::tempdir().unwrap();
    let user = |rules: &[&str]| {
        let mut set = redis::cmd("ACL");
        server.ask::<()>(set.arg("SETUSER").arg("tollgate").arg(rules));
    };
    let with = |password: &str| format!("redis://tollgate:{password}@{}", server.address());
    user(&["on", ">OLD", "~*", "&*", "+@all"]);
    let old = start(&folder.path().join("a"), &with("OLD"), &database.url()).await;
    use_it(&old).await;

    user(&[">NEW"]);
    let new = start(&folder.path().join("b"), &with("NEW"), &database.url()).await;
    // The restart rolls: for a while there are both.
    assert_eq!(balance(&old).await, (415, 40));
    stop(old);
    user(&["<OLD"]);
    let refused = redis::Client::open(with("OLD")).unwrap().get_connection();
    assert!(refused.is_err(), "the old one is no password any more");
    assert_eq!(balance(&new).await, (415, 40));
    let mut quota = new.quota().await;
    quota.commit(commit("open", 40)).await.unwrap();
    stop(new);
}

/// A second role that is a member of the tables' owner does all that the first one did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_role_of_postgres_takes_over() {
    let server = Server::start(Kind::Redis);
    let database = shared().empty().await;
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (
        format!("{}_first", database.name),
        format!("{}_second", database.name),
    );
    let make = format!(
        "CREATE ROLE {first} LOGIN; GRANT CREATE ON SCHEMA public TO {first};
         CREATE ROLE {second} LOGIN; GRANT {first} TO {second}"
    );
    database.sql(&make).await;
    let as_role = |role: &str| database.url().replace("tollgate@", &format!("{role}@"));
    let old = start(&folder.path().join("a"), &server.url(), &as_role(&first)).await;
    use_it(&old).await;
    let new = start(&folder.path().join("b"), &server.url(), &as_role(&second)).await;
    stop(old);
    let mut quota = new.quota().await;
    quota.commit(commit("open", 40)).await.unwrap();
    assert_eq!(balance(&new).await, (415, 0));
    stop(new);
    // The months that a worker makes ahead are the owner's to make, and its members'.
    let owned = format!(
        "SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public' AND tableowner = '{first}'"
    );
    assert_ne!(database.texts(&owned).await, ["0"]);
}

/// The commands are taken out of the text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispute_is_answered_as_it_is_written() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("helm/tollgate/README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(folder.path(), &PATIENT);
    use_it(&sidecar).await;
    let mut quota = sidecar.quota().await;
    let mut hold = reserve("chat-7", 30);
    hold.action.as_mut().unwrap().conversation_id = "conv-7".into();
    quota.reserve(hold).await.unwrap();
    quota.commit(commit("chat-7", 12)).await.unwrap();
    assert_eq!(balance(&sidecar).await, (403, 40));
    let run = |starts: &str| {
        let line = command_of(&text, starts);
        // Whenever the test runs.
        let line = line.replace("2026-11-01", "2020-01-01");
        let line = line.replace("2026-12-01", "2999-01-01");
        let mut command = binary();
        command.args(line.split_whitespace().skip(1));
        let output = command.env("TOLLGATE_ENDPOINT", &sidecar.grpc).output();
        let output = output.unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), said)
    };
    let (done, said) = run("tollgate conversation conv-7");
    assert!(
        done && said.contains("chat-7") && said.contains("12"),
        "{said}"
    );
    let (done, said) = run("tollgate ledger acme --from");
    assert!(
        done && said.contains("chat-7") && said.contains("charged"),
        "{said}"
    );
    let (done, said) = run("tollgate refund acme chat-7");
    assert!(done, "{said}");
    assert_eq!(balance(&sidecar).await, (415, 40), "it is given back");
    let _ = run("tollgate refund acme chat-7");
    assert_eq!(balance(&sidecar).await, (415, 40), "once");
}
