//! How a release comes to its nodes, and how one version follows another: the migration, starts
//! and ends.

use serde_json::{Value, json};

use super::{
    manifests::values,
    render::{What, render_one},
};

/// Hooks run before everything else of a release, in the order of their weights.
#[test]
fn the_migrations_policy_is_there_before_it() {
    let rendered = render_one(What::Tollgate, &values("minimal"));
    let hook = |kind: &str| {
        let annotations = &rendered.named(kind, "tollgate-migrate")["metadata"]["annotations"];
        let weight = annotations["helm.sh/hook-weight"].as_str().unwrap_or("0");
        let when = annotations["helm.sh/hook"].clone();
        (when, weight.parse::<i64>().unwrap())
    };
    let (job, policy) = (hook("Job"), hook("NetworkPolicy"));
    assert_eq!(job.0, policy.0);
    assert!(policy.1 < job.1, "{policy:?} and {job:?}");
}

/// What a pod needs to run at all in this cluster, and what the URL leaves to the environment.
#[test]
fn the_migration_goes_where_the_pods_go() {
    let more = "migration: {podAnnotations: {example.com/proxy: 'no'}}\n";
    let rendered = render_one(What::Tollgate, &(values("everything") + more));
    let [own, job] = ["Deployment", "Job"].map(|kind| &rendered.one(kind)["spec"]["template"]);
    for key in ["nodeSelector", "tolerations", "priorityClassName"] {
        assert!(!own["spec"][key].is_null(), "{key}");
        assert_eq!(own["spec"][key], job["spec"][key], "{key}");
    }
    let asked = json!({"name": "PGAPPNAME", "value": "tollgate"});
    for template in [own, job] {
        let variables = template["spec"]["containers"][0]["env"].as_array().unwrap();
        assert!(variables.contains(&asked), "{variables:?}");
        assert_eq!(template["metadata"]["labels"]["team"], "billing");
        let annotations = &template["metadata"]["annotations"];
        assert_eq!(annotations["example.com/team"], "billing");
    }
    let proxy = |template: &Value| template["metadata"]["annotations"]["example.com/proxy"].clone();
    assert_eq!((proxy(own), proxy(job)), (Value::Null, json!("no")));
}

/// A kubelet gives a start the time that it may need, and an end the time in which others learn of it.
#[test]
fn pods_are_given_time_to_start_and_to_be_forgotten() {
    let more = "controlPlane: {startupSeconds: 90, preStopSeconds: 20, terminationGracePeriodSeconds: 60}\n";
    let all = [
        (values("minimal"), 600, json!(["sleep", "5"])),
        (values("minimal") + more, 90, json!(["sleep", "20"])),
        // The next one starts when it is gone.
        (values("embedded"), 600, Value::Null),
    ];
    for (values, seconds, command) in all {
        let rendered = render_one(What::Tollgate, &values);
        let deployment = &rendered.one("Deployment")["spec"];
        let container = &deployment["template"]["spec"]["containers"][0];
        let probe = &container["startupProbe"];
        let patience = probe["periodSeconds"]
            .as_i64()
            .zip(probe["failureThreshold"].as_i64());
        assert_eq!(patience.map(|(each, times)| each * times), Some(seconds));
        assert!(deployment["progressDeadlineSeconds"].as_i64() > Some(seconds));
        assert_eq!(
            container["lifecycle"]["preStop"]["exec"]["command"],
            command
        );
    }
}
