"""Where a study is kept, what is said when it cannot be, and that no password is written anywhere."""

import json
import subprocess
import sys

import optuna
import pytest
from postgresql import SECRET, free_port
from tuner_helpers import FAKE, fake_tune

from hal.config import build, read, without_password
from hal.errors import ConfigError, RunError, UnavailableError
from hal.tuner import TuneObserver, resumed, tune
from hal.tuner.config import TuneConfig
from hal.tuner.storage import open_study
from hal.tuner.trial_result import Outcome


def opened(url):
    study, close = open_study(url, "study", ["maximize"])
    close()
    return study


class TestPostgresql:
    """Plain URLs work with psycopg 3; what is wrong is told apart."""

    @pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
    def test_plain_urls(self, postgresql, scheme):
        url = postgresql.new_database().replace("postgresql", scheme, 1)
        assert opened(url).study_name == opened(url).study_name == "study"

    @pytest.mark.parametrize(
        ("changes", "error", "said"),
        [
            ({"password": "guessed"}, ConfigError, 'authentication failed for user "tuner"'),
            ({"user": "nobody"}, ConfigError, 'authentication failed for user "nobody"'),
            ({"database": "nothing"}, ConfigError, 'database "nothing" does not exist'),
            ({"user": "stranger"}, ConfigError, "permission denied"),
            ({"port": "many"}, ConfigError, "cannot be used"),
        ],
    )
    def test_refused(self, postgresql, changes, error, said):
        with pytest.raises(error, match=said) as raised:
            opened(postgresql.url(**changes))
        assert raised.value.exit_status == 2
        assert SECRET not in str(raised.value)
        assert "guessed" not in str(raised.value)

    def test_no_server(self, postgresql):
        with pytest.raises(UnavailableError, match="no server answers at this address") as raised:
            opened(postgresql.url(port=free_port()))
        assert SECRET not in str(raised.value)

    def test_no_password_is_written(self, postgresql, monkeypatch, tmp_path):
        url = postgresql.new_database()
        fake_tune(monkeypatch, tmp_path, storage=url, trials=3)
        out = tmp_path / "out"
        written = [path for path in out.rglob("*") if path.is_file()]
        assert {"config.json", "tuning.json"} <= {path.name for path in written}
        assert [path for path in written if SECRET.encode() in path.read_bytes()] == []
        kept = json.loads((out / "config.json").read_text())["keys"]["storage"]
        assert kept == url.replace(f":{SECRET}", "")
        # To go on, the password comes from the environment.
        monkeypatch.setenv("PGPASSWORD", SECRET)
        again = tune(resumed({"resume": str(out), "trials": 5}), command=FAKE)
        assert len(again.trials) == 5

    def test_it_goes_away(self, postgresql, monkeypatch, tmp_path):
        url = postgresql.new_database()
        name = url.rpartition("/")[2]

        class Puller(TuneObserver):
            def trial(self, trial, progress):
                if progress.done == 2:
                    postgresql.sql(f"drop database {name} with (force)")

        with pytest.raises(RunError, match="no longer answers") as raised:
            fake_tune(monkeypatch, tmp_path, observer=Puller(), storage=url)
        assert SECRET not in str(raised.value)
        assert f"resume={tmp_path / 'out'}" in raised.value.fix

    def test_a_dropped_connection_is_made_anew(self, postgresql, monkeypatch, tmp_path):
        url = postgresql.new_database()
        dropped = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{url.rpartition('/')[2]}'"

        class Cutter(TuneObserver):
            def trial(self, trial, progress):
                postgresql.sql(dropped)

        found = fake_tune(monkeypatch, tmp_path, observer=Cutter(), storage=url, trials=4)
        assert len(found.trials) == 4


def test_the_driver_is_missing():
    """In a process of its own, where psycopg cannot be imported."""
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from hal.tuner.storage import open_study\n"
        f"open_study('postgresql://me:{SECRET}@localhost/tuning', 'study', ['maximize'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr[done.stderr.rindex("hal.errors.UnavailableError") :]
    assert "storage=postgresql://me@localhost/tuning needs the driver of PostgreSQL" in last
    assert "pip install 'hal-tensor[postgresql]'" in last
    assert SECRET not in done.stderr


@pytest.mark.parametrize("pairs", [["storage=x://u:hush@h/d", "space=[1"], ["storage:x://u:hush@h/d"]])
def test_wrong_keys_beside_a_password(pairs):
    with pytest.raises(ConfigError) as raised:
        read(TuneConfig, pairs)
    assert "hush" not in str(raised.value)


def test_a_wrong_key_with_a_password():
    with pytest.raises(ConfigError, match="storag") as raised:
        build(TuneConfig, {"model": "cnn", "storag": "x://u:hush@h/d", "storage": ["x://u:hush@h/d"]})
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    ["sqlite:////tmp/a:b@c.db", "journal:/shared/study.log", "postgresql://me@host/tuning", "did you mean batch?"],
)
def test_what_holds_no_password_stays(text):
    assert without_password(text) == text


def test_a_torn_journal(monkeypatch, tmp_path):
    """A machine that stops while it writes leaves half a line; the study goes on with what is whole."""

    class Tearer(TuneObserver):
        def trial(self, trial, progress):
            with (tmp_path / "study.log").open("ab") as file:
                file.write(b'{"op_code":4,"worker')

    storage = f"journal:{tmp_path}/study.log"
    first = fake_tune(monkeypatch, tmp_path, storage=storage, trials=3, observer=Tearer())
    again = fake_tune(monkeypatch, tmp_path, storage=storage, trials=6, out=str(tmp_path / "again"))
    assert again.trials[:3] == first.trials
    assert len(again.trials) == 6


def test_what_a_dashboard_shows(monkeypatch, tmp_path):
    """A dashboard reads states, values, parameters and attributes from Optuna's storage, and nothing of hal's."""
    found = fake_tune(monkeypatch, tmp_path, faults={"compile=default": "oom"}, constraint={"memory": "300M"})
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/out/study.db")
    shown = {each.number: each for each in study.trials}
    for trial in found.trials:
        each = shown[trial.number]
        if trial.cut_short:
            assert (each.state.name, each.values) == ("PRUNED", None)
            assert each.user_attrs["outcome"].startswith("stopped early")
        elif trial.outcome is Outcome.OK:
            assert (each.state.name, each.values) == ("COMPLETE", [trial.values["throughput"]])
            assert each.params["batch"] == trial.plan.batch
            assert each.user_attrs["outcome"] == "ok"
        else:
            assert (each.state.name, each.user_attrs["outcome"]) == ("FAIL", "oom: as told: oom")
        assert each.duration is not None
        assert bool(each.system_attrs.get("constraints")) is bool(trial.violations)
    assert {each.state.name for each in shown.values()} == {"PRUNED", "COMPLETE", "FAIL"}
    assert study.metric_names == ["throughput"]
    assert study.best_trial.number == found.winner_trial, "what breaks a constraint is not the best"
