#!/usr/bin/env python3
"""An http handler: the same as orders.py, as a web service.

Keyweir sends one POST for each record: the value is the body, everything else
stands in headers (CloudEvents 1.0). Start it, then:

    curl -i localhost:9000/ -H 'ce-id: orders/0/1' -H 'ce-partitionkey: anna' -d '{"total": 5}'
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class Orders(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # Connections are kept and used again.
    disable_nagle_algorithm = True  # Head and body of an answer leave at once.

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        customer = unquote(self.headers.get("ce-partitionkey", ""))
        try:
            order = json.loads(body)
            total = order["total"]
        except (ValueError, KeyError, TypeError):
            return self.answer(400, b"the value is no order with a total")  # rejected
        if order.get("bank") == "closed":
            return self.answer(502, b"the bank is closed")  # tried again later
        if order.get("receipt") == "none":
            return self.answer(204)  # done, with nothing to say
        lines = [
            {"action": "output", "name": "receipts", "key": customer, "value": {"customer": customer, "paid": total}},
            {"action": "done"},
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        self.answer(200, text.encode(), "application/x-ndjson")

    def answer(self, status, body=b"", kind="text/plain"):
        self.send_response(status)
        if status != 204:
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing for each request."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    server = ThreadingHTTPServer(("127.0.0.1", port), Orders)
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()
