use super::*;
use crate::catalogs::{parse, tests::GOOD};

#[test]
fn versions_are_kept_and_never_change_their_meaning() {
    let v = |version: &str, allowance: &str| {
        parse(&GOOD.replace("v1", version).replace("50", allowance)).unwrap()
    };
    let catalogs = Catalogs::new(v("v2", "50"), vec![v("v1", "50"), v("v2", "50")]).unwrap();
    let current = || catalogs.current().unwrap();
    assert_eq!(&*current().version, "v2");
    assert_eq!(&*catalogs.version("v1").unwrap().version, "v1");
    assert!(catalogs.version("v3").is_none());
    // The same text again changes nothing; another text of the same name is refused.
    let before = current();
    catalogs.install(v("v2", "50")).unwrap();
    assert!(Arc::ptr_eq(&before, &current()));
    let refused = catalogs.install(v("v2", "60")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the catalogue's version \"v2\" is taken by another text: give the changed file a new version"
    );
    assert!(catalogs.add_version(v("v1", "60")).is_err());
    assert!(Arc::ptr_eq(&before, &current()));
    // A new version is put in use; the old ones stay known, and one of them may come back.
    catalogs.install(v("v3", "60")).unwrap();
    assert_eq!(current().plans[0].allowance.get(), 60);
    assert_eq!(catalogs.version("v2").unwrap().plans[0].allowance.get(), 50);
    catalogs.add_version(v("v0", "70")).unwrap();
    assert_eq!(&*current().version, "v3");
    catalogs.install(v("v2", "50")).unwrap();
    assert!(Arc::ptr_eq(&before, &current()));
    assert!(Catalogs::new(v("v1", "50"), vec![v("v1", "60")]).is_err());
}
