"""Admission policies, as upstream's conformance tests and people use them, with stock kubectl."""

import json

import pytest

from cluster import eventually

GROUP = "admissionregistration.k8s.io/v1"


class Policies:
    """Policies about what is in one namespace."""

    def __init__(self, cluster, namespace):
        self.cluster, self.namespace = cluster, namespace
        self.made = []

    def apply(self, kind, name, spec, **options):
        name = f"{self.namespace}-{name}"
        value = {"apiVersion": GROUP, "kind": kind, "metadata": {"name": name}, "spec": spec}
        self.made.append((kind, name))
        return self.cluster.kubectl_process("apply", "-f", "-", input=json.dumps(value), **options)

    def policy(self, kind, name, group, resource, operations=("CREATE", "UPDATE"), **spec):
        constraints = {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}},
            "resourceRules": [{"apiGroups": [group], "apiVersions": ["v1"],
                               "operations": list(operations), "resources": [resource]}]}
        return self.apply(f"{kind}AdmissionPolicy", name, {"matchConstraints": constraints, **spec},
                          check=False)

    def bind(self, kind, name, policy=None, **spec):
        policy = f"{self.namespace}-{policy or name}"
        self.apply(f"{kind}AdmissionPolicyBinding", name, {"policyName": policy, **spec})

    def clear(self):
        for kind, name in reversed(self.made):
            self.cluster.kubectl("delete", kind, name, "--ignore-not-found")
        self.made.clear()


@pytest.fixture
def policies(cluster, namespace):
    policies = Policies(cluster, namespace)
    try:
        yield policies
    finally:
        policies.clear()


def deployment(name, replicas):
    labels = {"app": name}
    pod = {"metadata": {"labels": labels},
           "spec": {"containers": [{"name": "main", "image": "busybox:none"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def create(cluster, namespace, value, *arguments):
    return cluster.kubectl_process("create", "-n", namespace, "-f", "-", *arguments,
                                   input=json.dumps(value), check=False)


def test_a_policy_refuses_by_its_variables_and_by_params_of_a_defined_kind(cluster, namespace, policies):
    wrong = policies.policy("Validating", "bad", "apps", "deployments",
                            validations=[{"expression": "object.spec.replicas >"}])
    assert wrong.returncode != 0 and "compilation failed: ERROR: <input>:1:23: Syntax error" in wrong.stderr

    cluster.kubectl("apply", "-f", "-", input=json.dumps({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"limits.{namespace}.example.com"}, "spec": {
            "group": f"{namespace}.example.com", "scope": "Namespaced",
            "names": {"plural": "limits", "kind": "Limit"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"maxReplicas": {"type": "integer"}}}}}]}}))
    try:
        group = f"{namespace}.example.com/v1"
        done = policies.policy(
            "Validating", "limit", "apps", "deployments",
            paramKind={"apiVersion": group, "kind": "Limit"},
            variables=[{"name": "replicas", "expression": "object.spec.replicas"}],
            validations=[{"expression": "variables.replicas > 1"},
                         {"expression": "variables.replicas <= params.maxReplicas",
                          "messageExpression": "'at most ' + string(params.maxReplicas)",
                          "reason": "Forbidden"}])
        assert done.returncode == 0, done.stderr
        policies.bind("Validating", "limit", validationActions=["Deny"],
                      paramRef={"name": "limit", "parameterNotFoundAction": "Deny"})
        refused = create(cluster, namespace, deployment("a", 2))
        assert "no params found for policy binding" in refused.stderr, refused.stderr
        limit = {"apiVersion": group, "kind": "Limit", "metadata": {"name": "limit"}, "maxReplicas": 3}
        assert create(cluster, namespace, limit).returncode == 0

        one = create(cluster, namespace, deployment("a", 1))
        name = f"{namespace}-limit"
        told = (f'The deployments "a" is invalid: : ValidatingAdmissionPolicy \'{name}\' with binding '
                f"'{name}' denied request: failed expression: variables.replicas > 1")
        assert told in one.stderr, one.stderr
        refused = create(cluster, namespace, deployment("a", 4), "--dry-run=server")
        assert "(Forbidden)" in refused.stderr and "at most 3" in refused.stderr, refused.stderr
        assert create(cluster, namespace, deployment("a", 2)).returncode == 0
        replica_set = {**deployment("b", 1), "kind": "ReplicaSet"}
        assert create(cluster, namespace, replica_set).returncode == 0
        scaled = cluster.kubectl_process("patch", "deployment", "a", "-n", namespace, "--type=merge",
                                         "-p", '{"spec": {"replicas": 9}}', check=False)
        assert "at most 3" in scaled.stderr, scaled.stderr
    finally:
        policies.clear()
        cluster.kubectl("delete", "crd", f"limits.{namespace}.example.com", "--wait=false")


def test_what_a_policy_only_warns_of_goes_through_and_types_are_checked(cluster, namespace, policies):
    policies.policy("Validating", "warn", "apps", "deployments", validations=[
        {"expression": "object.spec.replicas > '1'", "messageExpression": "'n: ' + object.spec.replicas"},
        {"expression": "object.spec.replicas > 1", "message": "one is few"}])
    policies.bind("Validating", "warn", validationActions=["Warn", "Audit"])
    done = create(cluster, namespace, deployment("a", 1))
    assert done.returncode == 0, done.stderr
    name = f"{namespace}-warn"
    told = f"Warning: Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{name}': "
    assert told + "one is few" in done.stderr, done.stderr
    assert told + "expression 'object.spec.replicas > '1'' resulted in error" in done.stderr, done.stderr

    def checked():
        policy = cluster.get("validatingadmissionpolicy", name)
        status = policy.get("status", {})
        if status.get("observedGeneration") != policy["metadata"]["generation"]:
            return None
        return status["typeChecking"]["expressionWarnings"]

    warnings = eventually(checked, "the types are checked")
    assert [it["fieldRef"] for it in warnings] == ["spec.validations[0].expression",
                                                   "spec.validations[0].messageExpression"]
    assert "found no matching overload for '_>_' applied to '(int, string)'" in warnings[0]["warning"]
    assert "found no matching overload for '_+_' applied to '(string, int)'" in warnings[1]["warning"]


def test_policies_change_objects_before_they_are_checked(cluster, namespace, policies):
    apply = "Object{spec: Object.spec{replicas: 1337}}"
    done = policies.policy(
        "Mutating", "replicas", "apps", "deployments", reinvocationPolicy="Never", failurePolicy="Fail",
        mutations=[{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": apply}}],
        matchConditions=[{"name": "small", "expression": "object.spec.replicas == 0"}])
    assert done.returncode == 0, done.stderr
    policies.bind("Mutating", "replicas")
    patch = ("[JSONPatch{op: 'add', path: '/metadata/annotations', value: {}}, JSONPatch{op: 'add', path: "
             "'/metadata/annotations/' + jsonpatch.escapeKey('example.com/by'), value: "
             "request.userInfo.username}]")
    policies.policy("Mutating", "owner", "", "configmaps", reinvocationPolicy="IfNeeded",
                    mutations=[{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}])
    policies.bind("Mutating", "owner")
    made = create(cluster, namespace, deployment("none", 0), "--dry-run=server", "-o", "json")
    assert json.loads(made.stdout)["spec"]["replicas"] == 1337, made.stderr
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}}
    assert create(cluster, namespace, config).returncode == 0
    annotations = cluster.get("configmap", "mine", "-n", namespace)["metadata"]["annotations"]
    assert annotations["example.com/by"] == "kubernetes-admin"

    cluster.kubectl("patch", "mutatingadmissionpolicy", f"{namespace}-owner", "--type=merge", "-p",
                    '{"spec": {"reinvocationPolicy": "Never"}}')
    wrong = policies.policy("Mutating", "wrong", "apps", "deployments", reinvocationPolicy="Never",
                            mutations=[{"patchType": "ApplyConfiguration",
                                        "applyConfiguration": {"expression": "object"}}])
    assert "must evaluate to Object but got dyn" in wrong.stderr, wrong.stderr


def test_pods_of_controllers_and_connections_are_judged_and_why_names_the_policy(
        cluster, namespace, policies):
    policies.policy("Validating", "quiet", "", "pods/exec", operations=["CONNECT"], validations=[{
        "expression": "object.command[0] != 'sh'", "message": "no shells"}])
    policies.bind("Validating", "quiet", validationActions=["Deny"])
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "main"}, "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": "busybox:1.36", "command": ["sleep", "600"]}]}}
    assert create(cluster, namespace, pod).returncode == 0
    cluster.kubectl("wait", "pod/main", "-n", namespace, "--for=condition=Ready", "--timeout=60s")
    shell = cluster.kubectl_process("exec", "-n", namespace, "main", "--", "sh", check=False)
    assert "no shells" in shell.stderr, shell.stderr
    assert cluster.kubectl("exec", "-n", namespace, "main", "--", "echo", "hi") == "hi\n"

    policies.policy("Validating", "owned", "", "pods", validations=[{
        "expression": "has(object.metadata.labels) && 'owner' in object.metadata.labels",
        "message": "pods have an owner"}])
    policies.bind("Validating", "owned", validationActions=["Deny"])
    assert create(cluster, namespace, deployment("web", 1)).returncode == 0

    def told():
        said = cluster.coracle("why", "deployment/web", "-n", namespace, check=False).stdout
        return said if "pods have an owner" in said else None

    said = eventually(told, "why names the policy")
    assert f"ValidatingAdmissionPolicy '{namespace}-owned'" in said, said
