"""One tuning on fake workers in a process of its own: ``python drive.py KEYS_AS_JSON``."""

import json
import sys

if __name__ == "__main__":
    from tuner_helpers import FAKE

    from hal.tuner import resumed, tune

    found = tune(resumed(json.loads(sys.argv[1])), command=FAKE)
    sys.stdout.write(
        json.dumps({"status": found.status, "trials": len(found.trials), "winner": found.winner_trial}) + "\n"
    )
