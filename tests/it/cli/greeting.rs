//! What `tollgate serve` says of itself: where things are, and what to try, which works.

use crate::process::{Sidecar, run};

#[test]
fn what_a_server_proposes_works() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Sidecar::start(folder.path(), &[]);
    let address = first.grpc.clone();
    let (status, said) = first.terminate();
    assert!(status.success(), "{status}");
    let lines: Vec<&str> = said.lines().collect();
    let [ledger, account, reserve, stopping] = lines[..] else {
        panic!("{said}");
    };
    let path = folder.path().join("ledger.db");
    let told = format!(
        "ledger sqlite://{}: 0 accounts, 0 open holds,",
        path.display()
    );
    assert!(ledger.starts_with(&told), "{ledger}");
    assert!(stopping.starts_with("tollgate: stopping: "), "{stopping}");

    let second = Sidecar::start(folder.path(), &[]);
    for (line, shown) in [
        (
            account.strip_prefix("try:"),
            "balance: 500 available, 0 held",
        ),
        (Some(reserve), "held 60 credits"),
    ] {
        let line = line.expect("a proposal").replace(&address, &second.grpc);
        let args: Vec<&str> = line.split_whitespace().skip(1).collect();
        let output = run(&args);
        let told = super::stdout(&output);
        assert!(
            output.status.success() && told.contains(shown),
            "{line}: {output:?}"
        );
    }
}
