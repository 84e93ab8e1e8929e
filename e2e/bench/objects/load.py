#!/usr/bin/env python3
"""Makes many StreamConsumer objects, plays what surrounds the operator, and prints what they cost it. Started by run.sh."""

import http.client
import json
import os
import re
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

OBJECTS = int(sys.argv[1])
NAMESPACES = 10
WORKER_PORT = 7080  # where the operator asks workers
METRICS = 8090
CONNECTIONS = 8
CHANGES = 200
IDLE = 60
TICK = os.sysconf("SC_CLK_TCK")
GROUP = "/apis/keyweir.io/v1alpha1"


class Api:
    """A client of the API server, a connection for each thread."""

    def __init__(self):
        self.local = threading.local()

    def __call__(self, method, path, body=None, kind="application/json"):
        for attempt in range(5):
            try:
                if not hasattr(self.local, "connection"):
                    self.local.connection = http.client.HTTPSConnection(
                        "127.0.0.1", 6443, context=ssl._create_unverified_context(), timeout=60)
                self.local.connection.request(
                    method, path, json.dumps(body) if body is not None else None,
                    {"Authorization": "Bearer secret", "Content-Type": kind, "Accept": "application/json"})
                answer = self.local.connection.getresponse()
                text = answer.read()
                if answer.status == 429:
                    time.sleep(0.2)
                    continue
                if answer.status >= 300:
                    raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]}")
                return json.loads(text)
            except (OSError, http.client.HTTPException):
                del self.local.connection
                if attempt == 4:
                    raise
        raise RuntimeError(f"{method} {path}: no answer")


api = Api()
pool = ThreadPoolExecutor(CONNECTIONS)


def place(number):
    return f"load-{number % NAMESPACES}", f"object-{number}"


def consumer(number):
    namespace, name = place(number)
    return {
        "apiVersion": "keyweir.io/v1alpha1", "kind": "StreamConsumer",
        "metadata": {"name": name, "namespace": namespace, "labels": {"team": "load"}},
        "spec": {
            "source": {"kafka": {"bootstrapServers": ["kafka.kafka:9092"], "topics": [f"topic-{number}"], "group": f"group-{number}"}},
            "handler": {"http": {"url": f"http://handler-{number}.{namespace}.svc/"}},
        },
    }


class Worker(socketserver.BaseRequestHandler):
    """The worker of one object, told from the others by the address at which it is asked."""

    def handle(self):
        _, _, middle, low = self.request.getsockname()[0].split(".")
        number = int(middle) * 250 + int(low) - 1
        shards = [{"shard": f"topic-{number}/{shard}", "lag": 0, "lagSeconds": 0} for shard in range(8)]
        body = json.dumps([{
            "name": "/".join(place(number)), "inFlight": 0, "completed": 1000, "keptAside": 0, "shards": shards,
            "fleet": {"members": 1, "shards": 8, "unowned": 0},
        }])
        try:
            self.request.recv(4096)
            self.request.sendall(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        except OSError:
            pass  # The operator did not wait.


class Workers(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512


def complete(deployment):
    """Says of a Deployment that its pods run, as its controller would."""
    metadata, replicas = deployment["metadata"], deployment["spec"]["replicas"]
    path = f"/apis/apps/v1/namespaces/{metadata['namespace']}/deployments/{metadata['name']}/status"
    status = {"observedGeneration": metadata["generation"], "replicas": replicas, "readyReplicas": replicas,
              "updatedReplicas": replicas, "availableReplicas": replicas}
    api("PATCH", path, {"status": status}, "application/merge-patch+json")


def play_the_controller(stop):
    """Completes each Deployment when its spec has changed, by one watch."""
    version = "0"
    while not stop.is_set():
        connection = http.client.HTTPSConnection("127.0.0.1", 6443, context=ssl._create_unverified_context(), timeout=3600)
        try:
            connection.request("GET", f"/apis/apps/v1/deployments?watch=1&resourceVersion={version}&timeoutSeconds=3000",
                               headers={"Authorization": "Bearer secret"})
            for line in connection.getresponse():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    version = "0"
                    break
                found = event["object"]
                version = found["metadata"]["resourceVersion"]
                seen = found.get("status", {}).get("observedGeneration", 0)
                if event["type"] != "DELETED" and seen < found["metadata"]["generation"]:
                    pool.submit(complete, found)
        except (OSError, http.client.HTTPException, ValueError):
            time.sleep(0.2)


class Operator:
    def __init__(self):
        log = open(os.environ["LOG"], "ab")
        self.child = subprocess.Popen(
            [os.environ["OPERATOR"], "--defaults", os.environ["DEFAULTS"], "--listen", f"127.0.0.1:{METRICS}", "--log-level", "warn",
             "--status-page", "127.0.0.1:8091"], stdout=log, stderr=log, env={**os.environ, "MALLOC_ARENA_MAX": "1"})

    def memory(self):
        text = open(f"/proc/{self.child.pid}/status").read()
        return tuple(int(re.search(rf"{word}:\s+(\d+)", text).group(1)) / 1024 for word in ("VmHWM", "VmRSS"))

    def cpu(self):
        fields = open(f"/proc/{self.child.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def metric(self, name):
        connection = http.client.HTTPConnection("127.0.0.1", METRICS, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if re.match(rf"keyweir_operator_{name}(_total)?[{{ ]", line))

    def requests(self):
        return self.metric("api_requests")


def until(what, done, within=900):
    end = time.monotonic() + within
    while not done():
        if time.monotonic() > end:
            sys.exit(f"gave up waiting for {what}")
        time.sleep(0.5)


def ready():
    """How many objects are ready in their newest generation."""
    count, token = 0, ""
    while True:
        page = api("GET", f"{GROUP}/streamconsumers?limit=500&continue={token}")
        for found in page["items"]:
            status = found.get("status", {})
            if status.get("observedGeneration") == found["metadata"]["generation"]:
                count += any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
        token = page["metadata"].get("continue", "")
        if not token:
            return count


def reaction(number):
    """Seconds from a change of an object's spec until its workers' configuration says it."""
    namespace, name = place(number)
    started = time.monotonic()
    api("PATCH", f"{GROUP}/namespaces/{namespace}/streamconsumers/{name}",
        {"spec": {"execution": {"concurrency": 77}}}, "application/merge-patch+json")
    while True:
        found = api("GET", f"/api/v1/namespaces/{namespace}/configmaps/{name}-stc")
        if '"fixed": 77' in found["data"]["worker.json"]:
            return time.monotonic() - started
        if time.monotonic() - started > 60:
            sys.exit(f"{name} does not follow its change")
        time.sleep(0.005)


def main():
    workers = Workers(("0.0.0.0", WORKER_PORT), Worker)
    threading.Thread(target=workers.serve_forever, daemon=True).start()
    stop = threading.Event()
    threading.Thread(target=play_the_controller, args=(stop,), daemon=True).start()
    for number in range(NAMESPACES):
        api("POST", "/api/v1/namespaces", {"metadata": {"name": f"load-{number}"}})
    operator = Operator()
    until("the operator", lambda: _answers(operator))
    empty = operator.memory()[1]
    began = time.monotonic()
    list(pool.map(lambda n: api("POST", f"{GROUP}/namespaces/{place(n)[0]}/streamconsumers", consumer(n)), range(OBJECTS)))
    made = time.monotonic() - began
    until("all objects to be ready", lambda: ready() == OBJECTS)
    reconciled = time.monotonic() - began
    print(f"{OBJECTS} objects made in {made:.1f} s; all are Ready {reconciled:.1f} s after the first one was made")
    # Every worker is asked at least once, and what it says is written.
    until("numbers of all objects", lambda: _quiet(operator))
    calls = operator.requests()
    print(f"API calls for an object until then: {calls / OBJECTS:.1f}")
    peak, settled = operator.memory()
    print(f"memory of the operator: {empty:.1f} MiB without objects, {peak:.1f} MiB at its peak, {settled:.1f} MiB settled")
    before, cpu = operator.requests(), operator.cpu()
    time.sleep(IDLE)
    idle = 100 * (operator.cpu() - cpu) / IDLE
    print(f"idle: {idle:.2f} % of a core, {(operator.requests() - before) / IDLE:.1f} API calls a second, all workers asked")
    step = max(1, OBJECTS // CHANGES)
    times = sorted(reaction(number) for number in range(0, OBJECTS, step)[:CHANGES])
    print(f"a changed spec is in its ConfigMap after {1000 * times[len(times) // 2]:.0f} ms at the median, "
          f"{1000 * times[int(len(times) * 0.99) - 1]:.0f} ms at p99, {1000 * times[-1]:.0f} ms at most ({len(times)} changes)")
    # Another process of the same version: everything is found as it should be.
    operator.child.terminate()
    operator.child.wait()
    operator = Operator()
    began = time.monotonic()
    until("the operator", lambda: _answers(operator))
    until("a restart to settle", lambda: operator.metric("reconciles") >= OBJECTS and _quiet(operator))
    peak, settled = operator.memory()
    print(f"restarted: {operator.requests() / OBJECTS:.1f} API calls for an object, {peak:.1f} MiB at its peak, "
          f"{settled:.1f} MiB settled, {time.monotonic() - began:.0f} s")
    stop.set()
    operator.child.terminate()
    operator.child.wait()


def _answers(operator):
    try:
        return operator.requests() > 0
    except OSError:
        return False


def _quiet(operator):
    """Whether no more than a call for a hundred objects is made in five seconds."""
    before = operator.requests()
    time.sleep(5)
    return operator.requests() - before <= max(5, OBJECTS / 100)


main()
