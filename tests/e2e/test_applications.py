"""The two applications' charts in the cluster, through the life of a release, with every helm."""

import json
import urllib.request

import pytest

from cluster import HELMS, ROOT, eventually

PACKAGES = ROOT / ".cache/charts"
REPLICAS = {"app-python": 3, "app-rust": 2}


@pytest.fixture(scope="module", autouse=True)
def images(cluster):
    cluster.load(*REPLICAS)


class Release:
    """One release of an application's chart, in a namespace of its own."""

    def __init__(self, cluster, namespace, application, helm):
        self._cluster, self._namespace, self._helm = cluster, namespace, helm
        self.name = application

    def helm(self, verb, *arguments):
        return self._cluster.helm(verb, self.name, *arguments, "-n", self._namespace,
                                  version=self._helm)

    def apply(self, verb, *values):
        """`helm install` or `helm upgrade`, until all is ready."""
        options = [option for value in values for option in ("--set", value)]
        return self.helm(verb, PACKAGES / f"{self.name}-0.1.0.tgz", "--wait", "--timeout", "90s",
                         *options)

    def kubectl(self, *arguments):
        return self._cluster.kubectl("-n", self._namespace, *arguments)

    def get(self, *arguments):
        return self._cluster.get(*arguments, "-n", self._namespace)

    def url(self):
        service = self.get("svc", self.name)
        (ingress,) = service["status"]["loadBalancer"]["ingress"]
        assert list(ingress) == ["ip"], "the template in NOTES prints every field"
        return f"http://{ingress['ip']}:80"

    def visit(self, times):
        for _ in range(times):
            with urllib.request.urlopen(self.url(), timeout=10) as page:
                assert 'id="visits"' in page.read().decode()

    def all(self):
        """{replica: visits} as the replicas tell each other."""
        with urllib.request.urlopen(f"{self.url()}/visits/all", timeout=10) as answer:
            return {item["replica"]: item["visits"] for item in json.load(answer)["replicas"]}

    def counts(self):
        """[visits] as `cat` prints them."""
        return [int(self.kubectl("exec", f"pod/{name}", "--", "cat", "visits.txt"))
                for name in self.pods()]

    def pods(self):
        """{name: UID} of the release's pods, in the order of their ordinals."""
        selector = f"app.kubernetes.io/name={self.name}"
        return {pod["metadata"]["name"]: pod["metadata"]["uid"]
                for pod in self.get("pods", "-l", selector)["items"]}


@pytest.fixture(params=HELMS)
def release(cluster, namespace, request, application):
    return Release(cluster, namespace, application, request.param)


@pytest.mark.parametrize("application", list(REPLICAS))
def test_the_life_of_a_release(release):
    names = [f"{release.name}-{i}" for i in range(REPLICAS[release.name])]
    assert "REVISION: 1" in release.apply("install")
    assert list(release.pods()) == names
    release.visit(20)
    counts = release.counts()
    assert sum(counts) == 20
    eventually(lambda: list(release.all().values()) == counts, "every replica answers by its name")
    assert "Succeeded" in release.helm("test")

    before = release.pods()
    release.apply("upgrade", "env.VERSION=2")
    assert all(uid != before[name] for name, uid in release.pods().items()), "all were replaced"
    assert release.counts() == counts
    release.helm("rollback", "1", "--wait", "--timeout", "90s")
    environment = release.kubectl("get", "sts", release.name, "-o",
                                  "jsonpath={.spec.template.spec.containers[0].env}")
    assert {"name": "VERSION", "value": "0.1.0"} in json.loads(environment)
    assert release.counts() == counts

    kept = release.pods()
    release.apply("upgrade", f"replicas={len(names) + 1}")
    assert {**kept, **release.pods()} == release.pods(), "scaling replaces no pod"
    release.apply("upgrade", f"replicas={len(names) - 1}")
    eventually(lambda: list(release.pods()) == names[:-1], "scaled down")
    release.apply("upgrade", f"replicas={len(names)}")
    assert release.counts() == counts, "the same volume for the same ordinal"
    assert len(release.helm("history").splitlines()) == 1 + 6

    release.helm("uninstall", "--wait")
    eventually(lambda: not release.pods(), "pods gone")
    claims = {claim["metadata"]["name"]: claim["status"]["phase"]
              for claim in release.get("pvc")["items"]}
    assert claims == {f"www-{release.name}-{i}": "Bound" for i in range(len(names) + 1)}
    release.apply("install")
    assert release.counts() == counts, "the next release of this name goes on"
    release.kubectl("scale", f"sts/{release.name}", f"--replicas={len(names) + 1}")
    eventually(lambda: list(release.all().values()) == [*counts, 0],
               "the replicas know one more, of which no value of the chart speaks")


@pytest.mark.parametrize("application", ["app-python"])  # app-rust's image has no shell
def test_a_broken_count_is_not_ready(release):
    """It is taken out of the Service, not restarted, and never reset; mended, it is back."""
    release.apply("install", "replicas=1")
    release.visit(3)
    shell = ("exec", f"pod/{release.name}-0", "--", "sh", "-c")
    release.kubectl(*shell, "echo much > visits.txt")

    def ready():
        (pod,) = release.get("pods", "-l", f"app.kubernetes.io/name={release.name}")["items"]
        (status,) = pod["status"]["containerStatuses"]
        assert status["restartCount"] == 0
        return status["ready"]

    eventually(lambda: not ready(), "not ready")
    assert release.kubectl(*shell, "cat visits.txt") == "much\n"
    release.kubectl(*shell, "echo 3 > visits.txt")
    eventually(ready, "ready again")
    release.visit(1)
    assert release.counts() == [4]
