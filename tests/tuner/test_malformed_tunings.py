"""Whatever the files of a tuning or of stored plans hold, their readers answer with a result or one error of hal."""

import json
import random
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from fuzzing import SEEDS, mutated, nested, survives, twisted
from tuner_helpers import description, fake_tune
from typer.testing import CliRunner

from hal.cli.app import app
from hal.config import PlanKeys
from hal.errors import ConfigError, DataError, NotFoundError
from hal.job.stored_plans import StoredPlan, cache_folder, export_plans, import_plans, remember, stored
from hal.measure import Estimate
from hal.tuner import resumed
from hal.tuner.config import SpaceSection
from hal.tuner.files import Journal
from hal.tuner.report import report_of
from hal.tuner.result import Tuning
from hal.tuner.space import Space
from hal.tuner.storage import storage_errors
from hal.tuner.study import Study
from hal.tuner.trial_result import Trial


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good")
    with pytest.MonkeyPatch.context() as patch:
        fake_tune(patch, path, {"batch=64 precision=bf16 compile=eager": "oom"}, trials=6, finalists=2)
    return path / "out"


@pytest.fixture
def folder(good, tmp_path):
    return Path(shutil.copytree(good, tmp_path / "out"))


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HAL_CACHE", str(tmp_path / "cache"))


def a_plan(**changes):
    described = description()
    speed = Estimate(median=100, low=99, high=101, n=9, unit="samples/s")
    fields = {"objective": "throughput", "when": "2026-01-02T00:00:00+00:00", "hal_version": "0", "folder": "/a"}
    return StoredPlan(
        **{"fingerprint": described.fingerprint, "plan": described.default, "throughput": speed, **fields, **changes}
    )


# Damage of every kind


@pytest.mark.parametrize("seed", SEEDS)
def test_tuning_json(folder, seed):
    path = folder / "tuning.json"
    path.write_bytes(mutated(path.read_bytes(), random.Random(f"tuning {seed}")))
    survives(lambda: report_of(folder), f"tuning.json, seed {seed}")


@pytest.mark.parametrize("seed", SEEDS)
def test_tuning_json_with_another_meaning(folder, seed):
    rng = random.Random(f"meaning {seed}")
    tree = json.loads((folder / "tuning.json").read_text())
    for _ in range(3):
        part = rng.choice(["trials", "finalists", "pareto", "failures", "searched", "space", "config", "sentinels"])
        tree[part] = twisted({"": tree[part]}, rng).get("", tree[part])
    (folder / "tuning.json").write_text(json.dumps(tree))
    survives(lambda: report_of(folder), f"tuning.json, seed {seed}")


@pytest.mark.parametrize("seed", SEEDS)
def test_config_json(folder, seed):
    path = folder / "config.json"
    path.write_bytes(mutated(path.read_bytes(), random.Random(f"config {seed}")))
    survives(lambda: resumed({"resume": str(folder)}), f"config.json, seed {seed}")


@pytest.mark.parametrize("seed", SEEDS)
def test_trials_jsonl(folder, seed):
    path = folder / "trials.jsonl"
    path.write_bytes(mutated(path.read_bytes(), random.Random(f"trials {seed}")))
    survives(lambda: Journal(folder), f"trials.jsonl, seed {seed}")
    survives(lambda: report_of(folder), f"tuning.json, seed {seed}")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["stored", "export"])
def test_plans(tmp_path, kind, seed):
    path = remember(a_plan())
    if kind == "export":
        path = tmp_path / "team.json"
        export_plans(path, stored())
    path.write_bytes(mutated(path.read_bytes(), random.Random(f"{kind} {seed}")))
    survives(stored if kind == "stored" else lambda: import_plans(path), f"{kind}, seed {seed}")
    assert not (tmp_path / "x").exists()
    assert {each.name for each in tmp_path.iterdir()} <= {"cache", "team.json"}, "nothing is written elsewhere"


def reads(storage, folder):
    """What a tuning that is resumed does first with a study."""
    space = Space(description(), PlanKeys(), SpaceSection(), ("throughput",))
    with storage_errors(storage, folder), closing(Study(storage, "study", ("throughput",), space.dimensions)) as study:
        study.recover()
        found = study.trials()
        claim = study.claim(space.default, 60)
        if claim is not None:
            study.release(claim)
        return found


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """The same study in a database and in a journal."""
    path = tmp_path_factory.mktemp("studies")
    described = description()
    space = Space(described, PlanKeys(), SpaceSection(), ("throughput",))
    for storage in (f"sqlite:///{path}/study.db", f"journal:{path}/study.log"):
        with closing(Study(storage, "study", ("throughput",), space.dimensions)) as study:
            for plan in list(space.plans.values())[:6]:
                claim = study.claim(plan, 60)
                more = {"origin": "grid", "outcome": "ok", "values": {"throughput": 1.0}, "started": "now"}
                study.finish(claim, Trial(number=claim.number, plan=plan, **more))
    return path


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("file", ["study.db", "study.log"])
def test_studies(studies, tmp_path, file, seed):
    here = Path(shutil.copytree(studies, tmp_path / "studies"))
    storage = f"sqlite:///{here}/{file}" if file == "study.db" else f"journal:{here}/{file}"
    assert len(reads(storage, here)) == 6 or seed
    rng, data = random.Random(f"{file} {seed}"), bytearray((here / file).read_bytes())
    used = [at for at in range(len(data)) if data[at]]
    for at in rng.sample(used, 1 if seed % 2 else 200):
        data[at] ^= 1 << rng.randrange(8)
    (here / file).write_bytes(data)
    survives(lambda: reads(storage, here), f"{file}, seed {seed}")


# Damage of one kind, and what is said


def test_a_database_that_is_malformed(studies, tmp_path):
    here = Path(shutil.copytree(studies, tmp_path / "studies"))
    data = bytearray((here / "study.db").read_bytes())
    for at in range(4096, len(data), 4096):
        data[at] = 0xFF  # the kind of each page
    (here / "study.db").write_bytes(data)
    with pytest.raises(DataError, match=r"is damaged.*malformed") as caught:
        reads(f"sqlite:///{here}/study.db", here)
    assert "trials.jsonl" in caught.value.fix


def tree_of(good):
    return json.loads((good / "tuning.json").read_text())


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("winner_trial", 999, "winner"),
        ("winner_trial", None, "winner"),
        ("pareto", [999], "trial 999 is named"),
        ("failures", {"oom": [999]}, "trial 999 is named"),
        ("objectives", [], "at least 1 item"),
        ("objectives", ["throughput", "throughput"], "twice"),
        ("space", {"colour": [1]}, "no plan key"),
        ("seconds", -1, "greater than or equal to 0"),
        ("seconds", float("nan"), "finite"),
        ("config", {"model": [1]}, "config.model"),
        ("trials", [], "named"),
    ],
)
def test_a_tuning_that_contradicts_itself(good, folder, part, value, said):
    (folder / "tuning.json").write_text(json.dumps({**tree_of(good), part: value}))
    with pytest.raises(DataError, match=said):
        report_of(folder)


def test_a_finalist_of_no_trial(good, folder):
    tree = tree_of(good)
    tree["finalists"][0]["trial"] = 999
    (folder / "tuning.json").write_text(json.dumps(tree))
    with pytest.raises(DataError, match="trial 999 is named, but is not among the trials"):
        report_of(folder)


def test_what_is_good_is_read(good):
    assert Tuning.model_validate_json((good / "tuning.json").read_bytes()).winner is not None
    assert report_of(good).is_file()


def test_nested_without_end(folder, tmp_path):
    deep = tmp_path / "deep.json"
    deep.write_text('{"plans": ' + nested(100_000) + "}")
    with pytest.raises(ConfigError, match="contains no plans"):
        import_plans(deep)
    shutil.copy(deep, remember(a_plan()))
    assert stored() == ()
    for name in ("config.json", "tuning.json"):
        shutil.copy(deep, folder / name)
    with pytest.raises(DataError, match="damaged"):
        resumed({"resume": str(folder)})
    with pytest.raises(DataError, match="damaged"):
        report_of(folder)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("objective", "../../x"),
        ("objective", "a/b"),
        ("objective", "throughput\x1b[31m"),
        ("when", "\x1b]0;mine\x07"),
        ("folder", "x" * 5000),
        ("fingerprint.name", "\x1b[31m"),
        ("fingerprint.versions", {str(n): "" for n in range(2000)}),
        ("throughput.median", -5.0),
        ("throughput.median", 1e400),
    ],
)
def test_a_plan_from_elsewhere_that_is_refused(tmp_path, place, value):
    tree = a_plan().model_dump(mode="json")
    outer, _, inner = place.partition(".")
    if inner:
        tree[outer][inner] = value
    else:
        tree[outer] = value
    (tmp_path / "team.json").write_text(json.dumps({"schema_version": 1, "plans": [tree]}))
    done = CliRunner().invoke(app, ["plans", "--import", str(tmp_path / "team.json")])
    assert done.exit_code == 2, done.output
    assert "\x1b" not in done.output
    assert stored() == ()


@pytest.mark.parametrize(("key", "value"), [("backend", "../../../x"), ("model", "a/../..:X"), ("model", "é" * 300)])
def test_names_of_files_are_made_of_plain_parts(tmp_path, key, value):
    tree = a_plan().model_dump(mode="json")
    tree["fingerprint"][key] = value
    (tmp_path / "team.json").write_text(json.dumps({"schema_version": 1, "plans": [tree]}))
    import_plans(tmp_path / "team.json")
    assert [each.parent for each in tmp_path.rglob("*.json") if each.name != "team.json"] == [cache_folder()]
    assert len(stored()) == 1


def test_an_export_that_cannot_be_written(tmp_path):
    with pytest.raises(NotFoundError, match="Is a directory"):
        export_plans(tmp_path, [a_plan()])
    with pytest.raises(NotFoundError, match="cannot create the folder"):
        export_plans(Path("/dev/null/x.json"), [a_plan()])
    assert list(tmp_path.iterdir()) == []
