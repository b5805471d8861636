"""What this project takes from libraries beyond their promised API: known, in one place, and unchanged."""

import ast
import functools
import importlib
import inspect
from pathlib import Path

import pytest
from support import ROOT

from pipeline.training import dependencies, hf_hooks, upstream
from pipeline.training.upstream import Hook, describe_changes, hook, source_digest

LIBRARIES = ("transformers", "accelerate", "datasets")
# Where private names may be used. `can_pack` and its neighbors are written against a model's inner parts.
ALLOWED = ("pipeline/training/hf_hooks.py", "pipeline/modeling/", "pipeline/data/arrow_folder.py")
# Private names of other libraries, each for want of a public one.
OTHERS = {
    "_get_default_store",  # torch: pipeline.training.dependencies
    "_exit",  # os
    "_actions",  # argparse: the options of a parser
    "_info",  # evaluate: a metric is written by overriding these two
    "_compute",
}
SOURCES = sorted(path for folder in ("pipeline", "scripts") for path in (ROOT / folder).rglob("*.py"))
ALL_HOOKS = [*upstream.HOOKS, *dependencies.DEPENDENCIES]


def test_no_hook_has_changed() -> None:
    changes = describe_changes(ALL_HOOKS)
    assert not changes, f"\n\n{changes}\n"


@pytest.mark.parametrize("each", ALL_HOOKS, ids=lambda each: each.target)
def test_every_hook_says_why_and_how_long(each: Hook) -> None:
    assert each.reason
    assert each.remove_when
    assert each.digests
    module, _, name = each.used_in.split(" and ")[0].rpartition(".")
    while True:
        try:
            found = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            module, _, owner = module.rpartition(".")
            name = f"{owner}.{name}"
    for part in name.split("."):
        found = getattr(found, part)


def test_every_replaced_method_of_trainer_is_recorded() -> None:
    """What Trainer calls a hook for its users is not: those have no underscore, and a name in its documentation."""
    public = {"get_train_dataloader", "get_eval_dataloader", "get_test_dataloader"}
    own = {
        name
        for name, value in vars(hf_hooks.HookedTrainer).items()
        if inspect.isfunction(value) and not name.startswith("__") and hasattr(hf_hooks.transformers.Trainer, name)
    }
    recorded = {each.target.removeprefix("transformers.Trainer.") for each in upstream.HOOKS}
    assert own - public == recorded


# The check itself.


def fake_hook(target: str = "transformers.Trainer._save_checkpoint", **digests: str) -> Hook:
    return Hook(target, "pipeline.training.trainer.Trainer", "it is slow", "it is fast", digests or {"4.0.0": "0" * 12})


def test_a_change_is_named_with_all_that_is_needed_to_mend_it() -> None:
    import transformers

    digest = source_digest("transformers.Trainer._save_checkpoint")
    known = fake_hook("transformers.Trainer._run_epoch", old=source_digest("transformers.Trainer._run_epoch"))
    assert describe_changes([known]) == ""
    assert describe_changes([fake_hook(), known]) == (
        f"transformers.Trainer._save_checkpoint has changed in transformers {transformers.__version__} "
        f"({inspect.getsourcefile(transformers.Trainer)})\n"
        "  used in:     pipeline.training.trainer.Trainer\n"
        "  reason:      it is slow\n"
        "  can go when: it is fast\n"
        "  to do:       compare it with transformers 4.0.0, mend the hook if need be, "
        f'and add "{transformers.__version__}": "{digest}" to its digests.'
    )


@pytest.mark.parametrize("gone", ["transformers.Trainer._gone", "transformers.models.gone.modeling_gone.GoneModel"])
def test_a_function_that_is_gone_is_named(gone: str) -> None:
    message = describe_changes([fake_hook(gone), fake_hook()])
    first, second = message.split("\n\n")
    assert first.startswith(f"{gone} is gone in transformers ")
    assert "find what took its place since transformers 4.0.0" in first
    assert second.startswith("transformers.Trainer._save_checkpoint has changed")


def test_a_digest_follows_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    digests = set()
    for number, body in enumerate(("return 1", "return 2", "return 1")):
        (tmp_path / f"library_{number}.py").write_text(f"class A:\n    def f(self):\n        {body}\n")
        digests.add(source_digest(f"library_{number}.A.f"))
    assert len(digests) == 2
    assert source_digest("library_0.A") == source_digest("library_2.A") != source_digest("library_1.A")


def test_a_hook_is_recorded_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "HOOKS", [])

    @hook("transformers.Trainer.train", reason="why", remove_when="when", digests={"1": "2"})
    def replacement() -> None: ...

    (recorded,) = upstream.HOOKS
    assert recorded.used_in == f"{__name__}.{replacement.__qualname__}"


# Nothing private elsewhere.


@functools.cache
def defined_names() -> set[str]:
    """The private names that this project defines itself: functions, classes, variables, and what an object sets on
    itself, unless its class has a base, which might be a library's.
    """
    names = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            if isinstance(node, ast.ClassDef) and not node.bases:
                stored = [one for one in ast.walk(node) if isinstance(one, ast.Attribute) and is_stored_on_self(one)]
                names |= {one.attr for one in stored}
    return {name for name in names if is_private(name)}


def is_stored_on_self(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id == "self"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def borrowed_names(source: str, own: set[str]) -> list[str]:
    """The private names that a module reads, imports or passes and that are not this project's: `line: name`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom):
            names = [part for alias in node.names for part in (*(node.module or "").split("."), alias.name)]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.keyword | ast.arg):
            names = [node.arg or ""]
        else:
            continue
        found += [f"{node.lineno}: {name}" for name in names if is_private(name) and name not in own]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_module_reads_a_private_name(path: Path) -> None:
    if not str(path.relative_to(ROOT)).startswith(ALLOWED):
        assert borrowed_names(path.read_text(encoding="utf-8"), defined_names() | OTHERS) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("trainer._save_checkpoint(1)", ["1: _save_checkpoint"]),
        ("class A:\n    def f(self):\n        return self._inner", ["3: _inner"]),  # inherited from a library
        ("from transformers.trainer import _get_fsdp_ckpt_kwargs", ["1: _get_fsdp_ckpt_kwargs"]),
        ("from torch._dynamo import config", ["1: _dynamo"]),
        ("import torch._inductor", ["1: _inductor"]),
        ("save_model(path, _internal_call=True)", ["1: _internal_call"]),
        ("def save_model(path, _internal_call=False): ...", ["1: _internal_call"]),
        ("a.__name__, a.public, a._ours", []),
    ],
)
def test_borrowed_names_are_found(source: str, found: list[str]) -> None:
    assert borrowed_names(source, {"_ours"}) == found


def test_no_other_class_overrides_a_private_name() -> None:
    overridden = []
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        if name.startswith(ALLOWED) or not name.startswith("pipeline"):
            continue
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if not any(isinstance(node, ast.ClassDef) and node.bases for node in nodes):
            continue  # nothing that could override a name, and some need an extra to be imported
        module = importlib.import_module(name.removesuffix(".py").replace("/", "."))
        for owner in vars(module).values():
            if inspect.isclass(owner) and owner.__module__ == module.__name__:
                overridden += overridden_names(owner)
    assert overridden == []


def overridden_names(owner: type) -> list[str]:
    """The private names of a class that replace those of a library's class."""
    bases = [base for base in owner.__mro__[1:] if base.__module__.split(".")[0] in LIBRARIES]
    return [
        f"{owner.__qualname__}.{name} of {base.__module__}"
        for base in bases
        for name in vars(owner)
        if is_private(name) and name in vars(base)
    ]


def test_an_overridden_private_name_is_found() -> None:
    class Override(hf_hooks.transformers.Trainer):
        def _save_checkpoint(self) -> None: ...

        def _ours(self) -> None: ...

    (found,) = overridden_names(Override)
    assert found.endswith("Override._save_checkpoint of transformers.trainer")
