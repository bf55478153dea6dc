"""The charts by themselves: what they render, for every value that changes their shape."""

import json
import re

import jsonschema
import pytest
import yaml

from conftest import APPLICATIONS, ROOT

REPLICAS = {"app-python": 3, "app-rust": 2}
NOTES = """\
1. Get the application URL by running these commands:
     NOTE: It may take a few minutes for the LoadBalancer IP to be available.
           You can watch the status of by running 'kubectl get --namespace default svc -w APP'
  export SERVICE_IP=$(kubectl get svc --namespace default APP --template \
"{{ range (index .status.loadBalancer.ingress 0) }}{{.}}{{ end }}")
  echo http://$SERVICE_IP:80
"""
# What may be set, each alone and so that every branch of a template is taken.
VALUES = [
    "",
    "replicas=0",
    "podManagementPolicy=Parallel",
    "updateStrategy.type=OnDelete",
    "updateStrategy.rollingUpdate.partition=2",
    "updateStrategy.rollingUpdate.maxUnavailable=50%",
    "persistentVolumeClaimRetentionPolicy.whenDeleted=Delete",
    "persistence.size=2Gi,persistence.storageClassName=fast",
    "service.type=NodePort,service.nodePort=30080",
    "service.type=ClusterIP",
    "service.loadBalancerClass=example.com/a,service.externalTrafficPolicy=Local",
    "ingress.enabled=true,ingress.host=visits.example.com,ingress.className=nginx,"
    "ingress.tls[0].hosts[0]=visits.example.com,ingress.tls[0].secretName=tls",
    "serviceAccount.create=false",
    "podDisruptionBudget.enabled=false",
    "podDisruptionBudget.maxUnavailable=34%",
    "env.VERSION=2,env.GRACE_SECONDS=3,image.tag=v9",
    "podLabels.team=a,podAnnotations.note=b,priorityClassName=high",
    "startupProbe.httpGet.path=/readyz,startupProbe.httpGet.port=http",
    "spreadOverNodes=",
    "nodeSelector.disk=fast,tolerations[0].operator=Exists",
    "imagePullSecrets[0].name=registry",
    "nameOverride=other",
    "fullnameOverride=a-name-of-exactly-fifty-characters-which-is-the-mx",
]
REFUSED = [
    "replicas=-1", "replicas=two", "podManagementPolicy=parallel", "updateStrategy.type=Recreate",
    "updateStrategy.type=OnDelete,updateStrategy.rollingUpdate.partition=1",
    "persistence.size=much", "service.port=0", "service.typ=ClusterIP", "replica=3",
    "image.repository=", "terminationGracePeriodSeconds=0", "fullnameOverride=Upper",
    "persistentVolumeClaimRetentionPolicy.whenDeleted=Keep",
]


@pytest.fixture(scope="session")
def definitions():
    """Upstream's definitions of all kinds, as JSON Schema."""
    return json.loads((ROOT / ".cache/schema/_definitions.json").read_text())


@pytest.fixture(scope="session")
def validate(definitions):
    """validate(object): against upstream's definition of its kind; unknown fields are errors."""
    kinds = {}
    for name, definition in definitions["$defs"].items():
        if isinstance(definition.get("properties"), dict):
            definition.setdefault("additionalProperties", False)
        for kind in definition.get("x-kubernetes-group-version-kind", []):
            group = f"{kind['group']}/" if kind["group"] else ""
            kinds[f"{group}{kind['version']}", kind["kind"]] = name

    def validate(item):
        name = kinds[item["apiVersion"], item["kind"]]
        schema = {"$ref": f"#/$defs/{name}", "$defs": definitions["$defs"]}
        errors = list(jsonschema.Draft202012Validator(schema).iter_errors(item))
        assert not errors, [f"{error.json_path}: {error.message}" for error in errors]

    return validate


def render(helm, chart, values="", release=None):
    """{(kind, name): object} of a release."""
    text = helm("template", release or chart.name.removesuffix("-0.1.0.tgz"), chart,
                *(["--set", values] if values else []))
    items = [item for item in yaml.safe_load_all(text) if item]
    return {(item["kind"], item["metadata"]["name"]): item for item in items}


@pytest.mark.parametrize("application", APPLICATIONS)
def test_lint_has_nothing_to_say(helm, packages, application):
    helm("lint", "--strict", packages[application])


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("application", APPLICATIONS)
def test_what_is_rendered_fits_upstreams_definitions(helm, packages, application, values, validate):
    for item in render(helm, packages[application], values).values():
        validate(item)


@pytest.mark.parametrize("values", REFUSED)
def test_values_that_do_not_fit_are_refused(helm, packages, values):
    done = helm.run("template", "x", packages["app-python"], "--set", values)
    assert done.returncode != 0
    assert re.split("[.=]", values)[0] in done.stderr


@pytest.mark.parametrize("application", APPLICATIONS)
def test_a_release_is_what_the_transcript_shows(helm, packages, application):
    items = render(helm, packages[application])
    assert sorted(items) == sorted([
        ("ConfigMap", application), ("Pod", f"{application}-test"),
        ("PodDisruptionBudget", application), ("Service", application),
        ("Service", f"{application}-headless"), ("ServiceAccount", application),
        ("StatefulSet", application)])
    spec = items["StatefulSet", application]["spec"]
    assert spec["replicas"] == REPLICAS[application]
    assert spec["serviceName"] == f"{application}-headless"
    assert items["Service", f"{application}-headless"]["spec"]["clusterIP"] == "None"
    service = items["Service", application]["spec"]
    assert (service["type"], service["ports"][0]["port"]) == ("LoadBalancer", 80)
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "www"
    assert claim["spec"] == {"accessModes": ["ReadWriteOnce"],
                             "resources": {"requests": {"storage": "1Gi"}}}
    (container,) = spec["template"]["spec"]["containers"]
    assert container["workingDir"] == "/www"
    assert {"name": "www", "mountPath": "/www"} in container["volumeMounts"]


@pytest.mark.parametrize("helm", ["4"], indirect=True)  # helm 3 does this with a cluster only
@pytest.mark.parametrize("application", APPLICATIONS)
def test_the_notes_are_those_of_the_transcript(helm, packages, application):
    out = helm("install", application, packages[application], "--dry-run=client", "--namespace",
               "default")
    assert out.split("NOTES:\n")[1].strip() == NOTES.replace("APP", application).strip()


def test_scaling_changes_no_pod(helm, packages):
    """Also not when pods look up how many there are: the template is the same."""
    for application in APPLICATIONS:
        before, after = (
            render(helm, packages[application], f"replicas={n}")["StatefulSet", application]["spec"]
            for n in (2, 5))
        assert before["template"] == after["template"]


def test_the_pods_may_do_nothing_that_they_need_not(helm, packages):
    """What the restricted Pod Security Standard asks for, and a read-only root."""
    for application in APPLICATIONS:
        items = render(helm, packages[application])
        for pod in (items["StatefulSet", application]["spec"]["template"]["spec"],
                    items["Pod", f"{application}-test"]["spec"]):
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert pod["automountServiceAccountToken"] is False
            for container in pod["containers"]:
                context = container["securityContext"]
                assert context["allowPrivilegeEscalation"] is False
                assert context["readOnlyRootFilesystem"] is True
                assert context["capabilities"] == {"drop": ["ALL"]}


def test_the_test_pod_is_behind_no_service(helm, packages):
    items = render(helm, packages["app-rust"])
    labels = items["Pod", "app-rust-test"]["metadata"]["labels"].items()
    for (kind, _), item in items.items():
        if kind == "Service":
            assert not item["spec"]["selector"].items() <= labels


def test_names_of_long_releases_fit(helm, packages):
    release = "a-release-whose-name-is-as-long-as-helm-allows-a-one"
    items = render(helm, packages["app-rust"], release=release[:53])
    assert all(len(name) + len("-100") <= 63 for _, name in items)


def test_the_charts_know_no_distribution():
    for file in (ROOT / "charts").rglob("*"):
        if file.is_file() and file.suffix != ".tgz":
            assert not re.search("coracle|minikube|k3s|metallb", file.read_text(), re.IGNORECASE)


def test_both_charts_take_the_same_values():
    schema = json.loads((ROOT / "charts/common/application.schema.json").read_text())
    for name in APPLICATIONS:
        keys = set(yaml.safe_load((ROOT / f"charts/{name}/values.yaml").read_text()))
        assert keys == set(schema["properties"]) - {"global", "common"}
