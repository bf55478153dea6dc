"""Rules in CEL in a definition's schema, as people who write operators meet them."""

import json

import pytest

from cluster import KUBECTLS

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct]}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              required: [cronSpec]
              x-kubernetes-validations:
                - rule: "self.minReplicas <= self.replicas && self.replicas <= self.maxReplicas"
                  messageExpression: "'replicas must be from %d to %d'.format([self.minReplicas, self.maxReplicas])"
                  fieldPath: ".replicas"
              properties:
                cronSpec:
                  type: string
                  x-kubernetes-validations:
                    - rule: "self.split(' ').size() == 5"
                      message: a cron spec has five parts
                image:
                  type: string
                  x-kubernetes-validations:
                    - {rule: self == oldSelf, message: the image is fixed, reason: FieldValueForbidden}
                minReplicas: {type: integer, default: 0}
                replicas: {type: integer, default: 1}
                maxReplicas: {type: integer, default: 10}
"""

CRONTAB = """
apiVersion: stable.example.com/v1
kind: CronTab
metadata: {name: nightly}
spec: {cronSpec: "0 0 * * *", image: job:1, replicas: 3}
"""


@pytest.fixture(params=KUBECTLS)
def kubectl(request, cluster, namespace):
    """kubectl of one version, in a namespace of the test's own, with the definition there."""

    def run(*arguments, **options):
        return cluster.kubectl("-n", namespace, *arguments, version=request.param, **options)

    def refused(*arguments, **options):
        process = cluster.kubectl_process(
            "-n", namespace, *arguments, version=request.param, check=False, **options
        )
        assert process.returncode != 0, process.stdout
        return process.stderr

    run.refused = refused
    run("apply", "-f", "-", input=DEFINITION)
    yield run
    run("delete", "-f", "-", input=DEFINITION)


def test_rules_hold_for_what_is_applied(kubectl):
    many = CRONTAB.replace("replicas: 3", "replicas: 30").replace("0 0 * * *", "0 0")
    told = kubectl.refused("apply", "-f", "-", input=many)
    assert "replicas must be from 0 to 10" in told and "spec.replicas" in told
    assert "a cron spec has five parts" in told
    assert "crontab.stable.example.com/nightly created" in kubectl("apply", "-f", "-", input=CRONTAB)
    told = kubectl.refused("apply", "-f", "-", input=CRONTAB.replace("job:1", "job:2"))
    assert "spec.image: Forbidden: the image is fixed" in told
    told = kubectl.refused("patch", "ct", "nightly", "--type=merge", "-p", '{"spec":{"maxReplicas":2}}')
    assert "replicas must be from 0 to 2" in told
    kubectl("patch", "ct", "nightly", "--type=merge", "-p", '{"spec":{"replicas":9}}')
    assert json.loads(kubectl("get", "ct", "nightly", "-o", "json"))["spec"]["replicas"] == 9


def test_a_rule_that_makes_no_sense_is_shown_where_it_stands(kubectl):
    told = kubectl.refused(
        "apply", "-f", "-", input=DEFINITION.replace("self.split(' ')", "self.spilt(' ')")
    )
    assert "properties[cronSpec].x-kubernetes-validations[0].rule: Invalid value" in told
    assert "undeclared reference to 'spilt'" in told
