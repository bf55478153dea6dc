"""Several people on one server: tokens of a file and of an issuer, and a log of what they did."""

import json
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request

import pytest
import yaml

from cluster import TOOLS, Cluster, eventually
from issuer import Issuer

POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, nonResourceURLs: ["/api*", "/openapi*", "/version"]}
- {level: None, users: ["system:serviceaccount:kube-system:generic-garbage-collector"]}
- {level: Metadata, resources: [{group: "", resources: [secrets]}]}
- {level: RequestResponse, resources: [{group: "", resources: [configmaps, pods]}], verbs: [create, watch, delete]}
- {level: Metadata}
"""

TOKENS = '''first-token,anna,u-1,"dev,ops"
second-token,bob,u-2
'''

CONFIGURATION = """
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: {url}
    audiences: [coracle-e2e]
    certificateAuthority: {authority}
  claimMappings:
    username: {{expression: "'oidc:' + claims.sub"}}
    groups: {{claim: roles, prefix: "oidc:"}}
    extra: [{{key: example.com/tenant, valueExpression: claims.tenant}}]
  userValidationRules:
  - {{expression: "!user.username.startsWith('oidc:system:')", message: such names are not for people}}
anonymous:
  enabled: true
  conditions: {conditions}
"""


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    issuer = Issuer(tmp_path_factory.mktemp("issuer"))
    yield issuer
    issuer.close()


def configuration(issuer, *paths):
    conditions = json.dumps([{"path": path} for path in paths])
    return CONFIGURATION.format(url=issuer.url, authority=json.dumps(issuer.certificate.read_text()),
                                conditions=conditions)


@pytest.fixture(scope="module")
def team(tmp_path_factory, issuer):
    """A cluster that several people share."""
    home = tmp_path_factory.mktemp("team")
    files = {"policy.yaml": POLICY, "tokens.csv": TOKENS, "authentication.yaml": configuration(issuer, "/livez")}
    for name, text in files.items():
        (home / name).write_text(text)
    team = Cluster(f"team-{os.getpid()}", home)
    try:
        team.up("--audit-policy", home / "policy.yaml", "--token-auth-file", home / "tokens.csv",
                "--authentication-config", home / "authentication.yaml")
        yield team
    finally:
        team.delete()


def server(team):
    return team.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")


def with_token(team, token, *arguments, **options):
    """kubectl with this token and no certificate."""
    return team.kubectl_process("--kubeconfig", "/dev/null", "--server", server(team), "--insecure-skip-tls-verify",
                                f"--token={token}", *arguments, **options)


def whoami(team, token):
    shown = with_token(team, token, "auth", "whoami", "-o", "json", check=False)
    return json.loads(shown.stdout)["status"]["userInfo"] if shown.returncode == 0 else shown.stderr


def audited(team, **wanted):
    """The events of the log in which all of this is said."""
    lines = (team.data_dir / "audit.log").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    matches = lambda event: all(at(event, path.replace("__", ".")) == value for path, value in wanted.items())
    return [event for event in events if matches(event)]


def at(event, path):
    for key in path.split("."):
        event = (event or {}).get(key)
    return event


def test_tokens_of_a_file_are_their_bearers(team):
    anna = whoami(team, "first-token")
    assert (anna["username"], anna["uid"]) == ("anna", "u-1"), anna
    assert {"dev", "ops", "system:authenticated"} == set(anna["groups"]), anna
    assert whoami(team, "second-token")["username"] == "bob"
    assert "Unauthorized" in whoami(team, "no-token")
    refused = with_token(team, "first-token", "get", "pods", check=False)
    assert 'User "anna" cannot list resource "pods"' in refused.stderr, refused.stderr
    team.kubectl("create", "rolebinding", "dev", "--clusterrole=edit", "--group=dev")
    with_token(team, "first-token", "get", "pods")
    review = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": "first-token"}}
    made = json.loads(team.kubectl("create", "-f", "-", "-o", "json", input=json.dumps(review)))
    assert made["status"]["authenticated"] and made["status"]["user"]["username"] == "anna", made


def test_an_issuer_vouches_for_people(team, issuer):
    token = issuer.token(sub="carl", roles=["dev"], tenant="blue", jti="j-1")
    carl = eventually(lambda: isinstance(found := whoami(team, token), dict) and found, "the keys are there")
    assert carl["username"] == "oidc:carl" and {"oidc:dev", "system:authenticated"} == set(carl["groups"]), carl
    assert carl["extra"]["example.com/tenant"] == ["blue"], carl
    assert carl["extra"]["authentication.kubernetes.io/credential-id"] == ["JTI=j-1"], carl
    good = {"sub": "carl", "roles": [], "tenant": "blue"}
    for wrong in [{"aud": "others"}, {"exp": 1}, {"nbf": 1 << 40}, {"algorithm": "none"}, {"algorithm": "HS256"},
                  {"sub": "system:admin"}, {"tenant": 1}, {"iss": "https://127.0.0.1:1"}]:
        assert "Unauthorized" in whoami(team, issuer.token(**{**good, **wrong})), wrong
    review = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
              "spec": {"token": issuer.token(**{**good, "sub": "system:admin"})}}
    made = json.loads(team.kubectl("create", "-f", "-", "-o", "json", input=json.dumps(review)))
    assert "such names are not for people" in made["status"]["error"], made

    # A new key is fetched when a token shows it; the old one holds no longer.
    issuer.rotate("two")
    newer = issuer.token(**good)
    assert eventually(lambda: isinstance(whoami(team, newer), dict), "the new key is known")
    assert "Unauthorized" in whoami(team, token)
    asked, began = len(issuer.asked), time.monotonic()
    for _ in range(5):
        whoami(team, newer[:-8] + "AAAAAAAA")
    # Two documents at most every ten seconds, however long that was.
    fetches = 1 + (time.monotonic() - began) // 10
    assert len(issuer.asked) - asked <= 2 * fetches, issuer.asked


def as_stranger(team, path):
    """What somebody gets who shows nothing."""
    try:
        with urllib.request.urlopen(server(team) + path, timeout=10, context=ssl._create_unverified_context()) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return json.loads(error.read())["reason"]


def test_strangers_are_answered_where_the_file_says_and_it_is_read_again(team, issuer):
    assert as_stranger(team, "/livez") == "ok"
    assert as_stranger(team, "/version") == "Unauthorized"
    file = team.home / "authentication.yaml"
    file.write_text("nonsense")
    eventually(lambda: "what it said before still counts" in team.log_tail(), "the mistake is told")
    assert as_stranger(team, "/livez") == "ok"
    file.write_text(configuration(issuer, "/livez", "/version"))
    eventually(lambda: "gitVersion" in as_stranger(team, "/version"), "the file is read again")


def test_an_issuer_that_lies_floods_or_hangs_holds_nobody_up(team, issuer):
    file = team.home / "authentication.yaml"
    good = file.read_text()
    [jwt] = yaml.safe_load(good)["jwt"]
    others = [{**jwt, "issuer": {**jwt["issuer"], "url": f"{issuer.url}/{name}"}} for name in ("liar", "flood", "idle")]
    file.write_text(json.dumps({**yaml.safe_load(good), "jwt": [jwt, *others]}))
    told = {"liar": "oidc: issuer did not match the issuer returned by provider", "flood": "length limit exceeded",
            "idle": "context deadline exceeded"}
    log = lambda: (team.data_dir / "engine.log").read_text()
    for name, why in told.items():
        eventually(lambda: any(f"{issuer.url}/{name} cannot be had" in line and why in line
                               for line in log().splitlines()), f"{name} is told")
        claims = {"sub": "eve", "roles": [], "tenant": "x", "iss": f"{issuer.url}/{name}"}
        assert "Unauthorized" in whoami(team, issuer.token(**claims))
    claims = {"sub": "carl", "roles": [], "tenant": "x"}
    assert eventually(lambda: isinstance(whoami(team, issuer.token(**claims)), dict), "the honest one counts")
    file.write_text(good)


def test_what_people_do_is_in_the_log(team):
    made = team.kubectl("create", "configmap", "noted", "--from-literal=a=1", "-v=8",
                        "--as=dora", "--as-group=system:masters", check=False)
    assert "created" in made, made
    team.kubectl("create", "secret", "generic", "hidden", "--from-literal=password=swordfish")
    found = lambda **wanted: eventually(lambda: audited(team, **wanted), f"{wanted} is in the log")
    [event] = found(objectRef__name="noted", verb="create")
    assert (event["kind"], event["apiVersion"], event["level"]) == ("Event", "audit.k8s.io/v1", "RequestResponse")
    assert event["stage"] == "ResponseComplete" and event["responseStatus"]["code"] == 201, event
    assert event["user"]["username"] == "kubernetes-admin", event
    assert event["impersonatedUser"]["username"] == "dora", event
    assert event["sourceIPs"] == ["127.0.0.1"] and event["userAgent"].startswith("kubectl/"), event
    assert event["requestObject"]["data"] == event["responseObject"]["data"] == {"a": "1"}, event
    assert "managedFields" not in json.dumps(event), event
    assert event["annotations"] == {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""}
    [secret] = found(objectRef__name="hidden", verb="create")
    assert secret["level"] == "Metadata" and "requestObject" not in secret, secret
    assert "swordfish" not in (team.data_dir / "audit.log").read_text()

    with_token(team, "first-token", "get", "configmap", "noted")
    [allowed] = found(user__username="anna", objectRef__name="noted", verb="get")
    reason = 'RBAC: allowed by RoleBinding "dev/default" of ClusterRole "edit" to Group "dev"'
    assert allowed["annotations"]["authorization.k8s.io/reason"] == reason, allowed
    with_token(team, "second-token", "delete", "configmap", "noted", check=False)
    refused = found(user__username="bob", verb="delete")[0]
    assert refused["responseStatus"]["reason"] == "Forbidden", refused
    assert refused["annotations"]["authorization.k8s.io/decision"] == "forbid", refused
    whoami(team, "no-token")
    unknown = found(responseStatus__code=401, user__username=None)[0]
    assert unknown["stage"] == "ResponseStarted" and unknown["user"] == {}, unknown

    team.kubectl("get", "configmaps", "--watch", "--request-timeout=1s", check=False)
    stages = [event["stage"] for event in found(verb="watch", objectRef__resource="configmaps")]
    eventually(lambda: [event["stage"] for event in audited(team, verb="watch", objectRef__resource="configmaps")]
               == ["ResponseStarted", "ResponseComplete"], f"a watch begins and ends: {stages}")


def test_a_session_in_a_container_is_in_the_log_when_it_begins_and_when_it_ends(team):
    team.load("busybox")
    team.kubectl("label", "namespace", "default", "pod-security.kubernetes.io/audit=restricted")
    team.kubectl("run", "shell", "--image=busybox:1.36", "--restart=Never", "--", "sleep", "1000000")
    team.kubectl("wait", "pod/shell", "--for=condition=Ready")
    [made] = audited(team, objectRef__name="shell", verb="create", objectRef__subresource=None)
    told = made["annotations"]["pod-security.kubernetes.io/audit-violations"]
    assert told.startswith('would violate PodSecurity "restricted:latest": allowPrivilegeEscalation'), made
    assert made["annotations"]["pod-security.kubernetes.io/enforce-policy"] == "privileged:latest", made
    sessions = lambda: audited(team, objectRef__subresource="exec")
    command = [TOOLS / "kubectl-1.37/kubectl", "exec", "-i", "shell", "--", "cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=team.environment()) as session:
        eventually(lambda: [event["stage"] for event in sessions()] == ["ResponseStarted"], "it has begun")
        session.stdin.close()
    [begun, ended] = eventually(lambda: len(found := sessions()) == 2 and found, "it has ended")
    assert (begun["responseStatus"]["code"], ended["stage"]) == (101, "ResponseComplete"), ended
    assert begun["auditID"] == ended["auditID"] and "cat" in begun["requestURI"], begun


def test_files_are_kept_and_refused_when_they_are_wrong(team):
    team.down()
    policy = team.home / "policy.yaml"
    good = policy.read_text()
    policy.write_text(good.replace("level: Metadata}", "level: Everything}"))
    refused = team.up(check=False)
    assert refused.returncode == 1 and f"--audit-policy {policy}: rules[4].level: Unsupported value" in refused.stderr
    policy.write_text(good)
    team.up()
    assert whoami(team, "second-token")["username"] == "bob"
    lines = len(audited(team))
    team.kubectl("create", "configmap", "again")
    eventually(lambda: len(audited(team)) > lines, "the log goes on")
    team.down()

    # A disk that is full loses events, and says so; nothing else suffers.
    team.up("--audit-log", "/dev/full")
    team.kubectl("create", "configmap", "unnoted")
    full = "the audit log /dev/full cannot be written, and events are lost: No space left on device"
    eventually(lambda: full in (team.data_dir / "engine.log").read_text(), "it is told")
    team.kubectl("delete", "configmap", "unnoted")
    team.down()
    team.up("--audit-policy", "none", "--token-auth-file", "none", "--authentication-config", "none")
    assert "Unauthorized" in whoami(team, "second-token")
    written = (team.data_dir / "audit.log").read_text()
    team.kubectl("delete", "configmap", "again")
    assert (team.data_dir / "audit.log").read_text() == written
