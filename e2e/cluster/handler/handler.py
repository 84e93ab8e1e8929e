#!/usr/bin/env python3
"""A handler for the cluster tests: takes records by CloudEvents over HTTP, one by one or in batches.

HANDLE_MILLIS   how long a record takes (0)
REPORT_URL      where each handled record is reported as one JSON object; empty: nowhere
PORT            where it listens (8080)

GET /ready answers 200, GET /handled the number of records so far, POST /crash ends the process without an answer.
"""

import base64
import json
import os
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECONDS = int(os.environ.get("HANDLE_MILLIS", "0")) / 1000
REPORT_URL = os.environ.get("REPORT_URL", "")
BATCH = "application/cloudevents-batch+json"


class Count:
    """How many records were handled, by all threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.value = 0

    def add(self, records):
        with self.lock:
            self.value += records


HANDLED = Count()


def report(event, started):
    """Tells the collector what was handled and when; a record is not done before that is known."""
    if not REPORT_URL:
        return
    line = {**event, "pod": os.environ.get("POD_NAME", ""), "started": started, "ended": time.time()}
    request = urllib.request.Request(REPORT_URL, json.dumps(line).encode(), {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=10).read()


class Handler(BaseHTTPRequestHandler):
    """One connection of the worker; kept alive between records."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        answers = {"/ready": b"ready\n", "/handled": b"%d\n" % HANDLED.value}
        body = answers.get(self.path)
        self.answer(404 if body is None else 200, body or b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        if self.path == "/crash":
            os._exit(1)
        batch = self.headers.get("content-type", "").startswith(BATCH)
        events = json.loads(body) if batch else [self.event(body)]
        started = time.time()
        time.sleep(SECONDS)
        for event in events:
            report(event, started)
        HANDLED.add(len(events))
        lines = b"".join(json.dumps({"id": event["id"], "done": {}}).encode() + b"\n" for event in events)
        self.answer(200, lines, "application/x-ndjson") if batch else self.answer(204, b"")

    def event(self, body):
        """The record in the form that a batch has."""
        names = (name for name in self.headers if name.lower().startswith("ce-"))
        event = {name[3:].lower(): self.headers[name] for name in names}
        return {**event, "data_base64": base64.b64encode(body).decode()}

    def answer(self, status, body, content_type="text/plain"):
        self.send_response(status)
        if status != 204:
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing per record."""


if __name__ == "__main__":
    ThreadingHTTPServer.request_queue_size = 256
    ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Handler).serve_forever()
