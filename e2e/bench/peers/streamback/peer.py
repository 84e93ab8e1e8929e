"""The Streamback contender: sleeps in its handler, counts, checks each key's order, says so at the end.
Settings are name=value words; see e2e/bench/src/child.rs for what is printed and when."""
import json
import multiprocessing
import os
import sys
import threading
import time

from streamback import Streamback

KEYS = 1000

words = dict(word.split("=", 1) for word in sys.argv[1:])
handler, window = int(words["handler_ms"]) / 1e3, int(words["window_ms"]) / 1e3
processes, records = int(words["concurrency"]), int(words["records"])

# Shared by the listener processes. A key belongs to one partition and so to one process.
following = multiprocessing.Array("q", KEYS, lock=False)
ended = multiprocessing.Value("q", 0)
violations = multiprocessing.Value("q", 0)
handled_seconds = multiprocessing.Value("d", 0.0)
first = multiprocessing.Value("d", 0.0)

options = {"auto_flush_messages_count": 200} if words["setting"] == "tuned" else {}
app = Streamback(
    words["group"],
    streams="main=kafka://" + words["bootstrap"],
    log_level="ERROR",
    scheduler_state_file=os.path.join(os.environ.get("TMPDIR", "/tmp"), words["group"] + ".json"),
    **options,
)


@app.listen(words["topic"], concurrency=processes)
def handle(context, message):
    began = time.time()
    if first.value == 0.0:
        first.value = began
    key, number = message.value["k"], message.value["s"]
    if following[key] != number:
        with violations.get_lock():
            violations.value += 1
    if handler:
        time.sleep(handler)
    following[key] = number + 1
    with ended.get_lock():
        ended.value += 1
        handled_seconds.value += time.time() - began


def watch():
    while first.value == 0.0:
        time.sleep(0.001)
    print('{"started":true}', flush=True)
    half = None
    while True:
        elapsed, done = time.time() - first.value, ended.value
        if half is None and elapsed >= window / 2:
            half = done
        if elapsed >= window or 0 < records <= done:
            break
        time.sleep(0.005)
    said = {
        "records": done, "seconds": elapsed, "second_half": done - (half or 0), "violations": violations.value,
        "most_at_once": processes, "handler_ms": handled_seconds.value * 1e3 / max(done, 1),
    }
    print(json.dumps(said), flush=True)


threading.Thread(target=watch, daemon=True).start()
app.start()
