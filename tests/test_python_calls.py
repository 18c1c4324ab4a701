"""What a command does is a call as well: of the same name, with the same options and defaults, and cheap to import."""

import inspect
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

import pipelines
import predictor
import studies
from pipelines.cli import app as steer_batch
from pipelines.publishing.cli import app as steer_batch_publish
from predictor.cli import app as steer_predictor
from studies.cli.main import app as steer_study
from studies.commands.designs import PairsOptions, RatingOptions

Call = Callable[..., Any]

CALLS: Mapping[str, tuple[Call, ...]] = {
    "steer-predictor simulate": (predictor.simulate,),
    "steer-predictor import": (predictor.import_dataset,),
    "steer-predictor train": (predictor.train,),
    "steer-predictor evaluate": (predictor.evaluate,),
    "steer-predictor ablate": (predictor.ablate,),
    "steer-predictor enroll": (predictor.enroll,),
    "steer-predictor forget": (predictor.forget,),
    "steer-predictor score": (predictor.score,),
    "steer-predictor push": (predictor.push,),
    "steer-predictor info": (predictor.info,),
    "steer-study pairs": (studies.pairs, studies.plan_pairs),
    "steer-study rating": (studies.rating, studies.plan_rating),
    "steer-study invite": (studies.invite,),
    "steer-study serve": (studies.serve,),
    "steer-study simulate": (studies.simulate,),
    "steer-study export": (studies.export,),
    "steer-study elo": (studies.fit,),
    "steer-study publish": (studies.publish,),
    "steer-study backup": (studies.backup,),
    "steer-study remove": (studies.remove,),
    "steer-study close": (studies.close,),
    "steer-study reopen": (studies.reopen,),
    "steer-study truth": (studies.truth,),
    "steer-batch": (pipelines.steer,),
    "steer-batch publish": (pipelines.publish,),
}
"""With `--plan`, a study's command describes it, which is a call of its own."""

APPS = {
    "steer-predictor": steer_predictor,
    "steer-study": steer_study,
    "steer-batch": steer_batch,
    "steer-batch publish": steer_batch_publish,
}
IN_PYTHON = {
    **{"demographic": "demographics", "name": "names", "scorer": "scorers", "set_": "settings"},
    **{"truth_file": "truth", "json_file": "json", "source": "votes"},
}
"""What a parameter is called whose option is typed again and again, or whose name was taken."""
ONLY_TYPED = {"plan", "dry_run"}
ONLY_CALLED = {"progress", "on_start", "on_made", "options"}
OPTIONS = {studies.pairs: PairsOptions, studies.rating: RatingOptions}


def commands() -> Mapping[str, TyperCommand]:
    found: dict[str, TyperCommand] = {}
    for name, app in APPS.items():
        root = typer.main.get_command(app)
        if isinstance(root, TyperGroup):
            found |= {f"{name} {sub}": own for sub, own in root.commands.items() if isinstance(own, TyperCommand)}
        else:
            assert isinstance(root, TyperCommand)
            found[name] = root
    return found


def test_every_command_has_a_call() -> None:
    assert set(commands()) == set(CALLS)


def test_every_public_name_is_a_call_of_a_command_or_the_predictor() -> None:
    offered = {getattr(package, name) for package in (predictor, studies, pipelines) for name in dir(package)}
    called = {call for calls in CALLS.values() for call in calls}

    assert offered - called == {predictor.PamelaPredictor}
    assert called <= offered


@pytest.mark.parametrize("command", CALLS)
def test_a_call_has_the_options_of_its_command_and_their_defaults(command: str) -> None:
    typed = {
        (parameter.name or "").removesuffix("_") if parameter.name != "set_" else "set_": parameter.default
        for parameter in commands()[command].params
        if parameter.name not in ("install_completion", "show_completion")
    }
    wanted = {
        (name if command == "steer-predictor import" else IN_PYTHON.get(name, name)): default
        for name, default in typed.items()
        if name not in ONLY_TYPED
    }
    parameters: dict[str, object] = {}
    for call in CALLS[command]:
        signature = inspect.signature(call).parameters
        parameters |= {name: own.default for name, own in signature.items() if name not in ONLY_CALLED}
    only_named = set(get_type_hints(OPTIONS[CALLS[command][0]])) if CALLS[command][0] in OPTIONS else set()

    assert set(parameters) | only_named == set(wanted)
    for name, default in parameters.items():
        assert _plain(default) == _plain(wanted[name]), name


@pytest.mark.parametrize("command", CALLS)
def test_a_call_says_what_it_takes_and_what_it_refuses(command: str) -> None:
    for call in CALLS[command]:
        assert call.__doc__ is not None
        assert "Raises" in call.__doc__


@pytest.mark.parametrize("package", ["predictor", "studies", "pipelines"])
def test_importing_a_package_loads_next_to_nothing(package: str) -> None:
    heavy = ("torch", "numpy", "pyarrow", "ray", "starlette", "typer", "pydantic")
    listing = f"import sys, {package}; dir({package}); print([name for name in {heavy} if name in sys.modules])"
    listed = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)

    assert listed.stdout == "[]\n"


def test_a_checkpoint_is_described_without_torch() -> None:
    listing = (
        "import sys, predictor\n"
        "try: predictor.info('nowhere')\n"
        "except ValueError as error: print(error)\n"
        "print('torch' in sys.modules)"
    )
    listed = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)

    assert listed.stdout == ("nowhere: no such checkpoint folder; make one by `steer-predictor train`\nFalse\n")


def _plain(default: object) -> object:
    """A default, where none, an empty text and an empty list are alike; a required parameter has none either."""
    return None if default in (inspect.Parameter.empty, None, "", [], (), {}) else default
