use std::fs;

use tokio::time::timeout;

use super::*;

/// Far longer than a settled change takes, on a machine that does much else.
const SOON: Duration = Duration::from_secs(20);

async fn told(changed: &Notify) -> bool {
    timeout(SOON, changed.notified()).await.is_ok()
}

#[tokio::test]
async fn a_rewritten_and_a_renamed_file_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.yaml");
    fs::write(&path, "one").unwrap();
    let changed = Arc::new(Notify::new());
    let _guard = watch(&path, Arc::clone(&changed)).unwrap();
    fs::write(&path, "two").unwrap();
    assert!(told(&changed).await, "rewritten");
    let beside = folder.path().join("catalog.yaml.new");
    fs::write(&beside, "three").unwrap();
    fs::rename(&beside, &path).unwrap();
    assert!(told(&changed).await, "renamed over");
    fs::remove_file(&path).unwrap();
    assert!(told(&changed).await, "removed");
    fs::write(&path, "four").unwrap();
    assert!(told(&changed).await, "made anew");
}

#[cfg(unix)]
#[tokio::test]
async fn a_config_map_that_swaps_its_symlink_is_told() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (data, text) in [("..1", "one"), ("..2", "two"), ("..3", "three")] {
        fs::create_dir(at(data)).unwrap();
        fs::write(at(data).join("catalog.yaml"), text).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/catalog.yaml", at("catalog.yaml")).unwrap();
    let changed = Arc::new(Notify::new());
    let _guard = watch(&at("catalog.yaml"), Arc::clone(&changed)).unwrap();
    for (old, new) in [("..1", "..2"), ("..2", "..3")] {
        symlink(new, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        fs::remove_dir_all(at(old)).unwrap();
        assert!(told(&changed).await, "{new}");
    }
}

/// Only the text counts: what happens beside the file, and the same text again, is not told. The
/// last write is, so what came before it has been looked at by then.
#[tokio::test]
async fn a_noisy_folder_is_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.yaml");
    fs::write(&path, "one").unwrap();
    let looks = Arc::new(Notify::new());
    let (disturb, disturbed) = sync_channel(1);
    let before = fingerprint(&path);
    let follower = {
        let (path, looks) = (path.clone(), Arc::clone(&looks));
        thread::spawn(move || follow(&path, before, &disturbed, &looks))
    };
    fs::write(folder.path().join("other"), "noise").unwrap();
    fs::write(&path, "one").unwrap();
    disturb.send(()).unwrap();
    drop(disturb);
    follower.join().unwrap();
    let told = timeout(Duration::ZERO, looks.notified()).await;
    assert!(told.is_err(), "nothing has changed");
}

#[test]
fn events_that_reading_makes_are_ignored() {
    let (disturb, disturbed) = sync_channel(1);
    let tell = |kind| on_event(Ok(Event::new(kind)), &disturb);
    tell(EventKind::Access(AccessKind::Open(AccessMode::Any)));
    tell(EventKind::Access(AccessKind::Close(AccessMode::Read)));
    assert!(disturbed.try_recv().is_err());
    tell(EventKind::Access(AccessKind::Close(AccessMode::Write)));
    tell(EventKind::Any);
    assert!(disturbed.try_recv().is_ok());
    assert!(disturbed.try_recv().is_err(), "one is enough");
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let changed = Arc::new(Notify::new());
    let error = watch(Path::new("/nowhere-at-all/catalog.yaml"), changed).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot watch the catalogue's folder /nowhere-at-all"
    );
}

#[tokio::test]
async fn the_watch_ends_with_its_guard() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.yaml");
    fs::write(&path, "one").unwrap();
    let changed = Arc::new(Notify::new());
    let guard = watch(&path, Arc::clone(&changed)).unwrap();
    drop(guard);
    // The thread lets go of its half when it ends.
    let ended = async {
        while Arc::strong_count(&changed) > 1 {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(SOON, ended).await.is_ok());
}
