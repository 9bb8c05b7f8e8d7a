import math
import tomllib

from transmodal.recipe import make_recipe
from transmodal.reporting.toml import to_toml


def test_what_is_written_reads_back_the_same() -> None:
    table = {
        "name": 'quo"te \\ tab\t line\n é 脳 \x7f',
        "lr": 1e-5,
        "steps": 20_000,
        "on": True,
        "empty": [],
        "list": [1, 2.5, "a", [True]],
        "pairs": [{"a": 1, "b c": {}}],
        "data": {"path": "x", "with space": {"deep.er": {"k": -0.0}}, "nothing": {}},
        "other": {"inner": {"big": math.inf}},
    }
    assert tomllib.loads(to_toml(table)) == table


def test_a_key_without_a_value_is_left_out() -> None:
    assert tomllib.loads(to_toml({"a": None, "b": {"c": None, "d": 1}})) == {"b": {"d": 1}}


def test_the_recipe_in_a_report_is_the_recipe() -> None:
    table = {"method": {"name": "pix2pix", "depth": 5}, "training": {"players": {"critic": {"lr": 1e-4}}}}
    recipe = make_recipe(table)
    again = make_recipe(tomllib.loads(to_toml(recipe.to_dict())))
    assert again.to_dict() == recipe.to_dict()
    assert again.hash == recipe.hash
