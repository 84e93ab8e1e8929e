#!/usr/bin/env python3
"""An exec handler: adds up each customer's orders.

Keyweir starts this program, writes one line of JSON for each record to its
stdin, and reads its answer, lines of JSON too, from its stdout. Records of one
customer come one after the other, in order.

Try it without Keyweir:

    echo '{"id": "orders/0/1", "key": "anna", "value": "{\\"total\\": 5}", "attempt": 1}' | ./orders.py
"""

import json
import sys


def answer(record, action, **more):
    """Writes one line about a record, at once: an answer that waits in a buffer stands still."""
    print(json.dumps({"id": record["id"], "action": action, **more}), flush=True)


def handle(record):
    try:
        order = json.loads(record["value"])
        total = order["total"]
    except (TypeError, ValueError, KeyError):
        # No other attempt would end better: the record goes to the dead letters.
        return answer(record, "reject", reason="the value is no order with a total")

    if order.get("bank") == "closed":
        # Another attempt may: this key waits, all others go on.
        return answer(record, "retry", after="200ms", reason="the bank is closed")

    # Written to the output of that name before the record counts as done.
    answer(record, "output", name="receipts", key=record["key"], value={"customer": record["key"], "paid": total})
    answer(record, "done")


for line in sys.stdin:  # Ends when Keyweir wants this program to end.
    handle(json.loads(line))

print("no more orders", file=sys.stderr)  # Stderr goes to the worker's log.
