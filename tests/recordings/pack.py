#!/usr/bin/env python3
"""Packs recordings of a kube-apiserver into the one file that the tests replay.

  pack.py OUT.json.gz RECORDING.json.gz ...

Requests, answers and events that are the same are written once. The same recordings give the same bytes."""
import gzip, json, os, re, sys


class Table:
    def __init__(self):
        self.items, self.known = [], {}

    def add(self, item):
        key = json.dumps(item, sort_keys=True)
        if key not in self.known:
            self.known[key] = len(self.items)
            self.items.append(item)
        return self.known[key]


def main(out, files):
    requests, answers, events, recordings = Table(), Table(), Table(), []
    definition = server = None
    for file in sorted(files):
        with gzip.open(file) as text:
            recorded = json.load(text)
        assert definition in (None, recorded["crd"]) and server in (None, recorded["server"]), file
        definition, server = recorded["crd"], recorded["server"]
        cases = [
            [requests.add(c["op"]), answers.add([c["code"], c["answer"], c["warnings"]])]
            for c in recorded["cases"]
        ]
        watches = [
            {"path": path, "code": code, "events": [events.add(e) for e in seen]}
            for path, code, seen in recorded["watch"]
        ]
        name = re.sub(r"^kube-apiserver-v[0-9.]+-|\.json\.gz$", "", os.path.basename(file))
        recordings.append({"name": name, "seed": recorded["seed"], "cases": cases, "watches": watches})
    packed = {
        "server": server,
        "definition": definition,
        "requests": requests.items,
        "answers": answers.items,
        "events": events.items,
        "recordings": recordings,
    }
    text = json.dumps(packed, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    with open(out, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.write(text)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
