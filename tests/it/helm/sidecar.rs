//! The sidecar: what a gateway's chart gets by including the template, and the plain YAML for
//! those without Helm.

use super::render::{What, file, read_yaml, render, render_one};

/// The values that examples/sidecar.yaml was made with.
const PLAIN: &str = "
tollgate:
  controlPlane: {enabled: false}
  redis: {existingSecret: {name: tollgate-redis, key: url}}
";

#[test]
fn a_gateway_includes_it_by_name_and_nothing_else_comes_along() {
    let rendered = render_one(What::Gateway, PLAIN);
    assert_eq!(rendered.names(), ["Deployment tollgate"]);
    let pod = rendered.pods()[0];
    let sidecar = &pod["initContainers"][0];
    assert_eq!(sidecar["restartPolicy"], "Always");
    assert!(sidecar["readinessProbe"].is_null());
    let text = sidecar["env"].to_string();
    assert!(
        !text.contains("LEDGER") && !text.contains("POSTGRES"),
        "{text}"
    );
    let labels = &rendered.one("Deployment")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["tollgate.io/sidecar"], "true");

    let gating = PLAIN.to_owned() + "  sidecar: {gatesPod: true, startupSeconds: 90}\n";
    let rendered = render_one(What::Gateway, &gating);
    let start = &rendered.pods()[0]["initContainers"][0]["startupProbe"];
    assert_eq!(start["failureThreshold"], 90);
    let probe = &rendered.pods()[0]["initContainers"][0]["readinessProbe"];
    assert_eq!(probe["httpGet"]["path"], "/readyz");
}

#[test]
fn there_is_no_sidecar_of_an_embedded_one() {
    let values = "tollgate: {embedded: {enabled: true}, controlPlane: {enabled: false}}";
    let refused = render(What::Gateway, &[values.to_owned()]).remove(0);
    let error = refused.unwrap_err();
    assert!(error.contains("there are no sidecars"), "{error}");
}

#[test]
fn the_plain_yaml_is_what_the_template_makes() {
    let rendered = render_one(What::Gateway, PLAIN);
    let made = rendered.pods()[0];
    let plain = read_yaml("helm/tollgate/examples/sidecar.yaml");
    let kept = &plain["spec"]["template"]["spec"];
    assert_eq!(kept["initContainers"], made["initContainers"]);
    assert_eq!(kept["volumes"], made["volumes"]);
    let labels = &plain["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["tollgate.io/sidecar"], "true");
    assert_eq!(kept["securityContext"]["fsGroup"], 65532);
    let gateway = &kept["containers"][0]["volumeMounts"][0];
    assert_eq!(gateway["name"], "tollgate");
    let text = file("helm/tollgate/examples/sidecar.yaml");
    assert!(text.starts_with('#'), "it says what it is");
}
