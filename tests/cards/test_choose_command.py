"""What ``hal choose`` prints, and its page."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hal import catalogue
from hal.cards.choice import Choice
from hal.cards.choose import choose
from hal.cards.choose_config import ChooseConfig
from hal.cards.choose_page import _scatter, _sides, html_text
from hal.cli.app import app
from hal.config import build
from hal.page.figures import log_axis


def chosen(**keys):
    return choose(build(ChooseConfig, {"model": "cnn", **keys}))


@pytest.fixture(scope="module")
def plain():
    return chosen()


class TestCommand:
    def run(self, *words):
        return CliRunner().invoke(app, ["choose", *words], env={"COLUMNS": "100"})

    def test_a_table(self):
        done = self.run("model=cnn", "watts<=150", "memory>=16", "vendor=nvidia")
        assert done.exit_code == 0
        assert "samples/s" in done.stdout
        assert "Left out" in done.stdout
        assert "meant to hold in 80%" in done.stdout

    def test_for_is_use(self):
        done = self.run("model=cnn", "for=training", "mode=infer")
        assert done.exit_code == 2
        assert "use=training trains" in done.output

    def test_devices_of_the_same_group_are_not_called_slower(self, plain):
        known = [each for each in plain.candidates if each.prediction]
        same = sum(each.group == known[14].group for each in known[15:])
        said = f"{same} more of group {known[14].group} and {len(known) - 15 - same} slower are listed by --json"
        assert same > 0
        assert said in self.run("model=cnn").stdout

    @pytest.mark.parametrize(
        ("word", "said"),
        [
            ("memory<=8", "memory= is the least memory of a device in GB"),
            ("memory>8", "write 'memory>=8' or memory=8"),
            ("watts>=300", "watts= is the most watts of a device"),
            ("watts>150", "write 'watts<=150' or watts=150"),
            ("price < 5", "write 'price<=5' or price=5"),
        ],
    )
    def test_which_way_a_limit_goes(self, word, said):
        done = self.run("model=cnn", word)
        assert done.exit_code == 2
        assert said in " ".join(done.output.split())

    def test_json(self, plain):
        done = self.run("model=cnn", "--json")
        assert Choice.model_validate_json(done.stdout) == plain

    def test_what_is_unknown_is_printed(self):
        done = self.run("--unknown")
        assert "memory_gb (15)" in done.stdout
        assert "nnp-t" in done.stdout
        assert "contradictions" in done.stdout
        assert "memory_gb" in json.loads(self.run("--unknown", "--json").stdout)["unknown"]

    def test_the_catalogue_is_printed(self):
        assert "rtx4090" in self.run("--devices").stdout
        held = json.loads(self.run("--devices", "--json").stdout)
        assert len(held["devices"]) == len(catalogue.devices())

    def test_the_page(self, tmp_path, plain):
        assert "Predicted throughput" in html_text(plain)
        path = tmp_path / "choice.html"
        assert self.run("model=cnn", f"html={path}").exit_code == 0
        assert path.stat().st_size > 10_000
        assert self.run("model=cnn", f"html={path}").exit_code == 2  # it is not overwritten

    def test_the_page_with_prices(self, tmp_path, plain):
        path = tmp_path / "prices.csv"
        path.write_text("device,price\nrtx4090,1600\nl4,2500\n")
        page = html_text(chosen(prices=str(path)))
        columns = re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', page)
        assert columns.index("price") < columns.index("step, ms")
        assert "price" not in re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', html_text(plain))
        assert "Not in the picture, since the list of prices has no price for them: B200" in page
        assert "Not in the picture, since no source says their watts: " in html_text(plain)

    def test_the_picture_names_the_fastest(self, plain):
        picture = _scatter([each for each in plain.candidates if each.prediction]).figure["data"][0]
        assert [name for name in picture["text"] if name] == picture["customdata"][:5]

    @pytest.mark.parametrize(("low", "high"), [(53e3, 183e3), (300, 150_000), (0.02, 5)])
    def test_ticks_are_whole_numbers_within_the_axis(self, low, high):
        up = log_axis("samples/s", low, high)
        assert len(up["ticktext"]) >= 4
        assert [float(text.replace(",", "")) for text in up["ticktext"]] == pytest.approx(up["tickvals"])
        assert low / 1.2 < up["tickvals"][0] < up["tickvals"][-1] < 1.2 * high

    def test_names_at_points_do_not_overlap(self):
        assert _sides([(0.5, 0.5, "H200 SXM"), (0.5, 0.49, "H100 SXM")]) == ["middle right", "middle left"]
        assert _sides([(0.99, 0.5, "B200")]) == ["middle left"]

    def test_no_framework_is_loaded(self):
        code = (
            "import sys; from hal.cards.choose import choose; from hal.cards.choose_config import ChooseConfig\n"
            "from hal.config import build; choose(build(ChooseConfig, {'model': 'cnn'}))\n"
            "print(sorted({'torch', 'jax', 'sklearn'} & set(sys.modules)))"
        )
        root = Path(__file__).parents[2]
        done = subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True, text=True)
        assert done.stdout == "[]\n"
