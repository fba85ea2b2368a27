"""Reads what GET /metrics says."""

import re
from collections import Counter

LABEL = re.compile(r'(\w+)="((?:\\.|[^"\\])*)"')


class Metrics:
    """One reading: the value of every series by name and labels."""

    def __init__(self, text):
        self.series = {}
        self.types = {}
        self.helps = {}
        for line in text.splitlines():
            if line.startswith("#"):
                _, what, name, rest = line.split(" ", 3)
                (self.types if what == "TYPE" else self.helps)[name] = rest
            else:
                found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
                key = (found[1], tuple(LABEL.findall(found[2] or "")))
                assert key not in self.series, line
                self.series[key] = float(found[3])

    def value(self, name, **labels):
        """0 where a known name has no such series yet."""
        assert name in self.types or re.sub("_(sum|count|bucket)$", "", name) in self.types, name
        return self.series.get((name, tuple(labels.items())), 0)

    def sums(self, name, *by):
        """Sums over all labels but these."""
        found = Counter()
        for (each, labels), value in self.series.items():
            if each == name:
                given = dict(labels)
                found[tuple(given[label] for label in by)] += value
        return found


def read_metrics(server):
    reply = server.get("/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Metrics(reply.body.decode())
