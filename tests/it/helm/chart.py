"""Renders charts as Helm does, and checks every manifest against Kubernetes' schemas.

Reads a JSON list of jobs from standard input and writes a JSON list of what came of each:
  {"chart": FOLDER, "with": FOLDER or null, "values": TEXT, "name": …, "namespace": …}
  -> {"error": TEXT} or {"manifests": […], "notes": TEXT, "problems": [TEXT, …]}
`with` is a chart that is put among the dependencies of the first. The values are YAML, as in a
values file.

With the argument "check" it reads one manifest, and writes what the schemas object to.
"""

import json
import pathlib
import shutil
import sys
import tempfile

import helm_python as helm
import kubernetes_validate
import yaml

# The oldest that the chart says it runs on, and the newest whose schemas are here.
VERSIONS = ["1.29", kubernetes_validate.latest_version()]
# Kinds of the Prometheus operator, which has no schemas here: the tests look at them themselves.
OPERATOR = "monitoring.coreos.com/v1"


class Strict(yaml.SafeLoader):
    """Refuses a key that stands twice, which YAML forbids and PyYAML lets through."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse(text):
    return [document for document in yaml.load_all(text, Strict) if document]


def check(manifest):
    if manifest["apiVersion"] == OPERATOR:
        return []
    problems = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except Exception as error:
            name = f"{manifest['kind']} {manifest['metadata']['name']}"
            problems.append(f"{name}, Kubernetes {version}: {error}")
    return problems


def lint(chart, values):
    found = helm.lint(str(chart), values, strict=True)
    # Severity 1 is a recommendation: of an icon, which a sidecar has none of.
    told = [f"{m['path']}: {m['error']}" for m in found["messages"] if m["severity"] > 1]
    return told + found["errors"]


def run(job, scratch):
    chart = pathlib.Path(job["chart"])
    if job["with"]:
        whole = scratch / chart.name
        shutil.copytree(chart, whole)
        shutil.copytree(job["with"], whole / "charts" / pathlib.Path(job["with"]).name)
        chart = whole
    values = yaml.load(job["values"], Strict) or {}
    with helm.Chart.load(str(chart)) as loaded:
        try:
            files = loaded.render(values, name=job["name"], namespace=job["namespace"])
        except helm.HelmError as error:
            return {"error": str(error)}
    notes = "".join(text for name, text in files.items() if name.endswith("NOTES.txt"))
    manifests, problems = [], lint(chart, values)
    for name, text in sorted(files.items()):
        if name.endswith("NOTES.txt"):
            continue
        try:
            found = parse(text)
        except yaml.YAMLError as error:
            problems.append(f"{name}: {error}")
            continue
        for manifest in found:
            problems += check(manifest)
            manifests.append(manifest)
    return {"manifests": manifests, "notes": notes, "problems": problems}


def main():
    if sys.argv[1:] == ["check"]:
        json.dump(check(json.load(sys.stdin)), sys.stdout)
        return
    answers = []
    for job in json.load(sys.stdin):
        with tempfile.TemporaryDirectory() as scratch:
            answers.append(run(job, pathlib.Path(scratch)))
    json.dump(answers, sys.stdout, default=str)


main()
