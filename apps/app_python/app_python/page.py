"""The page: plain HTML that looks right on a phone and needs no JavaScript."""

import html
import pathlib
import re

# Shared with app_rust, which shows the same page. Split at its {words}; CSS has none of that form.
_TEMPLATE = re.split(r"\{([a-z]+)\}",
                     pathlib.Path(__file__).with_name("page.html").read_text(encoding="utf-8"))


def render(pod, visits, replicas, version):
    """The page of `pod` after its visit number `visits`; `replicas` is {name: visits or None}."""
    known = [count for count in replicas.values() if count is not None]
    most = max([1, *known])
    words = {
        "app": "app-python",
        "pod": html.escape(pod),
        "visits": str(visits),
        "total": str(sum(known)),
        "bars": "".join(_bar(name, count, pod, most) for name, count in replicas.items()),
        "version": html.escape(version),
    }
    return "".join(words[part] if index % 2 else part for index, part in enumerate(_TEMPLATE))


def _bar(name, count, own, most):
    kind = "missing" if count is None else "own" if name == own else "other"
    shown = "missing" if count is None else count
    name = html.escape(name)
    return (f'<li class="{kind}" data-replica="{name}"><div class="row">'
            f'<span class="name">{name}</span><span class="count">{shown}</span></div>'
            f'<div class="track"><div class="bar" style="width:{(count or 0) * 100 // most}%">'
            "</div></div></li>\n")
