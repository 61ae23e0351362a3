"""A worker that speaks the protocol and computes nothing: its speeds are a formula, its faults are told by the test.

Environment: FAKE_DESCRIPTION, a file with the answer to "open"; FAKE_FAULTS, JSON of "key=value key=value" to a fault;
FAKE_LOG, a file that gets a line for each trial or control that begins or ends; FAKE_SECONDS, how long a trial takes;
FAKE_GATE, a file for which each trial waits.
"""

import json
import os
import signal
import sys
import time

from hal.tuner.protocol import Channel, ClosedError
from hal.util.parent import die_with_parent

READ, WRITE, _ = map(int, sys.argv[1:]) if __name__ == "__main__" else (0, 0, 0)
FAULTS = json.loads(os.environ.get("FAKE_FAULTS", "{}"))
SECONDS = float(os.environ.get("FAKE_SECONDS", "0"))
GATE = os.environ.get("FAKE_GATE")
MIB = 1 << 20


def throughput(plan):
    """Samples a second: bf16 and compilation help, batches saturate, and threads=1 is a little slower."""
    speed = 1000 * plan["batch"] / (plan["batch"] + 48)
    speed *= {"fp32": 1.0, "bf16": 1.6, "fp16": 4.0}[plan["precision"]]
    speed *= {"eager": 1.0, "default": 1.25, "max": 1.3}[plan["compile"]]
    speed *= 0.9 if plan["threads"] == 1 else 1.0
    return speed


def log(word, plan):
    with open(os.environ["FAKE_LOG"], "a") as file:
        file.write(f"{word} {json.dumps(plan, sort_keys=True)}\n")


def estimate(value, unit):
    return {"median": value, "low": value * 0.99, "high": value * 1.01, "n": 12, "unit": unit}


def fault_of(plan):
    for words, fault in FAULTS.items():
        if all(str(plan[k]) == v for k, v in (word.split("=") for word in words.split())):
            return fault
    return None


def trial(order):
    plan = order["plan"]
    log("begin" if order["guard"] else "control", plan)  # of which a slow machine has more
    time.sleep(SECONDS)
    while GATE and not os.path.exists(GATE):
        time.sleep(0.01)
    fault = fault_of(plan)
    if fault == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "137":
        os._exit(137)
    elif fault == "exit":
        os._exit(3)
    elif fault == "hang":
        while True:
            pass
    elif fault == "rubbish":
        os.write(WRITE, b"\x00\xffloading weights... 100%\n")
    elif fault == "half":
        os.write(WRITE, b'{"v":1,"id"')
        os._exit(0)
    elif fault == "strange":
        return {"outcome": "wonderful"}
    elif fault in ("oom", "nan", "compile", "diverged", "unsupported", "failed"):
        return {"outcome": fault, "message": f"as told: {fault}"}
    speed = throughput(plan)
    step_ms = 1000 * plan["batch"] / speed
    slow = order["beat"] is not None and speed * 1.01 < order["beat"]["low"]
    log("end", plan)
    return {
        "outcome": "ok",
        "phases": {"compile_s": 0.01, "warmup_s": 0.01, "steady_s": 0.01},
        "measurement": {
            "throughput": estimate(speed, "samples/s"),
            "step_ms": estimate(step_ms, "ms"),
            "peak_memory_bytes": 100 * MIB + plan["batch"] * MIB,
            "blocks": 12,
            "steps_per_block": 1,
            "stopped": "surely slower" if slow else "narrow enough",
        },
        "guard": None if slow else {"passed": True, "steps": 8},
    }


def main():
    die_with_parent()
    channel = Channel(READ, WRITE)
    held = None
    sys.stdout.write("a worker may print what it likes\n")
    while True:
        try:
            request = channel.receive()
        except ClosedError:
            return
        do = request["do"]
        if do == "open":
            with open(os.environ["FAKE_DESCRIPTION"]) as file:
                result = json.load(file)
        elif do == "trial":
            channel.send({"id": request["id"], "phase": "measure"})
            result = trial(request["order"])
        elif do == "hold":
            held, result = request["order"]["plan"], 4
        elif do == "block":
            result = request["steps"] * held["batch"] / throughput(held)
        else:
            result = ""
        channel.send({"id": request["id"], "result": result})


if __name__ == "__main__":
    main()
